//! Writes an index as the folders that clip-retrieval's programs read: see [`crate::Brought`].

use std::fs;
use std::path::{Path, PathBuf};

use disk::atomic::{self, Temp};
use polars::prelude::*;
use protocol::IndexPrefix;

use crate::IndexError;
use crate::brought::{COLUMN, MATRICES, PATHS, file};
use crate::error::{FileKind, Progress};
use crate::meta_file::{read_meta, segments};
use crate::npy::{Float, NpyWriter};
use crate::row_reader::RowFile;

/// What to export, and how.
pub struct Export<'a> {
    /// The index.
    pub prefix: &'a IndexPrefix,
    /// The folder to make. It may be there if it is empty.
    pub folder: &'a Path,
    /// How vectors are stored.
    pub float: Float,
    /// Rows in a file, at most.
    pub rows_per_file: u64,
    /// Told how many rows are written, now and then.
    pub progress: Progress<'a>,
}

/// What was exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exported {
    /// Pictures.
    pub rows: u64,
    /// Matrices.
    pub files: u64,
}

/// Arrow's schema of one column of texts, [`COLUMN`], as `pyarrow.schema(...).serialize()` in base64. polars would name a type
/// of texts that pyarrow before version 15 does not know.
const ARROW_SCHEMA: &str = "/////3gAAAAQAAAAAAAKAAwABgAFAAgACgAAAAABBAAMAAAACAAIAAAABAAIAAAABAAAAAEAAAAUAAAAEAAUAAgABgAHAAwA\
    AAAQABAAAAAAAAEFEAAAACAAAAAEAAAAAAAAAAoAAABpbWFnZV9wYXRoAAAEAAQABAAAAAAAAAA=";

/// Rows whose paths are written at once.
const GROUP: usize = 65_536;

/// Exports the current generation. The folder appears whole or not at all.
///
/// # Errors
/// If there is no index, a file of it is damaged, or the folder is not empty or cannot be written.
pub fn export(request: Export<'_>) -> Result<Exported, IndexError> {
    let Export { prefix, folder, float, rows_per_file, progress } = request;
    let no_index = || IndexError::NoIndex { prefix: prefix.dir().into(), meta: prefix.meta() };
    let meta = read_meta(prefix)?.ok_or_else(no_index)?;
    if fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(IndexError::NotEmpty { path: folder.into() });
    }
    let temp = Temp::beside(folder)?;
    for [below, ..] in [MATRICES, PATHS] {
        atomic::create_dir(&temp.path().join(below))?;
    }
    let files = meta.num_images.div_ceil(rows_per_file);
    // Readers pair the files by the order of their names.
    let digits = files.saturating_sub(1).to_string().len();
    let (mut shard, mut rows) = (None::<ShardWriter>, 0);
    for segment in segments(prefix, &meta) {
        let stored = RowFile::open(&segment.parquet, FileKind::Generation, &meta.root)?;
        if (stored.seal().rows, stored.dim()) != (segment.meta.rows, meta.model.embedding_dim) {
            return Err(stored.damaged("it has not the rows that the index lists"));
        }
        for row in stored.rows() {
            let row = row?;
            if rows % rows_per_file == 0 {
                shard.take().map_or(Ok(()), ShardWriter::finish)?;
                let name = format!("{:0digits$}", rows / rows_per_file);
                let count = rows_per_file.min(meta.num_images - rows);
                shard = Some(ShardWriter::create(&temp.path(), &name, float, count, meta.model.embedding_dim)?);
            }
            let shard = shard.as_mut().expect("the first row begins one");
            shard.push(format!("{}/{}", meta.root, row.path), &row.vector)?;
            rows += 1;
            if rows.is_multiple_of(8192) {
                progress(rows)?;
            }
        }
    }
    shard.map_or(Ok(()), ShardWriter::finish)?;
    for [below, ..] in [MATRICES, PATHS] {
        atomic::sync_dir(&temp.path().join(below))?;
    }
    temp.publish()?;
    Ok(Exported { rows, files })
}

/// A matrix and the paths of its rows.
struct ShardWriter {
    vectors: NpyWriter,
    path: PathBuf,
    file: fs::File,
    writer: polars::prelude::BatchedWriter<fs::File>,
    paths: Vec<String>,
}

impl ShardWriter {
    fn create(folder: &Path, name: &str, float: Float, rows: u64, dim: usize) -> Result<Self, IndexError> {
        let vectors = NpyWriter::create(&folder.join(file(MATRICES, name)), float, rows, dim)?;
        let path = folder.join(file(PATHS, name));
        let file = atomic::create_new(&path)?;
        let schema = Schema::from_iter([Field::new(COLUMN.into(), DataType::String)]);
        let output = file.try_clone().map_err(IndexError::io("write", &path))?;
        let pairs = vec![("ARROW:schema".to_owned(), ARROW_SCHEMA.to_owned())];
        let writer = ParquetWriter::new(output)
            .with_compression(ParquetCompression::Uncompressed)
            .with_key_value_metadata(Some(KeyValueMetadata::from_static(pairs)))
            .batched(&schema);
        let writer = writer.map_err(|e| cannot_write(&path, e))?;
        Ok(Self { vectors, path, file, writer, paths: Vec::new() })
    }

    fn push(&mut self, path: String, vector: &[f32]) -> Result<(), IndexError> {
        self.paths.push(path);
        self.vectors.push(vector)?;
        if self.paths.len() == GROUP { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), IndexError> {
        let paths = std::mem::take(&mut self.paths);
        if paths.is_empty() {
            return Ok(());
        }
        let frame = DataFrame::new(paths.len(), vec![Column::new(COLUMN.into(), paths)]);
        let written = frame.and_then(|frame| self.writer.write_batch(&frame));
        written.map_err(|e| cannot_write(&self.path, e))
    }

    fn finish(mut self) -> Result<(), IndexError> {
        self.flush()?;
        self.writer.finish().map_err(|e| cannot_write(&self.path, e))?;
        disk::sync(&self.file).map_err(IndexError::io("write", &self.path))?;
        self.vectors.finish()
    }
}

fn cannot_write(path: &Path, error: PolarsError) -> IndexError {
    IndexError::io("write", path)(std::io::Error::other(error))
}
