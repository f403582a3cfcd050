//! The file of a segment's first pass: one bit a dimension of each row, see `code.rs`, written as a stream and mapped.
//!
//! All little endian: `IFBI`, version u32 (1), D u32, 0 u32, rows u64, 40 bytes 0; the mean of the rows, f32 [D], filled up
//! with zeros to a multiple of 64 bytes; the rows' bits, u64 [rows, W] with W = 4 * ceil(D / 256); their factors, f32 [rows].

use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use rayon::prelude::*;

use crate::IndexError;
use crate::code::{Coder, QueryCode, estimate, words};
use crate::error::FileKind;
use crate::mapped;

const HEADER: usize = 64;
const VERSION: u32 = 1;

/// Rows that a thread takes at a time: their bits and estimates stay in a processor's first cache.
const BLOCK: usize = 1024;

fn header(dim: usize, rows: u64) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    bytes[..4].copy_from_slice(b"IFBI");
    bytes[4..8].copy_from_slice(&VERSION.to_le_bytes());
    bytes[8..12].copy_from_slice(&(dim as u32).to_le_bytes());
    bytes[16..24].copy_from_slice(&rows.to_le_bytes());
    bytes
}

/// What a file's header says, and where things stand in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Layout {
    dim: usize,
    rows: u64,
    bits_at: u64,
    factors_at: u64,
    length: u64,
}

impl Layout {
    /// `None` if no file is so long.
    fn new(dim: usize, rows: u64) -> Option<Self> {
        let bits_at = (HEADER + (4 * dim).next_multiple_of(64)) as u64;
        let factors_at = rows.checked_mul(8 * words(dim) as u64)?.checked_add(bits_at)?;
        let length = rows.checked_mul(4)?.checked_add(factors_at)?;
        Some(Self { dim, rows, bits_at, factors_at, length })
    }

    fn row_bytes(&self) -> usize {
        8 * words(self.dim)
    }
}

/// Opens a file, checks its header and its length, and reads its mean.
fn open(path: &Path, kind: FileKind) -> Result<(File, Layout, Coder), IndexError> {
    let io = |e| IndexError::io("read", path)(e);
    let file = protocol::open_file(path).map_err(IndexError::io("open", path))?;
    let length = file.metadata().map_err(io)?.len();
    let damaged = || kind.damaged(path, "its header is not that of a file of bits of its length");
    if length < HEADER as u64 {
        return Err(damaged());
    }
    let mut head = [0; HEADER];
    file.read_exact_at(&mut head, 0).map_err(io)?;
    let dim = u32::from_le_bytes(head[8..12].try_into().expect("four bytes")) as usize;
    let rows = u64::from_le_bytes(head[16..24].try_into().expect("eight bytes"));
    let layout = Layout::new(dim, rows)
        .filter(|layout| dim > 0 && layout.length == length && head == header(dim, rows))
        .ok_or_else(damaged)?;
    let mut mean = vec![0; 4 * dim];
    file.read_exact_at(&mut mean, HEADER as u64).map_err(io)?;
    let mean = mean.as_chunks::<4>().0.iter().map(|v| f32::from_le_bytes(*v)).collect();
    Ok((file, layout, Coder::new(mean)))
}

/// The file while it is being written.
pub(crate) struct BitsWriter {
    path: PathBuf,
    file: BufWriter<File>,
    coder: Coder,
    layout: Layout,
    written: u64,
}

impl BitsWriter {
    /// Writes to a new file, at `path`, so many rows around `mean`, [D].
    pub(crate) fn new(file: File, path: &Path, mean: Vec<f32>, rows: u64) -> Result<Self, IndexError> {
        let dim = mean.len();
        let layout = Layout::new(dim, rows).expect("the rows were just written");
        let mut head = header(dim, rows).to_vec();
        head.extend(mean.iter().flat_map(|v| v.to_le_bytes()));
        head.resize(layout.bits_at as usize, 0);
        let mut file = BufWriter::with_capacity(1 << 20, file);
        file.write_all(&head).map_err(IndexError::io("write", path))?;
        Ok(Self { path: path.into(), file, coder: Coder::new(mean), layout, written: 0 })
    }

