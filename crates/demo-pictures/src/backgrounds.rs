//! Where things are: six backgrounds, each two gradients (above and below a horizon) and one texture strewn over it.

use crate::canvas::{Canvas, Path, Rgb, mix};
use crate::rng::Rng;

/// A background, such as grass.
#[derive(Debug)]
pub struct Background {
    /// One word, as people search for it.
    pub name: &'static str,
    /// Height of the horizon in the central square, lowest and highest; above the picture where there is none.
    horizon: (f32, f32),
    /// Top and bottom of what is above the horizon.
    above: (Rgb, Rgb),
    /// Top and bottom of what is below.
    below: (Rgb, Rgb),
    /// How many marks, least and most.
    marks: (usize, usize),
    texture: Texture,
}

#[derive(Debug, Clone, Copy)]
enum Texture {
    Clouds,
    Blades,
    Waves,
    Pebbles,
    Stars,
    Lanes,
}

const DAYLIGHT: (Rgb, Rgb) = ([150.0, 200.0, 236.0], [204.0, 228.0, 242.0]);
const NONE: (f32, f32) = (-9.0, -8.0);

/// All backgrounds.
#[rustfmt::skip]
pub static BACKGROUNDS: [Background; 6] = [
    Background { name: "sky", horizon: NONE, above: DAYLIGHT, below: ([106.0, 172.0, 230.0], [190.0, 222.0, 244.0]), marks: (5, 9), texture: Texture::Clouds },
    Background { name: "grass", horizon: (0.04, 0.2), above: DAYLIGHT, below: ([134.0, 184.0, 92.0], [86.0, 146.0, 58.0]), marks: (90, 150), texture: Texture::Blades },
    Background { name: "sea", horizon: (0.04, 0.2), above: DAYLIGHT, below: ([60.0, 146.0, 178.0], [20.0, 92.0, 134.0]), marks: (22, 36), texture: Texture::Waves },
    Background { name: "sand", horizon: NONE, above: DAYLIGHT, below: ([238.0, 216.0, 168.0], [216.0, 184.0, 126.0]), marks: (70, 120), texture: Texture::Pebbles },
    Background { name: "night", horizon: NONE, above: DAYLIGHT, below: ([10.0, 12.0, 40.0], [40.0, 40.0, 84.0]), marks: (40, 70), texture: Texture::Stars },
    Background { name: "street", horizon: (0.1, 0.24), above: ([176.0, 168.0, 160.0], [200.0, 194.0, 186.0]), below: ([128.0, 128.0, 130.0], [104.0, 104.0, 108.0]), marks: (2, 3), texture: Texture::Lanes },
];

/// An empty background.
pub(crate) fn paint(background: &Background, width: u32, height: u32, rng: &mut Rng) -> Canvas {
    let horizon = rng.range(background.horizon.0, background.horizon.1);
    let tint: Rgb = std::array::from_fn(|_| rng.range(-10.0, 10.0));
    let gradient = |(from, to): (Rgb, Rgb), share: f32| {
        let colour = mix(from, to, share.clamp(0.0, 1.0));
        std::array::from_fn(|i| colour[i] + tint[i])
    };
    let mut canvas = Canvas::new(width, height, |_, y| match y < horizon {
        true => gradient(background.above, (y + 0.2) / (horizon + 0.2)),
        false => gradient(background.below, (y - horizon.max(0.0)) / (1.0 - horizon.max(0.0))),
    });
    let (top, bottom) = canvas.heights();
    let marks = background.marks.0 + rng.below(background.marks.1 - background.marks.0 + 1);
    for i in 0..marks {
        let (x, y) = canvas.somewhere(rng, horizon.max(top) + 0.02, bottom);
        let line = |points: Vec<(f32, f32)>, radius| Path { points, closed: false, radius };
        match background.texture {
            Texture::Clouds => {
                let (half, radius) = (rng.range(0.06, 0.14), rng.range(0.02, 0.05));
                canvas.paint(&line(vec![(x - half, y), (x + half, y)], radius), 0.0, [255.0; 3], 0.55);
                canvas.paint(
                    &line(vec![(x - half / 3.0, y - radius), (x + half / 3.0, y - radius)], radius),
                    0.0,
                    [255.0; 3],
                    0.55,
                );
            }
            Texture::Blades => {
                let tip = (x + rng.range(-0.015, 0.015), y - rng.range(0.02, 0.045));
                canvas.paint(&line(vec![(x, y), tip], 0.003), 0.0, [58.0, 112.0, 38.0], 0.8);
            }
            Texture::Waves => {
                let step = rng.range(0.02, 0.035);
                let crest = |k: i32| (x + k as f32 * step, y + if k % 2 == 0 { 0.006 } else { -0.006 });
                canvas.paint(&line((0..5).map(crest).collect(), 0.003), 0.0, [190.0, 226.0, 236.0], 0.8);
            }
            Texture::Pebbles => {
                canvas.paint(
                    &line(vec![(x, y), (x + rng.range(0.002, 0.012), y)], rng.range(0.002, 0.005)),
                    0.0,
                    [166.0, 132.0, 84.0],
                    0.7,
                );
            }
            Texture::Stars => {
                canvas.paint(&line(vec![(x, y), (x, y)], rng.range(0.002, 0.006)), 0.0, [250.0, 246.0, 214.0], 0.9);
            }
            Texture::Lanes => {
                let y = horizon + (i as f32 + 0.6) * (1.0 - horizon) / marks as f32;
                for k in -4..8 {
                    let x = x + k as f32 * 0.3;
                    canvas.paint(&line(vec![(x, y), (x + 0.14, y)], 0.01), 0.0, [226.0, 226.0, 220.0], 0.9);
                }
            }
        }
    }
    canvas
}
