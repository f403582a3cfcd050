//! An open index: answers which rows are nearest to a vector.

use std::path::Path;

use protocol::{Embedding, IndexMeta, IndexPrefix};

use crate::IndexError;
use crate::error::FileKind;
use crate::mapped::MappedVectors;
use crate::meta_file::read_meta;
use crate::paths_file::PathsFile;
use crate::scan::{self, Hit};
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
    vectors: MappedVectors,
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
            let vectors = MappedVectors::open(&segment.faiss, FileKind::Generation)?;
            if (vectors.rows, vectors.dim) != (segment.rows, meta.model.embedding_dim) {
                let what = format!("it has {} vectors of D = {}, not as the index lists", vectors.rows, vectors.dim);
                return Err(FileKind::Generation.damaged(&segment.faiss, what));
            }
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
        let mut best: Vec<Hit> = Vec::new();
        for segment in &self.segments {
            let hits = scan::nearest(segment.vectors.bytes(), query.values(), k);
            best.extend(hits.into_iter().map(|hit| Hit { row: segment.first_row + hit.row, ..hit }));
        }
        best.sort_unstable();
        best.truncate(k);
        best.into_iter().map(|hit| Ok((hit.score, self.path(hit.row)?))).collect()
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
