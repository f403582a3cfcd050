//! What an index holds, and what its scores mean.

use std::collections::BTreeMap;
use std::io::{BufReader, ErrorKind};
use std::path::Path;

use chrono::{DateTime, Datelike};
use index::{Index, standing};
use protocol::stats::{Background, Quantile, Stats};
use protocol::{Embedding, Failure, FileFacts, ImagePath, LONGEST_EVENT, lines};

use crate::encoders::{SharedEncoder, Words};
use crate::memory;
use crate::refusal::Refusal;

/// Pictures whose scores stand for those of all.
const SAMPLE: u64 = 1_000;
/// Each picture of the sample is compared with so many others.
const OTHERS: usize = 12;
/// What scores are told for: everyday words, most of which hold of few pictures of any collection.
const WORDS: [&str; 12] = [
    "a person",
    "a face",
    "food",
    "an animal",
    "a car",
    "a building",
    "the sea",
    "mountains",
    "a tree",
    "a document",
    "a room",
    "the night",
];
/// In percent.
const QUANTILES: [f64; 9] = [1.0, 5.0, 25.0, 50.0, 75.0, 95.0, 99.0, 99.9, 100.0];

/// What is found by looking at all rows, which do not change.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    total_bytes: u64,
    formats: BTreeMap<String, u64>,
    years: BTreeMap<String, u64>,
    background: Option<Background>,
}

impl Survey {
    /// Looks at all rows of an index.
    pub fn of(index: &Index, encoder: &SharedEncoder) -> Result<Self, Refusal> {
        let meta = index.meta();
        let rows = standing(index.prefix(), &meta.root, &meta.model.fingerprint).map_err(|e| Refusal::failed(&e))?;
        let mut survey = Self::default();
        for row in rows {
            let row = row.map_err(|e| Refusal::failed(&e))?;
            if row.in_index {
                survey.add(&row.path, &row.file);
            }
        }
        survey.background = background(index, encoder)?;
        Ok(survey)
    }

    fn add(&mut self, path: &ImagePath, file: &FileFacts) {
        let extension = Path::new(path.as_str()).extension().unwrap_or_default().to_string_lossy();
        *self.formats.entry(extension.to_lowercase()).or_default() += 1;
        if let Some(time) = DateTime::from_timestamp_secs(file.time_s()) {
            *self.years.entry(time.year().to_string()).or_default() += 1;
        }
        self.total_bytes = self.total_bytes.saturating_add(file.size_bytes);
    }
}

/// All that is told of an index.
pub fn tell(index: &Index, survey: Survey) -> Result<Stats, Refusal> {
    let meta = index.meta();
    let Survey { total_bytes, formats, years, background } = survey;
    Ok(Stats {
        generation: meta.generation,
        created: meta.created.clone(),
        root: meta.root.clone(),
        model: meta.model.clone(),
        num_images: meta.num_images,
        total_bytes,
        formats,
        years,
        failures: failures(&index.prefix().failures()).map_err(|e| Refusal::failed(&e))?,
        background,
        first_pass: index.first_pass(),
        memory: memory::now(),
        warning: None,
    })
}

/// Lines of the ledger by kind; those that are damaged say nothing.
fn failures(ledger: &Path) -> std::io::Result<BTreeMap<String, u64>> {
    let mut kinds = BTreeMap::new();
    let file = match protocol::open_file(ledger) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(kinds),
        file => file?,
    };
    for line in lines(BufReader::new(file), LONGEST_EVENT) {
        let line = match line {
            // Longer than any line of a ledger: what follows is none.
            Err(e) if e.kind() == ErrorKind::InvalidData => break,
            line => line?,
        };
        if let Ok(failure) = serde_json::from_slice::<Failure>(&line) {
            *kinds.entry(failure.kind.to_string()).or_default() += 1;
        }
    }
    Ok(kinds)
}

fn background(index: &Index, encoder: &SharedEncoder) -> Result<Option<Background>, Refusal> {
    let sample = index.sample(SAMPLE).map_err(|e| Refusal::failed(&e))?;
    if sample.is_empty() {
        return Ok(None);
    }
    let words = encoder.words(&WORDS.map(|text| Words { text, templates: true }))?;
    let of_words = words.iter().flat_map(|word| sample.iter().map(|picture| picture.cosine(word))).collect();
    let (words, pictures) = (quantiles(of_words), quantiles(with_others(&sample)));
    Ok(Some(Background { sample: sample.len(), words, pictures }))
}

/// Scores of each picture with others far from it: neighbours were often taken together.
fn with_others(sample: &[Embedding]) -> Vec<f32> {
    let count = sample.len();
    let others = OTHERS.min(count - 1);
    let score = |(i, n): (usize, usize)| sample[i].cosine(&sample[(i + n * count / (others + 1)) % count]);
    (0..count).flat_map(|i| (1..=others).map(move |n| (i, n))).map(score).collect()
}

/// The least score that is not below each share of them.
fn quantiles(mut scores: Vec<f32>) -> Vec<Quantile> {
    scores.sort_by(f32::total_cmp);
    let at = |percent: f64| ((percent * scores.len() as f64 / 100.0).ceil() as usize).clamp(1, scores.len()) - 1;
    let all = QUANTILES.iter().filter(|_| !scores.is_empty());
    all.map(|&percent| Quantile { percent, score: scores[at(percent)] }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_the_least_score_that_its_share_does_not_exceed() {
        let found = quantiles((1..=1000).rev().map(|n| n as f32).collect());
        let scores: Vec<f32> = found.iter().map(|q| q.score).collect();
        assert_eq!(scores, [10.0, 50.0, 250.0, 500.0, 750.0, 950.0, 990.0, 999.0, 1000.0]);
        assert!(quantiles(Vec::new()).is_empty());
    }

    #[test]
    fn no_picture_is_compared_with_itself() {
        let unit = |i: usize| Embedding::normalise((0..30).map(|d| if d == i { 1.0 } else { 0.0 }).collect()).unwrap();
        for count in [1, 2, 3, 13, 30] {
            let sample: Vec<_> = (0..count).map(unit).collect();
            let scores = with_others(&sample);
            assert_eq!(scores.len(), count * OTHERS.min(count - 1));
            assert!(scores.iter().all(|score| *score == 0.0), "{count}");
        }
    }

    #[test]
    fn pictures_are_counted_by_ending_and_year() {
        let mut survey = Survey::default();
        for (path, mtime_ns) in [("a.JPG", 0), ("b/c.jpg", 1_700_000_000_000_000_000), ("d.heic", i64::MIN)] {
            let path = protocol::ImagePath::new(path).unwrap();
            survey.add(&path, &FileFacts { size_bytes: 5, mtime_ns, ..FileFacts::default() });
        }
        let counts = |pairs: &[(&str, u64)]| pairs.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
        assert_eq!(survey.formats, counts(&[("jpg", 2), ("heic", 1)]));
        assert_eq!(survey.years, counts(&[("1970", 1), ("2023", 1), ("1677", 1)]));
        assert_eq!(survey.total_bytes, 15);
    }
}
