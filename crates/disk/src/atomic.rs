//! Files appear whole or not at all: write beside, sync, rename, sync the folder. Nothing else renames.
//!
//! These functions take paths whose folders a person named, and follow links in those; for what lies in the folder of an
//! index, or in another that others may write to, see [`Folder`].

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::odd_share::{Ability, sync};
use crate::{Error, Folder, sharing};

/// What every temporary name holds, so that leftovers of killed programs can be told.
pub const TEMP_MARK: &str = ".tmp-";

/// A name that nobody else uses: `.NAME.tmp-PID-TIME-N`. Hosts share folders, so the process number alone would not do.
pub fn temp_name(name: &OsStr) -> OsString {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos());
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let mut temp = OsString::from(".");
    temp.push(name);
    temp.push(format!("{TEMP_MARK}{}-{nanos:x}-{count}", std::process::id()));
    temp
}

/// The name for which a temporary one was made, as [`temp_name`] makes them and the lock and the token of a run are called;
/// `None` if it is another's.
pub fn name_of_temp(temp: &str) -> Option<&str> {
    let (name, numbers) = temp.strip_prefix('.')?.rsplit_once(TEMP_MARK)?;
    let numbers: Vec<&str> = numbers.split('-').collect();
    let sound =
        |text: &&str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase());
    ((2..=4).contains(&numbers.len()) && numbers.iter().all(sound)).then_some(name)
}

/// A file or folder under a temporary name, removed when dropped unless it was published.
#[derive(Debug)]
pub struct Temp {
    pub(crate) folder: Folder,
    pub(crate) name: OsString,
    pub(crate) target: OsString,
    /// A person named the folder, and may keep a link in it.
    named: bool,
    published: bool,
}

impl Temp {
    /// Guards a temporary name for `target` in a folder; nothing is created yet.
    pub fn in_folder(folder: &Folder, target: impl AsRef<OsStr>) -> Self {
        let target = target.as_ref();
        Self::named(folder, temp_name(target), target)
    }

    /// Guards a given temporary name.
    pub fn named(folder: &Folder, name: impl Into<OsString>, target: impl Into<OsString>) -> Self {
        Self { folder: folder.clone(), name: name.into(), target: target.into(), named: false, published: false }
    }

    /// Guards what is in its place already, so that it goes unless it is kept.
    pub fn guard(folder: &Folder, name: impl Into<OsString>) -> Self {
        let name = name.into();
        Self::named(folder, name.clone(), name)
    }

    /// Guards a temporary name beside `path`.
    pub fn beside(path: &Path) -> Result<Self, Error> {
        let mut temp = Self::in_folder(&Folder::open(folder_of(path))?, name_in(path)?);
        temp.named = true;
        Ok(temp)
    }

    /// The temporary name, with its folder.
    pub fn path(&self) -> PathBuf {
        self.folder.file(&self.name)
    }

    /// Makes the file.
    pub fn create(&self) -> Result<File, Error> {
        self.folder.create_new(&self.name)
    }

    /// Fails if a link has the name that it is for.
    pub fn refuse_link(&self) -> Result<(), Error> {
        self.folder.refuse_link("write", &self.target)
    }

    /// Makes a folder of it.
    pub fn create_folder(&self) -> Result<Folder, Error> {
        self.folder.make_folder(&self.name)
    }

    /// Lets it stay under the name it has.
    pub fn keep(mut self) {
        self.published = true;
    }

    /// Makes the file of these bytes, syncs it and publishes it.
    pub(crate) fn write(self, bytes: &[u8]) -> Result<(), Error> {
        self.fill(bytes)?;
        self.publish()
    }

    /// Makes the file of these bytes, and syncs it.
    fn fill(&self, bytes: &[u8]) -> Result<(), Error> {
        let mut file = self.create()?;
        let written = file.write_all(bytes).and_then(|()| sync(&file));
        written.map_err(Error::io("write", &self.folder.file(&self.target)))
    }

    /// Gives it the name that it is for, and syncs the folder.
    pub fn publish(self) -> Result<(), Error> {
        let folder = self.folder.clone();
        self.publish_unsynced()?;
        folder.sync()
    }

    /// The same of what may be lost in a power cut.
    pub fn publish_unsynced(mut self) -> Result<(), Error> {
        if self.named {
            self.folder.replace(&self.name, &self.target)?;
        } else {
            self.folder.rename(&self.name, &self.target)?;
        }
        self.published = true;
        Ok(())
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        if !self.published {
            // What cannot be removed now is found by a later merge.
            let _ = self.folder.remove_all(&self.name);
        }
    }
}

/// Creates a file that must not exist yet. Who may read its folder may read it.
pub fn create_new(path: &Path) -> Result<File, Error> {
    Folder::open(folder_of(path))?.create_new(name_in(path)?)
}

/// Creates a file in the place of one that may be there; what that was, also a link, is not written through.
pub fn create(path: &Path) -> Result<File, Error> {
    remove_file(path)?;
    create_new(path)
}

