//! Any bytes give a picture or an error, what Pillow tolerates is tolerated, and what is too large is refused early.

use std::path::Path;

use clip::{DecodeError, DecodeLimits, DecodeMode, Picture, decode};
use protocol::FailureKind;

fn golden(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)).unwrap()
}

fn exact(bytes: &[u8]) -> Result<Picture, DecodeError> {
    decode(bytes, DecodeMode::Exact, 224, &DecodeLimits::default())
}

/// A generator of numbers, the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n.max(1)
    }
}

/// A damaged copy: some bytes changed, a part cut out or doubled, the end missing. Headers suffer most.
fn damaged(bytes: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let mut copy = bytes.to_vec();
    for _ in 0..numbers.below(8) {
        let reach = if numbers.below(2) == 0 { copy.len().min(200) } else { copy.len() };
        let at = numbers.below(reach);
        copy[at] = match numbers.below(3) {
            0 => numbers.below(256) as u8,
            1 => copy[at] ^ (1 << numbers.below(8)),
            _ => [0, 1, 0x7F, 0x80, 0xFF][numbers.below(5)],
        };
    }
    match numbers.below(6) {
        0 => copy.truncate(numbers.below(bytes.len())),
        1 => {
            let (from, length) = (numbers.below(bytes.len()), numbers.below(64));
            copy.drain(from..(from + length).min(bytes.len()));
        }
        2 => {
            let (from, length) = (numbers.below(bytes.len()), numbers.below(64));
            let part = copy[from..(from + length).min(bytes.len())].to_vec();
            copy.splice(from..from, part);
        }
        _ => {}
    }
    copy
}

/// 2,000 damaged inputs of a format, made from several of its files.
fn survives(names: &[&str]) {
    let limits = DecodeLimits { max_pixels: 1 << 20 };
    let mut numbers = Numbers(names.len() as u64);
    let files: Vec<Vec<u8>> = names.iter().map(|name| golden(name)).collect();
    let (mut pictures, mut errors) = (0, 0);
    for i in 0..2_000 {
        let bytes = damaged(&files[i % files.len()], &mut numbers);
        let mode = if i % 2 == 0 { DecodeMode::Exact } else { DecodeMode::Fast };
        match decode(&bytes, mode, 32, &limits) {
            Ok(picture) => {
                pictures += 1;
                assert!(picture.width > 0 && picture.height > 0);
                assert_eq!(picture.rgb.len(), 3 * picture.width * picture.height);
            }
            Err(error) => {
                errors += 1;
                assert!(!error.detail.is_empty());
                assert_ne!(error.detail, "its decoder panicked", "{names:?} input {i}");
            }
        }
    }
    assert!(pictures > 20 && errors > 20, "{pictures} pictures, {errors} errors");
}

#[test]
fn damaged_jpegs_are_survived() {
    survives(&["grey.jpg", "turned_6.jpg", "progressive.jpg", "cmyk.jpg"]);
}

#[test]
fn damaged_pngs_are_survived() {
    survives(&["palette.png", "palette_transparent.png", "tiny.png", "flat.png", "grey16.png", "turned_7.png"]);
}

#[test]
fn damaged_gifs_are_survived() {
    survives(&["small_frame.gif", "animated.gif"]);
}

#[test]
fn damaged_webps_are_survived() {
    survives(&["turned_2.webp", "lossless.webp", "lossy.webp"]);
}

#[test]
fn damaged_bmps_are_survived() {
    survives(&["rgb.bmp", "palette.bmp"]);
}

#[test]
fn damaged_tiffs_are_survived() {
    survives(&[
        "palette.tiff",
        "bilevel.tiff",
        "float.tiff",
        "jpeg.tiff",
        "cmyk.tiff",
        "grey16.tiff",
        "white_is_zero.tiff",
    ]);
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

#[test]
fn a_jpeg_that_ends_too_early_is_an_error() {
    for name in ["landscape.jpg", "progressive.jpg", "grey.jpg", "cmyk.jpg"] {
        let bytes = golden(name);
        for part in [bytes.len() / 3, bytes.len() / 2, bytes.len() - bytes.len() / 10] {
            let error = exact(&bytes[..part]).unwrap_err();
            assert!(error.detail.contains("too early"), "{name}: {error}");
        }
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
    assert_eq!((picture.width, picture.height), (600, 450));
}
