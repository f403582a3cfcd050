//! Which way is up: read from EXIF, else from XMP, as Pillow's `exif_transpose` does; and the turning.

use std::io::Cursor;

use exif::{Exif, In, Reader, Tag};

use super::Picture;

/// The orientation in a JPEG, PNG or WebP file's EXIF; none if there is none, or none that can be read.
pub fn of_container(bytes: &[u8]) -> Option<u32> {
    let mut reader = Reader::new();
    let exif = reader.continue_on_error(true).read_from_container(&mut Cursor::new(bytes));
    of_exif(exif)
}

/// The orientation in EXIF data without a container.
pub fn of_raw(exif: &[u8]) -> Option<u32> {
    let data = exif.strip_prefix(b"Exif\0\0").unwrap_or(exif);
    of_exif(Reader::new().continue_on_error(true).read_raw(data.to_vec()))
}

fn of_exif(exif: Result<Exif, exif::Error>) -> Option<u32> {
    // Cameras write all sorts of things into other fields; they must not cost the orientation.
    let exif = exif.or_else(|e| e.distill_partial_result(|_| ())).ok()?;
    exif.get_field(Tag::Orientation, In::PRIMARY)?.value.get_uint(0)
}

/// The orientation in XMP: `tiff:Orientation="6"` or `<tiff:Orientation>6<`.
pub fn of_xmp(xmp: &[u8]) -> Option<u32> {
    const KEY: &[u8] = b"tiff:Orientation";
    let values =
        xmp.windows(KEY.len()).enumerate().filter(|(_, window)| *window == KEY).map(|(at, _)| &xmp[at + KEY.len()..]);
    values
        .filter_map(|rest| rest.strip_prefix(b"=\"").or_else(|| rest.strip_prefix(b">")))
        .find_map(|rest| rest.first().filter(|b| b.is_ascii_digit()).map(|b| u32::from(b - b'0')))
}

/// Turns a picture upright. `orientation` is EXIF's, 1 to 8; anything else means upright.
pub fn upright(picture: Picture, orientation: Option<u32>) -> Picture {
    let orientation = orientation.unwrap_or(1);
    if !(2..=8).contains(&orientation) {
        return picture;
    }
    let (w, h) = (picture.width, picture.height);
    let (width, height) = if orientation >= 5 { (h, w) } else { (w, h) };
    // Where the pixel at (x, y) of the upright picture is in the stored one.
    let source = |x: usize, y: usize| match orientation {
        2 => (w - 1 - x, y),
        3 => (w - 1 - x, h - 1 - y),
        4 => (x, h - 1 - y),
        5 => (y, x),
        6 => (y, h - 1 - x),
        7 => (w - 1 - y, h - 1 - x),
        _ => (w - 1 - y, x),
    };
    let mut rgb = vec![0; picture.rgb.len()];
    // In tiles, because one of the two pictures is walked across its rows.
    const TILE: usize = 32;
    for top in (0..height).step_by(TILE) {
        for left in (0..width).step_by(TILE) {
            for y in top..(top + TILE).min(height) {
                for x in left..(left + TILE).min(width) {
                    let (from_x, from_y) = source(x, y);
                    let (from, to) = ((from_y * w + from_x) * 3, (y * width + x) * 3);
                    rgb[to..to + 3].copy_from_slice(&picture.rgb[from..from + 3]);
                }
            }
        }
    }
    Picture { width, height, rgb, damage: picture.damage }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letters(picture: &Picture) -> String {
        let row = |row: &[u8]| row.chunks(3).map(|p| char::from(p[0])).collect::<String>();
        picture.rgb.chunks(picture.width * 3).map(row).collect::<Vec<_>>().join("/")
    }

    #[test]
    fn all_eight_orientations_turn_as_pillow_turns_them() {
        let stored =
            Picture { width: 3, height: 2, rgb: b"ABCDEF".iter().flat_map(|&b| [b, b, b]).collect(), damage: None };
        let expected = ["ABC/DEF", "CBA/FED", "FED/CBA", "DEF/ABC", "AD/BE/CF", "DA/EB/FC", "FC/EB/DA", "CF/BE/AD"];
        for (i, expected) in expected.iter().enumerate() {
            assert_eq!(letters(&upright(stored.clone(), Some(i as u32 + 1))), *expected, "orientation {}", i + 1);
        }
        for none in [None, Some(0), Some(9)] {
            assert_eq!(upright(stored.clone(), none), stored);
        }
    }

    #[test]
    fn xmp_tells_the_orientation_in_both_its_forms() {
        assert_eq!(of_xmp(br#"<rdf:Description tiff:Orientation="6"/>"#), Some(6));
        assert_eq!(of_xmp(b"<tiff:Orientation>3</tiff:Orientation>"), Some(3));
        assert_eq!(of_xmp(b"tiff:Orientation"), None);
        assert_eq!(of_xmp(b""), None);
    }
}
