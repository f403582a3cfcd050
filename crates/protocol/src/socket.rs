//! Where a server listens, so that `query` and `server` agree without asking each other. A socket's folder is the
//! person's own and closed to others: whoever reaches the socket may search and copy as that person.

use std::io::{self, Error, ErrorKind};
use std::path::{Path, PathBuf};

use crate::{VERSION, folders};

/// The longest path of a socket in bytes: macOS keeps 104, one of them for the end.
pub const LONGEST_SOCKET_PATH: usize = 103;

/// The name of the socket of this version's server.
pub fn socket_name() -> String {
    format!("server-{VERSION}.sock")
}

/// The socket of this version's server, in [`folders::sockets`].
pub fn default_socket() -> io::Result<PathBuf> {
    let name = socket_name();
    Ok(folders::sockets(LONGEST_SOCKET_PATH - 1 - name.len())?.join(name))
}

/// The file that a server on `socket` holds locked as long as it lives.
pub fn lock_beside(socket: &Path) -> PathBuf {
    socket.with_extension("lock")
}

/// The log of the server on `socket`.
pub fn log_beside(socket: &Path) -> PathBuf {
    socket.with_extension("log")
}

/// Makes the folder of `socket` if it is absent. Refuses one that is not ours or that others may enter.
pub fn prepare_folder(socket: &Path) -> io::Result<()> {
    if socket.as_os_str().len() > LONGEST_SOCKET_PATH {
        let message = format!("the socket's path {} is longer than {LONGEST_SOCKET_PATH} bytes", socket.display());
        return Err(Error::new(ErrorKind::InvalidInput, message));
    }
    folders::make_private(socket.parent().filter(|f| !f.as_os_str().is_empty()).unwrap_or(Path::new(".")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_no_socket_can_have_is_refused() {
        let long = PathBuf::from(format!("/tmp/{}/s.sock", "x".repeat(100)));
        assert!(prepare_folder(&long).unwrap_err().to_string().contains("longer than 103 bytes"));
    }
}
