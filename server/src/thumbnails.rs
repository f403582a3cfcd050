//! Thumbnails that were made before, beside the index, where every server of it finds them. Each is a file named by a
//! hash of what it shows, so none is ever wrong; all may be removed at any time. Their bytes are bounded.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use disk::atomic::Temp;
use disk::{Folder, ours};
use protocol::{IndexPrefix, hash_hex};

/// The most bytes in a folder, but for what was written since it was last looked through.
const MOST_BYTES: u64 = 2 << 30;

/// None has more bytes.
const MOST_OF_ONE: u64 = 64 << 20;

/// Where thumbnails are.
#[derive(Debug)]
enum Place {
    /// In the folder of an index.
    Index(IndexPrefix),
    /// In a folder on this host.
    Here(PathBuf),
}

/// Thumbnails of one index.
#[derive(Debug)]
pub struct Thumbnails {
    place: Place,
    most_bytes: u64,
    /// Bytes that were written since the folder was last looked through.
    unseen: AtomicU64,
}

impl Thumbnails {
    /// Those beside an index, or why they cannot be written there.
    pub fn beside(prefix: &IndexPrefix) -> Result<Self, disk::Error> {
        let beside = Self::new(Place::Index(prefix.clone()), MOST_BYTES);
        beside.can_write().map(|()| beside)
    }

    /// Those of an index below `cache_dir` on this host, which is closed to others.
    pub fn own(prefix: &IndexPrefix, cache_dir: &Path) -> Self {
        let closing = fs::create_dir_all(cache_dir);
        // Where it cannot be closed what follows cannot be written either.
        let _ = closing.and_then(|()| fs::set_permissions(cache_dir, Permissions::from_mode(0o700)));
        let name = hash_hex(prefix.dir().as_os_str().as_encoded_bytes());
        Self::new(Place::Here(cache_dir.join(name)), MOST_BYTES)
    }

    fn new(place: Place, most_bytes: u64) -> Self {
        // Whoever wrote before may have left it full.
        Self { place, most_bytes, unseen: AtomicU64::new(most_bytes) }
    }

    /// The thumbnail of this name, if it is there and whole.
    pub fn get(&self, name: &str) -> Option<Vec<u8>> {
        let dir = match &self.place {
            Place::Index(prefix) => {
                Folder::open(prefix.dir()).and_then(|index| index.place(&prefix.thumbnails().join("x")))
            }
            Place::Here(dir) => Folder::open(dir).map(|dir| Some((dir, OsString::new()))),
        };
        let (dir, _) = dir.ok()??;
        let jpeg = dir.folder(&name[..2]).ok()?.read_bytes(file(name), MOST_OF_ONE).ok()??;
        (jpeg.starts_with(&[0xFF, 0xD8]) && jpeg.ends_with(&[0xFF, 0xD9])).then_some(jpeg)
    }

