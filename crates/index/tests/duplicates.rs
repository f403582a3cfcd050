//! Groups of nearly the same pictures are those that comparing every picture with every other would find.

mod common;

use common::*;
use index::{Index, Row};
use protocol::search::{Duplicate, DuplicateGroup};
use protocol::{Embedding, FileFacts};

fn near(vector: &Embedding, distance: f32, seed: u64) -> Embedding {
    let away = Random(seed).embedding(vector.dim());
    let values = vector.values().iter().zip(away.values()).map(|(v, a)| v + distance * a);
    Embedding::normalise(values.collect()).unwrap()
}

/// `count` pictures in 40 clusters; of each 50th there are up to six more, some the same and some nearly so, spread over the
/// collection.
fn collection(count: u64, dim: usize) -> (Vec<Row>, usize, usize) {
    let mut rows: Vec<Row> = Vec::new();
    let (mut groups, mut pictures) = (0, 0);
    for i in 0..count {
        let centre = Random(10_000_000 + i % 40).embedding(dim);
        let vector = near(&centre, 0.9, i);
        if i % 50 == 0 {
            let more = 1 + i / 50 % 6;
            groups += 1;
            pictures += 1 + more as usize;
            rows.extend((0..more).map(|copy| Row {
                embedding: near(&vector, if copy % 2 == 0 { 0.0 } else { 0.16 }, 1_000_000 + 10 * i + copy),
                ..row(&format!("z/{:05}-{copy}.jpg", i * 7919 % count), 1, 1)
            }));
        }
        rows.push(Row { embedding: vector, ..row(&format!("{i:05}.jpg"), 1, 1) });
    }
    rows.sort_by(|a, b| a.path.cmp(&b.path));
    (rows, groups, pictures)
}

fn check(count: u64, dim: usize) {
    let (rows, groups, pictures) = collection(count, dim);
    let place = built(&rows, dim);
    let index = Index::open(&place.prefix, &place.cache()).unwrap();
    assert_eq!(index.meta().segments[0].first_pass.is_some(), rows.len() >= 20_000);
    let found = index.duplicates(usize::MAX, usize::MAX).unwrap();
    assert_eq!((found.num_groups as usize, found.num_pictures as usize), (groups, pictures));
    assert_eq!(found.groups.len(), groups);
    assert!(found.groups.is_sorted_by(|a, b| a.count >= b.count));
    for group in &found.groups {
        assert_eq!(group.count as usize, group.pictures.len());
        let first = index.vector_of(&group.pictures[0].path).unwrap().unwrap();
        for Duplicate { path, score, .. } in &group.pictures {
            let vector = index.vector_of(path).unwrap().unwrap();
            assert!(*score > 0.97 && (vector.cosine(&first) - score).abs() < 1e-5, "{path}: {score}");
        }
    }
    let few = index.duplicates(2, 3).unwrap();
    assert_eq!((few.num_groups, few.groups.len()), (found.num_groups, 2));
    assert_eq!((few.groups[0].count, few.groups[0].pictures.len()), (found.groups[0].count, 3));
    assert_eq!(few.groups[0].pictures[..], found.groups[0].pictures[..3]);
}

#[test]
fn every_group_is_found_with_and_without_a_first_pass() {
    check(3_000, 256);
    check(20_000, 128);
}

#[test]
fn many_copies_of_one_picture_are_one_group_and_different_pictures_are_none() {
    let mut rows: Vec<Row> = (0..500).map(|i| row(&format!("{i:03}.jpg"), 1, 32)).collect();
    let place = built(&rows, 32);
    let index = Index::open(&place.prefix, &place.cache()).unwrap();
    assert_eq!(index.duplicates(10, 10).unwrap(), index::Duplicates::default());
    let copy = rows[17].embedding.clone();
    rows.iter_mut().skip(100).step_by(2).for_each(|row| row.embedding = copy.clone());
    let place = built(&rows, 32);
    let index = Index::open(&place.prefix, &place.cache()).unwrap();
    let found = index.duplicates(10, 10).unwrap();
    assert_eq!((found.num_groups, found.num_pictures), (1, 201));
    assert_eq!(found.groups[0].pictures[0].path, "/photos/017.jpg");
}

#[test]
fn the_largest_picture_of_a_group_is_its_first_and_all_others_are_nearly_the_same_as_it() {
    let mut rows: Vec<Row> = (0..40).map(|i| row(&format!("{i:02}.jpg"), 1, 64)).collect();
    let centre = rows[5].embedding.clone();
    for (at, width, bytes, distance) in [(5, 800, 9, 0.1), (7, 1600, 5, 0.0), (9, 1600, 6, 0.1), (30, 0, 99, 0.1)] {
        rows[at].embedding = near(&centre, distance, at as u64);
        rows[at].file = FileFacts { width, size_bytes: bytes, ..rows[at].file };
    }
    let place = built(&rows, 64);
    let index = Index::open(&place.prefix, &place.cache()).unwrap();
    let found = index.duplicates(10, 10).unwrap();
    let names = |group: &DuplicateGroup| group.pictures.iter().map(|p| p.path.clone()).collect::<Vec<_>>();
    assert_eq!(names(&found.groups[0]), ["/photos/09.jpg", "/photos/07.jpg", "/photos/05.jpg", "/photos/30.jpg"]);
    let pictures = &found.groups[0].pictures;
    assert!(pictures[0].score > 0.9999 && pictures[1..].iter().all(|p| p.score < 0.9999), "{pictures:?}");
    assert_eq!((pictures[0].file.width, pictures[0].file.size_bytes), (1600, 6));
}

#[test]
fn a_collection_of_one_picture_has_no_duplicates() {
    for dim in [1, 3, 64] {
        let place = built(&[row("a.jpg", 1, dim)], dim);
        let index = Index::open(&place.prefix, &place.cache()).unwrap();
        assert_eq!(index.duplicates(10, 10).unwrap().num_groups, 0);
    }
}
