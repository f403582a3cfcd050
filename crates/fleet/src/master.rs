//! ssh's master: the process in the background that holds the connection to a machine, with its socket and its log in a
//! folder of their own.
//!
//! `openssh` makes the folder, starts the master there, waits until it is logged in, and tells what ssh said if it is not.
//! Ours is what the master is asked later: `openssh` would have the person's configuration read for that, and ssh with
//! `ControlMaster yes` there connects anew, to a machine called `none`. Ours is also who owns a folder, so that one that was
//! left is swept.
//!
//! While it logs in, ssh is in our process group: Ctrl-C at a terminal ends it, and nothing that it was needed for goes on. From
//! then on it has a session of its own. A log-in that is given up ends by the limits that ssh has, or when it misses its
//! folder.

use std::collections::BTreeSet;
use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::num::NonZeroUsize;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use openssh::{ControlPersist, KnownHosts, SessionBuilder};
use protocol::folders::expand_home;
use tempfile::TempDir;
use tokio::time::timeout;

use crate::login::{self, Failed};
use crate::way::Way;
use crate::{HostErrorKind, HostSpec, Limits};

/// Folders of connections begin with this, as `openssh` has it; six letters follow.
pub(crate) const PREFIX: &str = ".ssh-connection";

/// What an answer from a master on this machine may take when nobody can be kept waiting.
const SHORT: Duration = Duration::from_secs(2);

/// The name of a machine where none counts, since a socket is given.
const NOBODY: &str = "none";

/// The end of a log tells what broke.
const LAST_WORDS_BYTES: u64 = 16 << 10;

/// Folders of the connections that end with this program.
static OWN: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// Where connections are being made, and the locks that tell so.
static MAKING: Mutex<Vec<(PathBuf, Arc<File>)>> = Mutex::new(Vec::new());

/// A connection: ends when dropped, unless it was detached or another program made it.
#[derive(Debug)]
pub(crate) struct Session {
    folder: PathBuf,
    /// The folder, and the log there, locked as long as the owner lives; none of a connection that outlives it.
    owned: Option<(TempDir, File)>,
}

impl Session {
    /// Logs in. The folder of the connection is made in `below`.
    pub async fn connect(spec: &HostSpec, limits: Limits, below: &Path) -> Result<Self, Failed> {
        if spec.name.starts_with('-') {
            return Err(Failed::other(format!("ssh would take {} for an option", spec.name)));
        }
        let failed = |e: io::Error| Failed::other(format!("{}: {e}", below.display()));
        sweep(below);
        let _making = Making::begin(below).map_err(failed)?;
        let way = Way::ask(spec).await;
        let config = way.config(spec, below).map_err(failed)?;
        // ssh counts whole seconds, and takes 0 for none; it gives up after three unanswered signs of life.
        let seconds = |time: Duration| time.max(Duration::from_secs(1));
        let idle = NonZeroUsize::new(limits.idle.as_secs() as usize).unwrap_or(NonZeroUsize::MIN);
        let mut master = SessionBuilder::default();
        master
            .known_hosts_check(KnownHosts::Strict)
            .control_directory(below)
            .control_persist(ControlPersist::IdleFor(idle))
            .connect_timeout(seconds(limits.connect))
            .server_alive_interval(seconds(limits.silence / 3))
            .config_file(config.path().join("config"));
        if let Some(user) = &spec.user {
            master.user(user.clone());
        }
        if let Some(port) = spec.port {
            master.port(port);
        }
        if let Some(file) = &spec.identity_file {
            // This key and no other.
            master.keyfile(expand_home(file));
        }
        let log_in = async || {
            // ssh's own limit does not cover the exchange of keys.
            match timeout(limits.connect * 3, master.launch_master(&spec.name)).await {
                Ok(launched) => launched.map_err(|e| why(&e)),
                Err(_) => Err(Failed { kind: HostErrorKind::TimedOut, said: String::new() }),
            }
        };
        Self::own(login::patiently(&way.door, log_in).await?).map_err(failed)
    }

    /// A connection that is held by the master of this folder.
    pub fn resume(folder: PathBuf) -> Self {
        Self { folder, owned: None }
    }

    fn own(folder: TempDir) -> io::Result<Self> {
        let log = File::open(folder.path().join("log"))?;
        log.try_lock()?;
        let path = folder.path().to_owned();
        if let Ok(mut own) = OWN.lock() {
            own.insert(path.clone());
        }
        Ok(Self { folder: path, owned: Some((folder, log)) })
    }

