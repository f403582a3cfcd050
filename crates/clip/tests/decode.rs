//! Any bytes give a picture or an error, what Pillow tolerates is tolerated, and what is too large is refused early.

use std::path::Path;

#[path = "common/damage.rs"]
mod common;

use clip::{DecodeError, DecodeLimits, DecodeMode, Picture, decode};
use damage::contained;
use protocol::FailureKind;

fn golden(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)).unwrap()
}

fn exact(bytes: &[u8]) -> Result<Picture, DecodeError> {
    decode(bytes, DecodeMode::Exact, 224, &DecodeLimits::default())
}

/// Damaged files of a format are pictures or errors, within bounds of memory and time.
fn survives<T: Fn()>(test: T, names: &[&str]) {
    contained(test, || {
        let files: Vec<Vec<u8>> = names.iter().map(|name| golden(name)).collect();
        let (pictures, errors) = common::survives(names, &files, names.len() as u64);
        assert!(pictures > 20 && errors > 20, "{pictures} pictures, {errors} errors");
    });
}

#[test]
fn damaged_jpegs_are_survived() {
    survives(damaged_jpegs_are_survived, &["grey.jpg", "turned_6.jpg", "progressive.jpg", "cmyk.jpg"]);
}

#[test]
fn damaged_pngs_are_survived() {
    survives(
        damaged_pngs_are_survived,
        &["palette.png", "palette_transparent.png", "tiny.png", "flat.png", "grey16.png", "turned_7.png"],
    );
}

#[test]
fn damaged_gifs_are_survived() {
    survives(damaged_gifs_are_survived, &["small_frame.gif", "animated.gif"]);
}

#[test]
fn damaged_webps_are_survived() {
    survives(damaged_webps_are_survived, &["turned_2.webp", "lossless.webp", "lossy.webp"]);
}

#[test]
fn damaged_bmps_are_survived() {
    survives(damaged_bmps_are_survived, &["rgb.bmp", "palette.bmp"]);
}

#[test]
fn damaged_tiffs_are_survived() {
    survives(
        damaged_tiffs_are_survived,
        &["palette.tiff", "bilevel.tiff", "float.tiff", "jpeg.tiff", "cmyk.tiff", "grey16.tiff", "white_is_zero.tiff"],
    );
}

#[test]
fn what_is_no_picture_says_so() {
    for (bytes, expected) in
        [(&b""[..], "empty"), (b"hello, this is text", "no picture of a known format"), (b"\xFF\xD8\xFF", "")]
    {
        let error = exact(bytes).unwrap_err();
        assert_eq!(error.kind, FailureKind::Undecodable);
        assert!(error.detail.contains(expected), "{error}");
    }
}

/// The first rows of a picture.
fn top(picture: &Picture, rows: usize) -> &[u8] {
    &picture.rgb[..3 * picture.width * rows]
}

#[test]
fn a_jpeg_that_ends_too_early_is_read_as_far_as_it_goes_and_marked() {
    for name in ["landscape.jpg", "portrait.jpg", "grey.jpg", "cmyk.jpg"] {
        let bytes = golden(name);
        let whole = exact(&bytes).unwrap();
        assert_eq!(whole.damage, None);
        for tenths in [3, 5, 9] {
            for mode in [DecodeMode::Exact, DecodeMode::Fast] {
                let part = decode(&bytes[..bytes.len() * tenths / 10], mode, 40, &DecodeLimits::default()).unwrap();
                let damage = part.damage.as_deref().unwrap_or_else(|| panic!("{name}, {tenths} tenths: no damage"));
                let words = damage.split_once("too early: only ").unwrap_or_else(|| panic!("{name}: {damage}")).1;
                let percent: usize = words.strip_suffix(" % of it can be read").unwrap().parse().unwrap();
                assert!(percent.abs_diff(10 * tenths) <= 25, "{name}, {tenths} tenths: {damage}");
                if mode == DecodeMode::Exact {
                    // The last row of blocks may be read in part, and its edge is smoothed.
                    let rows = (whole.height * percent / 100).saturating_sub(18);
                    assert!(rows > 0 && top(&part, rows) == top(&whole, rows), "{name}, {tenths} tenths");
                }
            }
        }
    }
}

