//! What an open index knows of its rows beside their vectors, and which rows a filter leaves.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use protocol::FileFacts;
use protocol::search::Filters;
use rayon::prelude::*;

use crate::facts_file::FactsFile;
use crate::filter::Filter;
use crate::paths_file::PathsFile;
use crate::{IndexError, RowSet};

/// Rows that are filtered at once by a thread: a whole number of a set's words.
const BLOCK: u64 = 1 << 14;

/// Paths and facts of all rows, in row order.
#[derive(Debug)]
pub(crate) struct Files {
    root: String,
    segments: Vec<SegmentFiles>,
    /// The filter that was asked for last, and what it left: who asks again mostly asks for the same.
    last: Mutex<Option<(Filters, RowSet)>>,
}

/// A segment's paths and facts.
#[derive(Debug)]
pub(crate) struct SegmentFiles {
    pub first_row: u64,
    pub rows: u64,
    pub paths: PathsFile,
    pub facts: FactsFile,
}

impl Files {
    pub(crate) fn new(root: &str, segments: Vec<SegmentFiles>) -> Self {
        Self { root: root.into(), segments, last: Mutex::default() }
    }

    /// The canonical path of a row that there is.
    pub(crate) fn path(&self, row: u64) -> Result<String, IndexError> {
        let segment = self.segment(row);
        segment.paths.get(row - segment.first_row)
    }

    /// The facts of a row that there is.
    pub(crate) fn facts(&self, row: u64) -> Result<FileFacts, IndexError> {
        let segment = self.segment(row);
        let at = row - segment.first_row;
        Ok(segment.facts.get(at..at + 1)?.next().unwrap_or_default())
    }

    fn segment(&self, row: u64) -> &SegmentFiles {
        &self.segments[self.segments.partition_point(|s| s.first_row <= row) - 1]
    }

    /// The rows that `filters` leave.
    pub(crate) fn matching(&self, filters: &Filters) -> Result<RowSet, IndexError> {
        let last = || self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, rows)) = last().as_ref().filter(|(asked, _)| asked == filters) {
            return Ok(rows.clone());
        }
        let filter = Filter::new(filters, &self.root)?;
        let mut ranges = Vec::new();
        for segment in &self.segments {
            for range in filter.ranges(&segment.paths, segment.rows)? {
                ranges.push((segment, range));
            }
        }
        let rows = self.segments.last().map_or(0, |last| last.first_row + last.rows);
        let mut words = vec![0u64; rows.div_ceil(64) as usize];
        words.par_chunks_mut((BLOCK / 64) as usize).enumerate().try_for_each(|(block, words)| {
            let begin = block as u64 * BLOCK;
            let end = begin + BLOCK;
            ranges.iter().try_for_each(|(segment, range)| {
                let first = segment.first_row;
                let here = range.start.max(begin.saturating_sub(first))..range.end.min(end.saturating_sub(first));
                if here.is_empty() {
                    return Ok(());
                }
                let start = here.start + first - begin;
                segment.filter(&filter, here, |place| {
                    let bit = start + place as u64;
                    words[(bit / 64) as usize] |= 1 << (bit % 64);
                })
            })
        })?;
        let set = RowSet::new(words);
        *last() = Some((filters.clone(), set.clone()));
        Ok(set)
    }
}

impl SegmentFiles {
    /// Gives the places, among these rows, of those that the filter leaves.
    fn filter(&self, filter: &Filter, rows: Range<u64>, mut leave: impl FnMut(usize)) -> Result<(), IndexError> {
        let mut leave_fitting = |places: &mut dyn Iterator<Item = usize>| -> Result<(), IndexError> {
            match filter.globs() {
                None => places.for_each(&mut leave),
                Some(mut globs) => {
                    let paths = self.paths.range(rows.clone())?;
                    for place in places {
                        if globs.fit(paths.get(place)?) {
                            leave(place);
                        }
                    }
                }
            }
            Ok(())
        };
        if filter.asks_for_facts() {
            let facts = self.facts.get(rows.clone())?.enumerate();
            leave_fitting(&mut facts.filter(|(_, facts)| filter.fits(facts)).map(|(place, _)| place))
        } else {
            leave_fitting(&mut (0..(rows.end - rows.start) as usize))
        }
    }
}
