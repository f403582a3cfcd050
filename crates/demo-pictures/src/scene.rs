//! What a picture shows, and how it is drawn. The whole of it lies in the central square, so that CLIP's centre crop
//! loses nothing.

use crate::backgrounds::{self, BACKGROUNDS, Background};
use crate::canvas::{Canvas, Path, Rgb, mix};
use crate::rng::Rng;
use crate::shapes::{COLOURS, Colour, KINDS, Kind, Part, Tone};

/// A thing in a picture: a yellow car.
#[derive(Debug, Clone, Copy)]
pub struct Thing {
    /// Its colour.
    pub colour: &'static Colour,
    /// What it is.
    pub kind: &'static Kind,
}

impl Thing {
    /// All 160.
    pub fn all() -> Vec<Thing> {
        let of_kind = |kind| COLOURS.iter().map(move |colour| Thing { colour, kind });
        KINDS.iter().flat_map(of_kind).collect()
    }

    /// From words such as `yellow car`.
    pub fn named(words: &str) -> Option<Thing> {
        Thing::all().into_iter().find(|thing| thing.to_string() == words)
    }
}

impl PartialEq for Thing {
    fn eq(&self, other: &Thing) -> bool {
        (self.colour.name, self.kind.name) == (other.colour.name, other.kind.name)
    }
}

impl std::fmt::Display for Thing {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{} {}", self.colour.name, self.kind.name)
    }
}

/// What a picture shows: one thing or two, on a background.
#[derive(Debug, Clone, Copy)]
pub struct Scene {
    /// The thing, or the first of two.
    pub thing: Thing,
    /// Another thing beside it.
    pub second: Option<Thing>,
    /// Where they are.
    pub background: &'static Background,
}

impl Scene {
    /// The things shown.
    pub fn things(&self) -> impl Iterator<Item = Thing> {
        std::iter::once(self.thing).chain(self.second)
    }
}

/// What a heap of pictures shows.
#[derive(Debug, Clone)]
pub struct Mix {
    /// Pictures in all.
    pub count: usize,
    /// Share of pictures with two things, 0 to 1.
    pub two: f32,
    /// Exactly so many pictures show this thing, alone; without it, chance decides.
    pub exactly: Option<(Thing, usize)>,
}

/// Scenes in random order. First things are dealt like cards, so that 160 pictures show all 160.
pub fn scenes(mix: &Mix, seed: u64) -> Vec<Scene> {
    let rng = &mut Rng::new(seed);
    let counted = mix.exactly.map(|(thing, _)| thing);
    let things: Vec<_> = Thing::all().into_iter().filter(|thing| Some(*thing) != counted).collect();
    let mut deck = Vec::new();
    let mut scene = |thing: Option<Thing>| {
        if deck.is_empty() {
            deck = things.clone();
            rng.shuffle(&mut deck);
        }
        let two = thing.is_none() && rng.chance(mix.two);
        let thing = thing.unwrap_or_else(|| deck.pop().expect("just dealt"));
        let mut second = two.then(|| things[rng.below(things.len())]);
        while second == Some(thing) {
            second = Some(things[rng.below(things.len())]);
        }
        Scene { thing, second, background: &BACKGROUNDS[rng.below(BACKGROUNDS.len())] }
    };
    let wanted = mix.exactly.map_or(0, |(_, wanted)| wanted.min(mix.count));
    let mut scenes: Vec<_> = (0..mix.count).map(|i| scene(counted.filter(|_| i < wanted))).collect();
    rng.shuffle(&mut scenes);
    scenes
}

/// RGB8, row by row, `width` * `height` * 3 bytes. The same arguments give the same picture.
pub fn draw(scene: &Scene, width: u32, height: u32, seed: u64) -> Vec<u8> {
    let rng = &mut Rng::new(seed);
    let mut canvas = backgrounds::paint(scene.background, width, height, rng);
    match scene.second {
        None => {
            let half = rng.range(0.24, 0.4);
            let centre = (rng.range(half, 1.0 - half), rng.range(half, 1.0 - half));
            paint_thing(&mut canvas, scene.thing, centre, half * 0.88, rng);
        }
        Some(second) => {
            let (beside, first_is_low) = (rng.chance(0.5), rng.chance(0.5));
            for (thing, low) in [(scene.thing, first_is_low), (second, !first_is_low)] {
                let half = rng.range(0.19, 0.245);
                let near = rng.range(half, 0.5 - half);
                let across = if low { near } else { 1.0 - near };
                let along = rng.range(half, 1.0 - half);
                let centre = if beside { (across, along) } else { (along, across) };
                paint_thing(&mut canvas, thing, centre, half * 0.88, rng);
            }
        }
    }
    canvas.finish(4.0, rng)
}

/// `half`: half the side of the thing's box. It may tilt by 8 degrees, be a mirror image and be 8 % too wide or too
/// high, which is why its box must be 12 % smaller than the room it has.
fn paint_thing(canvas: &mut Canvas, thing: Thing, centre: (f32, f32), half: f32, rng: &mut Rng) {
    let mirror = if rng.chance(0.5) { -1.0 } else { 1.0 };
    let (stretch, (sin, cos)) = (rng.range(0.96, 1.04), rng.range(-0.14, 0.14).sin_cos());
    let light = rng.range(-8.0, 8.0);
    let main: Rgb = thing.colour.rgb.map(|v| v + light + rng.range(-8.0, 8.0));
    let luma = 0.299 * main[0] + 0.587 * main[1] + 0.114 * main[2];
    let ink = if luma < 100.0 { [240.0; 3] } else { [26.0; 3] };
    let tint = |tone| match tone {
        Tone::Main => main,
        Tone::Shade => main.map(|v| v * 0.74 + 4.0),
        Tone::Light => mix([244.0; 3], main, 0.12),
        Tone::Ink => ink,
    };
    let place = |&(x, y): &(f32, f32)| {
        let (x, y) = (x * mirror * stretch * half, y / stretch * half);
        (centre.0 + x * cos - y * sin, centre.1 + x * sin + y * cos)
    };
    let path = |part: &Part| match *part {
        Part::Area(points) => Path { points: points.iter().map(place).collect(), closed: true, radius: 0.0 },
        Part::Line(points, radius) => {
            Path { points: points.iter().map(place).collect(), closed: false, radius: radius * half }
        }
        Part::Oval(x, y, a, b) => {
            let point = |i| (i as f32 * std::f32::consts::TAU / 28.0).sin_cos();
            let points = (0..28).map(point).map(|(sin, cos)| place(&(x + a * cos, y + b * sin))).collect();
            Path { points, closed: true, radius: 0.0 }
        }
    };
    let parts: Vec<_> = thing.kind.parts.iter().map(|(tone, part)| (tint(*tone), path(part))).collect();
    for (_, path) in &parts {
        canvas.paint(path, 0.045 * half, ink, 1.0);
    }
    for (colour, path) in &parts {
        canvas.paint(path, 0.0, *colour, 1.0);
    }
}
