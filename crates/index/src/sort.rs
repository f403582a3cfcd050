//! Sorts any number of things in bounded memory: runs are sorted in memory, spilled as JSON lines, and merged.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};

use protocol::encode_line;
use serde::{Serialize, de::DeserializeOwned};
use tempfile::NamedTempFile;

use crate::IndexError;

/// Things that are sorted in memory at once: about 100 MB of entries.
const IN_MEMORY: usize = 500_000;

/// Takes things in any order; gives them back sorted.
#[derive(Debug)]
pub struct Sorter<T> {
    items: Vec<T>,
    spilled: Vec<NamedTempFile>,
    pushed: u64,
}

impl<T> Default for Sorter<T> {
    fn default() -> Self {
        Self { items: Vec::new(), spilled: Vec::new(), pushed: 0 }
    }
}

impl<T: Ord + Serialize + DeserializeOwned> Sorter<T> {
    /// Takes one.
    ///
    /// # Errors
    /// If the temporary folder has no room.
    pub fn push(&mut self, item: T) -> Result<(), IndexError> {
        self.items.push(item);
        self.pushed += 1;
        if self.items.len() >= IN_MEMORY { self.spill().map_err(temporary("write")) } else { Ok(()) }
    }

    /// How many it has taken.
    pub fn len(&self) -> u64 {
        self.pushed
    }

    /// Whether it has taken none.
    pub fn is_empty(&self) -> bool {
        self.pushed == 0
    }

    fn spill(&mut self) -> io::Result<()> {
        self.items.sort_unstable();
        let file = NamedTempFile::new()?;
        let mut output = BufWriter::new(file.reopen()?);
        for item in self.items.drain(..) {
            output.write_all(encode_line(&item).as_bytes())?;
        }
        output.flush()?;
        self.spilled.push(file);
        Ok(())
    }

    /// All of them, sorted.
    ///
    /// # Errors
    /// If a temporary file cannot be read.
    pub fn sorted(mut self) -> Result<Sorted<T>, IndexError> {
        self.items.sort_unstable();
        let mut runs = vec![Run::Memory(std::mem::take(&mut self.items).into_iter())];
        for file in &self.spilled {
            runs.push(Run::File(BufReader::new(file.reopen().map_err(temporary("read"))?)));
        }
        let mut sorted = Sorted { heap: BinaryHeap::new(), runs, _spilled: self.spilled };
        (0..sorted.runs.len()).try_for_each(|run| sorted.advance(run))?;
        Ok(sorted)
    }
}

/// What a [`Sorter`] took, in order.
#[derive(Debug)]
pub struct Sorted<T> {
    heap: BinaryHeap<Reverse<(T, usize)>>,
    runs: Vec<Run<T>>,
    /// Removed when all is read.
    _spilled: Vec<NamedTempFile>,
}

#[derive(Debug)]
enum Run<T> {
    Memory(std::vec::IntoIter<T>),
    File(BufReader<File>),
}

impl<T: Ord + DeserializeOwned> Sorted<T> {
    fn advance(&mut self, run: usize) -> Result<(), IndexError> {
        let next = match &mut self.runs[run] {
            Run::Memory(items) => items.next(),
            Run::File(lines) => {
                let mut line = Vec::new();
                let read = lines.read_until(b'\n', &mut line).map_err(temporary("read"))?;
                let item = (read > 0).then(|| serde_json::from_slice(&line));
                item.transpose().map_err(|e| temporary("read")(e.into()))?
            }
        };
        self.heap.extend(next.map(|item| Reverse((item, run))));
        Ok(())
    }
}

impl<T: Ord + DeserializeOwned> Iterator for Sorted<T> {
    type Item = Result<T, IndexError>;

    fn next(&mut self) -> Option<Self::Item> {
        let Reverse((item, run)) = self.heap.pop()?;
        Some(self.advance(run).map(|()| item))
    }
}

fn temporary(action: &'static str) -> impl FnOnce(io::Error) -> IndexError {
    IndexError::io(action, &std::env::temp_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spilled_runs_come_back_sorted() {
        let mut sorter = Sorter::default();
        for i in 0..3000u64 {
            sorter.push((i * 7919) % 1000).unwrap();
            if i % 1100 == 1099 {
                sorter.spill().unwrap();
            }
        }
        assert_eq!((sorter.len(), sorter.spilled.len()), (3000, 2));
        let sorted: Vec<u64> = sorter.sorted().unwrap().map(Result::unwrap).collect();
        assert!(sorted.into_iter().eq((0..3000).map(|i| i / 3)));
    }
}
