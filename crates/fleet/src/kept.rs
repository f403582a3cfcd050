//! Connections that outlive the program that made them, so that who asks twice logs in once. ssh itself closes them when
//! nobody has used them for 60 s.
//!
//! Each way to reach a machine has a folder of its own among the sockets. There `current` is a symbolic link to the
//! folder of a connection: ssh's socket, its log, and the sockets that it forwards.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use protocol::socket;

use crate::HostSpec;
use crate::master::Session;
use crate::ssh::control_folder;

/// Leads to the folder of the connection that stands.
const CURRENT: &str = "current";

/// A socket here that an earlier program had forwarded to the file `name` of a machine's. Whether anybody still listens
/// shows when it is used.
pub fn kept_socket(spec: &HostSpec, name: &str) -> Option<PathBuf> {
    let socket = folder(spec).ok()?.join(CURRENT).join(name);
    socket.exists().then_some(socket)
}

/// Where connections that are made as `spec` tells are kept. The name is short because a socket's path may not be long.
pub(crate) fn folder(spec: &HostSpec) -> io::Result<PathBuf> {
    let mut hash = DefaultHasher::new();
    (&spec.name, &spec.user, spec.port, &spec.identity_file, &spec.ssh_config).hash(&mut hash);
    let folder = control_folder()?.join(format!("{:08x}", hash.finish() as u32));
    socket::prepare_folder(&folder.join("-"))?;
    Ok(folder)
}

/// The connection that an earlier program left.
pub(crate) async fn resume(folder: &Path) -> Option<Session> {
    let folder = folder.join(fs::read_link(folder.join(CURRENT)).ok()?);
    // A socket that nobody listens on is told apart without starting an ssh.
    UnixStream::connect(folder.join("master")).ok()?;
    let session = Session::resume(folder);
    session.check().await.is_ok().then_some(session)
}

/// Leaves a connection for the next program. If it cannot be found there, the next one makes its own.
pub(crate) fn keep(session: Session) -> Session {
    let session = session.detach();
    let own = session.folder();
    if let (Some(name), Some(folder)) = (own.file_name(), own.parent()) {
        // Two programs may do this at once: a rename replaces the link in one step.
        let link = folder.join(format!("{CURRENT}-{}", std::process::id()));
        let _ = symlink(name, &link).and_then(|()| fs::rename(&link, folder.join(CURRENT)));
    }
    session
}
