//! No bytes in any file make a reader panic, and damage never passes for data.

mod common;

use std::path::Path;

use common::*;
use index::{Index, IndexError, Row, Sources, find_part, gather, model_name, read_meta, read_part, standing};

const DIM: usize = 16;

/// Flips, cuts, zeroes or inserts: the damage matrix of a disk, a share and a careless copy.
fn mutate(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let mut out = bytes.to_vec();
    let at = random.below(out.len() as u64) as usize;
    match random.below(6) {
        0 => out.truncate(at),
        1 => out[at] ^= 1 << random.below(8),
        2 => out[at] = random.next() as u8,
        3 => {
            let end = (at + 1 + random.below(64) as usize).min(out.len());
            out[at..end].fill(if random.below(2) == 0 { 0 } else { 0xff });
        }
        4 => out.insert(at, random.next() as u8),
        // The footer's last bytes, where lengths stand.
        _ => {
            let at = out.len() - 1 - random.below(200.min(out.len() as u64)) as usize;
            out[at] = random.next() as u8;
        }
    }
    out
}

fn rows(count: i64) -> Vec<Row> {
    (0..count).map(|i| row(&format!("d{}/{i}.jpg", i % 3), 1, DIM)).collect()
}

#[test]
fn a_damaged_part_does_not_exist() {
    let place = Place::new();
    place.part("p", &rows(40), DIM);
    let file = place.prefix.part("p");
    let (bytes, whole) = (std::fs::read(&file).unwrap(), read_part(&file, ROOT).unwrap());
    let mut random = Random(1);
    let mut refused = 0;
    for _ in 0..1500 {
        let damaged = mutate(&bytes, &mut random);
        std::fs::write(&file, &damaged).unwrap();
        let same = damaged == bytes;
        match read_part(&file, ROOT) {
            Ok(part) => assert!(same && part == whole, "damage passed for data"),
            Err(e) => {
                refused += 1;
                assert!(!same && e.to_string().contains("p.parquet"), "{e}");
            }
        }
        assert_eq!(find_part(&place.prefix, "p", "f1").is_some(), same);
        let mut all = standing(&place.prefix, ROOT, "f1").unwrap();
        let count = all.by_ref().map(Result::unwrap).count();
        assert_eq!((count, all.skipped().len()), if same { (40, 0) } else { (0, 1) });
    }
    assert!(refused > 1400);
}

#[test]
fn a_damaged_generation_is_refused_and_never_built_upon() {
    let place = Place::new();
    let part = place.part("p", &rows(40), DIM);
    place.merge_parts(None, vec![part]).unwrap();
    let next = place.part("q", &[row("new.jpg", 1, DIM)], DIM);
    let mut random = Random(2);
    let generation = place.prefix.generation(1);
    for name in ["seg-0.parquet", "seg-0.faiss"] {
        let file = generation.join(name);
        let bytes = std::fs::read(&file).unwrap();
        // Replaced, not overwritten: P.parquet and P.faiss are links to the same bytes.
        for round in 0..600 {
            let damaged = mutate(&bytes, &mut random);
            if damaged == bytes {
                continue;
            }
            std::fs::remove_file(&file).unwrap();
            std::fs::write(&file, &damaged).unwrap();
            if name == "seg-0.parquet" {
                let error = place.merge_parts(None, vec![next.clone()]).unwrap_err();
                assert!(matches!(error, IndexError::Damaged { .. }), "{error}");
                standing(&place.prefix, ROOT, "f1").unwrap().for_each(drop);
            }
            // A new cache each time, so that nothing whole is found there.
            let cache = place.dir.path().join(format!("cache-{name}-{round}"));
            match Index::open(&place.prefix, &cache) {
                // Vectors are not read from the parquet file; its paths are checked by themselves.
                Ok(index) => {
                    assert_eq!(name, "seg-0.parquet");
                    assert_eq!(index.search(&vector_of("d0/0.jpg", 1, DIM), 1).unwrap()[0].1, "/photos/d0/0.jpg");
                }
                Err(e) => assert!(matches!(e, IndexError::Damaged { .. }), "{e}"),
            }
            std::fs::remove_dir_all(cache).unwrap();
        }
        std::fs::remove_file(&file).unwrap();
        std::fs::write(&file, &bytes).unwrap();
    }
    assert_eq!(place.merge_parts(None, vec![next]).unwrap().added, 1);
}

