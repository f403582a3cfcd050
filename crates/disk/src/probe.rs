//! What no index can do without: names of 80 bytes, and a rename that replaces a file. It is tried before the work.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::Folder;
use crate::atomic::{Temp, folder_of, name_in, temp_name};

/// The longest of our own names have a few bytes less.
const NAME_BYTES: usize = 80;

/// A share that cannot hold an index.
#[derive(Debug, thiserror::Error)]
#[error("the share of {} cannot hold an index: it refuses {what}; choose another --index-prefix", folder.display())]
pub struct Unfit {
    folder: PathBuf,
    what: &'static str,
    source: io::Error,
}

/// Tries both in the folder of `beside`, with files that are named as unfinished ones of it are. That nothing can be
/// written there at all is no reason: whoever writes tells it.
pub fn probe(beside: &Path) -> Result<(), Unfit> {
    probe_names(beside, NAME_BYTES)
}

fn probe_names(beside: &Path, bytes: usize) -> Result<(), Unfit> {
    let unfit = |what, source| Unfit { folder: folder_of(beside).into(), what, source };
    let (Ok(folder), Ok(name)) = (Folder::open(folder_of(beside)), name_in(beside)) else { return Ok(()) };
    let [new, old] = [(); 2].map(|()| Temp::named(&folder, long(temp_name(name), bytes), name));
    match put(&new, b"new") {
        Ok(()) => {}
        Err(source) => {
            return match put(&Temp::in_folder(&folder, name), b"") {
                Ok(()) => Err(unfit("names of 80 bytes", source)),
                Err(_) => Ok(()),
            };
        }
    }
    put(&old, b"old").map_err(|e| unfit("a second file", e))?;
    let renamed = folder.replace(&new.name, &old.name).map_err(|e| e.source);
    renamed.map_err(|e| unfit("to rename a file over another", e))?;
    match folder.read_bytes(&old.name, 3) {
        Ok(Some(now)) if now == b"new" => Ok(()),
        Err(e) => Err(unfit("to read what was renamed", e.source)),
        Ok(_) => Err(unfit("to rename a file over another", io::Error::other("the old one is still there"))),
    }
}

fn put(temp: &Temp, bytes: &[u8]) -> io::Result<()> {
    temp.create().map_err(|e| e.source)?.write_all(bytes)
}

fn long(mut name: OsString, bytes: usize) -> OsString {
    if let Some(more @ 1..) = bytes.checked_sub(name.len()) {
        // As the numbers of such a name.
        name.push("0".repeat(more));
    }
    name
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_share_that_can_is_left_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        probe(&dir.path().join("index.meta.json")).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(probe(&dir.path().join("none/lock")).is_ok(), "that it cannot be written is told elsewhere");
        assert_eq!(long("b".into(), NAME_BYTES).len(), NAME_BYTES);
    }

    #[test]
    fn a_share_of_short_names_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index.meta.json");
        // More than any file system takes.
        let error = probe_names(&path, 300).unwrap_err();
        assert!(error.to_string().contains("names of 80 bytes"), "{error}");
        assert!(std::error::Error::source(&error).is_some());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
