//! ssh's master: the process in the background that holds the connection to a machine, with its socket and its log in a
//! folder of their own. ssh is started with what the hosts file says; the person's ssh configuration adds the rest, but
//! cannot silence what is said when it fails, nor forward anything.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use crate::login::{self, Failed};
use crate::{HostErrorKind, HostSpec, Limits};

/// Folders of connections begin with this; six letters follow.
const PREFIX: &str = ".ssh-connection";

/// A folder without a log is being made, or its maker was killed before it came to more.
const MAKING: Duration = Duration::from_secs(10);

/// What an answer from a master on this machine may take when nobody can be kept waiting.
const SHORT: Duration = Duration::from_secs(2);

/// The end of a log tells what broke.
const LAST_WORDS_BYTES: u64 = 16 << 10;

/// Folders of the connections that end with this program.
static OWN: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// A connection: ends when dropped, unless it was detached or another program made it.
#[derive(Debug)]
pub(crate) struct Session {
    folder: PathBuf,
    /// The log, locked as long as the owner lives; none of a connection that outlives it.
    owned: Option<File>,
}

impl Session {
    /// Logs in. The folder of the connection is made in `below`.
    pub async fn connect(spec: &HostSpec, limits: Limits, below: &Path) -> Result<Self, Failed> {
        sweep(below);
        let session = Self::new(below).map_err(|e| Failed::other(format!("{}: {e}", below.display())))?;
        let started = login::patiently(spec, || session.start(spec, limits)).await;
        started.map(|()| session)
    }

    /// A connection that is held by the master of this folder.
    pub fn resume(folder: PathBuf) -> Self {
        Self { folder, owned: None }
    }

