//! What a JPEG says in front of its pixels (ITU-T T.81, B.2), as far as this decoder takes it.

use super::huffman::Table;
use crate::decode::jpeg_stream::{EOI, SOI, SOS};

/// Coefficients in the order of the file: where they stand in [8, 8], rows from the lowest vertical frequency.
pub const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21,
    28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54,
    47, 55, 62, 63,
];

/// A baseline or extended sequential picture of one scan, grey or YCbCr.
pub struct Frame<'a> {
    pub width: usize,
    pub height: usize,
    /// Blocks of an MCU beside and below each other, of the component that has most.
    pub h: usize,
    pub v: usize,
    /// MCUs between two restart markers; 0 if there are none.
    pub restart: usize,
    pub components: Vec<Component>,
    pub tables: Tables,
    /// The entropy-coded bytes and what follows them.
    pub scan: &'a [u8],
}

/// One of the planes of a picture.
#[derive(Clone, Copy)]
pub struct Component {
    id: u8,
    /// Blocks of an MCU beside and below each other.
    pub h: usize,
    pub v: usize,
    pub quanta: usize,
    pub dc: usize,
    pub ac: usize,
}

/// The tables by their number.
#[derive(Default)]
pub struct Tables {
    /// In the order of the file.
    pub quanta: [Option<[u16; 64]>; 4],
    pub dc: [Option<Box<Table>>; 4],
    pub ac: [Option<Box<Table>>; 4],
}

impl<'a> Frame<'a> {
    /// `None` for what is not plain, and for what is not sound.
    pub fn read(jpeg: &'a [u8]) -> Option<Self> {
        let mut rest = jpeg.strip_prefix(&[0xFF, SOI])?;
        let mut tables = Tables::default();
        let (mut restart, mut jfif, mut adobe) = (0, false, None);
        let mut frame: Option<(usize, usize, Vec<Component>)> = None;
        loop {
            let marker = *rest.strip_prefix(&[0xFF])?.first()?;
            let length = usize::from(word(rest.get(2..)?)?);
            let body = rest.get(4..2 + length)?;
            rest = &rest[2 + length..];
            match marker {
                0xC0 | 0xC1 if frame.is_none() => frame = Some(start_of_frame(body)?),
                0xC4 => tables.huffman(body)?,
                0xDB => tables.quanta(body)?,
                0xDD => restart = usize::from(word(body)?),
                SOS => {
                    let (width, height, mut components) = frame?;
                    start_of_scan(body, &mut components)?;
                    let ids: Vec<u8> = components.iter().map(|c| c.id).collect();
                    let rgb = !jfif && (adobe == Some(0) || adobe.is_none() && ids == *b"RGB");
                    let most = |of: fn(&Component) -> usize| components.iter().map(of).max();
                    let (h, v) = (most(|c| c.h)?, most(|c| c.v)?);
                    return (!rgb).then_some(Self { width, height, h, v, restart, components, tables, scan: rest });
                }
                0xE0 => jfif |= body.starts_with(b"JFIF\0"),
                0xEE if body.starts_with(b"Adobe") => adobe = Some(*body.get(11)?),
                0xE1..=0xEF | 0xFE => {}
                _ => return None,
            }
        }
    }

    /// The bytes of the scan without stuffing, and where each stretch between restart markers ends in them; `None` if the
    /// picture does not end behind it.
    pub fn stretches(&self) -> Option<(Vec<u8>, Vec<usize>)> {
        let mut bytes = Vec::with_capacity(self.scan.len() + super::huffman::PADDING);
        let (mut ends, mut rest) = (Vec::new(), self.scan);
        loop {
            let at = memchr::memchr(0xFF, rest)?;
            match *rest.get(at + 1)? {
                0 => bytes.extend_from_slice(&rest[..=at]),
                marker => {
                    bytes.extend_from_slice(&rest[..at]);
                    ends.push(bytes.len());
                    if marker == EOI {
                        bytes.resize(bytes.len() + super::huffman::PADDING, 0);
                        return Some((bytes, ends));
                    }
                    if usize::from(marker) != 0xD0 + (ends.len() - 1) % 8 {
                        return None;
                    }
                }
            }
            rest = &rest[at + 2..];
        }
    }
}

impl Tables {
    fn quanta(&mut self, mut body: &[u8]) -> Option<()> {
        while let [kind, after @ ..] = body {
            let wide = kind >> 4 == 1;
            let bytes = after.get(..if wide { 128 } else { 64 })?;
            let quantum = |k: usize| if wide { word(&bytes[2 * k..]) } else { Some(u16::from(bytes[k])) };
            let mut quanta = [0; 64];
            for (k, value) in quanta.iter_mut().enumerate() {
                *value = quantum(k)?;
            }
            *self.quanta.get_mut(usize::from(kind & 15))? = Some(quanta);
            body = &after[bytes.len()..];
        }
        Some(())
    }

    fn huffman(&mut self, mut body: &[u8]) -> Option<()> {
        while let [kind, after @ ..] = body {
            let counts: &[u8; 16] = after.first_chunk()?;
            let symbols = after.get(16..16 + counts.iter().map(|&n| usize::from(n)).sum::<usize>())?;
            let is_ac = kind >> 4 == 1;
            let tables = if is_ac { &mut self.ac } else { &mut self.dc };
            *tables.get_mut(usize::from(kind & 15))? = Some(Table::new(counts, symbols, is_ac)?);
            body = &after[16 + symbols.len()..];
        }
        Some(())
    }
}

/// Width, height and planes of 8 bits.
fn start_of_frame(body: &[u8]) -> Option<(usize, usize, Vec<Component>)> {
    let [8, h1, h0, w1, w0, n, planes @ ..] = body else { return None };
    let plane = |plane: &[u8; 3]| {
        let (h, v) = (usize::from(plane[1] >> 4), usize::from(plane[1] & 15));
        let component = Component { id: plane[0], h, v, quanta: usize::from(plane[2]), dc: 0, ac: 0 };
        (matches!(h, 1 | 2) && matches!(v, 1 | 2)).then_some(component)
    };
    let (planes, []) = planes.as_chunks::<3>() else { return None };
    let mut components = planes.iter().map(plane).collect::<Option<Vec<_>>>()?;
    match &mut components[..] {
        // Of a single plane the blocks stand in rows, whatever it says.
        [one] => (one.h, one.v) = (1, 1),
        [_, _, _] => {}
        _ => return None,
    }
    let size = |high: &u8, low: &u8| usize::from(u16::from_be_bytes([*high, *low]));
    let (width, height) = (size(w1, w0), size(h1, h0));
    (components.len() == usize::from(*n) && width > 0 && height > 0).then_some((width, height, components))
}

/// Gives all planes their tables; `None` if some are not in this scan.
fn start_of_scan(body: &[u8], components: &mut [Component]) -> Option<()> {
    let planes = body.get(1..1 + 2 * components.len())?;
    if usize::from(body[0]) != components.len() || body.get(1 + planes.len()..) != Some(&[0, 63, 0]) {
        return None;
    }
    for (component, plane) in components.iter_mut().zip(planes.as_chunks::<2>().0) {
        if component.id != plane[0] {
            return None;
        }
        (component.dc, component.ac) = (usize::from(plane[1] >> 4), usize::from(plane[1] & 15));
    }
    Some(())
}

fn word(bytes: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.first_chunk()?))
}
