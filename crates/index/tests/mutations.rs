//! A thousand damaged copies of each file of an index that holds text, and of what a search maps: each is read as what it
//! may still be, or is an error that names it. Damage in sealed files is in damage.rs.

mod common;

use std::fs;
use std::path::Path;

use common::*;
use damage::{COPIES, Numbers, contained};
use index::{Index, IndexError, MergeReport, gather, read_meta, standing};
use protocol::{IndexMeta, ScanSummary, encode_line};

const DIM: usize = 16;

/// An index of a run of 5 pictures, whose partial index is still there.
fn place() -> Place {
    let place = Place::new();
    let rows: Vec<_> = (0..5).map(|i| row(&format!("d/{i}.jpg"), 1, DIM)).collect();
    place.part("p", &rows, DIM);
    gather(&place.prefix.worker(0), &["p".into()], worker_meta(0, "r", DIM)).unwrap();
    let summary = ScanSummary { scanned: 5, new: 5, ..Default::default() };
    place.run("r", true, summary, (0..20).map(|i| entry(&row(&format!("a/{i}.jpg"), 1, DIM))).collect());
    fs::write(place.prefix.run("r").scan_failures(), encode_line(&failure("bad.jpg")).repeat(3)).unwrap();
    assert_eq!(place.merge_partials(None).unwrap().added, 5);
    place
}

/// Merges a thousand times, each time with another damaged copy of `file`; the number of errors, which all name it.
fn merges(
    place: &Place,
    file: &Path,
    copy: impl Fn(&str, &mut Numbers) -> Vec<u8>,
    merge: impl Fn(&Place) -> Result<MergeReport, IndexError>,
) -> usize {
    let whole = fs::read_to_string(file).unwrap();
    let mut numbers = Numbers::new(whole.len() as u64);
    let mut refused = 0;
    for _ in 0..COPIES {
        fs::write(file, copy(&whole, &mut numbers)).unwrap();
        if let Err(error) = merge(place) {
            refused += 1;
            let named = error.to_string();
            let name = file.file_name().unwrap().to_str().unwrap();
            // Of two files that do not fit together, the other one may be named.
            let others = ["index.meta.json", "worker_0.", "seg-0.faiss", "seg-0.parquet"];
            assert!(named.contains(name) || others.iter().any(|other| named.contains(other)), "{name}: {named}");
        }
    }
    fs::write(file, whole).unwrap();
    assert_eq!(place.paths().len(), 5, "the index is as it was");
    refused
}

fn json(whole: &str, numbers: &mut Numbers) -> Vec<u8> {
    damage::json(whole.as_bytes(), numbers)
}

#[test]
fn damaged_run_records_are_named() {
    contained(damaged_run_records_are_named, || {
        let place = place();
        let refused = merges(&place, &place.prefix.run("r").record(), json, |p| p.merge_parts(Some("r"), vec![]));
        assert!(refused > COPIES / 4, "{refused}");
    });
}

#[test]
fn damaged_lists_of_gone_rows_and_of_failures_are_named() {
    contained(damaged_lists_of_gone_rows_and_of_failures_are_named, || {
        let place = place();
        let run = place.prefix.run("r");
        for file in [run.gone(), run.scan_failures()] {
            let refused = merges(&place, &file, damage::json_lines, |p| p.merge_parts(Some("r"), vec![]));
            assert!(refused > COPIES / 2, "{refused}");
        }
    });
}

#[test]
fn damaged_ledgers_only_warn() {
    contained(damaged_ledgers_only_warn, || {
        let place = place();
        let ledger = place.prefix.failures();
        let line = fs::read_to_string(&ledger).unwrap();
        let lines = [line.replace("bad.jpg", "a"), line.replace("bad.jpg", "b"), line].concat();
        fs::write(&ledger, lines).unwrap();
        assert_eq!(merges(&place, &ledger, damage::json_lines, |p| p.merge_parts(None, vec![])), 0);
    });
}

