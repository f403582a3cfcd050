//! This host's private copy of a generation, so that no page of a mapped file lies on a share and nobody removes it.
//!
//! Vectors are a hard link to the segment's faiss file if the cache is on the same file system, else a copy; of the
//! parquet file only the paths are kept.

use std::fs;
use std::path::{Path, PathBuf};

use protocol::{IndexMeta, IndexPrefix};

use crate::IndexError;
use crate::atomic::{self, Temp};
use crate::error::FileKind;
use crate::meta_file::{Segment, segments};
use crate::paths_file::{self, PathsFile};
use crate::row_writer::hash_file;

/// One segment's private files.
#[derive(Debug)]
pub(crate) struct SnapshotSegment {
    pub faiss: PathBuf,
    pub paths: PathsFile,
    pub rows: u64,
}

/// Makes the snapshot of a generation, or finds it made, and compares its vectors with their checksum; that also brings
/// them into memory in the order in which a search reads them. Snapshots of older generations are removed.
pub(crate) fn take(
    prefix: &IndexPrefix,
    meta: &IndexMeta,
    cache_dir: &Path,
) -> Result<Vec<SnapshotSegment>, IndexError> {
    let of_index = cache_dir.join(index_name(prefix));
    let name = snapshot_name(meta);
    let dir = of_index.join(&name);
    atomic::create_dir(&dir)?;
    let taken = segments(prefix, meta)
        .iter()
        .enumerate()
        .map(|(number, segment)| take_segment(segment, &meta.root, &dir, number))
        .collect::<Result<Vec<_>, _>>()?;
    for old in fs::read_dir(&of_index).into_iter().flatten().flatten() {
        if *old.file_name() != *name {
            let _ = fs::remove_dir_all(old.path());
        }
    }
    Ok(taken)
}

fn take_segment(segment: &Segment, root: &str, dir: &Path, number: usize) -> Result<SnapshotSegment, IndexError> {
    let faiss = dir.join(format!("seg-{number}.faiss"));
    if !is_whole(&faiss, segment)? {
        atomic::link_or_copy(&segment.faiss, &faiss)?;
        if !is_whole(&faiss, segment)? {
            let _ = atomic::remove_file(&faiss);
            let what = "its bytes do not fit the checksum in the index's metadata";
            return Err(FileKind::Generation.damaged(&segment.faiss, what));
        }
    }
    let paths = dir.join(format!("seg-{number}.paths"));
    if let Ok(paths) = PathsFile::open(&paths)
        && paths.has_rows(segment.meta.rows)
    {
        return Ok(SnapshotSegment { faiss, paths, rows: segment.meta.rows });
    }
    let temp = Temp::beside(&paths);
    paths_file::extract(&segment.parquet, root, segment.meta.rows, temp.path())?;
    temp.publish(&paths)?;
    Ok(SnapshotSegment { faiss, paths: PathsFile::open(&paths)?, rows: segment.meta.rows })
}

fn is_whole(faiss: &Path, segment: &Segment) -> Result<bool, IndexError> {
    match hash_file(faiss) {
        Ok((bytes, checksum)) => Ok(bytes == segment.meta.faiss_bytes && checksum == segment.meta.faiss_checksum),
        Err(e) if e.is_not_found() => Ok(false),
        Err(e) => Err(e),
    }
}

/// One folder for each index, by its absolute prefix.
fn index_name(prefix: &IndexPrefix) -> String {
    let absolute = std::path::absolute(prefix.dir()).unwrap_or_else(|_| prefix.dir().into());
    protocol::hash_hex(absolute.as_os_str().as_encoded_bytes())
}

/// An index that was deleted and built again has the same numbers, but not the same checksums.
fn snapshot_name(meta: &IndexMeta) -> String {
    let sums: String = meta.segments.iter().map(|s| format!("{}{}", s.faiss_checksum, s.parquet_checksum)).collect();
    format!("gen-{}-{}", meta.generation, &protocol::hash_hex(sums.as_bytes())[..8])
}
