//! A picture being painted. A shape is painted by each pixel's distance to its edge, which gives smooth edges without
//! supersampling. Coordinates outside this file are those of the central square: (0, 0) its top left, (1, 1) its bottom
//! right; a picture that is not square reaches beyond them.

use crate::rng::Rng;

/// Red, green, blue, each 0 to 255.
pub(crate) type Rgb = [f32; 3];

/// An outline in coordinates of the central square.
pub(crate) struct Path {
    pub(crate) points: Vec<(f32, f32)>,
    /// Closed: an area. Open: a line.
    pub(crate) closed: bool,
    /// How far the shape reaches beyond its points, in sides of the central square; half a line's width.
    pub(crate) radius: f32,
}

pub(crate) struct Canvas {
    width: usize,
    height: usize,
    side: f32,
    left: f32,
    top: f32,
    pixels: Vec<Rgb>,
}

impl Canvas {
    /// Every pixel is `colour(x, y)`.
    pub(crate) fn new(width: u32, height: u32, colour: impl Fn(f32, f32) -> Rgb) -> Self {
        let side = width.min(height) as f32;
        let (left, top) = ((width as f32 - side) / 2.0, (height as f32 - side) / 2.0);
        let (width, height) = (width as usize, height as usize);
        let at = |i: usize| {
            let (x, y) = ((i % width) as f32 + 0.5, (i / width) as f32 + 0.5);
            colour((x - left) / side, (y - top) / side)
        };
        let pixels = (0..width * height).map(at).collect();
        Canvas { width, height, side, left, top, pixels }
    }

    /// A point of the picture between the two heights.
    pub(crate) fn somewhere(&self, rng: &mut Rng, y_low: f32, y_high: f32) -> (f32, f32) {
        let margin = self.left / self.side;
        (rng.range(-margin, 1.0 + margin), rng.range(y_low, y_high))
    }

    /// From the first to the last height that the picture shows.
    pub(crate) fn heights(&self) -> (f32, f32) {
        let margin = self.top / self.side;
        (-margin, 1.0 + margin)
    }

    /// Paints the shape, `grow` larger on every side; `opacity` 1 hides what is below.
    pub(crate) fn paint(&mut self, path: &Path, grow: f32, colour: Rgb, opacity: f32) {
        let place = |&(x, y): &(f32, f32)| (x * self.side + self.left, y * self.side + self.top);
        let points: Vec<_> = path.points.iter().map(place).collect();
        let reach = (path.radius + grow) * self.side;
        let span = |of: fn(&(f32, f32)) -> f32, limit: usize| {
            let low = points.iter().map(of).fold(f32::MAX, f32::min) - reach - 1.0;
            let high = points.iter().map(of).fold(f32::MIN, f32::max) + reach + 1.0;
            (low.max(0.0) as usize).min(limit)..(high.max(0.0) as usize + 1).min(limit)
        };
        let columns = span(|p| p.0, self.width);
        for y in span(|p| p.1, self.height) {
            for x in columns.clone() {
                let distance = distance(&points, path.closed, (x as f32 + 0.5, y as f32 + 0.5));
                let cover = (reach - distance + 0.5).clamp(0.0, 1.0) * opacity;
                if cover > 0.0 {
                    let pixel = &mut self.pixels[y * self.width + x];
                    *pixel = mix(*pixel, colour, cover);
                }
            }
        }
    }

    /// RGB8, row by row, with a camera's grain: every pixel up to `grain` brighter or darker.
    pub(crate) fn finish(self, grain: f32, rng: &mut Rng) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.pixels.len() * 3);
        for pixel in self.pixels {
            let noise = rng.range(-grain, grain);
            bytes.extend(pixel.map(|v| (v + noise).round().clamp(0.0, 255.0) as u8));
        }
        bytes
    }
}

/// `share` of `b`, the rest of `a`.
pub(crate) fn mix(a: Rgb, b: Rgb, share: f32) -> Rgb {
    std::array::from_fn(|i| a[i] + (b[i] - a[i]) * share)
}

/// Pixels from `p` to the outline, negative inside a closed one.
/// After Inigo Quilez, "distance to a polygon" (iquilezles.org/articles/distfunctions2d).
fn distance(points: &[(f32, f32)], closed: bool, p: (f32, f32)) -> f32 {
    let (mut nearest, mut sign) = (f32::MAX, 1.0);
    for i in usize::from(!closed)..points.len() {
        let (a, b) = (points[i], points[(i + points.len() - 1) % points.len()]);
        let (edge, to) = ((b.0 - a.0, b.1 - a.1), (p.0 - a.0, p.1 - a.1));
        let length = (edge.0 * edge.0 + edge.1 * edge.1).max(1e-9);
        let along = ((to.0 * edge.0 + to.1 * edge.1) / length).clamp(0.0, 1.0);
        let off = (to.0 - edge.0 * along, to.1 - edge.1 * along);
        nearest = nearest.min(off.0 * off.0 + off.1 * off.1);
        let side = [p.1 >= a.1, p.1 < b.1, edge.0 * to.1 > edge.1 * to.0];
        if closed && (side == [true; 3] || side == [false; 3]) {
            sign = -sign;
        }
    }
    sign * nearest.sqrt()
}
