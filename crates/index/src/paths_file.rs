//! A snapshot's paths: row numbers to canonical paths, two small reads a look-up, so that a server's memory does not
//! grow with the index. A file of this host only, made from a segment's `path` column.
//!
//! `n + 1` offsets u64 little endian, then the paths one after another; row i is bytes offset i to offset i + 1.

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::IndexError;
use disk::atomic;

/// Offsets that are written at once.
const AT_ONCE: usize = 8192;

/// A file of paths while it is being written.
pub(crate) struct PathsWriter {
    path: PathBuf,
    texts: BufWriter<File>,
    offset: u64,
    offsets: Vec<u8>,
    written: u64,
}

impl PathsWriter {
    /// Creates the file, which must not exist, for so many rows.
    pub(crate) fn create(path: &Path, rows: u64) -> Result<Self, IndexError> {
        let offset = 8 * (rows + 1);
        let mut texts = BufWriter::new(atomic::create_new(path)?);
        texts.seek(SeekFrom::Start(offset)).map_err(IndexError::io("write", path))?;
        let offsets = offset.to_le_bytes().to_vec();
        Ok(Self { path: path.into(), texts, offset, offsets, written: 0 })
    }

    /// Appends a canonical path.
    pub(crate) fn push(&mut self, path: &str) -> Result<(), IndexError> {
        self.offset += path.len() as u64;
        self.offsets.extend(self.offset.to_le_bytes());
        let written = self.texts.write_all(path.as_bytes());
        let written = written.and_then(|()| if self.offsets.len() >= 8 * AT_ONCE { self.flush() } else { Ok(()) });
        written.map_err(IndexError::io("write", &self.path))
    }

    /// Syncs the file.
    pub(crate) fn finish(mut self) -> Result<(), IndexError> {
        let done = self.flush().and_then(|()| disk::sync(self.texts.get_ref()));
        done.map_err(IndexError::io("write", &self.path))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.texts.flush()?;
        self.texts.get_ref().write_all_at(&self.offsets, self.written)?;
        self.written += self.offsets.len() as u64;
        self.offsets.clear();
        Ok(())
    }
}

/// The paths of a snapshot's segment.
#[derive(Debug)]
pub(crate) struct PathsFile {
    path: PathBuf,
    file: File,
    length: u64,
}

impl PathsFile {
    pub(crate) fn open(path: &Path) -> Result<Self, IndexError> {
        let file = protocol::open_file(path).map_err(IndexError::io("open", path))?;
        let length = file.metadata().map_err(IndexError::io("read", path))?.len();
        Ok(Self { path: path.into(), file, length })
    }

    /// True if the file ends where its last offset says.
    pub(crate) fn has_rows(&self, rows: u64) -> bool {
        self.offsets(rows, 1).is_ok_and(|end| end[0] == self.length)
    }

    /// The canonical path of a row.
    pub(crate) fn get(&self, row: u64) -> Result<String, IndexError> {
        Ok(self.range(row..row + 1)?.get(0)?.to_owned())
    }

    /// The canonical paths of these rows.
    pub(crate) fn range(&self, rows: Range<u64>) -> Result<Paths<'_>, IndexError> {
        let offsets = self.offsets(rows.start, (rows.end - rows.start) as usize + 1)?;
        let (begin, end) = (offsets[0], offsets[offsets.len() - 1]);
        if begin > end || end > self.length {
            return Err(self.damaged());
        }
        let mut texts = vec![0; (end - begin) as usize];
        self.file.read_exact_at(&mut texts, begin).map_err(IndexError::io("read", &self.path))?;
        Ok(Paths { file: self, offsets, texts })
    }

    /// The first of `rows` rows, sorted by path, of which `before` is not true.
    pub(crate) fn partition_point(&self, rows: u64, before: impl Fn(&str) -> bool) -> Result<u64, IndexError> {
        let (mut low, mut high) = (0, rows);
        while low < high {
            let middle = low + (high - low) / 2;
            if before(&self.get(middle)?) { low = middle + 1 } else { high = middle }
        }
        Ok(low)
    }

    fn offsets(&self, row: u64, count: usize) -> Result<Vec<u64>, IndexError> {
        let mut bytes = vec![0; 8 * count];
        self.file.read_exact_at(&mut bytes, 8 * row).map_err(IndexError::io("read", &self.path))?;
        Ok(bytes.as_chunks::<8>().0.iter().map(|b| u64::from_le_bytes(*b)).collect())
    }

    pub(crate) fn damaged(&self) -> IndexError {
        IndexError::Damaged {
            path: self.path.clone(),
            what: "its offsets do not fit".into(),
            remedy: "delete this cache file",
        }
    }
}

/// Paths that were read together.
pub(crate) struct Paths<'a> {
    file: &'a PathsFile,
    offsets: Vec<u64>,
    texts: Vec<u8>,
}

impl Paths<'_> {
    /// One of them, by its place.
    pub(crate) fn get(&self, place: usize) -> Result<&str, IndexError> {
        let at = |place: usize| self.offsets[place].checked_sub(self.offsets[0]).map(|at| at as usize);
        let text = at(place).zip(at(place + 1)).and_then(|(begin, end)| self.texts.get(begin..end));
        text.and_then(|text| std::str::from_utf8(text).ok()).ok_or_else(|| self.file.damaged())
    }
}
