//! The exact search: the score of every row, on all processors. One question is bound by the speed of memory, so rows are
//! read once, where they are mapped.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use multiversion::multiversion;
use rayon::prelude::*;

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

/// The `k` best rows of `vectors`, best first; all if there are fewer. `vectors` is [N, D] little-endian f32 at any
/// alignment, `query` [D]; the scores are inner products.
///
/// A score is the same bits on every processor and with any number of threads: its additions have a fixed order, and no
/// multiplication is fused into one.
pub(crate) fn nearest(vectors: &[u8], query: &[f32], k: usize) -> Vec<Hit> {
    vectors
        .par_chunks(BLOCK * 4 * query.len())
        .enumerate()
        .fold(
            || Best::new(k),
            |mut best, (block, rows)| {
                offer_all(&mut best, rows, query, (block * BLOCK) as u64);
                best
            },
        )
        .reduce(|| Best::new(k), Best::and)
        .sorted()
}

/// Offers every row, the first of which is row `first`. Compiled twice; what the processor has is taken.
#[multiversion(targets("x86_64+avx"))]
fn offer_all(best: &mut Best, rows: &[u8], query: &[f32], first: u64) {
    for (row, vector) in (first..).zip(rows.chunks_exact(4 * query.len())) {
        best.offer(Hit { score: dot(vector, query), row });
    }
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
struct Best {
    k: usize,
    /// The worst on top.
    hits: BinaryHeap<Hit>,
}

impl Best {
    fn new(k: usize) -> Self {
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

    fn sorted(self) -> Vec<Hit> {
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
}
