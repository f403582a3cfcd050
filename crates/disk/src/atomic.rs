//! Files appear whole or not at all: write beside, sync, rename, sync the folder. Nothing else renames.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::{Error, sharing};

/// What every temporary name holds, so that leftovers of killed programs can be told.
pub const TEMP_MARK: &str = ".tmp-";

/// A name in the same folder that nobody else uses: `.NAME.tmp-PID-TIME-N`. Hosts share folders, so the process
/// number alone would not do.
pub fn temp_beside(path: &Path) -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos());
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!("{TEMP_MARK}{}-{nanos:x}-{count}", std::process::id()));
    path.with_file_name(name)
}

/// A file or folder under a temporary name, removed when dropped unless it was published.
#[derive(Debug)]
pub struct Temp {
    path: PathBuf,
    published: bool,
}

impl Temp {
    /// Guards a temporary name beside `path`; nothing is created yet.
    pub fn beside(path: &Path) -> Self {
        Self::guard(temp_beside(path))
    }

    /// Guards a given temporary name.
    pub fn guard(path: PathBuf) -> Self {
        Self { path, published: false }
    }

    /// The temporary name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Lets it stay under the name it has.
    pub fn keep(mut self) {
        self.published = true;
    }

    /// Renames it to `target`, in the same folder, and syncs the folder.
    pub fn publish(mut self, target: &Path) -> Result<(), Error> {
        fs::rename(&self.path, target).map_err(Error::io("rename into place", target))?;
        self.published = true;
        sync_parent(target)
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        if !self.published {
            let _ = if self.path.is_dir() { fs::remove_dir_all(&self.path) } else { fs::remove_file(&self.path) };
        }
    }
}

/// Creates a file that must not exist yet. Who may read its folder may read it.
pub fn create_new(path: &Path) -> Result<File, Error> {
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(path);
    let file = file.map_err(Error::io("create", path))?;
    sharing::readable(&file, folder_of(path));
    Ok(file)
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
    let temp = Temp::beside(path);
    let mut file = create_new(temp.path())?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(Error::io("write", path))?;
    drop(file);
    temp.publish(path)
}

/// Replaces `path` by `value` as indented JSON.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), Error> {
    let mut text = serde_json::to_vec_pretty(value).map_err(|e| Error {
        action: "encode",
        path: path.into(),
        source: e.into(),
    })?;
    text.push(b'\n');
    write(path, &text)
}

/// Makes `target` name the same bytes as `source`: a hard link, else a copy; either way by rename.
pub fn link_or_copy(source: &Path, target: &Path) -> Result<(), Error> {
    let temp = Temp::beside(target);
    if fs::hard_link(source, temp.path()).is_err() {
        copy_synced(source, temp.path())?;
    }
    temp.publish(target)
}

fn copy_synced(source: &Path, target: &Path) -> Result<(), Error> {
    let mut from = File::open(source).map_err(Error::io("open", source))?;
    let mut to = create_new(target)?;
    io::copy(&mut from, &mut to).and_then(|_| to.sync_all()).map_err(Error::io("copy to", target))
}

/// Syncs a folder, so that renames in it survive a power cut. Some network file systems refuse this; they order
/// renames by themselves.
pub fn sync_dir(dir: &Path) -> Result<(), Error> {
    match File::open(dir).and_then(|d| d.sync_all()) {
        Err(e)
            if !matches!(
                e.kind(),
                io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied
            ) =>
        {
            Err(Error { action: "sync the folder", path: dir.into(), source: e })
        }
        _ => Ok(()),
    }
}

/// Syncs the folder that holds `path`.
pub fn sync_parent(path: &Path) -> Result<(), Error> {
    sync_dir(folder_of(path))
}

/// The folder that holds `path`.
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
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
        let temp = Temp::beside(&target);
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
        copy_synced(&source, &target).unwrap();
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
}
