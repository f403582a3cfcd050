//! An open index: answers which rows are nearest to a vector.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use protocol::search::Filters;
use protocol::stats::FirstPass;
use protocol::{Embedding, FileFacts, FirstPassMeta, ImagePath, IndexMeta, IndexPrefix, lexical_text};

use crate::bits::Bits;
use crate::error::FileKind;
use crate::files::{Files, SegmentFiles};
use crate::first_pass;
use crate::in_use::InUse;
use crate::mapped::MappedVectors;
use crate::meta_file::read_meta;
use crate::scan::{Hit, Keep, Scan};
use crate::snapshot::{self, DAMAGED};
use crate::{IndexError, RowSet};

/// One generation of an index, opened for search from a private snapshot on this host. Many threads may search it.
#[derive(Debug)]
pub struct Index {
    prefix: IndexPrefix,
    meta: IndexMeta,
    pub(crate) segments: Vec<OpenSegment>,
    files: Files,
    warning: Option<String>,
    damaged: AtomicBool,
    pub(crate) alike: OnceLock<f32>,
}

#[derive(Debug)]
pub(crate) struct OpenSegment {
    pub vectors: MappedVectors,
    pub bits: Option<(Bits, FirstPassMeta)>,
    pub first_row: u64,
    faiss: PathBuf,
    checksum: String,
    checked: bool,
    /// Dropped last: until then nobody removes the files.
    _in_use: InUse,
}

/// How often a generation may be replaced and removed while it is being opened.
const ATTEMPTS: usize = 3;

