//! Questions with filters and thresholds are answered as brute force would; near duplicates are shown once.

mod common;

use std::collections::BTreeSet;
use std::fs::{self, File};

use common::*;
use index::{Index, IndexError, Row, Wanted};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use protocol::Embedding;

/// A vector at some distance from another.
fn near(vector: &Embedding, distance: f32, seed: u64) -> Embedding {
    let away = Random(seed).embedding(vector.dim());
    let values = vector.values().iter().zip(away.values()).map(|(v, a)| v + distance * a);
    Embedding::normalise(values.collect()).unwrap()
}

fn with(path: &str, embedding: Embedding) -> Row {
    Row { embedding, ..row(path, 1, 1) }
}

/// What must be found: (row, score), best first, and the percentile of each.
fn brute_force(
    rows: &[Row],
    query: &Embedding,
    k: usize,
    least: Option<f64>,
    keep: impl Fn(u64) -> bool,
) -> Vec<(u64, f32, f64)> {
    let scores: Vec<f32> = rows.iter().map(|row| row.embedding.cosine(query)).collect();
    let count = rows.len().min(4096);
    let sample: Vec<f32> = (0..count).map(|i| scores[i * rows.len() / count]).collect();
    let mut order: Vec<usize> = (0..rows.len()).filter(|i| keep(*i as u64)).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b)));
    order.truncate(k);
    let percentile = |i: usize| 100.0 * sample.iter().filter(|s| **s < scores[i]).count() as f64 / count as f64;
    let found = order.into_iter().map(|i| (i as u64, scores[i], percentile(i)));
    found.filter(|(.., percentile)| least.is_none_or(|least| *percentile >= least)).collect()
}

/// Scores of the index are sums in another order than a plain one, so that rows may change places, and a place in the
/// background, where they differ by that alone.
fn same(
    found: &[index::Found],
    expected: &[(u64, f32, f64)],
    rows: &[Row],
    query: &Embedding,
) -> Result<(), TestCaseError> {
    prop_assert!(found.len().abs_diff(expected.len()) <= 1, "{} and {}", found.len(), expected.len());
    for (found, (_, score, percentile)) in found.iter().zip(expected) {
        let row = &rows[found.row as usize];
        prop_assert_eq!(&found.path, &format!("{ROOT}/{}", row.path));
        prop_assert!((found.score - row.embedding.cosine(query)).abs() < 1e-5);
        prop_assert!((found.score - score).abs() < 1e-5, "{} and {}", found.score, score);
        prop_assert!((found.percentile - percentile).abs() <= 100.0 * 2.0 / rows.len().min(4096) as f64 + 1e-9);
    }
    Ok(())
}

#[test]
fn filters_and_percentiles_are_those_of_brute_force_in_a_thousand_cases() {
    let rows: Vec<Row> = (0..700).map(|i| row(&format!("{i:03}.jpg"), 1, 24)).collect();
    let place = built(&rows, 24);
    let index = Index::open(&place.prefix, &place.cache()).unwrap();
    let mut runner = TestRunner::new(Config { cases: 1000, failure_persistence: None, ..Config::default() });
    let least = prop::option::of(0.0..=100.0f64);
    let case = (any::<u64>(), 1..200usize, least, 1..60u64, 0..700u64, any::<bool>());
    runner
        .run(&case, |(seed, k, least, step, from, exact)| {
            let query = Random(seed).embedding(24);
            let keep = |row: u64| row.is_multiple_of(step) || row >= from;
            let wanted = Wanted { k, exact, min_percentile: least, keep: Some(&keep), ..Wanted::default() };
            let found = index.find(&query, &wanted).unwrap();
            let expected = brute_force(&rows, &query, k, least, keep);
            same(&found, &expected, &rows, &query)?;
            prop_assert!(found.iter().all(|f| keep(f.row) && least.is_none_or(|least| f.percentile >= least)));
            Ok(())
        })
        .unwrap();
}

