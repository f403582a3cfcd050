//! One owner a run: `P/lock` names the program that is changing an index. Two proofs of life are asked for, because a
//! share may not carry file locks from host to host, or have none: the operating system's lock, and a heartbeat, which
//! writes the file. When that was is told by the share's own clock: those of hosts may be hours apart.
//!
//! A lock can be lost: its machine slept for minutes, and another took it. Each heartbeat looks first, and whoever is
//! about to switch something looks again.

use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant, SystemTime};

use crate::Folder;
use crate::atomic::{folder_of, name_in, temp_name};
use crate::odd_share::{Ability, sync};
use crate::owner::{Owner, now_s};

/// A heartbeat older than this is a dead owner's, if its host cannot be asked.
const SILENT: Duration = Duration::from_secs(60);

/// How often [`Beating`] writes a heartbeat.
const BEAT: Duration = Duration::from_secs(10);

/// How often one that waits for a lock looks.
const LOOK: Duration = Duration::from_millis(200);

/// Where the system has no locks, two that begin at once see each other within this.
const SETTLED: Duration = Duration::from_secs(1);

/// Where the system has no locks, an owner that seems to be dead is watched for so long.
const WATCHED: Duration = if cfg!(test) { SETTLED } else { BEAT.saturating_add(SETTLED) };

/// A heartbeat that hangs on its share may take so long when all else is over.
const LAST_BEAT: Duration = Duration::from_secs(2);

/// Why the lock was not given.
#[derive(Debug, thiserror::Error)]
pub enum Held {
    /// Somebody else has it.
    #[error("{} (process {} on {}) is working on this index; wait for it, or stop it first ({path})", owner.program, owner.pid, owner.host)]
    By {
        /// The owner.
        owner: Box<Owner>,
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

/// How a lock was lost that was held.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    /// Another took it, since no sign of life was seen for a minute.
    #[error(
        "{} (process {} on {}) has taken over this index, because this program gave no sign of life for a minute, as on a \
         machine that sleeps ({path}); nothing is lost: run again when it is done",
        owner.program, owner.pid, owner.host
    )]
    To {
        /// The owner now.
        owner: Box<Owner>,
        /// The lock file.
        path: PathBuf,
    },
    /// Somebody removed, replaced or emptied the file.
    #[error(
        "the lock {path} is not this program's any more: it was removed, or another had it; nothing is lost: run again"
    )]
    Gone {
        /// The lock file.
        path: PathBuf,
    },
    /// The share does not answer, so that nobody can tell.
    #[error("cannot see whether this program still owns the index ({path})")]
    Unseen {
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
        Self::take_as(path, Owner::here(program, host))
    }

    fn take_as(path: &Path, owner: Owner) -> Result<Self, Held> {
        let io = |source| Held::Io { path: path.into(), source };
        let held = |owner: Owner| Err(Held::By { owner: owner.into(), path: path.into() });
        let file = open(path).map_err(io)?;
        let system = System::ask(&file).map_err(io)?;
        let before = match Owner::read(&file) {
            // Some shares carry locks that shut readers out.
            Err(e) if e.kind() == ErrorKind::PermissionDenied => return held(Owner::unknown()),
            before => before.map_err(io)?,
        };
        match before {
            Some(before) if system.says_alive(&before, &owner, path, &file).map_err(io)? => return held(before),
            Some(_) => {}
            None if system == System::Held => return held(Owner::unknown()),
            None => {}
        }
        let mut lock = Self { file, path: path.into(), owner };
        lock.write().map_err(io)?;
        if system == System::Silent {
            sleep(SETTLED);
            if let Some(owner) = Self::owner(path).map_err(io)?.filter(|now| !now.is(&lock.owner)) {
                return held(owner);
            }
        }
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
    pub fn beating(self) -> Beating {
        self.beating_until(|_| {})
    }

    /// The same; `lost` is called if a heartbeat finds that the lock is another's by now. It is the last.
    pub fn beating_until(self, lost: impl FnOnce(Lost) + Send + 'static) -> Beating {
        self.beating_every(BEAT, lost)
    }

    fn beating_every(mut self, beat: Duration, lost: impl FnOnce(Lost) + Send + 'static) -> Beating {
        let ((stop, stopped), (ending, ended)) = (channel::<()>(), channel::<()>());
        let (file, path, owner) = (self.file.try_clone().ok(), self.path.clone(), self.owner.clone());
        spawn(move || {
            while stopped.recv_timeout(beat) == Err(RecvTimeoutError::Timeout) {
                match self.beat() {
                    // A share that is away for a moment takes the next beat; others wait for six of them.
                    Ok(()) | Err(Lost::Unseen { .. }) => {}
                    Err(gone) => {
                        lost(gone);
                        break;
                    }
                }
            }
            drop(self);
            drop(ending);
        });
        Beating { file, path, owner, stop: Some(stop), ended: Mutex::new(ended) }
    }

    /// Who holds the lock at `path`, and how long ago it was written; `None` if nobody does, or has died. Only looks,
    /// by this host's clock: whoever wants the lock takes it.
    pub fn last_owner(path: &Path) -> Option<(Owner, Duration)> {
        let file = protocol::open_file(path).ok()?;
        let owner = Owner::read(&file).ok()??;
        let written = file.metadata().and_then(|metadata| metadata.modified()).ok()?;
        let age = SystemTime::now().duration_since(written).unwrap_or_default();
        (age < SILENT).then_some((owner, age))
    }

    /// Writes a fresh heartbeat, if the lock is still ours.
    pub fn beat(&mut self) -> Result<(), Lost> {
        self.check()?;
        self.write().map_err(|source| Lost::Unseen { path: self.path.clone(), source })
    }

    /// Whether the lock is still ours, as the share tells now.
    pub fn check(&self) -> Result<(), Lost> {
        judge(&self.path, &self.owner, look_with(Some(&self.file), &self.path))
    }

    /// Who stands in the file of the lock at `path` now, dead or alive.
    pub fn owner(path: &Path) -> io::Result<Option<Owner>> {
        look_with(None, path)
    }

    fn write(&mut self) -> io::Result<()> {
        self.owner.heartbeat_unix_s = now_s();
        let text = serde_json::to_string(&self.owner).expect("an owner is texts and numbers");
        if let Err(error) = write_to(&self.file, &text) {
            // A server that was started again may not know the open file any more.
            let again = open(&self.path)?;
            // Whatever the system says of its lock by now, the heartbeat stands.
            let _ = again.try_lock();
            write_to(&again, &text).map_err(|_| error)?;
            self.file = again;
        }
        Ok(())
    }
}

