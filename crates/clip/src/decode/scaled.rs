//! Plain JPEGs, scaled while they are decoded: what costs most of a large photo's time is its entropy-coded bits, most of
//! which are of frequencies that the scaled picture does not have.
//!
//! libjpeg-turbo reads one such coefficient after the other; here several are passed over at once
//! ([`huffman::Table::coefficients`]). Everything that is not plain, sound and whole is left to libjpeg-turbo.

mod frame;
mod huffman;
#[cfg(test)]
mod tests;
mod transform;

use multiversion::multiversion;

use self::frame::{Component, Frame, ZIGZAG};
use self::huffman::{Bits, Table};
use self::transform::{Coefficients, LANES, inverse, weight};

/// Decodes a JPEG to 1, 2 or 4 `eighths` of its size, rounded up: RGB8, [height, width, 3]. `None` if libjpeg-turbo must say
/// what it is.
pub fn decode(jpeg: &[u8], eighths: usize) -> Option<Vec<u8>> {
    let frame = Frame::read(jpeg)?;
    let (bytes, ends) = frame.stretches()?;
    let (across, down) = (frame.width.div_ceil(8 * frame.h), frame.height.div_ceil(8 * frame.v));
    let stretch = if frame.restart == 0 { across * down } else { frame.restart };
    if ends.len() != (across * down).div_ceil(stretch) {
        return None;
    }
    let mut planes =
        frame.components.iter().map(|c| Plane::new(&frame, c, across, eighths)).collect::<Option<Vec<_>>>()?;
    let mut reader = Reader { bits: Bits::new(&bytes, 0), ends: &ends, stretch, left: stretch };
    let scaled = |length: usize| (length * eighths).div_ceil(8);
    let (width, height) = (scaled(frame.width), scaled(frame.height));
    let mut rgb = vec![0; 3 * width * height];
    for rows in rgb.chunks_mut(3 * width * frame.v * eighths) {
        row_of_mcus(&mut reader, &mut planes, across)?;
        planes.iter_mut().for_each(transform);
        for (y, row) in rows.chunks_exact_mut(3 * width).enumerate() {
            match &planes[..] {
                [luma, blue, red] => to_rgb(luma.row(y), blue.row(y), red.row(y), row),
                [luma, ..] => {
                    row.as_chunks_mut().0.iter_mut().zip(luma.row(y)).for_each(|(out, &grey)| *out = [grey; 3])
                }
                [] => return None,
            }
        }
    }
    reader.end()?;
    Some(rgb)
}

/// One plane, a row of MCUs at a time.
struct Plane<'a> {
    /// Blocks of an MCU beside and below each other.
    h: usize,
    v: usize,
    /// Pixels that a block becomes, in each direction 1, 2, 4 or 8, in one at most twice as many as in the other.
    width: usize,
    height: usize,
    /// Zigzag index of the last coefficient that these pixels need.
    last: u32,
    /// By zigzag index, the place of a coefficient in [height, width]; those that are not needed share the place behind.
    places: [u8; 64],
    /// What a coefficient is multiplied with, by place.
    weights: [f32; 65],
    dc: &'a Table,
    ac: &'a Table,
    /// The last block's mean.
    mean: i16,
    /// Vectors of blocks in a row.
    vectors: usize,
    /// [v, vectors, block()].
    coefficients: Vec<Coefficients>,
    /// [v * height, vectors * LANES * width].
    values: Vec<u8>,
}

impl<'a> Plane<'a> {
    fn new(frame: &'a Frame, component: &Component, across: usize, eighths: usize) -> Option<Self> {
        let (width, height) = (frame.h / component.h * eighths, frame.v / component.v * eighths);
        let vectors = (across * component.h).div_ceil(LANES);
        let quanta = frame.tables.quanta.get(component.quanta)?.as_ref()?;
        let frequencies = |k: usize| (usize::from(ZIGZAG[k]) % 8, usize::from(ZIGZAG[k]) / 8);
        let needed = |k: usize| frequencies(k).0 < width && frequencies(k).1 < height;
        let (mut places, mut weights) = ([(width * height) as u8; 64], [0.0; 65]);
        for k in (0..64).filter(|&k| needed(k)) {
            let (u, v) = frequencies(k);
            places[k] = (v * width + u) as u8;
            weights[v * width + u] = f32::from(quanta[k]) * weight(u) * weight(v);
        }
        Some(Self {
            h: component.h,
            v: component.v,
            width,
            height,
            last: (0..64).rfind(|&k| needed(k))? as u32,
            places,
            weights,
            dc: frame.tables.dc.get(component.dc)?.as_deref()?,
            ac: frame.tables.ac.get(component.ac)?.as_deref()?,
            mean: 0,
            vectors,
            coefficients: vec![[0; LANES]; component.v * vectors * (width * height + 1)],
            values: vec![0; component.v * height * vectors * LANES * width],
        })
    }

