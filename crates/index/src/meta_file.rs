//! Reads metadata files: of the index, of partial indexes, of runs. What does not make sense is damage.

use std::path::{Path, PathBuf};

use protocol::layout::is_file_name;
use protocol::{IndexMeta, IndexPrefix, MOST_METADATA, RunRecord, SegmentMeta};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::IndexError;
use crate::error::{FileKind, check_version};

/// The metadata of the current generation; `None` if there is no index yet.
pub fn read_meta(prefix: &IndexPrefix) -> Result<Option<IndexMeta>, IndexError> {
    let path = prefix.meta();
    let Some(meta) = read_json::<IndexMeta>(&path, FileKind::Meta)? else { return Ok(None) };
    let rows: Option<u64> = meta.segments.iter().try_fold(0u64, |sum, s| sum.checked_add(s.rows));
    let sound = rows == Some(meta.num_images)
        && meta.model.embedding_dim > 0
        && (1..u64::MAX).contains(&meta.generation)
        && meta.segments.iter().all(|s| is_segment_name(&s.name, meta.generation));
    if sound { Ok(Some(meta)) } else { Err(FileKind::Meta.damaged(&path, "its numbers or names do not fit together")) }
}

/// The name of the index's model; `None` if there is no index yet. Of an index in an older format, too: who builds it anew
/// keeps its model.
pub fn model_name(prefix: &IndexPrefix) -> Result<Option<String>, IndexError> {
    match read_meta(prefix) {
        Err(IndexError::OlderFormat { path, .. }) => {
            let bytes = protocol::read_file(&path, MOST_METADATA).map_err(IndexError::io("read", &path))?;
            let value: Value =
                serde_json::from_slice(&bytes).map_err(|e| FileKind::Meta.damaged(&path, e.to_string()))?;
            Ok(value["model_name"].as_str().map(str::to_owned))
        }
        meta => Ok(meta?.map(|meta| meta.model.model_name)),
    }
}

/// The record of a run; `None` if there is none, as for a run by hand, whose name may be any text.
pub(crate) fn read_record(prefix: &IndexPrefix, run_id: &str) -> Result<Option<RunRecord>, IndexError> {
    if !is_file_name(run_id) {
        return Ok(None);
    }
    let path = prefix.run(run_id).record();
    match read_json::<RunRecord>(&path, FileKind::Run)? {
        // The proof is written where the record says that it belongs.
        Some(record) if record.run_id != run_id => {
            Err(FileKind::Run.damaged(&path, format!("it says that it is of run {:?}", record.run_id)))
        }
        record => Ok(record),
    }
}

/// A JSON file with a `format_version`; `None` if it is not there.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path, kind: FileKind) -> Result<Option<T>, IndexError> {
    // A partial index lists the pictures that failed.
    let most = if kind == FileKind::Partial { 4 * MOST_METADATA } else { MOST_METADATA };
    let bytes = match protocol::read_file(path, most) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        bytes => bytes.map_err(IndexError::io("read", path))?,
    };
    let value: Value = serde_json::from_slice(&bytes).map_err(|e| kind.damaged(path, e.to_string()))?;
    check_version(path, kind, &value)?;
    serde_json::from_value(value).map(Some).map_err(|e| kind.damaged(path, e.to_string()))
}

/// A segment and where its files are.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub meta: SegmentMeta,
    pub parquet: PathBuf,
    pub faiss: PathBuf,
    /// Of its first pass, if it has one.
    pub bits: PathBuf,
}

/// The segments of a generation, in row order.
pub(crate) fn segments(prefix: &IndexPrefix, meta: &IndexMeta) -> Vec<Segment> {
    let file = |name: &str, extension: &str| prefix.dir().join(format!("{name}.{extension}"));
    let segments = meta.segments.iter();
    segments
        .map(|s| Segment {
            meta: s.clone(),
            parquet: file(&s.name, "parquet"),
            faiss: file(&s.name, "faiss"),
            bits: file(&s.name, "bits"),
        })
        .collect()
}

/// `gen-G/seg-K`, which cannot lead out of `P/`. G is at most the index's generation: folders of later ones are removed as
/// what a killed merge left.
fn is_segment_name(name: &str, newest: u64) -> bool {
    let number = |text: &str, before: &str| -> Option<u64> {
        text.strip_prefix(before).filter(|n| n.bytes().all(|b| b.is_ascii_digit()))?.parse().ok()
    };
    name.split_once('/').is_some_and(|(generation, segment)| {
        number(generation, "gen-").is_some_and(|g| (1..=newest).contains(&g)) && number(segment, "seg-").is_some()
    })
}
