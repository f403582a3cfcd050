//! A picture that could not be embedded, and why.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One picture that could not be embedded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The picture's canonical path; a name that is not UTF-8 is shown with replacement characters.
    pub path: String,
    /// The kind of failure.
    pub kind: FailureKind,
    /// What exactly was wrong.
    pub detail: String,
    /// The host that saw it.
    pub host: String,
}

/// Kinds of failures, one word each, the same in files, events and texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The file's name is not UTF-8, so no index file could hold it.
    NameNotUtf8,
    /// The file could not be opened or read.
    Unreadable,
    /// The file is gone since the scan.
    Vanished,
    /// A list names it, but it is not in the collection's folder.
    OutsideRoot,
    /// The bytes are no picture of a known format, or are damaged.
    Undecodable,
    /// The picture has more pixels than the limit allows.
    TooManyPixels,
    /// The model gave no usable vector for it.
    NoVector,
    /// A folder could not be listed, so its pictures are unknown; rows that stand for them are kept.
    FolderUnreadable,
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NameNotUtf8 => "name_not_utf8",
            Self::Unreadable => "unreadable",
            Self::Vanished => "vanished",
            Self::OutsideRoot => "outside_root",
            Self::Undecodable => "undecodable",
            Self::TooManyPixels => "too_many_pixels",
            Self::NoVector => "no_vector",
            Self::FolderUnreadable => "folder_unreadable",
        })
    }
}
