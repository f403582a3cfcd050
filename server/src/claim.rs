//! One server a socket. A lock held for the server's life decides who it is, so a socket that a killed server left
//! behind is known to be dead and is replaced; no pid is ever guessed at.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use disk::Ability;
use protocol::socket::{lock_beside, prepare_folder};

/// How long one that holds the lock may take to answer, or to leave.
const PATIENCE: Duration = Duration::from_secs(10);

/// The right to serve a socket, until dropped.
#[derive(Debug)]
pub struct Claim {
    socket: PathBuf,
    listener: Option<UnixListener>,
    /// Device and inode of our socket, so that no other's is ever removed.
    identity: (u64, u64),
    _lock: File,
}

impl Claim {
    /// Listens on `socket`, or returns `None` if a live server does already.
    pub fn take(socket: &Path) -> Result<Option<Self>> {
        prepare_folder(socket)?;
        let lock_file = lock_beside(socket);
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&lock_file)
            .with_context(|| format!("cannot open {}", lock_file.display()))?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                // A folder without locks: who answers on the socket has it.
                Err(TryLockError::Error(e)) if Ability::Lock.is_lacking(&e) => {
                    if UnixStream::connect(socket).is_ok() {
                        return Ok(None);
                    }
                    break;
                }
                Err(TryLockError::Error(e)) => return Err(e).context(format!("cannot lock {}", lock_file.display())),
                Err(TryLockError::WouldBlock) if UnixStream::connect(socket).is_ok() => return Ok(None),
                Err(TryLockError::WouldBlock) if Instant::now() > deadline => {
                    bail!("another server holds {} but does not answer on its socket; end it", lock_file.display())
                }
                // It is about to listen, or about to leave.
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
        remove_stale(socket)?;
        let listener = UnixListener::bind(socket).with_context(|| format!("cannot listen on {}", socket.display()))?;
        let identity = identity(socket).context("the new socket is gone")?;
        Ok(Some(Self { socket: socket.to_owned(), listener: Some(listener), identity, _lock: lock }))
    }

    /// The socket's path.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The listener, once.
    pub fn listener(&mut self) -> Result<UnixListener> {
        let listener = self.listener.take().context("the listener was taken before")?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    }

    /// Returns when the socket's file is no longer ours, as when its folder was deleted: nobody can reach us then.
    pub async fn wait_until_lost(&self) {
        while identity(&self.socket) == Some(self.identity) {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// Takes the socket's name away. Connections that stand are not touched.
    pub fn remove_socket(&self) {
        if identity(&self.socket) == Some(self.identity) {
            // If it fails, the next server removes it under the lock.
            let _ = std::fs::remove_file(&self.socket);
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.remove_socket();
    }
}

/// Removes what a dead server left. Only under the lock.
fn remove_stale(socket: &Path) -> Result<()> {
    use std::os::unix::fs::FileTypeExt;
    match socket.symlink_metadata() {
        Ok(found) if !found.file_type().is_socket() => {
            bail!("{} exists and is not a socket; remove it or choose another", socket.display())
        }
        Ok(_) => std::fs::remove_file(socket).with_context(|| format!("cannot remove {}", socket.display())),
        Err(_) => Ok(()),
    }
}

fn identity(socket: &Path) -> Option<(u64, u64)> {
    socket.symlink_metadata().ok().map(|m| (m.dev(), m.ino()))
}
