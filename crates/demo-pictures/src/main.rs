//! Draws demo pictures into a folder, or as raw frames for training.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Parser;
use demo_pictures::{BACKGROUNDS, COLOURS, KINDS, Mix, Scene, Thing, draw, scenes};
use image::ExtendedColorType::Rgb8;
use serde_json::json;

/// Draw demo pictures: simple things in clear colours, one or two a picture
///
/// File names say what is shown: yellow_car_017.jpg. Most are JPEG, some PNG and WebP; sizes and shapes vary.
#[derive(Parser)]
#[command(name = "draw-demo-pictures", version)]
struct Args {
    /// The folder to draw into; created if need be
    #[arg(required_unless_present = "raw")]
    out: Option<PathBuf>,
    /// How many pictures
    #[arg(long, default_value_t = 240)]
    count: usize,
    /// Another seed, other pictures
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Share of pictures that show two things, 0 to 1
    #[arg(long, default_value_t = 0.12)]
    two: f32,
    /// So many pictures show this thing, and no others do: "yellow car=16"
    #[arg(long, value_name = "THING=COUNT", value_parser = exactly)]
    exactly: Option<(Thing, usize)>,
    /// Names that say nothing: img_00017.jpg
    #[arg(long)]
    plain_names: bool,
    /// Write what each picture shows to this file [with --plain-names: truth.json beside OUT]
    #[arg(long, value_name = "FILE")]
    truth: Option<PathBuf>,
    /// Instead of files, write square frames of this size to standard output: RGB8, [count, size, size, 3]
    #[arg(long, value_name = "SIZE", conflicts_with_all = ["out", "plain_names"])]
    raw: Option<u32>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let scenes = scenes(&Mix { count: args.count, two: args.two, exactly: args.exactly }, args.seed);
    let files = match (&args.out, args.raw) {
        (Some(out), _) => save(&scenes, out, args.seed, args.plain_names)?,
        (None, size) => stream(&scenes, size.unwrap_or(224), args.seed)?,
    };
    let beside = args.out.filter(|_| args.plain_names).map(|out| out.with_file_name("truth.json"));
    match args.truth.or(beside) {
        Some(file) => write(&file, truth(&files, &scenes).to_string().as_bytes()),
        None => Ok(()),
    }
}

fn exactly(words: &str) -> Result<(Thing, usize)> {
    let (thing, count) = words.split_once('=').context("write it as \"yellow car=16\"")?;
    let thing =
        Thing::named(thing).with_context(|| format!("no {thing}: name a colour and a kind, such as \"yellow car\""))?;
    Ok((thing, count.parse()?))
}

/// Draws into `out` and returns the file names.
fn save(scenes: &[Scene], out: &Path, seed: u64, plain: bool) -> Result<Vec<String>> {
    const SIZES: [(u32, u32); 6] = [(480, 360), (360, 480), (400, 400), (640, 480), (480, 320), (300, 400)];
    fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let mut names = Vec::new();
    for (i, scene) in scenes.iter().enumerate() {
        let (width, height) = SIZES[i % SIZES.len()];
        let extension = match i % 20 {
            7 => "png",
            13 => "webp",
            _ => "jpg",
        };
        let shown: Vec<_> = scene.things().map(|thing| thing.to_string().replace(' ', "_")).collect();
        let shown = shown.join("_and_");
        let name = if plain { format!("img_{i:05}.{extension}") } else { format!("{shown}_{i:03}.{extension}") };
        let path = out.join(&name);
        let rgb = draw(scene, width, height, picture_seed(seed, i));
        match extension {
            "jpg" => write(&path, &jpeg(&rgb, width, height)?)?,
            _ => image::save_buffer(&path, &rgb, width, height, Rgb8)
                .with_context(|| format!("cannot write {}", path.display()))?,
        }
        names.push(name);
    }
    Ok(names)
}

/// Writes the frames to standard output and returns their numbers.
fn stream(scenes: &[Scene], size: u32, seed: u64) -> Result<Vec<String>> {
    let mut output = std::io::stdout().lock();
    for (i, scene) in scenes.iter().enumerate() {
        output.write_all(&draw(scene, size, size, picture_seed(seed, i))).context("cannot write frames")?;
    }
    Ok((0..scenes.len()).map(|i| i.to_string()).collect())
}

/// Pictures of one heap differ, and so do heaps of different seeds. The constant is MurmurHash3's 64-bit finaliser's.
fn picture_seed(seed: u64, i: usize) -> u64 {
    let mixed = (seed << 32 ^ i as u64).wrapping_add(1).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^ mixed >> 33
}

fn jpeg(rgb: &[u8], width: u32, height: u32) -> Result<Vec<u8>> {
    let (width, height) = (width as usize, height as usize);
    let picture =
        turbojpeg::Image { pixels: rgb, width, pitch: 3 * width, height, format: turbojpeg::PixelFormat::RGB };
    Ok(turbojpeg::compress(picture, 90, turbojpeg::Subsamp::Sub2x2)?.to_vec())
}

/// What there is, and what each file shows.
fn truth(files: &[String], scenes: &[Scene]) -> serde_json::Value {
    let thing = |thing: Thing| json!({ "colour": thing.colour.name, "kind": thing.kind.name });
    let picture = |(file, scene): (&String, &Scene)| json!({ "file": file, "things": scene.things().map(thing).collect::<Vec<_>>(), "background": scene.background.name });
    json!({
        "kinds": KINDS.iter().map(|kind| kind.name).collect::<Vec<_>>(),
        "colours": COLOURS.iter().map(|colour| colour.name).collect::<Vec<_>>(),
        "backgrounds": BACKGROUNDS.iter().map(|background| background.name).collect::<Vec<_>>(),
        "pictures": files.iter().zip(scenes).map(picture).collect::<Vec<_>>(),
    })
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}
