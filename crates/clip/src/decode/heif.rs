//! HEIC and AVIF by libheif, which turns pictures itself as their boxes say; their EXIF orientation does not count.
//!
//! The library is opened when it is first needed and never linked: its licence is the LGPL, that of codecs behind it
//! partly the GPL, and a machine without it shall read everything else. What a codec prints about a damaged file (dav1d
//! does) cannot be kept from standard error.

mod library;

use self::library::Library;
use super::metadata::Metadata;
use super::{DecodeError, DecodeLimits, Picture, raw};

/// Whether a file says that it is one of these.
pub fn is_heif(bytes: &[u8]) -> bool {
    const BRANDS: [&[u8; 4]; 10] =
        [b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"avif", b"avis"];
    raw::brands(bytes).any(|brand| BRANDS.iter().any(|known| *known == brand))
}

/// Decodes the primary picture.
pub fn decode(bytes: &[u8], limits: &DecodeLimits) -> Result<Picture, DecodeError> {
    let library = Library::of_this_machine().map_err(|why| {
        DecodeError::no_decoder(format!("HEIC and AVIF need libheif (Debian, Ubuntu: apt install libheif1): {why}"))
    })?;
    let file = library.open(bytes, limits.max_pixels)?;
    let (width, height) = file.size();
    limits.check(width, height)?;
    let (width, height, rgb) = file.rgb()?;
    Ok(Picture { taken_s: Metadata::of_container(bytes).taken_s, ..Picture::new(width, height, rgb) })
}