    /// The folder, closed to others, that holds the sockets.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The socket on which the master takes orders.
    pub fn control_socket(&self) -> PathBuf {
        self.folder.join("master")
    }

    fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// Whether somebody holds the connection: without a master it is gone for good.
    pub async fn listens(&self) -> bool {
        let connecting = tokio::net::UnixStream::connect(self.control_socket());
        timeout(SHORT, connecting).await.is_ok_and(|connected| connected.is_ok())
    }

    /// The end of what the master has said.
    pub fn last_words(&self) -> String {
        let mut text = Vec::new();
        // What cannot be read tells nothing.
        let _ = File::open(self.log()).and_then(|mut log| {
            log.seek(SeekFrom::Start(log.metadata()?.len().saturating_sub(LAST_WORDS_BYTES)))?;
            log.take(LAST_WORDS_BYTES).read_to_end(&mut text)
        });
        let said = String::from_utf8_lossy(&text);
        said.trim().trim_start_matches("ssh: ").to_owned()
    }

    /// Whether the connection stands; if not, what ssh said when it broke.
    pub async fn check(&self) -> Result<(), String> {
        let mut check = tokio::process::Command::from(self.client(&["-O", "check"], NOBODY));
        silent(check.as_std_mut());
        match check.kill_on_drop(true).status().await {
            Ok(status) if status.success() => Ok(()),
            Ok(_) => {
                Err(Some(self.last_words()).filter(|s| !s.is_empty()).unwrap_or("the connection has ended".into()))
            }
            Err(e) => Err(format!("ssh cannot be started: {e}")),
        }
    }

    /// An ssh that goes through the connection, and never makes one itself.
    pub fn client(&self, options: &[&str], name: &str) -> Command {
        client(&self.folder, options, name)
    }

    /// Leaves the connection for other programs.
    pub fn detach(mut self) -> Self {
        forget(&self.folder);
        if let Some((folder, _)) = self.owned.take() {
            let _ = folder.keep();
        }
        Self::resume(self.folder.clone())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.owned.is_some() {
            end(&self.folder);
            forget(&self.folder);
        }
    }
}

/// Ends the connections of this program that still stand or are being made, before it exits without having dropped them.
pub fn end_connections() {
    let own = OWN.lock().map(|mut own| std::mem::take(&mut *own)).unwrap_or_default();
    std::thread::scope(|scope| own.iter().for_each(|folder| _ = scope.spawn(|| end(folder))));
    let making = MAKING.lock().map(|mut making| std::mem::take(&mut *making)).unwrap_or_default();
    making.iter().for_each(|(below, lock)| give_up(below, lock));
}

/// Removes what is being made in a folder. An ssh that misses its own ends. If somebody else makes a connection there too,
/// whoever comes next sweeps.
fn give_up(below: &Path, making: &File) {
    let _ = making.unlock();
    sweep(below);
}

fn forget(folder: &Path) {
    if let Ok(mut own) = OWN.lock() {
        own.remove(folder);
    }
}

/// Why no connection came about.
fn why(error: &openssh::Error) -> Failed {
    match error.source().and_then(|source| source.downcast_ref::<io::Error>()) {
        // Of the system, not of ssh, which has left no log.
        Some(e) if e.raw_os_error().is_some() => Failed::other(format!("ssh cannot be started, or was killed: {e}")),
        Some(e) if !e.to_string().is_empty() => {
            let said = e.to_string();
            Failed { kind: HostErrorKind::of_connection(&said), said }
        }
        _ => Failed::other("ssh has ended without a word".to_owned()),
    }
}

/// An ssh that goes through the connection of a folder, and never makes one itself.
fn client(folder: &Path, options: &[&str], name: &str) -> Command {
    let mut ssh = Command::new("ssh");
    ssh.args(["-F", "/dev/null", "-o", "BatchMode=yes", "-o", "ProxyCommand=false", "-S"]);
    ssh.arg(folder.join("master")).args(options).args(["--", name]).process_group(0);
    ssh
}

fn silent(ssh: &mut Command) -> &mut Command {
    ssh.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null())
}

