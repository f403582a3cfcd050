//! A run of hundreds of hosts over 100,000,000 pictures, in virtual time and with the real plan and grants; its chunks are
//! cut from a manifest of 10,000,000 names on disk, ten times over. Prints how much of what the hosts could do was done,
//! and what the controller's part of it takes.
//!
//!     cargo run -p controller --example simulate -- [HOSTS] [NAMES]

#[path = "../tests/simulator/simulation.rs"]
mod simulation;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::time::Instant;

use protocol::{Chunk, Chunker, Entry, ImagePath, ManifestReader, ManifestWriter};

use simulation::{Machine, simulate};

/// Runs over the names that the run is.
const TIMES: u64 = 10;

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1).map(|arg| arg.parse::<u64>());
    let hosts = args.next().transpose()?.unwrap_or(500);
    let names = args.next().transpose()?.unwrap_or(10_000_000);

    let file = tempfile::NamedTempFile::new()?;
    let mut manifest = ManifestWriter::new(BufWriter::new(File::create(file.path())?));
    let mut offsets = Vec::new();
    for i in 0..names {
        let path = ImagePath::new(format!("{:04}/{:03}/IMG_{i:08}.jpg", i / 100_000, i / 1_000 % 100))?;
        let size_bytes = 500_000 + i % 7_919 * 500;
        offsets.push(manifest.push(&Entry { path, size_bytes, mtime_ns: 1_700_000_000_000_000_000 + i as i64 })?);
    }
    manifest.into_inner().flush()?;
    println!("{names} names in {} MB", file.path().metadata()?.len() >> 20);

    let begun = Instant::now();
    let mut chunker = Chunker::new(None);
    let mut chunks: Vec<Chunk> = Vec::new();
    for time in 0..TIMES {
        if time == 0 {
            for (entry, offset) in ManifestReader::open(file.path())?.zip(&offsets) {
                chunks.extend(chunker.push(*offset, &entry?));
            }
        } else {
            // The same pictures once more, further on.
            let (first, ahead) = (names, time * names);
            let entry = Entry { path: ImagePath::new("a.jpg")?, size_bytes: 2_000_000, mtime_ns: 0 };
            chunks.extend((0..first).filter_map(|i| chunker.push(ahead + i, &entry)));
        }
    }
    chunks.extend(chunker.finish());
    let pictures: u64 = chunks.iter().map(|c| c.count).sum();
    println!("{pictures} pictures in {} chunks, read and cut in {:.1} s", chunks.len(), begun.elapsed().as_secs_f64());
    drop(offsets);

    let machines: Vec<Machine> = (0..hosts)
        .map(|i| Machine { rate: [25.0, 50.0, 75.0, 100.0][i as usize % 4], weight: 1.0 / hosts as f64 })
        .collect();
    for losses_an_hour in [0.0, 0.05] {
        let begun = Instant::now();
        let outcome = simulate(&chunks, &machines, losses_an_hour, 1);
        let took = begun.elapsed().as_secs_f64();
        println!(
            "{hosts} hosts, {:.0} % lost each hour ({} times): {:.2} h, efficiency {:.4}; the grants took {took:.1} s of one \
             processor, {:.2} % of the run",
            losses_an_hour * 100.0,
            outcome.losses,
            outcome.seconds / 3600.0,
            outcome.efficiency(),
            100.0 * took / outcome.seconds
        );
    }
    Ok(())
}
