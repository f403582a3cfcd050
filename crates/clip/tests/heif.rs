//! HEIC and AVIF where libheif is; where it is absent, an error that says what to install.
//!
//! The files in tests/formats hold one picture; make.py made them.

use std::path::Path;

use clip::{DecodeLimits, DecodeMode, Picture, decode};
use protocol::FailureKind;

#[path = "common/damage.rs"]
mod common;

use common::survives;
use damage::contained;

const FILES: [&str; 4] = ["photo.heic", "turned.heic", "deep.heic", "photo.avif"];

fn file(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats").join(name)).unwrap()
}

/// The picture; none where this machine has no libheif, which is then said.
fn picture(name: &str) -> Option<Picture> {
    match decode(&file(name), DecodeMode::Exact, 224, &DecodeLimits::default()) {
        Ok(picture) => Some(picture),
        Err(error) => {
            assert!(error.detail.contains("need libheif (Debian, Ubuntu: apt install libheif1)"), "{name}: {error}");
            eprintln!("not tested: {error}");
            None
        }
    }
}

#[test]
fn pictures_are_those_that_were_packed() {
    let original = picture("photo.png").unwrap();
    for picture in FILES.into_iter().filter_map(|name| Some((name, picture(name)?))) {
        let (name, picture) = picture;
        assert_eq!((picture.width, picture.height), (original.width, original.height), "{name}");
        let apart: u64 = original.rgb.iter().zip(&picture.rgb).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        let mean = apart as f64 / original.rgb.len() as f64;
        eprintln!("{name}: levels are {mean:.2} apart");
        assert!(mean < 6.0, "{name}: levels are {mean:.2} apart");
    }
}

#[test]
fn a_heic_tells_when_it_was_taken() {
    if let Some(dated) = picture("dated.heic") {
        assert_eq!((dated.taken_s, dated.full_size), (Some(1_000_000_000), (150, 226)));
        assert_eq!(picture("photo.heic").unwrap().taken_s, None);
    }
}

#[test]
fn pixels_are_counted_before_they_are_decoded() {
    if picture("photo.heic").is_none() {
        return;
    }
    for name in FILES {
        let error = decode(&file(name), DecodeMode::Exact, 224, &DecodeLimits { max_pixels: 30_000 }).unwrap_err();
        assert!(error.kind == FailureKind::TooManyPixels || error.detail.contains("limit"), "{name}: {error}");
    }
}

#[test]
fn damaged_files_are_survived() {
    contained(damaged_files_are_survived, || {
        for name in FILES {
            survives(&[name], &[file(name)], 11);
        }
    });
}