#[test]
fn damaged_worker_metadata_are_named() {
    contained(damaged_worker_metadata_are_named, || {
        let place = place();
        let refused = merges(&place, &place.prefix.worker(0).meta(), json, |p| p.merge_partials(None));
        assert!(refused > COPIES / 4, "{refused}");
    });
}

#[test]
fn damaged_metadata_of_the_index_are_named_and_no_segment_is_lost() {
    contained(damaged_metadata_of_the_index_are_named_and_no_segment_is_lost, || {
        let place = place();
        // A second generation, so that damage may point back.
        let part = place.part("q", &[row("d/1.jpg", 2, DIM)], DIM);
        place.merge_parts(None, vec![part]).unwrap();
        let generation = place.prefix.generation(2);
        let kept = fingerprint_of(&generation);
        let (meta, cache) = (place.prefix.meta(), place.cache());
        let refused = merges(&place, &meta, json, |place| {
            let merged = place.merge_parts(None, vec![]);
            assert_eq!(fingerprint_of(&generation), kept, "{}", fs::read_to_string(&meta).unwrap());
            if let Some(meta) = read_meta(&place.prefix)? {
                standing(&place.prefix, ROOT, "f1").map(|rows| rows.for_each(drop)).ok();
                let index = Index::open(&place.prefix, &cache)?;
                index.search(&vector_of("d/1.jpg", 2, meta.model.embedding_dim), 3)?;
            }
            merged
        });
        assert!(refused > COPIES / 4, "{refused}");
    });
}

/// Bytes of a segment's faiss file that the index's metadata vouch for, and a snapshot's paths, which nothing does.
#[test]
fn what_a_search_maps_is_checked_before() {
    contained(what_a_search_maps_is_checked_before, || {
        let place = place();
        let mut meta: IndexMeta = read_meta(&place.prefix).unwrap().unwrap();
        let faiss = place.prefix.generation(1).join("seg-0.faiss");
        let whole = fs::read(&faiss).unwrap();
        let query = vector_of("d/1.jpg", 1, DIM);
        let mut numbers = Numbers::new(9);
        let mut refused = 0;
        for round in 0..COPIES {
            let copy = damage::bytes(&whole, &mut numbers);
            (meta.segments[0].faiss_bytes, meta.segments[0].faiss_checksum) =
                (copy.len() as u64, protocol::hash_hex(&copy));
            fs::remove_file(&faiss).unwrap();
            fs::write(&faiss, copy).unwrap();
            fs::write(place.prefix.meta(), serde_json::to_vec(&meta).unwrap()).unwrap();
            let cache = place.dir.path().join(format!("cache-{round}"));
            match Index::open(&place.prefix, &cache) {
                Ok(index) => assert_eq!(index.search(&query, 9).unwrap().len(), 5),
                Err(error) => {
                    refused += 1;
                    assert!(error.to_string().contains("seg-0.faiss"), "{error}");
                }
            }
            fs::remove_dir_all(cache).unwrap();
        }
        assert!(refused > COPIES / 4, "{refused}");
    });
}

#[test]
fn damaged_snapshots_are_made_again_or_refused() {
    contained(damaged_snapshots_are_made_again_or_refused, || {
        let place = place();
        let query = vector_of("d/1.jpg", 1, DIM);
        Index::open(&place.prefix, &place.cache()).unwrap();
        let of_index = place.cache().join(&names(&place.cache())[0]);
        let paths = of_index.join(&names(&of_index)[0]).join("seg.paths");
        let whole = fs::read(&paths).unwrap();
        let mut numbers = Numbers::new(10);
        for _ in 0..COPIES {
            fs::write(&paths, damage::bytes(&whole, &mut numbers)).unwrap();
            let index = Index::open(&place.prefix, &place.cache()).unwrap();
            if let Err(error) = index.search(&query, 9) {
                assert!(error.to_string().contains("seg.paths"), "{error}");
            }
        }
    });
}
