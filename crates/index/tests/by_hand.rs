//! Merges by hand: partial indexes that a person's workers left.

mod common;

use common::*;
use index::{Row, Sources, gather};
use protocol::{ScanSummary, layout::WorkerPrefix};

const DIM: usize = 6;

fn partial(place: &Place, id: u32, run: &str, paths: &[&str]) -> WorkerPrefix {
    let rows: Vec<Row> = paths.iter().map(|p| row(p, 1, DIM)).collect();
    let part = place.part(&format!("{run}w{id}"), &rows, DIM);
    let worker = place.prefix.worker(id);
    gather(&worker, &[part.name], worker_meta(id, run, DIM)).unwrap();
    std::fs::remove_dir_all(place.prefix.parts()).unwrap();
    worker
}

#[test]
fn a_missing_worker_is_named_with_the_command_that_runs_it_again() {
    let place = Place::new();
    partial(&place, 0, "r", &["a.jpg"]);
    partial(&place, 2, "r", &["c.jpg"]);
    let error = place.merge_partials(Some(3)).unwrap_err().to_string();
    for part in ["worker_1.parquet", "worker_1.faiss", "worker_1.meta.json", "--worker-id 1", "worker_1_images.txt"] {
        assert!(error.contains(part), "{part} is not in: {error}");
    }
    assert!(!error.contains("worker_0.") && !error.contains("worker_2."), "{error}");
    assert!(!place.prefix.meta().exists());
    partial(&place, 1, "r", &["b.jpg"]);
    assert_eq!(place.merge_partials(Some(3)).unwrap().added, 3);
}

#[test]
fn each_kind_of_misfit_refuses_by_name_and_writes_nothing() {
    let place = Place::new();
    let worker = partial(&place, 0, "r", &["a.jpg", "b.jpg"]);
    let other = partial(&place, 1, "r", &["c.jpg"]);
    let meta = std::fs::read_to_string(worker.meta()).unwrap();
    let refused = |what: &str| {
        let before = fingerprint_of(place.dir.path());
        let error = place.merge_partials(None).unwrap_err().to_string();
        assert!(error.contains("worker_0") || error.contains("worker_1"), "{what}: {error}");
        assert_eq!(fingerprint_of(place.dir.path()), before, "{what}");
        error
    };
    for (from, to) in [
        ("\"num_images\": 2", "\"num_images\": 3"),
        ("\"fingerprint\": \"f1\"", "\"fingerprint\": \"f2\""),
        ("\"embedding_dim\": 6", "\"embedding_dim\": 7"),
        ("\"root\": \"/photos\"", "\"root\": \"/other\""),
        ("\"run_id\": \"r\"", "\"run_id\": \"s\""),
        ("\"format_version\": 2", "\"format_version\": 3"),
        ("\"format_version\": 2", "\"format_version\": 1"),
        ("\"checksum\": \"", "\"checksum\": \"0"),
    ] {
        assert!(meta.contains(from), "{from}");
        std::fs::write(worker.meta(), meta.replacen(from, to, 1)).unwrap();
        refused(to);
    }
    std::fs::write(worker.meta(), &meta).unwrap();
    for (file, with) in [(worker.parquet(), other.parquet()), (worker.faiss(), other.faiss())] {
        let bytes = std::fs::read(&file).unwrap();
        std::fs::copy(with, &file).unwrap();
        refused("another worker's file");
        std::fs::remove_file(&file).unwrap();
        refused("a file is missing");
        std::fs::write(&file, bytes).unwrap();
    }
    std::fs::remove_file(worker.meta()).unwrap();
    assert!(refused("not finished").contains("worker_0.meta.json"));
    std::fs::write(worker.meta(), &meta).unwrap();
    assert_eq!(place.merge_partials(None).unwrap().added, 3);
}

#[test]
fn the_newest_run_is_merged_and_a_stray_partial_is_named_and_left() {
    let place = Place::new();
    let summary = ScanSummary { scanned: 2, new: 1, standing: 1, ..Default::default() };
    place.run("r1", true, summary, vec![]);
    place.run("r2", true, summary, vec![]);
    partial(&place, 0, "r2", &["a.jpg"]);
    let stray = partial(&place, 1, "r1", &["b.jpg"]);
    let report = place.merge_partials(None).unwrap();
    assert_eq!((report.meta.run_id.as_str(), report.added, report.meta.num_workers), ("r2", 1, 1));
    assert!(report.warnings[0].contains("worker_1.meta.json is of run r1, not r2: left"), "{:?}", report.warnings);
    assert!(report.proof.unwrap().holds() && stray.parquet().exists());
    let error = place.merge_partials(Some(2)).unwrap_err().to_string();
    assert!(error.contains("worker_1.meta.json is of run r1, not r2") && error.contains("--worker-id 1"), "{error}");
    // A run may be named.
    let sources = Sources::Partials { num_workers: None };
    let report = place.merge(Some("r1"), sources, false).unwrap();
    assert_eq!((report.meta.run_id.as_str(), report.added, report.meta.num_images), ("r1", 1, 2));
}

#[test]
fn partials_of_several_runs_without_a_record_are_not_guessed_at() {
    let place = Place::new();
    partial(&place, 0, "r1", &["a.jpg"]);
    partial(&place, 1, "r2", &["b.jpg"]);
    let error = place.merge_partials(None).unwrap_err().to_string();
    assert!(error.contains("worker_0 is of run r1") && error.contains("worker_1 is of run r2"), "{error}");
}

#[test]
fn no_partial_at_all_is_told_as_such() {
    let place = Place::new();
    let error = place.merge_partials(None).unwrap_err().to_string();
    assert!(error.contains("there is no partial index") && error.contains("worker_0.meta.json"), "{error}");
}

#[test]
fn fresh_by_hand_uses_partials_only() {
    let place = Place::new();
    partial(&place, 0, "r", &["a.jpg"]);
    place.merge_partials(None).unwrap();
    partial(&place, 0, "r", &["b.jpg"]);
    let left = place.part("left", &[row("c.jpg", 1, DIM)], DIM);
    let fresh = place.merge(None, Sources::Partials { num_workers: Some(1) }, true).unwrap();
    assert_eq!((fresh.meta.generation, fresh.meta.num_images), (2, 1));
    assert!(place.prefix.part(&left.name).exists());
    assert_eq!(place.paths(), ["/photos/b.jpg"]);
    // Not fresh, the part that an interrupted run left comes in, too.
    assert_eq!(place.merge_partials(None).unwrap().added, 1);
    assert!(!place.prefix.part(&left.name).exists());
}
