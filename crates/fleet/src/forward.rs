//! A socket on another machine, reachable here.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::master::Session;
use crate::ssh::Ssh;

/// A Unix socket here that leads to one on a host. Closed when dropped, unless it is kept; connections that stand
/// then go on.
#[derive(Debug)]
pub struct Forward {
    path: PathBuf,
    far: Option<(Arc<Ssh>, Arc<Session>, String)>,
}

impl Forward {
    /// One that is not closed: a socket of this machine leads to itself, and one that is kept ends with its connection.
    pub(crate) fn open(path: PathBuf) -> Self {
        Self { path, far: None }
    }

    pub(crate) fn to(path: PathBuf, ssh: Arc<Ssh>, session: Arc<Session>, there: &str) -> Self {
        Self { path, far: Some((ssh, session, there.to_owned())) }
    }

    /// The socket to connect to, in a folder that is closed to others.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        if let Some((ssh, session, there)) = &self.far {
            ssh.end_forward(session, &self.path, there);
        }
    }
}
