//! A vector in one bit a dimension, and estimates of inner products from them: RaBitQ (Gao and Long, SIGMOD 2024).
//!
//! With r = R (vector - mean), R a fixed random rotation, the bits are the signs of r, and the factor is |r|² / |r|₁.
//! Then factor * <signs, R query> estimates <vector - mean, query>: its error is as often above as below, and shrinks with
//! the root of D. The query's values become whole numbers from -7 to 7, so that a sum over signs is counted bits. What is
//! the same for all vectors (the mean's part, the query's scale) is left out of estimates, which are only compared.

use multiversion::multiversion;

use crate::mapped::prefetch;

/// Words that a processor takes at once; a row's bits are filled up with zeros to a multiple of it.
const LANES: usize = 4;
/// Bits of a query's values, the highest of which is the sign.
const PLANES: usize = 4;
/// Bits are asked for so many bytes ahead.
const AHEAD: usize = 4096;
const LARGEST: f32 = 7.0;

/// The rotation is this many rounds of: change some signs, then mix by Hadamard's transform.
const ROUNDS: usize = 4;
/// Where the signs come from. It belongs to the file format.
const SEED: u64 = 0x1a6e_f1ee_7b17_5eed;

/// Makes codes of vectors and of queries.
#[derive(Debug)]
pub(crate) struct Coder {
    mean: Vec<f32>,
    /// [ROUNDS, D] of 1 and -1.
    signs: Vec<f32>,
}

/// A query as whole numbers, bit by bit.
pub(crate) struct QueryCode {
    /// For each LANES words of a row: bit 0 of the query's values, bit 1, bit 2, and their signs.
    planes: Vec<[[u64; LANES]; PLANES]>,
    /// Their sum.
    total: i64,
}

impl Coder {
    /// For vectors around `mean`, [D].
    pub(crate) fn new(mean: Vec<f32>) -> Self {
        let mut random = SplitMix(SEED);
        let signs = (0..ROUNDS * mean.len()).map(|_| if random.next() >> 63 == 0 { 1.0 } else { -1.0 }).collect();
        Self { mean, signs }
    }

    /// Words of a row's bits.
    pub(crate) fn words(&self) -> usize {
        words(self.mean.len())
    }

    /// The factor of a vector, [D] little-endian f32, and its bits, which are appended to `bits`.
    pub(crate) fn code(&self, vector: &[u8], bits: &mut Vec<u64>) -> f32 {
        let values = vector.as_chunks::<4>().0.iter().map(|v| f32::from_le_bytes(*v));
        let mut residual: Vec<f32> = values.zip(&self.mean).map(|(value, mean)| value - mean).collect();
        self.rotate(&mut residual);
        let begin = bits.len();
        bits.resize(begin + self.words(), 0);
        let (mut absolute, mut squares) = (0f32, 0f32);
        for (i, value) in residual.iter().enumerate() {
            absolute += value.abs();
            squares += value * value;
            bits[begin + i / 64] |= u64::from(*value > 0.0) << (i % 64);
        }
        if absolute > 0.0 { squares / absolute } else { 0.0 }
    }

    /// The code of a query, [D].
    pub(crate) fn query(&self, query: &[f32]) -> QueryCode {
        let mut values = query.to_vec();
        self.rotate(&mut values);
        let largest = values.iter().fold(f32::MIN_POSITIVE, |most, v| most.max(v.abs()));
        let mut code = QueryCode { planes: vec![Default::default(); self.words() / LANES], total: 0 };
        for (i, value) in values.iter().enumerate() {
            let number = (value / largest * LARGEST).round() as i64;
            code.total += number;
            let block = &mut code.planes[i / (64 * LANES)];
            for (plane, words) in block.iter_mut().enumerate() {
                words[i / 64 % LANES] |= ((number >> plane) as u64 & 1) << (i % 64);
            }
        }
        code
    }

    fn rotate(&self, values: &mut [f32]) {
        let dim = values.len();
        let part = 1 << dim.ilog2();
        for (round, signs) in self.signs.chunks_exact(dim).enumerate() {
            values.iter_mut().zip(signs).for_each(|(value, sign)| *value *= sign);
            // The transform takes a power of two; the first ones and the last ones in turn are all.
            let begin = if round % 2 == 0 { 0 } else { dim - part };
            hadamard(&mut values[begin..begin + part]);
        }
    }
}

/// Words of a row's bits.
pub(crate) fn words(dim: usize) -> usize {
    dim.div_ceil(64 * LANES) * LANES
}

/// Hadamard's transform of 2^n values; it keeps lengths.
#[multiversion(targets("x86_64+avx"))]
fn hadamard(values: &mut [f32]) {
    let mut half = 1;
    while half < values.len() {
        for pair in values.chunks_exact_mut(2 * half) {
            let (left, right) = pair.split_at_mut(half);
            for (a, b) in left.iter_mut().zip(right) {
                (*a, *b) = (*a + *b, *a - *b);
            }
        }
        half *= 2;
    }
    let scale = 1.0 / (values.len() as f32).sqrt();
    values.iter_mut().for_each(|value| *value *= scale);
}

