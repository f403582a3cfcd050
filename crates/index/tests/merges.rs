//! Merges against a model that does the same in memory.

mod common;

use std::collections::BTreeMap;

use common::*;
use index::{IndexError, Row, Sources, gather, read_meta, standing};
use protocol::{Entry, Failure, Proof, RunRecord, ScanSummary, WorkerMeta};

const DIM: usize = 8;

/// What the index should hold: path -> state.
type Model = BTreeMap<String, i64>;

fn check(place: &Place, model: &Model, what: &str) {
    let opened = index::Index::open(&place.prefix, &place.cache()).unwrap();
    assert_eq!(opened.meta().num_images, model.len() as u64, "{what}");
    let expected: Vec<String> = model.keys().map(|p| format!("{ROOT}/{p}")).collect();
    let mut found = place.paths();
    found.sort();
    let mut sorted = expected.clone();
    sorted.sort();
    assert_eq!(found, sorted, "{what}: no row twice, none missing");
    for (path, state) in model {
        // Its own vector in its own state finds it first: no vector stands beside another picture's path.
        let best = opened.search(&vector_of(path, *state, DIM), 1).unwrap();
        assert_eq!(best[0].1, format!("{ROOT}/{path}"), "{what}");
        assert!(best[0].0 > 0.99999, "{what}: {path} has the vector of another state: {}", best[0].0);
    }
}

fn standing_entries(place: &Place) -> Vec<(Entry, bool)> {
    let mut all = standing(&place.prefix, ROOT, "f1").unwrap();
    let rows: Vec<_> = all.by_ref().map(|row| row.unwrap()).map(|row| (row.entry(), row.in_index)).collect();
    assert!(rows.is_sorted_by(|a, b| a.0.path <= b.0.path));
    assert_eq!(all.skipped(), [""; 0]);
    rows
}

/// Runs of a changing collection: pictures come, change and go, parts of interrupted runs stay, chunks are done twice.
/// `no_row_is_ever_counted_twice` and `no_vector_stands_beside_another_pictures_path` are what `check` proves.
fn random_history(seed: u64) {
    let place = Place::new();
    let mut random = Random(seed);
    let mut pictures: Model = BTreeMap::new();
    for run in 0..6 {
        // The collection changes.
        for _ in 0..random.below(30) {
            let path = format!("d{}/{}.jpg", random.below(3), random.below(40));
            match random.below(4) {
                0 => drop(pictures.remove(&path)),
                _ => *pictures.entry(path).or_insert(0) += 1,
            }
        }
        // The scan.
        let run_id = format!("run{run}");
        let standing = standing_entries(&place);
        let describes =
            |e: &Entry| pictures.get(e.path.as_str()).is_some_and(|s| entry(&row(e.path.as_str(), *s, DIM)) == *e);
        let mut gone: Vec<Entry> = standing.iter().map(|s| s.0.clone()).filter(|e| !describes(e)).collect();
        gone.dedup();
        let mut new: Vec<Row> = Vec::new();
        for (path, state) in &pictures {
            let wanted = row(path, *state, DIM);
            if !standing.iter().any(|(e, _)| *e == entry(&wanted)) {
                new.push(wanted);
            }
        }
        let summary = ScanSummary {
            scanned: pictures.len() as u64,
            new: new.len() as u64,
            standing: (pictures.len() - new.len()) as u64,
            ..ScanSummary::default()
        };
        place.run(&run_id, true, summary, gone);
        // The work, in chunks. An interrupted run leaves only some of its parts and merges nothing.
        let interrupted = random.below(3) == 0 && run < 5;
        let mut parts = Vec::new();
        for (i, chunk) in new.chunks(1 + random.below(9) as usize).enumerate() {
            if !interrupted || random.below(2) == 0 {
                parts.push(place.part(&format!("{run_id}c{i}"), chunk, DIM));
            }
        }
        if interrupted {
            continue;
        }
        // A chunk that two hosts did is named twice only once, but its rows may be in another part, too.
        if random.below(2) == 0 && !new.is_empty() {
            place.part(&format!("{run_id}twice"), &new[..1], DIM);
        }
        if parts.is_empty() && read_meta(&place.prefix).unwrap().is_none() && standing.is_empty() {
            continue;
        }
        let report = place.merge_parts(Some(&run_id), parts.clone()).unwrap();
        let what = format!("seed {seed} run {run}");
        assert!(report.proof.unwrap().holds(), "{what}: {:?}", report.proof);
        assert_eq!(report.warnings, [""; 0], "{what}");
        check(&place, &pictures, &what);
        assert_eq!(names(&place.prefix.parts()), [""; 0], "{what}");
        // The same merge again changes nothing.
        let again = place.merge_parts(Some(&run_id), parts).unwrap();
        assert!(!again.written, "{what}");
        assert_eq!(again.meta, report.meta);
    }
}

