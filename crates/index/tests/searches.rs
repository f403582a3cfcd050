//! An open index answers as a plain scan in memory would.

mod common;

use common::*;
use index::{Index, IndexError, Row};
use protocol::Embedding;

#[test]
fn search_gives_the_nearest_rows_in_order_for_any_dimension() {
    for dim in [1, 2, 3, 7, 8, 16, 31, 512, 513, 768] {
        let rows: Vec<Row> = (0..300).map(|i| row(&format!("{i:03}.jpg"), 1, dim)).collect();
        let place = built(&rows, dim);
        let index = Index::open(&place.prefix, &place.cache()).unwrap();
        for seed in 0..5 {
            let query = Random(seed).embedding(dim);
            let mut expected: Vec<(f32, String)> =
                rows.iter().map(|r| (query.cosine(&r.embedding), format!("{ROOT}/{}", r.path))).collect();
            expected.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
            for k in [0, 1, 10, 299, 300, 5000, usize::MAX] {
                let found = index.search(&query, k).unwrap();
                assert_eq!(found.len(), k.min(300));
                for (found, expected) in found.iter().zip(&expected) {
                    assert!((found.0 - expected.0).abs() < 1e-5, "D = {dim}, k = {k}");
                }
                if dim >= 8 {
                    assert_eq!(found.first().map(|f| &f.1), expected.first().filter(|_| k > 0).map(|e| &e.1));
                }
            }
        }
    }
}

#[test]
fn copies_of_one_picture_come_in_row_order_wherever_the_list_ends() {
    let mut rows: Vec<Row> = (0..200).map(|i| row(&format!("{i:03}.jpg"), 1, 16)).collect();
    let copy = rows[0].embedding.clone();
    for row in rows.iter_mut().skip(50).step_by(2) {
        row.embedding = copy.clone();
    }
    let copies: Vec<String> =
        rows.iter().filter(|r| r.embedding == copy).map(|r| format!("{ROOT}/{}", r.path)).collect();
    let place = built(&rows, 16);
    let index = Index::open(&place.prefix, &place.cache()).unwrap();
    for k in [1, 2, 17, 40, copies.len()] {
        let found: Vec<String> = index.search(&copy, k).unwrap().into_iter().map(|(_, path)| path).collect();
        assert_eq!(found, copies[..k]);
    }
}

#[test]
fn of_equal_scores_the_first_rows_stay_when_better_ones_come_later() {
    let with = |i: usize, values: Vec<f32>| Row {
        embedding: Embedding::normalise(values).unwrap(),
        ..row(&format!("{i:03}.jpg"), 1, 4)
    };
    let mut rows: Vec<Row> = (0..100).map(|i| with(i, vec![0.6, 0.8, 0.0, 0.0])).collect();
    rows.extend((100..190).map(|i| with(i, vec![1.0, i as f32 / 1000.0, 0.0, 0.0])));
    let place = built(&rows, 4);
    let index = Index::open(&place.prefix, &place.cache()).unwrap();
    let query = Embedding::normalise(vec![1.0, 0.0, 0.0, 0.0]).unwrap();
    for copies in [1, 5, 20, 80, 99, 100] {
        let found = index.search(&query, 90 + copies).unwrap();
        let tail: Vec<String> = found[90..].iter().map(|(_, path)| path.clone()).collect();
        assert_eq!(tail, (0..copies).map(|i| format!("{ROOT}/{i:03}.jpg")).collect::<Vec<_>>());
    }
}

#[test]
fn a_vector_of_another_model_is_refused() {
    let place = built(&[row("a.jpg", 1, 4)], 4);
    let index = Index::open(&place.prefix, &place.cache()).unwrap();
    let error = index.search(&Embedding::normalise(vec![1.0; 5]).unwrap(), 3).unwrap_err();
    assert!(matches!(error, IndexError::Dimension { found: 5, expected: 4, .. }), "{error}");
}

#[test]
fn an_open_index_survives_the_next_generation_and_the_removal_of_its_own() {
    let place = built(&[row("a.jpg", 1, 4)], 4);
    let old = Index::open(&place.prefix, &place.cache()).unwrap();
    assert!(old.is_current().unwrap());
    let part = place.part("p", &[row("b.jpg", 1, 4)], 4);
    place.merge_parts(None, vec![part]).unwrap();
    assert!(!old.is_current().unwrap());
    let new = Index::open(&place.prefix, &place.cache()).unwrap();
    std::fs::remove_dir_all(place.prefix.generation(1)).unwrap();
    let query = vector_of("a.jpg", 1, 4);
    assert_eq!(old.search(&query, 9).unwrap().len(), 1);
    assert_eq!(new.search(&query, 9).unwrap().len(), 2);
    let snapshots = || names(&place.cache()).iter().flat_map(|n| names(&place.cache().join(n))).count();
    assert_eq!(snapshots(), 2, "one that is in use stays");
    drop(old);
    assert_eq!(snapshots(), 1, "an older one goes with its last user");
}

#[test]
fn what_is_missing_of_a_snapshot_is_made_anew() {
    let rows = [row("a.jpg", 1, 4), row("bc.jpg", 1, 4)];
    let place = built(&rows, 4);
    drop(Index::open(&place.prefix, &place.cache()).unwrap());
    let of_index = place.cache().join(&names(&place.cache())[0]);
    let snapshot = of_index.join(&names(&of_index)[0]);
    assert_eq!(names(&snapshot), ["seg.checked", "seg.facts", "seg.faiss", "seg.paths"]);
    for file in ["seg.facts", "seg.paths"] {
        for cut in [true, false] {
            match cut {
                true => std::fs::write(snapshot.join(file), [0; 40]).unwrap(),
                false => std::fs::remove_file(snapshot.join(file)).unwrap(),
            }
            let index = Index::open(&place.prefix, &place.cache()).unwrap();
            assert_eq!(index.facts(1).unwrap(), rows[1].file);
            assert_eq!(index.search(&rows[1].embedding, 1).unwrap()[0].1, "/photos/bc.jpg");
        }
    }
}

#[test]
fn many_threads_search_one_index() {
    let rows: Vec<Row> = (0..500).map(|i| row(&format!("{i}.jpg"), 1, 32)).collect();
    let place = built(&rows, 32);
    let index = Index::open(&place.prefix, &place.cache()).unwrap();
    std::thread::scope(|scope| {
        for chunk in rows.chunks(100) {
            let index = &index;
            scope.spawn(move || {
                for row in chunk {
                    assert_eq!(index.search(&row.embedding, 1).unwrap()[0].1, format!("{ROOT}/{}", row.path));
                }
            });
        }
    });
}

#[test]
fn no_index_is_told_as_such() {
    let place = Place::new();
    let error = Index::open(&place.prefix, &place.cache()).unwrap_err();
    assert!(matches!(error, IndexError::NoIndex { .. }) && error.to_string().contains("index.meta.json"), "{error}");
}

#[cfg(target_os = "linux")]
#[test]
fn vectors_are_mapped_from_the_private_snapshot() {
    let rows: Vec<Row> = (0..100).map(|i| row(&format!("{i}.jpg"), 1, 32)).collect();
    let place = built(&rows, 32);
    let index = Index::open(&place.prefix, &place.cache()).unwrap();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let cache = place.cache();
    assert!(maps.lines().any(|l| l.contains(cache.to_str().unwrap()) && l.ends_with("seg.faiss")), "{maps}");
    assert_eq!(index.search(&rows[3].embedding, 1).unwrap()[0].1, "/photos/3.jpg");
}
