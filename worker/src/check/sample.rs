//! Some pictures out of a folder, to try it with: spread over all that a short look finds.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use protocol::Entry;
use protocol::setup::Pictures;

use crate::walk::{Found, walk};

/// How long to look. A collection of millions is only begun in this time.
const LOOK: Duration = Duration::from_secs(2);

/// Folders read at once.
const READERS: usize = 16;

/// A sample holds at most so many pictures, and more than half of that if there are so many.
const MOST: usize = 2048;

/// Pictures of a folder.
#[derive(Default)]
pub struct Sample {
    /// Some of them, sorted, spread evenly over those that were seen.
    pub entries: Vec<Entry>,
    /// All that were seen.
    pub pictures: Pictures,
}

/// Looks for pictures in `dir` and below. Folders in `skip` are left out.
pub fn sample(dir: &Path, skip: Vec<PathBuf>) -> Sample {
    let begun = Instant::now();
    let found = walk(dir, skip, None, READERS).map(|found| match found {
        Found::Picture(entry) => Some(entry),
        Found::Failed { .. } | Found::Unreadable { .. } => None,
    });
    spread(found, MOST, || begun.elapsed() < LOOK)
}

/// Takes every picture at first; whenever there are `most`, an even number, every other one is dropped, and from then on
/// half as many are taken. What is no picture (`None`) only takes time.
fn spread(found: impl Iterator<Item = Option<Entry>>, most: usize, goes_on: impl Fn() -> bool) -> Sample {
    let mut sample = Sample::default();
    let mut stride = 1;
    for entry in found {
        if !goes_on() {
            return sample;
        }
        let Some(entry) = entry else { continue };
        let nth = sample.pictures.count;
        sample.pictures.count += 1;
        sample.pictures.bytes += entry.size_bytes;
        if !nth.is_multiple_of(stride) {
            continue;
        }
        sample.entries.push(entry);
        if sample.entries.len() == most {
            let mut nth = 0;
            sample.entries.retain(|_| {
                nth += 1;
                nth % 2 == 1
            });
            stride *= 2;
        }
    }
    sample.pictures.complete = true;
    sample
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::ImagePath;

    fn entry(n: usize) -> Option<Entry> {
        Some(Entry { path: ImagePath::new(format!("{n:06}.jpg")).unwrap(), size_bytes: n as u64, mtime_ns: 0 })
    }

    #[test]
    fn a_sample_is_spread_over_all_that_was_seen() {
        for count in [0, 1, 15, 16, 17, 1000, 12_345] {
            let sample = spread((0..count).map(entry), 16, || true);
            let taken: Vec<u64> = sample.entries.iter().map(|e| e.size_bytes).collect();
            assert!(taken.len() < 16 && (taken.len() >= 8 || taken.len() == count), "{count}: {taken:?}");
            assert!(taken.windows(2).all(|w| w[1] - w[0] == taken[1] - taken[0]), "{count}: {taken:?}");
            assert!(
                taken.len() < 2 || count as u64 - taken[taken.len() - 1] <= taken[1] - taken[0],
                "{count}: {taken:?}"
            );
            let all = Pictures { count: count as u64, bytes: (0..count as u64).sum(), complete: true };
            assert_eq!(sample.pictures, all);
        }
    }

    #[test]
    fn a_look_that_is_cut_short_says_so() {
        let looks = std::cell::Cell::new(0);
        let three = || {
            looks.set(looks.get() + 1);
            looks.get() <= 4
        };
        let found = [entry(0), None, entry(1), entry(2), entry(3)];
        let sample = spread(found.into_iter(), 16, three);
        assert_eq!((sample.entries.len(), sample.pictures.count, sample.pictures.complete), (3, 3, false));
    }
}
