//! A question's vector: the sum of its terms' vectors, each of length one and multiplied by its weight. The best matches
//! are those of rclip's difference of positive and negative features, which it does not normalise: a question's length
//! changes no order.

use index::Index;
use protocol::Embedding;
use protocol::search::{MAX_TERMS, MAX_TOP_K, SearchRequest, Term, What};

use crate::encoders::{SharedEncoder, Words};
use crate::refusal::Refusal;

/// A sum shorter than this share of what was added up is what rounding left.
const SHORTEST: f64 = 1e-6;

/// The vector of a question to `index`, once it was [`check`]ed.
pub fn embed(request: &SearchRequest, encoder: &SharedEncoder, index: &Index) -> Result<Embedding, Refusal> {
    let text = request.text.as_ref().map(|text| Term { weight: 1.0, what: What::Text(text.clone()) });
    let terms: Vec<&Term> = text.iter().chain(&request.terms).collect();
    let words = terms.iter().filter_map(|&term| match &term.what {
        What::Text(text) => Some(Words { text, templates: request.templates }),
        _ => None,
    });
    let mut of_words = encoder.words(&words.collect::<Vec<_>>())?.into_iter();
    let vector = |term: &Term| {
        let vector = match &term.what {
            What::Text(_) => of_words.next().expect("there is one for each text"),
            What::Picture(base64) => encoder.picture(base64)?,
            What::Path(path) => vector_of(index, path)?,
        };
        Ok((term.weight, vector))
    };
    sum(terms.into_iter().map(vector).collect::<Result<_, Refusal>>()?)
}

/// Refuses what no index could answer.
pub fn check(request: &SearchRequest) -> Result<(), Refusal> {
    const WHAT: &str = "say what the pictures should show, as \"a yellow car\"";
    let SearchRequest { text, terms, top_k, min_percentile, .. } = request;
    let is_empty = |text: &str| text.trim().is_empty();
    let count = terms.len() + usize::from(text.is_some());
    let weight = terms.iter().map(|term| term.weight).find(|weight| !weight.is_finite());
    Err(Refusal::bad(if count == 0 {
        format!("the question has no text and no terms: {WHAT}")
    } else if count > MAX_TERMS {
        format!("the question has {count} terms; at most {MAX_TERMS} are added up")
    } else if text.as_deref().is_some_and(is_empty)
        || terms.iter().any(|term| matches!(&term.what, What::Text(text) if is_empty(text)))
    {
        format!("the text is empty: {WHAT}")
    } else if let Some(weight) = weight {
        format!("the weight {weight} is not finite: give one as 2 or -0.5")
    } else if !(1..=MAX_TOP_K).contains(top_k) {
        format!("top_k is {top_k}; it must be from 1 to {MAX_TOP_K}")
    } else if let Some(least) = min_percentile.filter(|least| !(0.0..=100.0).contains(least)) {
        format!("min_percentile is {least}; it must be from 0 to 100")
    } else {
        return Ok(());
    }))
}

/// The vector of a picture of the index, as it stands there.
fn vector_of(index: &Index, path: &str) -> Result<Embedding, Refusal> {
    let found = index.vector_of(path).map_err(|e| Refusal::failed(&e))?;
    found.ok_or_else(|| {
        Refusal::bad(format!("{path:?} is no picture of this index: give the path of a match, or send the file"))
    })
}

/// The normalised sum. One term that is not taken away is its vector, bit by bit.
fn sum(mut terms: Vec<(f32, Embedding)>) -> Result<Embedding, Refusal> {
    if let [(weight, _)] = terms[..]
        && weight > 0.0
    {
        return Ok(terms.remove(0).1);
    }
    let mut sum = vec![0.0; terms[0].1.dim()];
    for (weight, vector) in &terms {
        sum.iter_mut().zip(vector.values()).for_each(|(s, &v)| *s += f64::from(*weight) * f64::from(v));
    }
    let added: f64 = terms.iter().map(|(weight, _)| f64::from(weight.abs())).sum();
    let length = sum.iter().map(|s| s * s).sum::<f64>().sqrt();
    let cancelled = || Refusal::bad("the terms cancel each other out: change a term or a weight");
    if length <= SHORTEST * added {
        return Err(cancelled());
    }
    Embedding::normalise(sum.iter().map(|s| (s / length) as f32).collect()).map_err(|_| cancelled())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(values: [f32; 3]) -> Embedding {
        Embedding::normalise(values.to_vec()).unwrap()
    }

    #[test]
    fn a_sum_is_of_unit_vectors_times_weights() {
        let (x, y) = (vector([5.0, 0.0, 0.0]), vector([0.0, 0.1, 0.0]));
        let found = sum(vec![(3.0, x.clone()), (-4.0, y.clone())]).unwrap();
        assert!(found.values().iter().zip([0.6, -0.8, 0.0]).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?}");
        assert_eq!(sum(vec![(0.3, x.clone())]).unwrap(), x);
        assert_eq!(sum(vec![(-2.0, x.clone())]).unwrap(), vector([-1.0, 0.0, 0.0]));
        let huge = sum(vec![(f32::MAX, x.clone()), (f32::MAX, y)]).unwrap();
        assert!((huge.cosine(&x) - 0.5f32.sqrt()).abs() < 1e-6);
    }

    #[test]
    fn a_sum_without_a_direction_is_refused() {
        let x = vector([1.0, 2.0, 3.0]);
        for weights in [[1.0, -1.0], [0.0, 0.0], [1e30, -1e30]] {
            let refusal = sum(weights.map(|weight| (weight, x.clone())).to_vec()).unwrap_err();
            assert!(refusal.error().contains("cancel"), "{}", refusal.error());
        }
    }
}