impl Index {
    /// Opens the current generation. Its private snapshot is kept under `cache_dir`, on a disk of this host; older
    /// snapshots of the same index are removed as soon as nobody uses them.
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
        let (mut segments, mut files, mut warning) = (Vec::new(), Vec::new(), None);
        let mut first_row = 0;
        for (segment, listed) in snapshot::take(prefix, meta, cache_dir)?.into_iter().zip(&meta.segments) {
            let vectors = MappedVectors::open(&segment.faiss, FileKind::Generation);
            let vectors = vectors.map_err(|error| error.of_origin(&segment.origin))?;
            if (vectors.rows, vectors.dim) != (segment.rows, meta.model.embedding_dim) {
                let what = format!("it has {} vectors of D = {}, not as the index lists", vectors.rows, vectors.dim);
                return Err(FileKind::Generation.damaged(&segment.origin, what));
            }
            let bits = match segment.bits {
                Some(Ok(bits)) if bits.dim() == vectors.dim => Some(bits),
                Some(Ok(_)) => {
                    warning = Some(format!("the first pass of {} is of another dimension", listed.name));
                    None
                }
                Some(Err(error)) => {
                    warning = Some(error.to_string());
                    None
                }
                None => None,
            };
            segments.push(OpenSegment {
                vectors,
                bits: bits.zip(listed.first_pass.clone()),
                first_row,
                faiss: segment.faiss,
                checksum: listed.faiss_checksum.clone(),
                checked: segment.checked_now,
                _in_use: segment.in_use,
            });
            files.push(SegmentFiles { first_row, rows: segment.rows, paths: segment.paths, facts: segment.facts });
            first_row += segment.rows;
        }
        let files = Files::new(&meta.root, files);
        let warning = warning.map(|why| format!("questions take longer, every vector is compared: {why}"));
        let (damaged, alike) = (AtomicBool::new(false), OnceLock::new());
        Ok(Self { prefix: prefix.clone(), meta: meta.clone(), segments, files, warning, damaged, alike })
    }

    /// The generation's metadata.
    pub fn meta(&self) -> &IndexMeta {
        &self.meta
    }

    /// Where it is.
    pub fn prefix(&self) -> &IndexPrefix {
        &self.prefix
    }

    /// What an asker should know, as that the first pass cannot be used.
    pub fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }

    /// What saves a search for 10 rows from comparing all; `None` if it compares all.
    pub fn first_pass(&self) -> Option<FirstPass> {
        let passes = self.segments.iter().filter_map(|segment| segment.bits.as_ref());
        let used = passes.filter(|(bits, meta)| first_pass::candidates(meta, bits.rows(), 10).is_some());
        used.map(|(bits, meta)| FirstPass { rows: bits.rows(), recall_at_10: meta.recall_at_10 })
            .reduce(|a, b| FirstPass { rows: a.rows + b.rows, recall_at_10: a.recall_at_10.min(b.recall_at_10) })
    }

    /// The `k` rows with the greatest cosine to `query`, best first, as (score, canonical path); rows of equal score in
    /// row order. All rows if there are fewer than `k`. Every vector is compared.
    pub fn search(&self, query: &Embedding, k: usize) -> Result<Vec<(f32, String)>, IndexError> {
        self.fits(query)?;
        let best = self.ranked(query, k, true, None);
        best.into_iter().map(|hit| Ok((hit.score, self.path(hit.row)?))).collect()
    }

    /// The best rows of those that `keep` keeps, best first: exactly, or as the first pass finds them.
    pub(crate) fn ranked(&self, query: &Embedding, k: usize, exact: bool, keep: Option<Keep<'_>>) -> Vec<Hit> {
        let mut best: Vec<Hit> = Vec::new();
        for segment in &self.segments {
            let scan = segment.scan(query);
            let first_pass = segment.bits.as_ref().filter(|_| !exact);
            let candidates = first_pass.and_then(|(bits, meta)| {
                let most = first_pass::candidates(meta, bits.rows(), k)?;
                Some(bits.candidates(query.values(), most, segment.first_row, keep))
            });
            best.extend(match candidates {
                Some(rows) => scan.nearest_of(&rows, k),
                None => scan.nearest(k, keep),
            });
        }
        best.sort_unstable();
        best.truncate(k);
        best
    }

    /// The embedding of a picture of the index, by its canonical path; `None` if the index has none of it.
    pub fn vector_of(&self, path: &str) -> Result<Option<Embedding>, IndexError> {
        let below = |path: &str| {
            let path = path.strip_prefix(&*self.meta.root)?.strip_prefix('/')?;
            ImagePath::new(path).ok()
        };
        // An answer that was remembered before an update may spell the root as older software did.
        let Some(wanted) = below(&lexical_text(path)) else { return Ok(None) };
        for segment in &self.segments {
            let (mut from, mut to) = (0, segment.vectors.rows);
            while from < to {
                let middle = from + (to - from) / 2;
                let found = self.path(segment.first_row + middle)?;
                match below(&found) {
                    Some(found) if found < wanted => from = middle + 1,
                    Some(found) if found > wanted => to = middle,
                    Some(_) => {
                        return self.embedding(segment.first_row + middle).map(Some);
                    }
                    None => {
                        return Err(FileKind::Generation.damaged(&self.prefix.meta(), "a path is not below the root"));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Whether this is still the current generation, as it was opened. False tells to open again.
    pub fn is_current(&self) -> Result<bool, IndexError> {
        Ok(!self.damaged.load(Ordering::Relaxed)
            && read_meta(&self.prefix)?
                .is_some_and(|now| now.generation == self.meta.generation && now.segments == self.meta.segments))
    }

    /// Compares all vectors with their checksum, unless opening did, which also brings them into memory. Once this has
    /// failed no question is answered, and the next opening looks at every byte.
    pub fn check(&self) -> Result<(), IndexError> {
        for segment in self.segments.iter().filter(|segment| !segment.checked) {
            if protocol::hash_hex(segment.vectors.file()) != segment.checksum {
                snapshot::distrust(&segment.faiss);
                self.damaged.store(true, Ordering::Relaxed);
                return Err(FileKind::Generation.damaged(&segment.faiss, DAMAGED));
            }
        }
        Ok(())
    }

    /// Says whether the query's vector can be compared, and the index's vectors can be trusted.
    pub(crate) fn fits(&self, query: &Embedding) -> Result<(), IndexError> {
        let (found, expected) = (query.dim(), self.meta.model.embedding_dim);
        if found != expected {
            return Err(IndexError::Dimension { what: "the query's vector".into(), found, expected });
        }
        self.sound()
    }

    /// Says whether the index's vectors can be trusted.
    pub(crate) fn sound(&self) -> Result<(), IndexError> {
        match self.segments.first().filter(|_| self.damaged.load(Ordering::Relaxed)) {
            Some(segment) => Err(FileKind::Generation.damaged(&segment.faiss, DAMAGED)),
            None => Ok(()),
        }
    }

    /// The segment that holds a row.
    pub(crate) fn segment(&self, row: u64) -> &OpenSegment {
        &self.segments[self.segments.partition_point(|s| s.first_row <= row) - 1]
    }

    /// A row's vector, D little-endian f32.
    pub(crate) fn vector(&self, row: u64) -> &[u8] {
        let segment = self.segment(row);
        segment.vectors.row(row - segment.first_row)
    }

    /// A row's vector, [D].
    pub(crate) fn values(&self, row: u64) -> Vec<f32> {
        self.vector(row).as_chunks::<4>().0.iter().map(|v| f32::from_le_bytes(*v)).collect()
    }

    /// A row's vector as an embedding. Panics if there is no such row.
    ///
    /// # Errors
    /// If it has no direction.
    pub fn embedding(&self, row: u64) -> Result<Embedding, IndexError> {
        let damaged = |_| FileKind::Generation.damaged(&self.segment(row).faiss, format!("row {row} has no direction"));
        Embedding::normalise(self.values(row)).map_err(damaged)
    }

    /// A row's canonical path. Panics if there is no such row.
    ///
    /// # Errors
    /// If the file that holds it cannot be read.
    pub fn path(&self, row: u64) -> Result<String, IndexError> {
        self.files.path(row)
    }

    /// What is known of a row's file. Panics if there is no such row.
    pub fn facts(&self, row: u64) -> Result<FileFacts, IndexError> {
        self.files.facts(row)
    }

    /// The rows that `filters` leave; all rows if they ask for nothing. Quick for filters that were asked for last.
    pub fn matching(&self, filters: &Filters) -> Result<RowSet, IndexError> {
        self.files.matching(filters)
    }
}

impl OpenSegment {
    fn scan<'a>(&'a self, query: &'a Embedding) -> Scan<'a> {
        Scan { vectors: self.vectors.bytes(), query: query.values(), first: self.first_row }
    }
}
