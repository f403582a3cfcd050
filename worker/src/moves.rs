//! Moves: a picture whose bytes stand in a row that has lost its picture keeps that row's vector. It may have another
//! path now, or another time. Only pictures whose size is that of such a row are read, in full, and only the same hash
//! of all bytes counts (promise 4).
//!
//! Memory does not depend on how many pictures moved: of sizes there is a table of fixed length, everything else is
//! sorted on disk and compared as streams.

use std::path::Path;

use anyhow::{Result, anyhow};
use crossbeam_channel::bounded;
use index::{Moved, Place, Sorted, Sorter, StandingFiles, StandingRow};
use protocol::{BadManifest, Entry, FileFacts, ManifestReader, Root};
use serde::{Deserialize, Serialize};

use crate::sort::next_if;
use crate::walk::examine;

/// Files that are read at once: a share answers each slowly but many together.
const READERS: usize = 16;

/// What could have moved: gathered while a scan is reconciled, compared when it is through.
#[derive(Default)]
pub struct Moves {
    sizes: Sizes,
    lost: Sorter<LostRow>,
    arrived: Sorter<(Place, u64)>,
}

/// A row whose picture is gone or has changed.
#[derive(PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct LostRow {
    place: Place,
    file: FileFacts,
    /// It would be counted as gone.
    gone: bool,
}

/// All that decides whether two pictures have the same bytes. Ordered, so that they are found by a merge-join.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Bytes {
    hash: String,
    size_bytes: u64,
}

/// What moved.
pub struct Found {
    /// The pictures that keep a vector, by path.
    pub moved: Sorter<Moved>,
    /// Gone rows whose bytes are at another path now, so that nothing is lost with them.
    pub kept: u64,
}

impl Moves {
    /// A row has lost its picture: it is `gone`, or has changed.
    pub fn lost(&mut self, row: &StandingRow, gone: bool) -> Result<()> {
        self.sizes.insert(row.file.size_bytes);
        Ok(self.lost.push(LostRow { place: row.place, file: row.file, gone: gone && row.in_index })?)
    }

    /// A row stands. In a part, it may be that of a picture that moved before an earlier run was interrupted.
    pub fn stands(&mut self, row: &StandingRow) -> Result<()> {
        if row.in_index { Ok(()) } else { Ok(self.arrived.push((row.place, row.file.size_bytes))?) }
    }

    /// Compares the pictures of the manifest with the rows that have lost theirs. `alive` is called now and then.
    pub fn find(self, files: &StandingFiles, root: &Root, manifest: &Path, alive: impl Fn()) -> Result<Found> {
        let mut found = Found { moved: Sorter::default(), kept: 0 };
        if self.lost.is_empty() {
            return Ok(found);
        }
        let (mut new, mut sizes) = (Sorter::<(Bytes, Option<Entry>)>::default(), Sizes::default());
        let mut hashes = files.hashes();
        for place in self.arrived.sorted()? {
            alive();
            let (place, size_bytes) = place?;
            sizes.insert(size_bytes);
            new.push((Bytes { hash: hashes.at(place)?, size_bytes }, None))?;
        }
        let of_a_lost_size = |entry: &Result<Entry, _>| entry.as_ref().map_or(true, |e| self.sizes.holds(e.size_bytes));
        read_all(ManifestReader::open(manifest)?.filter(of_a_lost_size), root, |entry, hash| {
            alive();
            sizes.insert(entry.size_bytes);
            Ok(new.push((Bytes { hash, size_bytes: entry.size_bytes }, Some(entry)))?)
        })?;
        let mut old = Sorter::<(Bytes, LostRow)>::default();
        for row in self.lost.sorted()? {
            alive();
            let row = row?;
            let size_bytes = row.file.size_bytes;
            if sizes.holds(size_bytes) {
                old.push((Bytes { hash: hashes.at(row.place)?, size_bytes }, row))?;
            }
        }
        join(old.sorted()?, new.sorted()?, &mut found)?;
        Ok(found)
    }
}