    /// Appends rows, D little-endian f32 each. A few hundred at a time keep all processors busy.
    pub(crate) fn push(&mut self, vectors: &[u8]) -> Result<(), IndexError> {
        let (mut bits, mut factors) = (Vec::new(), Vec::new());
        let row_bytes = 4 * self.layout.dim;
        let coded: Vec<_> = vectors
            .par_chunks(16 * row_bytes)
            .map(|vectors| {
                let mut bits = Vec::new();
                let factors = vectors.chunks_exact(row_bytes).map(|vector| self.coder.code(vector, &mut bits));
                (factors.collect::<Vec<f32>>(), bits)
            })
            .collect();
        for (some_factors, some_bits) in coded {
            factors.extend(some_factors.iter().flat_map(|v| v.to_le_bytes()));
            bits.extend(some_bits.iter().flat_map(|v| v.to_le_bytes()));
        }
        let at = self.layout.factors_at + 4 * self.written;
        self.written += factors.len() as u64 / 4;
        let done = self.file.write_all(&bits).and_then(|()| self.file.get_ref().write_all_at(&factors, at));
        done.map_err(IndexError::io("write", &self.path))
    }

    /// Syncs the file and opens it for reading back.
    pub(crate) fn finish(mut self) -> Result<BitsReader, IndexError> {
        assert_eq!(self.written, self.layout.rows, "as many rows come as were announced");
        let done = self.file.flush().and_then(|()| disk::sync(self.file.get_ref()));
        done.map_err(IndexError::io("write", &self.path))?;
        let (file, layout, coder) = open(&self.path, FileKind::Written)?;
        Ok(BitsReader { path: self.path, file, layout, coder })
    }
}

/// The bits of a segment's rows by plain reads: a file on a share is never mapped.
pub(crate) struct BitsReader {
    path: PathBuf,
    file: File,
    layout: Layout,
    pub coder: Coder,
}

impl BitsReader {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn rows(&self) -> u64 {
        self.layout.rows
    }

    /// Bits and factors of `count` rows from `first` on.
    pub(crate) fn read(&self, first: u64, count: usize) -> Result<(Vec<u8>, Vec<u8>), IndexError> {
        let row_bytes = self.layout.row_bytes();
        let (mut bits, mut factors) = (vec![0; count * row_bytes], vec![0; count * 4]);
        let read = self.file.read_exact_at(&mut bits, self.layout.bits_at + first * row_bytes as u64);
        read.and_then(|()| self.file.read_exact_at(&mut factors, self.layout.factors_at + 4 * first))
            .map_err(IndexError::io("read", &self.path))?;
        Ok((bits, factors))
    }
}

/// The bits of a segment's rows, mapped.
#[derive(Debug)]
pub(crate) struct Bits {
    map: Mmap,
    layout: Layout,
    coder: Coder,
}

impl Bits {
    /// Maps a file of a snapshot.
    pub(crate) fn open(path: &Path, kind: FileKind) -> Result<Self, IndexError> {
        let (file, layout, coder) = open(path, kind)?;
        Ok(Self { map: mapped::map(&file, path)?, layout, coder })
    }

    /// The whole file.
    pub(crate) fn file(&self) -> &[u8] {
        &self.map
    }

    /// Dimension of the vectors.
    pub(crate) fn dim(&self) -> usize {
        self.layout.dim
    }

    pub(crate) fn rows(&self) -> u64 {
        self.layout.rows
    }

    /// The code of a query, [D].
    pub(crate) fn query(&self, query: &[f32]) -> QueryCode {
        self.coder.query(query)
    }

    /// The bits of a row.
    pub(crate) fn row(&self, row: u64) -> &[u8] {
        let bytes = self.layout.row_bytes();
        &self.map[self.layout.bits_at as usize + row as usize * bytes..][..bytes]
    }

    /// The estimate of one row.
    pub(crate) fn estimate(&self, query: &QueryCode, row: u64) -> f32 {
        let mut estimates = Vec::with_capacity(1);
        let factor = &self.map[self.layout.factors_at as usize + 4 * row as usize..][..4];
        estimate(query, self.row(row), factor, &mut estimates);
        estimates[0]
    }

    /// Has all processors fold the estimates of all rows, some at a time: their first row and the estimates.
    pub(crate) fn fold<T: Send>(
        &self,
        query: &QueryCode,
        start: impl Fn() -> T + Sync + Send,
        each: impl Fn(&mut T, u64, &[f32]) + Sync + Send,
        join: impl Fn(T, T) -> T + Sync + Send,
    ) -> T {
        let (bits, factors) =
            self.map[self.layout.bits_at as usize..].split_at((self.layout.factors_at - self.layout.bits_at) as usize);
        let bits = bits.par_chunks(BLOCK * self.layout.row_bytes());
        let factors = factors.par_chunks(BLOCK * 4);
        bits.zip(factors)
            .enumerate()
            .fold(
                || (start(), Vec::with_capacity(BLOCK)),
                |(mut all, mut estimates), (block, (bits, factors))| {
                    estimate(query, bits, factors, &mut estimates);
                    each(&mut all, (block * BLOCK) as u64, &estimates);
                    (all, estimates)
                },
            )
            .map(|(all, _)| all)
            .reduce(&start, join)
    }
}
