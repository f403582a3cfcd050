//! A snapshot's facts: what is known of each row's file, in records of one length, so that all of them are read in one
//! sweep. A file of this host only, made from a segment's columns.
//!
//! A record is, little endian, size u64, mtime_ns i64, taken_s i64 (i64::MIN: unknown), width u32, height u32.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use disk::atomic;
use protocol::FileFacts;

use crate::IndexError;

const RECORD: usize = 32;
const UNKNOWN: i64 = i64::MIN;

/// Facts in bytes, which are also what checksums are made of.
pub(crate) fn to_record(facts: &FileFacts) -> [u8; RECORD] {
    let mut record = [0; RECORD];
    record[..8].copy_from_slice(&facts.size_bytes.to_le_bytes());
    record[8..16].copy_from_slice(&facts.mtime_ns.to_le_bytes());
    record[16..24].copy_from_slice(&facts.taken_s.unwrap_or(UNKNOWN).to_le_bytes());
    record[24..28].copy_from_slice(&facts.width.to_le_bytes());
    record[28..].copy_from_slice(&facts.height.to_le_bytes());
    record
}

fn of_record(record: &[u8; RECORD]) -> FileFacts {
    let long = |at: usize| record[at..at + 8].try_into().expect("it is 8 bytes long");
    let short = |at: usize| record[at..at + 4].try_into().expect("it is 4 bytes long");
    FileFacts {
        size_bytes: u64::from_le_bytes(long(0)),
        mtime_ns: i64::from_le_bytes(long(8)),
        taken_s: Some(i64::from_le_bytes(long(16))).filter(|&taken| taken != UNKNOWN),
        width: u32::from_le_bytes(short(24)),
        height: u32::from_le_bytes(short(28)),
    }
}

/// A file of facts while it is being written.
pub(crate) struct FactsWriter {
    path: PathBuf,
    file: BufWriter<File>,
}

impl FactsWriter {
    /// Creates the file, which must not exist.
    pub(crate) fn create(path: &Path) -> Result<Self, IndexError> {
        Ok(Self { path: path.into(), file: BufWriter::with_capacity(1 << 16, atomic::create_new(path)?) })
    }

    pub(crate) fn push(&mut self, facts: &FileFacts) -> Result<(), IndexError> {
        self.file.write_all(&to_record(facts)).map_err(IndexError::io("write", &self.path))
    }

    /// Syncs the file.
    pub(crate) fn finish(mut self) -> Result<(), IndexError> {
        self.file.flush().and_then(|()| disk::sync(self.file.get_ref())).map_err(IndexError::io("write", &self.path))
    }
}

/// The facts of a snapshot's segment.
#[derive(Debug)]
pub(crate) struct FactsFile {
    path: PathBuf,
    file: File,
    length: u64,
}

impl FactsFile {
    pub(crate) fn open(path: &Path) -> Result<Self, IndexError> {
        let file = protocol::open_file(path).map_err(IndexError::io("open", path))?;
        let length = file.metadata().map_err(IndexError::io("read", path))?.len();
        Ok(Self { path: path.into(), file, length })
    }

    /// True if the file is as long as so many rows.
    pub(crate) fn has_rows(&self, rows: u64) -> bool {
        rows.checked_mul(RECORD as u64) == Some(self.length)
    }

    /// The facts of these rows.
    pub(crate) fn get(&self, rows: Range<u64>) -> Result<impl Iterator<Item = FileFacts>, IndexError> {
        let mut bytes = vec![0; RECORD * (rows.end - rows.start) as usize];
        let at = RECORD as u64 * rows.start;
        self.file.read_exact_at(&mut bytes, at).map_err(IndexError::io("read", &self.path))?;
        let count = bytes.len() / RECORD;
        Ok((0..count).map(move |i| of_record(&bytes.as_chunks().0[i])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("facts");
        let facts = |i: u32| FileFacts {
            size_bytes: u64::MAX - u64::from(i),
            mtime_ns: -i64::from(i),
            taken_s: (!i.is_multiple_of(3)).then_some(i64::from(i) - 5),
            width: i,
            height: u32::MAX - i,
        };
        let mut writer = FactsWriter::create(&path).unwrap();
        (0..100).for_each(|i| writer.push(&facts(i)).unwrap());
        writer.finish().unwrap();
        let file = FactsFile::open(&path).unwrap();
        assert!(file.has_rows(100) && !file.has_rows(99) && !file.has_rows(u64::MAX));
        assert!(file.get(3..40).unwrap().eq((3..40).map(facts)));
        assert!(file.get(90..101).is_err());
    }
}
