//! Users and groups of this machine, and who of them is trusted.
//!
//! The answers err on the side of distrust: a group whose members cannot all be seen has strangers in it.

use std::env;
use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;

/// Of a table of users or groups.
const MOST_TABLE_BYTES: u64 = 64 << 20;

/// Who is trusted, and what is known of the others.
#[derive(Debug)]
pub struct People {
    /// This person and root; under sudo, also who called it.
    trusted: Vec<u32>,
    users: Vec<User>,
    groups: Vec<Group>,
    /// There are more users than the tables tell.
    more: bool,
}

#[derive(Debug)]
struct User {
    name: String,
    uid: u32,
    gid: u32,
}

#[derive(Debug)]
struct Group {
    name: String,
    gid: u32,
    members: Vec<String>,
}

impl People {
    /// Trusts this person and root, and under sudo who called it.
    pub fn here() -> Self {
        let own = rustix::process::geteuid().as_raw();
        // Only root has been given somebody else's power by sudo.
        let caller = env::var("SUDO_UID").ok().and_then(|uid| uid.parse().ok()).filter(|_| own == 0);
        Self::trusting([own, 0].into_iter().chain(caller).collect())
    }

    /// Trusts these users.
    pub fn trusting(trusted: Vec<u32>) -> Self {
        Self::of(trusted, &table("/etc/passwd"), &table("/etc/group"))
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

    /// Whether this user is trusted.
    pub fn trusts(&self, uid: u32) -> bool {
        self.trusted.contains(&uid)
    }

    /// A user as people know them: `joe (user 1000)`, or `user 1000`.
    pub fn user(&self, uid: u32) -> String {
        match self.users.iter().find(|user| user.uid == uid) {
            Some(user) => format!("{} (user {uid})", user.name),
            None => format!("user {uid}"),
        }
    }

    /// Who may write to what this is of, but for its owner and those who are trusted; `None` if nobody may. `listed`: it
    /// has an access control list.
    pub fn writers(&self, found: &Metadata, listed: bool) -> Option<String> {
        if found.mode() & 0o002 != 0 {
            return Some("anybody".to_owned());
        }
        // With a list, these bits say what it grants at most.
        if found.mode() & 0o020 != 0 && listed {
            return Some("whoever its access control list names".to_owned());
        }
        (found.mode() & 0o020 != 0 && !self.is_private(found.gid())).then(|| {
            let group = self.groups.iter().find(|group| group.gid == found.gid());
            format!("the group {}", group.map_or_else(|| found.gid().to_string(), |group| group.name.clone()))
        })
    }

    /// Whether a group is that of a trusted user alone, as where each user has a group of their own. One that the tables
    /// do not tell of, as on a Mac or in a directory service, counts as shared.
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
        assert_eq!((joe.user(1001), joe.user(7)), ("eve (user 1001)".into(), "user 7".into()));
    }
}