#[test]
fn a_damaged_partial_refuses_the_merge_by_name() {
    let place = Place::new();
    place.part("p", &rows(40), DIM);
    let worker = place.prefix.worker(0);
    gather(&worker, &["p".into()], worker_meta(0, "r", DIM)).unwrap();
    std::fs::remove_dir_all(place.prefix.parts()).unwrap();
    let mut random = Random(3);
    for file in [worker.parquet(), worker.meta()] {
        let bytes = std::fs::read(&file).unwrap();
        for _ in 0..500 {
            let damaged = mutate(&bytes, &mut random);
            std::fs::write(&file, &damaged).unwrap();
            match place.merge_partials(Some(1)) {
                Ok(_) => remove_index(&place),
                Err(e) => {
                    assert_ne!(damaged, bytes, "{e}");
                    assert!(e.to_string().contains("worker_0"), "{e}");
                    assert!(!place.prefix.meta().exists());
                }
            }
        }
        std::fs::write(&file, &bytes).unwrap();
    }
    // Of the faiss file a merge compares header and length.
    let bytes = std::fs::read(worker.faiss()).unwrap();
    for at in (0..45).chain([bytes.len()]) {
        let mut damaged = bytes.clone();
        damaged.truncate(at.max(bytes.len() * usize::from(at < 45)));
        match at < 45 {
            true => damaged[at] ^= 0x11,
            false => drop(damaged.pop()),
        }
        std::fs::write(worker.faiss(), &damaged).unwrap();
        let error = place.merge_partials(Some(1)).unwrap_err();
        assert!(error.to_string().contains("worker_0.faiss"), "byte {at}: {error}");
    }
}

fn remove_index(place: &Place) {
    for file in [place.prefix.meta(), place.prefix.parquet(), place.prefix.faiss()] {
        let _ = std::fs::remove_file(file);
    }
}

#[test]
fn damaged_metadata_is_an_error_or_reads_as_metadata() {
    let place = Place::new();
    let part = place.part("p", &rows(5), DIM);
    place.merge_parts(None, vec![part]).unwrap();
    let bytes = std::fs::read(place.prefix.meta()).unwrap();
    let mut random = Random(4);
    for round in 0..1500 {
        std::fs::write(place.prefix.meta(), mutate(&bytes, &mut random)).unwrap();
        if let Ok(Some(meta)) = read_meta(&place.prefix) {
            let _ = standing(&place.prefix, &meta.root, &meta.model.fingerprint).map(|rows| rows.for_each(drop));
            let cache = place.dir.path().join(format!("cache-{round}"));
            let _ = Index::open(&place.prefix, &cache).map(|i| i.search(&vector_of("x", 1, DIM), 3));
            let _ = std::fs::remove_dir_all(cache);
        }
    }
}

#[test]
fn a_newer_format_is_told_as_such() {
    let place = Place::new();
    let part = place.part("p", &rows(5), DIM);
    place.merge_parts(None, vec![part]).unwrap();
    let text = std::fs::read_to_string(place.prefix.meta()).unwrap();
    std::fs::write(place.prefix.meta(), text.replacen("\"format_version\": 2", "\"format_version\": 99", 1)).unwrap();
    let error = read_meta(&place.prefix).unwrap_err();
    assert!(matches!(error, IndexError::NewerFormat { found: 99, .. }), "{error}");
    assert!(place.merge_parts(None, vec![]).is_err());
}

#[test]
fn an_older_format_is_refused_and_a_fresh_index_takes_its_place() {
    let place = Place::new();
    let part = place.part("p", &rows(5), DIM);
    place.merge_parts(None, vec![part]).unwrap();
    let text = std::fs::read_to_string(place.prefix.meta()).unwrap();
    std::fs::write(place.prefix.meta(), text.replacen("\"format_version\": 2", "\"format_version\": 1", 1)).unwrap();
    let opened = Index::open(&place.prefix, &place.cache()).map(drop);
    let stood = standing(&place.prefix, ROOT, "f1").map(drop);
    for refused in [opened, stood, place.merge_parts(None, vec![]).map(drop), read_meta(&place.prefix).map(drop)] {
        let error = refused.unwrap_err();
        assert!(matches!(error, IndexError::OlderFormat { found: 1, .. }), "{error}");
        assert!(error.to_string().ends_with("build the index anew with controller --fresh"), "{error}");
    }
    assert_eq!(model_name(&place.prefix).unwrap().as_deref(), Some("test"));
    let part = place.part("p", &rows(3), DIM);
    let fresh = place.merge(None, Sources::Parts(vec![part]), true).unwrap();
    assert_eq!((fresh.meta.generation, fresh.meta.num_images), (2, 3));
    assert_eq!(read_meta(&place.prefix).unwrap(), Some(fresh.meta));
}

#[test]
fn other_files_are_not_taken_for_ours() {
    let place = Place::new();
    std::fs::create_dir_all(place.prefix.parts()).unwrap();
    for (name, content) in [("a", &b""[..]), ("b", b"PAR1"), ("c", b"PAR1\xff\xff\xff\xffPAR1"), ("d", &[0; 100])] {
        std::fs::write(place.prefix.part(name), content).unwrap();
        assert!(read_part(Path::new(&place.prefix.part(name)), ROOT).is_err());
    }
    let mut all = standing(&place.prefix, ROOT, "f1").unwrap();
    assert_eq!((all.by_ref().count(), all.skipped().len()), (0, 4));
}
