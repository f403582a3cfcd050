//! RAW files give their largest preview, upright.
//!
//! No camera's file is free to keep here, so each kind is built around a JPEG with the structure that its makers, and
//! those who took such files apart, describe: libtiff's tags for CR2, NEF, ARW and DNG, boxes for CR3, a header for RAF.

use std::path::Path;

use clip::{DecodeError, DecodeLimits, DecodeMode, Picture, decode};

#[path = "common/damage.rs"]
mod common;
#[path = "common/raw_files.rs"]
mod raw_files;

use common::survives;
use damage::contained;
use raw_files::{Entry, KINDS, Previews, Tiff, lossless};

fn golden(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)).unwrap()
}

fn exact(bytes: &[u8]) -> Result<Picture, DecodeError> {
    decode(bytes, DecodeMode::Exact, 224, &DecodeLimits::default())
}

fn previews(orientation: u16) -> Previews {
    Previews { large: golden("progressive.jpg"), small: golden("grey.jpg"), orientation, taken: "" }
}

#[test]
fn each_kind_gives_its_largest_preview() {
    let expected = exact(&golden("progressive.jpg")).unwrap();
    for (kind, make) in KINDS {
        assert_eq!(exact(&make(&previews(1))).unwrap(), expected, "{kind}");
    }
}

#[test]
fn each_kind_is_turned_upright_once() {
    let large = exact(&golden("progressive.jpg")).unwrap();
    for (kind, make) in KINDS {
        let turned = exact(&make(&previews(6))).unwrap();
        assert_eq!((turned.width, turned.height), (large.height, large.width), "{kind}");
        // The lower left corner is the upper left one now.
        let corner = 3 * large.width * (large.height - 1);
        assert_eq!(turned.rgb[..3], large.rgb[corner..corner + 3], "{kind}");
        // A preview that says the same of itself is not turned twice.
        let own = Previews { large: golden("turned_6.jpg"), small: golden("tiny.png"), orientation: 6, taken: "" };
        assert_eq!(exact(&make(&own)).unwrap(), exact(&golden("turned_6.jpg")).unwrap(), "{kind}");
    }
}

#[test]
fn each_kind_tells_when_it_was_taken() {
    for (kind, make) in KINDS {
        let taken = |taken| exact(&make(&Previews { taken, ..previews(1) })).unwrap().taken_s;
        assert_eq!(taken("2001:09:09 01:46:40"), Some(1_000_000_000), "{kind}");
        assert_eq!(taken("0000:00:00 00:00:00"), None, "{kind}");
    }
}

#[test]
fn the_full_size_is_that_of_the_sensors_picture() {
    let raw = |orientation, width| {
        let first = vec![Entry::short(274, orientation), Entry::Bytes(50_706, [1, 4, 0, 0])];
        let size = [Entry::long(256, width), Entry::long(257, 400)];
        let sensor = [&size[..], &[Entry::data(273, 279, lossless(600, 400))]].concat();
        let preview = vec![Entry::short(259, 7), Entry::data(273, 279, golden("progressive.jpg"))];
        let tiff = Tiff { big_endian: true, mark: b"", chain: vec![first], below: vec![sensor, preview], exif: vec![] };
        exact(&tiff.write()).unwrap()
    };
    assert_eq!(raw(1, 6000).full_size, (6000, 400));
    assert_eq!(raw(6, 6000).full_size, (400, 6000));
    // A size below that of the preview is not the picture's.
    let small = raw(1, 2);
    assert_eq!(small.full_size, (small.width, small.height));
}

#[test]
fn a_preview_is_scaled_like_any_jpeg() {
    let previews = Previews { large: golden("large.jpg"), ..previews(1) };
    for (kind, make) in KINDS {
        let picture = decode(&make(&previews), DecodeMode::Fast, 224, &DecodeLimits::default()).unwrap();
        assert_eq!((picture.width, picture.height), (800, 600), "{kind}");
        assert!(picture.full_size > (800, 600), "{kind}");
    }
}

#[test]
fn a_raw_file_that_ends_within_its_preview_is_marked() {
    let jpeg = golden("landscape.jpg");
    for (kind, make) in KINDS {
        let bytes = make(&Previews { large: jpeg.clone(), ..previews(1) });
        // The writer puts the large preview last.
        let picture = exact(&bytes[..bytes.len() - jpeg.len() / 2]).unwrap();
        assert!(picture.damage.is_some(), "{kind}");
    }
}

#[test]
fn where_the_largest_preview_is_broken_the_next_one_serves() {
    let mut broken = golden("progressive.jpg");
    let tables = broken.windows(2).position(|w| w == [0xFF, 0xC4]).unwrap();
    broken[tables + 5..tables + 20].fill(0xFF);
    let expected = exact(&golden("grey.jpg")).unwrap();
    for (kind, make) in KINDS.into_iter().filter(|(kind, _)| *kind != "raf") {
        let bytes = make(&Previews { large: broken.clone(), ..previews(1) });
        assert_eq!(exact(&bytes).unwrap(), expected, "{kind}");
    }
}

#[test]
fn sensor_data_are_no_preview() {
    // Lossless JPEG in a directory, as in CR2 and DNG, however large.
    let sensor = vec![Entry::short(262, 32_803), Entry::short(259, 7), Entry::data(273, 279, lossless(6000, 4000))];
    let only_sensor = Tiff { big_endian: false, mark: b"", chain: vec![sensor.clone()], below: vec![], exif: vec![] };
    assert!(exact(&only_sensor.write()).unwrap_err().detail.contains("without a preview"));
    // A small page without compression serves for want of a JPEG.
    let page = vec![
        Entry::long(254, 1),
        Entry::long(256, 2),
        Entry::long(257, 1),
        Entry::short(258, 8),
        Entry::short(259, 1),
        Entry::short(262, 1),
        Entry::data(273, 279, vec![10, 200]),
        Entry::short(277, 1),
    ];
    let with_page = Tiff { big_endian: true, mark: b"", chain: vec![page], below: vec![sensor], exif: vec![] };
    assert_eq!(exact(&with_page.write()).unwrap().rgb, [10, 10, 10, 200, 200, 200]);
}

#[test]
fn other_tiffs_stay_tiffs() {
    for name in ["jpeg.tiff", "lzw.tiff", "turned_4.tiff", "bilevel.tiff"] {
        let picture = exact(&golden(name)).unwrap();
        assert!(picture.width > 32 && picture.damage.is_none(), "{name}");
    }
}

#[test]
fn directories_that_lead_in_circles_end() {
    let mut bytes = b"II*\0\x08\0\0\0".to_vec();
    bytes.extend(1u16.to_le_bytes());
    // A directory that is its own child, and its own successor.
    bytes.extend([330u16.to_le_bytes(), 4u16.to_le_bytes()].concat());
    bytes.extend([1u32, 8, 8].map(u32::to_le_bytes).concat());
    assert!(exact(&bytes).is_err());
}

#[test]
fn damaged_raw_files_are_survived() {
    contained(damaged_raw_files_are_survived, || {
        let small =
            Previews { large: golden("turned_6.jpg"), small: golden("turned_8.jpg"), orientation: 1, taken: "" };
        for (kind, make) in KINDS {
            let (pictures, errors) = survives(&[kind], &[make(&small)], 7);
            assert!(pictures > 20 && errors > 20, "{kind}: {pictures} pictures, {errors} errors");
        }
    });
}