#[test]
fn no_row_is_ever_counted_twice_and_no_vector_stands_beside_another_pictures_path() {
    (0..40).for_each(random_history);
}

#[test]
fn parts_and_partials_give_the_same_index() {
    let rows: Vec<_> = (0..60).map(|i| row(&format!("{}/{i}.jpg", i % 3), 1, DIM)).collect();
    let by_parts = Place::new();
    let parts = rows.chunks(7).enumerate().map(|(i, c)| by_parts.part(&format!("p{i}"), c, DIM)).collect();
    let a = by_parts.merge_parts(None, parts).unwrap();
    let by_hand = Place::new();
    let names: Vec<String> =
        rows.chunks(7).enumerate().map(|(i, c)| by_hand.part(&format!("p{i}"), c, DIM).name).collect();
    for (id, names) in names.chunks(4).enumerate() {
        gather(&by_hand.prefix.worker(id as u32), names, worker_meta(id as u32, "r", DIM)).unwrap();
    }
    let b = by_hand.merge_partials(Some(3)).unwrap();
    assert_eq!(a.meta.segments, b.meta.segments, "the same bytes");
    assert_eq!((b.meta.num_workers, b.meta.worker_metadata.len(), b.meta.processing_time_seconds), (3, 3, 4.5));
    assert!(b.meta.worker_metadata.iter().all(|w: &WorkerMeta| w.failures.is_empty()));
    assert_eq!((a.added, b.added), (60, 60));
}

#[test]
fn a_changed_picture_is_replaced_and_a_gone_one_dropped_only_if_it_is_that_row() {
    let place = Place::new();
    let old = [row("a.jpg", 1, DIM), row("b.jpg", 1, DIM), row("c.jpg", 1, DIM)];
    let first = place.part("p1", &old, DIM);
    place.merge_parts(None, vec![first]).unwrap();
    // b changed, c is gone; the list also tells of a state of a that the index does not hold.
    let gone = vec![entry(&row("a.jpg", 7, DIM)), entry(&old[1]), entry(&old[2])];
    place.run("r", false, ScanSummary { scanned: 2, new: 1, standing: 1, ..Default::default() }, gone);
    let second = place.part("p2", &[row("b.jpg", 2, DIM)], DIM);
    let report = place.merge_parts(Some("r"), vec![second]).unwrap();
    assert_eq!((report.added, report.replaced, report.dropped), (0, 1, 1));
    check(&place, &BTreeMap::from([("a.jpg".into(), 1), ("b.jpg".into(), 2)]), "");
}

#[test]
fn the_runs_own_rows_come_before_those_of_other_parts_and_these_before_the_index() {
    let place = Place::new();
    let state = |states: [i64; 3]| -> Vec<Row> { [0, 1, 2].map(|i| row(&format!("{i}.jpg"), states[i], DIM)).into() };
    let first = place.part("p1", &state([5, 5, 5]), DIM);
    place.merge_parts(None, vec![first]).unwrap();
    // Two left parts, of which the one that saw the picture last counts; names and order do not.
    place.part("a", &state([3, 3, 3])[..2], DIM);
    place.part("b", &state([2, 2, 2])[..2], DIM);
    let named = place.part("z", &state([1, 1, 1])[..1], DIM);
    let report = place.merge_parts(None, vec![named]).unwrap();
    assert_eq!((report.added, report.replaced, report.dropped), (0, 2, 0));
    let model = [("0.jpg", 1), ("1.jpg", 3), ("2.jpg", 5)].map(|(path, state)| (path.to_owned(), state));
    check(&place, &model.into(), "");
}

