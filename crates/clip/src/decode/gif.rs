//! GIF: the first frame, on the screen that Pillow puts it on.

use std::io::Cursor;

use gif::{ColorOutput, DecodeOptions, MemoryLimit};

use super::metadata::Metadata;
use super::{DecodeError, DecodeLimits, Picture, orientation};

pub fn decode(bytes: &[u8], limits: &DecodeLimits) -> Result<Picture, DecodeError> {
    let mut options = DecodeOptions::new();
    options.set_color_output(ColorOutput::Indexed);
    options.set_memory_limit(MemoryLimit::Bytes(limits.max_pixels.try_into().unwrap_or(std::num::NonZeroU64::MIN)));
    let mut decoder = options.read_info(Cursor::new(bytes)).map_err(DecodeError::undecodable)?;
    let screen = (usize::from(decoder.width()), usize::from(decoder.height()));
    let metadata = decoder.xmp_metadata().map(Metadata::of_xmp).unwrap_or_default();
    let info = decoder.next_frame_info().map_err(DecodeError::undecodable)?;
    let info = info.ok_or_else(|| DecodeError::undecodable("a GIF without a frame"))?;
    let (left, top) = (usize::from(info.left), usize::from(info.top));
    let (w, h) = (usize::from(info.width), usize::from(info.height));
    // A frame that stands over the screen's edge makes the picture larger.
    let (width, height) = (screen.0.max(left + w), screen.1.max(top + h));
    limits.check(width, height)?;
    if w == 0 || h == 0 {
        return Err(DecodeError::undecodable("a GIF whose first frame is empty"));
    }
    let transparent = info.transparent;
    let palette = decoder.palette().map(<[u8]>::to_vec).unwrap_or_default();
    let mut indices = vec![0; w * h];
    decoder.read_into_buffer(&mut indices).map_err(DecodeError::undecodable)?;
    // Without a palette an index is a level of grey; behind the end of one there is black.
    let colour = |index: u8| match palette.get(usize::from(index) * 3..usize::from(index) * 3 + 3) {
        Some(rgb) => [rgb[0], rgb[1], rgb[2]],
        None if palette.is_empty() => [index; 3],
        None => [0; 3],
    };
    // What the frame leaves free has the transparent colour, or the first.
    let background = colour(transparent.unwrap_or(0));
    let mut rgb: Vec<u8> = background.iter().copied().cycle().take(width * height * 3).collect();
    for (row, line) in indices.chunks_exact(w).enumerate() {
        let out = &mut rgb[((top + row) * width + left) * 3..][..w * 3];
        out.chunks_exact_mut(3).zip(line).for_each(|(pixel, &index)| pixel.copy_from_slice(&colour(index)));
    }
    Ok(orientation::upright(Picture::new(width, height, rgb), metadata))
}
