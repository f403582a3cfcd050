//! What already stands: path, size and time of every row of the current generation and of all finished parts, as one
//! sorted stream for the scan to compare with. Vectors of the generation are not read.

use protocol::{Entry, ImagePath, IndexPrefix};

use crate::IndexError;
use crate::error::FileKind;
use crate::kway::{KWay, Opened, Source};
use crate::meta_file::{Segment, read_meta, segments};
use crate::part::{self, PartHead};
use crate::row_reader::{HasPath, RowFile};

/// A row that stands, in the current generation or in a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StandingRow {
    /// The picture as it was embedded.
    pub entry: Entry,
    /// True if it stands in the current generation, false if in a part.
    pub in_index: bool,
}

impl HasPath for StandingRow {
    fn path(&self) -> &ImagePath {
        &self.entry.path
    }
}

/// All rows that stand, sorted by path. A picture comes more than once if it stands in the generation and in parts,
/// or in several parts; the generation's row comes first.
pub struct Standing {
    rows: KWay<StandingRow>,
    skipped: Vec<String>,
}

impl Standing {
    /// Parts that were left out, and why. Complete when the rows have been read to their end.
    pub fn skipped(&self) -> &[String] {
        &self.skipped
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
    let mut sources = Vec::new();
    if let Some(meta) = read_meta(prefix)? {
        if meta.root != root {
            return Err(IndexError::OtherRoot { path: prefix.meta(), has: meta.root, wanted: root.into() });
        }
        if meta.model.fingerprint == fingerprint {
            sources.extend(segments(prefix, &meta).into_iter().map(|segment| segment_source(segment, root)));
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
            Ok(head) => sources.push(part_source(head)),
            // Taken in by a merge since the folder was listed.
            Err(e) if e.is_not_found() => {}
            Err(e) => skipped.push(e.to_string()),
        }
    }
    Ok(Standing { rows: KWay::new(sources), skipped })
}

fn segment_source(segment: Segment, root: &str) -> Source<StandingRow> {
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
            let rows = file.entries().map(|entry| Ok(StandingRow { entry: entry?, in_index: true }));
            Ok(Opened::Rows(Box::new(rows)))
        }),
    }
}

fn part_source(head: PartHead) -> Source<StandingRow> {
    Source {
        first: head.first.clone(),
        rank: 1,
        path: head.path.clone(),
        open: Box::new(move || match part::open(&head) {
            Ok(file) => {
                let rows = file.entries().map(|entry| Ok(StandingRow { entry: entry?, in_index: false }));
                Ok(Opened::Rows(Box::new(rows)))
            }
            Err(e) => Ok(Opened::Skip(e.to_string())),
        }),
    }
}
