//! While a first pass is built, how well it finds is measured: questions of several kinds, their exact 10 best rows, and
//! where those stand by estimate. From this follows how many candidates a search takes.

use protocol::FirstPassMeta;
use rayon::prelude::*;

use crate::IndexError;
use crate::bits::BitsReader;
use crate::code::{QueryCode, SplitMix, estimate, unit};
use crate::first_pass::MOST_OF_ROWS;
use crate::row_writer::hash_file;
use crate::scan::{Best, offer_all};
use crate::spread::Spread;

/// The recall that is promised is at 10.
const K: usize = 10;
/// Questions of each kind.
const QUESTIONS: usize = 64;
/// How near to the pictures questions are: their part that is a mixture of pictures; the rest is a random direction. The
/// first are rows themselves. A model's texts lie in a cone of their own, far from all pictures, as the last ones do: a
/// cosine of 0.3 with the best picture is a good one for CLIP.
const NEARNESS: [f32; 3] = [1.0, 0.8, 0.3];
/// Where candidates are chosen, so that other questions find 0.99 too.
const WANTED: f64 = 0.995;
/// Less is no first pass.
const LEAST: f64 = 0.99;

/// What is kept of rows that stream by: their mean, and some of them, evenly spread, for making questions.
pub(crate) struct Sample {
    sums: Vec<f64>,
    vectors: Spread<Vec<f32>>,
}

/// Fewer rows than this are kept.
const KEPT: usize = 1024;

/// Rows whose bits are read at a time.
const BLOCK: usize = 16_384;

impl Sample {
    pub(crate) fn new(dim: usize) -> Self {
        Self { sums: vec![0.0; dim], vectors: Spread::new(KEPT) }
    }

    pub(crate) fn push(&mut self, vector: &[f32]) {
        self.sums.iter_mut().zip(vector).for_each(|(sum, value)| *sum += f64::from(*value));
        self.vectors.push(|| Some(vector.to_vec()));
    }

    /// The mean of all rows, [D].
    pub(crate) fn mean(&self) -> Vec<f32> {
        self.sums.iter().map(|sum| (sum / self.vectors.seen().max(1) as f64) as f32).collect()
    }

    /// Questions of each kind, one kind after the other.
    fn questions(&self) -> Vec<Vec<f32>> {
        let mean = self.mean();
        let vectors = self.vectors.kept();
        let mut random = SplitMix(self.vectors.seen());
        let mut question = |nearness: f32| {
            let mut row = || &vectors[(random.next() % vectors.len() as u64) as usize];
            if nearness == 1.0 {
                return row().clone();
            }
            let (a, b, c) = (row(), row(), row());
            let mixture = (0..mean.len()).map(|i| a[i] + (b[i] + c[i]) / 2.0 - 2.0 * mean[i]).collect();
            let away = random.direction(mean.len());
            let rest = (1.0 - nearness * nearness).sqrt();
            unit(unit(mixture).iter().zip(away).map(|(near, away)| nearness * near + rest * away).collect())
        };
        NEARNESS.iter().flat_map(|nearness| [*nearness; QUESTIONS]).map(&mut question).collect()
    }

    /// Makes the questions, whose answers the rows tell that stream by again.
    pub(crate) fn measure(&self) -> Measure {
        Measure { questions: self.questions().into_iter().map(|question| (question, Best::new(K))).collect(), rows: 0 }
    }
}

/// Questions, and the best rows so far.
pub(crate) struct Measure {
    questions: Vec<(Vec<f32>, Best)>,
    rows: u64,
}

impl Measure {
    /// The next rows, D little-endian f32 each.
    pub(crate) fn push(&mut self, vectors: &[u8]) {
        let first = self.rows;
        self.questions.par_iter_mut().for_each(|(question, best)| offer_all(best, vectors, question, first));
        self.rows += self.questions.first().map_or(0, |(question, _)| vectors.len() / (4 * question.len())) as u64;
    }

    /// Chooses the candidates from a file of the rows' bits.
    pub(crate) fn finish(self, bits: &BitsReader) -> Result<FirstPassMeta, IndexError> {
        let places = places(bits, self.questions)?;
        let kinds: Vec<Vec<u64>> = places.chunks(QUESTIONS).map(<[_]>::concat).collect();
        let most = bits.rows() / MOST_OF_ROWS;
        let candidates = kinds.iter().map(|kind| enough(kind)).max().unwrap_or(0).clamp(K as u64, most);
        let found = |kind: &Vec<u64>| kind.iter().filter(|place| **place < candidates).count() as f64;
        let recall = kinds.iter().map(|kind| found(kind) / kind.len() as f64).fold(1.0, f64::min);
        let (bits_bytes, bits_checksum) = hash_file(bits.path())?;
        Ok(FirstPassMeta {
            bits_bytes,
            bits_checksum,
            candidates: (recall >= LEAST).then_some(candidates),
            // Few digits read back from JSON as they are.
            recall_at_10: (recall * 1e4).floor() / 1e4,
            questions: places.len() as u64,
        })
    }
}

/// So many candidates that the share of places among them is as wanted.
fn enough(places: &[u64]) -> u64 {
    let mut places = places.to_vec();
    places.sort_unstable();
    let last = (places.len() as f64 * WANTED).ceil() as usize;
    places.get(last.saturating_sub(1)).map_or(0, |place| place + 1)
}

/// A question's code, the estimates of its best rows, ascending, and how many rows are better than each and not than the next.
struct Count {
    query: QueryCode,
    estimates: Vec<f32>,
    counts: Vec<u64>,
}

/// For each question and each of its best rows, how many rows have a better estimate.
fn places(bits: &BitsReader, questions: Vec<(Vec<f32>, Best)>) -> Result<Vec<Vec<u64>>, IndexError> {
    let count = |(question, best): (Vec<f32>, Best)| {
        let query = bits.coder.query(&question);
        let mut estimates = Vec::new();
        let mut one = Vec::new();
        for hit in best.sorted() {
            let (row, factor) = bits.read(hit.row, 1)?;
            estimate(&query, &row, &factor, &mut one);
            estimates.append(&mut one);
        }
        estimates.sort_unstable_by(f32::total_cmp);
        Ok(Count { query, counts: vec![0; estimates.len()], estimates })
    };
    let mut counts = questions.into_iter().map(count).collect::<Result<Vec<_>, IndexError>>()?;
    for first in (0..bits.rows()).step_by(BLOCK) {
        let (rows, factors) = bits.read(first, BLOCK.min((bits.rows() - first) as usize))?;
        counts.par_iter_mut().for_each_init(Vec::new, |all, count| {
            estimate(&count.query, &rows, &factors, all);
            for one in all.iter().filter(|one| **one > count.estimates[0]) {
                count.counts[count.estimates.partition_point(|own| own < one) - 1] += 1;
            }
        });
    }
    // What is better than an estimate is better than all that are less.
    let sums =
        |count: Count| count.counts.iter().rev().scan(0, |sum, n| Some(std::mem::replace(sum, *sum + n) + n)).collect();
    Ok(counts.into_iter().map(sums).collect())
}
