//! Damage behind a seal that fits it, as no accident makes it: the parquet decoder sees every byte of it, and still it is
//! an error that names the file.

use std::fs;
use std::path::Path;

use damage::{COPIES, Numbers, contained};
use protocol::{FileFacts, ImagePath};
use xxhash_rust::xxh3::Xxh3;

use crate::error::FileKind;
use crate::row::StoredRow;
use crate::row_reader::RowFile;
use crate::row_writer::{FIRST_KEY, META_KEY, RowWriter};
use crate::{part, read_part, seal};

const DIM: usize = 4;

fn write(path: &Path, meta: &[u8]) {
    let pairs = vec![
        (META_KEY.to_owned(), String::from_utf8_lossy(meta).into_owned()),
        (FIRST_KEY.to_owned(), "a/0.jpg".to_owned()),
    ];
    let _ = fs::remove_file(path);
    let mut writer = RowWriter::new(fs::File::create_new(path).unwrap(), path, "/photos", DIM, 8, pairs).unwrap();
    for i in 0..20 {
        let path = ImagePath::new(format!("{}/{i}.jpg", if i < 10 { "a" } else { "b" })).unwrap();
        let file = FileFacts { size_bytes: i, mtime_ns: -1, taken_s: (i % 2 == 0).then_some(9), width: 4, height: 3 };
        let row = StoredRow { path, vector: vec![0.5; DIM], file, content_hash: "00".into() };
        if !(10..=18).contains(&i) {
            writer.push(&row).unwrap();
        }
    }
    writer.finish().unwrap();
}

fn meta(rows: u64, checksum: &str) -> String {
    format!(
        r#"{{"format_version": 2, "name": "p", "root": "/photos", "model_name": "m", "fingerprint": "f",
        "embedding_dim": {DIM}, "precision": "fp32", "provider": "cpu", "host": "h", "rows": {rows},
        "checksum": "{checksum}", "failures": [{{"path": "/photos/x", "kind": "vanished", "detail": "d", "host": "h"}}]}}"#
    )
}

/// A sound part with this name, and what its metadata is.
fn sound(path: &Path) -> String {
    write(path, b"{}");
    let seal = seal::verify(path, FileKind::Part).unwrap();
    let meta = meta(seal.rows, &seal.rows_hash);
    write(path, meta.as_bytes());
    assert_eq!(read_part(path, "/photos").unwrap().rows.len(), 11);
    meta
}

#[test]
fn damaged_metadata_of_a_part_names_the_part() {
    contained(damaged_metadata_of_a_part_names_the_part, || {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.parquet");
        let whole = sound(&path);
        let mut numbers = Numbers::new(1);
        let mut refused = 0;
        for _ in 0..COPIES {
            write(&path, &damage::json(whole.as_bytes(), &mut numbers));
            if let Err(error) = read_part(&path, "/photos") {
                refused += 1;
                assert!(error.to_string().contains("p.parquet"), "{error}");
            }
            part::head(&path).and_then(|head| part::open(&head)).map(|file| file.files().for_each(drop)).ok();
        }
        assert!(refused > COPIES / 2, "{refused}");
    });
}

#[test]
fn a_part_of_an_older_format_is_told_as_such_and_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("index/parts/p.parquet");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    write(&path, b"{}");
    let seal = seal::verify(&path, FileKind::Part).unwrap();
    let meta = meta(seal.rows, &seal.rows_hash);
    write(&path, meta.replace("\"format_version\": 2", "\"format_version\": 1").as_bytes());
    let error = read_part(&path, "/photos").unwrap_err();
    assert!(matches!(error, crate::IndexError::OlderFormat { found: 1, .. }), "{error}");
    assert!(error.to_string().contains("p.parquet") && error.to_string().contains("delete it"), "{error}");
    let meta = serde_json::from_str(&meta).unwrap();
    part::publish(&protocol::IndexPrefix::new(dir.path().join("index")), meta, Vec::new()).unwrap();
    assert_eq!(read_part(&path, "/photos").unwrap().rows, []);
}

