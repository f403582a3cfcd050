//! The first pass of a search: the rows whose estimates are best, among which the best rows are.

use protocol::FirstPassMeta;

use crate::bits::Bits;
use crate::scan::{Hit, Keep};

/// So many estimates tell roughly where the worst candidate's will be.
const SAMPLE: u64 = 8192;

/// Where more of the rows than this would be candidates, comparing all takes no longer.
pub(crate) const MOST_OF_ROWS: u64 = 8;

/// How many candidates find the `k` best of `rows`, if so many find the 10 best: as many more as the root of k grows. At
/// the far end of a bell curve the rows within reach of the k-th best grow a little slower. `None`: compare all.
pub(crate) fn candidates(meta: &FirstPassMeta, rows: u64, k: usize) -> Option<usize> {
    let more = (k as f64 / 10.0).sqrt().max(1.0);
    let most = (meta.candidates? as f64 * more).ceil().max(k as f64);
    (most <= (rows / MOST_OF_ROWS) as f64).then_some(most as usize)
}

impl Bits {
    /// The `most` rows with the best estimates of those that `keep` keeps, in row order; all of them if there are fewer. The
    /// first row has the number `first`.
    pub(crate) fn candidates(&self, query: &[f32], most: usize, first: u64, keep: Option<Keep<'_>>) -> Vec<u64> {
        let query = self.query(query);
        let keep = |row: u64| keep.is_none_or(|keep| keep(first + row));
        let above = |bar: f32| {
            self.fold(
                &query,
                Vec::new,
                |hits: &mut Vec<Hit>, begin, estimates| {
                    let good = (begin..).zip(estimates).filter(|(row, score)| **score >= bar && keep(*row));
                    hits.extend(good.map(|(row, score)| Hit { score: *score, row }));
                },
                |mut hits, mut more| {
                    hits.append(&mut more);
                    hits
                },
            )
        };
        let sampled = |i| i * self.rows() / SAMPLE;
        let sample = (0..SAMPLE.min(self.rows())).map(|i| if self.rows() < SAMPLE { i } else { sampled(i) });
        let mut estimates: Vec<f32> = sample.filter(|row| keep(*row)).map(|row| self.estimate(&query, row)).collect();
        estimates.sort_unstable_by(|a, b| b.total_cmp(a));
        // Far enough below the place where it should be that it is nearly never too high.
        let place = most as f64 / self.rows() as f64 * SAMPLE as f64;
        let bar = estimates.get((place + 5.0 * place.sqrt() + 8.0) as usize).copied();
        let mut hits = above(bar.unwrap_or(f32::NEG_INFINITY));
        if hits.len() < most && bar.is_some() {
            hits = above(f32::NEG_INFINITY);
        }
        if hits.len() > most {
            hits.select_nth_unstable(most);
            hits.truncate(most);
        }
        let mut rows: Vec<u64> = hits.iter().map(|hit| first + hit.row).collect();
        rows.sort_unstable();
        rows
    }
}
