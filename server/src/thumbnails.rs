//! Thumbnails that were made before, beside the index, where every server of it finds them. Each is a file named by a
//! hash of what it shows, so none is ever wrong; all may be removed at any time. Their bytes are bounded.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use disk::atomic::{Temp, temp_beside};
use protocol::{IndexPrefix, hash_hex};

/// The most bytes in a folder, but for what was written since it was last looked through.
const MOST_BYTES: u64 = 2 << 30;

/// Thumbnails of one index.
#[derive(Debug)]
pub struct Thumbnails {
    dir: PathBuf,
    most_bytes: u64,
    /// Bytes that were written since the folder was last looked through.
    unseen: AtomicU64,
}

impl Thumbnails {
    /// Those beside an index, or, where nothing can be written there, below `cache_dir` on this host.
    pub fn of(prefix: &IndexPrefix, cache_dir: &Path) -> Self {
        let beside = prefix.thumbnails();
        if can_write(&beside) {
            return Self::in_folder(beside, MOST_BYTES);
        }
        let name = hash_hex(prefix.dir().as_os_str().as_encoded_bytes());
        Self::in_folder(cache_dir.join(name), MOST_BYTES)
    }

    fn in_folder(dir: PathBuf, most_bytes: u64) -> Self {
        // Whoever wrote before may have left it full.
        Self { dir, most_bytes, unseen: AtomicU64::new(most_bytes) }
    }

    /// The thumbnail of this name, if it is there and whole.
    pub fn get(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.file(name)).ok().filter(|jpeg| jpeg.starts_with(&[0xFF, 0xD8]) && jpeg.ends_with(&[0xFF, 0xD9]))
    }

    /// Keeps a thumbnail. Not synced: one that a power cut halves is seen to be none.
    pub fn keep(&self, name: &str, jpeg: &[u8]) -> io::Result<()> {
        let file = self.file(name);
        fs::create_dir_all(file.parent().unwrap_or(&self.dir))?;
        let temp = Temp::guard(temp_beside(&file));
        fs::write(temp.path(), jpeg)?;
        fs::rename(temp.path(), &file)?;
        temp.keep();
        self.unseen.fetch_add(jpeg.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Removes the oldest if there may be too many bytes. Says how many files went.
    pub fn tidy(&self) -> usize {
        let due = |unseen| (unseen > self.most_bytes / 16).then_some(0);
        if self.unseen.fetch_update(Ordering::Relaxed, Ordering::Relaxed, due).is_err() {
            return 0;
        }
        let folders = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let files = folders.flat_map(|folder| fs::read_dir(folder.path()).into_iter().flatten().flatten());
        let mut files: Vec<(SystemTime, u64, PathBuf)> = files
            .filter_map(|file| {
                let found = file.metadata().ok().filter(fs::Metadata::is_file)?;
                Some((found.modified().ok()?, found.len(), file.path()))
            })
            .collect();
        files.sort_unstable();
        let mut bytes: u64 = files.iter().map(|(_, length, _)| length).sum();
        let too_many = |(_, length, _): &&(SystemTime, u64, PathBuf)| {
            let remove = bytes > self.most_bytes;
            bytes -= length;
            remove
        };
        let removed = files.iter().take_while(too_many).filter(|(_, _, path)| fs::remove_file(path).is_ok());
        removed.count()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.join(&name[..2]).join(format!("{name}.jpg"))
    }
}

/// Whether files can be made in a folder, which is made if it is not there.
fn can_write(dir: &Path) -> bool {
    let probe = Temp::guard(temp_beside(&dir.join("probe")));
    fs::create_dir_all(dir).and_then(|()| fs::write(probe.path(), b"")).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jpeg(length: usize) -> Vec<u8> {
        [&[0xFF, 0xD8][..], &vec![0; length - 4], &[0xFF, 0xD9]].concat()
    }

    #[test]
    fn what_was_kept_is_found_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let prefix = IndexPrefix::new(dir.path().join("imageindex"));
        let thumbnails = Thumbnails::of(&prefix, &dir.path().join("cache"));
        let name = hash_hex(b"a");
        assert_eq!(thumbnails.get(&name), None);
        thumbnails.keep(&name, &jpeg(100)).unwrap();
        assert_eq!(thumbnails.get(&name), Some(jpeg(100)));
        assert!(prefix.thumbnails().is_dir() && !dir.path().join("cache").exists());
        fs::write(thumbnails.file(&name), &jpeg(100)[..50]).unwrap();
        assert_eq!(thumbnails.get(&name), None);
    }

    #[test]
    fn where_the_index_cannot_be_written_they_are_kept_on_this_host() {
        let dir = tempfile::tempdir().unwrap();
        let prefix = IndexPrefix::new(dir.path().join("imageindex"));
        fs::create_dir(prefix.dir()).unwrap();
        fs::write(prefix.thumbnails(), "a file in the folder's place").unwrap();
        let thumbnails = Thumbnails::of(&prefix, &dir.path().join("cache"));
        thumbnails.keep(&hash_hex(b"a"), &jpeg(100)).unwrap();
        assert_eq!(thumbnails.get(&hash_hex(b"a")), Some(jpeg(100)));
        assert_eq!(fs::read_dir(dir.path().join("cache")).unwrap().count(), 1);
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let thumbnails = Thumbnails::in_folder(dir.path().join("thumbnails"), 350);
        let names: Vec<String> = (0..5).map(|n: u8| hash_hex(&[n])).collect();
        for (name, seconds) in names.iter().zip([5, 4, 3, 2, 1]) {
            thumbnails.keep(name, &jpeg(100)).unwrap();
            let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
            fs::File::options().write(true).open(thumbnails.file(name)).unwrap().set_modified(time).unwrap();
        }
        assert_eq!(thumbnails.tidy(), 2);
        let there: Vec<bool> = names.iter().map(|name| thumbnails.get(name).is_some()).collect();
        assert_eq!(there, [true, true, true, false, false]);
        assert_eq!(thumbnails.tidy(), 0);
    }
}
