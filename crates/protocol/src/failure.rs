//! A picture that could not be embedded, and why.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Entry, VERSION};

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
    /// What was judged and by whom, if the fault lies in the picture's bytes.
    #[serde(flatten)]
    pub judged: Option<Judged>,
}

/// The state of a picture in which its bytes were found to be at fault. While it stays so, this version would only find
/// the same again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judged {
    /// Its file's size in bytes.
    #[serde(rename = "size")]
    pub size_bytes: u64,
    /// Its file's modification time in nanoseconds since 1970.
    pub mtime_ns: i64,
    /// The version of the software that judged it: another one may read more.
    pub version: String,
}

impl Failure {
    /// A failure that the next run may find healed: it tries again.
    pub fn new(path: String, kind: FailureKind, detail: String, host: &str) -> Self {
        Self { path, kind, detail, host: host.into(), judged: None }
    }

    /// A failure of the picture `entry`, which is final for this version if it lies in the picture's bytes.
    pub fn of(entry: &Entry, path: String, kind: FailureKind, detail: String, host: &str) -> Self {
        let Entry { size_bytes, mtime_ns, .. } = *entry;
        let judged = Judged { size_bytes, mtime_ns, version: VERSION.into() };
        Self { judged: kind.lies_in_the_bytes().then_some(judged), ..Self::new(path, kind, detail, host) }
    }

    /// The state of the picture in which this version would only find the same again; `None` if it is worth a try.
    pub fn would_fail_again(&self) -> Option<&Judged> {
        self.judged.as_ref().filter(|judged| judged.version == VERSION && self.kind.lies_in_the_bytes())
    }
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
    /// The machine lacks what this format needs; another one may have it.
    NoDecoder,
    /// The picture has more pixels than the limit allows.
    TooManyPixels,
    /// The model gave no usable vector for it.
    NoVector,
    /// A worker died while it had this picture alone in hand.
    Crashed,
    /// A folder could not be listed, so its pictures are unknown; rows that stand for them are kept.
    FolderUnreadable,
}

impl FailureKind {
    /// Whether the same bytes would fail again, on every machine: then only a change of the picture or of the software
    /// is a reason to try again.
    pub fn lies_in_the_bytes(self) -> bool {
        matches!(self, Self::Undecodable | Self::TooManyPixels | Self::Crashed)
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NameNotUtf8 => "name_not_utf8",
            Self::Unreadable => "unreadable",
            Self::Vanished => "vanished",
            Self::OutsideRoot => "outside_root",
            Self::Undecodable => "undecodable",
            Self::NoDecoder => "no_decoder",
            Self::TooManyPixels => "too_many_pixels",
            Self::NoVector => "no_vector",
            Self::Crashed => "crashed",
            Self::FolderUnreadable => "folder_unreadable",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ImagePath, decode_line, encode_line};

    #[test]
    fn what_was_judged_stands_in_the_same_object_and_old_lines_are_still_read() {
        let path = ImagePath::new("a.jpg").expect("it is relative");
        let entry = Entry { path, size_bytes: 5, mtime_ns: -7 };
        let bad = Failure::of(&entry, "/p/a.jpg".into(), FailureKind::Undecodable, "d".into(), "h");
        let line = encode_line(&bad);
        assert!(line.contains("\"size\":5,\"mtime_ns\":-7,\"version\":"), "{line}");
        assert_eq!(decode_line::<Failure>(&line).unwrap(), bad);
        let may_heal = Failure::of(&entry, "/p/a.jpg".into(), FailureKind::Unreadable, "d".into(), "h");
        assert_eq!(may_heal.judged, None);
        assert_eq!(decode_line::<Failure>(&encode_line(&may_heal)).unwrap(), may_heal);
    }
}
