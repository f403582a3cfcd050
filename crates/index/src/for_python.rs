//! The two files of the current generation for other programs, `P.parquet` and `P.faiss`: hard links to the one segment,
//! else copies. They lie in somebody's folder, so that what has their names is replaced only if it is an index's.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::Path;

use disk::{atomic, ours};
use protocol::{IndexMeta, IndexPrefix};

use crate::IndexError;
use crate::current::generations;
use crate::error::FileKind;
use crate::meta_file::{Segment, segments};
use crate::row_writer::hash_file;
use crate::seal;

/// Makes the files those of a generation.
pub(crate) fn link(prefix: &IndexPrefix, meta: &IndexMeta) -> Result<(), IndexError> {
    if let [segment] = &segments(prefix, meta)[..] {
        for (from, to) in [(&segment.parquet, prefix.parquet()), (&segment.faiss, prefix.faiss())] {
            if !same_file(from, &to)? {
                atomic::link_or_copy(from, &to)?;
            }
        }
    }
    Ok(())
}

fn same_file(a: &Path, b: &Path) -> Result<bool, IndexError> {
    use std::os::unix::fs::MetadataExt;
    let (Ok(here), Ok(there)) = (fs::metadata(a), fs::metadata(b)) else { return Ok(false) };
    let linked = here.ino() == there.ino() && here.dev() == there.dev();
    Ok(linked || (here.len() == there.len() && hash_file(a)? == hash_file(b)?))
}

/// Refuses to work where one of the files is somebody else's, before anything is changed. `base` is the index that stands.
///
/// A parquet file is ours by its seal, or if it has the length of one that the index lists: it may be damaged. The faiss file
/// has no seal; it is ours if it has as many rows as the parquet file beside it, or the length of one of a generation.
pub(crate) fn refuse_others(prefix: &IndexPrefix, base: Option<&IndexMeta>) -> Result<(), IndexError> {
    let listed = base.map(|base| segments(prefix, base)).unwrap_or_default();
    // An index in an older format, which is built anew: its files are told by its metadata.
    if base.is_none() && ours::is_our_metadata(prefix)? {
        return Ok(());
    }
    let mut rows = None;
    let path = prefix.parquet();
    if let Some(mut file) = open(&path)? {
        rows = seal::read_footer(&mut file, &path, FileKind::Written).ok().map(|footer| footer.seal.rows);
        let ours = rows.is_some() || has_length(&file, &listed, |segment| segment.meta.parquet_bytes);
        if !ours && !ours::is_sealed(&file) {
            return Err(IndexError::NotOurs { path });
        }
    }
    let path = prefix.faiss();
    if let Some(file) = open(&path)? {
        let ours = has_length(&file, &listed, |segment| segment.meta.faiss_bytes)
            || rows.is_some_and(|rows| rows_of(&file) == Some(rows))
            || is_of_a_generation(prefix, &file)?;
        if !ours {
            return Err(IndexError::NotOurs { path });
        }
    }
    Ok(())
}

fn open(path: &Path) -> Result<Option<File>, IndexError> {
    match protocol::open_file(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        file => file.map(Some).map_err(IndexError::io("open", path)),
    }
}

fn has_length(file: &File, segments: &[Segment], length: impl Fn(&Segment) -> u64) -> bool {
    file.metadata().is_ok_and(|found| segments.iter().any(|segment| length(segment) == found.len()))
}

/// The rows that the header of a flat index tells.
fn rows_of(mut file: &File) -> Option<u64> {
    let mut header = [0; 16];
    file.read_exact(&mut header).ok()?;
    header.starts_with(b"IxFI").then(|| u64::from_le_bytes(header[8..].try_into().expect("eight bytes")))
}

fn is_of_a_generation(prefix: &IndexPrefix, file: &File) -> Result<bool, IndexError> {
    let length = file.metadata().map_err(IndexError::io("look at", &prefix.faiss()))?.len();
    let is_so = |generation| {
        let segment = prefix.generation(generation).join("seg-0.faiss");
        fs::metadata(segment).is_ok_and(|segment| segment.len() == length)
    };
    Ok(generations(prefix)?.into_iter().any(is_so))
}
