//! Groups of nearly the same pictures are those that comparing every picture with every other would find.

mod common;

use std::hash::{DefaultHasher, Hash, Hasher};

use common::*;
use index::{Duplicates, FileId, Index, Row};
use protocol::search::{Duplicate, DuplicateGroup, DuplicatesRequest};
use protocol::{Embedding, FileFacts};

/// The groups of an index all of whose pictures are files of their own.
fn found(index: &Index, max_groups: usize, max_pictures: usize) -> Duplicates {
    let file_of = |path: &str| {
        let mut number = DefaultHasher::new();
        path.hash(&mut number);
        Some((1, number.finish()))
    };
    found_with(index, max_groups, max_pictures, file_of)
}

fn found_with(
    index: &Index,
    max_groups: usize,
    max_pictures: usize,
    file_of: impl Fn(&str) -> Option<FileId> + Sync,
) -> Duplicates {
    index.duplicates(&DuplicatesRequest { max_groups, max_pictures, similarity: None }, file_of).unwrap()
}

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
    let found = found(&index, usize::MAX, usize::MAX);
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
    let few = self::found(&index, 2, 3);
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
    assert_eq!(
        found(&index, 10, 10),
        Duplicates { similarity: found(&index, 10, 10).similarity, ..Duplicates::default() }
    );
    let copy = rows[17].embedding.clone();
    rows.iter_mut().skip(100).step_by(2).for_each(|row| row.embedding = copy.clone());
    let place = built(&rows, 32);
    let index = Index::open(&place.prefix, &place.cache()).unwrap();
    let found = found(&index, 10, 10);
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
    let found = found(&index, 10, 10);
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
        assert_eq!(found(&index, 10, 10).num_groups, 0);
    }
}

#[test]
fn a_file_is_no_duplicate_of_itself_and_none_is_superfluous_that_another_name_leads_to() {
    let mut rows: Vec<Row> = (0..40).map(|i| row(&format!("{i:02}.jpg"), 1, 64)).collect();
    for (copies, of) in [(&[2, 3][..], 1), (&[11, 12], 10), (&[21], 20)] {
        copies.iter().for_each(|&copy| rows[copy].embedding = rows[of].embedding.clone());
    }
    let place = built(&rows, 64);
    let index = Index::open(&place.prefix, &place.cache()).unwrap();
    let number = |path: &str| path[path.len() - 6..path.len() - 4].parse::<u64>().unwrap();
    // 2 and 3 are one file, and so are all of 10, 11 and 12; 21 cannot be reached.
    let file_of = |path: &str| match number(path) {
        2 | 3 => Some((1, 2)),
        10..=12 => Some((1, 10)),
        21 => None,
        other => Some((1, other)),
    };
    let found = found_with(&index, 10, 10, file_of);
    assert_eq!((found.num_groups, found.num_pictures), (2, 4));
    let told: Vec<(Vec<u64>, Vec<usize>, bool)> = found
        .groups
        .iter()
        .map(|group| {
            let names = group.pictures.iter().map(|picture| number(&picture.path)).collect();
            (names, group.pictures.iter().map(|picture| picture.same_file.len()).collect(), group.compared)
        })
        .collect();
    assert_eq!(told, [(vec![1, 2], vec![0, 1], true), (vec![20, 21], vec![0, 0], false)]);
    assert_eq!(found.groups[0].pictures[1].same_file, ["/photos/03.jpg"]);
    let superfluous = |group: &DuplicateGroup| (0..9).filter(|&at| group.is_superfluous(at)).count();
    assert_eq!(found.groups.iter().map(superfluous).sum::<usize>(), 0);
    let all = self::found(&index, 10, 10);
    assert_eq!(all.groups.iter().map(superfluous).collect::<Vec<_>>(), [2, 2, 1]);
}

#[test]
fn a_raw_file_and_the_developed_picture_of_its_shot_are_told_and_both_stay() {
    let mut rows: Vec<Row> = (0..40).map(|i| row(&format!("{i:02}.jpg"), 1, 64)).collect();
    let shot = rows[5].embedding.clone();
    for name in ["a/IMG_1.CR2", "a/IMG_1.jpg", "b/IMG_1.jpg"] {
        rows.push(Row { embedding: shot.clone(), ..row(name, 1, 64) });
    }
    rows.sort_by(|a, b| a.path.cmp(&b.path));
    let place = built(&rows, 64);
    let index = Index::open(&place.prefix, &place.cache()).unwrap();
    let found = found(&index, 10, 10);
    let told: Vec<(&str, bool, bool)> = found.groups[0]
        .pictures
        .iter()
        .enumerate()
        .map(|(at, p)| (p.path.as_str(), p.in_both_forms, found.groups[0].is_superfluous(at)))
        .collect();
    assert_eq!(told.len(), 4);
    for (path, both, superfluous) in &told[1..] {
        assert_eq!((*both, *superfluous), (path.contains("/a/"), !path.contains("/a/")), "{told:?}");
    }
}

#[test]
fn the_similarity_that_is_asked_for_is_the_cosine_of_what_is_found() {
    let mut rows: Vec<Row> = (0..40).map(|i| row(&format!("{i:02}.jpg"), 1, 64)).collect();
    rows[6].embedding = near(&rows[5].embedding, 0.3, 1);
    let cosine = rows[6].embedding.cosine(&rows[5].embedding);
    let place = built(&rows, 64);
    let index = Index::open(&place.prefix, &place.cache()).unwrap();
    for (similarity, groups) in [(cosine - 0.01, 1), (cosine + 0.01, 0), (1.0, 0)] {
        let wanted = DuplicatesRequest { similarity: Some(similarity), ..DuplicatesRequest::default() };
        let found = index.duplicates(&wanted, |_| None).unwrap();
        assert_eq!((found.similarity, found.num_groups), (similarity, groups));
    }
}
