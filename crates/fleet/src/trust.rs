//! Whether a file that nobody named, but that was found, can only have been written by this person or root. As git, ssh
//! and ansible do: what a stranger could have put there is not obeyed.

use std::fmt;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use disk::People;

/// Links that lead on to links, at most.
const MOST_LINKS: usize = 40;

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
    let people = People::here();
    let distrust = |what: &Path, why| Distrust { what: what.to_owned(), why };
    let owned = |what: &Path, found: &Metadata| {
        let uid = found.uid();
        (!people.trusts(uid)).then(|| distrust(what, format!("belongs to {}", people.user(uid))))
    };
    let judged = |what: &Path, found: &Metadata, listed: bool| {
        let open_to = |who| distrust(what, format!("can be written by {who} (mode {:o})", found.mode() & 0o7777));
        owned(what, found).or_else(|| people.writers(found, listed).map(open_to))
    };
    let is_list = |found: rustix::io::Result<usize>| found.is_ok_and(|bytes| bytes > 0);
    let mut at = path.to_owned();
    for _ in 0..MOST_LINKS {
        let folder = at.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned();
        // What is judged is what is opened, also if a name on the way to it leads elsewhere meanwhile.
        let real = folder.canonicalize()?;
        let listed = is_list(rustix::fs::getxattr(&real, ACCESS_LIST, &mut [0u8; 0]));
        if let Some(distrust) = judged(&real, &real.metadata()?, listed) {
            return Ok(Err(distrust));
        }
        let Some(name) = at.file_name() else { return Err(io::ErrorKind::IsADirectory.into()) };
        let next = real.join(name);
        let found = next.symlink_metadata()?;
        if !found.is_symlink() {
            let file = File::open(&next)?;
            let listed = is_list(rustix::fs::fgetxattr(&file, ACCESS_LIST, &mut [0u8; 0]));
            return Ok(judged(&at, &file.metadata()?, listed).map_or(Ok(file), Err));
        }
        if let Some(distrust) = owned(&at, &found) {
            return Ok(Err(distrust));
        }
        at = real.join(fs::read_link(&next)?);
    }
    Err(io::Error::other("too many links lead on to links"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

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
        assert!(why(&open_to_all.join("hosts")).unwrap().contains("open can be written by anybody (mode 1777)"));
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
        assert!(why(&safe.join("hosts")).unwrap().contains("hosts can be written by anybody (mode 602)"));
    }
}
