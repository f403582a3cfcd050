//! The share under a worker's feet. A mount that goes away, or that another takes the place of, shows as pictures that
//! are gone and as an index that is empty; a worker must not take either for the truth.

use std::fs::{self, File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use index::Row;
use protocol::{Entry, Failure, FailureKind};

/// A chunk of fewer pictures may by chance hold none that is as it was scanned.
const FEW: usize = 8;

/// Folders as they were when a worker began.
pub struct Share(Vec<(PathBuf, File)>);

impl Share {
    /// Remembers these folders. They are held open, so that no share may give their identity to another.
    pub fn of(folders: &[&Path]) -> Result<Self> {
        let open = |folder: &&Path| Ok((folder.to_path_buf(), File::open(folder).with_context(|| lost(folder))?));
        Ok(Self(folders.iter().map(open).collect::<Result<_>>()?))
    }

    /// Fails if another folder, or none, is in the place of one of them by now.
    pub fn stands(&self) -> Result<()> {
        let identity = |m: Metadata| (m.dev(), m.ino());
        for (folder, open) in &self.0 {
            let now = fs::metadata(folder).with_context(|| lost(folder))?;
            let then = open.metadata().with_context(|| lost(folder))?;
            ensure!(identity(now) == identity(then), "{}", lost(folder));
        }
        Ok(())
    }
}

fn lost(folder: &Path) -> String {
    format!("the folder {} is not the one that it was at the start here: mount the share again", folder.display())
}

/// Whether what a worker saw of a chunk can come from the folder that was scanned: one picture, at least, must be as it
/// was. Sizes are compared, since not every kind of mount tells the same times.
pub fn as_scanned(entries: &[Entry], rows: &[Row], failures: &[Failure]) -> bool {
    let same = |row: &Row| {
        let entry = entries.binary_search_by(|entry| entry.path.cmp(&row.path));
        entry.is_ok_and(|at| entries[at].size_bytes == row.file.size_bytes)
    };
    entries.len() < FEW || rows.iter().any(same) || failures.iter().any(|f| f.kind != FailureKind::Vanished)
}