#[test]
fn a_progressive_jpeg_that_ends_too_early_is_coarser() {
    let bytes = golden("progressive.jpg");
    let whole = exact(&bytes).unwrap();
    let scans: Vec<usize> = (0..bytes.len() - 1).filter(|&i| bytes[i..i + 2] == [0xFF, 0xDA]).collect();
    // Among pixels, and within the tables of a scan.
    for end in [bytes.len() * 8 / 10, scans[4] - 5] {
        let part = exact(&bytes[..end]).unwrap();
        assert!(part.damage.as_ref().unwrap().contains("finest details"), "{:?}", part.damage);
        let apart: u64 = whole.rgb.iter().zip(&part.rgb).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        assert!(apart / (whole.rgb.len() as u64) < 12, "{apart}");
    }
}

#[test]
fn a_jpeg_of_which_next_to_nothing_is_left_is_an_error() {
    for name in ["landscape.jpg", "progressive.jpg", "grey.jpg", "cmyk.jpg"] {
        let bytes = golden(name);
        let scan = bytes.windows(2).position(|w| w == [0xFF, 0xDA]).unwrap();
        let header = usize::from(u16::from_be_bytes([bytes[scan + 2], bytes[scan + 3]]));
        let error = exact(&bytes[..scan + 2 + header]).unwrap_err();
        assert!(error.detail.contains("too early"), "{name}: {error}");
    }
}

#[test]
fn a_jpeg_without_its_end_marker_is_whole() {
    let bytes = golden("landscape.jpg");
    assert!(bytes.ends_with(&[0xFF, 0xD9]));
    assert_eq!(exact(&bytes[..bytes.len() - 2]).unwrap(), exact(&bytes).unwrap());
}

#[test]
fn what_libjpeg_only_warns_of_is_tolerated() {
    let bytes = golden("landscape.jpg");
    let expected = exact(&bytes).unwrap();
    // Junk between two segments, and a JFIF version that does not exist.
    let junk = [&bytes[..20], &[0x12, 0x34, 0x56], &bytes[20..]].concat();
    assert_eq!(exact(&junk).unwrap(), expected);
    let mut version = bytes.clone();
    assert_eq!(version[6..12], *b"JFIF\0\x01");
    version[11] = 7;
    assert_eq!(exact(&version).unwrap(), expected);
    // Junk after the end.
    assert_eq!(exact(&[&bytes[..], b"trailing"].concat()).unwrap(), expected);
}

#[test]
fn pixels_are_counted_before_memory_is_taken() {
    let limits = DecodeLimits { max_pixels: 1_000 };
    for name in ["landscape.jpg", "palette.png", "animated.gif", "lossy.webp", "rgb.bmp", "lzw.tiff", "huge.png"] {
        let error = decode(&golden(name), DecodeMode::Fast, 224, &limits).unwrap_err();
        assert_eq!(error.kind, FailureKind::TooManyPixels, "{name}: {error}");
    }
    // A JPEG that announces 65,500 x 65,500 pixels in a few bytes.
    let mut bytes = golden("landscape.jpg");
    let frame = bytes.windows(2).position(|w| w == [0xFF, 0xC0]).unwrap();
    bytes[frame + 5..frame + 9].copy_from_slice(&[0xFF, 0xDC, 0xFF, 0xDC]);
    assert_eq!(exact(&bytes).unwrap_err().kind, FailureKind::TooManyPixels);
}

#[test]
fn the_format_is_found_by_content() {
    // The file's name is never asked for; a PNG behind a JPEG's extension is a PNG.
    assert_eq!(exact(&golden("palette.png")).unwrap().width, 160);
}

#[test]
fn fast_decoding_keeps_twice_the_target_side() {
    let picture = decode(&golden("large.jpg"), DecodeMode::Fast, 224, &DecodeLimits::default()).unwrap();
    assert_eq!((picture.width, picture.height), (800, 600), "a half: three eighths would do, but cost more");
}
