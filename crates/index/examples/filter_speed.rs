//! How long an index takes to find which rows a filter leaves:
//!
//!     cargo run --workspace --example filter_speed -- 1000000
//!
//! Each filter is asked for anew; one that is asked for twice in a row is remembered.

mod numbers;

use std::time::Instant;

use index::{Index, MergeRequest, PartRef, Row, Sources, merge, publish_part};
use protocol::search::{Filters, Orientation};
use protocol::{FileFacts, ImagePath, IndexPrefix};

use crate::numbers::{numbers, part};

const DIM: usize = 4;
const ROWS_IN_A_PART: usize = 50_000;
const ROUNDS: usize = 7;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let rows: usize = std::env::args().nth(1).ok_or("usage: filter_speed ROWS")?.parse()?;
    let folder = tempfile::tempdir()?;
    let prefix = &IndexPrefix::new(folder.path().join("index"));
    let mut parts = Vec::new();
    for begin in (0..rows).step_by(ROWS_IN_A_PART) {
        let some = (begin..rows.min(begin + ROWS_IN_A_PART)).map(row).collect::<Result<Vec<_>>>()?;
        let meta = publish_part(prefix, part(&format!("{begin:09}"), DIM), &some)?;
        parts.push(PartRef { name: meta.name, rows: meta.rows, checksum: meta.checksum });
    }
    let sources = Sources::Parts(parts);
    merge(MergeRequest { prefix, run: None, sources, fresh: true, wait_s: 0.0, progress: &mut |_| Ok(()) })?;
    let begun = Instant::now();
    let index = Index::open(prefix, &folder.path().join("cache"))?;
    println!("opened for the first time: {:.0} ms", begun.elapsed().as_secs_f64() * 1e3);

    let shape = Filters { min_width: Some(3000), orientation: Some(Orientation::Landscape), ..Filters::default() };
    let dates = Filters { after_s: Some(500_000_000), before_s: Some(900_000_000), ..Filters::default() };
    let globs =
        |patterns: &[&str]| Filters { glob: patterns.iter().map(|p| p.to_string()).collect(), ..Filters::default() };
    for (name, filters) in [
        ("pixels and orientation", shape.clone()),
        ("dates", dates.clone()),
        ("a folder", Filters { under: vec!["00001-holidays-by-the-sea".into()], ..Filters::default() }),
        ("a folder, and dates", Filters { under: vec!["00001-holidays-by-the-sea".into()], ..dates }),
        ("a pattern of names, *.heic", globs(&["*.heic"])),
        ("a pattern of folders, 0*7-*", globs(&["0*7-*"])),
        ("two patterns, and pixels", Filters { glob: globs(&["**/*9.jpg", "*sea*1?.jpg"]).glob, ..shape }),
    ] {
        let mut took = Vec::new();
        let mut left = 0;
        for _ in 0..ROUNDS {
            index.matching(&Filters::default())?;
            let begun = Instant::now();
            left = index.matching(&filters)?.len();
            took.push(begun.elapsed().as_secs_f64() * 1e3);
        }
        took.sort_by(f64::total_cmp);
        println!("{name}: {left} of {rows} rows, median {:.1} ms, least {:.1} ms", took[ROUNDS / 2], took[0]);
    }
    Ok(())
}

fn row(i: usize) -> Result<Row> {
    let seed = i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    let extension = if seed.is_multiple_of(4) { "heic" } else { "jpg" };
    Ok(Row {
        path: ImagePath::new(format!("{:05}-holidays-by-the-sea/IMG_{i:09}.{extension}", i / 1000))?,
        embedding: numbers(DIM, i as u64),
        file: FileFacts {
            size_bytes: seed as u64,
            mtime_ns: (seed as i64) << 30,
            taken_s: (!seed.is_multiple_of(3)).then_some(seed as i64 % 1_500_000_000),
            width: 1000 + (seed % 4001) as u32,
            height: 1000 + (seed / 7 % 4001) as u32,
        },
        content_hash: String::new(),
    })
}
