//! One owner a run: `P/lock` names the program that is changing an index. Two proofs of life are asked for, because a
//! share may not carry file locks from host to host: the operating system's lock, and a heartbeat in the file.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// A heartbeat older than this is a dead owner's, if its host cannot be asked.
const SILENT_S: u64 = 60;

/// Who holds an index, as it stands in `P/lock`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    program: String,
    host: String,
    pid: u32,
    heartbeat_unix_s: u64,
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
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(io)?;
        let locked = match file.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock) => false,
            Err(TryLockError::Error(source)) if source.kind() == io::ErrorKind::Unsupported => true,
            Err(TryLockError::Error(source)) => return Err(io(source)),
        };
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(io)?;
        let before: Option<Owner> = serde_json::from_str(&text).ok();
        let alive = |owner: &Owner| owner.host != host && now_s().saturating_sub(owner.heartbeat_unix_s) < SILENT_S;
        match before {
            Some(owner) if !locked || alive(&owner) => return Err(Held::By { owner, path: path.into() }),
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
    fn a_heartbeat_from_another_host_counts_where_locks_do_not_travel() {
        let path = std::env::temp_dir().join(format!("imagefleet-beat-{}", std::process::id()));
        let owner = |age: u64| Owner {
            program: "controller".into(),
            host: "mac".into(),
            pid: 7,
            heartbeat_unix_s: now_s() - age,
        };
        std::fs::write(&path, serde_json::to_string(&owner(5)).unwrap()).unwrap();
        assert!(RunLock::take(&path, "merger", "duc17").is_err());
        std::fs::write(&path, serde_json::to_string(&owner(SILENT_S + 5)).unwrap()).unwrap();
        assert!(RunLock::take(&path, "merger", "duc17").is_ok());
        std::fs::remove_file(&path).unwrap();
    }
}
