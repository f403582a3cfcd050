//! Reads metadata files: of the index, of partial indexes, of runs. What does not make sense is damage.

use std::fs;
use std::path::{Path, PathBuf};

use protocol::{FORMAT_VERSION, IndexMeta, IndexPrefix, SegmentMeta};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::IndexError;
use crate::error::FileKind;

/// The metadata of the current generation; `None` if there is no index yet.
pub fn read_meta(prefix: &IndexPrefix) -> Result<Option<IndexMeta>, IndexError> {
    let path = prefix.meta();
    let Some(meta) = read_json::<IndexMeta>(&path, FileKind::Meta)? else { return Ok(None) };
    let rows: Option<u64> = meta.segments.iter().try_fold(0u64, |sum, s| sum.checked_add(s.rows));
    let sound = rows == Some(meta.num_images)
        && meta.model.embedding_dim > 0
        && (1..u64::MAX).contains(&meta.generation)
        && meta.segments.iter().all(|s| is_segment_name(&s.name));
    if sound { Ok(Some(meta)) } else { Err(FileKind::Meta.damaged(&path, "its numbers or names do not fit together")) }
}

/// A JSON file with a `format_version`; `None` if it is not there.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path, kind: FileKind) -> Result<Option<T>, IndexError> {
    let bytes = match fs::read(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        bytes => bytes.map_err(IndexError::io("read", path))?,
    };
    let value: Value = serde_json::from_slice(&bytes).map_err(|e| kind.damaged(path, e.to_string()))?;
    match value.get("format_version").and_then(Value::as_u64) {
        Some(version) if version > u64::from(FORMAT_VERSION) => {
            Err(IndexError::NewerFormat { path: path.into(), found: version })
        }
        Some(_) => serde_json::from_value(value).map(Some).map_err(|e| kind.damaged(path, e.to_string())),
        None => Err(kind.damaged(path, "it has no format_version")),
    }
}

/// A segment and where its files are.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub meta: SegmentMeta,
    pub parquet: PathBuf,
    pub faiss: PathBuf,
}

/// The segments of a generation, in row order.
pub(crate) fn segments(prefix: &IndexPrefix, meta: &IndexMeta) -> Vec<Segment> {
    let file = |name: &str, extension: &str| prefix.dir().join(format!("{name}.{extension}"));
    let segments = meta.segments.iter();
    segments
        .map(|s| Segment { meta: s.clone(), parquet: file(&s.name, "parquet"), faiss: file(&s.name, "faiss") })
        .collect()
}

/// `gen-G/seg-K`, which cannot lead out of `P/`.
fn is_segment_name(name: &str) -> bool {
    let number = |text: &str, before: &str| {
        text.strip_prefix(before).is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    };
    name.split_once('/').is_some_and(|(generation, segment)| number(generation, "gen-") && number(segment, "seg-"))
}