#[test]
fn an_index_of_another_root_or_model_is_refused_and_fresh_replaces_it() {
    let place = Place::new();
    let first = place.part("p1", &[row("a.jpg", 1, DIM)], DIM);
    let before = place.merge_parts(None, vec![first]).unwrap().meta;
    let mut moved = part_meta("p2", DIM);
    moved.root = "/elsewhere".into();
    let part = part_ref(&index::publish_part(&place.prefix, moved, &[row("b.jpg", 1, DIM)]).unwrap());
    let error = place.merge_parts(None, vec![part.clone()]).unwrap_err();
    assert!(matches!(error, IndexError::OtherRoot { .. }), "{error}");
    assert!(error.to_string().contains("/photos") && error.to_string().contains("/elsewhere"));
    let mut other = part_meta("p3", 5);
    other.model.fingerprint = "f2".into();
    let other = part_ref(&index::publish_part(&place.prefix, other, &[row("c.jpg", 1, 5)]).unwrap());
    let error = place.merge_parts(None, vec![other]).unwrap_err();
    assert!(matches!(error, IndexError::OtherModel { .. }) && error.to_string().contains("--fresh"), "{error}");
    assert_eq!(read_meta(&place.prefix).unwrap(), Some(before));
    assert!(matches!(standing(&place.prefix, "/elsewhere", "f1"), Err(IndexError::OtherRoot { .. })));

    let report = place.merge(None, Sources::Parts(vec![part]), true).unwrap();
    assert_eq!((report.meta.generation, report.meta.num_images, report.meta.root.as_str()), (2, 1, "/elsewhere"));
    assert_eq!(place.paths(), ["/elsewhere/b.jpg"]);
}

#[test]
fn rows_of_two_precisions_stand_together_and_are_named() {
    let place = Place::new();
    let first = place.part("p1", &[row("a.jpg", 1, DIM)], DIM);
    place.merge_parts(None, vec![first]).unwrap();
    let mut meta = part_meta("p2", DIM);
    meta.model.precision = "bf16".into();
    meta.model.deviation = Some(0.02);
    let part = part_ref(&index::publish_part(&place.prefix, meta, &[row("b.jpg", 1, DIM)]).unwrap());
    let report = place.merge_parts(None, vec![part]).unwrap();
    assert_eq!((report.meta.model.precision.as_str(), report.meta.model.deviation), ("bf16+fp32", Some(0.02)));
}

#[test]
fn the_proof_is_completed_and_the_ledger_names_each_failure() {
    let place = Place::new();
    let mut meta = part_meta("p", DIM);
    meta.failures = vec![failure("bad.jpg")];
    let part = part_ref(&index::publish_part(&place.prefix, meta, &[row("a.jpg", 1, DIM)]).unwrap());
    let summary = ScanSummary { scanned: 3, new: 2, standing: 0, failed: 1, ..Default::default() };
    place.run("r", true, summary, vec![]);
    let scan_failures = place.prefix.run("r").scan_failures();
    std::fs::write(&scan_failures, protocol::encode_line(&failure("name\u{fffd}.jpg"))).unwrap();
    let report = place.merge_parts(Some("r"), vec![part.clone()]).unwrap();
    let proof = Proof { scanned: 3, embedded: 1, failed: 2, skipped: 0 };
    assert_eq!((report.proof, report.failed, &report.warnings[..]), (Some(proof), 2, &[][..] as &[String]));
    let record: RunRecord = serde_json::from_slice(&std::fs::read(place.prefix.run("r").record()).unwrap()).unwrap();
    assert_eq!(record.proof, Some(proof));
    let ledger = std::fs::read_to_string(place.prefix.failures()).unwrap();
    let lines: Vec<Failure> = ledger.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(
        lines.iter().map(|f| f.path.as_str()).collect::<Vec<_>>(),
        ["/photos/bad.jpg", "/photos/name\u{fffd}.jpg"]
    );
    assert!(ledger.contains("\"attempts\":1,\"first_time\":\""));

    // A part that nobody told of is missing from the numbers.
    place.run("r2", true, ScanSummary { scanned: 9, new: 1, ..Default::default() }, vec![]);
    let report = place.merge_parts(Some("r2"), vec![]).unwrap();
    assert!(!report.proof.unwrap().holds());
}

