//! One owner a run: `P/lock` names the program that is changing an index. Two proofs of life are asked for, because a
//! share may not carry file locks from host to host: the operating system's lock, and a heartbeat, which writes the file.
//! When that was is told by the share's own clock: those of hosts may be hours apart.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::Folder;
use crate::atomic::{folder_of, name_in};

/// A heartbeat older than this is a dead owner's, if its host cannot be asked.
const SILENT_S: u64 = 60;

/// How often [`Beating`] writes a heartbeat.
const BEAT: Duration = Duration::from_secs(10);

/// How often one that waits for a lock looks.
const LOOK: Duration = Duration::from_millis(200);

/// No owner's name takes so many bytes.
const LONGEST: u64 = 1 << 16;

/// Who holds an index, as it stands in `P/lock`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The program.
    pub program: String,
    /// Its host.
    pub host: String,
    /// Its process there.
    pub pid: u32,
    /// Its last sign of life, seconds since 1970.
    pub heartbeat_unix_s: u64,
}

/// Why the lock was not given.
#[derive(Debug, thiserror::Error)]
pub enum Held {
    /// Somebody else has it.
    #[error("{} (process {} on {}) is working on this index; wait for it, or stop it first ({path})", owner.program, owner.pid, owner.host)]
    By {
        /// The owner.
        owner: Owner,
        /// The lock file.
        path: PathBuf,
    },
    /// The file could not be made or read.
    #[error("cannot lock the index with {path}")]
    Io {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The lock, held until dropped. Call [`RunLock::beat`] every few seconds.
#[derive(Debug)]
pub struct RunLock {
    file: File,
    path: PathBuf,
    owner: Owner,
}

impl RunLock {
    /// Takes the lock at `path` for `program` on `host`, or names who has it.
    pub fn take(path: &Path, program: &str, host: &str) -> Result<Self, Held> {
        let io = |source| Held::Io { path: path.into(), source };
        let mut file = open(path).map_err(io)?;
        let locked = match file.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock) => false,
            Err(TryLockError::Error(source)) if source.kind() == io::ErrorKind::Unsupported => true,
            Err(TryLockError::Error(source)) => return Err(io(source)),
        };
        let before = owner(&mut file).map_err(io)?;
        let elsewhere = before.as_ref().is_some_and(|owner| owner.host != host);
        let alive = elsewhere && age(path, &file).map_err(io)? < Duration::from_secs(SILENT_S);
        match before {
            Some(owner) if !locked || alive => return Err(Held::By { owner, path: path.into() }),
            None if !locked => {
                let owner =
                    Owner { program: "another program".into(), host: "this host".into(), pid: 0, heartbeat_unix_s: 0 };
                return Err(Held::By { owner, path: path.into() });
            }
            _ => {}
        }
        let owner =
            Owner { program: program.into(), host: host.into(), pid: std::process::id(), heartbeat_unix_s: now_s() };
        let mut lock = Self { file, path: path.into(), owner };
        lock.beat()?;
        Ok(lock)
    }

    /// The same, but waits up to `limit` for who has it.
    pub fn take_within(limit: Duration, path: &Path, program: &str, host: &str) -> Result<Self, Held> {
        let begun = Instant::now();
        loop {
            match Self::take(path, program, host) {
                Err(Held::By { .. }) if begun.elapsed() < limit => sleep(LOOK),
                taken => return taken,
            }
        }
    }

    /// Lets a thread of its own write the heartbeats.
    pub fn beating(mut self) -> Beating {
        let (stop, stopped) = channel();
        let thread = spawn(move || {
            while stopped.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {
                // A share that is away for a moment takes the next beat; others wait for six of them.
                let _ = self.beat();
            }
        });
        Beating { stop: Some(stop), thread: Some(thread) }
    }

    /// Who holds the lock at `path`, and how long ago it was written; `None` if nobody does, or has died. Only looks, by
    /// this host's clock: whoever wants the lock takes it.
    pub fn last_owner(path: &Path) -> Option<(Owner, Duration)> {
        let mut file = protocol::open_file(path).ok()?;
        let owner = owner(&mut file).ok()??;
        let written = file.metadata().and_then(|metadata| metadata.modified()).ok()?;
        let age = SystemTime::now().duration_since(written).unwrap_or_default();
        (age.as_secs() < SILENT_S).then_some((owner, age))
    }

