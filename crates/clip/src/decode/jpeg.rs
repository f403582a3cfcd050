//! JPEG by libjpeg-turbo, with the settings of Pillow: accurate integer DCT and smooth upsampling; what is plain and to be
//! scaled, by [`scaled`].
//!
//! What Pillow tolerates is tolerated: libjpeg's warnings are about bits that look wrong, and the picture is there.
//! What ends too early is decoded as far as it goes, as Pillow does if asked to, and marked as damaged.

use std::borrow::Cow;

use turbojpeg::{Colorspace, DecompressHeader, Decompressor, Image, PixelFormat, ScalingFactor};

use super::jpeg_stream::{EOI, Stream};
use super::metadata::Metadata;
use super::{DecodeError, DecodeLimits, DecodeMode, Picture, colour, orientation, scaled};

const ENDS_EARLY: &str = "the file ends too early";

/// A picture of which less than this share, in percent, can be read is none.
const LEAST_PERCENT: usize = 10;

/// Decodes a JPEG. `outside` is metadata from around it, which go before the JPEG's own.
pub fn decode(
    bytes: &[u8],
    outside: Metadata,
    mode: DecodeMode,
    target_side: usize,
    limits: &DecodeLimits,
) -> Result<Picture, DecodeError> {
    let stream = Stream::read(bytes);
    let mut decompressor = Decompressor::new().map_err(DecodeError::undecodable)?;
    let mut data = Cow::Borrowed(bytes);
    let mut header = decompressor.read_header(&data);
    // A warning about the header hides what it says.
    if header.as_ref().is_err_and(is_warning) {
        data = Cow::Owned(stream.cleaned());
        header = decompressor.read_header(&data);
    }
    let header = header.map_err(|e| DecodeError::undecodable(text(&e)))?;
    limits.check(header.width, header.height)?;
    let factor = match mode {
        DecodeMode::Fast if !header.is_lossless => scale(header.width.min(header.height), 2 * target_side),
        _ => ScalingFactor::ONE,
    };
    decompressor.set_scaling_factor(factor).map_err(DecodeError::undecodable)?;
    let size = header.scaled(factor);
    let plain =
        if factor == ScalingFactor::ONE { None } else { scaled::decode(&data, 8 * factor.num() / factor.denom()) };
    let mut picture = match plain {
        Some(values) => Pixels { values, warning: None, fatal: None },
        None => pixels(&mut decompressor, &size, &data),
    };
    let mut cut = picture.warning.is_some() && !stream.ends;
    if cut && stream.one_scan {
        // Perhaps only the end marker is missing. With one, a warning tells whether pixels are missing too.
        let mut ended = data.into_owned();
        ended.extend([0xFF, EOI]);
        picture = pixels(&mut decompressor, &size, &ended);
        cut = picture.warning.as_ref().is_some_and(|w| w.contains("premature end"));
    }
    if let (Some(_), false, Some(whole)) = (&picture.fatal, stream.ends, stream.whole) {
        picture = pixels(&mut decompressor, &size, &bytes[..whole]);
        cut = true;
    }
    if let Some(fatal) = picture.fatal {
        let detail = if stream.ends { fatal } else { format!("{ENDS_EARLY}: {fatal}") };
        return Err(DecodeError::undecodable(detail));
    }
    let damage = if cut { Some(damage(&picture.values, size.height, stream.one_scan)?) } else { None };
    let rgb = match header.colorspace {
        // Inverted, as Adobe's programs write it and Pillow always takes it.
        Colorspace::CMYK | Colorspace::YCCK => {
            picture.values.iter_mut().for_each(|v| *v = 255 - *v);
            colour::cmyk_to_rgb(&picture.values)
        }
        _ => picture.values,
    };
    let full_size = (header.width, header.height);
    let picture = Picture { damage, full_size, ..Picture::new(size.width, size.height, rgb) };
    let metadata =
        outside.or(|| Metadata::of_container(bytes)).or(|| stream.xmp.map(Metadata::of_xmp).unwrap_or_default());
    Ok(orientation::upright(picture, metadata))
}

/// What is missing of a picture whose file ends too early; an error if too little is there.
fn damage(values: &[u8], height: usize, one_scan: bool) -> Result<String, DecodeError> {
    // Where its data end, libjpeg leaves every channel in the middle.
    let empty = |row: &&[u8]| row.iter().all(|v| matches!(v, 127 | 128));
    let missing = values.chunks_exact(values.len() / height).rev().take_while(empty).count();
    let percent = 100 * (height - missing) / height;
    if percent < LEAST_PERCENT {
        return Err(DecodeError::undecodable(format!("{ENDS_EARLY}: only {percent} % of it can be read")));
    }
    Ok(match percent {
        100 if !one_scan => format!("{ENDS_EARLY}: its finest details are missing"),
        _ => format!("{ENDS_EARLY}: only {} % of it can be read", percent.min(99)),
    })
}

struct Pixels {
    values: Vec<u8>,
    warning: Option<String>,
    fatal: Option<String>,
}

fn pixels(decompressor: &mut Decompressor, size: &DecompressHeader, data: &[u8]) -> Pixels {
    let format = match size.colorspace {
        Colorspace::CMYK | Colorspace::YCCK => PixelFormat::CMYK,
        _ => PixelFormat::RGB,
    };
    let pitch = size.width * format.size();
    let mut image =
        Image { pixels: vec![0; pitch * size.height], width: size.width, pitch, height: size.height, format };
    let (warning, fatal) = match decompressor.decompress(data, image.as_deref_mut()) {
        Ok(()) => (None, None),
        Err(e) if is_warning(&e) => (Some(text(&e)), None),
        Err(e) => (None, Some(text(&e))),
    };
    Pixels { values: image.pixels, warning, fatal }
}

/// The smallest scale that leaves at least `wanted` pixels on the shorter edge, of those that libjpeg-turbo computes with
/// vector instructions: three eighths cost as much as a half.
fn scale(shorter: usize, wanted: usize) -> ScalingFactor {
    let eighths = [1, 2, 4].into_iter().find(|&n| ScalingFactor::new(n, 8).scale(shorter) >= wanted);
    ScalingFactor::new(eighths.unwrap_or(8), 8)
}

/// Whether an error is one of libjpeg's warnings (`JWRN_` in its jerror.h): the interface does not tell otherwise. What
/// is fatal replaces the text of a warning.
fn is_warning(error: &turbojpeg::Error) -> bool {
    const WARNINGS: [&str; 7] = [
        "Corrupt JPEG data",
        "Premature end of JPEG file",
        "Inconsistent progression sequence",
        "Invalid SOS parameters",
        "Unknown Adobe color transform",
        "Warning: ",
        "Application transferred too many",
    ];
    let text = text(error);
    WARNINGS.iter().any(|warning| text.starts_with(warning))
}

fn text(error: &turbojpeg::Error) -> String {
    match error {
        turbojpeg::Error::TurboJpegError(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_keeps_twice_the_side() {
        let of = |shorter| scale(shorter, 448).scale(shorter);
        assert_eq!((of(3000), of(448), of(449), of(100), of(3584)), (750, 448, 449, 100, 448));
        assert_eq!(of(1200), 600, "not three eighths");
        assert!((448..100_000).all(|shorter| of(shorter) >= 448));
    }
}
