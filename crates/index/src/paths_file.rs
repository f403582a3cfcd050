//! A snapshot's paths: row numbers to canonical paths, two small reads a look-up, so that a server's memory does not
//! grow with the index. A file of this host only, made from a segment's `path` column.
//!
//! `n + 1` offsets u64 little endian, then the paths one after another; row i is bytes offset i to offset i + 1.

use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::error::FileKind;
use crate::row_reader::RowFile;
use crate::{IndexError, atomic};

/// Writes the paths of a segment's parquet file into a new file.
pub(crate) fn extract(parquet: &Path, root: &str, rows: u64, target: &Path) -> Result<(), IndexError> {
    let file = RowFile::open(parquet, FileKind::Generation, root)?;
    if file.seal().rows != rows {
        return Err(file.damaged("it has not the rows that the index lists"));
    }
    let io = |e| IndexError::io("write", target)(e);
    let texts_begin = 8 * (rows + 1);
    let mut texts = BufWriter::new(atomic::create_new(target)?);
    texts.seek(SeekFrom::Start(texts_begin)).map_err(io)?;
    let mut offset = texts_begin;
    let mut offsets = Vec::with_capacity(8 * 8192);
    let mut written = 0;
    let mut put = |texts: &mut BufWriter<File>, offsets: &mut Vec<u8>| -> std::io::Result<()> {
        texts.flush()?;
        texts.get_ref().write_all_at(offsets, written)?;
        written += offsets.len() as u64;
        offsets.clear();
        Ok(())
    };
    offsets.extend(offset.to_le_bytes());
    for path in file.paths() {
        let path = format!("{root}/{}", path?);
        texts.write_all(path.as_bytes()).map_err(io)?;
        offset += path.len() as u64;
        offsets.extend(offset.to_le_bytes());
        if offsets.len() >= 8 * 8192 {
            put(&mut texts, &mut offsets).map_err(io)?;
        }
    }
    put(&mut texts, &mut offsets).map_err(io)?;
    texts.get_ref().sync_all().map_err(io)
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
        let file = File::open(path).map_err(IndexError::io("open", path))?;
        let length = file.metadata().map_err(IndexError::io("read", path))?.len();
        Ok(Self { path: path.into(), file, length })
    }

    /// True if the file ends where its last offset says.
    pub(crate) fn has_rows(&self, rows: u64) -> bool {
        self.offsets(rows, 1).is_ok_and(|end| end[0] == self.length)
    }

    /// The canonical path of a row.
    pub(crate) fn get(&self, row: u64) -> Result<String, IndexError> {
        let range = self.offsets(row, 2)?;
        if range[0] > range[1] || range[1] > self.length {
            return Err(self.damaged());
        }
        let mut bytes = vec![0; (range[1] - range[0]) as usize];
        self.file.read_exact_at(&mut bytes, range[0]).map_err(IndexError::io("read", &self.path))?;
        String::from_utf8(bytes).map_err(|_| self.damaged())
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
