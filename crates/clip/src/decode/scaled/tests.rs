use turbojpeg::{Colorspace, Compressor, Image, PixelFormat, Subsamp};

use super::decode;

/// A smooth picture with edges, RGB8.
fn photo(width: usize, height: usize) -> Vec<u8> {
    let value = |x: usize, y: usize, c: usize| {
        let wave = ((x as f32 / 23.0).sin() + (y as f32 / (17.0 + c as f32)).cos()) * 50.0 + 128.0;
        if (x / 40 + y / 50).is_multiple_of(3) { wave + 25.0 } else { wave }
    };
    (0..width * height * 3).map(|i| value(i / 3 % width, i / 3 / width, i % 3) as u8).collect()
}

fn jpeg(width: usize, height: usize, set: impl Fn(&mut Compressor)) -> Vec<u8> {
    let pixels = photo(width, height);
    let mut compressor = Compressor::new().unwrap();
    set(&mut compressor);
    let image = Image { pixels: &pixels[..], width, pitch: 3 * width, height, format: PixelFormat::RGB };
    compressor.compress_to_vec(image).unwrap()
}

/// What libjpeg-turbo makes of it in full size, of which each square of pixels becomes one. The sums here are others, so that
/// edges differ by some levels.
fn reference(jpeg: &[u8], eighths: usize) -> Vec<u8> {
    let whole = turbojpeg::decompress(jpeg, PixelFormat::RGB).unwrap();
    let side = 8 / eighths;
    let (width, height) = (whole.width.div_ceil(side), whole.height.div_ceil(side));
    let mean = |x: usize, y: usize, c: usize| {
        let (right, bottom) = ((x * side + side).min(whole.width), (y * side + side).min(whole.height));
        let square = (y * side..bottom).flat_map(|y| (x * side..right).map(move |x| (x, y)));
        let values: Vec<f64> = square.map(|(x, y)| whole.pixels[y * whole.pitch + 3 * x + c].into()).collect();
        (values.iter().sum::<f64>() / values.len() as f64).round() as u8
    };
    (0..3 * width * height).map(|i| mean(i / 3 % width, i / 3 / width, i % 3)).collect()
}

/// Mean distance of the levels.
fn distance(a: &[u8], b: &[u8]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / a.len() as f64
}

#[test]
fn every_subsampling_and_scale_gives_what_libjpeg_gives() {
    let subsamplings = [Subsamp::None, Subsamp::Sub2x1, Subsamp::Sub1x2, Subsamp::Sub2x2, Subsamp::Gray];
    for subsampling in subsamplings {
        for (width, height) in [(640, 480), (333, 501), (17, 9), (8, 8), (1, 1), (3, 700)] {
            for quality in [30, 95] {
                let jpeg = jpeg(width, height, |c| {
                    c.set_subsamp(subsampling).unwrap();
                    c.set_quality(quality).unwrap();
                });
                for eighths in [1, 2, 4] {
                    let (ours, theirs) = (decode(&jpeg, eighths).unwrap(), reference(&jpeg, eighths));
                    let distance = distance(&ours, &theirs);
                    assert!(distance < 2.0, "{subsampling:?} {width}x{height} {quality} {eighths}/8: {distance}");
                }
            }
        }
    }
}

#[test]
fn the_sums_are_those_of_the_definition() {
    // One coefficient at a time is one cosine in each direction.
    use super::transform::{LANES, inverse, weight};
    for (u, v) in (0..8).flat_map(|u| (0..8).map(move |v| (u, v))) {
        let (mut blocks, mut weights) = ([[0; LANES]; 65], [0.0; 65]);
        (blocks[8 * v + u][3], weights[8 * v + u]) = (200, weight(u) * weight(v));
        let mut out = vec![0; 64 * LANES];
        inverse::<8, 8>(&blocks, &weights, &mut out, 8 * LANES);
        for (x, y) in (0..8).flat_map(|x| (0..8).map(move |y| (x, y))) {
            let wave = |k: usize, i: usize| ((2 * i + 1) as f64 * k as f64 * std::f64::consts::PI / 16.0).cos();
            let norm = |k: usize| if k == 0 { 0.125f64.sqrt() } else { 0.5 };
            let expected = 128.0 + 200.0 * norm(u) * norm(v) * wave(u, x) * wave(v, y);
            let found = f64::from(out[y * 8 * LANES + 3 * 8 + x]);
            assert!((found - expected).abs() < 0.51, "coefficient ({u}, {v}) at ({x}, {y}): {found}, not {expected}");
            assert_eq!(out[y * 8 * LANES + 8 + x], 128, "another block's");
        }
    }
}

#[test]
fn restart_markers_and_tables_of_its_own_are_followed() {
    let restarts = include_bytes!("../../../tests/formats/restarts.jpg");
    assert!(restarts.windows(2).filter(|w| matches!(w, [0xFF, 0xD0..=0xD7])).count() > 8);
    // The same coefficients without markers.
    let plain = turbojpeg::transform(&turbojpeg::Transform::default(), restarts).unwrap();
    assert!(!plain.windows(2).any(|w| matches!(w, [0xFF, 0xD0..=0xD7])));
    assert_eq!(decode(restarts, 2).unwrap(), decode(&plain, 2).unwrap());
    let optimised = jpeg(640, 480, |c| c.set_optimize(true).unwrap());
    assert!(distance(&decode(&optimised, 2).unwrap(), &reference(&optimised, 2)) < 2.0);
}

#[test]
fn what_is_not_plain_is_left_to_libjpeg() {
    assert!(decode(&jpeg(64, 64, |_| ()), 4).is_some());
    assert!(decode(&jpeg(64, 64, |c| c.set_progressive(true).unwrap()), 4).is_none());
    assert!(decode(&jpeg(64, 64, |c| c.set_arithmetic(true).unwrap()), 4).is_none());
    assert!(decode(&jpeg(64, 64, |c| c.set_colorspace(Colorspace::RGB).unwrap()), 4).is_none());
    assert!(decode(include_bytes!("../../../tests/golden/cmyk.jpg"), 4).is_none());
}

#[test]
fn what_is_cut_off_or_bent_is_left_to_libjpeg() {
    let restarts = &include_bytes!("../../../tests/formats/restarts.jpg")[..];
    for whole in [&jpeg(100, 75, |_| ())[..], restarts] {
        assert!((0..whole.len()).all(|length| decode(&whole[..length], 2).is_none()));
        let scan = whole.windows(2).position(|w| w == [0xFF, 0xDA]).unwrap() + 14;
        // A byte more or less among the pixels.
        let (front, back) = whole.split_at((scan + whole.len()) / 2);
        let without = [front, &back[1..]].concat();
        let with = [front, b"x", back].concat();
        assert!(decode(&without, 2).is_none() || decode(&with, 2).is_none());
    }
}
