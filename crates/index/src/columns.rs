//! Columns of a parquet file, read row group by row group, by plain reads of the bytes that are needed.
//!
//! Files on a share are never mapped: a page that the server cannot give kills the process. polars reads files only
//! mapped or whole, so column chunks are read here and given to its decoder one by one. A decoder's panic becomes an
//! error that names the file.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use polars::io::parquet::read::_internal::to_deserializer;
use polars::prelude::*;
use polars_parquet::read::{ColumnChunkMetadata, PageReader};
use polars_parquet::write::CompressedPage;

use crate::error::FileKind;
use crate::{IndexError, seal};

/// An open parquet file.
pub(crate) struct Columns {
    path: PathBuf,
    kind: FileKind,
    input: Input,
    metadata: FileMetadataRef,
    fields: HashMap<String, ArrowField>,
    /// Where the footer begins.
    end: u64,
}

/// Where the bytes are.
pub(crate) enum Input {
    File(File),
    Memory(Cursor<Vec<u8>>),
}

impl Columns {
    /// Opens a file that another program wrote.
    pub(crate) fn open(path: &Path, kind: FileKind) -> Result<Self, IndexError> {
        let mut file = protocol::open_file(path).map_err(IndexError::io("open", path))?;
        let (end, footer) = seal::read_tail(&mut file, path, kind)?;
        Self::new(path, kind, Input::File(file), &footer, end)
    }

    /// Reads the footer: thrift metadata, its length and `PAR1`, which begin at `end` in the file.
    pub(crate) fn new(path: &Path, kind: FileKind, input: Input, footer: &[u8], end: u64) -> Result<Self, IndexError> {
        let (metadata, fields) = guarded(path, kind, || {
            // The parquet reader looks only at the end of what it takes for a file.
            let mut tail = b"PAR1".to_vec();
            tail.extend_from_slice(footer);
            let mut reader = ParquetReader::new(Cursor::new(tail));
            let metadata = reader.get_metadata()?.clone();
            let fields = reader.schema()?.iter().map(|(name, field)| (name.to_string(), field.clone())).collect();
            Ok((metadata, fields))
        })?;
        Ok(Self { path: path.into(), kind, input, metadata, fields, end })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn damaged(&self, what: impl Into<String>) -> IndexError {
        self.kind.damaged(&self.path, what)
    }

    /// The file's key-value metadata.
    pub(crate) fn pairs(&self) -> HashMap<String, String> {
        let pairs = self.metadata.key_value_metadata.iter().flatten();
        pairs.filter_map(|kv| Some((kv.key.clone(), kv.value.clone()?))).collect()
    }

    /// The type of a column, if there is one of this name.
    pub(crate) fn dtype(&self, name: &str) -> Result<Option<DataType>, IndexError> {
        guarded(&self.path, self.kind, || Ok(self.fields.get(name).map(DataType::from_arrow_field)))
    }

    pub(crate) fn rows(&self) -> u64 {
        self.metadata.num_rows as u64
    }

    /// Rows of each row group.
    pub(crate) fn groups(&self) -> impl ExactSizeIterator<Item = u64> {
        self.metadata.row_groups.iter().map(|group| group.num_rows() as u64)
    }

    pub(crate) fn texts(&mut self, group: usize, name: &'static str) -> Result<Vec<String>, IndexError> {
        self.column(group, name, |series| {
            let texts: Option<Vec<String>> = series.str()?.iter().map(|t| t.map(str::to_owned)).collect();
            texts.ok_or_else(|| polars_err!(ComputeError: "its column `{name}` has gaps"))
        })
    }

    pub(crate) fn numbers<T: PolarsNumericType>(
        &mut self,
        group: usize,
        name: &'static str,
    ) -> Result<Vec<T::Native>, IndexError> {
        self.column(group, name, |series| {
            polars_ensure!(series.null_count() == 0, ComputeError: "its column `{name}` has gaps");
            Ok(series.unpack::<T>()?.downcast_iter().flat_map(|chunk| chunk.values_iter().copied()).collect())
        })
    }

    /// A column of a row group, which must be there.
    pub(crate) fn column<T>(
        &mut self,
        group: usize,
        name: &'static str,
        take: impl FnOnce(Series) -> PolarsResult<T>,
    ) -> Result<T, IndexError> {
        let (metadata, field) = (self.metadata.clone(), self.fields[name].clone());
        let (path, kind) = (self.path.clone(), self.kind);
        let chunk = guarded(&path, kind, || {
            let mut chunks = metadata.row_groups[group].columns_under_root_iter(name).into_iter().flatten();
            match (chunks.next(), chunks.next()) {
                (Some(chunk), None) => Ok((chunk, chunk.byte_range())),
                _ => polars_bail!(SchemaMismatch: "its column `{name}` is missing"),
            }
        })?;
        let bytes = self.read(chunk.1)?.into();
        guarded(&path, kind, || {
            check_counts(chunk.0, PageReader::new(Cursor::new(Clone::clone(&bytes)), chunk.0, Vec::new(), usize::MAX))?;
            let (arrays, _) = to_deserializer(vec![(chunk.0, bytes)], field.clone(), None)?;
            take(Series::try_from((&field, arrays))?)
        })
    }

    fn read(&mut self, range: Range<u64>) -> Result<Vec<u8>, IndexError> {
        if range.start > range.end || range.end > self.end {
            return Err(self.damaged("its footer points outside of it"));
        }
        let mut bytes = vec![0; (range.end - range.start) as usize];
        let mut read = |input: &mut dyn ReadSeek| {
            input.seek(SeekFrom::Start(range.start))?;
            input.read_exact(&mut bytes)
        };
        let done = match &mut self.input {
            Input::File(file) => read(file),
            Input::Memory(cursor) => read(cursor),
        };
        done.map_err(IndexError::io("read", &self.path))?;
        Ok(bytes)
    }
}

/// The decoder makes room for as many values as a page's header says, before it looks for them; one that lies would end
/// the process.
fn check_counts(chunk: &ColumnChunkMetadata, pages: PageReader) -> PolarsResult<()> {
    let (most, mut values) = (chunk.num_values().cast_unsigned(), 0u64);
    for page in pages {
        if let CompressedPage::Data(page) = page? {
            values = values.saturating_add(page.num_values() as u64);
            polars_ensure!(values <= most, ComputeError: "a page holds more values than its column");
        }
    }
    Ok(())
}

trait ReadSeek: Read + Seek {}
impl<T: Read + Seek> ReadSeek for T {}

/// Runs polars on bytes that may be damaged: its errors and its panics become one error that names the file.
pub(crate) fn guarded<T>(path: &Path, kind: FileKind, read: impl FnOnce() -> PolarsResult<T>) -> Result<T, IndexError> {
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(e)) => Err(kind.damaged(path, e.to_string())),
        Err(_) => Err(kind.damaged(path, "the parquet decoder gave up on it")),
    }
}
