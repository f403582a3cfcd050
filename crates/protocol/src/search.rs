//! The search API: HTTP with JSON bodies on the server's Unix socket. Paths in answers are canonical; the asker maps them.
//!
//! - `GET  /v1/status` -> [`Status`]
//! - `POST /v1/indexes` [`OpenIndex`] -> [`OpenedIndex`]: loads an index or finds it loaded
//! - `POST /v1/indexes/NAME/search` [`SearchRequest`] -> [`SearchResponse`]
//! - `POST /v1/indexes/NAME/duplicates` [`DuplicatesRequest`] -> [`DuplicatesResponse`]
//! - `POST /v1/indexes/NAME/map` [`crate::map::MapRequest`] -> [`crate::map::MapResponse`]
//! - `POST /v1/indexes/NAME/search/batch` [`BatchRequest`] -> [`BatchResponse`]
//! - `GET  /v1/indexes/NAME/thumbnail?path=CANONICAL&height=240` -> a JPEG, of 64 to 1024 pixels in height
//! - `GET  /v1/indexes/NAME/picture?path=CANONICAL&size=2048` -> a JPEG, of 64 to 4096 pixels on the longer edge
//! - `GET  /v1/indexes/NAME/stats` -> [`crate::stats::Stats`]
//! - `POST /v1/indexes/NAME/copy` [`CopyRequest`] -> [`CopyResponse`]
//! - `POST /v1/stop`: the server ends
//! - `GET  /v1/openapi.json`: all of this as an OpenAPI document
//!
//! An answer that is not 2xx carries an [`ApiError`].

use serde::{Deserialize, Deserializer, Serialize, de};

pub use crate::FileFacts;

/// The most matches that one question may ask for, or all questions of a batch together.
pub const MAX_TOP_K: usize = 100_000;

/// The most terms of one question.
pub const MAX_TERMS: usize = 64;

/// The most questions of one batch.
pub const MAX_BATCH: usize = 1_000;

/// The state of a server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
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
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct OpenIndex {
    /// The index's prefix as the server's host sees it.
    pub index_prefix: String,
    /// Where the server's host has the index's model, if its name does not lead there: a folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Where the server's host sees the root, if it is not at its canonical path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_here: Option<String>,
}

/// A loaded index.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
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

/// A question. Its vector is the sum of its terms' vectors, each of length one and multiplied by its weight.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SearchRequest {
    /// Words: short for one term of weight 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// What is looked for, and, with negative weights, what is not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(max_items = 64))]
    pub terms: Vec<Term>,
    /// How many matches.
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 100_000))]
    pub top_k: usize,
    /// Which pictures may match at all. As many matches are found as if there were no others.
    #[serde(default)]
    pub filters: Filters,
    /// Matches must score higher than this share of the collection, in percent: see [`Match::percentile`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_percentile: Option<f64>,
    /// Compare with every vector, without a first pass that may miss a match.
    #[serde(default)]
    pub exact: bool,
    /// Of pictures that are nearly the same show the best one alone.
    #[serde(default = "yes")]
    pub collapse: bool,
    /// Average short words over several phrases around them, as `a photo of WORDS`.
    #[serde(default = "yes")]
    pub templates: bool,
}

fn yes() -> bool {
    true
}

impl SearchRequest {
    /// Asks for `top_k` matches of `terms`, and has the defaults for the rest.
    pub fn new(terms: Vec<Term>, top_k: usize) -> Self {
        Self {
            text: None,
            terms,
            top_k,
            filters: Filters::default(),
            min_percentile: None,
            exact: false,
            collapse: true,
            templates: true,
        }
    }
}

/// One summand of a question.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Term {
    /// Negative takes away.
    #[serde(default = "one")]
    pub weight: f32,
    /// What it stands for.
    #[serde(flatten)]
    pub what: What,
}

fn one() -> f32 {
    1.0
}

