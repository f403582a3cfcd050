//! Streams rows into a sealed parquet file, row group by row group.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use polars::prelude::*;
use protocol::ImagePath;
use xxhash_rust::xxh3::Xxh3;

use crate::IndexError;
use crate::row::{RowsHash, StoredRow, hex, is_normalised};
use crate::seal::{self, Seal};

/// Key under which a file's own metadata stands, as JSON.
pub(crate) const META_KEY: &str = "imagefleet";
/// Key under which the first row's path stands, relative to the root; absent in a file without rows.
pub(crate) const FIRST_KEY: &str = "imagefleet.first";

/// Rows in a row group of a generation: 16 MB of vectors at D = 512.
pub(crate) const GENERATION_GROUP: usize = 8192;
/// Rows in a row group of a partial index: a merge holds one group of each worker.
pub(crate) const PARTIAL_GROUP: usize = 2048;

/// The columns of all files of rows, with vectors of `dim` values.
pub(crate) fn schema(dim: usize) -> Schema {
    [
        ("path", DataType::String),
        ("embedding", DataType::Array(Box::new(DataType::Float32), dim)),
        ("size", DataType::Int64),
        ("mtime_ns", DataType::Int64),
        ("content_hash", DataType::String),
        ("width", DataType::UInt32),
        ("height", DataType::UInt32),
        ("taken_s", DataType::Int64),
    ]
    .into_iter()
    .map(|(name, dtype)| Field::new(name.into(), dtype))
    .collect()
}

/// A finished parquet file.
#[derive(Debug)]
pub(crate) struct Written {
    pub seal: Seal,
    pub bytes: u64,
    /// XXH3-128 of the file.
    pub checksum: String,
}

/// A parquet file while it is being written.
pub(crate) struct RowWriter {
    path: PathBuf,
    root: String,
    dim: usize,
    group_rows: usize,
    group: Group,
    output: Arc<Mutex<Output>>,
    writer: polars::prelude::BatchedWriter<Sink>,
    hash: RowsHash,
    rows: u64,
    last: Option<ImagePath>,
}

#[derive(Default)]
struct Group {
    paths: Vec<String>,
    vectors: Vec<f32>,
    sizes: Vec<i64>,
    times: Vec<i64>,
    hashes: Vec<String>,
    widths: Vec<u32>,
    heights: Vec<u32>,
    taken: Vec<Option<i64>>,
}

impl RowWriter {
    /// Writes to a new file, at `path`, rows in ascending order of paths. `extra` goes into its key-value metadata.
    pub(crate) fn new(
        file: File,
        path: &Path,
        root: &str,
        dim: usize,
        group_rows: usize,
        extra: Vec<(String, String)>,
    ) -> Result<Self, IndexError> {
        let file = BufWriter::with_capacity(1 << 20, file);
        let output = Arc::new(Mutex::new(Output { file, hash: Xxh3::new(), bytes: 0, tail: None, error: None }));
        let mut pairs = extra;
        pairs.push((seal::KEY.into(), seal::blank()));
        // Vectors do not compress, and paths are few bytes beside them.
        let writer = ParquetWriter::new(Sink(Arc::clone(&output)))
            .with_compression(ParquetCompression::Uncompressed)
            .with_key_value_metadata(Some(KeyValueMetadata::from_static(pairs)))
            .batched(&schema(dim))
            .map_err(|e| polars_error(path, e))?;
        Ok(Self {
            path: path.into(),
            root: root.trim_end_matches('/').into(),
            dim,
            group_rows,
            group: Group::default(),
            output,
            writer,
            hash: RowsHash::default(),
            rows: 0,
            last: None,
        })
    }

