//! From the bytes of a picture's file to upright RGB, as a person sees it and as Pillow gives it.
//!
//! The format is found by content, never by a name. Any bytes whatever give a picture or an error: limits are checked
//! before memory is taken, and a decoder that panics is contained.

mod colour;
mod gif;
mod heif;
mod jpeg;
mod jpeg_stream;
mod jxl;
mod metadata;
mod orientation;
mod other;
mod raw;
mod scaled;
mod tiff;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use ::image::ImageFormat;
use protocol::FailureKind;

use self::metadata::Metadata;
use self::raw::Raw;

/// How exactly a JPEG is decoded. Other formats are always exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DecodeMode {
    /// Every pixel, as Pillow does.
    #[default]
    Exact,
    /// Scaled while it is decoded, to at least twice the target side on the shorter edge: 2 to 3 times as fast for
    /// large photos, and 0.002 away from exact vectors as a share of the median distance between pictures.
    Fast,
}

/// What a picture may demand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Pixels of the picture as its header announces them.
    pub max_pixels: u64,
}

impl Default for DecodeLimits {
    /// 2^28 pixels, which are 768 MiB as RGB. Pillow refuses more than 179 million, but 200-megapixel phones and
    /// panoramas exist.
    fn default() -> Self {
        Self { max_pixels: 1 << 28 }
    }
}

/// An upright picture, RGB8, [height, width, 3], rows from the top.
#[derive(Clone, PartialEq, Eq)]
pub struct Picture {
    /// Pixels in a row, at least 1.
    pub width: usize,
    /// Rows, at least 1.
    pub height: usize,
    /// 3 x width x height values.
    pub rgb: Vec<u8>,
    /// What of the picture could not be read; what is missing is grey. `None` if it is whole.
    pub damage: Option<String>,
    /// Width and height before it was scaled while it was decoded; of a RAW file, those of the sensor's picture where it
    /// tells them.
    pub full_size: (usize, usize),
    /// When it was taken, by its EXIF: seconds since 1970, the camera's clock taken for UTC. `None` if it does not say, or
    /// says nonsense.
    pub taken_s: Option<i64>,
}

impl Picture {
    /// A whole picture of which nothing else is known.
    pub(crate) fn new(width: usize, height: usize, rgb: Vec<u8>) -> Self {
        Self { width, height, rgb, damage: None, full_size: (width, height), taken_s: None }
    }
}

impl fmt::Debug for Picture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Picture({} x {})", self.width, self.height)
    }
}

/// Why there is no picture.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {detail}")]
pub struct DecodeError {
    /// [`FailureKind::Undecodable`], [`FailureKind::NoDecoder`] or [`FailureKind::TooManyPixels`].
    pub kind: FailureKind,
    /// What exactly is wrong.
    pub detail: String,
}

impl DecodeError {
    fn undecodable(detail: impl fmt::Display) -> Self {
        Self { kind: FailureKind::Undecodable, detail: detail.to_string() }
    }

    /// The fault is the machine's, not the picture's.
    fn no_decoder(detail: impl fmt::Display) -> Self {
        Self { kind: FailureKind::NoDecoder, detail: detail.to_string() }
    }
}

impl DecodeLimits {
    /// Refuses what has too many pixels, or none.
    fn check(&self, width: usize, height: usize) -> Result<(), DecodeError> {
        if width == 0 || height == 0 {
            return Err(DecodeError::undecodable(format!("a picture of {width} x {height} pixels")));
        }
        let pixels = (width as u64).saturating_mul(height as u64);
        if pixels > self.max_pixels {
            let detail = format!("{width} x {height} pixels; the limit is {}", self.max_pixels);
            return Err(DecodeError { kind: FailureKind::TooManyPixels, detail });
        }
        Ok(())
    }
}

/// Decodes a picture: JPEG, PNG, GIF, WebP, BMP, TIFF or JPEG XL, of an animation the first frame, of several pages the
/// first; HEIC or AVIF where this machine has libheif; of a CR2, CR3, NEF, ARW, DNG or RAF the largest preview.
/// It is turned upright, transparency dropped, CMYK converted, 16 bits scaled to 8. Of a JPEG that ends too early there
/// is what can be read, marked as [`Picture::damage`].
///
/// `target_side` is what [`crate::Preprocess::side`] gives; only [`DecodeMode::Fast`] uses it.
pub fn decode(
    bytes: &[u8],
    mode: DecodeMode,
    target_side: usize,
    limits: &DecodeLimits,
) -> Result<Picture, DecodeError> {
    let decoded = catch_unwind(AssertUnwindSafe(|| by_content(bytes, mode, target_side, limits)));
    let picture = decoded.unwrap_or_else(|_| Err(DecodeError::undecodable("its decoder panicked")))?;
    debug_assert_eq!(picture.rgb.len(), 3 * picture.width * picture.height);
    Ok(picture)
}

fn by_content(
    bytes: &[u8],
    mode: DecodeMode,
    target_side: usize,
    limits: &DecodeLimits,
) -> Result<Picture, DecodeError> {
    // Some of these look like TIFF, too.
    if let Some(raw) = Raw::open(bytes) {
        return raw.decode(mode, target_side, limits);
    }
    if heif::is_heif(bytes) {
        return heif::decode(bytes, limits);
    }
    if jxl::is_jxl(bytes) {
        return jxl::decode(bytes, limits);
    }
    match ::image::guess_format(bytes) {
        Ok(ImageFormat::Jpeg) => jpeg::decode(bytes, Metadata::default(), mode, target_side, limits),
        Ok(ImageFormat::Gif) => gif::decode(bytes, limits),
        Ok(ImageFormat::Tiff) => tiff::decode(bytes, limits),
        Ok(format @ (ImageFormat::Png | ImageFormat::WebP | ImageFormat::Bmp)) => other::decode(bytes, format, limits),
        Ok(format) => Err(DecodeError::undecodable(format!("{format:?} pictures are not supported"))),
        // BigTIFF, which the crate does not recognise.
        Err(_) if bytes.starts_with(b"II+\0") || bytes.starts_with(b"MM\0+") => tiff::decode(bytes, limits),
        Err(_) if bytes.is_empty() => Err(DecodeError::undecodable("the file is empty")),
        Err(_) => Err(DecodeError::undecodable("no picture of a known format")),
    }
}
