//! Whether a file that nobody named, but that was found, can only have been written by this person or root. As git, ssh
//! and ansible do: what a stranger could have put there is not obeyed.
//!
//! The answer errs on the side of distrust: a group whose members cannot all be seen has strangers in it.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::{env, fmt};

use protocol::folders;

/// Links that lead on to links, at most.
const MOST_LINKS: usize = 40;

/// Of a table of users or groups.
const MOST_TABLE_BYTES: u64 = 64 << 20;

/// An access control list, on systems that keep it as an attribute of this name; the others have none of it.
const ACCESS_LIST: &str = "system.posix_acl_access";

/// Why something is not trusted.
#[derive(Debug)]
pub(crate) struct Distrust {
    what: PathBuf,
    why: String,
}

impl fmt::Display for Distrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.what.display(), self.why)
    }
}

/// Opens a file if neither it, nor its folder, nor a link that leads to it or such a link's folder is a stranger's or
/// can be written by one.
pub(crate) fn open(path: &Path) -> io::Result<Result<File, Distrust>> {
    let people = People::here()?;
    let judged = |what: &Path, found: &Metadata, listed: bool| match people.distrust(found, listed) {
        Some(why) => Err(Distrust { what: what.to_owned(), why }),
        None => Ok(()),
    };
    let is_list = |found: rustix::io::Result<usize>| found.is_ok_and(|bytes| bytes > 0);
    let mut at = path.to_owned();
    for _ in 0..MOST_LINKS {
        let folder = at.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned();
        // What is judged is what is opened, also if a name on the way to it leads elsewhere meanwhile.
        let real = folder.canonicalize()?;
        let listed = is_list(rustix::fs::getxattr(&real, ACCESS_LIST, &mut [0u8; 0]));
        if let Err(distrust) = judged(&real, &real.metadata()?, listed) {
            return Ok(Err(distrust));
        }
        let Some(name) = at.file_name() else { return Err(io::ErrorKind::IsADirectory.into()) };
        let next = real.join(name);
        let found = next.symlink_metadata()?;
        if !found.is_symlink() {
            let file = File::open(&next)?;
            let listed = is_list(rustix::fs::fgetxattr(&file, ACCESS_LIST, &mut [0u8; 0]));
            return Ok(judged(&at, &file.metadata()?, listed).map(|()| file));
        }
        if !people.trusted.contains(&found.uid()) {
            return Ok(Err(Distrust { what: at, why: people.owned_by(found.uid()) }));
        }
        at = real.join(fs::read_link(&next)?);
    }
    Err(io::Error::other("too many links lead on to links"))
}

/// Who is trusted, and what is known of the others.
struct People {
    /// This person and root; under sudo, also who called it.
    trusted: Vec<u32>,
    users: Vec<User>,
    groups: Vec<Group>,
    /// There are more users than the tables tell.
    more: bool,
}

struct User {
    name: String,
    uid: u32,
    gid: u32,
}

struct Group {
    name: String,
    gid: u32,
    members: Vec<String>,
}

impl People {
    fn here() -> io::Result<Self> {
        let own = folders::own_uid()?;
        // Only root has been given somebody else's power by sudo.
        let caller = env::var("SUDO_UID").ok().and_then(|uid| uid.parse().ok()).filter(|_| own == 0);
        let trusted = [own, 0].into_iter().chain(caller).collect();
        Ok(Self::of(trusted, &table("/etc/passwd"), &table("/etc/group")))
    }

    fn of(trusted: Vec<u32>, passwd: &str, group: &str) -> Self {
        let user = |line: &str| {
            let mut fields = line.split(':');
            let name = fields.next()?.to_owned();
            let uid = fields.nth(1)?.parse().ok()?;
            Some(User { name, uid, gid: fields.next()?.parse().ok()? })
        };
        let group_of = |line: &str| {
            let mut fields = line.split(':');
            let name = fields.next()?.to_owned();
            let gid = fields.nth(1)?.parse().ok()?;
            let members = fields.next().unwrap_or_default().trim().split(',').filter(|member| !member.is_empty());
            Some(Group { name, gid, members: members.map(str::to_owned).collect() })
        };
        let mut lines = passwd.lines().chain(group.lines());
        Self {
            trusted,
            users: passwd.lines().filter_map(user).collect(),
            groups: group.lines().filter_map(group_of).collect(),
            // These lead to a directory service.
            more: lines.any(|line| line.starts_with(['+', '-'])),
        }
    }

