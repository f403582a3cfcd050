//! Makes rows of vectors that were made elsewhere.
//!
//! They are read twice: in their own order, to judge every vector and look at every picture, and then, sorted by path, as
//! one more source of an ordinary merge. In memory are paths that are being sorted, and a block of rows.

use std::fs;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use protocol::{Embedding, Failure, FailureKind, FileFacts, ImagePath, IndexMeta, ModelIdentity, Root, mtime_ns};
use serde::{Deserialize, Serialize};

use crate::IndexError;
use crate::brought::{Brought, Shard};
use crate::error::Progress;
use crate::inputs::Inputs;
use crate::kway::{Opened, Source};
use crate::npy::Float;
use crate::row::StoredRow;
use crate::sort::{Sorted, Sorter};
use crate::spread::Spread;
use crate::take_in::{Candidate, Kind};

/// Rows that are judged, or read in the order of paths, at a time.
const BLOCK: usize = 1024;
/// Threads that do so: a share answers each slowly but many together.
const READERS: usize = 16;
/// More vectors without a direction, and these are no pictures' vectors.
const MOST_FAILED: usize = 10_000;
/// Fewer pictures are kept for a comparison; at least half as many, if so many are here.
const SAMPLE: usize = 32;
/// Vectors whose length is so near to one keep their very bits.
const ROUNDING: f64 = 1e-6;

/// Vectors that were made elsewhere, judged.
#[derive(Debug)]
pub struct Import {
    root: Root,
    shards: Arc<Vec<Shard>>,
    keys: Sorter<Key>,
    failures: Vec<Failure>,
    dim: usize,
    /// Of the pictures that are here.
    sample: Spread<(ImagePath, Embedding)>,
}

/// Where a picture's vector is. Ordered by path first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Key {
    path: ImagePath,
    shard: usize,
    row: u64,
    size_bytes: u64,
    mtime_ns: i64,
}

/// What became of a row.
enum Judged {
    Fit(Key, Vec<f32>),
    Failed(Failure),
    Outside(String),
}

impl Import {
    /// Reads and judges all of it. A path is one below `root`, as it is here or in the index, or relative to it; a picture
    /// that is there has its size and time taken. What is told now and then is how many rows are read.
    ///
    /// # Errors
    /// If a file cannot be read or is not what it should be, if rows and paths are not as many, if a path leads elsewhere.
    pub fn read(brought: &Brought, root: &Root, host: &str, progress: Progress<'_>) -> Result<Self, IndexError> {
        let shards = Arc::new(brought.shards()?);
        let first = &shards[0].vectors;
        let mut import = Self {
            root: root.clone(),
            shards: Arc::clone(&shards),
            keys: Sorter::default(),
            failures: Vec::new(),
            dim: first.dim,
            sample: Spread::new(SAMPLE),
        };
        let mut read = 0;
        for number in 0..shards.len() {
            import.read_shard(number, host, &mut |rows| {
                read += rows;
                progress(read)
            })?;
        }
        if import.keys.is_empty() {
            return Err(refuse(&first.path, "there is no vector in it that a picture could have".into()));
        }
        Ok(import)
    }

