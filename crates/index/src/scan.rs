//! The exact search: the score of every row, on all processors. One question is bound by the speed of memory, so rows are
//! read once, where they are mapped.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use multiversion::multiversion;
use rayon::prelude::*;

use crate::mapped::prefetch;

/// A row and its score. The better is the lesser; of equal scores, the earlier row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hit {
    pub score: f32,
    pub row: u64,
}

/// Rows that a thread takes at a time: some megabytes, so that handing over costs nothing and all end together.
const BLOCK: usize = 2048;

/// Sums that run side by side in [`dot`]: enough for the widest registers to be always busy.
const LANES: usize = 32;

/// How many rows ahead single rows are asked for: memory is slow to answer, but answers much at once.
const AHEAD: usize = 2;

/// Whether a row may match at all.
pub type Keep<'a> = &'a (dyn Fn(u64) -> bool + Sync);

/// A question about the vectors of a segment.
#[derive(Clone, Copy)]
pub(crate) struct Scan<'a> {
    /// [N, D] little-endian f32 at any alignment.
    pub vectors: &'a [u8],
    /// [D].
    pub query: &'a [f32],
    /// The number that the first of `vectors` has in the index. All rows here are numbers in the index.
    pub first: u64,
}

impl Scan<'_> {
    /// The `k` best rows of those that `keep` keeps, best first; all of them if there are fewer. Scores are inner products.
    ///
    /// A score is the same bits on every processor and with any number of threads: its additions have a fixed order, and
    /// no multiplication is fused into one.
    pub(crate) fn nearest(&self, k: usize, keep: Option<Keep<'_>>) -> Vec<Hit> {
        self.vectors
            .par_chunks(BLOCK * 4 * self.query.len())
            .enumerate()
            .fold(
                || Best::new(k),
                |mut best, (block, rows)| {
                    let first = self.first + (block * BLOCK) as u64;
                    match keep {
                        None => offer_all(&mut best, rows, self.query, first),
                        Some(keep) => {
                            let end = first + (rows.len() / (4 * self.query.len())) as u64;
                            let kept: Vec<u64> = (first..end).filter(|row| keep(*row)).collect();
                            offer_rows(&mut best, self, &kept);
                        }
                    }
                    best
                },
            )
            .reduce(|| Best::new(k), Best::and)
            .sorted()
    }

    /// The same of the rows that are named.
    pub(crate) fn nearest_of(&self, rows: &[u64], k: usize) -> Vec<Hit> {
        rows.par_chunks(BLOCK / 8)
            .fold(
                || Best::new(k),
                |mut best, rows| {
                    offer_rows(&mut best, self, rows);
                    best
                },
            )
            .reduce(|| Best::new(k), Best::and)
            .sorted()
    }
}

/// Offers every row, the first of which is row `first`.
pub(crate) fn offer_all(best: &mut Best, rows: &[u8], query: &[f32], first: u64) {
    for (row, vector) in (first..).zip(rows.chunks_exact(4 * query.len())) {
        best.offer(Hit { score: score(vector, query), row });
    }
}

/// While row `i` of `rows` is worked on, asks for the vector of a later one.
#[inline(always)]
pub(crate) fn ask_ahead<'a>(rows: &[u64], i: usize, vector: impl Fn(u64) -> &'a [u8]) {
    if let Some(&next) = rows.get(i + AHEAD) {
        prefetch(vector(next));
    }
}

/// Offers the rows that are named.
fn offer_rows(best: &mut Best, scan: &Scan<'_>, rows: &[u64]) {
    let bytes = 4 * scan.query.len();
    let vector = |row: u64| &scan.vectors[(row - scan.first) as usize * bytes..][..bytes];
    for (i, &row) in rows.iter().enumerate() {
        ask_ahead(rows, i, vector);
        best.offer(Hit { score: score(vector(row), scan.query), row });
    }
}

/// The inner product of one vector, [D] little-endian f32, with `query`. Compiled twice; what the processor has is taken.
#[multiversion(targets("x86_64+avx"))]
pub(crate) fn score(vector: &[u8], query: &[f32]) -> f32 {
    dot(vector, query)
}

/// The inner product: product `i` goes into sum `i % LANES`; the sums are added in halves.
#[inline(always)]
fn dot(vector: &[u8], query: &[f32]) -> f32 {
    let mut sums = [0f32; LANES];
    let (queries, query_rest) = query.as_chunks::<LANES>();
    let (values, _) = vector.as_chunks::<4>();
    let (blocks, rest) = values.as_chunks::<LANES>();
    for (block, query) in blocks.iter().zip(queries) {
        for i in 0..LANES {
            sums[i] += f32::from_le_bytes(block[i]) * query[i];
        }
    }
    for (i, (value, query)) in rest.iter().zip(query_rest).enumerate() {
        sums[i] += f32::from_le_bytes(*value) * query;
    }
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            sums[i] += sums[i + half];
        }
        half /= 2;
    }
    sums[0]
}

