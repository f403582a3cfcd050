//! Which folders of a cache are in use. A lock on the folder itself says so, which the system takes back when a process ends
//! however it ends; so who removes an old one, be it another process or another version of the programs, never takes away
//! what somebody maps.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use disk::atomic;

use crate::IndexError;

/// In the folder of a segment that is no longer current.
const REPLACED: &str = "replaced";

/// A folder that is used, until this is dropped. One that was replaced meanwhile then goes, if nobody else uses it.
#[derive(Debug)]
pub(crate) struct InUse {
    dir: PathBuf,
    lock: File,
}

impl InUse {
    /// Makes a folder, or finds it, and marks it as used.
    pub(crate) fn make(dir: &Path) -> Result<Self, IndexError> {
        loop {
            atomic::create_dir(dir)?;
            let lock = match File::open(dir) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                opened => opened.map_err(IndexError::io("open the folder", dir))?,
            };
            // Where there are no locks nobody is ever seen to have finished, so nothing is removed.
            let _ = lock.lock_shared();
            // Somebody may have removed it before it was locked.
            if is_at(&lock, dir) {
                let _ = fs::remove_file(dir.join(REPLACED));
                // By its time those that nobody has used for long are known.
                let _ = lock.set_modified(SystemTime::now());
                return Ok(Self { dir: dir.into(), lock });
            }
        }
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        if self.dir.join(REPLACED).exists() {
            let _ = self.lock.unlock();
            remove_unused(&self.dir);
        }
    }
}

/// Removes the segments of an index that are not among `current`; who still uses one removes it later.
pub(crate) fn tidy(of_index: &Path, current: &[String]) {
    for old in folders(of_index).filter(|old| !current.iter().any(|name| old.ends_with(name))) {
        // A folder that cannot be marked or removed now is looked at again the next time.
        let _ = fs::write(old.join(REPLACED), "");
        remove_unused(&old);
    }
}

/// Removes the copies in `caches`, each of which holds a folder for each index, that nobody uses and nobody has opened for
/// `age`. For caches on a disk of this host alone.
pub fn remove_old_copies(caches: &Path, age: Duration) {
    folders(caches).for_each(|cache| remove_old_copies_in(&cache, age));
}

/// The same for one cache.
pub fn remove_old_copies_in(cache: &Path, age: Duration) {
    let unused = |dir: &PathBuf| {
        let opened = fs::symlink_metadata(dir).and_then(|found| found.modified());
        opened.is_ok_and(|at| at.elapsed().is_ok_and(|since| since > age))
    };
    for of_index in folders(cache) {
        folders(&of_index).filter(unused).for_each(|dir| remove_unused(&dir));
        // Of an index without copies; fails for others.
        let _ = fs::remove_dir(&of_index);
    }
}

/// Removes a folder unless somebody uses it.
fn remove_unused(dir: &Path) {
    let Ok(lock) = File::open(dir) else { return };
    match lock.try_lock() {
        Ok(()) if is_at(&lock, dir) => drop(fs::remove_dir_all(dir)),
        Ok(()) | Err(TryLockError::WouldBlock | TryLockError::Error(_)) => {}
    }
}

fn is_at(lock: &File, dir: &Path) -> bool {
    let identity = |found: fs::Metadata| (found.dev(), found.ino());
    lock.metadata().is_ok_and(|locked| fs::symlink_metadata(dir).is_ok_and(|found| identity(found) == identity(locked)))
}

/// The folders in a folder; links are none.
fn folders(dir: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_folder_goes_with_its_last_user() {
        let place = tempfile::tempdir().unwrap();
        let [old, new] = ["old", "new"].map(|name| place.path().join(name));
        let users = [InUse::make(&old).unwrap(), InUse::make(&old).unwrap()];
        let current = InUse::make(&new).unwrap();
        fs::write(old.join("seg.faiss"), "mapped").unwrap();
        tidy(place.path(), &["new".to_owned()]);
        let [first, second] = users;
        drop(first);
        assert!(old.join("seg.faiss").exists(), "another uses it");
        drop(second);
        assert!(!old.exists());
        drop(current);
        assert!(new.exists(), "what is current stays for the next who opens it");
        tidy(place.path(), &[]);
        assert!(!new.exists());
    }

    #[test]
    fn one_that_is_opened_again_is_current_again() {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().join("a");
        let user = InUse::make(&dir).unwrap();
        tidy(place.path(), &[]);
        let again = InUse::make(&dir).unwrap();
        drop((user, again));
        assert!(dir.exists());
    }

    #[test]
    fn copies_that_nobody_opened_for_long_go_and_used_ones_stay() {
        let place = tempfile::tempdir().unwrap();
        let dir = |name: &str| place.path().join("machine/index").join(name);
        let used = InUse::make(&dir("used")).unwrap();
        drop(InUse::make(&dir("unused")).unwrap());
        remove_old_copies(place.path(), Duration::from_secs(3600));
        assert!(dir("unused").exists());
        for name in ["used", "unused"] {
            File::open(dir(name)).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        }
        remove_old_copies(place.path(), Duration::from_secs(3600));
        assert!(dir("used").exists() && !dir("unused").exists());
        drop(used);
    }
}
