//! The inverse cosine transform to fewer pixels than a block has: of its coefficients the lowest in each direction, as
//! many as there are pixels. Several blocks are transformed together, each in its lane of a vector.

use std::array::from_fn;
use std::f32::consts::FRAC_1_SQRT_2;

/// Blocks that are transformed together.
pub const LANES: usize = 32;

/// One coefficient of each of these blocks.
pub type Coefficients = [i16; LANES];

/// One number of each.
type Lanes = [f32; LANES];

/// cos(k pi / 16).
const COS: [f32; 8] =
    [1.0, 0.980_785_25, 0.923_879_5, 0.831_469_6, FRAC_1_SQRT_2, 0.555_570_24, 0.382_683_43, 0.195_090_32];

/// What a coefficient is multiplied with in each direction, beside its quantum, so that the sums need no other factor.
pub fn weight(frequency: usize) -> f32 {
    if frequency == 0 { 0.125f32.sqrt() } else { 0.5 }
}

#[inline(always)]
fn two([a, b]: [f32; 2]) -> [f32; 2] {
    let b = b * COS[4];
    [a + b, a - b]
}

#[inline(always)]
fn four([a, b, c, d]: [f32; 4]) -> [f32; 4] {
    let even = two([a, c]);
    let odd = [b * COS[2] + d * COS[6], b * COS[6] - d * COS[2]];
    [even[0] + odd[0], even[1] + odd[1], even[1] - odd[1], even[0] - odd[0]]
}

#[inline(always)]
fn eight([a, b, c, d, e, f, g, h]: [f32; 8]) -> [f32; 8] {
    let even = four([a, c, e, g]);
    let odd = [
        b * COS[1] + d * COS[3] + f * COS[5] + h * COS[7],
        b * COS[3] - d * COS[7] - f * COS[1] - h * COS[5],
        b * COS[5] - d * COS[1] + f * COS[7] + h * COS[3],
        b * COS[7] - d * COS[5] + f * COS[3] - h * COS[1],
    ];
    [
        even[0] + odd[0],
        even[1] + odd[1],
        even[2] + odd[2],
        even[3] + odd[3],
        even[3] - odd[3],
        even[2] - odd[2],
        even[1] - odd[1],
        even[0] - odd[0],
    ]
}

/// From N coefficients to N values, `step` apart.
#[inline(always)]
fn line<const N: usize>(values: &mut [Lanes], step: usize) {
    let input: [Lanes; N] = from_fn(|i| values[i * step]);
    let mut output = input;
    for lane in 0..LANES {
        let at = |i: usize| input[i][lane];
        match N {
            2 => {
                let out = two([at(0), at(1)]);
                (output[0][lane], output[1][lane]) = (out[0], out[1]);
            }
            4 => {
                let out = four([at(0), at(1), at(2), at(3)]);
                for i in 0..4 {
                    output[i][lane] = out[i];
                }
            }
            8 => {
                let out = eight([at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7)]);
                for i in 0..8 {
                    output[i][lane] = out[i];
                }
            }
            _ => {}
        }
    }
    for i in 0..N {
        values[i * step] = output[i];
    }
}

/// Writes the W x H pixels of each block, of [H, W] coefficients and their weights, rows from the top, to `out`, in which the
/// blocks stand beside each other and rows are `pitch` apart.
#[inline(always)]
pub fn inverse<const W: usize, const H: usize>(blocks: &[Coefficients], weights: &[f32], out: &mut [u8], pitch: usize) {
    let mut values = [[0.0; LANES]; 64];
    for i in 0..W * H {
        let weight = weights[i];
        for lane in 0..LANES {
            values[i][lane] = f32::from(blocks[i][lane]) * weight;
        }
    }
    for u in 0..W {
        line::<H>(&mut values[u..W * H], W);
    }
    for y in 0..H {
        line::<W>(&mut values[y * W..][..W], 1);
        let out = &mut out[y * pitch..][..W * LANES];
        // Several pixels of a block are one number of its lane.
        for x in (0..W).step_by(4) {
            let mut numbers = [0; LANES];
            for i in x..W.min(x + 4) {
                for lane in 0..LANES {
                    // At 2^23 the unit is the last bit of an f32.
                    let level = (values[y * W + i][lane] + 128.0).clamp(0.0, 255.0) + 8_388_608.0;
                    numbers[lane] |= (level.to_bits() & 255) << (8 * (i - x));
                }
            }
            for lane in 0..LANES {
                out[lane * W + x..][..W.min(4)].copy_from_slice(&u32::to_le_bytes(numbers[lane])[..W.min(4)]);
            }
        }
    }
}
