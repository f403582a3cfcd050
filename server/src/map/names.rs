//! Names of clusters: of everyday words, those that a cluster's pictures score higher for than all pictures do.

use crate::encoders::{SharedEncoder, Words};
use crate::map::reduce::{add, dot};
use crate::refusal::Refusal;

/// One a line.
const WORDS: &str = include_str!("words.txt");
/// Told of a cluster at most, the first of them its name.
const TOLD: usize = 3;
/// Words that are encoded at once; between, others have the encoder.
const AT_ONCE: usize = 8;
/// The same vector, but for rounding.
const SAME: f32 = 1.0 - 1e-5;

/// A mean of vectors, [D].
#[derive(Clone, Debug, Default)]
pub struct Mean {
    sum: Vec<f32>,
    count: usize,
}

impl Mean {
    pub fn add(&mut self, values: &[f32]) {
        self.sum.resize(values.len(), 0.0);
        add(&mut self.sum, values, 1.0);
        self.count += 1;
    }

    /// The mean of the scores that its vectors have for a word.
    fn score(&self, word: &[f32]) -> f32 {
        dot(&self.sum, word) / self.count.max(1) as f32
    }
}

/// Words for each of the clusters, whose means are given.
pub fn names(clusters: &[Mean], encoder: &SharedEncoder) -> Result<Vec<Vec<String>>, Refusal> {
    let words: Vec<&str> = WORDS.lines().collect();
    let mut vectors = Vec::with_capacity(words.len());
    for some in words.chunks(AT_ONCE) {
        let asked: Vec<Words> = some.iter().map(|&text| Words { text, templates: true }).collect();
        vectors.extend(encoder.words(&asked)?);
    }
    // A model has one vector for all words that it does not know.
    let known = |i: &usize| (0..vectors.len()).all(|j| *i == j || vectors[*i].cosine(&vectors[j]) < SAME);
    let known: Vec<(&str, &[f32])> = (0..words.len()).filter(known).map(|i| (words[i], vectors[i].values())).collect();
    Ok(named(clusters, &known))
}

/// The name of the cluster that a word fits best is given first, and no word is the name of two.
fn named(clusters: &[Mean], words: &[(&str, &[f32])]) -> Vec<Vec<String>> {
    let mut whole = Mean::default();
    // One alone would be set apart from itself.
    for cluster in clusters.iter().filter(|_| clusters.len() > 1) {
        whole.sum.resize(cluster.sum.len(), 0.0);
        add(&mut whole.sum, &cluster.sum, 1.0);
        whole.count += cluster.count;
    }
    let gains: Vec<Vec<f32>> = clusters
        .iter()
        .map(|cluster| words.iter().map(|(_, word)| cluster.score(word) - whole.score(word)).collect())
        .collect();
    let mut pairs: Vec<(usize, usize)> =
        (0..clusters.len()).flat_map(|cluster| (0..words.len()).map(move |word| (cluster, word))).collect();
    pairs.sort_by(|a, b| gains[b.0][b.1].total_cmp(&gains[a.0][a.1]));
    let (mut names, mut taken) = (vec![None; clusters.len()], vec![false; words.len()]);
    for &(cluster, word) in &pairs {
        if gains[cluster][word] > 0.0 && names[cluster].is_none() && !taken[word] {
            (names[cluster], taken[word]) = (Some(word), true);
        }
    }
    let mut told: Vec<Vec<String>> =
        names.iter().map(|name| name.iter().map(|&word| words[word].0.to_owned()).collect()).collect();
    for (cluster, word) in pairs {
        let fits = gains[cluster][word] > 0.0 && names[cluster] != Some(word);
        if fits && told[cluster].len() < TOLD {
            told[cluster].push(words[word].0.to_owned());
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(vectors: &[[f32; 3]]) -> Mean {
        let mut mean = Mean::default();
        vectors.iter().for_each(|vector| mean.add(vector));
        mean
    }

    #[test]
    fn a_cluster_is_named_by_what_sets_it_apart_and_no_two_alike() {
        // All pictures score most for the first word, which says nothing of any.
        let clusters = [
            mean(&[[0.9, 0.4, 0.0], [0.9, 0.2, 0.0]]),
            mean(&[[0.9, 0.0, 0.1], [0.9, 0.0, 0.3]]),
            mean(&[[0.9, 0.29, 0.0]]),
        ];
        let words: [(&str, &[f32]); 4] = [
            ("photo", &[1.0, 0.0, 0.0]),
            ("car", &[0.0, 1.0, 0.0]),
            ("sea", &[0.0, 0.0, 1.0]),
            ("lorry", &[0.0, 0.9, 0.0]),
        ];
        let named = named(&clusters, &words);
        assert_eq!(named[0], ["car", "lorry"]);
        assert_eq!(named[1][0], "sea");
        assert_eq!(named[2], ["lorry", "car"], "its best word is the first cluster's");
    }

    #[test]
    fn no_words_no_names() {
        assert_eq!(named(&[mean(&[[1.0, 0.0, 0.0]])], &[]), [Vec::<String>::new()]);
        assert!(named(&[], &[("car", &[1.0])]).is_empty());
    }

    #[test]
    fn the_words_are_some_hundred_each_once() {
        let mut words: Vec<&str> = WORDS.lines().collect();
        let count = words.len();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), count);
        assert!(count >= 300 && words.iter().all(|word| !word.is_empty() && word.trim() == *word), "{count}");
    }
}