/// Damages bytes `from..to` of the file, but not its seal, and seals it again.
fn reseal(whole: &[u8], from: usize, to: usize, numbers: &mut Numbers) -> Vec<u8> {
    let mark = whole.windows(15).rposition(|w| w == b"imagefleet-seal").unwrap();
    let footer = seal::read_footer(&mut std::io::Cursor::new(whole), Path::new("p"), FileKind::Part).unwrap();
    let mut copy = whole.to_vec();
    for _ in 0..1 + numbers.below(4) {
        let at = from + numbers.below(to - from);
        if !(mark..mark + seal::blank().len()).contains(&at) {
            copy[at] = match numbers.below(3) {
                0 => numbers.below(256) as u8,
                1 => copy[at] ^ (1 << numbers.below(8)),
                _ => [0, 1, 0x7F, 0x80, 0xFF][numbers.below(5)],
            };
        }
    }
    seal_again(&mut copy, &footer);
    copy
}

fn seal_again(copy: &mut [u8], footer: &seal::Footer) {
    let mark = copy.windows(15).rposition(|w| w == b"imagefleet-seal").unwrap();
    let blank = seal::blank();
    copy[mark..mark + blank.len()].copy_from_slice(blank.as_bytes());
    let (before, tail) = copy.split_at_mut(footer.offset as usize);
    let mut hash = Xxh3::new();
    hash.update(before);
    seal::fill(tail, &hash, &footer.seal);
}

/// Reads damaged parts whose seals fit; the number of those that were refused.
fn refused(part_of_file: impl Fn(usize, usize) -> (usize, usize), seed: u64) -> usize {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p.parquet");
    sound(&path);
    let whole = fs::read(&path).unwrap();
    let footer = seal::read_footer(&mut std::io::Cursor::new(&whole), &path, FileKind::Part).unwrap();
    let (from, to) = part_of_file(footer.offset as usize, whole.len());
    let mut numbers = Numbers::new(seed);
    let mut refused = 0;
    for _ in 0..COPIES {
        fs::write(&path, reseal(&whole, from, to, &mut numbers)).unwrap();
        let file = RowFile::open(&path, FileKind::Generation, "/photos");
        let rows = file.and_then(|file| file.rows().try_fold(0, |count, row| row.map(|_| count + 1)));
        let read = read_part(&path, "/photos");
        for error in [rows.err(), read.err()].into_iter().flatten() {
            refused += 1;
            assert!(error.to_string().contains("p.parquet"), "{error}");
        }
    }
    refused
}

#[test]
fn a_damaged_parquet_footer_with_a_sound_seal_is_refused() {
    contained(a_damaged_parquet_footer_with_a_sound_seal_is_refused, || {
        assert!(refused(|footer, length| (footer, length - 8), 2) > COPIES / 2);
    });
}

#[test]
fn damaged_parquet_pages_with_a_sound_seal_are_refused() {
    contained(damaged_parquet_pages_with_a_sound_seal_are_refused, || {
        assert!(refused(|footer, _| (0, footer), 3) > COPIES);
    });
}

#[test]
fn a_page_that_holds_less_than_no_values_is_refused() {
    contained(a_page_that_holds_less_than_no_values_is_refused, || {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.parquet");
        sound(&path);
        let whole = fs::read(&path).unwrap();
        let footer = seal::read_footer(&mut std::io::Cursor::new(&whole), &path, FileKind::Part).unwrap();
        let refused = (0..footer.offset as usize).filter(|&at| {
            let mut copy = whole.clone();
            // -1, where a page's header counts its values.
            copy[at] = 1;
            seal_again(&mut copy, &footer);
            fs::write(&path, copy).unwrap();
            let read = read_part(&path, "/photos");
            read.is_err_and(|e| e.to_string().contains("a page holds more values than its column"))
        });
        assert!(refused.count() >= 8, "that of each column, at least");
    });
}