#[test]
fn with_a_first_pass_each_match_has_the_score_and_percentile_of_brute_force_and_none_is_missing() {
    let rows: Vec<Row> = (0..20_000).map(|i| row(&format!("{i:05}.jpg"), 1, 24)).collect();
    let place = built(&rows, 24);
    let index = Index::open(&place.prefix, &place.cache()).unwrap();
    assert!(index.meta().segments[0].first_pass.is_some());
    for (seed, step, least) in
        [(1, 1, None), (2, 50, None), (3, 3, Some(99.5)), (4, 700, Some(40.0)), (5, 1, Some(100.0))]
    {
        let (query, keep) = (Random(seed).embedding(24), |row: u64| row.is_multiple_of(step));
        let wanted = Wanted { k: 20, min_percentile: least, keep: Some(&keep), ..Wanted::default() };
        let found = index.find(&query, &wanted).unwrap();
        let every = brute_force(&rows, &query, usize::MAX, None, keep);
        let expected = brute_force(&rows, &query, 20, least, keep);
        assert!(found.len().abs_diff(expected.len()) <= 1, "seed {seed}");
        assert!(found.is_sorted_by(|a, b| a.score >= b.score));
        for found in found {
            let (_, score, percentile) = every.iter().find(|(row, ..)| *row == found.row).unwrap();
            assert!((found.score - score).abs() < 1e-5 && (found.percentile - percentile).abs() < 0.05, "{found:?}");
        }
    }
}

#[test]
fn near_duplicates_are_counted_with_the_best_and_as_many_different_matches_come_back() {
    let dim = 64;
    let mut rows: Vec<Row> = (0..200).map(|i| row(&format!("{i:03}.jpg"), 1, dim)).collect();
    let (query, first, second) =
        (Random(1).embedding(dim), Random(1).embedding(dim), near(&Random(1).embedding(dim), 0.9, 5));
    rows.extend(
        (0..70).map(|i| with(&format!("first-{i:02}.jpg"), near(&first, if i < 3 { 0.0 } else { 0.08 }, 1000 + i))),
    );
    rows.extend((0..4).map(|i| with(&format!("second-{i}.jpg"), near(&second, 0.08, 2000 + i))));
    let place = built(&rows, dim);
    let index = Index::open(&place.prefix, &place.cache()).unwrap();
    let plain = index.find(&query, &Wanted { k: 20, ..Wanted::default() }).unwrap();
    assert!(plain.iter().all(|found| found.path.contains("first-") && found.alike == 0));
    for k in [1, 2, 20, 150, 10_000] {
        let found = index.find(&query, &Wanted { k, collapse: true, ..Wanted::default() }).unwrap();
        assert_eq!(found.len(), k.min(202), "of 200 that differ and two groups");
        assert_eq!(found[0].path, "/photos/first-00.jpg");
        if k > 1 {
            assert!(found[1].path.contains("second-"), "{found:?}");
        }
        if k >= 20 {
            let alike: Vec<usize> = found.iter().map(|found| found.alike).filter(|alike| *alike > 0).collect();
            assert_eq!(alike, [69, 3]);
        }
        let places: BTreeSet<u64> = found.iter().map(|found| found.row).collect();
        assert_eq!(places.len(), found.len());
    }
    let only = |row: u64| row >= 200;
    let kept = index.find(&query, &Wanted { k: 10, collapse: true, keep: Some(&only), ..Wanted::default() }).unwrap();
    assert_eq!(kept.iter().map(|found| found.alike).collect::<Vec<_>>(), [69, 3]);
}

#[test]
fn in_a_collection_of_alike_pictures_those_are_different_that_differ_as_its_pictures_do() {
    let scene = Random(3).embedding(64);
    let rows: Vec<Row> = (0..50).map(|i| with(&format!("{i:02}.jpg"), near(&scene, 0.05, i))).collect();
    let place = built(&rows, 64);
    let index = Index::open(&place.prefix, &place.cache()).unwrap();
    let found = index.find(&scene, &Wanted { k: 50, collapse: true, ..Wanted::default() }).unwrap();
    assert_eq!(found.len(), 50);
    let one = built(&[with("a.jpg", scene.clone()), with("b.jpg", scene.clone())], 64);
    let index = Index::open(&one.prefix, &one.cache()).unwrap();
    assert_eq!(index.find(&scene, &Wanted { k: 9, collapse: true, ..Wanted::default() }).unwrap()[0].alike, 1);
}

