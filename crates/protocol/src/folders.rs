//! The person's own folders, for all programs: settings, what is remembered, caches, sockets.
//!
//! They are below the person's home or where XDG's variables say. Without either they are in one folder in `/var/tmp`
//! that is ours and closed to others. A folder in a shared place that anybody could have made, or a link there, is never
//! used.

use std::env;
use std::fs::{DirBuilder, File};
use std::io::{self, Error, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// What all of our folders are called.
const NAME: &str = "imagefleet";

/// A shared folder that outlives a restart and lies on this machine's own disk.
const SHARED: &str = "/var/tmp";

/// The person's home: `$HOME`, else what the password database says. `None` if that is no folder.
pub fn home() -> Option<PathBuf> {
    env::home_dir().filter(|home| home.is_absolute() && home.is_dir())
}

/// A path with the person's home for a `~` at its beginning, as a shell would read it.
pub fn expand_home(path: &Path) -> PathBuf {
    match (path.strip_prefix("~"), home()) {
        (Ok(below), Some(home)) => home.join(below),
        _ => path.to_owned(),
    }
}

/// Settings, which are only read; `None` without a home.
pub fn config() -> Option<PathBuf> {
    given("XDG_CONFIG_HOME").or_else(|| Some(home()?.join(".config"))).map(|folder| folder.join(NAME))
}

/// What is remembered between runs.
///
/// # Errors
/// If there is no home, and no folder in `/var/tmp` that only this person could have made.
pub fn state() -> io::Result<PathBuf> {
    own("XDG_STATE_HOME", ".local/state", "state")
}

/// What can be made again.
///
/// # Errors
/// As [`state`].
pub fn cache() -> io::Result<PathBuf> {
    own("XDG_CACHE_HOME", if cfg!(target_os = "macos") { "Library/Caches" } else { ".cache" }, "cache")
}

/// The folder for sockets: in `$XDG_RUNTIME_DIR` if that is the person's own (it is not under `sudo`), else in `/var/tmp`.
/// At most `most_bytes` long, because a socket's path may not be longer.
///
/// # Errors
/// As [`state`].
pub fn sockets(most_bytes: usize) -> io::Result<PathBuf> {
    let uid = own_uid()?;
    let is_own = |folder: &PathBuf| folder.metadata().is_ok_and(|found| found.is_dir() && found.uid() == uid);
    let folder = given("XDG_RUNTIME_DIR").filter(is_own).map(|folder| folder.join(NAME));
    match folder.filter(|folder| folder.as_os_str().len() <= most_bytes) {
        Some(folder) => {
            make_private(&folder)?;
            Ok(folder)
        }
        None => in_shared("XDG_RUNTIME_DIR"),
    }
}

/// This person's folder on a disk of this machine, `/var/tmp/imagefleet-UID`, made if it is absent.
///
/// # Errors
/// If it is a link, another's or open to others. Then `remedy`, a variable, is named as what to set.
pub fn in_shared(remedy: &str) -> io::Result<PathBuf> {
    let shared = Path::new(SHARED);
    let told = |e: Error| Error::new(e.kind(), format!("{e}; set {remedy} to a folder of your own"));
    let mode = shared.metadata().map_err(|e| told(Error::new(e.kind(), format!("cannot use {SHARED}: {e}"))))?.mode();
    if mode & 0o022 != 0 && mode & 0o1000 == 0 {
        let what = format!("anybody may rename what is in {SHARED} (mode {:o})", mode & 0o7777);
        return Err(told(Error::new(ErrorKind::PermissionDenied, what)));
    }
    let folder = shared.join(format!("{NAME}-{}", own_uid()?));
    make_private(&folder).map_err(told)?;
    Ok(folder)
}

/// Makes a folder that is closed to others, or finds it. Refuses a link, another's folder and one that others may enter: in
/// a shared place anyone could have put it there.
pub fn make_private(folder: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(e) if e.kind() != ErrorKind::AlreadyExists => {
            return Err(Error::new(e.kind(), format!("cannot make the folder {}: {e}", folder.display())));
        }
        _ => {}
    }
    let found = folder.symlink_metadata()?;
    let (uid, mode) = (own_uid()?, found.mode() & 0o777);
    let wrong = if !found.is_dir() {
        "is not a folder".to_owned()
    } else if found.uid() != uid {
        format!("belongs to user {}, not to user {uid}", found.uid())
    } else if mode & 0o077 != 0 {
        format!("is open to others (mode {mode:o}); close it with: chmod 700 {}", folder.display())
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorKind::PermissionDenied, format!("the folder {} {wrong}", folder.display())))
}

/// The user that this process acts as. A new pipe belongs to that user, which the standard library can see without
/// any other crate, on Linux and on macOS.
pub fn own_uid() -> io::Result<u32> {
    let (reader, _writer) = io::pipe()?;
    Ok(File::from(OwnedFd::from(reader)).metadata()?.uid())
}

/// The folder of a variable, if that names one from its beginning: relative ones are not to be taken, says XDG.
fn given(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).map(PathBuf::from).filter(|folder| folder.is_absolute())
}

fn own(variable: &str, below_home: &str, in_shared_folder: &str) -> io::Result<PathBuf> {
    let folder = given(variable).or_else(|| Some(home()?.join(below_home))).map(|folder| folder.join(NAME));
    match folder {
        Some(folder) => Ok(folder),
        None => Ok(in_shared(&format!("HOME or {variable}"))?.join(in_shared_folder)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_pipe_knows_the_user_as_a_new_file_does() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(own_uid().unwrap(), folder.path().metadata().unwrap().uid());
    }

    #[test]
    fn a_folder_is_made_closed_and_an_open_one_or_a_link_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("own");
        make_private(&folder).unwrap();
        assert_eq!(folder.metadata().unwrap().mode() & 0o777, 0o700);
        make_private(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(make_private(&folder).unwrap_err().to_string().contains("chmod 700"));

        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
        let link = place.path().join("link");
        symlink(&folder, &link).unwrap();
        assert!(make_private(&link).unwrap_err().to_string().contains("is not a folder"));
    }

    #[test]
    fn only_a_tilde_that_is_a_whole_component_is_the_home() {
        let home = home().unwrap();
        assert_eq!(expand_home(Path::new("~/a/b")), home.join("a/b"));
        for plain in ["~joe/a", "/a/~/b", "a", ""] {
            assert_eq!(expand_home(Path::new(plain)), Path::new(plain));
        }
    }
}