/// Finds pairs of the same bytes.
fn join(old: Sorted<(Bytes, LostRow)>, new: Sorted<(Bytes, Option<Entry>)>, found: &mut Found) -> Result<()> {
    let (mut old, mut new) = (old.peekable(), new.peekable());
    while let Some((bytes, row)) = old.next().transpose()? {
        let mut gone = u64::from(row.gone);
        while let Some((_, also)) = next_if(&mut old, |(other, _)| *other == bytes)? {
            gone += u64::from(also.gone);
        }
        let mut arrived = 0;
        while let Some((here, entry)) = next_if(&mut new, |(other, _)| *other <= bytes)? {
            if here == bytes {
                arrived += 1;
                if let Some(Entry { path, size_bytes, mtime_ns }) = entry {
                    let file = FileFacts { size_bytes, mtime_ns, ..row.file };
                    found.moved.push(Moved { path, file, content_hash: here.hash, from: row.place })?;
                }
            }
        }
        // Of two copies that are gone and one that came, one is lost.
        found.kept += gone.min(arrived);
    }
    Ok(())
}

/// Reads pictures in full, many at once, and gives each with its hash to `each`. Those that cannot be read, or that
/// change meanwhile, are left out: whoever embeds them finds out why.
fn read_all(
    entries: impl Iterator<Item = Result<Entry, BadManifest>> + Send,
    root: &Root,
    mut each: impl FnMut(Entry, String) -> Result<()>,
) -> Result<()> {
    let (to_read, waiting) = bounded::<Entry>(READERS);
    let (to_compare, read) = bounded(READERS);
    std::thread::scope(|scope| {
        // A stage ends when the one before it has ended, or the one behind it no longer listens.
        let feeder = scope.spawn(move || {
            for entry in entries {
                if to_read.send(entry?).is_err() {
                    break;
                }
            }
            Ok(())
        });
        for _ in 0..READERS {
            let (waiting, to_compare) = (waiting.clone(), to_compare.clone());
            scope.spawn(move || waiting.iter().try_for_each(|entry| to_compare.send((hash(root, &entry), entry))));
        }
        drop((waiting, to_compare));
        let compared = read.iter().try_for_each(|(hash, entry)| hash.map_or(Ok(()), |hash| each(entry, hash)));
        drop(read);
        let fed: Result<(), BadManifest> = feeder.join().map_err(|_| anyhow!("the thread that lists panicked"))?;
        compared.and(fed.map_err(Into::into))
    })
}

/// The hash of a picture that is, before and after, as the scan saw it.
fn hash(root: &Root, entry: &Entry) -> Option<String> {
    let path = root.open_path(&entry.path);
    let same = || examine(&path, entry.path.clone()).is_ok_and(|now| now == *entry);
    // Looked at before it is opened: opening a pipe that is called like a picture would wait for ever.
    let (bytes, hash) = same().then(|| index::hash_file(&path).ok())??;
    (bytes == entry.size_bytes && same()).then_some(hash)
}

/// A set of sizes in 16 MB. Those of 128 MB and more share places with others: then a picture is read in vain.
#[derive(Default)]
struct Sizes(Vec<u64>);

impl Sizes {
    const BITS: u64 = 1 << 27;

    fn insert(&mut self, size_bytes: u64) {
        if self.0.is_empty() {
            self.0 = vec![0; (Self::BITS / 64) as usize];
        }
        let bit = size_bytes % Self::BITS;
        self.0[(bit / 64) as usize] |= 1 << (bit % 64);
    }

    fn holds(&self, size_bytes: u64) -> bool {
        let bit = size_bytes % Self::BITS;
        self.0.get((bit / 64) as usize).is_some_and(|word| word & (1 << (bit % 64)) != 0)
    }
}
