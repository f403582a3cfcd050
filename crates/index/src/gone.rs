//! The run's list of rows that no longer describe a picture, gone or changed: sorted entries, read beside the merge.

use std::path::{Path, PathBuf};

use protocol::{BadManifest, Entry, ImagePath, ManifestReader};

use crate::IndexError;
use crate::error::FileKind;

/// A cursor over the list, moved along with the merge.
pub(crate) struct Gone {
    path: PathBuf,
    reader: Option<ManifestReader>,
    next: Option<Entry>,
    here: Vec<Entry>,
}

impl Gone {
    /// No list: nothing is gone.
    pub(crate) fn nothing() -> Self {
        Self { path: PathBuf::new(), reader: None, next: None, here: Vec::new() }
    }

    /// Opens a run's list; one that is not there is empty.
    pub(crate) fn open(path: &Path) -> Result<Self, IndexError> {
        if !path.try_exists().map_err(IndexError::io("read", path))? {
            return Ok(Self::nothing());
        }
        let reader = ManifestReader::open(path).map_err(|e| bad(path, e))?;
        let mut gone = Self { path: path.into(), reader: Some(reader), ..Self::nothing() };
        gone.advance()?;
        Ok(gone)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.next.is_none() && self.here.is_empty()
    }

    /// The entries for `path`. Paths must be asked for in ascending order.
    pub(crate) fn at(&mut self, path: &ImagePath) -> Result<&[Entry], IndexError> {
        self.here.clear();
        while self.next.as_ref().is_some_and(|next| next.path <= *path) {
            let entry = self.advance()?;
            self.here.extend(entry.filter(|e| e.path == *path));
        }
        Ok(&self.here)
    }

    fn advance(&mut self) -> Result<Option<Entry>, IndexError> {
        let next = self.reader.as_mut().and_then(Iterator::next).transpose().map_err(|e| bad(&self.path, e))?;
        if let (Some(before), Some(next)) = (&self.next, &next)
            && before.path > next.path
        {
            return Err(FileKind::Run.damaged(&self.path, format!("it is not sorted at {}", next.path)));
        }
        Ok(std::mem::replace(&mut self.next, next))
    }
}

/// A run's list that cannot be read.
pub(crate) fn bad(path: &Path, error: BadManifest) -> IndexError {
    match error {
        BadManifest::Unreadable { source, .. } => IndexError::io("read", path)(source),
        damaged => FileKind::Run.damaged(path, damaged.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_found_by_path_and_an_unsorted_list_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("gone");
        std::fs::write(&file, "[\"a\",1,1]\n[\"b\",1,1]\n[\"b\",2,2]\n[\"d\",1,1]\n").unwrap();
        let mut gone = Gone::open(&file).unwrap();
        let sizes = |gone: &mut Gone, path: &str| -> Vec<u64> {
            gone.at(&ImagePath::new(path).unwrap()).unwrap().iter().map(|e| e.size_bytes).collect()
        };
        assert_eq!(sizes(&mut gone, "b"), [1, 2]);
        assert!(sizes(&mut gone, "c").is_empty());
        assert_eq!(sizes(&mut gone, "d"), [1]);
        std::fs::write(&file, "[\"b\",1,1]\n[\"a\",1,1]\n").unwrap();
        let mut gone = Gone::open(&file).unwrap();
        assert!(gone.at(&ImagePath::new("z").unwrap()).unwrap_err().to_string().contains("not sorted"));
        assert!(Gone::open(&dir.path().join("none")).unwrap().is_empty());
    }
}
