//! What can go wrong with the files of an index. Every error names the file and says what to do.

use std::io;
use std::path::{Path, PathBuf};

use protocol::FORMAT_VERSION;
use serde_json::Value;

/// The wish that work ends before it is done. Given by whoever follows its progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it was interrupted")]
pub struct Interrupted;

/// Follows work that takes long: it is told now and then how many rows are done, and can end it.
pub type Progress<'a> = &'a mut dyn FnMut(u64) -> Result<(), Interrupted>;

/// Why an operation on an index's files did not succeed. Nothing that stood before was harmed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// The system refused: no space, no permission, the share is gone.
    #[error(transparent)]
    Disk(#[from] disk::Error),
    /// Whoever follows the work wanted it to end.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
    /// The index is another program's by now.
    #[error(transparent)]
    Lost(#[from] disk::Lost),
    /// A file's bytes are not what was written.
    #[error("{} is damaged: {what}; {remedy}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A file was written by newer software.
    #[error("{} has format version {found}, this program knows up to {FORMAT_VERSION}: run setup_workers.sh to update", path.display())]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u64,
    },
    /// A file was written by older software, whose format is not read any more.
    #[error("{} has format version {found}, this program works with {FORMAT_VERSION}: {remedy}", path.display())]
    OlderFormat {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u64,
        /// What to do.
        remedy: &'static str,
    },
    /// A filter that cannot be meant.
    #[error("{what}")]
    BadFilter {
        /// What is wrong with it.
        what: String,
    },
    /// A file belongs to another collection.
    #[error(
        "{} holds pictures of {has:?}, not of {wanted:?}: use another --index-prefix, or build the index anew with --fresh",
        path.display()
    )]
    OtherRoot {
        /// The file.
        path: PathBuf,
        /// Its root.
        has: String,
        /// The root that was asked for.
        wanted: String,
    },
    /// A file's vectors come from another model.
    #[error(
        "{} holds vectors of model {has}, not of {wanted}: use the model of the index, or build it anew with --fresh",
        path.display()
    )]
    OtherModel {
        /// The file.
        path: PathBuf,
        /// Its model: name, dimension and fingerprint.
        has: String,
        /// The model that was asked for.
        wanted: String,
    },
    /// Vectors of different lengths were brought together.
    #[error("{what} has {found} values, the index has {expected}: embed it with the index's model")]
    Dimension {
        /// Which vector.
        what: String,
        /// Its length.
        found: usize,
        /// The index's D.
        expected: usize,
    },
    /// A named part did not show up, or is not the one that was named.
    #[error("part {}: {what}; run the controller again, it embeds what is missing", path.display())]
    PartMissing {
        /// The part's file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A worker's partial index cannot be merged.
    #[error("{what}: {remedy}")]
    Partial {
        /// Each file and what is wrong with it.
        what: String,
        /// What to do.
        remedy: String,
    },
    /// Vectors or paths that were made elsewhere are not what can be imported.
    #[error("cannot import {}: {what}", path.display())]
    NotImportable {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it, in which row, and what to do.
        what: String,
    },
    /// A file that a merge would replace is another program's.
    #[error(
        "{} is not of an index of Imagefleet, so that it may be somebody's: move it away, or choose another --index-prefix",
        path.display()
    )]
    NotOurs {
        /// The file.
        path: PathBuf,
    },
    /// A folder to write to holds something.
    #[error("{} is not empty: name a folder that is, or that is not there yet", path.display())]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// There is no index and nothing to make one of.
    #[error("there is nothing to merge at {}: no picture was embedded yet", prefix.display())]
    NothingToMerge {
        /// The index's prefix.
        prefix: PathBuf,
    },
    /// There is no index.
    #[error("there is no index at {}: {} does not exist; build one with the controller", prefix.display(), meta.display())]
    NoIndex {
        /// The index's prefix.
        prefix: PathBuf,
        /// Its metadata file.
        meta: PathBuf,
    },
    /// Files of an index are there, but not the file that lists them.
    #[error(
        "{} is missing, but {} is there: restore it, or build the index anew with --fresh",
        meta.display(), other.display()
    )]
    MetaMissing {
        /// `P.meta.json`.
        meta: PathBuf,
        /// What is there.
        other: PathBuf,
    },
    /// More than can be done at once.
    #[error("there are too many {what}: at most {most} can be; use an index of a part of the collection")]
    TooMany {
        /// Of what.
        what: String,
        /// How many there can be.
        most: u64,
    },
    /// Another merge finished while this one worked.
    #[error("another merge changed {} meanwhile; nothing was written; merge again", meta.display())]
    ChangedMeanwhile {
        /// `P.meta.json`.
        meta: PathBuf,
    },
    /// The switch to the new generation was made, but what comes after it was not.
    #[error("generation {generation} of {} is merged and in use, but its last steps failed; merge again to finish them", prefix.display())]
    AfterSwitch {
        /// The new generation.
        generation: u64,
        /// The index's prefix.
        prefix: PathBuf,
        /// What failed.
        source: Box<IndexError>,
    },
}

impl IndexError {
    /// The same of another file, of which the damaged one is a whole copy.
    pub(crate) fn of_origin(self, origin: &Path) -> Self {
        match self {
            Self::Damaged { what, remedy, .. } => Self::Damaged { path: origin.into(), what, remedy },
            other => other,
        }
    }

    /// For `map_err`: what was tried and on which file.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let error = disk::Error::io(action, path);
        move |source| error(source).into()
    }

    /// True if the file or folder is simply not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Disk(disk::Error { source, .. }) if source.kind() == io::ErrorKind::NotFound)
    }
}

/// What a file is, for saying what to do when it is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    Part,
    Partial,
    Generation,
    Bits,
    Meta,
    Run,
    Written,
    /// Of another program.
    Brought,
}

impl FileKind {
    pub(crate) fn damaged(self, path: &Path, what: impl Into<String>) -> IndexError {
        let remedy = match self {
            Self::Part => "delete it and run the controller again, it embeds these pictures again",
            Self::Partial => "run its worker again",
            Self::Generation => "restore it from a backup, or build the index anew with --fresh",
            Self::Bits => "merge again once there is something new: it is made anew",
            Self::Meta => "restore it from a backup, or build the index anew with --fresh",
            Self::Run => "run the controller again",
            Self::Brought => "make it anew with the program that wrote it",
            Self::Written => "what was just written does not read back: check the disk; the old index is untouched",
        };
        IndexError::Damaged { path: path.into(), what: what.into(), remedy }
    }
}

/// Refuses metadata of another format version than this program's.
pub(crate) fn check_version(path: &Path, kind: FileKind, meta: &Value) -> Result<(), IndexError> {
    let remedy = match kind {
        FileKind::Part => "delete it and run the controller again, it embeds these pictures again",
        FileKind::Partial => "run its worker again",
        _ => "build the index anew with controller --fresh",
    };
    match meta.get("format_version").and_then(Value::as_u64) {
        None => Err(kind.damaged(path, "it has no format_version")),
        Some(found) if found > FORMAT_VERSION.into() => Err(IndexError::NewerFormat { path: path.into(), found }),
        Some(found) if found < FORMAT_VERSION.into() => {
            Err(IndexError::OlderFormat { path: path.into(), found, remedy })
        }
        Some(_) => Ok(()),
    }
}
