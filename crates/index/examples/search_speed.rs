//! How long one question to an index takes, beside faiss on the same file:
//!
//!     cargo run --workspace --example search_speed -- 1000000 512 [FOLDER]
//!
//! The index is made of numbers in FOLDER, a new one if none is named, and is kept there for the next time.
//! OMP_NUM_THREADS and RAYON_NUM_THREADS set the threads.

mod numbers;

use std::path::{Path, PathBuf};
use std::time::Instant;

use faiss::Index as _;
use index::{Index, MergeRequest, PartRef, Row, Sources, merge, publish_part};
use protocol::{FileFacts, ImagePath, IndexPrefix};

use crate::numbers::{numbers, part};

const ROWS_IN_A_PART: usize = 50_000;
const QUESTIONS: usize = 20;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [rows, dim, folder @ ..] = args.as_slice() else { return Err("usage: search_speed ROWS D [FOLDER]".into()) };
    let (rows, dim): (usize, usize) = (rows.parse()?, dim.parse()?);
    let temporary = tempfile::tempdir()?;
    let folder = folder.first().map_or(temporary.path().to_owned(), PathBuf::from);
    let prefix = IndexPrefix::new(folder.join("index"));
    if !prefix.meta().exists() {
        make(&prefix, rows, dim)?;
    }
    ours(&prefix, &folder, dim)?;
    theirs(&prefix, dim)
}

fn ours(prefix: &IndexPrefix, folder: &Path, dim: usize) -> Result<()> {
    let begun = Instant::now();
    let index = Index::open(prefix, &folder.join("cache"))?;
    println!("opened, its checksum compared: {:.0} ms", ms(begun));
    let query = numbers(dim, u64::MAX);
    report("imagefleet", || Ok(index.search(&query, 10)?[0].0))
}

fn theirs(prefix: &IndexPrefix, dim: usize) -> Result<()> {
    let mut index = faiss::read_index(prefix.faiss().to_string_lossy())?;
    let query = numbers(dim, u64::MAX);
    report("faiss", || Ok(index.search(query.values(), 10)?.distances[0]))
}

/// Prints the best score, how long the first question took, and the median and the quickest of the others.
fn report(name: &str, mut question: impl FnMut() -> Result<f32>) -> Result<()> {
    let (mut took, mut best) = (Vec::new(), 0.0);
    for _ in 0..QUESTIONS {
        let begun = Instant::now();
        best = question()?;
        took.push(ms(begun));
    }
    let first = took.remove(0);
    took.sort_by(f64::total_cmp);
    let (median, least) = (took[took.len() / 2], took[0]);
    println!("{name}: score {best:.6}, first {first:.1} ms, then median {median:.1} ms, least {least:.1} ms");
    Ok(())
}

fn make(prefix: &IndexPrefix, rows: usize, dim: usize) -> Result<()> {
    let mut parts = Vec::new();
    for begin in (0..rows).step_by(ROWS_IN_A_PART) {
        let numbers = (begin..rows.min(begin + ROWS_IN_A_PART)).map(|i| row(i, dim)).collect::<Result<Vec<_>>>()?;
        let meta = publish_part(prefix, part(&format!("{begin:09}"), dim), &numbers)?;
        parts.push(PartRef { name: meta.name, rows: meta.rows, checksum: meta.checksum });
    }
    let sources = Sources::Parts(parts);
    merge(MergeRequest { prefix, run: None, sources, fresh: true, wait_s: 0.0, progress: &mut |_| Ok(()) })?;
    Ok(())
}

fn row(i: usize, dim: usize) -> Result<Row> {
    Ok(Row {
        path: ImagePath::new(format!("{i:09}.jpg"))?,
        embedding: numbers(dim, i as u64),
        file: FileFacts::default(),
        content_hash: String::new(),
    })
}

fn ms(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64() * 1e3
}
