//! This host's private copy of a generation, so that no page of a mapped file lies on a share and nobody removes it. Each
//! segment has a folder of its own, named by what is in it, so that what two generations share is copied once.
//!
//! Vectors and bits are hard links to the segment's files if the cache is on the same file system and the files are ours,
//! else copies; of the parquet file only the paths and facts are kept.
//!
//! Vectors are compared with their checksum before they first answer. `seg.checked` then says which file that was, by its
//! length, number and time: the next opening believes it, and [`crate::Index::check`] compares again while it answers.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use disk::atomic::{self, Temp};
use protocol::{FirstPassMeta, IndexMeta, IndexPrefix, SegmentMeta};

use crate::IndexError;
use crate::bits::Bits;
use crate::error::FileKind;
use crate::facts_file::{FactsFile, FactsWriter};
use crate::in_use::{InUse, tidy};
use crate::meta_file::{Segment, segments};
use crate::paths_file::{PathsFile, PathsWriter};
use crate::row_reader::RowFile;
use crate::row_writer::hash_file;

/// Changes with what is in a segment's folder: programs of two versions may work beside each other.
const LAYOUT: &str = "2";

/// What is wrong with a file whose bytes changed.
pub(crate) const DAMAGED: &str = "its bytes do not fit the checksum in the index's metadata";

/// One segment's private files.
#[derive(Debug)]
pub(crate) struct SnapshotSegment {
    pub faiss: PathBuf,
    /// The index's file of the same bytes.
    pub origin: PathBuf,
    pub paths: PathsFile,
    pub facts: FactsFile,
    pub rows: u64,
    /// The first pass if the segment has one, or why it cannot be used.
    pub bits: Option<Result<Bits, IndexError>>,
    /// Whether the vectors were compared with their checksum just now, and not by an earlier opening.
    pub checked_now: bool,
    /// Nobody removes the files as long as this lives.
    pub in_use: InUse,
}

/// Makes the snapshot of a generation, or finds it made. Those of older generations are removed, as soon as nobody uses
/// them.
pub(crate) fn take(
    prefix: &IndexPrefix,
    meta: &IndexMeta,
    cache_dir: &Path,
) -> Result<Vec<SnapshotSegment>, IndexError> {
    let of_index = cache_dir.join(index_name(prefix));
    let segments = segments(prefix, meta);
    let folders: Vec<_> = segments.iter().map(|segment| segment_folder(&segment.meta, &meta.root)).collect();
    let taking = segments.iter().zip(&folders);
    let taking = taking.map(|(segment, name)| take_segment(segment, &meta.root, &of_index.join(name)));
    let taken = taking.collect::<Result<Vec<_>, _>>()?;
    tidy(&of_index, &folders);
    Ok(taken)
}

fn take_segment(segment: &Segment, root: &str, dir: &Path) -> Result<SnapshotSegment, IndexError> {
    let in_use = InUse::make(dir)?;
    let faiss = dir.join("seg.faiss");
    let mark = faiss.with_extension("checked");
    let checked_now = !fs::read_to_string(&mark).is_ok_and(|mark| stamp(&faiss).is_some_and(|now| now == mark));
    let rows = segment.meta.rows;
    if checked_now {
        if !is_whole(&faiss, segment)? {
            bring(&segment.faiss, &faiss)?;
            if !is_whole(&faiss, segment)? {
                let _ = atomic::remove_file(&faiss);
                return Err(FileKind::Generation.damaged(&segment.faiss, DAMAGED));
            }
        }
        if let Some(stamp) = stamp(&faiss) {
            atomic::write(&mark, stamp.as_bytes())?;
        }
    }
    let target = faiss.with_extension("bits");
    let bits = segment.meta.first_pass.as_ref().map(|meta| take_bits(segment, meta, &target));
    let [paths, facts] = ["paths", "facts"].map(|extension| faiss.with_extension(extension));
    let (paths, facts) = take_files(segment, root, &paths, &facts)?;
    Ok(SnapshotSegment { faiss, origin: segment.faiss.clone(), paths, facts, rows, bits, checked_now, in_use })
}

/// Brings a file of a segment here. A file of somebody else's is copied: who has it can shorten it, which would end a
/// process that maps it.
fn bring(source: &Path, target: &Path) -> Result<(), IndexError> {
    let own = protocol::folders::own_uid().ok();
    let is_own = fs::metadata(source).is_ok_and(|found| found.uid() == 0 || Some(found.uid()) == own);
    if is_own {
        atomic::link_or_copy(source, target)?
    } else {
        atomic::copy(source, target)?
    }
    Ok(())
}

fn take_files(segment: &Segment, root: &str, paths: &Path, facts: &Path) -> Result<(PathsFile, FactsFile), IndexError> {
    let rows = segment.meta.rows;
    if let (Ok(paths), Ok(facts)) = (PathsFile::open(paths), FactsFile::open(facts))
        && paths.has_rows(rows)
        && facts.has_rows(rows)
        // Those that older software took out may be below another spelling of the root.
        && (rows == 0 || paths.get(0).is_ok_and(|path| path.strip_prefix(root).is_some_and(|rest| rest.starts_with('/'))))
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
            bring(&segment.bits, target)?;
            open_bits(target, segment, meta).map_err(|error| error.of_origin(&segment.bits))
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

/// A segment's folder, by all that decides what is in it.
fn segment_folder(segment: &SegmentMeta, root: &str) -> String {
    let bits = segment.first_pass.as_ref().map_or("", |first_pass| &first_pass.bits_checksum);
    let all = [LAYOUT, &segment.faiss_checksum, &segment.parquet_checksum, bits, root].join("\0");
    protocol::hash_hex(all.as_bytes())
}
