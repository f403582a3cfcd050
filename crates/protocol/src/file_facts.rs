//! What an index knows of a picture beside its path and its vector.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

use serde::{Deserialize, Serialize};

use crate::{Entry, ImagePath};

/// What an index knows of a picture's file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FileFacts {
    /// Its length.
    pub size_bytes: u64,
    /// When it was modified, nanoseconds since 1970.
    pub mtime_ns: i64,
    /// When it was taken, as its EXIF tells: seconds since 1970, the camera's clock taken for UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_s: Option<i64>,
    /// Pixels across, upright. Zero if unknown.
    #[serde(default)]
    pub width: u32,
    /// Pixels down, upright. Zero if unknown.
    #[serde(default)]
    pub height: u32,
}

impl FileFacts {
    /// When it was taken, else modified: seconds since 1970.
    pub fn time_s(&self) -> i64 {
        self.taken_s.unwrap_or_else(|| self.mtime_ns.div_euclid(1_000_000_000))
    }

    /// The file at `path` as a scan saw it.
    pub fn entry(&self, path: ImagePath) -> Entry {
        Entry { path, size_bytes: self.size_bytes, mtime_ns: self.mtime_ns }
    }

    /// Whether the file had the size and time of `entry`.
    pub fn fits(&self, entry: &Entry) -> bool {
        self.size_bytes == entry.size_bytes && self.mtime_ns == entry.mtime_ns
    }
}

/// A file's modification time in nanoseconds since 1970.
pub fn mtime_ns(metadata: &Metadata) -> i64 {
    nanoseconds(metadata.mtime(), metadata.mtime_nsec())
}

/// Seconds, and nanoseconds beyond them, as nanoseconds; the nearest that an index can hold.
pub fn nanoseconds(seconds: i64, beyond: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(beyond)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_without_a_date_has_that_of_its_file() {
        let file = FileFacts { mtime_ns: -1, ..FileFacts::default() };
        assert_eq!(file.time_s(), -1);
        assert_eq!(FileFacts { taken_s: Some(5), ..file }.time_s(), 5);
    }
}
