//! TIFF: the first page, whatever its samples are.

use std::borrow::Cow;
use std::io::Cursor;

use tiff::ColorType;
use tiff::decoder::{Decoder, DecodingResult, Limits};
use tiff::tags::{PhotometricInterpretation, Tag};

use super::metadata::Metadata;
use super::raw::Directories;
use super::{DecodeError, DecodeLimits, Picture, colour, orientation};

pub fn decode(bytes: &[u8], limits: &DecodeLimits) -> Result<Picture, DecodeError> {
    let taken_s = Directories::open(bytes).and_then(|directories| directories.taken_s());
    let (bytes, palette) = match palette(bytes)? {
        Some(palette) => (Cow::Owned(palette_as_grey(bytes)?), Some(palette)),
        None => (Cow::Borrowed(bytes), None),
    };
    let mut decoder = Decoder::new(Cursor::new(bytes)).map_err(DecodeError::undecodable)?;
    let (width, height) = decoder.dimensions().map_err(DecodeError::undecodable)?;
    let (width, height) = (width as usize, height as usize);
    limits.check(width, height)?;
    let mut allowed = Limits::default();
    // 4 channels of 32 bits.
    allowed.decoding_buffer_size = (width * height).saturating_mul(16);
    allowed.intermediate_buffer_size = allowed.decoding_buffer_size.saturating_add(1 << 24);
    let mut decoder = decoder.with_limits(allowed);
    let kind = decoder.colortype().map_err(DecodeError::undecodable)?;
    let turned = decoder.find_tag_unsigned::<u16>(Tag::Orientation).ok().flatten().map(u32::from);
    let xmp = decoder.find_tag(Tag::Unknown(700)).ok().flatten().and_then(|value| value.into_u8_vec().ok());
    let mut samples = DecodingResult::U8(Vec::new());
    let layout = decoder.read_image_to_buffer(&mut samples).map_err(DecodeError::undecodable)?;
    if samples.as_buffer(0).as_bytes().len() < layout.complete_len {
        return Err(DecodeError::undecodable("a TIFF larger than it says"));
    }
    let page = Page { width, height, planes: layout.planes };
    let rgb = page.to_rgb(kind, &samples, palette.as_deref())?;
    let metadata = Metadata { turned, taken_s }.or(|| xmp.map(|xmp| Metadata::of_xmp(&xmp)).unwrap_or_default());
    Ok(orientation::upright(Picture::new(width, height, rgb), metadata))
}

/// The palette of a picture that has one: all reds, all greens, all blues, 16 bits each.
fn palette(bytes: &[u8]) -> Result<Option<Vec<u16>>, DecodeError> {
    let mut decoder = Decoder::new(Cursor::new(bytes)).map_err(DecodeError::undecodable)?;
    let photometric =
        decoder.find_tag_unsigned::<u16>(Tag::PhotometricInterpretation).map_err(DecodeError::undecodable)?;
    if photometric != Some(PhotometricInterpretation::RGBPalette.to_u16()) {
        return Ok(None);
    }
    decoder.get_tag_u16_vec(Tag::ColorMap).map(Some).map_err(DecodeError::undecodable)
}

/// The file with its first page declared to be grey: the crate decodes no palette pictures, but their indices are
/// stored like levels.
fn palette_as_grey(bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let big_endian = bytes.starts_with(b"MM");
    let number = |at: usize, length: usize| {
        let digits = bytes.get(at..at.checked_add(length)?)?;
        let fold = |value: usize, &byte: &u8| (value << 8) | usize::from(byte);
        Some(if big_endian { digits.iter().fold(0, fold) } else { digits.iter().rev().fold(0, fold) })
    };
    // BigTIFF has wider numbers: (size of the entry count, of an entry, where the value stands in an entry).
    let (directory, count, entry, value) =
        if number(2, 2) == Some(43) { (number(8, 8), 8, 20, 12) } else { (number(4, 4), 2, 12, 8) };
    let found = directory.and_then(|directory| {
        let entries = number(directory, count)?.min(1 << 16);
        let first = directory.checked_add(count)?;
        (0..entries)
            .map(|i| first + i * entry)
            .find(|&at| number(at, 2) == Some(usize::from(Tag::PhotometricInterpretation.to_u16())))
    });
    let at = found.map(|at| at + value).filter(|at| at + 2 <= bytes.len());
    let at = at.ok_or_else(|| DecodeError::undecodable("a TIFF whose directory is damaged"))?;
    let grey = PhotometricInterpretation::BlackIsZero.to_u16();
    let mut copy = bytes.to_vec();
    copy[at..at + 2].copy_from_slice(&if big_endian { grey.to_be_bytes() } else { grey.to_le_bytes() });
    Ok(copy)
}

struct Page {
    width: usize,
    height: usize,
    planes: usize,
}

