//! Pictures for people: made smaller, and written as JPEG. Nothing here touches a vector.

use fast_image_resize::FilterType;
use turbojpeg::{Compressor, Image, PixelFormat, Subsamp};

use crate::Picture;
use crate::resize::{Span, resize_window};

impl Picture {
    /// The whole picture in its proportions, within `width` x `height` pixels; never larger than it is.
    pub fn fitted(self, width: usize, height: usize) -> Self {
        let scale = (width as f64 / self.width as f64).min(height as f64 / self.height as f64);
        if scale >= 1.0 {
            return self;
        }
        let scaled = |side: usize| ((side as f64 * scale).round() as usize).max(1);
        let (width, height) = (scaled(self.width), scaled(self.height));
        let whole = |length| Span { whole: length, start: 0, length };
        let rgb = resize_window(&self, whole(width), whole(height), FilterType::CatmullRom);
        Self { width, height, rgb, ..self }
    }

    /// A JPEG of it, of a `quality` from 1 to 100, its colours at half the resolution.
    ///
    /// # Errors
    /// If it is larger than a JPEG can be: 65,535 pixels on a side.
    pub fn to_jpeg(&self, quality: i32) -> Result<Vec<u8>, String> {
        let mut compressor = Compressor::new().map_err(|e| e.to_string())?;
        compressor.set_quality(quality).map_err(|e| e.to_string())?;
        compressor.set_subsamp(Subsamp::Sub2x2).map_err(|e| e.to_string())?;
        let image = Image {
            pixels: &self.rgb[..],
            width: self.width,
            pitch: 3 * self.width,
            height: self.height,
            format: PixelFormat::RGB,
        };
        compressor.compress_to_vec(image).map_err(|e| e.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DecodeLimits, DecodeMode, decode};

    fn picture(width: usize, height: usize) -> Picture {
        let rgb = (0..width * height).flat_map(|i| [(i % width * 255 / width) as u8, 90, 160]).collect();
        Picture::new(width, height, rgb)
    }

    #[test]
    fn a_picture_is_fitted_in_its_proportions_and_never_enlarged() {
        let size = |width, height| {
            let fitted = picture(width, height).fitted(960, 240);
            assert_eq!(fitted.rgb.len(), 3 * fitted.width * fitted.height);
            (fitted.width, fitted.height)
        };
        assert_eq!(size(640, 480), (320, 240));
        assert_eq!(size(480, 640), (180, 240));
        assert_eq!(size(3000, 300), (960, 96));
        assert_eq!(size(5000, 1), (960, 1));
        assert_eq!(size(1, 5000), (1, 240));
        assert_eq!(size(100, 100), (100, 100));
    }

    #[test]
    fn a_jpeg_shows_what_the_picture_shows() {
        let made = picture(120, 90);
        let jpeg = made.to_jpeg(90).unwrap();
        let read = decode(&jpeg, DecodeMode::Exact, 0, &DecodeLimits::default()).unwrap();
        assert_eq!((read.width, read.height), (120, 90));
        assert!(read.rgb.iter().zip(&made.rgb).all(|(a, b)| a.abs_diff(*b) < 16));
    }
}