/// Of an object with two meanings none is chosen, which a flattened enum would do.
impl<'de> Deserialize<'de> for Term {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename = "Term", deny_unknown_fields)]
        struct Fields {
            #[serde(default = "one")]
            weight: f32,
            text: Option<String>,
            picture: Option<String>,
            path: Option<String>,
        }
        let fields = Fields::deserialize(input)?;
        let what = match (fields.text, fields.picture, fields.path) {
            (Some(text), None, None) => What::Text(text),
            (None, Some(picture), None) => What::Picture(picture),
            (None, None, Some(path)) => What::Path(path),
            _ => return Err(de::Error::custom("a term has one of `text`, `picture` and `path`")),
        };
        Ok(Self { weight: fields.weight, what })
    }
}

/// What a term's vector is of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Words.
    Text(String),
    /// A picture's file, in base64 (RFC 4648, with padding).
    Picture(String),
    /// A picture of the index, by its canonical path.
    Path(String),
}

/// Which pictures may match. All that are given must hold; of a list, one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Filters {
    /// In one of these folders or below: canonical paths, or paths below the root.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub under: Vec<String>,
    /// The path below the root fits one of these patterns, in which `*` and `**` are as in `--exclude`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub glob: Vec<String>,
    /// Taken (else modified) at this time or later: seconds since 1970, cameras' clocks taken for UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after_s: Option<i64>,
    /// Taken (else modified) before this time: seconds since 1970, cameras' clocks taken for UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before_s: Option<i64>,
    /// At least so many pixels wide, upright.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_width: Option<u32>,
    /// At least so many pixels high, upright.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_height: Option<u32>,
    /// At least so many bytes long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_bytes: Option<u64>,
    /// Of this shape, upright.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub orientation: Option<Orientation>,
}

/// The shape of an upright picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Orientation {
    /// Wider than high.
    Landscape,
    /// Higher than wide.
    Portrait,
    /// As wide as high.
    Square,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
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

/// Several questions, as those of a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct BatchRequest {
    /// At most [`MAX_BATCH`], whose `top_k` are together at most [`MAX_TOP_K`].
    #[cfg_attr(feature = "openapi", schema(max_items = 1_000))]
    pub requests: Vec<SearchRequest>,
}

/// Answers to several questions, all from one generation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BatchResponse {
    /// For each question, in their order.
    pub answers: Vec<Answered>,
}

/// What became of one question of several.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Answered {
    /// Its answer.
    Answer(SearchResponse),
    /// Why there is none.
    Error(String),
}

/// One found picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Match {
    /// From 1.
    pub rank: usize,
    /// Cosine similarity.
    pub score: f32,
    /// Which share of the collection scores lower, in percent. It is told from a sample of the collection, the same for
    /// every question, so that it means the same for every question.
    pub percentile: f64,
    /// Canonical path.
    pub path: String,
    /// The file.
    #[serde(flatten)]
    pub file: FileFacts,
    /// Pictures that are nearly the same and are not shown for it.
    #[serde(default)]
    pub alike: usize,
}

/// Asks for groups of nearly the same pictures in the whole collection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DuplicatesRequest {
    /// How many groups at most, the largest first.
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 100_000))]
    pub max_groups: usize,
    /// How many pictures of each at most.
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 100_000))]
    pub max_pictures: usize,
    /// The cosine from which two pictures are nearly the same, above 0 and up to 1. By default it follows the collection:
    /// a fifth of the usual distance between two of its pictures. Pictures whose cosine is lower than that of the default
    /// are found less surely.
    #[cfg_attr(feature = "openapi", schema(exclusive_minimum = 0, maximum = 1))]
    pub similarity: Option<f32>,
}

impl Default for DuplicatesRequest {
    fn default() -> Self {
        Self { max_groups: 1000, max_pictures: 100, similarity: None }
    }
}