    /// Writes a fresh heartbeat.
    pub fn beat(&mut self) -> Result<(), Held> {
        self.owner.heartbeat_unix_s = now_s();
        let text = serde_json::to_string(&self.owner).expect("an owner is texts and numbers");
        self.write(&text).map_err(|source| Held::Io { path: self.path.clone(), source })
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        self.file.rewind()?;
        self.file.write_all(text.as_bytes())?;
        self.file.set_len(text.len() as u64)?;
        self.file.sync_data()
    }
}

impl Drop for RunLock {
    fn drop(&mut self) {
        // The file stays: removing it would let two owners hold two files of one name. Emptying it frees it for
        // hosts that see no file locks; a failure here only delays them until the heartbeat is old.
        let _ = self.file.set_len(0);
    }
}

/// A lock that beats by itself, held until dropped.
#[derive(Debug)]
pub struct Beating {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Beating {
    fn drop(&mut self) {
        drop(self.stop.take());
        // The lock is free when the thread has ended; that it panicked is told by itself.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn open(path: &Path) -> io::Result<File> {
    let opened = Folder::open(folder_of(path)).and_then(|folder| folder.read_write(name_in(path)?));
    opened.map_err(|e| e.source)
}

/// How long ago the lock was written, by the clock of the share that holds it: a new file beside it tells the time.
fn age(path: &Path, lock: &File) -> io::Result<Duration> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // Named as unfinished files are, which a merge removes if we are killed.
    let now = path.with_file_name(format!(".{name}.tmp-{}-{}", std::process::id(), now_s()));
    let made = open(&now)?.metadata().and_then(|now| now.modified());
    std::fs::remove_file(&now)?;
    Ok(made?.duration_since(lock.metadata()?.modified()?).unwrap_or_default())
}

/// Who stands in a lock's file; what is damaged names nobody.
fn owner(file: &mut File) -> io::Result<Option<Owner>> {
    let mut text = Vec::new();
    file.take(LONGEST).read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text).ok())
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_owner_is_refused_and_told_who_is_first() {
        let path = std::env::temp_dir().join(format!("imagefleet-lock-{}", std::process::id()));
        let first = RunLock::take(&path, "controller", "mac").unwrap();
        let refused = RunLock::take(&path, "merger", "duc17").unwrap_err().to_string();
        assert!(refused.contains("controller") && refused.contains("mac"), "{refused}");
        drop(first);
        drop(RunLock::take(&path, "merger", "duc17").unwrap());
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn who_waits_gets_the_lock_as_soon_as_it_is_free() {
        let path = std::env::temp_dir().join(format!("imagefleet-wait-{}", std::process::id()));
        let first = RunLock::take(&path, "merger", "duc17").unwrap().beating();
        assert!(RunLock::take_within(Duration::ZERO, &path, "merger", "duc18").is_err());
        let waiting = path.clone();
        let second = spawn(move || RunLock::take_within(Duration::from_secs(60), &waiting, "merger", "duc18"));
        drop(first);
        assert!(second.join().unwrap().is_ok());
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_heartbeat_from_another_host_counts_where_locks_do_not_travel_whatever_the_time_is_there() {
        let path = std::env::temp_dir().join(format!("imagefleet-beat-{}", std::process::id()));
        for hours_apart in [-3, 0, 3] {
            let heartbeat_unix_s = now_s().saturating_add_signed(hours_apart * 3600);
            let owner = Owner { program: "controller".into(), host: "mac".into(), pid: 7, heartbeat_unix_s };
            for (age_s, held) in [(5, true), (SILENT_S + 5, false)] {
                std::fs::write(&path, serde_json::to_string(&owner).unwrap()).unwrap();
                let written = SystemTime::now() - Duration::from_secs(age_s);
                open(&path).unwrap().set_modified(written).unwrap();
                assert_eq!(RunLock::take(&path, "merger", "duc17").is_err(), held, "{hours_apart} h, {age_s} s");
            }
        }
        std::fs::remove_file(&path).unwrap();
    }
}
