//! This host's private copy of a generation, so that no page of a mapped file lies on a share and nobody removes it.
//!
//! Vectors and bits are hard links to the segment's files if the cache is on the same file system, else copies; of the
//! parquet file only the paths and facts are kept.
//!
//! Vectors are compared with their checksum before they first answer. `seg-K.checked` then says which file that was, by its
//! length, number and time: the next opening believes it, and [`crate::Index::check`] compares again while it answers.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use disk::atomic::{self, Temp};
use protocol::{FirstPassMeta, IndexMeta, IndexPrefix};

use crate::IndexError;
use crate::bits::Bits;
use crate::error::FileKind;
use crate::facts_file::{FactsFile, FactsWriter};
use crate::meta_file::{Segment, segments};
use crate::paths_file::{PathsFile, PathsWriter};
use crate::row_reader::RowFile;
use crate::row_writer::hash_file;

/// What is wrong with a file whose bytes changed.
pub(crate) const DAMAGED: &str = "its bytes do not fit the checksum in the index's metadata";

/// One segment's private files.
#[derive(Debug)]
pub(crate) struct SnapshotSegment {
    pub faiss: PathBuf,
    pub paths: PathsFile,
    pub facts: FactsFile,
    pub rows: u64,
    /// The first pass if the segment has one, or why it cannot be used.
    pub bits: Option<Result<Bits, IndexError>>,
    /// Whether the vectors were compared with their checksum just now, and not by an earlier opening.
    pub checked_now: bool,
}

/// Makes the snapshot of a generation, or finds it made. Snapshots of older generations are removed.
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
    let (faiss, mark) = (dir.join(format!("seg-{number}.faiss")), checked_beside(dir, number));
    let checked_now = !fs::read_to_string(&mark).is_ok_and(|mark| stamp(&faiss).is_some_and(|now| now == mark));
    let rows = segment.meta.rows;
    if checked_now {
        if !is_whole(&faiss, segment)? {
            atomic::link_or_copy(&segment.faiss, &faiss)?;
            if !is_whole(&faiss, segment)? {
                let _ = atomic::remove_file(&faiss);
                return Err(FileKind::Generation.damaged(&segment.faiss, DAMAGED));
            }
        }
        if let Some(stamp) = stamp(&faiss) {
            atomic::write(&mark, stamp.as_bytes())?;
        }
    }
    let target = dir.join(format!("seg-{number}.bits"));
    let bits = segment.meta.first_pass.as_ref().map(|meta| take_bits(segment, meta, &target));
    let [paths, facts] = ["paths", "facts"].map(|extension| dir.join(format!("seg-{number}.{extension}")));
    let (paths, facts) = take_files(segment, root, &paths, &facts)?;
    Ok(SnapshotSegment { faiss, paths, facts, rows, bits, checked_now })
}

fn take_files(segment: &Segment, root: &str, paths: &Path, facts: &Path) -> Result<(PathsFile, FactsFile), IndexError> {
    let rows = segment.meta.rows;
    if let (Ok(paths), Ok(facts)) = (PathsFile::open(paths), FactsFile::open(facts))
        && paths.has_rows(rows)
        && facts.has_rows(rows)
        // Those that older software took out may be below another spelling of the root.
        && (rows == 0 || paths.get(0)?.strip_prefix(root).is_some_and(|rest| rest.starts_with('/')))
    {
        return Ok((paths, facts));
    }
    extract(segment, root, paths, facts)?;
    Ok((PathsFile::open(paths)?, FactsFile::open(facts)?))
}

/// Writes the paths and facts of a segment's parquet file into files of their own.
fn extract(segment: &Segment, root: &str, paths: &Path, facts: &Path) -> Result<(), IndexError> {
    let file = RowFile::open(&segment.parquet, FileKind::Generation, root)?;
    if file.seal().rows != segment.meta.rows {
        return Err(file.damaged("it has not the rows that the index lists"));
    }
    let unfinished = [Temp::beside(paths)?, Temp::beside(facts)?];
    let mut paths_writer = PathsWriter::create(&unfinished[0].path(), segment.meta.rows)?;
    let mut facts_writer = FactsWriter::create(&unfinished[1].path())?;
    for row in file.files() {
        let (path, file) = row?;
        paths_writer.push(&format!("{root}/{path}"))?;
        facts_writer.push(&file)?;
    }
    paths_writer.finish()?;
    facts_writer.finish()?;
    let [unfinished_paths, unfinished_facts] = unfinished;
    unfinished_paths.publish()?;
    Ok(unfinished_facts.publish()?)
}

/// A copy that is not whole is made again, once.
fn take_bits(segment: &Segment, meta: &FirstPassMeta, target: &Path) -> Result<Bits, IndexError> {
    match open_bits(target, segment, meta) {
        Ok(bits) => Ok(bits),
        Err(_) => {
            atomic::link_or_copy(&segment.bits, target)?;
            open_bits(target, segment, meta)
        }
    }
}

fn open_bits(path: &Path, segment: &Segment, meta: &FirstPassMeta) -> Result<Bits, IndexError> {
    let bits = Bits::open(path, FileKind::Bits)?;
    if bits.file().len() as u64 != meta.bits_bytes || protocol::hash_hex(bits.file()) != meta.bits_checksum {
        return Err(FileKind::Bits.damaged(path, DAMAGED));
    }
    if bits.rows() != segment.meta.rows {
        return Err(FileKind::Bits.damaged(path, "it has not the rows that the index lists"));
    }
    Ok(bits)
}

/// Takes back that a segment's vectors are as they should be, so that the next opening compares them.
pub(crate) fn distrust(faiss: &Path) {
    let _ = atomic::remove_file(&faiss.with_extension("checked"));
}

fn checked_beside(dir: &Path, number: usize) -> PathBuf {
    dir.join(format!("seg-{number}.checked"))
}

/// What changes when another file takes a file's place, or when somebody writes to it.
fn stamp(file: &Path) -> Option<String> {
    let meta = fs::metadata(file).ok()?;
    Some(format!("{} {} {} {}.{:09}", meta.len(), meta.dev(), meta.ino(), meta.mtime(), meta.mtime_nsec()))
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
    let absolute = protocol::absolute(prefix.dir()).unwrap_or_else(|_| prefix.dir().into());
    protocol::hash_hex(absolute.as_os_str().as_encoded_bytes())
}

/// An index that was deleted and built again has the same numbers, but not the same checksums.
fn snapshot_name(meta: &IndexMeta) -> String {
    let sums: String = meta.segments.iter().map(|s| format!("{}{}", s.faiss_checksum, s.parquet_checksum)).collect();
    format!("gen-{}-{}", meta.generation, &protocol::hash_hex(sums.as_bytes())[..8])
}