/// Ends the connection of a folder, and removes that.
fn end(folder: &Path) {
    if UnixStream::connect(folder.join("master")).is_ok() {
        briefly(client(folder, &["-O", "exit"], NOBODY));
    }
    // What cannot be removed now is swept the next time.
    let _ = fs::remove_dir_all(folder);
}

/// Runs a command to its end, but never waits long, and takes nothing that it says.
pub(crate) fn briefly(mut command: Command) {
    let Ok(mut child) = silent(&mut command).spawn() else { return };
    let begun = Instant::now();
    while matches!(child.try_wait(), Ok(None)) {
        if begun.elapsed() > SHORT {
            let _ = (child.kill(), child.wait());
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Keeps sweepers away from a folder while a connection is made in it, which has no owner yet.
struct Making(Arc<File>);

impl Making {
    fn begin(below: &Path) -> io::Result<Self> {
        let lock = Arc::new(File::open(below)?);
        lock.lock_shared()?;
        if let Ok(mut making) = MAKING.lock() {
            making.push((below.to_owned(), lock.clone()));
        }
        Ok(Self(lock))
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        let _ = self.0.unlock();
        if let Ok(mut making) = MAKING.lock() {
            making.retain(|(_, lock)| !Arc::ptr_eq(lock, &self.0));
        }
    }
}

/// Removes the folders in `below` of connections that are over, as killed programs leave them; another time if one is being
/// made.
fn sweep(below: &Path) {
    let Ok(lock) = File::open(below) else { return };
    if lock.try_lock().is_err() {
        return;
    }
    for entry in fs::read_dir(below).into_iter().flatten().flatten() {
        let folder = entry.path();
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) || !entry.file_type().is_ok_and(|t| t.is_dir()) {
            continue;
        }
        // Its owner lives, or a master is there for whoever comes.
        let owned = File::open(folder.join("log")).is_ok_and(|log| log.try_lock().is_err());
        if !owned && UnixStream::connect(folder.join("master")).is_err() {
            // What cannot be removed now is looked at again the next time.
            let _ = fs::remove_dir_all(folder);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder as `openssh` makes it.
    fn made(below: &Path) -> TempDir {
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(below).unwrap();
        fs::write(folder.path().join("log"), "").unwrap();
        folder
    }

    #[test]
    fn what_a_killed_program_left_is_swept_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let alive = Session::own(made(dir.path())).unwrap();
        let left = dir.path().join(format!("{PREFIX}0000aa"));
        let other = dir.path().join("0000aa");
        for folder in [&left, &other] {
            fs::create_dir(folder).unwrap();
            fs::write(folder.join("log"), "it broke").unwrap();
        }
        let being_made = dir.path().join(format!("{PREFIX}0000bb"));
        let lock = Making::begin(dir.path()).unwrap();
        fs::create_dir(&being_made).unwrap();
        sweep(dir.path());
        assert!(being_made.exists());
        // Who was killed while making one holds no lock any more.
        drop(lock);
        sweep(dir.path());
        assert!(alive.folder.exists() && other.exists() && !being_made.exists() && !left.exists());
        let folder = alive.folder.clone();
        drop(alive);
        assert!(!folder.exists());
    }

    #[test]
    fn a_folder_that_is_being_made_is_never_swept_from_under_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            let making = scope.spawn(|| {
                for _ in 0..300 {
                    let lock = Making::begin(dir.path()).unwrap();
                    let session = Session::own(made(dir.path())).unwrap();
                    drop(lock);
                    assert!(session.log().exists());
                    std::thread::yield_now();
                    assert!(session.log().exists());
                }
            });
            while !making.is_finished() {
                sweep(dir.path());
            }
            making.join().unwrap();
        });
    }

    #[test]
    fn what_is_being_made_when_a_program_ends_goes_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let all: Vec<_> = (0..2).map(|_| Making::begin(dir.path()).unwrap()).collect();
        let folder = made(dir.path());
        sweep(dir.path());
        assert!(folder.path().exists());
        all.iter().for_each(|making| give_up(dir.path(), &making.0));
        assert!(!folder.path().exists());
    }

    #[tokio::test]
    async fn a_name_that_ssh_would_take_for_an_option_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let planted = dir.path().join("planted");
        let spec = HostSpec::bare(&format!("-oProxyCommand=touch {}", planted.display()));
        let failed = Session::connect(&spec, Limits::default(), dir.path()).await.unwrap_err();
        assert!(failed.said.contains("option") && !planted.exists());
    }
}
