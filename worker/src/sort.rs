//! Sorts any number of entries in bounded memory: runs are sorted in memory, spilled, and merged.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, BufWriter, Write};

use protocol::{Entry, ImagePath, ManifestReader, ManifestWriter};
use tempfile::NamedTempFile;

/// Entries that are sorted in memory at once, about 100 MB.
const IN_MEMORY: usize = 500_000;

/// Takes entries in any order; gives them back sorted, one for each path.
#[derive(Default)]
pub struct Sorter {
    entries: Vec<Entry>,
    spilled: Vec<NamedTempFile>,
}

impl Sorter {
    /// Takes one entry.
    pub fn push(&mut self, entry: Entry) -> io::Result<()> {
        self.entries.push(entry);
        if self.entries.len() >= IN_MEMORY { self.spill() } else { Ok(()) }
    }

    fn spill(&mut self) -> io::Result<()> {
        sort(&mut self.entries);
        let file = NamedTempFile::new()?;
        let mut writer = ManifestWriter::new(BufWriter::new(file.reopen()?));
        for entry in self.entries.drain(..) {
            writer.push(&entry)?;
        }
        writer.into_inner().flush()?;
        self.spilled.push(file);
        Ok(())
    }

    /// All entries, sorted; of several with one path the first is kept.
    pub fn sorted(mut self) -> anyhow::Result<impl Iterator<Item = anyhow::Result<Entry>>> {
        sort(&mut self.entries);
        let mut runs: Vec<Box<dyn Iterator<Item = anyhow::Result<Entry>>>> =
            vec![Box::new(std::mem::take(&mut self.entries).into_iter().map(Ok))];
        for file in &self.spilled {
            runs.push(Box::new(ManifestReader::open(file.path())?.map(|e| Ok(e?))));
        }
        let mut heads: Vec<Option<Entry>> = runs.iter_mut().map(|r| r.next().transpose()).collect::<Result<_, _>>()?;
        let mut heap: BinaryHeap<Reverse<(ImagePath, usize)>> =
            heads.iter().enumerate().filter_map(|(i, e)| Some(Reverse((e.as_ref()?.path.clone(), i)))).collect();
        let mut last: Option<ImagePath> = None;
        let spilled = self.spilled;
        Ok(std::iter::from_fn(move || {
            let _keep_until_read = &spilled;
            loop {
                let Reverse((_, i)) = heap.pop()?;
                let entry = heads[i].take()?;
                match runs[i].next().transpose() {
                    Err(e) => return Some(Err(e)),
                    Ok(next) => {
                        if let Some(next) = &next {
                            heap.push(Reverse((next.path.clone(), i)));
                        }
                        heads[i] = next;
                    }
                }
                if last.as_ref() != Some(&entry.path) {
                    last = Some(entry.path.clone());
                    return Some(Ok(entry));
                }
            }
        }))
    }
}

fn sort(entries: &mut Vec<Entry>) {
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    entries.dedup_by(|a, b| a.path == b.path);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spilled_runs_come_back_sorted_and_once() {
        let mut sorter = Sorter::default();
        let entry =
            |i: usize| Entry { path: ImagePath::new(format!("{i:05}.jpg")).unwrap(), size_bytes: 1, mtime_ns: 1 };
        for i in 0..3000 {
            sorter.push(entry((i * 7919) % 1000)).unwrap();
            if i % 1100 == 1099 {
                sorter.spill().unwrap();
            }
        }
        let sorted: Vec<Entry> = sorter.sorted().unwrap().map(Result::unwrap).collect();
        assert_eq!(sorted, (0..1000).map(entry).collect::<Vec<_>>());
    }
}
