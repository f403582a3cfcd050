//! The boxes of ISO media files: which kind a file is, and where Canon puts JPEGs into a CR3.

use super::part;

/// Boxes that are looked at beside each other. A camera writes about ten.
const MOST_BOXES: usize = 64;

/// Where a preview's JPEG begins in its box, behind versions and sizes (THMB and PRVW alike).
const PREVIEW_HEADER: usize = 16;

/// Canon's box of metadata within `moov`.
const METADATA: [u8; 16] = 0x85c0b687_820f_11e0_8111_f4ce462b6a48_u128.to_be_bytes();
/// Canon's box with the preview, beside `moov`.
const PREVIEW: [u8; 16] = 0xeaf42b5e_1c98_4b88_b9fb_b7dc406e4d16_u128.to_be_bytes();

/// The brands in an ISO media file's first box: the main one and the compatible ones.
pub fn brands(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let first = boxes(bytes).next().filter(|(kind, _)| *kind == b"ftyp");
    let body = first.map_or(&[][..], |(_, body)| body);
    // Between the main brand and the others is a version.
    body.chunks_exact(4).take(MOST_BOXES).enumerate().filter(|(i, _)| *i != 1).map(|(_, brand)| brand)
}

/// The JPEGs of a CR3, and its first two TIFF-structured blocks of metadata: of the picture, and EXIF's own.
pub fn canon(bytes: &[u8]) -> (Vec<&[u8]>, [Option<&[u8]>; 2]) {
    let movie = child(bytes, b"moov").unwrap_or_default();
    let metadata = uuid(movie, METADATA).unwrap_or_default();
    // Behind the name are eight bytes, then boxes.
    let preview = uuid(bytes, PREVIEW).and_then(|body| child(body.get(8..)?, b"PRVW"));
    let previews = [preview, child(metadata, b"THMB")].into_iter().flatten();
    let tracks = boxes(movie).filter(|(kind, _)| *kind == b"trak").filter_map(|(_, track)| sample(bytes, track));
    let jpegs = previews.filter_map(|body| body.get(PREVIEW_HEADER..)).chain(tracks).collect();
    (jpegs, [b"CMT1", b"CMT2"].map(|kind| child(metadata, kind)))
}

/// The first sample of a track: of one it is a whole JPEG, of others the sensor's data.
fn sample<'a>(bytes: &'a [u8], track: &'a [u8]) -> Option<&'a [u8]> {
    let table = [b"mdia", b"minf", b"stbl"].into_iter().try_fold(track, |body, kind| child(body, kind))?;
    let sizes = child(table, b"stsz")?;
    let length = match number(sizes, 4, 4)? {
        0 => number(sizes, 12, 4)?,
        same_for_all => same_for_all,
    };
    let long = child(table, b"co64").and_then(|offsets| number(offsets, 8, 8));
    let at = long.or_else(|| number(child(table, b"stco")?, 8, 4))?;
    part(bytes, at, length)
}

fn child<'a>(body: &'a [u8], wanted: &[u8; 4]) -> Option<&'a [u8]> {
    boxes(body).find(|(kind, _)| *kind == wanted).map(|(_, body)| body)
}

fn uuid(body: &[u8], name: [u8; 16]) -> Option<&[u8]> {
    boxes(body).filter(|(kind, _)| *kind == b"uuid").find_map(|(_, body)| body.strip_prefix(&name))
}

/// The boxes that stand beside each other in `bytes`: their kinds and bodies. The last may be cut off.
fn boxes(mut bytes: &[u8]) -> impl Iterator<Item = (&[u8; 4], &[u8])> {
    let next = move || {
        let kind = bytes.get(4..8)?.try_into().ok()?;
        let (size, header) = match number(bytes, 0, 4)? {
            0 => (bytes.len() as u64, 8),
            1 => (number(bytes, 8, 8)?, 16),
            size => (size, 8),
        };
        let whole = part(bytes, 0, size)?;
        let body = whole.get(header..)?;
        bytes = &bytes[whole.len()..];
        Some((kind, body))
    };
    std::iter::from_fn(next).take(MOST_BOXES)
}

/// A big-endian number of `length` bytes.
fn number(bytes: &[u8], at: usize, length: usize) -> Option<u64> {
    Some(bytes.get(at..at + length)?.iter().fold(0, |number, &byte| (number << 8) | u64::from(byte)))
}
