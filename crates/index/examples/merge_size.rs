//! What a merge takes, in memory and time, for an index of ROWS x D random vectors: once fresh, once an update of 1 %.
//!
//!     cargo build --workspace --bins --examples
//!     target/debug/examples/merge_size 5000000 512 [FOLDER] [LIMIT_MIB]
//!
//! The parts are those of a run, 1,024 rows each, and the merge is the `merger` program's. LIMIT_MIB, 2048 if not given,
//! is a limit on its address space (`ulimit -v`), which holds all memory that it could use: beyond it, it fails. Told is
//! also its peak resident memory as Linux counts it (VmHWM), which holds no cached pages of files that it reads. FOLDER
//! needs room for four times ROWS x D x 4 bytes; what is made there is removed.

mod numbers;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use index::{PartRef, Row, publish_part};
use protocol::{FileFacts, ImagePath, IndexPrefix, RunRecord, ScanSummary, encode_line};

use crate::numbers::{numbers, part};

const ROWS_IN_A_PART: usize = 1024;

/// Of the rows, one in so many is changed by the update.
const CHANGED: usize = 100;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [rows, dim, more @ ..] = args.as_slice() else {
        return Err("usage: merge_size ROWS D [FOLDER] [LIMIT_MIB]".into());
    };
    let (rows, dim): (usize, usize) = (rows.parse()?, dim.parse()?);
    let limit_mib: u64 = more.get(1).map_or(Ok(2048), |mib| mib.parse())?;
    let folder = match more.first() {
        Some(folder) => tempfile::tempdir_in(folder)?,
        None => tempfile::tempdir()?,
    };
    let prefix = IndexPrefix::new(folder.path().join("index"));
    run(&prefix, "fresh", (0..rows).map(|i| row(i, 1, dim)), rows, dim, limit_mib)?;
    let changed = (0..rows).step_by(CHANGED).map(|i| row(i, 2, dim));
    run(&prefix, "update of 1 %", changed, rows, dim, limit_mib)
}

/// Makes the parts of a run, merges them, and tells what that took.
fn run(
    prefix: &IndexPrefix,
    what: &str,
    rows: impl Iterator<Item = Result<Row>>,
    scanned: usize,
    dim: usize,
    limit_mib: u64,
) -> Result<()> {
    let begun = Instant::now();
    let mut parts = Vec::new();
    let mut rows = rows.peekable();
    while rows.peek().is_some() {
        let some: Vec<Row> = rows.by_ref().take(ROWS_IN_A_PART).collect::<Result<_>>()?;
        let meta = publish_part(prefix, part(&format!("{}-{}", some[0].file.mtime_ns, parts.len()), dim), &some)?;
        parts.push(PartRef { name: meta.name, rows: meta.rows, checksum: meta.checksum });
    }
    let embedded: u64 = parts.iter().map(|p| p.rows).sum();
    record(prefix, &what[..5], scanned as u64, embedded)?;
    println!("{what}: {embedded} rows in {} parts, made in {:.1} s", parts.len(), begun.elapsed().as_secs_f64());

    let begun = Instant::now();
    let mut merger = merger(prefix, &what[..5], limit_mib)?;
    let names: String = parts.iter().map(encode_line).collect();
    merger.stdin.take().ok_or("the merger has no standard input")?.write_all(names.as_bytes())?;
    let mut peak_kib = 0;
    let status = loop {
        peak_kib = peak_kib.max(resident_peak_kib(&merger).unwrap_or(0));
        match merger.try_wait()? {
            Some(status) => break status,
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "{what}: {status}, merged into {scanned} x {dim} in {seconds:.1} s: {:.0} rows/s, peak {:.0} MiB resident, \
         limit {limit_mib} MiB of address space",
        scanned as f64 / seconds,
        peak_kib as f64 / 1024.0
    );
    if status.success() { Ok(()) } else { Err("the merge failed".into()) }
}

/// The `merger` that was built beside this example.
fn merger(prefix: &IndexPrefix, run: &str, limit_mib: u64) -> Result<Child> {
    let example = std::env::current_exe()?;
    let program = example.parent().and_then(Path::parent).ok_or("no target folder")?.join("merger");
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -v \"$1\"; shift; exec \"$@\"", "sh", &(limit_mib * 1024).to_string()]);
    command.arg(program).arg("--index-prefix").arg(prefix.dir()).args(["--run", run, "--parts", "-"]);
    Ok(command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?)
}

/// The most memory that a process has had so far, KiB; none once it has ended, or where there is no Linux.
fn resident_peak_kib(process: &Child) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok())
}

fn record(prefix: &IndexPrefix, run_id: &str, scanned: u64, new: u64) -> Result<()> {
    let run = prefix.run(run_id);
    fs::create_dir_all(run.dir())?;
    let record = RunRecord {
        format_version: protocol::FORMAT_VERSION,
        run_id: run_id.into(),
        started: "2024-01-01T00:00:00Z".into(),
        root: "/numbers".into(),
        model: "numbers".into(),
        fingerprint: "numbers".into(),
        full_scan: true,
        summary: ScanSummary { scanned, new, standing: scanned - new, ..Default::default() },
        proof: None,
    };
    Ok(fs::write(run.record(), serde_json::to_vec(&record)?)?)
}

fn row(i: usize, state: i64, dim: usize) -> Result<Row> {
    let seed = i as u64 * 2 + state as u64;
    Ok(Row {
        // As long as the paths of photos are.
        path: ImagePath::new(format!("{:05}-holidays-by-the-sea/IMG_{i:09}", i / 1000))?,
        embedding: numbers(dim, seed),
        file: FileFacts { size_bytes: 3_000_000 + i as u64, mtime_ns: state, ..FileFacts::default() },
        content_hash: protocol::hash_hex(&seed.to_le_bytes()),
    })
}