    fn read_shard(&mut self, number: usize, host: &str, read: Progress<'_>) -> Result<(), IndexError> {
        let (shards, root, dim) = (Arc::clone(&self.shards), self.root.clone(), self.dim);
        let Shard { vectors, paths: list, .. } = &shards[number];
        if vectors.dim != dim {
            let (other, found) = (shards[0].vectors.path.display(), vectors.dim);
            return Err(refuse(&vectors.path, format!("its vectors have {found} values, those of {other} have {dim}")));
        }
        let differ = |paths| {
            let (matrix, rows) = (vectors.path.display(), vectors.rows);
            refuse(list, format!("it has {paths} paths, but {matrix} has {rows} rows: each row must have its path"))
        };
        let mut paths = shards[number].paths()?;
        for begin in (0..vectors.rows).step_by(BLOCK) {
            let count = BLOCK.min((vectors.rows - begin) as usize);
            let names = paths.by_ref().take(count).collect::<Result<Vec<_>, _>>()?;
            if names.len() < count {
                return Err(differ(begin + names.len() as u64));
            }
            let values = vectors.rows_at(begin, count)?;
            let judged = at_once(0..count, |i| {
                judge(&root, &names[i], &values[i * dim..][..dim], number, begin + i as u64, host)
            });
            for judged in judged {
                match judged {
                    Judged::Fit(key, vector) => self.take(key, vector)?,
                    Judged::Failed(failure) => self.failures.push(failure),
                    Judged::Outside(what) => return Err(refuse(list, what)),
                }
            }
            if self.failures.len() > MOST_FAILED {
                let what =
                    "so many of its rows are zero, not finite or of a name that is not UTF-8: are these pictures?";
                return Err(refuse(&vectors.path, what.into()));
            }
            read(count as u64)?;
        }
        match paths.try_fold(0, |more, path| path.map(|_| more + 1))? {
            0 => Ok(()),
            more => Err(differ(vectors.rows + more)),
        }
    }

    /// Values of a vector, D.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Pictures with a vector.
    pub fn rows(&self) -> u64 {
        self.keys.len()
    }

    /// How many of these pictures are here.
    pub fn present(&self) -> u64 {
        self.sample.seen()
    }

    /// Pictures that are here, evenly spread over all of them, with their vectors.
    pub fn sample(&self) -> &[(ImagePath, Embedding)] {
        self.sample.kept()
    }

    fn take(&mut self, key: Key, vector: Vec<f32>) -> Result<(), IndexError> {
        if (key.size_bytes, key.mtime_ns) != (0, 0) {
            self.sample.push(|| Some((key.path.clone(), Embedding::normalise(vector).ok()?)));
        }
        self.keys.push(key)
    }

    /// The import as what a merge takes in. It says of its vectors that they are `model`'s.
    pub(crate) fn inputs(&mut self, model: &ModelIdentity, current: Option<&IndexMeta>) -> Result<Inputs, IndexError> {
        if self.dim != model.embedding_dim {
            let what = format!("a vector of {}", self.shards[0].vectors.path.display());
            return Err(IndexError::Dimension { what, found: self.dim, expected: model.embedding_dim });
        }
        let half = self.shards.iter().any(|shard| shard.vectors.float == Float::F16);
        let precision = if half { "fp16" } else { "fp32" };
        let model = ModelIdentity {
            precision: precision.into(),
            provider: "imported".into(),
            deviation: None,
            ..model.clone()
        };
        let mut rows = Rows { keys: std::mem::take(&mut self.keys).sorted()?, shards: self.shards.clone(), last: None };
        let blocks =
            std::iter::from_fn(move || rows.block().map(|block| (!block.is_empty()).then_some(block)).transpose());
        let stream = blocks.flat_map(|block| match block {
            Ok(rows) => rows.into_iter().map(|row| Ok(Candidate { kind: Kind::Imported, row })).collect(),
            Err(e) => vec![Err(e)],
        });
        let source = Source {
            first: None,
            rank: 0,
            path: self.shards[0].vectors.path.clone(),
            open: Box::new(move || Ok(Opened::Rows(Box::new(stream)))),
        };
        Ok(Inputs {
            run_id: current.map_or_else(|| "imported".into(), |meta| meta.run_id.clone()),
            record: None,
            root: self.root.canonical().to_owned(),
            fingerprint: model.fingerprint.clone(),
            models: vec![model],
            sources: vec![source],
            parts: Vec::new(),
            workers: Vec::new(),
            num_workers: 0,
            failed: self.failures.len() as u64,
            failures: std::mem::take(&mut self.failures),
            embedded: 0,
            warnings: Vec::new(),
        })
    }
}