/// Groups of nearly the same pictures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DuplicatesResponse {
    /// The generation that answered.
    pub generation: u64,
    /// Rows in it.
    pub num_images: u64,
    /// The cosine from which two pictures were taken for nearly the same.
    pub similarity: f32,
    /// Groups in the collection.
    pub num_groups: u64,
    /// Pictures in all groups; those that lead to one file are one.
    pub num_pictures: u64,
    /// The largest first.
    pub groups: Vec<DuplicateGroup>,
    /// Time in the server.
    pub seconds: f64,
    /// What the asker should know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

/// Pictures that are all nearly the same as the first, which has the most pixels, or the most bytes of as many.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DuplicateGroup {
    /// How many they are.
    pub count: u64,
    /// Whether every path led to a file. If not, two of them may be one file, by a link or another name: then none is
    /// superfluous for certain.
    pub compared: bool,
    /// They, as far as they were asked for, the larger first.
    pub pictures: Vec<Duplicate>,
}

/// A picture of a group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Duplicate {
    /// Canonical path.
    pub path: String,
    /// Cosine similarity with the group's first picture.
    pub score: f32,
    /// The file.
    #[serde(flatten)]
    pub file: FileFacts,
    /// Canonical paths that lead to the same file: links, or further names of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub same_file: Vec<String>,
    /// It is one of a RAW file and a developed picture of one shot, both of which are in the group.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_both_forms: bool,
}

impl DuplicateGroup {
    /// Whether the picture at this place may go as long as the first stays, because another file shows the same. None that
    /// has further names may: those would lead nowhere, or keep its bytes; nor a form of a shot that is there in two.
    pub fn is_superfluous(&self, place: usize) -> bool {
        let free = |picture: &Duplicate| picture.same_file.is_empty() && !picture.in_both_forms;
        self.compared && place > 0 && self.pictures.get(place).is_some_and(free)
    }
}

/// Asks for copies of pictures into a folder, made on the server's host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CopyRequest {
    /// Canonical paths, best first.
    pub paths: Vec<String>,
    /// Folder on the server's host, made if absent.
    pub folder: String,
    /// `YYYYMMDD_HHMMSS`, the asker's local time.
    pub stamp: String,
    /// Where the server's host sees the root, if it is not at its canonical path.
    pub root_here: Option<String>,
    /// What the asker answers for, because this host cannot tell.
    #[serde(default)]
    pub vouched: Vouched,
}

/// What an asker knows to be trustworthy although the server's host may see it as a stranger's. Hosts may see other owners
/// of the files of a share than the asker's machine does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Vouched {
    /// The asker trusts who made the index.
    pub index: bool,
    /// The folder for the copies is the asker's own.
    pub folder: bool,
}

/// What became of the copies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CopyResponse {
    /// For each path of the request, in its order; none if the index is not trusted.
    pub copies: Vec<Copied>,
    /// Why the index is not trusted, which an asker's [`Vouched::index`] changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distrusted: Option<String>,
}

/// One copy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Copied {
    /// The copy's path on the server's host.
    To(String),
    /// Why there is none.
    Failed(String),
}

/// Why a request was not answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ApiError {
    /// The error and what to do.
    pub error: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_is_one_thing_and_is_read_as_it_is_written() {
        let read = |text: &str| serde_json::from_str::<Term>(text).map_err(|e| e.to_string());
        let term = Term { weight: -0.5, what: What::Path("/p/a.jpg".into()) };
        assert_eq!(read(&serde_json::to_string(&term).unwrap()), Ok(term));
        assert_eq!(read(r#"{"text": "a cat"}"#), Ok(Term { weight: 1.0, what: What::Text("a cat".into()) }));
        for bad in [r#"{"weight": 1}"#, r#"{"text": "a", "path": "/b"}"#] {
            assert!(read(bad).unwrap_err().contains("one of `text`, `picture` and `path`"), "{bad}");
        }
        assert!(read(r#"{"text": "a", "wieght": 2}"#).unwrap_err().contains("wieght"));
    }
}