    /// Places of a block's coefficients, with that of those that are not needed.
    fn block(&self) -> usize {
        self.width * self.height + 1
    }

    /// Values of a row, some of which may be beyond the picture.
    fn pitch(&self) -> usize {
        self.vectors * LANES * self.width
    }

    /// A row of its values, at least as wide as the picture.
    fn row(&self, y: usize) -> &[u8] {
        &self.values[y * self.pitch()..][..self.pitch()]
    }
}

/// Where a scan is read.
struct Reader<'a> {
    bits: Bits<'a>,
    /// Ends of the stretches to come, in bytes.
    ends: &'a [usize],
    /// MCUs of a stretch, and those of this one that are left.
    stretch: usize,
    left: usize,
}

impl Reader<'_> {
    /// Sees to it that the stretch that was read took all of its bytes, and goes on to the next.
    fn end(&mut self) -> Option<()> {
        let (&end, later) = self.ends.split_first()?;
        if self.bits.at() != end {
            return None;
        }
        (self.ends, self.left) = (later, self.stretch);
        self.bits.restart(end);
        Some(())
    }
}

/// Reads the coefficients of one row of MCUs.
#[multiversion(targets("x86_64+avx2+bmi1+bmi2+lzcnt"))]
fn row_of_mcus(reader: &mut Reader, planes: &mut [Plane], across: usize) -> Option<()> {
    for plane in planes.iter_mut() {
        plane.coefficients.fill([0; LANES]);
    }
    for mcu in 0..across {
        if reader.left == 0 {
            reader.end()?;
            for plane in planes.iter_mut() {
                plane.mean = 0;
            }
        }
        reader.left -= 1;
        let mut bits = reader.bits;
        for plane in planes.iter_mut() {
            let length = plane.block();
            for v in 0..plane.v {
                for h in mcu * plane.h..(mcu + 1) * plane.h {
                    let vector = v * plane.vectors + h / LANES;
                    let block = &mut plane.coefficients[vector * length..][..length];
                    plane.mean = plane.mean.wrapping_add(plane.dc.difference(&mut bits)?);
                    block[0][h % LANES] = plane.mean;
                    plane.ac.coefficients(&mut bits, plane.last, |k, value| {
                        block[usize::from(plane.places[k as usize & 63])][h % LANES] = value;
                    })?;
                }
            }
        }
        reader.bits = bits;
    }
    Some(())
}

/// From a plane's coefficients to its values.
#[multiversion(targets("x86_64+avx2"))]
fn transform(plane: &mut Plane) {
    let (width, length, pitch) = (plane.width, plane.block(), plane.pitch());
    for (i, blocks) in plane.coefficients.chunks_exact(length).enumerate() {
        let (v, vector) = (i / plane.vectors, i % plane.vectors);
        let out = &mut plane.values[v * plane.height * pitch + vector * LANES * width..];
        match (width, plane.height) {
            (1, 1) => inverse::<1, 1>(blocks, &plane.weights, out, pitch),
            (1, 2) => inverse::<1, 2>(blocks, &plane.weights, out, pitch),
            (2, 1) => inverse::<2, 1>(blocks, &plane.weights, out, pitch),
            (2, 2) => inverse::<2, 2>(blocks, &plane.weights, out, pitch),
            (2, 4) => inverse::<2, 4>(blocks, &plane.weights, out, pitch),
            (4, 2) => inverse::<4, 2>(blocks, &plane.weights, out, pitch),
            (4, 4) => inverse::<4, 4>(blocks, &plane.weights, out, pitch),
            (4, 8) => inverse::<4, 8>(blocks, &plane.weights, out, pitch),
            (8, 4) => inverse::<8, 4>(blocks, &plane.weights, out, pitch),
            (8, 8) => inverse::<8, 8>(blocks, &plane.weights, out, pitch),
            other => unreachable!("blocks of {other:?} pixels"),
        }
    }
}

/// JFIF's conversion of a row, rounded as libjpeg does.
#[multiversion(targets("x86_64+avx2"))]
fn to_rgb(luma: &[u8], blue: &[u8], red: &[u8], rgb: &mut [u8]) {
    for (((out, &y), &b), &r) in rgb.as_chunks_mut::<3>().0.iter_mut().zip(luma).zip(blue).zip(red) {
        let (y, b, r) = ((i32::from(y) << 16) + 32_768, i32::from(b) - 128, i32::from(r) - 128);
        let level = |value: i32| (value >> 16).clamp(0, 255) as u8;
        *out = [level(y + 91_881 * r), level(y - 22_554 * b - 46_802 * r), level(y + 116_130 * b)];
    }
}