/// The best of the hits that were offered, at most `k`.
pub(crate) struct Best {
    k: usize,
    /// The worst on top.
    hits: BinaryHeap<Hit>,
}

impl Best {
    pub(crate) fn new(k: usize) -> Self {
        Self { k, hits: BinaryHeap::new() }
    }

    #[inline(always)]
    fn offer(&mut self, hit: Hit) {
        if self.hits.len() < self.k {
            self.hits.push(hit);
        } else if let Some(mut worst) = self.hits.peek_mut()
            && hit < *worst
        {
            *worst = hit;
        }
    }

    fn and(mut self, other: Self) -> Self {
        other.hits.into_iter().for_each(|hit| self.offer(hit));
        self
    }

    pub(crate) fn sorted(self) -> Vec<Hit> {
        self.hits.into_sorted_vec()
    }
}

impl Ord for Hit {
    fn cmp(&self, other: &Self) -> Ordering {
        other.score.total_cmp(&self.score).then(self.row.cmp(&other.row))
    }
}

impl PartialOrd for Hit {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Hit {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Hit {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors at an odd address, as in a file.
    fn mapped(values: &[f32]) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        bytes
    }

    fn nearest(vectors: &[u8], query: &[f32], k: usize) -> Vec<Hit> {
        Scan { vectors, query, first: 0 }.nearest(k, None)
    }

    fn numbers(count: usize) -> Vec<f32> {
        let mut state = 7u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state as i32 as f32 / 2e9
        };
        (0..count).map(|_| next()).collect()
    }

    #[test]
    fn scores_are_inner_products_for_any_dimension() {
        for dim in [1, 2, 3, 31, 32, 33, 63, 64, 100, 512, 513, 768] {
            let (values, query) = (numbers(20 * dim), numbers(dim));
            let found = nearest(&mapped(&values)[1..], &query, 20);
            assert_eq!(found.len(), 20);
            for hit in found {
                let vector = &values[hit.row as usize * dim..][..dim];
                let bytes = mapped(vector);
                assert_eq!(hit.score.to_bits(), dot(&bytes[1..], &query).to_bits(), "as without newer instructions");
                let exact: f64 = vector.iter().zip(&query).map(|(v, q)| f64::from(*v) * f64::from(*q)).sum();
                assert!((f64::from(hit.score) - exact).abs() < 1e-6 * dim as f64, "D = {dim}: {hit:?}, not {exact}");
            }
        }
    }

    #[test]
    fn the_answer_is_the_same_bits_with_any_number_of_threads() {
        let (dim, k) = (7, 50);
        let (bytes, query) = (mapped(&numbers(5 * BLOCK * dim)), numbers(dim));
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let found = pool.install(|| nearest(&bytes[1..], &query, k));
            found.into_iter().map(|hit| (hit.score.to_bits(), hit.row)).collect::<Vec<_>>()
        };
        let one = with(1);
        assert_eq!(one.len(), k);
        assert!((2..9).all(|threads| with(threads) == one));
    }

    #[test]
    fn rows_of_equal_score_come_in_row_order_whichever_thread_found_them() {
        let bytes = mapped(&vec![1.0; 3 * BLOCK + 5]);
        for k in [1, 10, BLOCK, 3 * BLOCK + 5] {
            let rows: Vec<u64> = nearest(&bytes[1..], &[0.5], k).iter().map(|hit| hit.row).collect();
            assert_eq!(rows, (0..k as u64).collect::<Vec<_>>());
        }
    }

    #[test]
    fn no_rows_or_none_wanted_give_none() {
        assert!(nearest(&[], &[1.0, 2.0], 10).is_empty());
        assert!(nearest(&mapped(&[1.0, 2.0])[1..], &[1.0, 2.0], 0).is_empty());
    }

    #[test]
    fn only_rows_that_are_kept_or_named_are_found_with_the_scores_that_they_have() {
        let dim = 33;
        let (bytes, query) = (mapped(&numbers(3 * BLOCK * dim)), numbers(dim));
        let scan = Scan { vectors: &bytes[1..], query: &query, first: 1000 };
        let keep = |row: u64| row % 7 == 3;
        let mut expected: Vec<Hit> = scan.nearest(usize::MAX, None).into_iter().filter(|hit| keep(hit.row)).collect();
        let rows: Vec<u64> = (1000..1000 + 3 * BLOCK as u64).filter(|row| keep(*row)).collect();
        assert_eq!(expected.len(), rows.len());
        expected.truncate(50);
        for found in [scan.nearest(50, Some(&keep)), scan.nearest_of(&rows, 50)] {
            assert_eq!(found, expected);
        }
    }
}
