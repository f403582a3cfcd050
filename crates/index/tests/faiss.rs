//! faiss is the reference: it opens the files that we write as its own, and finds in them what we find.

mod common;

use std::collections::HashMap;

use common::*;
use faiss::Index as _;
use faiss::index::IndexImpl;
use index::{Index, Row};

fn opened(place: &Place) -> IndexImpl {
    faiss::read_index(place.prefix.faiss().to_str().unwrap()).unwrap()
}

/// Both answer with the same scores in the same places; a row may only stand in another's place if their scores are
/// the same to a millionth, which is what the order of additions changes.
fn same(rows: &[Row], place: &Place, dim: usize) {
    let mut theirs = opened(place);
    assert_eq!((theirs.ntotal(), theirs.d() as usize), (rows.len() as u64, dim));
    let ours = Index::open(&place.prefix, &place.cache()).unwrap();
    let names: HashMap<String, u64> = (0..).zip(rows).map(|(i, r)| (format!("{ROOT}/{}", r.path), i)).collect();
    let queries = (0..4).map(|seed| Random(seed).embedding(dim));
    for query in queries.chain(rows.iter().take(3).map(|r| r.embedding.clone())) {
        let all = theirs.search(query.values(), rows.len()).unwrap();
        let score_of: HashMap<u64, f32> =
            all.labels.iter().zip(&all.distances).map(|(id, score)| (id.get().unwrap(), *score)).collect();
        for k in [1, 10, rows.len()] {
            let found = ours.search(&query, k).unwrap();
            assert_eq!(found.len(), k.min(rows.len()));
            let close = |a: f32, b: f32| (a - b).abs() <= 1e-6;
            for ((score, path), (id, expected)) in found.iter().zip(all.labels.iter().zip(&all.distances)) {
                let row = names[path];
                assert!(close(*score, *expected), "D = {dim}: {score}, not {expected}");
                assert!(close(*score, score_of[&row]), "D = {dim}: {score} for row {row}, not {}", score_of[&row]);
                assert!(row == id.get().unwrap() || close(score_of[&row], *expected));
            }
        }
    }
}

#[test]
fn faiss_finds_the_same_rows_with_the_same_scores() {
    for dim in [1, 3, 64, 512, 768] {
        for count in [1, 2, 9, 300, 2500] {
            let rows: Vec<Row> = (0..count).map(|i| row(&format!("{i:04}.jpg"), 1, dim)).collect();
            same(&rows, &built(&rows, dim), dim);
        }
    }
}

#[test]
fn faiss_finds_the_same_scores_where_many_rows_are_equal() {
    for dim in [1, 3, 64, 512] {
        let mut rows: Vec<Row> = (0..400).map(|i| row(&format!("{i:04}.jpg"), 1, dim)).collect();
        let copy = rows[0].embedding.clone();
        rows.iter_mut().skip(7).step_by(2).for_each(|row| row.embedding = copy.clone());
        same(&rows, &built(&rows, dim), dim);
    }
}

#[test]
fn an_index_whose_pictures_are_all_gone_is_empty_for_both() {
    let place = built(&[row("a.jpg", 1, 64)], 64);
    place.run("r", true, Default::default(), vec![entry(&row("a.jpg", 1, 64))]);
    place.merge_parts(Some("r"), Vec::new()).unwrap();
    assert_eq!(opened(&place).ntotal(), 0);
    let ours = Index::open(&place.prefix, &place.cache()).unwrap();
    assert!(ours.search(&Random(1).embedding(64), 10).unwrap().is_empty());
}

#[test]
fn our_file_is_the_one_that_faiss_writes() {
    for (dim, count) in [(1, 1), (24, 100), (512, 3)] {
        let rows: Vec<Row> = (0..count).map(|i| row(&format!("{i:03}.jpg"), 1, dim)).collect();
        let place = built(&rows, dim);
        assert_eq!(opened(&place).metric_type(), faiss::MetricType::InnerProduct);
        let mut theirs = faiss::index::flat::FlatIndex::new_ip(dim as u32).unwrap();
        let flat: Vec<f32> = rows.iter().flat_map(|r| r.embedding.values().to_vec()).collect();
        theirs.add(&flat).unwrap();
        let file = place.dir.path().join("theirs.faiss");
        faiss::write_index(&theirs, file.to_str().unwrap()).unwrap();
        assert_eq!(std::fs::read(file).unwrap(), std::fs::read(place.prefix.faiss()).unwrap());
    }
}
