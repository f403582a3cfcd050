//! A first pass looks at few rows closely and finds what an exact search finds; without one, nothing is lost but time.

mod common;

use std::fs;

use common::*;
use damage::{COPIES, Numbers, contained};
use index::{Index, Row, Wanted, read_meta};
use protocol::stats::FirstPass;
use protocol::{Embedding, IndexMeta};

/// As many rows as a segment with a first pass has at least.
const ROWS: usize = 20_000;

/// `count` rows around `clusters` centres, all in one cone, as a model's vectors are.
fn clustered(count: usize, clusters: usize, dim: usize) -> Vec<Row> {
    let cone = Random(1).embedding(dim);
    let centres: Vec<Embedding> = (0..clusters).map(|i| Random(100 + i as u64).embedding(dim)).collect();
    let vector = |i: usize| {
        let (own, centre) = (Random(1_000_000 + i as u64).embedding(dim), &centres[i % clusters]);
        let values = cone.values().iter().zip(centre.values()).zip(own.values());
        Embedding::normalise(values.map(|((cone, centre), own)| 0.7 * cone + 0.5 * centre + 0.5 * own).collect())
    };
    let path = |i: usize| format!("{i:05}.jpg");
    (0..count).map(|i| Row { embedding: vector(i).unwrap(), ..row(&path(i), 1, 1) }).collect()
}

fn paths(index: &Index, query: &Embedding, wanted: &Wanted<'_>) -> Vec<(u32, String)> {
    index.find(query, wanted).unwrap().into_iter().map(|found| (found.score.to_bits(), found.path)).collect()
}

fn exactly(index: &Index, query: &Embedding, k: usize) -> Vec<(u32, String)> {
    index.search(query, k).unwrap().into_iter().map(|(score, path)| (score.to_bits(), path)).collect()
}

#[test]
fn a_large_segment_has_a_first_pass_and_other_questions_confirm_its_recall() {
    let dim = 256;
    let rows = clustered(ROWS, 50, dim);
    let place = built(&rows, dim);
    let index = Index::open(&place.prefix, &place.cache()).unwrap();
    let pass = index.meta().segments[0].first_pass.clone().unwrap();
    assert!(pass.recall_at_10 >= 0.99 && pass.questions >= 100, "{pass:?}");
    let candidates = pass.candidates.unwrap();
    assert!((10..=ROWS as u64 / 8).contains(&candidates), "{pass:?}");
    assert_eq!(index.warning(), None);
    assert_eq!(index.first_pass(), Some(FirstPass { rows: ROWS as u64, recall_at_10: pass.recall_at_10 }));
    assert_eq!(read_meta(&place.prefix).unwrap().as_ref(), Some(index.meta()));
    for k in [1, 10, 30] {
        let (mut found, mut all) = (0, 0);
        let far = (0..100).map(|i| Random(50_000 + i).embedding(dim));
        for query in far.chain(rows.iter().step_by(200).map(|row| row.embedding.clone())) {
            let exact = exactly(&index, &query, k);
            let ours = paths(&index, &query, &Wanted { k, ..Wanted::default() });
            assert_eq!((ours.len(), exact.len()), (k, k));
            found += exact.iter().filter(|hit| ours.contains(hit)).count();
            all += k;
            assert_eq!(paths(&index, &query, &Wanted { k, exact: true, ..Wanted::default() }), exact);
        }
        assert!(found as f64 >= 0.99 * all as f64, "k = {k}: {found} of {all}");
    }
}

#[test]
fn a_segment_of_few_rows_has_no_first_pass() {
    let place = built(&clustered(300, 3, 16), 16);
    let index = Index::open(&place.prefix, &place.cache()).unwrap();
    assert_eq!((&index.meta().segments[0].first_pass, index.first_pass(), index.warning()), (&None, None, None));
    assert_eq!(names(&place.prefix.generation(1)), ["seg-0.faiss", "seg-0.parquet"]);
}

#[test]
fn where_estimates_tell_nothing_the_metadata_says_so_and_the_search_is_exact() {
    // Nearly the same vectors in few dimensions: their order hangs on what one bit does not hold.
    let near = |i: usize| {
        let own = Random(i as u64).embedding(4);
        Embedding::normalise(own.values().iter().map(|v| 1.0 + 1e-4 * v).collect()).unwrap()
    };
    let rows: Vec<Row> = (0..ROWS).map(|i| Row { embedding: near(i), ..row(&format!("{i:05}.jpg"), 1, 1) }).collect();
    let place = built(&rows, 4);
    let index = Index::open(&place.prefix, &place.cache()).unwrap();
    let pass = index.meta().segments[0].first_pass.clone().unwrap();
    assert!(pass.candidates.is_none() && pass.recall_at_10 < 0.99 && index.first_pass().is_none(), "{pass:?}");
    for seed in 0..20 {
        let query = Random(seed).embedding(4);
        assert_eq!(paths(&index, &query, &Wanted { k: 10, ..Wanted::default() }), exactly(&index, &query, 10));
    }
}