#[test]
fn a_full_scan_that_leaves_too_many_rows_is_told() {
    let place = Place::new();
    let part = place.part("p", &[row("a.jpg", 1, DIM), row("b.jpg", 1, DIM)], DIM);
    place.merge_parts(None, vec![part]).unwrap();
    place.run("r", true, ScanSummary { scanned: 1, standing: 1, ..Default::default() }, vec![]);
    let report = place.merge_parts(Some("r"), vec![]).unwrap();
    assert!(report.warnings.iter().any(|w| w.contains("the index has 2 rows")), "{:?}", report.warnings);
}

#[test]
fn a_named_part_must_be_there_and_be_that_part() {
    let place = Place::new();
    let mut part = place.part("p", &[row("a.jpg", 1, DIM)], DIM);
    part.checksum = "0".repeat(32);
    let error = place.merge_parts(None, vec![part.clone()]).unwrap_err();
    assert!(error.to_string().contains("p.parquet") && error.to_string().contains("its worker told"), "{error}");
    part.name = "q".into();
    let error = place.merge_parts(None, vec![part]).unwrap_err();
    assert!(error.to_string().contains("q.parquet: it did not appear within 0 s"), "{error}");
    assert_eq!(read_meta(&place.prefix).unwrap(), None);
}

#[test]
fn a_named_part_that_comes_late_is_waited_for() {
    let place = Place::new();
    let part = place.part("p", &[row("a.jpg", 1, DIM)], DIM);
    let (shown, hidden) = (place.prefix.part("p"), place.dir.path().join("hidden"));
    std::fs::rename(&shown, &hidden).unwrap();
    let rename = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(300));
        std::fs::rename(hidden, shown).unwrap();
    });
    let request = index::MergeRequest {
        prefix: &place.prefix,
        run: None,
        sources: Sources::Parts(vec![part]),
        fresh: false,
        wait_s: 60.0,
        progress: &mut |_| Ok(()),
    };
    assert_eq!(index::merge(request).unwrap().added, 1);
    rename.join().unwrap();
}

#[test]
fn an_empty_collection_and_one_where_all_fail_end_well() {
    let place = Place::new();
    place.run("r", true, ScanSummary::default(), vec![]);
    assert!(matches!(place.merge_parts(Some("r"), vec![]), Err(IndexError::NothingToMerge { .. })));
    let mut meta = part_meta("p", DIM);
    meta.failures = vec![failure("bad.jpg")];
    let part = part_ref(&index::publish_part(&place.prefix, meta, &[]).unwrap());
    place.run("r2", true, ScanSummary { scanned: 1, new: 1, ..Default::default() }, vec![]);
    let report = place.merge_parts(Some("r2"), vec![part]).unwrap();
    assert_eq!((report.meta.num_images, report.failed, report.proof.unwrap().holds()), (0, 1, true));
    assert_eq!(place.paths(), [""; 0]);
    // The last picture of an index goes.
    let part = place.part("p2", &[row("a.jpg", 1, DIM)], DIM);
    place.merge_parts(None, vec![part]).unwrap();
    place.run("r3", true, ScanSummary::default(), vec![entry(&row("a.jpg", 1, DIM))]);
    let report = place.merge_parts(Some("r3"), vec![]).unwrap();
    assert_eq!((report.meta.num_images, report.dropped), (0, 1));
}

