//! Makes an index that later versions must still open: 20,000 rows of D = 16, enough for a first pass.
//!
//!     cargo run -p index --example old_index -- FOLDER
//!     tar -C FOLDER -czf crates/index/tests/old/format-N.tar.gz .
//!
//! Run it once with each new format, from the release that wrote it, and commit the archive. `tests/old.rs` makes the
//! same rows again and compares.

mod numbers;

use std::path::Path;

use index::{MergeRequest, PartRef, Row, Sources, merge, publish_part};
use protocol::{IndexPrefix, RunRecord, ScanSummary};

use crate::numbers::{part, plain_row};

const ROWS: usize = 20_000;
const DIM: usize = 16;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).ok_or("usage: old_index FOLDER")?;
    let prefix = IndexPrefix::new(Path::new(&folder).join("index"));
    let rows: Vec<Row> = (0..ROWS).map(|i| plain_row(i, DIM)).collect::<Result<_, _>>()?;
    let meta = publish_part(&prefix, part("all", DIM), &rows)?;
    let parts = vec![PartRef { name: meta.name, rows: meta.rows, checksum: meta.checksum }];
    let run = prefix.run("20260101-000000");
    std::fs::create_dir_all(run.dir())?;
    let record = RunRecord {
        format_version: protocol::FORMAT_VERSION,
        run_id: "20260101-000000".into(),
        started: "2026-01-01T00:00:00Z".into(),
        root: "/numbers".into(),
        model: "numbers".into(),
        fingerprint: "numbers".into(),
        full_scan: true,
        summary: ScanSummary { scanned: ROWS as u64, new: ROWS as u64, ..ScanSummary::default() },
        proof: None,
    };
    std::fs::write(run.record(), serde_json::to_vec(&record)?)?;
    let (run, sources) = (Some("20260101-000000"), Sources::Parts(parts));
    let report =
        merge(MergeRequest { prefix: &prefix, run, sources, fresh: false, wait_s: 0.0, progress: &mut |_| Ok(()) })?;
    println!("{report:?}");
    Ok(())
}
