//! What a server tells of an index as a whole: `GET /v1/indexes/NAME/stats`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ModelIdentity;

/// What an index holds, and what its scores mean.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Stats {
    /// The generation that answers.
    pub generation: u64,
    /// When it was made, RFC 3339.
    pub created: String,
    /// Canonical root.
    pub root: String,
    /// The model, and how its vectors were computed.
    pub model: ModelIdentity,
    /// Pictures in it.
    pub num_images: u64,
    /// Bytes of their files.
    pub total_bytes: u64,
    /// Pictures by the ending of their name, in lower case.
    pub formats: BTreeMap<String, u64>,
    /// Pictures by the year in which they were taken, else modified, in UTC.
    pub years: BTreeMap<String, u64>,
    /// Pictures that could not be embedded, by kind of failure.
    pub failures: BTreeMap<String, u64>,
    /// Which scores are nothing special here; absent if the index is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub background: Option<Background>,
    /// What saves a question from comparing all vectors; absent if it compares all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_pass: Option<FirstPass>,
    /// The server's memory, where the system tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    /// What the asker should know, as that the first pass cannot be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

/// How questions that are not exact find their matches: a look at one bit a dimension chooses which vectors are compared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FirstPass {
    /// Rows that it chooses from; all others are compared.
    pub rows: u64,
    /// The share of the 10 best rows that it finds, as it was measured when it was built: of all segments that of the worst.
    pub recall_at_10: f64,
}

/// The scores that a sample of the collection gets for questions that were not asked for it: what a score must exceed to
/// say something.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Background {
    /// Pictures in the sample, which lie at equal distances in the index.
    pub sample: usize,
    /// Scores of each picture for each of a few everyday words.
    pub words: Vec<Quantile>,
    /// Scores of pictures with one another.
    pub pictures: Vec<Quantile>,
}

/// A score, and how many are not above it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Quantile {
    /// The share of scores that are at most `score`, in percent.
    pub percent: f64,
    /// Cosine similarity.
    pub score: f32,
}

/// What a process occupies now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Memory {
    /// Its own, in bytes.
    pub anonymous_bytes: u64,
    /// Pages of mapped files, in bytes: the system takes them back when it needs room.
    pub mapped_bytes: u64,
}
