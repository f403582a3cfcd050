//! A walk over a JPEG's markers: what libjpeg-turbo's interface does not tell.

/// What the markers of a JPEG say.
#[derive(Debug, Default)]
pub struct Stream<'a> {
    /// The end-of-image marker was met.
    pub ends: bool,
    /// Every component is in one scan, so that a picture without the end marker may still be whole.
    pub one_scan: bool,
    /// Bytes in front of a segment behind the first scan that is cut off, if one is.
    pub whole: Option<usize>,
    /// XMP, if any.
    pub xmp: Option<&'a [u8]>,
    /// The segments up to the first scan, without what only disturbs.
    header: Vec<&'a [u8]>,
    /// The first scan and all that follows.
    scans: &'a [u8],
}

/// The start-of-image marker.
pub const SOI: u8 = 0xD8;
/// The end-of-image marker.
pub const EOI: u8 = 0xD9;
/// The start-of-scan marker.
pub const SOS: u8 = 0xDA;
const XMP: &[u8] = b"http://ns.adobe.com/xap/1.0/\0";

impl<'a> Stream<'a> {
    /// Walks over `bytes` as far as they make sense.
    pub fn read(bytes: &'a [u8]) -> Self {
        let mut stream = Self::default();
        let mut scans = 0;
        let mut frame_components = 0;
        let mut rest = bytes;
        while let Some((at, marker)) = next_marker(rest) {
            let after = &rest[at + 2..];
            match marker {
                EOI => {
                    stream.ends = true;
                    break;
                }
                SOI | 0x01 | 0xD0..=0xD7 => rest = after,
                _ => {
                    let Some(length) = after.get(..2).map(|l| usize::from(u16::from_be_bytes([l[0], l[1]]))) else {
                        break;
                    };
                    let Some(body) = after.get(2..length) else {
                        stream.whole = (scans > 0).then_some(bytes.len() - rest.len() + at);
                        break;
                    };
                    let segment = &rest[at..at + 2 + length];
                    match marker {
                        SOS => {
                            scans += 1;
                            let components = body.first().copied().unwrap_or(0);
                            stream.one_scan = scans == 1 && components == frame_components;
                            if scans == 1 {
                                stream.scans = &rest[at..];
                            }
                        }
                        // SOF0, 1, 3: sequential or lossless. Progressive frames need all of their scans.
                        0xC0 | 0xC1 | 0xC3 | 0xC9 => frame_components = body.get(5).copied().unwrap_or(0),
                        0xE1 if body.starts_with(XMP) => stream.xmp = Some(&body[XMP.len()..]),
                        _ => {}
                    }
                    if scans == 0 && keep(marker, body) {
                        stream.header.push(segment);
                    }
                    rest = &rest[at + 2 + length..];
                }
            }
        }
        // A damaged byte among the pixels may look like a marker with a senseless length.
        stream.ends = stream.ends || scans > 0 && memchr::memmem::find(rest, &[0xFF, EOI]).is_some();
        stream
    }

    /// The same picture with only the segments that decoding needs, so that nothing in its header is worth a warning.
    pub fn cleaned(&self) -> Vec<u8> {
        let parts = std::iter::once(&[0xFF, SOI][..]).chain(self.header.iter().copied()).chain([self.scans]);
        parts.flatten().copied().collect()
    }
}

/// The pixels that a JPEG's frame announces; none if it is lossless, as sensors' data are, or no JPEG.
pub fn lossy_size(bytes: &[u8]) -> Option<u64> {
    let mut rest = bytes.strip_prefix(&[0xFF, SOI])?;
    while let Some((at, marker)) = next_marker(rest) {
        let segment = rest.get(at + 2..)?;
        let number = |at: usize| Some(u16::from_be_bytes([*segment.get(at)?, *segment.get(at + 1)?]));
        match marker {
            // SOF0, 1, 2 and their arithmetic kin.
            0xC0..=0xC2 | 0xC9 | 0xCA => return Some(u64::from(number(3)?) * u64::from(number(5)?)),
            0xC3 | 0xC5..=0xC7 | 0xCB | 0xCD..=0xCF | SOS | EOI => return None,
            SOI | 0x01 | 0xD0..=0xD7 => rest = segment,
            _ => rest = segment.get(usize::from(number(0)?)..)?,
        }
    }
    None
}

/// Whether decoding needs a segment: tables, the frame, and an Adobe marker that says what the colours are.
fn keep(marker: u8, body: &[u8]) -> bool {
    match marker {
        0xC0..=0xCF | 0xDB..=0xDF => true,
        0xEE => body.len() >= 12 && body.starts_with(b"Adobe") && body[11] <= 2,
        // JFIF in a version that libjpeg knows: it tells YCbCr from RGB.
        0xE0 => body.starts_with(b"JFIF\0\x01"),
        _ => false,
    }
}

/// The next marker and where its 0xFF stands. Stuffed zeros and fill bytes are none.
fn next_marker(bytes: &[u8]) -> Option<(usize, u8)> {
    let mut from = 0;
    loop {
        let at = from + memchr::memchr(0xFF, bytes.get(from..)?)?;
        match bytes.get(at + 1)? {
            0x00 => from = at + 2,
            0xFF => from = at + 1,
            &marker => return Some((at, marker)),
        }
    }
}