impl Drop for RunLock {
    fn drop(&mut self) {
        // The file stays: removing it would let two owners hold two files of one name. Emptying it frees it for
        // hosts that see no file locks; a failure here only delays them until the heartbeat is old.
        if self.check().is_ok() {
            let _ = self.file.set_len(0);
        }
    }
}

/// A lock that beats by itself, held until dropped.
#[derive(Debug)]
pub struct Beating {
    file: Option<File>,
    path: PathBuf,
    owner: Owner,
    stop: Option<Sender<()>>,
    /// In a mutex so that threads can share the whole.
    ended: Mutex<Receiver<()>>,
}

impl Beating {
    /// Whether the lock is still ours, as the share tells now. Asked right before anything is switched.
    pub fn check(&self) -> Result<(), Lost> {
        judge(&self.path, &self.owner, look_with(self.file.as_ref(), &self.path))
    }
}

impl Drop for Beating {
    fn drop(&mut self) {
        drop(self.stop.take());
        // The lock is free when the thread has ended. If that hangs on its share, the heartbeat grows old.
        if let Ok(ended) = self.ended.get_mut() {
            let _ = ended.recv_timeout(LAST_BEAT);
        }
    }
}

/// What the operating system's lock tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum System {
    /// It is ours now.
    Ours,
    /// Somebody has it.
    Held,
    /// There are no such locks on this share.
    Silent,
}

impl System {
    fn ask(file: &File) -> io::Result<Self> {
        match file.try_lock() {
            Ok(()) => Ok(Self::Ours),
            Err(TryLockError::WouldBlock) => Ok(Self::Held),
            Err(TryLockError::Error(e)) if Ability::Lock.is_lacking(&e) => Ok(Self::Silent),
            Err(TryLockError::Error(e)) => Err(e),
        }
    }

    /// Whether the owner that stands in the file must be believed to live.
    fn says_alive(self, before: &Owner, us: &Owner, path: &Path, file: &File) -> io::Result<bool> {
        match self {
            Self::Held => Ok(true),
            // It would still hold the lock.
            Self::Ours if before.is_near(us) => Ok(false),
            _ if age(path, file)? >= SILENT => Ok(false),
            // Another machine may look like this one in all that is known.
            Self::Silent if before.is_near(us) && !before.may_run_here() => beats(path, before),
            _ => Ok(true),
        }
    }
}

/// Whether an owner that seems to be dead gives another sign of life.
fn beats(path: &Path, before: &Owner) -> io::Result<bool> {
    let begun = Instant::now();
    while begun.elapsed() < WATCHED {
        sleep(LOOK);
        if RunLock::owner(path)?.as_ref() != Some(before) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn open(path: &Path) -> io::Result<File> {
    let opened = Folder::open(folder_of(path)).and_then(|folder| folder.read_write(name_in(path)?));
    opened.map_err(|e| e.source)
}

/// Who stands in the file that has this name now; `held` is the one that was opened under it.
fn look_with(held: Option<&File>, path: &Path) -> io::Result<Option<Owner>> {
    match (protocol::open_file(path).and_then(|file| Owner::read(&file)), held) {
        // Some shares shut out all but who holds the lock.
        (Err(e), Some(held)) if e.kind() == ErrorKind::PermissionDenied => Owner::read(held),
        (now, _) => now,
    }
}

fn judge(path: &Path, us: &Owner, now: io::Result<Option<Owner>>) -> Result<(), Lost> {
    let path = path.to_owned();
    match now {
        Ok(Some(now)) if now.is(us) => Ok(()),
        Ok(Some(owner)) => Err(Lost::To { owner: Box::new(owner), path }),
        Ok(None) => Err(Lost::Gone { path }),
        // A share that is away takes the folder along.
        Err(e) if e.kind() == ErrorKind::NotFound && folder_of(&path).is_dir() => Err(Lost::Gone { path }),
        Err(source) => Err(Lost::Unseen { path, source }),
    }
}

fn write_to(file: &File, text: &str) -> io::Result<()> {
    file.write_all_at(text.as_bytes(), 0)?;
    file.set_len(text.len() as u64)?;
    sync(file)
}

/// How long ago the lock was written, by the clock of the share that holds it: a new file beside it tells the time.
fn age(path: &Path, lock: &File) -> io::Result<Duration> {
    let now = path.with_file_name(temp_name(path.file_name().unwrap_or_default()));
    let made = open(&now)?.metadata().and_then(|now| now.modified());
    std::fs::remove_file(&now)?;
    Ok(made?.duration_since(lock.metadata()?.modified()?).unwrap_or_default())
}

#[cfg(test)]
mod tests;
