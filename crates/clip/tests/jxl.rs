//! JPEG XL: what was packed comes out, upright. make.py in tests/formats made the files.

use std::path::Path;

use clip::{DecodeLimits, DecodeMode, Picture, decode};
use protocol::FailureKind;

#[path = "common/damage.rs"]
mod common;

use common::survives;
use damage::contained;

const FILES: [&str; 3] = ["photo.jxl", "turned.jxl", "lossless.jxl"];

fn file(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats").join(name)).unwrap()
}

fn picture(name: &str) -> Picture {
    decode(&file(name), DecodeMode::Exact, 224, &DecodeLimits::default()).unwrap_or_else(|e| panic!("{name}: {e}"))
}

#[test]
fn pictures_are_those_that_were_packed() {
    let original = picture("photo.png");
    assert_eq!(picture("lossless.jxl"), original);
    for name in ["photo.jxl", "turned.jxl"] {
        let picture = picture(name);
        assert_eq!((picture.width, picture.height), (original.width, original.height), "{name}");
        let apart: u64 = original.rgb.iter().zip(&picture.rgb).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        let mean = apart as f64 / original.rgb.len() as f64;
        eprintln!("{name}: levels are {mean:.2} apart");
        assert!(mean < 6.0, "{name}: levels are {mean:.2} apart");
    }
}

#[test]
fn pixels_are_counted_before_they_are_decoded() {
    for name in FILES {
        let error = decode(&file(name), DecodeMode::Exact, 224, &DecodeLimits { max_pixels: 30_000 }).unwrap_err();
        assert_eq!(error.kind, FailureKind::TooManyPixels, "{name}: {error}");
    }
}

#[test]
fn damaged_files_are_survived() {
    contained(damaged_files_are_survived, || {
        for name in FILES {
            let (_, errors) = survives(&[name], &[file(name)], 13);
            assert!(errors > 20, "{name}: {errors} errors");
        }
    });
}