    fn new(below: &Path) -> io::Result<Self> {
        // One that is swept away before it is locked is made anew.
        for _ in 0..100 {
            let number = RandomState::new().build_hasher().finish();
            let folder = below.join(format!("{PREFIX}{:06x}", number & 0xff_ffff));
            match DirBuilder::new().mode(0o700).create(&folder) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
                made => made?,
            }
            let log = OpenOptions::new().read(true).append(true).create_new(true).mode(0o600).open(folder.join("log"));
            // Whoever sweeps holds the lock until the folder is gone: what is locked and there stays.
            if let Ok(log) = log
                && log.try_lock().is_ok()
                && folder.join("log").exists()
            {
                remember(&folder);
                return Ok(Self { folder, owned: Some(log) });
            }
        }
        Err(io::Error::other("no folder can be made there"))
    }

    async fn start(&self, spec: &HostSpec, limits: Limits) -> Result<(), Failed> {
        let log = self.log();
        if let Some(log) = &self.owned {
            // What an earlier try said is known.
            log.set_len(0).map_err(|e| Failed::other(e.to_string()))?;
        }
        let mut ssh = Command::new("ssh");
        ssh.arg("-E").arg(&log).arg("-S").arg(self.control_socket()).args(["-M", "-f", "-N"]);
        for option in ["BatchMode=yes", "StrictHostKeyChecking=yes", "ClearAllForwardings=yes", "LogLevel=INFO"] {
            ssh.args(["-o", option]);
        }
        // ssh counts whole seconds, and takes 0 for none; it gives up after three unanswered signs of life.
        let seconds = |time: Duration| time.as_secs().max(1);
        ssh.args(["-o", &format!("ControlPersist={}s", seconds(limits.idle))]);
        ssh.args(["-o", &format!("ConnectTimeout={}", seconds(limits.connect))]);
        ssh.args(["-o", &format!("ServerAliveInterval={}", seconds(limits.silence / 3))]);
        login::name(&mut ssh, spec);
        ssh.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let mut ssh = tokio::process::Command::from(ssh);
        // ssh's own limit does not cover the exchange of keys.
        match timeout(limits.connect * 3, ssh.kill_on_drop(true).status()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => {
                let said = self.last_words();
                let said = if said.is_empty() { format!("ssh ended with {status}") } else { said };
                Err(Failed { kind: HostErrorKind::of_connection(&said), said })
            }
            Ok(Err(e)) => Err(Failed::other(format!("ssh cannot be started: {e}"))),
            Err(_) => Err(Failed { kind: HostErrorKind::TimedOut, said: String::new() }),
        }
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
        let mut check = tokio::process::Command::from(order(&self.folder, "check"));
        match check.kill_on_drop(true).status().await {
            Ok(status) if status.success() => Ok(()),
            Ok(_) => {
                Err(Some(self.last_words()).filter(|s| !s.is_empty()).unwrap_or("the connection has ended".into()))
            }
            Err(e) => Err(format!("ssh cannot be started: {e}")),
        }
    }

    /// Leaves the connection for other programs.
    pub fn detach(mut self) -> Self {
        forget(&self.folder);
        self.owned = None;
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

/// Ends the connections of this program that still stand, before it exits without having dropped them.
pub fn end_connections() {
    let own = OWN.lock().map(|mut own| std::mem::take(&mut *own)).unwrap_or_default();
    std::thread::scope(|scope| own.iter().for_each(|folder| _ = scope.spawn(|| end(folder))));
}

fn remember(folder: &Path) {
    if let Ok(mut own) = OWN.lock() {
        own.insert(folder.to_owned());
    }
}

fn forget(folder: &Path) {
    if let Ok(mut own) = OWN.lock() {
        own.remove(folder);
    }
}

/// An order to the master in a folder. It never makes a connection.
fn order(folder: &Path, order: &str) -> Command {
    let mut ssh = Command::new("ssh");
    ssh.args(["-F", "/dev/null", "-o", "BatchMode=yes", "-o", "ProxyCommand=false", "-S"]);
    // No name counts where a socket is given.
    ssh.arg(folder.join("master")).args(["-O", order, "none"]);
    ssh.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    ssh
}

/// Ends the connection of a folder, and removes that.
fn end(folder: &Path) {
    if UnixStream::connect(folder.join("master")).is_ok() {
        briefly(order(folder, "exit"));
    }
    // What cannot be removed now is swept the next time.
    let _ = fs::remove_dir_all(folder);
}

/// Runs a command to its end, but never waits long.
pub(crate) fn briefly(mut command: Command) {
    let Ok(mut child) = command.spawn() else { return };
    let begun = Instant::now();
    while matches!(child.try_wait(), Ok(None)) {
        if begun.elapsed() > SHORT {
            let _ = (child.kill(), child.wait());
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Removes the folders in `below` of connections that are over, as killed programs leave them.
pub(crate) fn sweep(below: &Path) {
    for entry in fs::read_dir(below).into_iter().flatten().flatten() {
        let folder = entry.path();
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) || !entry.file_type().is_ok_and(|t| t.is_dir()) {
            continue;
        }
        let age = entry.metadata().and_then(|m| m.modified()).ok().and_then(|at| at.elapsed().ok());
        let log = File::open(folder.join("log"));
        let over = match &log {
            // Its owner lives, or a master is there for whoever comes. The lock is held until the folder is removed.
            Ok(log) => log.try_lock().is_ok() && UnixStream::connect(folder.join("master")).is_err(),
            Err(_) => age.is_some_and(|age| age > MAKING),
        };
        if over {
            // What cannot be removed now is looked at again the next time.
            let _ = fs::remove_dir_all(folder);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_program_left_is_swept_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let alive = Session::new(dir.path()).unwrap();
        let left = dir.path().join(format!("{PREFIX}0000aa"));
        let other = dir.path().join("0000aa");
        for folder in [&left, &other] {
            fs::create_dir(folder).unwrap();
            fs::write(folder.join("log"), "it broke").unwrap();
        }
        let being_made = dir.path().join(format!("{PREFIX}0000bb"));
        fs::create_dir(&being_made).unwrap();
        sweep(dir.path());
        assert!(alive.folder.exists() && other.exists() && being_made.exists() && !left.exists());
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
                    let session = Session::new(dir.path()).unwrap();
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
}
