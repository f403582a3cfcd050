//! Rows of a sealed parquet file, read row group by row group.

use std::collections::HashMap;
use std::io::Cursor;
use std::path::Path;

use polars::prelude::*;
use protocol::{FileFacts, ImagePath, lexical_text};
use serde_json::Value;

use crate::IndexError;
use crate::columns::{Columns, Input};
use crate::error::{FileKind, check_version};
use crate::row::{FilesHash, RowsHash, StoredRow, is_normalised};
use crate::row_writer::{META_KEY, schema};
use crate::seal::{self, Footer, Seal};

/// No file that is read whole is longer: a part of a hundred thousand pictures has a few hundred megabytes.
const MOST_BYTES: u64 = 4 << 30;

/// A parquet file of rows whose footer fits its seal.
pub(crate) struct RowFile {
    columns: Columns,
    pairs: HashMap<String, String>,
    footer: Footer,
    dim: usize,
    root: String,
}

impl RowFile {
    /// Opens a file on disk and reads its footer. `root` is cut off its paths.
    pub(crate) fn open(path: &Path, kind: FileKind, root: &str) -> Result<Self, IndexError> {
        let mut file = protocol::open_file(path).map_err(IndexError::io("open", path))?;
        let footer = seal::read_footer(&mut file, path, kind)?;
        Self::new(path, kind, root, Input::File(file), footer)
    }

    /// Reads a whole file, of some megabytes, and compares all of it with its seal.
    pub(crate) fn load(path: &Path, kind: FileKind) -> Result<Self, IndexError> {
        let mut bytes = Cursor::new(protocol::read_file(path, MOST_BYTES).map_err(IndexError::io("read", path))?);
        let footer = seal::read_footer(&mut bytes, path, kind)?;
        seal::verify_bytes(&mut bytes, &footer, path, kind)?;
        Self::new(path, kind, "", Input::Memory(bytes), footer)
    }

    /// The same file with another root to cut off its paths.
    pub(crate) fn under(self, root: &str) -> Self {
        Self { root: root.trim_end_matches('/').to_owned(), ..self }
    }

    fn new(path: &Path, kind: FileKind, root: &str, input: Input, footer: Footer) -> Result<Self, IndexError> {
        let columns = Columns::new(path, kind, input, &footer.bytes, footer.offset)?;
        let pairs = columns.pairs();
        // Before its columns, which may be those of another version.
        if let Some(meta) = pairs.get(META_KEY).and_then(|text| serde_json::from_str::<Value>(text).ok()) {
            check_version(path, kind, &meta)?;
        }
        let dim = match columns.dtype("embedding")? {
            Some(DataType::Array(inner, dim)) if *inner == DataType::Float32 => dim,
            other => {
                return Err(columns.damaged(format!("its column `embedding` is {other:?}, not an array of f32")));
            }
        };
        for (name, wanted) in schema(dim).iter() {
            if columns.dtype(name)?.as_ref() != Some(wanted) {
                return Err(columns.damaged(format!("its column `{name}` is not {wanted}")));
            }
        }
        let root = root.trim_end_matches('/').to_owned();
        let file = Self { columns, pairs, footer, dim, root };
        if file.columns.rows() != file.footer.seal.rows {
            return Err(file.damaged("its footer and its seal count rows differently"));
        }
        Ok(file)
    }

    pub(crate) fn path(&self) -> &Path {
        self.columns.path()
    }

    pub(crate) fn seal(&self) -> &Seal {
        &self.footer.seal
    }

    pub(crate) fn dim(&self) -> usize {
        self.dim
    }

    /// The value of a key in the file's metadata.
    pub(crate) fn pair(&self, key: &str) -> Option<&str> {
        self.pairs.get(key).map(String::as_str)
    }

    pub(crate) fn damaged(&self, what: impl Into<String>) -> IndexError {
        self.columns.damaged(what)
    }

    /// All rows in order. The last `next` compares their number and checksum with the seal.
    pub(crate) fn rows(self) -> impl Iterator<Item = Result<StoredRow, IndexError>> + Send {
        let mut hash = RowsHash::default();
        self.stream(Self::stored_group, move |row: Option<&StoredRow>, seal| match row {
            Some(row) => {
                hash.push(row);
                true
            }
            None => hash.rows() == seal.rows_hash,
        })
    }

    /// Paths and facts of all rows in order, without reading vectors. The last `next` compares their checksum with the
    /// seal.
    pub(crate) fn files(self) -> impl Iterator<Item = Result<(ImagePath, FileFacts), IndexError>> + Send {
        let mut hash = FilesHash::default();
        self.stream(Self::files_group, move |row: Option<&(ImagePath, FileFacts)>, seal| match row {
            Some((path, file)) => {
                hash.push(path, file);
                true
            }
            None => hash.digest() == seal.files_hash,
        })
    }

    /// The row group that holds a row, and the number of the group's first row.
    pub(crate) fn group_of(&self, row: u64) -> Option<(usize, u64)> {
        let mut begin = 0;
        for (number, rows) in self.columns.groups().enumerate() {
            let end = begin + rows;
            if row < end {
                return Some((number, begin));
            }
            begin = end;
        }
        None
    }

    /// The content hashes of a row group's rows, in order. Like [`Self::files`], of a file that was not compared with
    /// its seal as a whole: a hash that is damaged is that of no picture.
    pub(crate) fn content_hashes(&mut self, group: usize) -> Result<Vec<String>, IndexError> {
        self.columns.texts(group, "content_hash")
    }

