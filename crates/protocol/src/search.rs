//! The search API: HTTP with JSON bodies on the server's Unix socket. Paths in answers are canonical; the asker maps them.
//!
//! - `GET  /v1/status` -> [`Status`]
//! - `POST /v1/indexes` [`OpenIndex`] -> [`OpenedIndex`]: loads an index or finds it loaded
//! - `POST /v1/indexes/NAME/search` [`SearchRequest`] -> [`SearchResponse`]
//! - `POST /v1/indexes/NAME/copy` [`CopyRequest`] -> [`CopyResponse`]
//! - `POST /v1/stop`: the server ends
//!
//! An answer that is not 2xx carries an [`ApiError`].

use serde::{Deserialize, Serialize};

/// The most matches that one question may ask for.
pub const MAX_TOP_K: usize = 100_000;

/// The state of a server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the software.
    pub version: String,
    /// The process.
    pub pid: u32,
    /// Indexes that are loaded.
    pub indexes: Vec<OpenedIndex>,
}

/// Asks for an index to be loaded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OpenIndex {
    /// The index's prefix as the server's host sees it.
    pub index_prefix: String,
    /// Where the server's host has the index's model, if its name does not lead there: a folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

/// A loaded index.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OpenedIndex {
    /// Its name in the API's paths.
    pub name: String,
    /// Its prefix on the server's host.
    pub index_prefix: String,
    /// The generation that answers.
    pub generation: u64,
    /// Rows in it.
    pub num_images: u64,
    /// The model.
    pub model_name: String,
    /// Canonical root.
    pub root: String,
}

/// A question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SearchRequest {
    /// Words.
    pub text: String,
    /// How many matches.
    pub top_k: usize,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SearchResponse {
    /// The generation that answered.
    pub generation: u64,
    /// Rows that were searched.
    pub num_images: u64,
    /// Best first.
    pub matches: Vec<Match>,
    /// Time in the server.
    pub seconds: f64,
    /// What the asker should know, as that a newer generation stands but could not be opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

/// One found picture. `query --json` prints these, one a line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Match {
    /// From 1.
    pub rank: usize,
    /// Cosine similarity.
    pub score: f32,
    /// Canonical path.
    pub path: String,
}

/// Asks for copies of pictures into a folder, made on the server's host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CopyRequest {
    /// Canonical paths, best first.
    pub paths: Vec<String>,
    /// Folder on the server's host, made if absent.
    pub folder: String,
    /// `YYYYMMDD_HHMMSS`, the asker's local time.
    pub stamp: String,
    /// Where the server's host sees the root, if it is not at its canonical path.
    pub root_here: Option<String>,
}

/// What became of the copies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CopyResponse {
    /// For each path of the request, in its order.
    pub copies: Vec<Copied>,
}

/// One copy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Copied {
    /// The copy's path on the server's host.
    To(String),
    /// Why there is none.
    Failed(String),
}

/// Why a request was not answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ApiError {
    /// The error and what to do.
    pub error: String,
}
