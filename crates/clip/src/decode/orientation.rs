//! Turns pictures upright, as Pillow's `exif_transpose` does.

use super::Picture;
use super::metadata::Metadata;

/// The picture as its metadata has it: turned upright, and with its time. Orientations but 1 to 8 mean upright.
pub fn upright(picture: Picture, metadata: Metadata) -> Picture {
    let picture = Picture { taken_s: metadata.taken_s, ..picture };
    let orientation = metadata.turned.unwrap_or(1);
    if !(2..=8).contains(&orientation) {
        return picture;
    }
    let (w, h) = (picture.width, picture.height);
    let turned = |(w, h)| if orientation >= 5 { (h, w) } else { (w, h) };
    let (width, height) = turned((w, h));
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
    Picture { width, height, rgb, full_size: turned(picture.full_size), ..picture }
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
        let stored = Picture::new(3, 2, b"ABCDEF".iter().flat_map(|&b| [b, b, b]).collect());
        let upright = |turned| upright(stored.clone(), Metadata { turned, taken_s: None });
        let expected = ["ABC/DEF", "CBA/FED", "FED/CBA", "DEF/ABC", "AD/BE/CF", "DA/EB/FC", "FC/EB/DA", "CF/BE/AD"];
        for (i, expected) in expected.iter().enumerate() {
            let picture = upright(Some(i as u32 + 1));
            assert_eq!(letters(&picture), *expected, "orientation {}", i + 1);
            assert_eq!(picture.full_size, (picture.width, picture.height));
        }
        for none in [None, Some(0), Some(9)] {
            assert_eq!(upright(none), stored);
        }
    }
}
