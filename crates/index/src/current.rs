//! What a merge builds upon: the current generation, seen through directory caches that may be a minute old.

use std::fs;
use std::path::Path;
use std::time::Instant;

use disk::ours;
use protocol::{IndexMeta, IndexPrefix};

use crate::error::Progress;
use crate::inputs::nap;
use crate::meta_file::{read_meta, segments};
use crate::row_writer::hash_file;
use crate::{IndexError, cleanup};

/// The state of an index before a merge.
#[derive(Debug)]
pub(crate) struct Current {
    /// The generation whose rows remain; `None` if there is none, or for a fresh index.
    pub base: Option<IndexMeta>,
    /// Its number; 0 if there is none.
    pub generation: u64,
}

/// Reads the state. A generation newer than `P.meta.json`, or one without it, is either what a killed merge left, or
/// this host's directory cache is behind: it waits until `deadline` before it believes the first.
pub(crate) fn read(
    prefix: &IndexPrefix,
    fresh: bool,
    deadline: Instant,
    progress: Progress<'_>,
) -> Result<Current, IndexError> {
    loop {
        let newest = generations(prefix)?.into_iter().max().unwrap_or(0);
        let base = match read_meta(prefix) {
            Err(e) if fresh && is_no_matter(&e) => {
                refuse_others_meta(prefix)?;
                return Ok(Current { base: None, generation: newest });
            }
            meta => meta?,
        };
        let generation = base.as_ref().map_or(0, |m| m.generation);
        if newest > generation && nap(progress, &prefix.meta(), deadline)? {
            continue;
        }
        if fresh {
            return Ok(Current { base: None, generation });
        }
        if base.is_none() {
            refuse_lost_meta(prefix)?;
        }
        return Ok(Current { base, generation });
    }
}

/// Even for a fresh index another program's file is not replaced.
fn refuse_others_meta(prefix: &IndexPrefix) -> Result<(), IndexError> {
    if ours::is_others_metadata(prefix)? { Err(IndexError::NotOurs { path: prefix.meta() }) } else { Ok(()) }
}

/// Without its metadata file an index looks like none, and the next merge would begin anew.
fn refuse_lost_meta(prefix: &IndexPrefix) -> Result<(), IndexError> {
    match [prefix.parquet(), prefix.faiss()].into_iter().find(|file| file.exists()) {
        Some(other) => Err(IndexError::MetaMissing { meta: prefix.meta(), other }),
        None => Ok(()),
    }
}

/// Compares every file of the generation with its checksum, before anything is built upon it.
pub(crate) fn verify(prefix: &IndexPrefix, meta: &IndexMeta) -> Result<(), IndexError> {
    for segment in segments(prefix, meta) {
        let (bytes, checksum) = hash_file(&segment.parquet)?;
        if (bytes, checksum.as_str()) != (segment.meta.parquet_bytes, segment.meta.parquet_checksum.as_str()) {
            let what = "its bytes do not fit the checksum in the index's metadata";
            return Err(crate::error::FileKind::Generation.damaged(&segment.parquet, what));
        }
    }
    Ok(())
}

/// True if the index is still as it was read.
pub(crate) fn is_unchanged(prefix: &IndexPrefix, current: &Current, fresh: bool) -> Result<bool, IndexError> {
    match read_meta(prefix) {
        Err(e) if fresh && is_no_matter(&e) => Ok(true),
        meta => Ok(meta?.map_or(0, |m| m.generation) == current.generation),
    }
}

/// Whether it does not matter to a fresh index that the present one cannot be read.
fn is_no_matter(error: &IndexError) -> bool {
    matches!(error, IndexError::Damaged { .. } | IndexError::OlderFormat { .. })
}

/// Numbers of the generations whose folders are there. One that holds only files of others is none.
pub(crate) fn generations(prefix: &IndexPrefix) -> Result<Vec<u64>, IndexError> {
    let dir = prefix.dir();
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(IndexError::io("list", dir))?,
    };
    let mut numbers = Vec::new();
    for entry in entries {
        let name = entry.map_err(IndexError::io("list", dir))?.file_name();
        let number = name.to_str().and_then(|n| n.strip_prefix("gen-")).and_then(|n| n.parse::<u64>().ok());
        numbers.extend(number.filter(|number| is_generation(&prefix.generation(*number))));
    }
    Ok(numbers)
}

fn is_generation(folder: &Path) -> bool {
    let Ok(mut names) = fs::read_dir(folder).map(|entries| entries.flatten().map(|entry| entry.file_name()).peekable())
    else {
        return false;
    };
    names.peek().is_none() || names.any(|name| name.to_str().is_some_and(cleanup::is_segment_file))
}
