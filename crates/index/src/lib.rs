//! The files of an index: write a part, gather parts into a worker's partial index, merge into a generation, open
//! and search it, import vectors that were made elsewhere, export them.
//!
//! This is the only crate that names polars, and faiss, whose files it reads and writes itself: only tests link faiss, to
//! prove that it opens them and finds the same. Its invariants:
//! - A row is one value (path, vector, facts, content hash) until it is written; row i of a parquet file is id i
//!   of the faiss file beside it.
//! - Every file is written under a temporary name, synced, and renamed; `P.meta.json` is the only switch.
//! - Nothing reads a row before the file's seal or checksum was compared, except the scan's quick look at paths and
//!   facts, whose checksum is compared when they were read; no bytes in any file make it panic.
//! - Memory is bounded by row groups, never by the size of an index.
#![warn(missing_docs)]

mod bits;
mod brought;
mod cleanup;
mod code;
mod columns;
mod current;
mod duplicates;
mod error;
mod export;
mod facts_file;
mod files;
mod filter;
mod find;
mod first_pass;
mod flat;
mod for_python;
mod gather;
mod generation;
mod globs;
mod gone;
mod import;
mod in_use;
mod inputs;
mod kway;
mod ledger;
mod mapped;
mod merge;
mod meta_file;
mod moved;
#[cfg(test)]
mod mutations;
mod npy;
mod part;
mod partials;
mod paths_file;
mod proof;
mod recall;
mod row;
mod row_reader;
mod row_set;
mod row_writer;
mod scan;
mod seal;
mod search;
mod snapshot;
mod sort;
mod spread;
mod standing;
mod take_in;

pub use brought::Brought;
pub use duplicates::{Duplicates, FileId};
pub use error::{IndexError, Interrupted, Progress};
pub use export::{Export, Exported, export};
pub use find::{Found, Wanted};
pub use gather::gather;
pub use globs::{BadGlob, Globs};
pub use import::Import;
pub use in_use::{remove_old_copies, remove_old_copies_in};
pub use inputs::{PartRef, Sources};
pub use ledger::would_fail_again;
pub use merge::{MergeReport, MergeRequest, merge, merge_while};
pub use meta_file::{model_name, read_meta};
pub use moved::{Moved, StandingFiles};
pub use npy::Float;
pub use part::{Part, find_part, publish_part, read_part};
pub use row::Row;
pub use row_set::RowSet;
pub use row_writer::hash_file;
pub use scan::Keep;
pub use search::Index;
pub use sort::{Sorted, Sorter};
pub use standing::{Place, Standing, StandingRow, standing};