    /// Why something with this owner and mode could be a stranger's work; `listed`: others may stand in a list of its own.
    fn distrust(&self, found: &Metadata, listed: bool) -> Option<String> {
        let (uid, gid, mode) = (found.uid(), found.gid(), found.mode() & 0o7777);
        if !self.trusted.contains(&uid) {
            return Some(self.owned_by(uid));
        }
        if mode & 0o002 != 0 {
            return Some(format!("can be written by everybody (mode {mode:o})"));
        }
        // With a list, these bits say what it grants at most.
        if mode & 0o020 != 0 && listed {
            return Some("has an access control list by which others may write it".into());
        }
        if mode & 0o020 != 0 && !self.is_private(gid) {
            let name = self.groups.iter().find(|group| group.gid == gid);
            let name = name.map_or_else(|| gid.to_string(), |group| group.name.clone());
            return Some(format!("can be written by group {name} (mode {mode:o}), in which there may be others"));
        }
        None
    }

    fn owned_by(&self, uid: u32) -> String {
        let name = self.users.iter().find(|user| user.uid == uid).map(|user| format!(" ({})", user.name));
        format!("belongs to user {uid}{}", name.unwrap_or_default())
    }

    /// Whether a group is that of a trusted user alone, as where each user has a group of their own.
    fn is_private(&self, gid: u32) -> bool {
        let trusted = |user: &User| self.trusted.contains(&user.uid);
        let named = |name: &String| self.users.iter().any(|user| user.name == *name && trusted(user));
        let mut own = self.users.iter().filter(|user| user.gid == gid).peekable();
        let mut listed = self.groups.iter().filter(|group| group.gid == gid).peekable();
        !self.more
            && own.peek().is_some()
            && own.all(trusted)
            && listed.peek().is_some()
            && listed.all(|group| group.members.iter().all(named))
    }
}

/// A table that cannot be read names nobody.
fn table(file: &str) -> String {
    let mut text = Vec::new();
    let read = File::open(file).and_then(|file| file.take(MOST_TABLE_BYTES).read_to_end(&mut text));
    read.map(|_| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\njoe:x:1000:1000::/home/joe:/bin/sh\n\
        eve:x:1001:1001::/home/eve:/bin/sh\nann:x:1002:100::/home/ann:/bin/sh\nbroken\n";
    const GROUP: &str = "root:x:0:\njoe:x:1000:\nshared:x:1001:eve,joe\nusers:x:100:\nempty:x:200:\nlent:x:1003:joe\n";

    #[test]
    fn a_group_is_private_only_if_all_its_members_are_known_and_trusted() {
        let joe = People::of(vec![1000, 0], PASSWD, GROUP);
        assert!(joe.is_private(1000) && joe.is_private(0));
        // Another's, one with others in it, one that others have in a directory service, one that no table holds.
        assert!([1001, 100, 200, 1003, 4242].iter().all(|gid| !joe.is_private(*gid)));
        let invited = GROUP.replace("joe:x:1000:", "joe:x:1000:eve");
        assert!(!People::of(vec![1000, 0], PASSWD, &invited).is_private(1000));
        let service = format!("{PASSWD}+::::::\n");
        assert!(!People::of(vec![1000, 0], &service, GROUP).is_private(1000));
        assert!(!People::of(vec![1000, 0], "", "").is_private(1000));
        assert_eq!(joe.owned_by(1001), "belongs to user 1001 (eve)");
    }

    #[test]
    fn what_everybody_can_write_is_refused_also_behind_links() {
        let dir = tempfile::tempdir().unwrap();
        let mode = |path: &Path, mode: u32| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        let (safe, open_to_all) = (dir.path().join("safe"), dir.path().join("open"));
        for folder in [&safe, &open_to_all] {
            fs::create_dir(folder).unwrap();
            fs::write(folder.join("hosts"), "localhost\n").unwrap();
            mode(&folder.join("hosts"), 0o600);
        }
        mode(&safe, 0o700);
        mode(&open_to_all, 0o1777);
        let why = |path: &Path| open(path).unwrap().err().map(|distrust| distrust.to_string());
        assert_eq!(why(&safe.join("hosts")), None);
        assert!(why(&open_to_all.join("hosts")).unwrap().contains("open can be written by everybody (mode 1777)"));
        // A link is as good as where it stands and what it leads to.
        symlink("hosts", safe.join("near")).unwrap();
        symlink("near", safe.join("nearer")).unwrap();
        assert_eq!(why(&safe.join("nearer")), None);
        symlink(open_to_all.join("hosts"), safe.join("out")).unwrap();
        assert!(why(&safe.join("out")).is_some());
        symlink(safe.join("hosts"), open_to_all.join("in")).unwrap();
        assert!(why(&open_to_all.join("in")).is_some());
        symlink(open_to_all.join("in"), safe.join("through")).unwrap();
        assert!(why(&safe.join("through")).is_some());
        symlink("round", safe.join("round")).unwrap();
        assert!(open(&safe.join("round")).is_err());
        mode(&safe.join("hosts"), 0o602);
        assert!(why(&safe.join("hosts")).unwrap().contains("hosts can be written by everybody (mode 602)"));
    }
}
