//! Merges many sorted streams into one, holding one row of each stream that is open. A stream is opened when its first
//! path comes up, so thousands of parts that follow each other cost the memory of one.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::path::PathBuf;

use protocol::ImagePath;

use crate::IndexError;
use crate::row_reader::HasPath;

/// The rows of a source, in ascending order of paths.
pub(crate) type Rows<T> = Box<dyn Iterator<Item = Result<T, IndexError>> + Send>;

/// What opening a source gave.
pub(crate) enum Opened<T> {
    Rows(Rows<T>),
    /// It is left out, and why.
    Skip(String),
}

/// A source that is not open yet.
pub(crate) struct Source<T> {
    /// Its first path, if that is known; it is opened at the start if not.
    pub first: Option<ImagePath>,
    /// Rows of equal paths come in ascending rank.
    pub rank: usize,
    /// Its file, for telling which were left out.
    pub path: PathBuf,
    pub open: Box<dyn FnOnce() -> Result<Opened<T>, IndexError> + Send>,
}

/// A source that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Skipped {
    pub path: PathBuf,
    pub why: String,
}

/// All rows of all sources in ascending order of (path, rank).
pub(crate) struct KWay<T> {
    /// The one to open next is the last.
    waiting: Vec<Source<T>>,
    heads: BinaryHeap<Head<T>>,
    pub skipped: Vec<Skipped>,
    failed: bool,
}

impl<T: HasPath> KWay<T> {
    pub(crate) fn new(mut sources: Vec<Source<T>>) -> Self {
        sources.sort_by(|a, b| b.first.cmp(&a.first).then(b.rank.cmp(&a.rank)));
        Self { waiting: sources, heads: BinaryHeap::new(), skipped: Vec::new(), failed: false }
    }

    fn step(&mut self) -> Result<Option<T>, IndexError> {
        while let Some(next) = self.waiting.last() {
            let due = match (&next.first, self.heads.peek()) {
                (Some(first), Some(head)) => first <= head.row.path(),
                _ => true,
            };
            if !due {
                break;
            }
            let Some(source) = self.waiting.pop() else { break };
            match (source.open)()? {
                Opened::Skip(why) => self.skipped.push(Skipped { path: source.path, why }),
                Opened::Rows(mut rows) => {
                    let first = rows.next().transpose()?;
                    self.heads.extend(first.map(|row| Head { row, rank: source.rank, rows }));
                }
            }
        }
        // In place: most of the time one source is open, and the next row is its own.
        let Some(mut head) = self.heads.peek_mut() else { return Ok(None) };
        Ok(Some(match head.rows.next().transpose()? {
            Some(next) => std::mem::replace(&mut head.row, next),
            None => PeekMut::pop(head).row,
        }))
    }
}

impl<T: HasPath> Iterator for KWay<T> {
    type Item = Result<T, IndexError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let item = self.step().transpose();
        self.failed = matches!(item, Some(Err(_)));
        item
    }
}

struct Head<T> {
    row: T,
    rank: usize,
    rows: Rows<T>,
}

impl<T: HasPath> Ord for Head<T> {
    /// Reversed: the heap gives its greatest.
    fn cmp(&self, other: &Self) -> Ordering {
        other.row.path().cmp(self.row.path()).then(other.rank.cmp(&self.rank))
    }
}

impl<T: HasPath> PartialOrd for Head<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T: HasPath> PartialEq for Head<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T: HasPath> Eq for Head<T> {}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use protocol::FileFacts;

    use super::*;

    type File = (ImagePath, FileFacts);

    fn file(path: &str, size_bytes: u64) -> File {
        (ImagePath::new(path).unwrap(), FileFacts { size_bytes, ..FileFacts::default() })
    }

    fn source(rank: usize, files: Vec<File>, opened: Arc<AtomicUsize>) -> Source<File> {
        Source {
            first: files.first().map(|(path, _)| path.clone()),
            rank,
            path: PathBuf::new(),
            open: Box::new(move || {
                opened.fetch_add(1, SeqCst);
                Ok(Opened::Rows(Box::new(files.into_iter().map(Ok))))
            }),
        }
    }

    #[test]
    fn rows_come_in_order_and_sources_open_when_they_are_due() {
        let opened = Arc::new(AtomicUsize::new(0));
        let sources = vec![
            source(0, vec![file("m", 0), file("x", 0)], opened.clone()),
            source(2, vec![file("a", 2), file("c", 2)], opened.clone()),
            source(1, vec![file("a", 1), file("d", 1)], opened.clone()),
        ];
        let mut merged = KWay::new(sources);
        let first: Vec<_> = merged
            .by_ref()
            .take(3)
            .map(|f| f.unwrap())
            .map(|(path, file)| (path.to_string(), file.size_bytes))
            .collect();
        assert_eq!(first, [("a".into(), 1), ("a".into(), 2), ("c".into(), 2)]);
        assert_eq!(opened.load(SeqCst), 2);
        assert_eq!(merged.map(|f| f.unwrap().0.to_string()).collect::<Vec<_>>(), ["d", "m", "x"]);
    }
}