impl Page {
    fn to_rgb(
        &self,
        kind: ColorType,
        samples: &DecodingResult,
        palette: Option<&[u16]>,
    ) -> Result<Vec<u8>, DecodeError> {
        let pixels = self.width * self.height;
        let unsupported = || DecodeError::undecodable(format!("a TIFF with colours of the kind {kind:?}"));
        let (bits, channels) = match kind {
            ColorType::Gray(bits) => (bits, 1),
            ColorType::GrayA(bits) => (bits, 2),
            ColorType::RGB(bits) | ColorType::YCbCr(bits) => (bits, 3),
            ColorType::RGBA(bits) | ColorType::CMYK(bits) => (bits, 4),
            ColorType::CMYKA(bits) => (bits, 5),
            ColorType::Multiband { bit_depth, num_samples } => (bit_depth, usize::from(num_samples)),
            _ => return Err(unsupported()),
        };
        let grey = matches!(kind, ColorType::Gray(_) | ColorType::GrayA(_) | ColorType::Multiband { .. });
        let levels = match samples {
            DecodingResult::U8(packed) if bits < 8 && channels == 1 => {
                self.unpack(packed, bits, palette.is_some()).ok_or_else(unsupported)?
            }
            _ if bits < 8 => return Err(unsupported()),
            _ => self.interleaved(to_levels(samples, grey && channels == 1), channels),
        };
        if levels.len() < pixels * channels {
            return Err(DecodeError::undecodable("a TIFF with too few pixels"));
        }
        let levels = &levels[..pixels * channels];
        if let Some(palette) = palette {
            let entries = palette.len() / 3;
            let entry = |channel: usize, index: u8| {
                palette.get(channel * entries + usize::from(index)).map_or(0, |&v| colour::high_byte(v))
            };
            let pixels = levels.iter().step_by(channels);
            return Ok(pixels.flat_map(|&index| [entry(0, index), entry(1, index), entry(2, index)]).collect());
        }
        Ok(match kind {
            ColorType::RGB(_) | ColorType::RGBA(_) => colour::drop_alpha(levels, channels),
            ColorType::CMYK(_) => colour::cmyk_to_rgb(levels),
            ColorType::CMYKA(_) => {
                let inks: Vec<u8> = levels.chunks_exact(5).flat_map(|p| &p[..4]).copied().collect();
                colour::cmyk_to_rgb(&inks)
            }
            ColorType::YCbCr(_) => colour::ycbcr_to_rgb(levels),
            _ => colour::grey_to_rgb(levels.iter().copied().step_by(channels)),
        })
    }

    /// Samples of less than 8 bits, which stand close together in each row. Grey levels are spread over 0 to 255.
    fn unpack(&self, packed: &[u8], bits: u8, as_index: bool) -> Option<Vec<u8>> {
        if !matches!(bits, 1 | 2 | 4) {
            return None;
        }
        let per_byte = 8 / usize::from(bits);
        let top = (1u16 << bits) - 1;
        let spread = if as_index { 1 } else { (255 / top) as u8 };
        let row_bytes = self.width.div_ceil(per_byte);
        let value = move |row: &[u8], x: usize| {
            let shift = 8 - usize::from(bits) * (x % per_byte + 1);
            ((row[x / per_byte] >> shift) & top as u8) * spread
        };
        let rows = packed.chunks_exact(row_bytes).take(self.height);
        Some(rows.flat_map(|row| (0..self.width).map(move |x| value(row, x))).collect())
    }

    /// Planes one after the other become pixels one after the other.
    fn interleaved(&self, levels: Vec<u8>, channels: usize) -> Vec<u8> {
        let pixels = self.width * self.height;
        if self.planes < 2 || self.planes < channels || levels.len() < pixels * channels {
            return levels;
        }
        (0..pixels).flat_map(|i| (0..channels).map(move |c| c * pixels + i)).map(|at| levels[at]).collect()
    }
}

/// Samples of any kind as levels of 0 to 255.
fn to_levels(samples: &DecodingResult, grey: bool) -> Vec<u8> {
    let wide = |v: u64| (v / 257).min(255) as u8;
    let narrow = |v: u16| if grey { colour::grey16(v) } else { colour::high_byte(v) };
    match samples {
        DecodingResult::U8(v) => v.clone(),
        DecodingResult::U16(v) => v.iter().map(|&v| narrow(v)).collect(),
        // Pillow keeps these as integers; like it, they are taken for 16-bit values.
        DecodingResult::U32(v) => v.iter().map(|&v| wide(v.into())).collect(),
        DecodingResult::U64(v) => v.iter().map(|&v| wide(v)).collect(),
        DecodingResult::I8(v) => v.iter().map(|&v| v.max(0) as u8).collect(),
        DecodingResult::I16(v) => v.iter().map(|&v| wide(v.max(0) as u64)).collect(),
        DecodingResult::I32(v) => v.iter().map(|&v| wide(v.max(0) as u64)).collect(),
        DecodingResult::I64(v) => v.iter().map(|&v| wide(v.max(0) as u64)).collect(),
        DecodingResult::F16(v) => floats(v.iter().map(|v| v.to_f32())),
        DecodingResult::F32(v) => floats(v.iter().copied()),
        DecodingResult::F64(v) => floats(v.iter().map(|&v| v as f32)),
    }
}

/// Floats have no agreed range: what stays within 0 and 1 is taken for that, all else for 0 to 255, as Pillow does.
fn floats(values: impl Iterator<Item = f32> + Clone) -> Vec<u8> {
    let unit = values.clone().filter(|v| v.is_finite()).all(|v| (0.0..=1.0).contains(&v));
    let scale = if unit { 255.0 } else { 1.0 };
    values.map(|v| (v * scale) as u8).collect()
}