/// The estimates of rows into `estimates`: `bits` are little-endian words, `factors` little-endian f32.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl+avx512vpopcntdq", "x86_64+avx2+popcnt", "x86_64+popcnt",))]
pub(crate) fn estimate(query: &QueryCode, bits: &[u8], factors: &[u8], estimates: &mut Vec<f32>) {
    estimates.clear();
    let row_bytes = 8 * LANES * query.planes.len();
    let rows = bits.chunks_exact(row_bytes).zip(factors.as_chunks::<4>().0);
    for (i, (row, factor)) in rows.enumerate() {
        let ahead = (i * row_bytes + AHEAD).min(bits.len());
        prefetch(&bits[ahead..(ahead + row_bytes).min(bits.len())]);
        let row = row.as_chunks::<8>().0;
        let mut sums = [0u64; LANES];
        for (words, [one, two, four, sign]) in row.as_chunks::<LANES>().0.iter().zip(&query.planes) {
            for lane in 0..LANES {
                let word = u64::from_le_bytes(words[lane]);
                let count = |plane: &[u64; LANES]| u64::from((word & plane[lane]).count_ones());
                let above = count(one) + (count(two) << 1) + (count(four) << 2);
                sums[lane] = sums[lane].wrapping_add(above.wrapping_sub(count(sign) << 3));
            }
        }
        let mut above = 0u64;
        for sum in sums {
            above = above.wrapping_add(sum);
        }
        estimates.push(f32::from_le_bytes(*factor) * (2 * above as i64 - query.total) as f32);
    }
}

/// A generator of numbers that look random: the same in every run and on every machine.
pub(crate) struct SplitMix(pub u64);

impl SplitMix {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A vector of length one in a random direction: sums of four numbers are near enough to a normal distribution.
    pub(crate) fn direction(&mut self, dim: usize) -> Vec<f32> {
        let mut number = || (0..4).map(|_| (self.next() >> 32) as i32 as f32 / 2e9).sum::<f32>();
        unit((0..dim).map(|_| number()).collect())
    }
}

/// Scales to length one; a vector without a direction stays.
pub(crate) fn unit(mut values: Vec<f32>) -> Vec<f32> {
    let length = values.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>().sqrt();
    if length > 1e-12 {
        values.iter_mut().for_each(|v| *v = (f64::from(*v) / length) as f32);
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|v| v.to_le_bytes()).collect()
    }

    fn dot(a: &[f32], b: &[f32]) -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    }

    fn estimates(coder: &Coder, rows: &[Vec<f32>], query: &[f32]) -> Vec<f32> {
        let (mut bits, mut factors) = (Vec::new(), Vec::new());
        for row in rows {
            factors.extend(coder.code(&bytes(row), &mut bits).to_le_bytes());
        }
        let bits: Vec<u8> = bits.iter().flat_map(|w| w.to_le_bytes()).collect();
        let mut estimates = Vec::new();
        estimate(&coder.query(query), &bits, &factors, &mut estimates);
        estimates
    }

    #[test]
    fn the_rotation_keeps_lengths_and_angles_and_mixes_all_dimensions() {
        for dim in [1, 2, 3, 64, 100, 512, 513, 768, 1023] {
            let coder = Coder::new(vec![0.0; dim]);
            let (mut a, mut b) = (SplitMix(1).direction(dim), SplitMix(2).direction(dim));
            let before = dot(&a, &b);
            coder.rotate(&mut a);
            coder.rotate(&mut b);
            assert!((dot(&a, &a) - 1.0).abs() < 1e-4 && (dot(&a, &b) - before).abs() < 1e-4, "D = {dim}");
            for axis in [0, dim / 2, dim - 1] {
                let mut one = vec![0.0; dim];
                one[axis] = 1.0;
                coder.rotate(&mut one);
                let largest = one.iter().fold(0f32, |most, v| most.max(v.abs()));
                assert!(dim < 64 || largest < 0.7, "D = {dim}, axis {axis}: {largest}");
            }
        }
    }

    #[test]
    fn estimates_are_right_on_average_and_as_near_as_the_method_promises() {
        for dim in [128, 512, 768] {
            let mut random = SplitMix(dim as u64);
            let mean: Vec<f32> = random.direction(dim).iter().map(|v| v * 0.6).collect();
            let rows: Vec<Vec<f32>> = (0..2000)
                .map(|_| unit(random.direction(dim).iter().zip(&mean).map(|(r, m)| 0.8 * r + m).collect()))
                .collect();
            let query = random.direction(dim);
            let coder = Coder::new(mean.clone());
            let mut rotated = query.clone();
            coder.rotate(&mut rotated);
            let scale = rotated.iter().fold(0f32, |most, v| most.max(v.abs())) / LARGEST;
            let errors: Vec<f64> = estimates(&coder, &rows, &query)
                .iter()
                .zip(&rows)
                .map(|(estimate, row)| f64::from(estimate * scale) - (dot(row, &query) - dot(&mean, &query)))
                .collect();
            let average = errors.iter().sum::<f64>() / errors.len() as f64;
            let deviation = (errors.iter().map(|e| e * e).sum::<f64>() / errors.len() as f64).sqrt();
            // sqrt(pi / 2 - 1) = 0.756 of |row - mean| / sqrt(D), and a little for the query's whole numbers.
            let promised = 0.8 * 0.85 / (dim as f64).sqrt();
            assert!(deviation < promised, "D = {dim}: {deviation}, promised {promised}");
            assert!(average.abs() < 5.0 * promised / (errors.len() as f64).sqrt(), "D = {dim}: {average}");
        }
    }

    #[test]
    fn any_dimension_has_a_code_and_a_vector_at_the_mean_an_estimate_of_zero() {
        for dim in [1, 2, 63, 64, 65, 255, 256, 257, 1000] {
            let mut random = SplitMix(3);
            let rows: Vec<Vec<f32>> = (0..9).map(|_| random.direction(dim)).collect();
            let coder = Coder::new(rows[4].clone());
            assert_eq!(coder.words(), dim.div_ceil(256) * 4);
            let found = estimates(&coder, &rows, &rows[0]);
            assert_eq!(found.len(), 9);
            assert!(found[4] == 0.0 && found.iter().all(|e| e.is_finite()), "D = {dim}: {found:?}");
        }
    }
}