    /// Keeps a thumbnail. Not synced: one that a power cut halves is seen to be none.
    pub fn keep(&self, name: &str, jpeg: &[u8]) -> Result<(), disk::Error> {
        let folder = self.folder()?.make_folder(&name[..2])?;
        let temp = Temp::in_folder(&folder, file(name));
        temp.create()?.write_all(jpeg).map_err(disk::Error::io("write", &temp.path()))?;
        temp.publish_unsynced()?;
        self.unseen.fetch_add(jpeg.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Removes the oldest if there may be too many bytes. Says how many files went.
    pub fn tidy(&self) -> usize {
        let due = |unseen| (unseen > self.most_bytes / 16).then_some(0);
        if self.unseen.fetch_update(Ordering::Relaxed, Ordering::Relaxed, due).is_err() {
            return 0;
        }
        let mut files = self.all();
        files.sort_unstable();
        let mut bytes: u64 = files.iter().map(|(_, length, _)| length).sum();
        let too_many = |(_, length, _): &&(SystemTime, u64, String)| {
            let remove = bytes > self.most_bytes;
            bytes -= length;
            remove
        };
        let Ok(dir) = self.folder() else { return 0 };
        let remove = |name: &str| dir.folder(&name[..2]).and_then(|folder| folder.remove_file(name));
        files.iter().take_while(too_many).filter(|(_, _, name)| remove(name).is_ok()).count()
    }

    /// When each was made, its bytes, and its file's name. What else lies there is not ours.
    fn all(&self) -> Vec<(SystemTime, u64, String)> {
        let names =
            |folder: &Folder| folder.names().unwrap_or_default().into_iter().filter_map(|n| n.into_string().ok());
        let Ok(dir) = self.folder() else { return Vec::new() };
        let mut found = Vec::new();
        for folder in names(&dir).filter_map(|name| dir.folder(name).ok()) {
            for name in names(&folder).filter(|name| ours::is_thumbnail(name)) {
                let Some(facts) = folder.read(&name).ok().flatten().and_then(|file| file.metadata().ok()) else {
                    continue;
                };
                let at_home =
                    folder.path().file_name().is_some_and(|home| name.as_bytes().starts_with(home.as_encoded_bytes()));
                found.extend(facts.modified().ok().filter(|_| at_home).map(|made| (made, facts.len(), name)));
            }
        }
        found
    }

    /// The folder of all, which is made if it is not there.
    fn folder(&self) -> Result<Folder, disk::Error> {
        match &self.place {
            Place::Index(prefix) => {
                let (index, name) = ours::make(prefix)?.make_place(&prefix.thumbnails())?;
                index.make_folder(name)
            }
            Place::Here(dir) => Folder::make(dir),
        }
    }

    fn can_write(&self) -> Result<(), disk::Error> {
        Temp::in_folder(&self.folder()?, "probe").create().map(drop)
    }
}

fn file(name: &str) -> String {
    format!("{name}.jpg")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn path(thumbnails: &Thumbnails, name: &str) -> PathBuf {
        thumbnails.folder().unwrap().file(&name[..2]).join(file(name))
    }

    fn jpeg(length: usize) -> Vec<u8> {
        [&[0xFF, 0xD8][..], &vec![0; length - 4], &[0xFF, 0xD9]].concat()
    }

    #[test]
    fn what_was_kept_is_found_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let prefix = IndexPrefix::new(dir.path().join("imageindex"));
        let thumbnails = Thumbnails::beside(&prefix).unwrap();
        let name = hash_hex(b"a");
        assert_eq!(thumbnails.get(&name), None);
        thumbnails.keep(&name, &jpeg(100)).unwrap();
        assert_eq!(thumbnails.get(&name), Some(jpeg(100)));
        assert!(prefix.thumbnails().is_dir());
        fs::write(path(&thumbnails, &name), &jpeg(100)[..50]).unwrap();
        assert_eq!(thumbnails.get(&name), None);
    }

    #[test]
    fn where_the_index_cannot_be_written_they_are_kept_on_this_host_and_closed_to_others() {
        let dir = tempfile::tempdir().unwrap();
        let prefix = IndexPrefix::new(dir.path().join("imageindex"));
        fs::create_dir(prefix.dir()).unwrap();
        fs::write(prefix.thumbnails(), "a file in the folder's place").unwrap();
        assert!(Thumbnails::beside(&prefix).is_err());
        let thumbnails = Thumbnails::own(&prefix, &dir.path().join("cache"));
        thumbnails.keep(&hash_hex(b"a"), &jpeg(100)).unwrap();
        assert_eq!(thumbnails.get(&hash_hex(b"a")), Some(jpeg(100)));
        assert_eq!(fs::read_dir(dir.path().join("cache")).unwrap().count(), 1);
        assert_eq!(fs::metadata(dir.path().join("cache")).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn links_and_pictures_of_others_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (photos, name) = (dir.path().join("photos"), hash_hex(b"a"));
        fs::create_dir_all(photos.join(&name[..2])).unwrap();
        for photo in ["holiday.jpg".into(), file(&name)] {
            fs::write(photos.join(&name[..2]).join(photo), vec![1; 1000]).unwrap();
        }
        let prefix = IndexPrefix::new(dir.path().join("imageindex"));
        ours::make(&prefix).unwrap();
        symlink(&photos, prefix.thumbnails()).unwrap();
        let why = Thumbnails::beside(&prefix).unwrap_err();
        assert!(why.source.to_string().contains("it is a link to"));
        assert!(Thumbnails::new(Place::Index(prefix), MOST_BYTES).keep(&name, &jpeg(100)).is_err());
        let kept = fs::read(photos.join(&name[..2]).join(file(&name))).unwrap();
        assert_eq!(kept, vec![1; 1000], "nothing was written through the link");
        // A folder that others use too.
        let shared = Thumbnails::new(Place::Here(photos.clone()), 100);
        symlink(dir.path(), photos.join("zz")).unwrap();
        assert_eq!(shared.tidy(), 1, "only what is named as thumbnails are");
        assert!(photos.join(&name[..2]).join("holiday.jpg").exists());
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let thumbnails = Thumbnails::new(Place::Here(dir.path().join("thumbnails")), 350);
        let names: Vec<String> = (0..5).map(|n: u8| hash_hex(&[n])).collect();
        for (name, seconds) in names.iter().zip([5, 4, 3, 2, 1]) {
            thumbnails.keep(name, &jpeg(100)).unwrap();
            let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
            fs::File::options().write(true).open(path(&thumbnails, name)).unwrap().set_modified(time).unwrap();
        }
        assert_eq!(thumbnails.tidy(), 2);
        let there: Vec<bool> = names.iter().map(|name| thumbnails.get(name).is_some()).collect();
        assert_eq!(there, [true, true, true, false, false]);
        assert_eq!(thumbnails.tidy(), 0);
    }
}