    /// Appends a row.
    pub(crate) fn push(&mut self, row: &StoredRow) -> Result<(), IndexError> {
        if row.vector.len() != self.dim {
            let what = format!("the vector of {}", row.path);
            return Err(IndexError::Dimension { what, found: row.vector.len(), expected: self.dim });
        }
        assert!(self.last.as_ref().is_none_or(|last| *last < row.path), "rows are written in order, one a picture");
        assert!(is_normalised(&row.vector), "readers and embeddings give vectors of length one");
        self.hash.push(row);
        self.rows += 1;
        self.last = Some(row.path.clone());
        self.group.paths.push(format!("{}/{}", self.root, row.path));
        self.group.vectors.extend_from_slice(&row.vector);
        self.group.sizes.push(row.file.size_bytes as i64);
        self.group.times.push(row.file.mtime_ns);
        self.group.hashes.push(row.content_hash.clone());
        self.group.widths.push(row.file.width);
        self.group.heights.push(row.file.height);
        self.group.taken.push(row.file.taken_s);
        if self.group.paths.len() >= self.group_rows { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), IndexError> {
        let group = std::mem::take(&mut self.group);
        let rows = group.paths.len();
        if rows == 0 {
            return Ok(());
        }
        let shape = [ReshapeDimension::new(rows as i64), ReshapeDimension::new(self.dim as i64)];
        let frame = Series::new("embedding".into(), group.vectors).reshape_array(&shape).and_then(|vectors| {
            DataFrame::new(
                rows,
                vec![
                    Column::new("path".into(), group.paths),
                    vectors.into_column(),
                    Column::new("size".into(), group.sizes),
                    Column::new("mtime_ns".into(), group.times),
                    Column::new("content_hash".into(), group.hashes),
                    Column::new("width".into(), group.widths),
                    Column::new("height".into(), group.heights),
                    Column::new("taken_s".into(), group.taken),
                ],
            )
        });
        let written = frame.and_then(|frame| self.writer.write_batch(&frame));
        written.map_err(|e| self.cause(e))
    }

    /// Writes the footer with its seal and syncs the file.
    pub(crate) fn finish(mut self) -> Result<Written, IndexError> {
        self.flush()?;
        lock(&self.output).tail = Some(Vec::new());
        self.writer.finish().map_err(|e| self.cause(e))?;
        let seal = Seal { rows: self.rows, rows_hash: self.hash.rows(), files_hash: self.hash.files() };
        let mut output = lock(&self.output);
        let mut tail = output.tail.take().unwrap_or_default();
        let checksum = seal::fill(&mut tail, &output.hash, &seal);
        let io = IndexError::io("write", &self.path);
        output
            .file
            .write_all(&tail)
            .and_then(|()| output.file.flush())
            .and_then(|()| disk::sync(output.file.get_ref()))
            .map_err(io)?;
        Ok(Written { seal, bytes: output.bytes + tail.len() as u64, checksum })
    }

    /// The system's own words if it was the disk that refused, else polars' words.
    fn cause(&self, error: PolarsError) -> IndexError {
        match lock(&self.output).error.take() {
            Some(source) => IndexError::io("write", &self.path)(source),
            None => polars_error(&self.path, error),
        }
    }
}

fn polars_error(path: &Path, error: PolarsError) -> IndexError {
    IndexError::io("write", path)(io::Error::other(error))
}

struct Output {
    file: BufWriter<File>,
    hash: Xxh3,
    bytes: u64,
    /// The footer, held back until its seal is filled.
    tail: Option<Vec<u8>>,
    error: Option<io::Error>,
}

struct Sink(Arc<Mutex<Output>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let output = &mut *lock(&self.0);
        if let Some(tail) = &mut output.tail {
            tail.extend_from_slice(bytes);
            return Ok(bytes.len());
        }
        if let Err(e) = output.file.write_all(bytes) {
            let again = io::Error::from(e.kind());
            output.error = Some(e);
            return Err(again);
        }
        output.hash.update(bytes);
        output.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads a whole file in bounded memory: its length in bytes, and the XXH3-128 of them as
/// [`protocol::hash_hex`] gives it.
pub fn hash_file(path: &Path) -> Result<(u64, String), IndexError> {
    let mut file = protocol::open_file(path).map_err(IndexError::io("open", path))?;
    let mut hash = Xxh3::new();
    let mut buffer = vec![0; 1 << 20];
    let mut bytes = 0;
    loop {
        match io::Read::read(&mut file, &mut buffer).map_err(IndexError::io("read", path))? {
            0 => return Ok((bytes, hex(&hash))),
            count => {
                hash.update(&buffer[..count]);
                bytes += count as u64;
            }
        }
    }
}
