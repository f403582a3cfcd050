//! Chunks: runs of neighbours in a manifest, the unit in which work is granted and finished.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use crate::Entry;

/// A run of neighbouring entries of a run's manifest. This descriptor is all that the controller ever holds of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// Its number in the run, from 0 in manifest order.
    pub id: u64,
    /// Where its first line begins in the manifest, in bytes.
    pub offset: u64,
    /// How many pictures it holds.
    #[serde(deserialize_with = "crate::bounded::count")]
    pub count: u64,
    /// The sum of its pictures' sizes in bytes.
    #[serde(deserialize_with = "crate::bounded::bytes")]
    pub bytes: u64,
}

/// The name of the part that a chunk becomes: a hash of the model's fingerprint and of each picture's path, size and
/// time. The same pictures give the same name in every run, so work that is finished is found again.
pub fn chunk_name(fingerprint: &str, entries: &[Entry]) -> String {
    let mut hash = Xxh3::new();
    hash.update(fingerprint.as_bytes());
    for entry in entries {
        hash.update(&(entry.path.as_str().len() as u64).to_le_bytes());
        hash.update(entry.path.as_str().as_bytes());
        hash.update(&entry.size_bytes.to_le_bytes());
        hash.update(&entry.mtime_ns.to_le_bytes());
    }
    format!("{:032x}", hash.digest128())
}

/// Cuts a manifest into chunks while it is being written.
///
/// Chunks grow with what has been scanned so far (a 128th of it, between 32 and 1,024 pictures): a small collection
/// is still shared by many hosts, a huge one has few parts, and since hosts work from the large end, the last chunks
/// of a run are its smallest.
#[derive(Debug)]
pub struct Chunker {
    fixed: Option<u64>,
    seen: u64,
    open: Chunk,
}

impl Chunker {
    /// A chunker with chunks of `fixed` pictures, or of growing size.
    pub fn new(fixed: Option<u64>) -> Self {
        Self { fixed: fixed.map(|n| n.max(1)), seen: 0, open: Chunk { id: 0, offset: 0, count: 0, bytes: 0 } }
    }

    /// Takes the next entry, whose line begins at `offset` in the manifest; gives a chunk back when one is complete.
    pub fn push(&mut self, offset: u64, entry: &Entry) -> Option<Chunk> {
        if self.open.count == 0 {
            self.open.offset = offset;
        }
        self.open.count += 1;
        // A file with holes may claim more than there can be.
        self.open.bytes = self.open.bytes.saturating_add(entry.size_bytes).min(crate::bounded::MOST_BYTES);
        self.seen += 1;
        let full = self.fixed.unwrap_or_else(|| (self.seen / 128).clamp(32, 1024));
        if self.open.count >= full { self.finish() } else { None }
    }

    /// The last, incomplete chunk, if there is one.
    pub fn finish(&mut self) -> Option<Chunk> {
        let done = self.open;
        self.open = Chunk { id: done.id + 1, offset: 0, count: 0, bytes: 0 };
        if done.count > 0 {
            Some(done)
        } else {
            self.open.id = done.id;
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ImagePath;

    fn entries(n: usize) -> Vec<Entry> {
        (0..n)
            .map(|i| Entry { path: ImagePath::new(format!("{i:06}.jpg")).unwrap(), size_bytes: 10, mtime_ns: 7 })
            .collect()
    }

    #[test]
    fn chunks_cover_every_entry_once_and_grow() {
        let mut chunker = Chunker::new(None);
        let mut chunks: Vec<Chunk> =
            entries(100_000).iter().enumerate().filter_map(|(i, e)| chunker.push(i as u64, e)).collect();
        chunks.extend(chunker.finish());
        assert_eq!(chunker.finish(), None);
        let mut next = 0;
        for (i, chunk) in chunks.iter().enumerate() {
            assert_eq!((chunk.id, chunk.offset, chunk.bytes), (i as u64, next, 10 * chunk.count));
            next += chunk.count;
        }
        assert_eq!(next, 100_000);
        assert!(chunks[0].count == 32 && chunks[chunks.len() - 2].count > 500);
    }

    #[test]
    fn a_part_is_named_by_what_it_holds() {
        let pictures = entries(3);
        let name = chunk_name("model", &pictures);
        assert_eq!(name.len(), 32);
        assert_eq!(name, chunk_name("model", &pictures));
        assert_ne!(name, chunk_name("other", &pictures));
        let mut touched = pictures.clone();
        touched[1].mtime_ns += 1;
        assert_ne!(name, chunk_name("model", &touched));
    }
}
