//! PNG, WebP and BMP by the `image` crate.

use std::io::Cursor;

use image::codecs::bmp::BmpDecoder;
use image::codecs::png::PngDecoder;
use image::codecs::webp::WebPDecoder;
use image::{DynamicImage, ImageDecoder, ImageFormat, Limits};

use super::metadata::Metadata;
use super::{DecodeError, DecodeLimits, Picture, colour, orientation};

pub fn decode(bytes: &[u8], format: ImageFormat, limits: &DecodeLimits) -> Result<Picture, DecodeError> {
    let source = Cursor::new(bytes);
    let mut allowed = Limits::no_limits();
    // 4 channels of 16 bits, twice, and something for tables.
    allowed.max_alloc = Some(limits.max_pixels.saturating_mul(16).saturating_add(1 << 24));
    match format {
        ImageFormat::Png => {
            let decoder = PngDecoder::with_limits(source, allowed).map_err(DecodeError::undecodable)?;
            // EXIF may stand behind the pixels, where the decoder has not looked.
            upright(decoder, Metadata::of_container(bytes), limits)
        }
        ImageFormat::WebP => {
            let mut decoder = WebPDecoder::new(source).map_err(DecodeError::undecodable)?;
            let exif = decoder.exif_metadata().ok().flatten();
            upright(decoder, exif.map(|e| Metadata::of_exif(&e)).unwrap_or_default(), limits)
        }
        _ => upright(BmpDecoder::new(source).map_err(DecodeError::undecodable)?, Metadata::default(), limits),
    }
}

fn upright(mut decoder: impl ImageDecoder, exif: Metadata, limits: &DecodeLimits) -> Result<Picture, DecodeError> {
    let (width, height) = decoder.dimensions();
    let (width, height) = (width as usize, height as usize);
    limits.check(width, height)?;
    let xmp = || decoder.xmp_metadata().ok().flatten().map(|xmp| Metadata::of_xmp(&xmp)).unwrap_or_default();
    let metadata = exif.or(xmp);
    let image = DynamicImage::from_decoder(decoder).map_err(DecodeError::undecodable)?;
    Ok(orientation::upright(Picture::new(width, height, to_rgb(image)?), metadata))
}

fn to_rgb(image: DynamicImage) -> Result<Vec<u8>, DecodeError> {
    let high_bytes = |values: &[u16], channels: usize| -> Vec<u8> {
        values.chunks_exact(channels).flat_map(|p| [p[0], p[1], p[2]].map(colour::high_byte)).collect()
    };
    Ok(match image {
        DynamicImage::ImageRgb8(i) => i.into_raw(),
        DynamicImage::ImageRgba8(i) => colour::drop_alpha(&i.into_raw(), 4),
        DynamicImage::ImageLuma8(i) => colour::grey_to_rgb(i.into_raw().into_iter()),
        DynamicImage::ImageLumaA8(i) => colour::grey_to_rgb(i.into_raw().into_iter().step_by(2)),
        DynamicImage::ImageLuma16(i) => colour::grey_to_rgb(i.into_raw().into_iter().map(colour::grey16)),
        DynamicImage::ImageLumaA16(i) => {
            colour::grey_to_rgb(i.into_raw().into_iter().step_by(2).map(colour::high_byte))
        }
        DynamicImage::ImageRgb16(i) => high_bytes(&i.into_raw(), 3),
        DynamicImage::ImageRgba16(i) => high_bytes(&i.into_raw(), 4),
        _ => return Err(DecodeError::undecodable("colours of an unknown kind")),
    })
}
