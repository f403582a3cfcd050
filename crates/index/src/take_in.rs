//! The heart of a merge: one ordered stream of candidates, of which one row a picture remains.
//!
//! The run's own rows come before those of other finished parts, these before the current generation's, and these before
//! imported ones. A row but the run's own that the run found to describe no picture any more is dropped.

use protocol::{Entry, ImagePath};

use crate::IndexError;
use crate::gone::Gone;
use crate::kway::KWay;
use crate::row::StoredRow;
use crate::row_reader::HasPath;

/// Where a candidate comes from, the most trusted first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A part or partial index of the run.
    Named,
    /// Another finished part.
    Other,
    /// The current generation.
    Generation,
    /// Vectors that were made elsewhere: they only add.
    Imported,
}

/// A row that may come into the next generation.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub kind: Kind,
    pub row: StoredRow,
}

impl HasPath for Candidate {
    fn path(&self) -> &ImagePath {
        &self.row.path
    }
}

/// What became of the candidates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Rows in the result.
    pub rows: u64,
    /// Pictures that the current generation did not have.
    pub added: u64,
    /// Pictures that only the current generation had, and that are gone.
    pub dropped: u64,
    /// Pictures whose row is another one now.
    pub replaced: u64,
    /// Rows that remain from the current generation.
    pub kept: u64,
}

/// Gives the row that remains of each picture to `put`, in order.
pub(crate) fn take_in(
    candidates: &mut KWay<Candidate>,
    gone: &mut Gone,
    mut put: impl FnMut(Kind, &StoredRow) -> Result<(), IndexError>,
) -> Result<Counts, IndexError> {
    let mut counts = Counts::default();
    let mut next = candidates.next().transpose()?;
    let mut same_path: Vec<Candidate> = Vec::new();
    while let Some(first) = next.take() {
        same_path.clear();
        same_path.push(first);
        loop {
            next = candidates.next().transpose()?;
            match next.take() {
                Some(more) if more.row.path == same_path[0].row.path => same_path.push(more),
                other => {
                    next = other;
                    break;
                }
            }
        }
        let gone_here = gone.at(&same_path[0].row.path)?;
        let old = same_path.iter().find(|c| c.kind == Kind::Generation);
        match (old, choose(&same_path, gone_here)) {
            (None, None) => {}
            (Some(_), None) => counts.dropped += 1,
            (old, Some(best)) => {
                counts.rows += 1;
                match old {
                    None => counts.added += 1,
                    Some(old) if old.row == best.row => counts.kept += 1,
                    Some(_) => counts.replaced += 1,
                }
                put(best.kind, &best.row)?;
            }
        }
    }
    Ok(counts)
}

/// The most trusted candidate that still describes its picture. Of several other parts, the one that saw the picture
/// last; of equals, the first.
fn choose<'a>(same_path: &'a [Candidate], gone: &[Entry]) -> Option<&'a Candidate> {
    same_path
        .iter()
        .filter(|c| c.kind == Kind::Named || !gone.iter().any(|entry| c.row.is(entry)))
        .min_by_key(|c| (c.kind, if c.kind == Kind::Other { -i128::from(c.row.file.mtime_ns) } else { 0 }))
}
