//! One worker an index and number on a host. A controller that lost a worker starts it again, while the lost one may
//! still be there, asleep or waiting for a share: two would take twice the memory, so the newer ends the older. What that
//! had in hand is done again.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use disk::{Ability, Folder};
use protocol::hash_hex;
use rustix::process::{Pid, Signal, kill_process};

/// How long an ended worker may take to go.
const GOING: Duration = Duration::from_secs(10);

/// A host's name and a number take fewer bytes.
const LONGEST: u64 = 1 << 12;

/// Held while a worker lives.
#[derive(Debug)]
pub struct Life {
    _locked: File,
}

impl Life {
    /// Takes the place of worker `id` of an index; an older one in it is ended.
    pub fn begin(work_dir: &Path, index: &Path, id: u32, host: &str) -> Result<Self> {
        let folder = Folder::make(work_dir)?;
        let index = hash_hex(index.as_os_str().as_encoded_bytes());
        let name = format!("worker_{id}-{}.lock", &index[..8]);
        let (mut file, path) = (folder.read_write(&name)?, folder.file(&name));
        lock(&mut file, &path, host)?;
        let named = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(format!("{host} {}", std::process::id()).as_bytes()));
        named.with_context(|| format!("cannot write the lock {}", path.display()))?;
        Ok(Self { _locked: file })
    }
}

fn lock(file: &mut File, path: &Path, host: &str) -> Result<()> {
    let begun = Instant::now();
    let mut ended = None;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            // On a disk that knows no locks nobody can tell.
            Err(TryLockError::Error(e)) if Ability::Lock.is_lacking(&e) => return Ok(()),
            Err(TryLockError::Error(e)) => return Err(e).with_context(|| format!("cannot lock {}", path.display())),
            Err(TryLockError::WouldBlock) => {}
        }
        // Who holds the lock lives, so the number is its own; it may not have written it yet.
        let mut holder = String::new();
        let read = file.rewind().and_then(|()| file.take(LONGEST).read_to_string(&mut holder));
        read.with_context(|| format!("cannot read the lock {}", path.display()))?;
        if let Some((its_host, pid)) = holder.rsplit_once(' ').filter(|_| ended.is_none()) {
            ensure!(
                its_host == host,
                "a worker on {its_host} uses the same work folder {}: give each host a work_dir of its own",
                path.parent().unwrap_or(path).display()
            );
            let pid =
                pid.parse().ok().and_then(Pid::from_raw).with_context(|| format!("{} is damaged", path.display()))?;
            // It may end by itself meanwhile.
            let _ = kill_process(pid, Signal::KILL);
            ended = Some(pid.as_raw_pid());
        }
        if begun.elapsed() > GOING {
            match ended {
                Some(pid) => bail!("an older worker (process {pid}) does not end: does its share hang? mount it again"),
                None => bail!("somebody holds the lock {}", path.display()),
            }
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newer_worker_ends_the_older() {
        let dir = tempfile::tempdir().unwrap();
        let begin = |index: &str| Life::begin(dir.path(), Path::new(index), 0, "here");
        let life = begin("/index").unwrap();
        let lock = std::fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().path();
        let _other = begin("/other").expect("another index is another worker");
        drop(life);
        // A process that holds the lock as a worker does, and would never end.
        let script = "printf 'here %s' $$ >\"$0\"; exec sleep 1000";
        let mut sleeper =
            std::process::Command::new("flock").arg(&lock).args(["sh", "-c", script]).arg(&lock).spawn().unwrap();
        while File::open(&lock).unwrap().try_lock().is_ok() {
            std::thread::sleep(Duration::from_millis(10));
        }
        begin("/index").unwrap();
        assert!(!sleeper.wait().unwrap().success(), "it was killed");
    }
}
