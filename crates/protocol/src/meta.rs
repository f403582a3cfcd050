//! Metadata files: of a part, of a worker's partial index, of the index, and of a run.

use serde::{Deserialize, Serialize};

use crate::{Failure, ScanSummary, Stages};

/// The version of the file formats in docs/format.md. A reader refuses any other.
pub const FORMAT_VERSION: u32 = 2;

/// What decides whether two vectors may stand in one index.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ModelIdentity {
    /// The model's name as a person knows it.
    pub model_name: String,
    /// Hash of weights, tokenizer, preprocessing and EXIF rule: vectors of different fingerprints never mix.
    pub fingerprint: String,
    /// Values in a vector, D.
    pub embedding_dim: usize,
    /// `fp32`, `bf16`, `int8` or `fp16`.
    pub precision: String,
    /// What computes: `cpu`, `openvino`...
    pub provider: String,
    /// Achieved deviation from fp32 as a share of the median distance between pictures; absent if not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deviation: Option<f64>,
}

/// Of a part, in its parquet file's key-value metadata under `imagefleet`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartMeta {
    /// [`FORMAT_VERSION`] of the writer.
    pub format_version: u32,
    /// The part's name: [`crate::chunk_name`] of what it was to hold.
    pub name: String,
    /// Canonical root of its paths.
    #[serde(deserialize_with = "crate::path::root")]
    pub root: String,
    /// The model.
    #[serde(flatten)]
    pub model: ModelIdentity,
    /// Host that made it.
    pub host: String,
    /// Rows in it.
    #[serde(deserialize_with = "crate::bounded::count")]
    pub rows: u64,
    /// Hash over all rows, of paths, vectors, facts and content hashes.
    pub checksum: String,
    /// Pictures of the chunk that failed.
    pub failures: Vec<Failure>,
}

/// Of a worker's partial index, `P/worker_N.meta.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerMeta {
    /// [`FORMAT_VERSION`] of the writer.
    pub format_version: u32,
    /// Version of the software that wrote it.
    pub software_version: String,
    /// Number of the worker.
    pub worker_id: u32,
    /// The run that it belongs to.
    pub run_id: String,
    /// Canonical root of its paths.
    #[serde(deserialize_with = "crate::path::root")]
    pub root: String,
    /// The model.
    #[serde(flatten)]
    pub model: ModelIdentity,
    /// Rows in it.
    #[serde(deserialize_with = "crate::bounded::count")]
    pub num_images: u64,
    /// Pictures that failed.
    #[serde(deserialize_with = "crate::bounded::count")]
    pub num_failed: u64,
    /// Time spent on embedding, without model loading.
    pub processing_time_seconds: f64,
    /// Where that time went.
    #[serde(default)]
    pub stages: Stages,
    /// Pictures encoded at once.
    pub batch_size: usize,
    /// The host.
    pub host: String,
    /// Hash over all rows.
    pub checksum: String,
    /// Pictures that failed, each with its reason. Left out of the merged metadata.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<Failure>,
}

/// One immutable set of files of a generation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SegmentMeta {
    /// Path of its files relative to `P/`, without extension: `gen-3/seg-0`.
    pub name: String,
    /// Rows in it.
    #[serde(deserialize_with = "crate::bounded::count")]
    pub rows: u64,
    /// Length of the parquet file.
    #[serde(deserialize_with = "crate::bounded::bytes")]
    pub parquet_bytes: u64,
    /// XXH3-128 of the parquet file.
    pub parquet_checksum: String,
    /// Length of the faiss file.
    #[serde(deserialize_with = "crate::bounded::bytes")]
    pub faiss_bytes: u64,
    /// XXH3-128 of the faiss file.
    pub faiss_checksum: String,
    /// The file of one bit a dimension; a segment of few rows, and one of older software, has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_pass: Option<FirstPassMeta>,
}

/// A segment's first pass: which rows a search looks at closely, and what that was measured to find.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FirstPassMeta {
    /// Length of the file.
    #[serde(deserialize_with = "crate::bounded::bytes")]
    pub bits_bytes: u64,
    /// XXH3-128 of the file.
    pub bits_checksum: String,
    /// Rows whose exact scores are compared for the 10 best; more for more. `None`: no number that saves time finds enough of
    /// them, so that a search compares all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidates: Option<u64>,
    /// Share of the 10 best rows that are among the candidates, over `questions`; of the kinds of questions that of the
    /// worst. With no `candidates`: at the greatest number that was tried.
    pub recall_at_10: f64,
    /// How many questions it was measured with.
    #[serde(deserialize_with = "crate::bounded::count")]
    pub questions: u64,
}

/// Of the index, `P.meta.json`. Renaming this file into place is the only switch from a generation to the next.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IndexMeta {
    /// [`FORMAT_VERSION`] of the writer.
    pub format_version: u32,
    /// Version of the software that wrote it.
    pub software_version: String,
    /// Number of this generation, from 1.
    pub generation: u64,
    /// When it was made, RFC 3339.
    pub created: String,
    /// The run whose work it took in last.
    pub run_id: String,
    /// Canonical root of its paths.
    #[serde(deserialize_with = "crate::path::root")]
    pub root: String,
    /// The model.
    #[serde(flatten)]
    pub model: ModelIdentity,
    /// Rows in all segments.
    #[serde(deserialize_with = "crate::bounded::count")]
    pub num_images: u64,
    /// Pictures that failed in the last run.
    #[serde(deserialize_with = "crate::bounded::count")]
    pub num_failed: u64,
    /// Workers whose partial indexes or parts the last run merged.
    pub num_workers: usize,
    /// Sum over workers of time spent on embedding in the last run.
    pub processing_time_seconds: f64,
    /// The partial indexes that the last run merged.
    pub worker_metadata: Vec<WorkerMeta>,
    /// The files, in row order: row i of the index is row i of their concatenation.
    pub segments: Vec<SegmentMeta>,
}

/// Of a run, `P/runs/RUN/run.json`. The scan writes it; the merge completes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    /// [`FORMAT_VERSION`] of the writer.
    pub format_version: u32,
    /// The run.
    pub run_id: String,
    /// When it began, RFC 3339.
    pub started: String,
    /// Canonical root.
    #[serde(deserialize_with = "crate::path::root")]
    pub root: String,
    /// The model as it was asked for: a name, or a folder.
    pub model: String,
    /// Fingerprint of the model that the run embeds with.
    pub fingerprint: String,
    /// True for a scan of the whole root, which alone may find pictures gone.
    pub full_scan: bool,
    /// What the scan found.
    pub summary: ScanSummary,
    /// Promise 1, once the run's work is merged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
}

/// `scanned = embedded + failed + skipped`, with every number counted where it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// Pictures that the scan saw.
    #[serde(deserialize_with = "crate::bounded::count")]
    pub scanned: u64,
    /// Pictures embedded in this run.
    #[serde(deserialize_with = "crate::bounded::count")]
    pub embedded: u64,
    /// Pictures that failed in this run.
    #[serde(deserialize_with = "crate::bounded::count")]
    pub failed: u64,
    /// Pictures that already stood unchanged.
    #[serde(deserialize_with = "crate::bounded::count")]
    pub skipped: u64,
}

impl Proof {
    /// Whether every picture is accounted for.
    pub fn holds(&self) -> bool {
        let accounted = [self.embedded, self.failed, self.skipped].into_iter().try_fold(0, u64::checked_add);
        accounted == Some(self.scanned)
    }
}
