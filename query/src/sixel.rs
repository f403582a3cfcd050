//! Pictures as sixels, which a terminal draws in pixels of its own: they are made to fit its cells.

use anyhow::Result;
use icy_sixel::SixelImage;

/// The cell of a terminal that does not tell: no larger than most have, so that no picture is larger than its room.
const SMALL: Cell = Cell { width: 6, height: 12 };
/// No font is larger.
const LARGEST: usize = 128;
/// Sixels are so high.
const BAND: usize = 6;

/// A terminal's cell in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    pub width: usize,
    pub height: usize,
}

impl Default for Cell {
    fn default() -> Self {
        SMALL
    }
}

impl Cell {
    /// That of the terminal at standard output, if it tells.
    pub fn of_stdout() -> Option<Self> {
        let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
        let pixels =
            |all: u16, cells: u16| Some(usize::from(all.checked_div(cells)?)).filter(|n| (1..=LARGEST).contains(n));
        Some(Self { width: pixels(size.ws_xpixel, size.ws_col)?, height: pixels(size.ws_ypixel, size.ws_row)? })
    }

    /// A picture, rgb of `width` x `height`, that fills `columns` x `lines` cells in one direction, or is as large as it was.
    pub fn sixels(
        self,
        rgb: &[u8],
        (width, height): (usize, usize),
        (columns, lines): (usize, usize),
    ) -> Result<String> {
        let (most_wide, most_high) = (columns * self.width, lines * self.height);
        let scale = (most_wide as f64 / width as f64).min(most_high as f64 / height as f64).min(1.0);
        let fitting = |length: usize| ((length as f64 * scale) as usize).max(1);
        // A last band that is not full would reach below the room.
        let (to_width, to_height) = (fitting(width), (fitting(height) / BAND * BAND).max(1));
        let small = shrunk(rgb, (width, height), (to_width, to_height));
        Ok(SixelImage::try_from_rgba(small, to_width, to_height)?.encode()?)
    }
}

/// The picture in fewer pixels, rgba, each the mean of those in its place.
fn shrunk(rgb: &[u8], (width, height): (usize, usize), (to_width, to_height): (usize, usize)) -> Vec<u8> {
    let places =
        |to: usize, of: usize, length: usize| (to * length / of)..((to + 1) * length / of).max(to * length / of + 1);
    let mut small = Vec::with_capacity(4 * to_width * to_height);
    for y in 0..to_height {
        for x in 0..to_width {
            let (mut sum, mut count) = ([0; 3], 0);
            for row in places(y, to_height, height) {
                let columns = places(x, to_width, width);
                for pixel in rgb[3 * (row * width + columns.start)..3 * (row * width + columns.end)].as_chunks::<3>().0
                {
                    sum.iter_mut().zip(pixel).for_each(|(sum, value)| *sum += u64::from(*value));
                    count += 1;
                }
            }
            small.extend(sum.map(|sum| (sum / count) as u8));
            small.push(u8::MAX);
        }
    }
    small
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a terminal would draw: width, height and the colour of a pixel.
    fn drawn(sixels: &str) -> (usize, usize, impl Fn(usize, usize) -> [u8; 3]) {
        let image = SixelImage::decode(sixels.as_bytes()).unwrap();
        let (width, height) = (image.width, image.height);
        (width, height, move |x: usize, y: usize| image.pixels[4 * (y * width + x)..][..3].try_into().unwrap())
    }

    #[test]
    fn a_picture_fits_its_cells_and_keeps_its_colours() {
        let (width, height) = (320, 160);
        let colour = |x: usize| if x < width / 2 { [250, 20, 20] } else { [20, 20, 250] };
        let rgb: Vec<u8> = (0..width * height).flat_map(|at| colour(at % width)).collect();
        for (cell, expected) in
            [((8, 16), (112, 54)), ((6, 12), (84, 42)), ((16, 36), (224, 108)), ((100, 100), (320, 156))]
        {
            let cell = Cell { width: cell.0, height: cell.1 };
            let sixels = cell.sixels(&rgb, (width, height), (14, 4)).unwrap();
            assert!(sixels.starts_with("\x1bP") && sixels.ends_with("\x1b\\"), "{sixels:.40?}");
            assert!(!sixels.contains('\n'), "a line's end would scroll");
            let (wide, high, at) = drawn(&sixels);
            assert_eq!((wide, high), expected);
            for (x, hue) in [(wide / 4, 0), (wide * 3 / 4, 2)] {
                let found = at(x, high / 2);
                assert!(found[hue] > 230 && found[2 - hue] < 40, "{found:?}");
            }
        }
    }

    #[test]
    fn a_picture_of_any_shape_has_a_pixel_and_room() {
        for size in [(1, 1), (640, 1), (1, 160), (640, 160), (3, 159)] {
            let sixels = Cell::default().sixels(&vec![128; 3 * size.0 * size.1], size, (14, 4)).unwrap();
            let (wide, high, _) = drawn(&sixels);
            assert!((1..=84).contains(&wide) && (1..=48).contains(&high), "{size:?}: {wide} x {high}");
        }
    }
}
