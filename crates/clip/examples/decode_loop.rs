//! How fast pictures become pixels with nothing beside it: `decode_loop MODEL FOLDER fast|exact [SECONDS]`.
//!
//! Prints images/s with as many threads as the process may use.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use clip::{DecodeLimits, DecodeMode, Model};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, folder, mode, seconds @ ..] = &arguments[..] else {
        return Err("usage: decode_loop MODEL FOLDER fast|exact [SECONDS]".into());
    };
    let mode = if mode == "exact" { DecodeMode::Exact } else { DecodeMode::Fast };
    let limit = Duration::from_secs_f64(seconds.first().map_or(Ok(5.0), |s| s.parse())?);
    let model = Model::open(model)?;
    let preprocess = model.preprocess();
    let files: Vec<PathBuf> =
        std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    let pictures: Vec<Vec<u8>> = files.iter().map(std::fs::read).collect::<std::io::Result<_>>()?;
    let (next, begun) = (AtomicUsize::new(0), Instant::now());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, |n| n.get()) {
            scope.spawn(|| {
                while begun.elapsed() < limit {
                    let picture = &pictures[next.fetch_add(1, Relaxed) % pictures.len()];
                    match clip::decode(picture, mode, preprocess.side(), &DecodeLimits::default()) {
                        Ok(picture) => drop(std::hint::black_box(preprocess.apply(&picture))),
                        Err(e) => eprintln!("{}: {}", e.kind, e.detail),
                    }
                }
            });
        }
    });
    println!("{:.1}", next.load(Relaxed) as f64 / begun.elapsed().as_secs_f64());
    Ok(())
}