    fn stream<T: HasPath + Send>(
        mut self,
        read: impl Fn(&mut Self, usize) -> Result<Vec<T>, IndexError> + Send,
        mut check: impl FnMut(Option<&T>, &Seal) -> bool + Send,
    ) -> impl Iterator<Item = Result<T, IndexError>> + Send {
        let groups = self.columns.groups().len();
        let (mut next_group, mut rows, mut count, mut ended) = (0, Vec::new().into_iter(), 0u64, false);
        let mut last: Option<ImagePath> = None;
        std::iter::from_fn(move || {
            if ended {
                return None;
            }
            let mut step = || -> Result<Option<T>, IndexError> {
                loop {
                    if let Some(row) = Iterator::next(&mut rows) {
                        let row: T = row;
                        count += 1;
                        check(Some(&row), &self.footer.seal);
                        return Ok(Some(row));
                    }
                    if next_group == groups {
                        let whole = count == self.footer.seal.rows && check(None, &self.footer.seal);
                        return if whole { Ok(None) } else { Err(self.damaged("its rows do not fit its seal")) };
                    }
                    let group = read(&mut self, next_group)?;
                    let paths = last.iter().chain(group.iter().map(HasPath::path));
                    if let Some((_, path)) = paths.clone().zip(paths.skip(1)).find(|(a, b)| a >= b) {
                        return Err(self.damaged(format!("its rows are out of order at {path}")));
                    }
                    last = group.last().map(|row| row.path().clone()).or(last.take());
                    rows = group.into_iter();
                    next_group += 1;
                }
            };
            let item = step().transpose();
            ended = !matches!(item, Some(Ok(_)));
            item
        })
    }

    fn files_group(&mut self, group: usize) -> Result<Vec<(ImagePath, FileFacts)>, IndexError> {
        let paths = self.paths(group)?;
        let sizes = self.columns.numbers::<Int64Type>(group, "size")?;
        let times = self.columns.numbers::<Int64Type>(group, "mtime_ns")?;
        let widths = self.columns.numbers::<UInt32Type>(group, "width")?;
        let heights = self.columns.numbers::<UInt32Type>(group, "height")?;
        let taken: Vec<Option<i64>> =
            self.columns.column(group, "taken_s", |series| Ok(series.i64()?.iter().collect()))?;
        self.same_length(&[paths.len(), sizes.len(), times.len(), widths.len(), heights.len(), taken.len()])?;
        let rows = paths.into_iter().zip(sizes).zip(times).zip(widths).zip(heights).zip(taken);
        rows.map(|(((((path, size), mtime_ns), width), height), taken_s)| {
            let size_bytes = u64::try_from(size).map_err(|_| self.damaged("it holds a negative size"))?;
            Ok((path, FileFacts { size_bytes, mtime_ns, taken_s, width, height }))
        })
        .collect()
    }

    fn stored_group(&mut self, group: usize) -> Result<Vec<StoredRow>, IndexError> {
        let files = self.files_group(group)?;
        let hashes = self.columns.texts(group, "content_hash")?;
        let vectors = self.vectors(group)?;
        self.same_length(&[files.len(), hashes.len()])?;
        if vectors.len() != files.len() * self.dim {
            return Err(self.damaged("its columns have different lengths"));
        }
        let rows = files.into_iter().zip(hashes).zip(vectors.chunks_exact(self.dim));
        rows.map(|(((path, file), content_hash), vector)| {
            if !is_normalised(vector) {
                return Err(self.damaged(format!("the vector of {path} has not length one")));
            }
            Ok(StoredRow { path, vector: vector.to_vec(), file, content_hash })
        })
        .collect()
    }

    /// The paths of a row group, relative to the root. They are read for every row at every scan.
    fn paths(&mut self, group: usize) -> Result<Vec<ImagePath>, IndexError> {
        let root = self.root.clone();
        let below = |path: &str| {
            let rest = path.strip_prefix(&root)?.strip_prefix('/')?;
            Some(ImagePath::new(rest).map_err(|e| e.to_string()))
        };
        // Versions before 0.2 took a root as it was given, with `..` in it.
        let relative = |path: &str| {
            let known = below(path).or_else(|| below(&lexical_text(path)));
            known.unwrap_or_else(|| Err(format!("{path:?} is not a path under {root:?}")))
        };
        let paths = self.columns.column(group, "path", |series| {
            let paths: Option<Result<Vec<_>, String>> = series.str()?.iter().map(|path| path.map(relative)).collect();
            paths.ok_or_else(|| polars_err!(ComputeError: "its column `path` has gaps"))
        })?;
        paths.map_err(|what| self.damaged(what))
    }

    fn same_length(&self, lengths: &[usize]) -> Result<(), IndexError> {
        if lengths.iter().all(|n| *n == lengths[0]) {
            Ok(())
        } else {
            Err(self.damaged("its columns have different lengths"))
        }
    }

    /// [N, D] in one row after another.
    fn vectors(&mut self, group: usize) -> Result<Vec<f32>, IndexError> {
        self.columns.column(group, "embedding", |series| {
            let inner = series.array()?.get_inner();
            polars_ensure!(
                series.null_count() == 0 && inner.null_count() == 0,
                ComputeError: "its column `embedding` has gaps"
            );
            let values = inner.f32()?;
            let mut flat = Vec::with_capacity(values.len());
            values.downcast_iter().for_each(|chunk| flat.extend_from_slice(chunk.values()));
            Ok(flat)
        })
    }
}

/// What has a place in the order of pictures.
pub(crate) trait HasPath {
    fn path(&self) -> &ImagePath;
}

impl HasPath for StoredRow {
    fn path(&self) -> &ImagePath {
        &self.path
    }
}

impl HasPath for (ImagePath, FileFacts) {
    fn path(&self) -> &ImagePath {
        &self.0
    }
}
