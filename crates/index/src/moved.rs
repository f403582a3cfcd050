//! Rows whose bytes have another path or time now: their vectors are taken from where they stand, bit by bit, into new
//! parts. A vector is never put beside a picture whose bytes have another hash; the caller compares them.

use std::collections::HashMap;
use std::collections::hash_map::Entry as MapEntry;

use protocol::{Entry, FORMAT_VERSION, FileFacts, ImagePath, IndexPrefix, ModelIdentity, PartMeta, chunk_name};
use serde::{Deserialize, Serialize};

use crate::error::FileKind;
use crate::flat::FlatFile;
use crate::inputs::PartRef;
use crate::merge::mixed;
use crate::meta_file::Segment;
use crate::part::{self, PartHead};
use crate::row::{StoredRow, is_normalised};
use crate::row_reader::RowFile;
use crate::row_writer::hash_file;
use crate::{IndexError, Place};

/// A picture whose bytes stand in a row already. Ordered by path first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Moved {
    /// The picture.
    pub path: ImagePath,
    /// Its file as it is now.
    pub file: FileFacts,
    /// XXH3-128 of all its bytes, which is the row's too.
    pub content_hash: String,
    /// The row.
    pub from: Place,
}

impl Moved {
    /// The picture as a scan sees it.
    pub fn entry(&self) -> Entry {
        self.file.entry(self.path.clone())
    }
}

/// A file of rows that stand.
pub(crate) enum StandingFile {
    /// A segment of the current generation, and the generation's model.
    Segment(Segment, ModelIdentity),
    /// A finished part.
    Part(PartHead),
}

/// The files of all rows that stand, of one root and one model fingerprint.
pub struct StandingFiles {
    root: String,
    files: Vec<StandingFile>,
}

impl StandingFiles {
    pub(crate) fn new(root: &str, files: Vec<StandingFile>) -> Self {
        Self { root: root.into(), files }
    }

    fn open(&self, place: Place) -> Result<RowFile, IndexError> {
        match &self.files[place.file] {
            StandingFile::Segment(segment, _) => RowFile::open(&segment.parquet, FileKind::Generation, &self.root),
            StandingFile::Part(head) => part::open(head),
        }
    }

    /// Reads content hashes of rows.
    pub fn hashes(&self) -> Hashes<'_> {
        Hashes { files: self, open: None }
    }

    /// Publishes parts of moved pictures at `prefix`.
    pub fn mover<'a>(&'a self, prefix: &'a IndexPrefix, host: &'a str) -> Mover<'a> {
        Mover { files: self, prefix, host, flat: HashMap::new(), part: None }
    }
}

/// Content hashes of rows; those of a row group are read together.
pub struct Hashes<'a> {
    files: &'a StandingFiles,
    open: Option<OpenGroup>,
}

struct OpenGroup {
    number: usize,
    file: RowFile,
    begin: u64,
    hashes: Vec<String>,
}

impl Hashes<'_> {
    /// The content hash of a row. Quick for rows that are asked for in ascending order.
    pub fn at(&mut self, place: Place) -> Result<String, IndexError> {
        let open = match self.open.take().filter(|open| open.number == place.file) {
            Some(open) => open,
            None => OpenGroup { number: place.file, file: self.files.open(place)?, begin: 0, hashes: Vec::new() },
        };
        let open = self.open.insert(open);
        if !(open.begin..open.begin + open.hashes.len() as u64).contains(&place.row) {
            let group = open.file.group_of(place.row);
            let (group, begin) = group.ok_or_else(|| open.file.damaged("it has fewer rows than before"))?;
            (open.hashes, open.begin) = (open.file.content_hashes(group)?, begin);
        }
        let hash = open.hashes.get((place.row - open.begin) as usize);
        hash.cloned().ok_or_else(|| open.file.damaged("its columns have different lengths"))
    }
}

/// Makes parts of moved pictures. Each file is compared with its checksum before a vector is taken from it.
pub struct Mover<'a> {
    files: &'a StandingFiles,
    prefix: &'a IndexPrefix,
    host: &'a str,
    flat: HashMap<usize, FlatFile>,
    /// The part that was read last.
    part: Option<(usize, Vec<StoredRow>)>,
}

impl Mover<'_> {
    /// Publishes one part of these pictures, which are in order and at least one.
    pub fn publish(&mut self, moved: &[Moved]) -> Result<PartRef, IndexError> {
        let rows = moved.iter().map(|picture| self.row(picture)).collect::<Result<Vec<_>, _>>()?;
        let mut models: Vec<ModelIdentity> = Vec::new();
        for picture in moved {
            let model = match &self.files.files[picture.from.file] {
                StandingFile::Segment(_, model) => model,
                StandingFile::Part(head) => &head.meta.model,
            };
            if !models.contains(model) {
                models.push(model.clone());
            }
        }
        let entries: Vec<Entry> = moved.iter().map(Moved::entry).collect();
        let meta = PartMeta {
            format_version: FORMAT_VERSION,
            name: chunk_name(&models[0].fingerprint, &entries),
            root: self.files.root.clone(),
            model: mixed(&models[0], &models, None),
            host: self.host.into(),
            rows: 0,
            checksum: String::new(),
            failures: Vec::new(),
        };
        let PartMeta { name, rows, checksum, .. } = part::publish(self.prefix, meta, rows)?;
        Ok(PartRef { name, rows, checksum })
    }

    fn row(&mut self, picture: &Moved) -> Result<StoredRow, IndexError> {
        let Moved { path, file, content_hash, from } = picture.clone();
        Ok(StoredRow { path, vector: self.vector(from)?, file, content_hash })
    }

    fn vector(&mut self, from: Place) -> Result<Vec<f32>, IndexError> {
        match &self.files.files[from.file] {
            StandingFile::Segment(segment, model) => {
                let flat = match self.flat.entry(from.file) {
                    MapEntry::Occupied(open) => open.into_mut(),
                    MapEntry::Vacant(none) => none.insert(open_flat(segment, model)?),
                };
                let vector = flat.row_at(from.row)?;
                let damaged = || FileKind::Generation.damaged(&segment.faiss, "a vector in it has not length one");
                if is_normalised(&vector) { Ok(vector) } else { Err(damaged()) }
            }
            StandingFile::Part(head) => {
                if self.part.as_ref().is_none_or(|(file, _)| *file != from.file) {
                    let rows = part::open(head)?.rows().collect::<Result<_, _>>()?;
                    self.part = Some((from.file, rows));
                }
                let row = self.part.as_ref().and_then(|(_, rows)| rows.get(from.row as usize));
                let damaged = || FileKind::Part.damaged(&head.path, "it has fewer rows than before");
                row.map(|row| row.vector.clone()).ok_or_else(damaged)
            }
        }
    }
}

fn open_flat(segment: &Segment, model: &ModelIdentity) -> Result<FlatFile, IndexError> {
    let damaged = |what: &str| FileKind::Generation.damaged(&segment.faiss, what);
    if hash_file(&segment.faiss)? != (segment.meta.faiss_bytes, segment.meta.faiss_checksum.clone()) {
        return Err(damaged("its bytes do not fit the checksum in the index's metadata"));
    }
    let flat = FlatFile::open(&segment.faiss, FileKind::Generation)?;
    if flat.rows != segment.meta.rows || flat.dim != model.embedding_dim {
        return Err(damaged("its header does not fit the index's metadata"));
    }
    Ok(flat)
}
