//! How fast an encoder is with nothing beside it: `bare_loop MODEL PROVIDER PRECISION BATCH [SECONDS]`.
//!
//! Prints how long the encoder took to open with its self-check, its first batch, images/s as the median over batches,
//! the self-check's deviation, and on Linux the peak of resident memory.

use std::time::{Duration, Instant};

use clip::{EncoderOptions, Model};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, provider, precision, batch, seconds @ ..] = &arguments[..] else {
        return Err("usage: bare_loop MODEL PROVIDER PRECISION BATCH [SECONDS]".into());
    };
    let batch: usize = batch.parse()?;
    let limit = Duration::from_secs_f64(seconds.first().map_or(Ok(5.0), |s| s.parse())?);
    let options =
        EncoderOptions { provider: provider.parse()?, precision: precision.parse()?, batch, ..Default::default() };
    let begun = Instant::now();
    let model = Model::open(model)?;
    let mut encoder = model.image_encoder(&options)?;
    let opened = begun.elapsed().as_secs_f64();
    let values = model.preprocess().values() * batch;
    // Different in every picture; no stretch of equal values.
    let pixels: Vec<f32> =
        (0..values).map(|i| ((i as u32).wrapping_mul(2_654_435_761) >> 8) as f32 / 8e6 - 1.0).collect();
    let (begun, mut rates) = (Instant::now(), Vec::new());
    while begun.elapsed() < limit || rates.is_empty() {
        let one = Instant::now();
        encoder.encode(&pixels)?;
        rates.push(batch as f64 / one.elapsed().as_secs_f64());
    }
    let first = batch as f64 / rates[0];
    rates.sort_by(f64::total_cmp);
    let identity = encoder.identity();
    println!(
        "{} {}, batch {batch}, {} threads: {:.1} images/s, best {:.1}; open {opened:.2} s, first batch {first:.2} s, deviation {:.4}, peak {}",
        identity.provider,
        identity.precision,
        encoder.threads(),
        rates[rates.len() / 2],
        rates[rates.len() - 1],
        identity.deviation.unwrap_or_default(),
        peak().unwrap_or_default()
    );
    Ok(())
}

/// As the kernel writes it.
fn peak() -> Option<String> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    Some(status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim().to_owned())
}
