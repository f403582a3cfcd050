//! Whether a file is a picture, by how it begins and not by its name: a name costs nothing.

/// So many bytes at a file's beginning tell.
pub const TELLING_BYTES: usize = 512;

/// Brands of ISO media files that are pictures: HEIC, AVIF, and Canon's CR3.
const BRANDS: [&[u8; 4]; 11] =
    [b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"avif", b"avis", b"crx "];

/// Lengths that the second header of a BMP may have; its first is too short to tell.
const BMP_HEADERS: [u8; 8] = [12, 16, 40, 52, 56, 64, 108, 124];

/// Whether a file that begins with these bytes is a picture of a format that is indexed: JPEG, PNG, GIF, WebP, BMP, TIFF,
/// JPEG XL, HEIC, AVIF or a camera's RAW. That all of it can be decoded is another question.
pub fn begins_as_picture(bytes: &[u8]) -> bool {
    let starts: [&[u8]; 11] = [
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n",
        b"GIF87a",
        b"GIF89a",
        b"II*\0",
        b"MM\0*",
        b"II+\0",
        b"MM\0+",
        b"FUJIFILMCCD-RAW",
        b"\xff\x0a",
        b"\0\0\0\x0cJXL ",
    ];
    let within = |at: usize, what: &[u8]| bytes.get(at..).is_some_and(|rest| rest.starts_with(what));
    starts.iter().any(|start| within(0, start))
        || within(0, b"RIFF") && within(8, b"WEBP")
        || within(0, b"BM") && matches!(bytes.get(14..18), Some([length, 0, 0, 0]) if BMP_HEADERS.contains(length))
        || within(4, b"ftyp") && brands(bytes).any(|brand| BRANDS.iter().any(|known| *known == brand))
}

/// The brands in an ISO media file's first box: the main one and, behind its version, the compatible ones.
fn brands(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let length = bytes.first_chunk().map_or(0, |length| u32::from_be_bytes(*length) as usize);
    let body = bytes.get(8..length.min(bytes.len())).unwrap_or_default();
    body.chunks_exact(4).enumerate().filter(|(i, _)| *i != 1).map(|(_, brand)| brand)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_is_known_by_its_beginning() {
        for bytes in [
            &b"\xff\xd8\xff\xe1"[..],
            b"\x89PNG\r\n\x1a\n..",
            b"GIF89a",
            b"RIFF\x01\x02\x03\x04WEBPVP8 ",
            b"BM\x36\x10\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x20",
            b"II*\0\x08\0\0\0CR",
            b"FUJIFILMCCD-RAW 0201",
            b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
            b"\0\0\0\x18ftypisom\0\0\0\0mif1heic",
            b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom",
            b"\0\0\0\x0cJXL \r\n\x87\n",
        ] {
            assert!(begins_as_picture(bytes), "{bytes:?}");
        }
    }

    #[test]
    fn nothing_else_is_taken_for_one() {
        for bytes in [
            &b""[..],
            b"\xff\xd8",
            b"RIFF\x01\x02\x03\x04WAVE",
            b"<html>",
            b"%PDF-1.7",
            b"root:x:0:0:root:/root:/bin/bash\n",
            b"-----BEGIN OPENSSH PRIVATE KEY-----\n",
            b"BM: my passwords are these",
            b"GIF, or how it is pronounced",
            b"\0\0\0\x18ftypisom\0\0\0\0isommp42",
            b"\xff\xff\xff\xffftyp",
            b"\0\0\0\0ftypheic",
        ] {
            assert!(!begins_as_picture(bytes), "{bytes:?}");
        }
    }
}
