//! What already stands: path and facts of every row of the current generation and of all finished parts, as one
//! sorted stream for the scan to compare with. Vectors of the generation are not read.

use std::sync::Arc;

use protocol::{Entry, FileFacts, ImagePath, IndexPrefix};
use serde::{Deserialize, Serialize};

use crate::IndexError;
use crate::error::FileKind;
use crate::kway::{KWay, Opened, Source};
use crate::meta_file::{Segment, read_meta, segments};
use crate::moved::{StandingFile, StandingFiles};
use crate::part::{self, PartHead};
use crate::row_reader::{HasPath, RowFile};

/// Where a row stands: in which of the files that [`standing`] found, and as which of its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// The file, by its place among them.
    pub file: usize,
    /// The row in it, from 0.
    pub row: u64,
}

/// A row that stands, in the current generation or in a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StandingRow {
    /// The picture.
    pub path: ImagePath,
    /// Its file as it was embedded.
    pub file: FileFacts,
    /// True if it stands in the current generation, false if in a part.
    pub in_index: bool,
    /// Where it stands, for having more of it: see [`Standing::files`].
    pub place: Place,
}

impl StandingRow {
    /// The picture as a scan sees it.
    pub fn entry(&self) -> Entry {
        self.file.entry(self.path.clone())
    }
}

impl HasPath for StandingRow {
    fn path(&self) -> &ImagePath {
        &self.path
    }
}

/// All rows that stand, sorted by path. A picture comes more than once if it stands in the generation and in parts,
/// or in several parts; the generation's row comes first.
pub struct Standing {
    rows: KWay<StandingRow>,
    files: Arc<StandingFiles>,
    skipped: Vec<String>,
}

impl Standing {
    /// Parts that were left out, and why. Complete when the rows have been read to their end.
    pub fn skipped(&self) -> &[String] {
        &self.skipped
    }

    /// The files that the rows stand in.
    pub fn files(&self) -> Arc<StandingFiles> {
        Arc::clone(&self.files)
    }
}

impl Iterator for Standing {
    type Item = Result<StandingRow, IndexError>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.rows.next();
        self.skipped.extend(self.rows.skipped.drain(..).map(|s| s.why));
        item
    }
}

/// What stands at `prefix` for this canonical root and model fingerprint. A generation of another fingerprint does
/// not stand; a generation of another root is an error.
pub fn standing(prefix: &IndexPrefix, root: &str, fingerprint: &str) -> Result<Standing, IndexError> {
    let root = root.trim_end_matches('/');
    let (mut sources, mut files) = (Vec::new(), Vec::new());
    if let Some(meta) = read_meta(prefix)? {
        if meta.root != root {
            return Err(IndexError::OtherRoot { path: prefix.meta(), has: meta.root, wanted: root.into() });
        }
        if meta.model.fingerprint == fingerprint {
            for segment in segments(prefix, &meta) {
                sources.push(segment_source(segment.clone(), root, files.len()));
                files.push(StandingFile::Segment(segment, meta.model.clone()));
            }
        }
    }
    let mut skipped = Vec::new();
    for path in part::list(prefix)? {
        match part::head(&path) {
            Ok(head) if head.meta.root != root => {
                skipped.push(format!("{} is of another collection, {:?}: left out", path.display(), head.meta.root));
            }
            Ok(head) if head.meta.model.fingerprint != fingerprint => {
                skipped.push(format!(
                    "{} is of another model, {}: left out",
                    path.display(),
                    head.meta.model.model_name
                ));
            }
            Ok(head) => {
                sources.push(part_source(head.clone(), files.len()));
                files.push(StandingFile::Part(head));
            }
            // Taken in by a merge since the folder was listed.
            Err(e) if e.is_not_found() => {}
            Err(e) => skipped.push(e.to_string()),
        }
    }
    Ok(Standing { rows: KWay::new(sources), files: Arc::new(StandingFiles::new(root, files)), skipped })
}

/// A file's rows in their order, each with its place.
fn rows(
    files: impl Iterator<Item = Result<(ImagePath, FileFacts), IndexError>> + Send + 'static,
    in_index: bool,
    number: usize,
) -> Opened<StandingRow> {
    let places = (0..).map(move |row| Place { file: number, row });
    let row = move |(row, place): (Result<(ImagePath, FileFacts), _>, _)| {
        row.map(|(path, file)| StandingRow { path, file, in_index, place })
    };
    Opened::Rows(Box::new(files.zip(places).map(row)))
}

fn segment_source(segment: Segment, root: &str, number: usize) -> Source<StandingRow> {
    let root = root.to_owned();
    Source {
        first: None,
        rank: 0,
        path: segment.parquet.clone(),
        open: Box::new(move || {
            let file = RowFile::open(&segment.parquet, FileKind::Generation, &root)?;
            if file.seal().rows != segment.meta.rows {
                return Err(file.damaged("it has not the rows that the index lists"));
            }
            Ok(rows(file.files(), true, number))
        }),
    }
}

fn part_source(head: PartHead, number: usize) -> Source<StandingRow> {
    Source {
        first: head.first.clone(),
        rank: 1,
        path: head.path.clone(),
        open: Box::new(move || match part::open(&head) {
            Ok(file) => Ok(rows(file.files(), false, number)),
            Err(e) => Ok(Opened::Skip(e.to_string())),
        }),
    }
}
