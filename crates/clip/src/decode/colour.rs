//! Colours to RGB8, with Pillow's arithmetic.

/// Grey to RGB.
pub fn grey_to_rgb(grey: impl Iterator<Item = u8>) -> Vec<u8> {
    grey.flat_map(|v| [v, v, v]).collect()
}

/// The first three of every `channels` values.
pub fn drop_alpha(values: &[u8], channels: usize) -> Vec<u8> {
    values.chunks_exact(channels).flat_map(|p| [p[0], p[1], p[2]]).collect()
}

/// 16-bit grey to 8: the whole range onto the whole range. (Pillow's own conversion would clip at 255.)
pub fn grey16(value: u16) -> u8 {
    (value / 257) as u8
}

/// 16-bit colour to 8, as Pillow reads it: the high byte.
pub fn high_byte(value: u16) -> u8 {
    (value >> 8) as u8
}

/// CMYK to RGB, as Pillow's `cmyk2rgb`: `C * (255 - K) / 255`, rounded, taken from `255 - K`.
pub fn cmyk_to_rgb(cmyk: &[u8]) -> Vec<u8> {
    let convert = |pixel: &[u8]| {
        let light = 255 - u32::from(pixel[3]);
        let mix = |ink: u8| {
            let product = u32::from(ink) * light + 128;
            light.saturating_sub(((product >> 8) + product) >> 8) as u8
        };
        [mix(pixel[0]), mix(pixel[1]), mix(pixel[2])]
    };
    cmyk.chunks_exact(4).flat_map(convert).collect()
}

/// JPEG's YCbCr (full range, ITU-R BT.601) to RGB.
pub fn ycbcr_to_rgb(values: &[u8]) -> Vec<u8> {
    let convert = |p: &[u8]| {
        let (y, cb, cr) = (f32::from(p[0]), f32::from(p[1]) - 128.0, f32::from(p[2]) - 128.0);
        [y + 1.402 * cr, y - 0.344_136 * cb - 0.714_136 * cr, y + 1.772 * cb].map(|v| v.round() as u8)
    };
    values.chunks_exact(3).flat_map(convert).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cmyk_is_converted_as_pillow_does() {
        // Image.fromarray(array, "CMYK").convert("RGB") of Pillow 13.
        let cmyk = [0, 0, 0, 0, 255, 0, 0, 0, 10, 200, 30, 40, 0, 0, 0, 255, 128, 64, 32, 128];
        assert_eq!(cmyk_to_rgb(&cmyk), [255, 255, 255, 0, 255, 255, 207, 46, 190, 0, 0, 0, 63, 95, 111]);
    }

    #[test]
    fn sixteen_bits_reach_both_ends() {
        assert_eq!([0, 256, 257, 65534, 65535].map(grey16), [0, 0, 1, 254, 255]);
        assert_eq!([0, 255, 256, 65535].map(high_byte), [0, 0, 1, 255]);
    }
}