#[test]
fn a_filter_gives_as_many_matches_as_there_are_and_all_of_a_few_rows_are_compared() {
    let dim = 64;
    let place = built(&clustered(ROWS, 20, dim), dim);
    let index = Index::open(&place.prefix, &place.cache()).unwrap();
    let all = exactly(&index, &Random(7).embedding(dim), ROWS);
    let number = |path: &str| path[ROOT.len() + 1..].trim_end_matches(".jpg").parse::<u64>().unwrap();
    for (step, k) in [(1, 10), (2, 100), (97, 10), (997, 500), (30_000, 3)] {
        let keep = |row: u64| row.is_multiple_of(step);
        let wanted = Wanted { k, keep: Some(&keep), ..Wanted::default() };
        let ours = paths(&index, &Random(7).embedding(dim), &wanted);
        let kept: Vec<_> = all.iter().filter(|(_, path)| keep(number(path))).take(k).cloned().collect();
        assert_eq!(ours.len(), kept.len());
        if step > 2 {
            assert_eq!(ours, kept, "of every {step}th row");
        }
        let exact = paths(&index, &Random(7).embedding(dim), &Wanted { exact: true, ..wanted });
        assert_eq!(exact, kept);
    }
}

/// A question, and the scores (their bits) and paths of its matches.
type Answered = (Embedding, Vec<(u32, String)>);

/// An index with a first pass, in few dimensions, and the answers that it gives.
fn small() -> (Place, Vec<Answered>) {
    let place = built(&clustered(ROWS, 20, 16), 16);
    let index = Index::open(&place.prefix, &place.cache()).unwrap();
    let queries = (0..3).map(|seed| Random(seed).embedding(16));
    let answers = queries.map(|query| (query.clone(), exactly(&index, &query, 10))).collect();
    (place, answers)
}

#[test]
fn damaged_bits_warn_and_every_vector_is_compared() {
    contained(damaged_bits_warn_and_every_vector_is_compared, || {
        let (place, answers) = small();
        let file = place.prefix.generation(1).join("seg-0.bits");
        let whole = fs::read(&file).unwrap();
        let of_index = place.cache().join(&names(&place.cache())[0]);
        let private = of_index.join(&names(&of_index)[0]).join("seg.bits");
        let mut numbers = Numbers::new(11);
        for round in 0..COPIES {
            let copy = damage::bytes(&whole, &mut numbers);
            let same = copy == whole;
            // Mapped files are replaced, never written.
            fs::remove_file(&private).unwrap();
            if round % 10 != 0 {
                fs::write(&private, &copy).unwrap();
            }
            if round % 2 == 0 {
                fs::remove_file(&file).ok();
                fs::write(&file, &copy).unwrap();
            }
            let index = Index::open(&place.prefix, &place.cache()).unwrap();
            let told = index.warning().is_some_and(|text| text.contains("seg-0.bits"));
            assert_eq!(told, round % 2 == 0 && !same, "{:?}", index.warning());
            assert!(!told || index.first_pass().is_none());
            for (query, expected) in answers.iter().filter(|_| told) {
                assert_eq!(&paths(&index, query, &Wanted { k: 10, ..Wanted::default() }), expected);
            }
            fs::remove_file(&file).unwrap();
            fs::write(&file, &whole).unwrap();
        }
    });
}

#[test]
fn no_bits_that_fit_their_checksum_make_a_search_panic_or_give_a_wrong_score() {
    contained(no_bits_that_fit_their_checksum_make_a_search_panic_or_give_a_wrong_score, || {
        let (place, answers) = small();
        let mut meta: IndexMeta = read_meta(&place.prefix).unwrap().unwrap();
        let file = place.prefix.generation(1).join("seg-0.bits");
        let whole = fs::read(&file).unwrap();
        let index = Index::open(&place.prefix, &place.cache()).unwrap();
        let mut numbers = Numbers::new(12);
        for round in 0..COPIES {
            // The header and the mean, or anything.
            let copy = match round % 2 {
                0 => [damage::bytes(&whole[..192], &mut numbers), whole[192..].to_vec()].concat(),
                _ => damage::bytes(&whole, &mut numbers),
            };
            let pass = meta.segments[0].first_pass.as_mut().unwrap();
            (pass.bits_bytes, pass.bits_checksum) = (copy.len() as u64, protocol::hash_hex(&copy));
            fs::remove_file(&file).unwrap();
            fs::write(&file, copy).unwrap();
            fs::write(place.prefix.meta(), serde_json::to_vec(&meta).unwrap()).unwrap();
            let damaged = Index::open(&place.prefix, &place.cache()).unwrap();
            let (query, _) = &answers[round % answers.len()];
            let found = damaged.find(query, &Wanted { k: 10, ..Wanted::default() }).unwrap();
            assert_eq!(found.len(), 10);
            for found in found {
                let vector = index.vector_of(&found.path).unwrap().unwrap();
                assert!((vector.cosine(query) - found.score).abs() < 1e-5, "{found:?}");
            }
        }
    });
}
