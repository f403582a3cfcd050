//! A window of a resized picture, computed without the rest of it.
//!
//! The result is that of resizing the whole picture as Pillow does (antialiased, along x first, rounded to 8 bits in
//! between) and cutting the window out. Memory is bounded by the window and by the picture, whatever the target size:
//! a picture of 1 x 10,000 becomes 224 x 2,240,000, of which a window of 224 x 224 is computed.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

use crate::Picture;

/// Along one axis: the length that the whole picture gets, and the part of it that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Length of the whole, in target pixels.
    pub whole: usize,
    /// First wanted target pixel.
    pub start: usize,
    /// Wanted target pixels.
    pub length: usize,
}

impl Span {
    /// The wanted part in source pixels: (start, length), fractional.
    fn source(&self, source: usize) -> (f64, f64) {
        let scale = source as f64 / self.whole as f64;
        let start = self.start as f64 * scale;
        (start, (self.length as f64 * scale).min(source as f64 - start))
    }

    /// Whether nothing is resized along this axis.
    fn is_copy(&self, source: usize) -> bool {
        self.whole == source
    }

    /// The source pixels that the wanted part depends on, (first, past the last), generously.
    fn reach(&self, source: usize) -> (usize, usize) {
        let scale = source as f64 / self.whole as f64;
        // The widest kernel, Lanczos, reaches 3 source pixels, or 3 target pixels where those are larger.
        let margin = 3.0 * scale.max(1.0) + 2.0;
        let (start, length) = self.source(source);
        let first = (start - margin).floor().max(0.0) as usize;
        let last = ((start + length + margin).ceil() as usize).min(source);
        (first.min(source - 1), last)
    }
}

/// The window `x` by `y` of `picture` resized with `filter`: RGB8, rows from the top.
pub fn resize_window(picture: &Picture, x: Span, y: Span, filter: FilterType) -> Vec<u8> {
    let (top, bottom) = y.reach(picture.height);
    let rows = &picture.rgb[top * picture.width * 3..bottom * picture.width * 3];
    let height = bottom - top;
    // Two passes in this order: done at once, the crate would resize along y first, which rounds differently.
    let (left, width) = x.source(picture.width);
    let narrow = one_pass(
        rows,
        (picture.width, height),
        (left, 0.0, width, height as f64),
        (x.length, height),
        x.is_copy(picture.width),
        filter,
    );
    let (start, length) = y.source(picture.height);
    let start = start - top as f64;
    let length = length.min(height as f64 - start);
    one_pass(
        &narrow,
        (x.length, height),
        (0.0, start, x.length as f64, length),
        (x.length, y.length),
        y.is_copy(picture.height),
        filter,
    )
}

/// Resizes the box (left, top, width, height) of `pixels` to `target`; or only cuts it out.
fn one_pass(
    pixels: &[u8],
    size: (usize, usize),
    window: (f64, f64, f64, f64),
    target: (usize, usize),
    copy: bool,
    filter: FilterType,
) -> Vec<u8> {
    let (left, top, width, height) = window;
    if copy {
        let (left, top) = (left as usize, top as usize);
        return (top..top + target.1)
            .flat_map(|y| &pixels[(y * size.0 + left) * 3..][..target.0 * 3])
            .copied()
            .collect();
    }
    let source = ImageRef::new(size.0 as u32, size.1 as u32, pixels, PixelType::U8x3).expect("pixels fill the size");
    let mut out = Image::new(target.0 as u32, target.1 as u32, PixelType::U8x3);
    let options =
        ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter)).crop(left, top, width, height).use_alpha(false);
    Resizer::new().resize(&source, &mut out, &options).expect("the box lies in the picture");
    out.into_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stripes(width: usize, height: usize) -> Picture {
        let rgb = (0..width * height * 3).map(|i| ((i * 7919) % 251) as u8).collect();
        Picture::new(width, height, rgb)
    }

    #[test]
    fn a_window_is_what_would_be_cut_from_the_whole() {
        for (width, height, to_x, to_y) in [(301, 200, 150, 99), (40, 60, 112, 168), (64, 64, 64, 64), (90, 64, 90, 32)]
        {
            let picture = stripes(width, height);
            let all = |whole| Span { whole, start: 0, length: whole };
            let whole = resize_window(&picture, all(to_x), all(to_y), FilterType::CatmullRom);
            let (x, y) = (Span { whole: to_x, start: 9, length: 20 }, Span { whole: to_y, start: 5, length: 17 });
            let window = resize_window(&picture, x, y, FilterType::CatmullRom);
            for row in 0..y.length {
                let expected = &whole[((y.start + row) * to_x + x.start) * 3..][..x.length * 3];
                let found = &window[row * x.length * 3..][..x.length * 3];
                // The crate rounds coefficients by the largest of those that it needs, so a level may differ by one.
                assert!(found.iter().zip(expected).all(|(a, b)| a.abs_diff(*b) <= 1), "{width}x{height} row {row}");
            }
        }
    }

    #[test]
    fn a_thread_thin_picture_needs_little_memory() {
        let picture = stripes(1, 10_000);
        let x = Span { whole: 224, start: 0, length: 224 };
        let y = Span { whole: 2_240_000, start: 1_119_888, length: 224 };
        let window = resize_window(&picture, x, y, FilterType::CatmullRom);
        assert_eq!(window.len(), 224 * 224 * 3);
        assert!(window[..3] == window[223 * 3..224 * 3]);
    }
}
