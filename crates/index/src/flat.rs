//! faiss's file of a flat inner-product index, written as a stream. faiss itself writes one only from memory.
//!
//! As in faiss's `impl/index_write.cpp` (`write_index_header`, `IxFI`), all little endian: fourcc `IxFI`, d i32,
//! ntotal i64, two unused i64 of 1 << 20, is_trained u8, metric i32 (0: inner product), count of floats u64 = ntotal * d,
//! then the floats, row by row.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

use crate::IndexError;
use crate::error::FileKind;
use crate::row::hex;

/// Bytes before the first float.
pub(crate) const HEADER: usize = 45;

fn header(dim: usize, rows: u64) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    bytes[..4].copy_from_slice(b"IxFI");
    bytes[4..8].copy_from_slice(&(dim as i32).to_le_bytes());
    bytes[8..16].copy_from_slice(&(rows as i64).to_le_bytes());
    bytes[16..24].copy_from_slice(&(1i64 << 20).to_le_bytes());
    bytes[24..32].copy_from_slice(&(1i64 << 20).to_le_bytes());
    bytes[32] = 1;
    bytes[37..45].copy_from_slice(&(rows * dim as u64).to_le_bytes());
    bytes
}

/// A flat index while it is being written.
#[derive(Debug)]
pub(crate) struct FlatWriter {
    path: PathBuf,
    file: BufWriter<File>,
    dim: usize,
    rows: u64,
    buffer: Vec<u8>,
}

impl FlatWriter {
    /// Writes to a new file, at `path`.
    pub(crate) fn new(file: File, path: &Path, dim: usize) -> Result<Self, IndexError> {
        let mut file = BufWriter::with_capacity(1 << 20, file);
        file.write_all(&header(dim, 0)).map_err(IndexError::io("write", path))?;
        Ok(Self { path: path.into(), file, dim, rows: 0, buffer: Vec::new() })
    }

    /// Appends a vector of the index's dimension.
    pub(crate) fn push(&mut self, vector: &[f32]) -> Result<(), IndexError> {
        assert_eq!(vector.len(), self.dim, "rows are checked before they come here");
        self.buffer.clear();
        self.buffer.extend(vector.iter().flat_map(|v| v.to_le_bytes()));
        self.rows += 1;
        self.file.write_all(&self.buffer).map_err(IndexError::io("write", &self.path))
    }

    /// Puts the number of rows into the header and syncs the file.
    pub(crate) fn finish(mut self) -> Result<(), IndexError> {
        let header = header(self.dim, self.rows);
        let write = |file: &mut BufWriter<File>| {
            file.seek(SeekFrom::Start(0))?;
            file.write_all(&header)?;
            file.flush()?;
            disk::sync(file.get_ref())
        };
        write(&mut self.file).map_err(IndexError::io("write", &self.path))
    }
}

/// A flat index's file whose header fits its length.
pub(crate) struct FlatFile {
    path: PathBuf,
    file: BufReader<File>,
    /// Of the header and the vectors that were read.
    hash: Xxh3,
    pub dim: usize,
    pub rows: u64,
}

impl FlatFile {
    /// Opens a file and checks its header and length.
    pub(crate) fn open(path: &Path, kind: FileKind) -> Result<Self, IndexError> {
        let mut file = protocol::open_file(path).map_err(IndexError::io("open", path))?;
        let length = file.metadata().map_err(IndexError::io("read", path))?.len();
        let mut bytes = [0; HEADER];
        if length < HEADER as u64 {
            return Err(kind.damaged(path, "it is too short for a faiss index"));
        }
        file.read_exact(&mut bytes).map_err(IndexError::io("read", path))?;
        let dim = i32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
        let rows = i64::from_le_bytes(bytes[8..16].try_into().expect("eight bytes"));
        let fits = dim > 0
            && rows >= 0
            && (rows as u64)
                .checked_mul(4 * dim as u64)
                .is_some_and(|data| data.checked_add(HEADER as u64) == Some(length))
            && bytes == header(dim as usize, rows as u64);
        if !fits {
            return Err(kind.damaged(path, "its header is not that of a flat inner-product index of its length"));
        }
        let mut hash = Xxh3::new();
        hash.update(&bytes);
        Ok(Self {
            path: path.into(),
            file: BufReader::with_capacity(1 << 20, file),
            hash,
            dim: dim as usize,
            rows: rows as u64,
        })
    }

    /// The open file.
    pub(crate) fn file(&self) -> &File {
        self.file.get_ref()
    }

    /// The vector of a row, wherever the last one was read.
    pub(crate) fn row_at(&self, row: u64) -> Result<Vec<f32>, IndexError> {
        let mut bytes = vec![0; 4 * self.dim];
        let offset = HEADER as u64 + row * bytes.len() as u64;
        self.file().read_exact_at(&mut bytes, offset).map_err(IndexError::io("read", &self.path))?;
        Ok(bytes.chunks_exact(4).map(|v| f32::from_le_bytes([v[0], v[1], v[2], v[3]])).collect())
    }

    /// The next vector's bytes as they stand in the file, into `buffer`.
    pub(crate) fn read_row(&mut self, buffer: &mut Vec<u8>) -> Result<(), IndexError> {
        buffer.resize(4 * self.dim, 0);
        self.file.read_exact(buffer).map_err(IndexError::io("read", &self.path))?;
        self.hash.update(buffer);
        Ok(())
    }

    /// Length and checksum of the file, once all its vectors have been read.
    pub(crate) fn checksum(&self) -> (u64, String) {
        (HEADER as u64 + self.rows * 4 * self.dim as u64, hex(&self.hash))
    }
}
