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
use std::time::Duration;

use openssh::Session;
use protocol::socket;

use crate::HostSpec;
use crate::ssh::control_folder;

/// Leads to the folder of the connection that stands.
const CURRENT: &str = "current";

/// A connection is made within this time, or not at all; a folder that is older holds one, or none any more.
const MAKING: Duration = Duration::from_secs(600);

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
    let master = folder.join("master");
    // A socket that nobody listens on is told apart without starting an ssh.
    UnixStream::connect(&master).ok()?;
    let session = Session::resume(master.into(), Some(folder.join("log").into()));
    session.check().await.is_ok().then_some(session)
}

/// Leaves a connection for the next program. If it cannot be found there, the next one makes its own.
pub(crate) fn keep(session: Session) -> Session {
    let (master, log) = session.detach();
    let own = master.parent().and_then(Path::file_name);
    if let (Some(name), Some(folder)) = (own, master.ancestors().nth(2)) {
        sweep(folder);
        // Two programs may do this at once: a rename replaces the link in one step.
        let link = folder.join(format!("{CURRENT}-{}", std::process::id()));
        let _ = symlink(name, &link).and_then(|()| fs::rename(&link, folder.join(CURRENT)));
    }
    Session::resume(master, log)
}

/// Removes what connections that have ended left.
fn sweep(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let old =
            entry.metadata().and_then(|m| m.modified()).is_ok_and(|at| at.elapsed().is_ok_and(|age| age > MAKING));
        if old && UnixStream::connect(entry.path().join("master")).is_err() {
            // What cannot be removed now is looked at again the next time.
            let _ = fs::remove_dir_all(entry.path()).or_else(|_| fs::remove_file(entry.path()));
        }
    }
}
