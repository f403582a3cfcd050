//! Where a server listens, so that `query` and `server` agree without asking each other. A socket's folder is the
//! person's own and closed to others: whoever reaches the socket may search and copy as that person.

use std::fs::{DirBuilder, File};
use std::io::{self, Error, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::VERSION;

/// The longest path of a socket in bytes: macOS keeps 104, one of them for the end.
pub const LONGEST_SOCKET_PATH: usize = 103;

/// The socket of this version's server: `$XDG_RUNTIME_DIR/imagefleet/server-VERSION.sock`, or below
/// `/tmp/imagefleet-UID/` where that folder is not set, not ours (as under `sudo`) or too long.
pub fn default_socket() -> io::Result<PathBuf> {
    let uid = own_uid()?;
    let name = format!("server-{VERSION}.sock");
    let runtime = std::env::var_os("XDG_RUNTIME_DIR")
        .map(PathBuf::from)
        .filter(|dir| dir.is_absolute() && dir.metadata().is_ok_and(|m| m.is_dir() && m.uid() == uid));
    let socket =
        runtime.map(|dir| dir.join("imagefleet").join(&name)).filter(|s| s.as_os_str().len() <= LONGEST_SOCKET_PATH);
    Ok(socket.unwrap_or_else(|| PathBuf::from(format!("/tmp/imagefleet-{uid}")).join(name)))
}

/// The file that a server on `socket` holds locked as long as it lives.
pub fn lock_beside(socket: &Path) -> PathBuf {
    socket.with_extension("lock")
}

/// The log of the server on `socket`.
pub fn log_beside(socket: &Path) -> PathBuf {
    socket.with_extension("log")
}

/// Makes the folder of `socket` if it is absent. Refuses one that is not ours or that others may enter: in a shared
/// `/tmp` anyone could have put it there.
pub fn prepare_folder(socket: &Path) -> io::Result<()> {
    if socket.as_os_str().len() > LONGEST_SOCKET_PATH {
        let message = format!("the socket's path {} is longer than {LONGEST_SOCKET_PATH} bytes", socket.display());
        return Err(Error::new(ErrorKind::InvalidInput, message));
    }
    let folder = socket.parent().filter(|f| !f.as_os_str().is_empty()).unwrap_or(Path::new("."));
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
    Err(Error::new(ErrorKind::PermissionDenied, format!("the server's folder {} {wrong}", folder.display())))
}

/// The user that this process acts as. A new pipe belongs to that user, which the standard library can see without
/// any other crate, on Linux and on macOS.
pub fn own_uid() -> io::Result<u32> {
    let (reader, _writer) = io::pipe()?;
    Ok(File::from(OwnedFd::from(reader)).metadata()?.uid())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn folder(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("imagefleet-socket-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        dir
    }

    #[test]
    fn a_pipe_knows_the_user_as_a_new_file_does() {
        let dir = folder("uid");
        std::fs::create_dir(&dir).unwrap();
        assert_eq!(own_uid().unwrap(), dir.metadata().unwrap().uid());
        std::fs::remove_dir(&dir).unwrap();
    }

    #[test]
    fn the_folder_is_made_closed_and_an_open_one_is_refused() {
        let dir = folder("mode");
        let socket = dir.join("s.sock");
        prepare_folder(&socket).unwrap();
        assert_eq!(dir.metadata().unwrap().mode() & 0o777, 0o700);
        prepare_folder(&socket).unwrap();
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(prepare_folder(&socket).unwrap_err().to_string().contains("chmod 700"));
        std::fs::remove_dir(&dir).unwrap();

        let link = folder("link");
        std::os::unix::fs::symlink("/tmp", &link).unwrap();
        assert!(prepare_folder(&link.join("s.sock")).is_err());
        std::fs::remove_file(&link).unwrap();
    }

    #[test]
    fn a_path_that_no_socket_can_have_is_refused() {
        let long = PathBuf::from(format!("/tmp/{}/s.sock", "x".repeat(100)));
        assert!(prepare_folder(&long).unwrap_err().to_string().contains("longer than 103 bytes"));
    }
}
