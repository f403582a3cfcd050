//! What a file says of its picture beside the pixels: how large it is in full, and when it was taken.

use std::path::Path;

use clip::{DecodeLimits, DecodeMode, Picture, decode};

#[path = "common/raw_files.rs"]
#[expect(dead_code, reason = "RAW files have their own test")]
mod raw_files;

use raw_files::{Entry, Tiff, with_exif};

const ORIGINAL: u16 = 36_867;
const DIGITIZED: u16 = 36_868;

fn file(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)).unwrap()
}

fn picture(bytes: &[u8], mode: DecodeMode) -> Picture {
    decode(bytes, mode, 40, &DecodeLimits::default()).unwrap()
}

#[test]
fn the_full_size_is_upright_and_not_scaled() {
    let large = file("golden/large.jpg");
    let stored = picture(&large, DecodeMode::Exact);
    assert_eq!(stored.full_size, (stored.width, stored.height));
    for orientation in 1..=8 {
        let turned = picture(&with_exif(&large, orientation, vec![]), DecodeMode::Fast);
        let (width, height) = stored.full_size;
        assert_eq!(turned.full_size, if orientation < 5 { (width, height) } else { (height, width) });
        assert!(turned.width < turned.full_size.0 / 2, "{orientation}: it was scaled");
    }
    for name in ["palette.png", "animated.gif", "lossy.webp", "rgb.bmp", "lzw.tiff", "turned_7.png", "turned_4.tiff"] {
        let picture = picture(&file(&format!("golden/{name}")), DecodeMode::Fast);
        assert_eq!(picture.full_size, (picture.width, picture.height), "{name}");
    }
}

#[test]
fn the_first_of_two_dates_that_makes_sense_counts() {
    let (first, second, nonsense) = ("2001:09:09 01:46:40", "2020:01:01 00:00:00", "2001:13:09 01:46:40");
    let taken = |exif| picture(&with_exif(&file("golden/grey.jpg"), 1, exif), DecodeMode::Exact).taken_s;
    assert_eq!(taken(vec![Entry::Text(ORIGINAL, first), Entry::Text(DIGITIZED, second)]), Some(1_000_000_000));
    assert_eq!(taken(vec![Entry::Text(ORIGINAL, nonsense), Entry::Text(DIGITIZED, second)]), Some(1_577_836_800));
    assert_eq!(taken(vec![Entry::Text(DIGITIZED, second)]), Some(1_577_836_800));
    assert_eq!(taken(vec![Entry::Text(ORIGINAL, nonsense)]), None);
    assert_eq!(taken(vec![Entry::short(ORIGINAL, 7)]), None);
    assert_eq!(taken(vec![]), None);
}

#[test]
fn a_tiff_tells_when_it_was_taken() {
    let page = vec![
        Entry::long(256, 2),
        Entry::long(257, 1),
        Entry::short(258, 8),
        Entry::short(259, 1),
        Entry::short(262, 1),
        Entry::data(273, 279, vec![10, 200]),
        Entry::short(277, 1),
    ];
    for big_endian in [false, true] {
        let exif = vec![Entry::Text(ORIGINAL, "1969:12:31 23:59:59")];
        let tiff = Tiff { big_endian, mark: b"", chain: vec![page.clone()], below: vec![], exif };
        let picture = picture(&tiff.write(), DecodeMode::Exact);
        assert_eq!((picture.taken_s, picture.full_size), (Some(-1), (2, 1)));
    }
}

#[test]
fn a_jpeg_xl_tells_when_it_was_taken() {
    let codestream = file("formats/photo.jxl");
    let exif = vec![Entry::Text(ORIGINAL, "2001:09:09 01:46:40")];
    let chain = vec![vec![Entry::short(274, 6)]];
    let tiff = Tiff { big_endian: true, mark: b"", chain, below: vec![], exif }.write();
    let boxed = |kind: &[u8], body: &[u8]| [&(body.len() as u32 + 8).to_be_bytes()[..], kind, body].concat();
    let container = [
        boxed(b"JXL ", b"\r\n\x87\n"),
        boxed(b"ftyp", b"jxl \0\0\0\0jxl "),
        boxed(b"Exif", &[&[0; 4], &tiff[..]].concat()),
        boxed(b"jxlc", &codestream),
    ];
    let dated = picture(&container.concat(), DecodeMode::Exact);
    let bare = picture(&codestream, DecodeMode::Exact);
    assert_eq!((dated.taken_s, bare.taken_s), (Some(1_000_000_000), None));
    // Its EXIF orientation does not count.
    assert_eq!(dated.full_size, bare.full_size);
}
