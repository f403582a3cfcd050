//! A part is published once, whole, or it does not exist.

mod common;

use common::*;
use index::{IndexError, find_part, gather, publish_part, read_part};

#[test]
fn a_part_reads_back_as_it_was_written() {
    let place = Place::new();
    for (name, count, dim) in [("p1", 100, 512), ("p2", 1, 3), ("p3", 0, 7), ("p4", 9000, 5)] {
        let mut rows: Vec<_> = (0..count).map(|i| row(&format!("d{}/é \n\"{i}.jpg", i % 7), i, dim)).collect();
        let mut meta = part_meta(name, dim);
        meta.failures = vec![failure("x.jpg")];
        let written = publish_part(&place.prefix, meta.clone(), &rows).unwrap();
        assert_eq!(written.rows, count as u64);
        let part = read_part(&place.prefix.part(name), ROOT).unwrap();
        assert_eq!(part.meta, written);
        rows.sort_by(|a, b| a.path.cmp(&b.path));
        assert_eq!(part.rows.len(), rows.len());
        for (a, b) in part.rows.iter().zip(&rows) {
            assert_eq!((&a.path, a.file, &a.content_hash), (&b.path, b.file, &b.content_hash));
            assert!(a.embedding.cosine(&b.embedding) > 0.999_999);
        }
        assert_eq!(find_part(&place.prefix, name, "f1"), Some(written));
        assert_eq!(find_part(&place.prefix, name, "f2"), None);
    }
    assert_eq!(find_part(&place.prefix, "none", "f1"), None);
    assert_eq!(names(&place.prefix.parts()).len(), 4, "no temporary files");
    let other = read_part(&place.prefix.part("p1"), "/elsewhere").unwrap_err();
    assert!(matches!(other, IndexError::OtherRoot { .. }) && other.to_string().contains("/elsewhere"));
}

#[test]
fn who_publishes_second_finds_the_first_and_a_damaged_part_is_replaced() {
    let place = Place::new();
    let rows = [row("a.jpg", 1, 4), row("b.jpg", 1, 4)];
    let first = publish_part(&place.prefix, part_meta("p", 4), &rows).unwrap();
    let bytes = std::fs::read(place.prefix.part("p")).unwrap();
    let second = publish_part(&place.prefix, part_meta("p", 4), &rows[..1]).unwrap();
    assert_eq!(second, first);
    assert_eq!(std::fs::read(place.prefix.part("p")).unwrap(), bytes);
    for damage in [&bytes[..bytes.len() / 2], b"", b"PAR1PAR1"] {
        std::fs::write(place.prefix.part("p"), damage).unwrap();
        assert_eq!(find_part(&place.prefix, "p", "f1"), None);
        assert_eq!(publish_part(&place.prefix, part_meta("p", 4), &rows).unwrap(), first);
        assert_eq!(std::fs::read(place.prefix.part("p")).unwrap(), bytes);
    }
    assert_eq!(names(&place.prefix.parts()), ["p.parquet"]);
}

#[test]
fn many_publishers_at_once_leave_one_sound_part() {
    let place = Place::new();
    let rows: Vec<_> = (0..50).map(|i| row(&format!("{i}.jpg"), 1, 16)).collect();
    let metas: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..8).map(|_| scope.spawn(|| publish_part(&place.prefix, part_meta("p", 16), &rows).unwrap())).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert!(metas.iter().all(|m| *m == metas[0]));
    assert_eq!(names(&place.prefix.parts()), ["p.parquet"]);
    assert_eq!(read_part(&place.prefix.part("p"), ROOT).unwrap().rows.len(), 50);
}

#[test]
fn a_part_name_cannot_lead_elsewhere() {
    let place = Place::new();
    for name in ["../p", "", "a/b", ".hidden", "a\0b"] {
        assert!(publish_part(&place.prefix, part_meta(name, 4), &[]).is_err(), "{name:?}");
    }
    assert!(!place.prefix.dir().exists());
}

#[test]
fn a_wrong_dimension_is_an_error_that_names_the_picture() {
    let place = Place::new();
    let error = publish_part(&place.prefix, part_meta("p", 4), &[row("a.jpg", 1, 5)]).unwrap_err();
    assert!(error.to_string().contains("a.jpg has 5 values, the index has 4"), "{error}");
    assert_eq!(names(&place.prefix.parts()), [""; 0]);
}

#[test]
fn gathered_rows_stand_once_and_failures_are_counted() {
    let place = Place::new();
    place.part("p1", &[row("b.jpg", 1, 4), row("a.jpg", 1, 4)], 4);
    let mut meta = part_meta("p2", 4);
    meta.failures = vec![failure("x.jpg"), failure("y.jpg")];
    publish_part(&place.prefix, meta, &[row("a.jpg", 1, 4), row("c.jpg", 1, 4)]).unwrap();
    let worker = place.prefix.worker(0);
    let names_of_parts = ["p2", "p1", "p1"].map(String::from);
    let meta = gather(&worker, &names_of_parts, worker_meta(0, "r", 4)).unwrap();
    assert_eq!((meta.num_images, meta.num_failed, meta.failures.len()), (3, 2, 2));
    assert_eq!(
        names(place.prefix.dir()),
        [".imagefleet.json", "parts", "worker_0.faiss", "worker_0.meta.json", "worker_0.parquet"]
    );
    let again = gather(&worker, &names_of_parts, worker_meta(0, "r", 4)).unwrap();
    assert_eq!(again, meta);

    std::fs::write(place.prefix.part("p1"), "damage").unwrap();
    gather(&worker, &names_of_parts, worker_meta(0, "r", 4)).unwrap_err();
    assert!(worker.meta().exists(), "an error found before anything is written changes nothing");
}