/// Creates a folder and those above it. Who may write in the folder that it is in may write in it.
pub fn create_dir(path: &Path) -> Result<(), Error> {
    sharing::create_dir(path).map_err(Error::io("create the folder", path))
}

/// Replaces `path` by `bytes`: readers see the old file or the new one, whole.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    Temp::beside(path)?.write(bytes)
}

/// Replaces `path` by `value` as indented JSON.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), Error> {
    write(path, &json(value, path)?)
}

/// `value` as indented JSON in a file beside `path`, synced: all but the rename.
pub fn draft_json<T: Serialize>(path: &Path, value: &T) -> Result<Temp, Error> {
    let temp = Temp::beside(path)?;
    temp.fill(&json(value, path)?)?;
    Ok(temp)
}

/// A value as indented JSON, for the file at `path`.
pub(crate) fn json<T: Serialize>(value: &T, path: &Path) -> Result<Vec<u8>, Error> {
    let mut text = serde_json::to_vec_pretty(value).map_err(|e| Error::io("encode", path)(e.into()))?;
    text.push(b'\n');
    Ok(text)
}

/// Makes `target` name the same bytes as `source`: a hard link, else a copy; either way by rename.
pub fn link_or_copy(source: &Path, target: &Path) -> Result<(), Error> {
    let temp = Temp::beside(target)?;
    let from = Folder::open(folder_of(source))?;
    if temp.folder.link(&from, name_in(source)?, &temp.name).is_err() {
        copy_synced(source, &temp)?;
    }
    temp.publish()
}

/// Makes `target` a file of its own with the bytes of `source`, by rename.
pub fn copy(source: &Path, target: &Path) -> Result<(), Error> {
    let temp = Temp::beside(target)?;
    copy_synced(source, &temp)?;
    temp.publish()
}

fn copy_synced(source: &Path, temp: &Temp) -> Result<(), Error> {
    let mut from = protocol::open_file(source).map_err(Error::io("open", source))?;
    let mut to = temp.create()?;
    io::copy(&mut from, &mut to).and_then(|_| sync(&to)).map_err(Error::io("copy to", &temp.path()))
}

/// Syncs a folder, so that renames in it survive a power cut.
pub fn sync_dir(dir: &Path) -> Result<(), Error> {
    synced(File::open(dir).and_then(|d| d.sync_all()), dir)
}

/// What syncing a folder came to. Where a share cannot, it orders renames by itself.
pub(crate) fn synced(result: io::Result<()>, dir: &Path) -> Result<(), Error> {
    Ability::SyncFolder.is_wanted(result).map_err(Error::io("sync the folder", dir))
}

/// Syncs the folder that holds `path`.
pub fn sync_parent(path: &Path) -> Result<(), Error> {
    sync_dir(folder_of(path))
}

/// The folder that holds `path`.
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The name of `path` in its folder.
pub fn name_in(path: &Path) -> Result<&OsStr, Error> {
    let nameless = || Error::io("use", path)(io::Error::new(io::ErrorKind::InvalidInput, "it has no name"));
    path.file_name().ok_or_else(nameless)
}

/// Removes a file; that it is not there is fine.
pub fn remove_file(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error { action: "remove", path: path.into(), source: e }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_temp_leaves_nothing_and_a_published_one_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a.json");
        let temp = Temp::beside(&target).unwrap();
        fs::write(temp.path(), "half").unwrap();
        drop(temp);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        write(&target, b"one").unwrap();
        write(&target, b"two").unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"two");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn where_there_are_no_hard_links_a_copy_does() {
        let dir = tempfile::tempdir().unwrap();
        let (source, target) = (dir.path().join("a"), dir.path().join("b"));
        fs::write(&source, "bytes").unwrap();
        let temp = Temp::beside(&target).unwrap();
        copy_synced(&source, &temp).unwrap();
        temp.publish().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"bytes");
        link_or_copy(&source, &target).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"bytes");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn an_error_names_the_file_and_the_cause() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        let error = write(&dir.path().join("file").join("x"), b"").unwrap_err();
        assert!(error.to_string().contains("file"), "{error}");
        assert!(std::error::Error::source(&error).is_some());
    }

    #[test]
    fn temporary_names_tell_whose_they_are() {
        let made = temp_name(OsStr::new("failures.jsonl"));
        assert_eq!(name_of_temp(made.to_str().unwrap()), Some("failures.jsonl"));
        assert_eq!(name_of_temp(".lock.tmp-12-1700000000"), Some("lock"));
        for other in [
            "failures.jsonl.tmp-1-2-3",
            ".notes.tmp-draft",
            ".notes.tmp-1",
            ".a.tmp-1-2-3-4-5",
            ".tmp-1-2",
            ".a.tmp-1-G",
        ] {
            assert!(name_of_temp(other).is_none_or(str::is_empty), "{other}");
        }
    }
}