fn judge(root: &Root, name: &[u8], vector: &[f32], shard: usize, row: u64, host: &str) -> Judged {
    let failed = |path: String, kind, detail: &str| Judged::Failed(Failure::new(path, kind, detail.into(), host));
    let Ok(text) = std::str::from_utf8(name) else {
        return failed(String::from_utf8_lossy(name).into_owned(), FailureKind::NameNotUtf8, "rename the file");
    };
    let path =
        if text.starts_with('/') { root.relative(text) } else { ImagePath::new(text.trim_start_matches("./")).ok() };
    let Some(path) = path else {
        let below = root.here().display();
        return Judged::Outside(format!("the path of row {row}, {text:?}, is not below {below}: say --root"));
    };
    let Some(vector) = unit(vector) else {
        let detail = format!("the imported vector, row {row}, is zero or not finite");
        return failed(root.canonical_path(&path), FailureKind::NoVector, &detail);
    };
    let seen = fs::metadata(root.open_path(&path)).ok().filter(fs::Metadata::is_file);
    let (size_bytes, mtime_ns) = seen.map_or((0, 0), |seen| (seen.len(), mtime_ns(&seen)));
    Judged::Fit(Key { path, shard, row, size_bytes, mtime_ns }, vector)
}

/// The vector at length one, with its very bits if it has that; `None` if it has no direction.
fn unit(vector: &[f32]) -> Option<Vec<f32>> {
    let norm = vector.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>().sqrt();
    if (norm - 1.0).abs() <= ROUNDING {
        return Some(vector.to_vec());
    }
    Embedding::normalise(vector.to_vec()).ok().map(Embedding::into_values)
}

fn refuse(path: &Path, what: String) -> IndexError {
    IndexError::NotImportable { path: path.into(), what }
}

/// Rows in the order of their paths.
struct Rows {
    keys: Sorted<Key>,
    shards: Arc<Vec<Shard>>,
    last: Option<Key>,
}

impl Rows {
    /// The next rows; none at the end.
    fn block(&mut self) -> Result<Vec<StoredRow>, IndexError> {
        let mut keys: Vec<Key> = Vec::with_capacity(BLOCK);
        while keys.len() < BLOCK
            && let Some(key) = self.keys.next().transpose()?
        {
            if let Some(before) = self.last.replace(key.clone()).filter(|before| before.path == key.path) {
                return Err(self.twice(&before, &key));
            }
            keys.push(key);
        }
        at_once(0..keys.len(), |i| self.row(&keys[i])).into_iter().collect()
    }

    fn row(&self, key: &Key) -> Result<StoredRow, IndexError> {
        let vectors = &self.shards[key.shard].vectors;
        let changed = || refuse(&vectors.path, format!("its row {} changed while it was read", key.row));
        let vector = unit(&vectors.rows_at(key.row, 1)?).ok_or_else(changed)?;
        let file = FileFacts { size_bytes: key.size_bytes, mtime_ns: key.mtime_ns, ..FileFacts::default() };
        Ok(StoredRow { path: key.path.clone(), vector, file, content_hash: String::new() })
    }

    fn twice(&self, a: &Key, b: &Key) -> IndexError {
        let place = |key: &Key| format!("row {} of {}", key.row, self.shards[key.shard].vectors.path.display());
        let what = format!("{} has two vectors, {} and {}: leave one of them out", a.path, place(a), place(b));
        refuse(&self.shards[b.shard].paths, what)
    }
}

/// Does `work` for each of a range, by many threads, and gives what came of it in order.
fn at_once<T: Send>(range: Range<usize>, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let share = range.len().div_ceil(READERS).max(1);
    std::thread::scope(|scope| {
        let work = &work;
        let shares = range.clone().step_by(share).map(|begin| begin..(begin + share).min(range.end));
        let threads: Vec<_> = shares.map(|share| scope.spawn(move || share.map(work).collect::<Vec<_>>())).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no reader panics")).collect()
    })
}
