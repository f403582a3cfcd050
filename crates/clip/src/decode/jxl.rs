//! JPEG XL by jxl-oxide, which turns pictures itself; their EXIF orientation does not count.

use std::io::Cursor;

use jxl_oxide::{AllocTracker, AuxBoxData, EnumColourEncoding, JxlImage, RenderingIntent};

use super::metadata::Metadata;
use super::{DecodeError, DecodeLimits, Picture, colour};

/// Whether a file begins as one of these, bare or in its container.
pub fn is_jxl(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0xFF, 0x0A]) || bytes.starts_with(b"\0\0\0\x0CJXL \r\n\x87\n")
}

/// Decodes the first frame.
pub fn decode(bytes: &[u8], limits: &DecodeLimits) -> Result<Picture, DecodeError> {
    // A frame is kept as three or four channels of 32 bits, and filters have their copies.
    let most = limits.max_pixels.saturating_mul(48).saturating_add(1 << 24);
    let tracker = AllocTracker::with_limit(usize::try_from(most).unwrap_or(usize::MAX));
    let reader = JxlImage::builder().alloc_tracker(tracker).read(Cursor::new(bytes));
    let mut image = reader.map_err(DecodeError::undecodable)?;
    limits.check(image.width() as usize, image.height() as usize)?;
    image.request_color_encoding(EnumColourEncoding::srgb(RenderingIntent::Relative));
    let frame = image.render_frame(0).map_err(DecodeError::undecodable)?;
    let mut stream = frame.stream_no_alpha();
    let (width, height) = (stream.width() as usize, stream.height() as usize);
    let mut values = vec![0; width * height * stream.channels() as usize];
    stream.write_to_buffer::<u8>(&mut values);
    let rgb = match stream.channels() {
        1 => colour::grey_to_rgb(values.into_iter()),
        3 => values,
        channels => return Err(DecodeError::undecodable(format!("a JPEG XL with {channels} colours"))),
    };
    Ok(Picture { taken_s: metadata(&image).taken_s, ..Picture::new(width, height, rgb) })
}

fn metadata(image: &JxlImage) -> Metadata {
    match image.aux_boxes().first_exif() {
        Ok(AuxBoxData::Data(exif)) => {
            exif.payload().get(exif.tiff_header_offset() as usize..).map(Metadata::of_exif).unwrap_or_default()
        }
        _ => Metadata::default(),
    }
}