#[test]
fn the_previous_generation_stays_and_older_ones_go_after_a_day() {
    let place = Place::new();
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(25 * 3600);
    for generation in 1..=4 {
        let part = place.part("p", &[row(&format!("{generation}.jpg"), 1, DIM)], DIM);
        place.merge_parts(None, vec![part]).unwrap();
        let parquet = place.prefix.generation(generation).join("seg-0.parquet");
        std::fs::File::options().append(true).open(parquet).unwrap().set_modified(old).unwrap();
    }
    // All were made long ago, but generation 3 was replaced just now.
    let now = place.prefix.generation(4).join("seg-0.parquet");
    std::fs::File::options().append(true).open(now).unwrap().set_modified(std::time::SystemTime::now()).unwrap();
    place.part("p", &[row("5.jpg", 1, DIM)], DIM);
    place.merge_parts(None, vec![]).unwrap();
    let generations: Vec<String> = names(place.prefix.dir()).into_iter().filter(|n| n.starts_with("gen-")).collect();
    assert_eq!(generations, ["gen-3", "gen-4", "gen-5"]);
    assert_eq!(place.paths().len(), 5);
}

#[test]
fn runs_go_after_a_month_but_for_the_newest() {
    let place = Place::new();
    for (run, days) in [("r1", 31), ("r2", 29), ("r3", 40)] {
        place.run(run, true, ScanSummary::default(), vec![]);
        let made = std::time::SystemTime::now() - std::time::Duration::from_secs(days * 24 * 3600);
        std::fs::File::open(place.prefix.runs().join(run)).unwrap().set_modified(made).unwrap();
    }
    let part = place.part("p", &[row("a.jpg", 1, DIM)], DIM);
    place.merge_parts(None, vec![part]).unwrap();
    assert_eq!(names(&place.prefix.runs()), ["r2", "r3"]);
}

#[test]
fn leftovers_of_a_killed_merge_are_removed() {
    let place = Place::new();
    let part = place.part("p", &[row("a.jpg", 1, DIM)], DIM);
    place.merge_parts(None, vec![part]).unwrap();
    for name in ["gen-2", "gen-2.tmp-123", "gen-7.tmp-9"] {
        std::fs::create_dir(place.prefix.dir().join(name)).unwrap();
        std::fs::write(place.prefix.dir().join(name).join("seg-0.parquet"), "half").unwrap();
    }
    // Beside the folder there may be files of others, and of other indexes.
    let beside = place.prefix.dir().parent().unwrap();
    let before = names(beside);
    let index = place.prefix.name();
    let others = [".other.parquet.tmp-1".to_owned(), format!(".{index}.parquet"), format!("{index}.parquet.tmp-1")];
    let ours = ["meta.json", "parquet", "faiss"].map(|file| format!(".{index}.{file}.tmp-1-2-3"));
    for name in others.iter().chain(&ours) {
        std::fs::write(beside.join(name), "half").unwrap();
    }
    let part = place.part("p", &[row("b.jpg", 1, DIM)], DIM);
    assert_eq!(place.merge_parts(None, vec![part]).unwrap().meta.generation, 2);
    let mut expected = [before, others.to_vec()].concat();
    expected.sort();
    assert_eq!(names(beside), expected);
    let left: Vec<String> = names(place.prefix.dir()).into_iter().filter(|n| n.starts_with("gen-")).collect();
    assert_eq!(left, ["gen-1", "gen-2"]);
    assert_eq!(place.paths().len(), 2);
}

#[test]
fn an_index_whose_metadata_was_lost_is_not_taken_for_none() {
    let place = Place::new();
    let part = place.part("p", &[row("a.jpg", 1, DIM)], DIM);
    place.merge_parts(None, vec![part]).unwrap();
    std::fs::remove_file(place.prefix.meta()).unwrap();
    let part = place.part("p", &[row("b.jpg", 1, DIM)], DIM);
    let error = place.merge_parts(None, vec![part.clone()]).unwrap_err();
    assert!(matches!(error, IndexError::MetaMissing { .. }), "{error}");
    assert!(place.prefix.generation(1).exists());
    place.merge(None, Sources::Parts(vec![part]), true).unwrap();
    assert_eq!(place.paths(), ["/photos/b.jpg"]);
}
