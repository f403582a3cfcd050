//! An open index: answers which rows are nearest to a vector.

use std::path::Path;

use protocol::{Embedding, IndexMeta, IndexPrefix};

use crate::IndexError;
use crate::error::FileKind;
use crate::faiss::FaissIndexFile;
use crate::flat::FlatFile;
use crate::meta_file::read_meta;
use crate::paths_file::PathsFile;
use crate::snapshot;

/// One generation of an index, opened for search from a private snapshot on this host. Many threads may search it.
#[derive(Debug)]
pub struct Index {
    prefix: IndexPrefix,
    meta: IndexMeta,
    segments: Vec<OpenSegment>,
}

#[derive(Debug)]
struct OpenSegment {
    vectors: FaissIndexFile,
    paths: PathsFile,
    first_row: u64,
}

/// How often a generation may be replaced and removed while it is being opened.
const ATTEMPTS: usize = 3;

impl Index {
    /// Opens the current generation. Its private snapshot is kept under `cache_dir`, on a disk of this host; older
    /// snapshots of the same index are removed.
    pub fn open(prefix: &IndexPrefix, cache_dir: &Path) -> Result<Self, IndexError> {
        let mut attempt = 1;
        loop {
            let no_index = || IndexError::NoIndex { prefix: prefix.dir().into(), meta: prefix.meta() };
            let meta = read_meta(prefix)?.ok_or_else(no_index)?;
            match Self::open_generation(prefix, &meta, cache_dir) {
                Err(e) if e.is_not_found() && attempt < ATTEMPTS && read_meta(prefix)?.as_ref() != Some(&meta) => {
                    attempt += 1
                }
                opened => return opened,
            }
        }
    }

    fn open_generation(prefix: &IndexPrefix, meta: &IndexMeta, cache_dir: &Path) -> Result<Self, IndexError> {
        let mut segments = Vec::new();
        let mut first_row = 0;
        for segment in snapshot::take(prefix, meta, cache_dir)? {
            let header = FlatFile::open(&segment.faiss, FileKind::Generation)?;
            if (header.rows, header.dim) != (segment.rows, meta.model.embedding_dim) {
                let what = format!("it has {} vectors of D = {}, not as the index lists", header.rows, header.dim);
                return Err(FileKind::Generation.damaged(&segment.faiss, what));
            }
            let vectors = FaissIndexFile::open(&segment.faiss)?;
            segments.push(OpenSegment { vectors, paths: segment.paths, first_row });
            first_row += segment.rows;
        }
        Ok(Self { prefix: prefix.clone(), meta: meta.clone(), segments })
    }

    /// The generation's metadata.
    pub fn meta(&self) -> &IndexMeta {
        &self.meta
    }

    /// The `k` rows with the greatest cosine to `query`, best first, as (score, canonical path); rows of equal score in
    /// row order. All rows if there are fewer than `k`.
    pub fn search(&self, query: &Embedding, k: usize) -> Result<Vec<(f32, String)>, IndexError> {
        let (found, expected) = (query.dim(), self.meta.model.embedding_dim);
        if found != expected {
            return Err(IndexError::Dimension { what: "the query's vector".into(), found, expected });
        }
        let mut best: Vec<(f32, u64)> = Vec::new();
        for segment in &self.segments {
            let rows = nearest(&segment.vectors, query.values(), k)?;
            best.extend(rows.into_iter().map(|(score, id)| (score, segment.first_row + id)));
        }
        sort(&mut best);
        best.truncate(k);
        best.into_iter().map(|(score, row)| Ok((score, self.path(row)?))).collect()
    }

    /// Whether this is still the current generation. False tells to open again.
    pub fn is_current(&self) -> Result<bool, IndexError> {
        Ok(read_meta(&self.prefix)?
            .is_some_and(|now| now.generation == self.meta.generation && now.segments == self.meta.segments))
    }

    fn path(&self, row: u64) -> Result<String, IndexError> {
        let number = self.segments.partition_point(|s| s.first_row <= row) - 1;
        let segment = &self.segments[number];
        segment.paths.get(row - segment.first_row)
    }
}

/// The `k` best rows. faiss keeps any of several rows of equal score; asking for more until the score changes keeps the
/// first ones, so that copies of one picture come in the same order every time.
fn nearest(vectors: &FaissIndexFile, query: &[f32], k: usize) -> Result<Vec<(f32, u64)>, IndexError> {
    let rows = usize::try_from(vectors.rows()).unwrap_or(usize::MAX);
    let k = k.min(rows);
    let mut asked = k.saturating_add(16).min(rows);
    loop {
        let mut found = vectors.search(query, asked)?;
        sort(&mut found);
        let tied = k > 0 && found.len() > k && found[found.len() - 1].0 == found[k - 1].0;
        if !tied || asked == rows {
            found.truncate(k);
            return Ok(found);
        }
        asked = asked.saturating_mul(2).min(rows);
    }
}

fn sort(rows: &mut [(f32, u64)]) {
    rows.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
}
