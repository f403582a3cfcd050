//! What Imagefleet's programs agree on: names of pictures and files, chunks, grants, events, metadata, the search API.
//!
//! This crate holds types and their encodings, and what every program says goes out through it (`say`). It starts nothing
//! and must stay free of native code, because `controller` and `query` are built from it on machines without a C compiler.
#![warn(missing_docs)]

mod bounded;
mod chunk;
mod content;
mod embedding;
mod exit;
mod failure;
mod file_facts;
pub mod folders;
mod image_path;
pub mod layout;
mod list;
mod manifest;
pub mod map;
mod message;
mod meta;
mod model;
mod path;
mod say;
pub mod search;
pub mod setup;
pub mod socket;
mod stages;
pub mod stats;

pub use bounded::{MOST_METADATA, is_file, lines, no_file, open_file, read_all, read_file};
pub use chunk::{Chunk, Chunker, chunk_name};
pub use content::{TELLING_BYTES, begins_as_picture};
pub use embedding::{Embedding, NotAVector};
pub use exit::Exit;
pub use failure::{Failure, FailureKind, Judged};
pub use file_facts::{FileFacts, mtime_ns, nanoseconds};
pub use image_path::{BadImagePath, ImagePath, PICTURE_EXTENSIONS, Root, is_picture, is_raw, path_order};
pub use layout::IndexPrefix;
pub use list::read_list;
pub use manifest::{BadManifest, Entry, ManifestReader, ManifestWriter};
pub use message::{Command, Event, HostFacts, LONGEST_COMMAND, LONGEST_EVENT, ScanSummary, decode_line, encode_line};
pub use meta::{
    FORMAT_VERSION, FirstPassMeta, IndexMeta, ModelIdentity, PartMeta, Proof, RunRecord, SegmentMeta, WorkerMeta,
};
pub use model::{MODEL_NAMES, model_spec};
pub use path::{absolute, lexical, lexical_text};
pub use say::{Lines, answer, joined, json, note, plain, tell, tell_error, told};
pub use stages::{Limit, Stages};

/// The version of this software, as it stands in metadata and is compared between machines.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The 128-bit XXH3 of `bytes` in 32 lower-case hexadecimal digits: names chunks and detects damage and changed
/// pictures. It is not meant against an adversary.
pub fn hash_hex(bytes: &[u8]) -> String {
    format!("{:032x}", xxhash_rust::xxh3::xxh3_128(bytes))
}
