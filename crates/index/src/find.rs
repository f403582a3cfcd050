//! What people ask: the best matches that pass a filter, each with its percentile, near duplicates shown once.

use protocol::Embedding;
use rayon::prelude::*;

use crate::scan::{Hit, Keep, ask_ahead, score};
use crate::{Index, IndexError};

/// Rows of the sample that a percentile is told from. Each question reads their vectors: a few milliseconds.
const SAMPLE: u64 = 4096;

/// Two pictures are alike if they are nearer to each other than this share of the usual distance (the root of the mean
/// square) between two pictures of the collection. Models differ in how near all their pictures are: for CLIP's, whose usual
/// cosine is about 0.5, this is a cosine of 0.98, which copies in another size or quality reach and other pictures of
/// the same thing do not.
const ALIKE: f32 = 0.2;

/// The same vector, but for rounding.
pub(crate) const SAME: f32 = 1.0 - 1e-5;

/// A match is compared with so many better ones at most, so that a long list does not take a time that grows with its square.
const COMPARED: usize = 500;

/// What is wanted of a search.
#[derive(Clone, Copy, Default)]
pub struct Wanted<'a> {
    /// How many matches.
    pub k: usize,
    /// Compare with every vector, without a first pass that may miss a match.
    pub exact: bool,
    /// Show a picture that is nearly the same as a better match only as a number, [`Found::alike`].
    pub collapse: bool,
    /// Only matches with at least this percentile.
    pub min_percentile: Option<f64>,
    /// Only rows for which this is true. It is asked often, by many threads.
    pub keep: Option<Keep<'a>>,
}

/// A match.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Its row in the index.
    pub row: u64,
    /// Canonical path.
    pub path: String,
    /// Cosine.
    pub score: f32,
    /// Which share of a sample of the collection scores lower, in percent. The sample is the same for every question: every
    /// N/4096-th row, or all.
    pub percentile: f64,
    /// With `collapse`, how many pictures are nearly the same as this one, but match less and are not shown. Counted are those
    /// among the best matches: twice as many as were wanted, and more until enough of them differ.
    pub alike: usize,
}

impl Index {
    /// The best matches, best first; of equal score, in row order. There are `k` of them whenever so many rows are kept,
    /// differ if they are to be collapsed, and reach the percentile.
    ///
    /// # Errors
    /// If the query has another dimension, or a file cannot be read.
    pub fn find(&self, query: &Embedding, wanted: &Wanted<'_>) -> Result<Vec<Found>, IndexError> {
        self.fits(query)?;
        if wanted.k == 0 || self.meta().num_images == 0 {
            return Ok(Vec::new());
        }
        let background = self.background(query);
        let percentile = |score: f32| {
            let lower = background.partition_point(|other| *other < score);
            100.0 * lower as f64 / background.len() as f64
        };
        let enough = |hit: &Hit| wanted.min_percentile.is_none_or(|least| percentile(hit.score) >= least);
        let mut length = if wanted.collapse { wanted.k.saturating_mul(2) } else { wanted.k };
        let shown = loop {
            let mut hits = self.ranked(query, length, wanted.exact, wanted.keep);
            hits.truncate(hits.partition_point(enough));
            let ended = hits.len() < length;
            let shown = if wanted.collapse { self.distinct(&hits, wanted.k) } else { with_none_alike(hits) };
            if shown.len() >= wanted.k || ended {
                break shown;
            }
            length = length.saturating_mul(4);
        };
        let found = |(Hit { score, row }, alike)| {
            Ok(Found { row, path: self.path(row)?, score, percentile: percentile(score), alike })
        };
        shown.into_iter().map(found).collect()
    }

    /// Scores of a sample of the collection, ascending.
    fn background(&self, query: &Embedding) -> Vec<f32> {
        let rows: Vec<u64> = self.spread(SAMPLE).collect();
        let one = |(i, row): (usize, &u64)| {
            ask_ahead(&rows, i, |row| self.vector(row));
            score(self.vector(*row), query.values())
        };
        let mut scores: Vec<f32> = rows.par_iter().with_min_len(256).enumerate().map(one).collect();
        scores.par_sort_unstable_by(f32::total_cmp);
        scores
    }

    /// Vectors of at most `most` rows that stand for the collection, spread evenly.
    ///
    /// # Errors
    /// If one of them has no direction.
    pub fn sample(&self, most: u64) -> Result<Vec<Embedding>, IndexError> {
        self.sample_rows(most)?.into_iter().map(|row| self.embedding(row)).collect()
    }

    /// At most `most` rows that stand for the collection, spread evenly, ascending.
    ///
    /// # Errors
    /// If the vectors were found to be damaged.
    pub fn sample_rows(&self, most: u64) -> Result<Vec<u64>, IndexError> {
        self.sound()?;
        Ok(self.spread(most).collect())
    }

    fn spread(&self, most: u64) -> impl Iterator<Item = u64> {
        let rows = self.meta().num_images;
        let count = rows.min(most);
        // In 128 bits, so that no collection is too large for the product.
        (0..count).map(move |i| (u128::from(i) * u128::from(rows) / u128::from(count)) as u64)
    }

    /// The cosine from which two pictures are alike: see [`ALIKE`]. The mean square of the distance between two pictures is
    /// 2 - 2 |mean|².
    pub(crate) fn alike(&self) -> f32 {
        *self.alike.get_or_init(|| {
            let mean_square: f32 = self.mean().iter().map(|value| value * value).sum();
            (1.0 - ALIKE * ALIKE * (1.0 - mean_square)).min(SAME)
        })
    }

    /// The mean of a sample of the collection, [D].
    pub(crate) fn mean(&self) -> Vec<f32> {
        let mut sums = vec![0f64; self.meta().model.embedding_dim];
        for row in self.spread(SAMPLE) {
            sums.iter_mut().zip(self.values(row)).for_each(|(sum, value)| *sum += f64::from(value));
        }
        let count = self.spread(SAMPLE).count().max(1) as f64;
        sums.iter().map(|sum| (sum / count) as f32).collect()
    }

    /// The first `k` of `hits` that are not alike, each with the number of those that are.
    fn distinct(&self, hits: &[Hit], k: usize) -> Vec<(Hit, usize)> {
        let bound = self.alike();
        let among = |hit: &Hit, others: &[(Hit, usize)]| {
            let own = self.values(hit.row);
            others.iter().position(|(other, _)| score(self.vector(other.row), &own) >= bound)
        };
        let mut shown: Vec<(Hit, usize)> = Vec::new();
        // With those that were shown before all at once, with new ones one after the other.
        for some in hits.chunks(256) {
            let before = shown.len().min(COMPARED);
            let places: Vec<_> = some.par_iter().map(|hit| among(hit, &shown[..before])).collect();
            for (hit, place) in some.iter().zip(places) {
                let new = &shown[before..shown.len().min(COMPARED)];
                match place.or_else(|| among(hit, new).map(|place| before + place)) {
                    Some(place) => shown[place].1 += 1,
                    None if shown.len() < k => shown.push((*hit, 0)),
                    None => {}
                }
            }
        }
        shown
    }
}

fn with_none_alike(hits: Vec<Hit>) -> Vec<(Hit, usize)> {
    hits.into_iter().map(|hit| (hit, 0)).collect()
}