#[test]
fn nothing_wanted_finds_nothing_and_another_dimension_is_refused() {
    let place = built(&[row("a.jpg", 1, 4)], 4);
    let index = Index::open(&place.prefix, &place.cache()).unwrap();
    assert!(index.find(&Random(1).embedding(4), &Wanted::default()).unwrap().is_empty());
    let none = |_| false;
    let wanted = Wanted { k: 3, collapse: true, keep: Some(&none), ..Wanted::default() };
    assert!(index.find(&Random(1).embedding(4), &wanted).unwrap().is_empty());
    let error = index.find(&Random(1).embedding(5), &Wanted { k: 3, ..Wanted::default() }).unwrap_err();
    assert!(matches!(error, IndexError::Dimension { found: 5, expected: 4, .. }), "{error}");
}

#[test]
fn a_pictures_vector_is_found_by_its_canonical_path_and_by_no_other() {
    let paths = ["a.jpg", "a/b.jpg", "a/b/c.jpg", "a b.jpg", "a-b/x.jpg", "b.jpg", "ä/ö.jpg"];
    let rows: Vec<Row> = paths.iter().map(|path| row(path, 1, 8)).collect();
    let mut sorted = rows.clone();
    sorted.sort_by(|a, b| a.path.cmp(&b.path));
    let place = built(&sorted, 8);
    let index = Index::open(&place.prefix, &place.cache()).unwrap();
    for row in &rows {
        let vector = index.vector_of(&format!("{ROOT}/{}", row.path)).unwrap().unwrap();
        assert!((vector.cosine(&row.embedding) - 1.0).abs() < 1e-6, "{}", row.path);
    }
    for path in ["", "/", ROOT, "/photos/", "/photos/a", "a.jpg", "/photosa.jpg", "/photos/../a.jpg", "/photos/z.jpg"] {
        assert_eq!(index.vector_of(path).unwrap(), None, "{path:?}");
    }
}

#[test]
fn vectors_that_changed_behind_an_unchanged_time_are_noticed_while_they_answer_and_then_at_the_opening() {
    let rows: Vec<Row> = (0..50).map(|i| row(&format!("{i:02}.jpg"), 1, 32)).collect();
    let place = built(&rows, 32);
    let open = || Index::open(&place.prefix, &place.cache());
    let first = open().unwrap();
    first.check().unwrap();
    let of_index = place.cache().join(&names(&place.cache())[0]);
    let private = of_index.join(&names(&of_index)[0]).join("seg.faiss");
    let time = fs::metadata(&private).unwrap().modified().unwrap();
    let mut bytes = fs::read(&private).unwrap();
    bytes[500] ^= 1;
    fs::write(&private, &bytes).unwrap();
    File::options().write(true).open(&private).unwrap().set_modified(time).unwrap();

    let index = open().unwrap();
    let query = rows[3].embedding.clone();
    index.search(&query, 3).unwrap();
    let error = index.check().unwrap_err();
    assert!(matches!(&error, IndexError::Damaged { path, .. } if *path == private), "{error}");
    assert!(index.search(&query, 3).is_err() && index.find(&query, &Wanted { k: 3, ..Wanted::default() }).is_err());
    assert!(!index.is_current().unwrap(), "the next question opens it anew");
    // The private file is a link to the segment's own, which is damaged too.
    let error = open().unwrap_err();
    assert!(error.to_string().contains("gen-1/seg-0.faiss"), "{error}");
    bytes[500] ^= 1;
    fs::remove_file(place.prefix.generation(1).join("seg-0.faiss")).unwrap();
    fs::write(place.prefix.generation(1).join("seg-0.faiss"), &bytes).unwrap();
    assert_eq!(open().unwrap().search(&query, 1).unwrap()[0].1, "/photos/03.jpg");
}

#[test]
fn another_file_in_the_place_of_the_private_one_is_compared_at_the_opening() {
    let place = built(&(0..50).map(|i| row(&format!("{i:02}.jpg"), 1, 32)).collect::<Vec<_>>(), 32);
    drop(Index::open(&place.prefix, &place.cache()).unwrap());
    let of_index = place.cache().join(&names(&place.cache())[0]);
    let private = of_index.join(&names(&of_index)[0]).join("seg.faiss");
    let mut bytes = fs::read(&private).unwrap();
    bytes[500] ^= 1;
    fs::remove_file(&private).unwrap();
    fs::write(&private, &bytes).unwrap();
    let index = Index::open(&place.prefix, &place.cache()).unwrap();
    index.check().unwrap();
    assert_ne!(fs::read(&private).unwrap(), bytes, "it is made again from the segment's file");
}
