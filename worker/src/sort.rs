//! Sorts any number of things in bounded memory: runs are sorted in memory, spilled as JSON lines, and merged.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::iter::Peekable;

use anyhow::{Context, Result};
use protocol::{Entry, encode_line};
use serde::{Serialize, de::DeserializeOwned};
use tempfile::NamedTempFile;

/// Things that are sorted in memory at once: about 100 MB of entries.
const IN_MEMORY: usize = 500_000;

/// Takes things in any order; gives them back sorted.
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
    pub fn push(&mut self, item: T) -> Result<()> {
        self.items.push(item);
        self.pushed += 1;
        if self.items.len() >= IN_MEMORY { self.spill().context("cannot write a temporary file") } else { Ok(()) }
    }

    /// How many it has taken.
    pub fn len(&self) -> u64 {
        self.pushed
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
    pub fn sorted(mut self) -> Result<Sorted<T>> {
        self.items.sort_unstable();
        let mut runs = vec![Run::Memory(std::mem::take(&mut self.items).into_iter())];
        for file in &self.spilled {
            runs.push(Run::File(BufReader::new(file.reopen().context("cannot read a temporary file")?)));
        }
        let mut sorted = Sorted { heap: BinaryHeap::new(), runs, _spilled: self.spilled };
        (0..sorted.runs.len()).try_for_each(|run| sorted.advance(run))?;
        Ok(sorted)
    }
}

/// What a [`Sorter`] took, in order.
pub struct Sorted<T> {
    heap: BinaryHeap<Reverse<(T, usize)>>,
    runs: Vec<Run<T>>,
    /// Removed when all is read.
    _spilled: Vec<NamedTempFile>,
}

enum Run<T> {
    Memory(std::vec::IntoIter<T>),
    File(BufReader<File>),
}

impl<T: Ord + DeserializeOwned> Sorted<T> {
    fn advance(&mut self, run: usize) -> Result<()> {
        let next = match &mut self.runs[run] {
            Run::Memory(items) => items.next(),
            Run::File(lines) => {
                let mut line = Vec::new();
                let read = lines.read_until(b'\n', &mut line).context("cannot read a temporary file")?;
                let item = (read > 0).then(|| serde_json::from_slice(&line));
                item.transpose().context("a temporary file is damaged")?
            }
        };
        self.heap.extend(next.map(|item| Reverse((item, run))));
        Ok(())
    }
}

impl<T: Ord + DeserializeOwned> Iterator for Sorted<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Self::Item> {
        let Reverse((item, run)) = self.heap.pop()?;
        Some(self.advance(run).map(|()| item))
    }
}

/// Of sorted entries the first of each path.
pub fn one_a_path(entries: Sorted<Entry>) -> impl Iterator<Item = Result<Entry>> {
    let mut last = None;
    entries.filter(move |entry| match entry {
        Ok(entry) if last.as_ref() == Some(&entry.path) => false,
        Ok(entry) => {
            last = Some(entry.path.clone());
            true
        }
        Err(_) => true,
    })
}

/// The next thing of a sorted stream, if it is of this kind. An error always is.
pub fn next_if<T>(
    stream: &mut Peekable<impl Iterator<Item = Result<T>>>,
    which: impl Fn(&T) -> bool,
) -> Result<Option<T>> {
    stream.next_if(|next| next.as_ref().map_or(true, &which)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::ImagePath;

    #[test]
    fn spilled_runs_come_back_sorted_and_one_a_path() {
        let mut sorter = Sorter::default();
        let entry =
            |i: usize| Entry { path: ImagePath::new(format!("{i:05}.jpg")).unwrap(), size_bytes: 1, mtime_ns: 1 };
        for i in 0..3000 {
            sorter.push(entry((i * 7919) % 1000)).unwrap();
            if i % 1100 == 1099 {
                sorter.spill().unwrap();
            }
        }
        assert_eq!((sorter.len(), sorter.spilled.len()), (3000, 2));
        let sorted: Vec<Entry> = one_a_path(sorter.sorted().unwrap()).map(Result::unwrap).collect();
        assert_eq!(sorted, (0..1000).map(entry).collect::<Vec<_>>());
    }
}
