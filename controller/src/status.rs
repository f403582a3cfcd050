//! `--status`: what is in an index, who works on it, what failed, how old it all is. From its files alone: no machine is
//! asked, and nothing is changed.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufReader, ErrorKind};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chrono::{DateTime, Local};
use disk::{Owner, RunLock};
use indicatif::{HumanBytes, HumanCount, HumanDuration};
use protocol::{
    Exit, Failure, FailureKind, IndexMeta, IndexPrefix, LONGEST_EVENT, MOST_METADATA, RunRecord, json, lines, tell,
    told,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// So many kinds of failures are told with an example.
const EXAMPLES: usize = 10;

/// All that is told, as `--json` prints it.
#[derive(Serialize)]
struct Status {
    index_prefix: String,
    /// Absent before the first merge.
    index: Option<IndexMeta>,
    /// Bytes of its files.
    index_bytes: u64,
    running: Option<Running>,
    /// The newest run.
    run: Option<RunRecord>,
    /// Finished parts that no merge has taken in yet.
    parts_waiting: usize,
    failures: BTreeMap<String, Failures>,
}

#[derive(Serialize)]
struct Running {
    #[serde(flatten)]
    owner: Owner,
    heartbeat_age_seconds: u64,
}

/// Failures of one kind.
#[derive(Serialize)]
struct Failures {
    count: u64,
    example: Failure,
}

/// Prints the status of an index.
pub fn status(prefix: &IndexPrefix, as_json: bool) -> Result<Exit> {
    let status = read(prefix)?;
    if as_json {
        tell(&json(&status));
    } else {
        show(&status);
    }
    told().context("cannot write to standard output")?;
    Ok(Exit::Done)
}

fn read(prefix: &IndexPrefix) -> Result<Status> {
    let index: Option<IndexMeta> = read_json(&prefix.meta())?;
    let run = prefix.newest_run().map(|run| read_json(&prefix.run(&run).record())).transpose()?.flatten();
    let name = prefix.dir().display().to_string();
    ensure!(
        index.is_some() || run.is_some(),
        "there is no index at {name}, and no run has begun; build it with: controller --image-dir DIR"
    );
    let (owner, age) = RunLock::last_owner(&prefix.lock()).unzip();
    let parts = fs::read_dir(prefix.parts()).into_iter().flatten().flatten();
    let is_part = |name: &str| name.ends_with(".parquet") && !name.starts_with('.');
    Ok(Status {
        index_bytes: index.iter().flat_map(|i| &i.segments).map(|s| s.parquet_bytes + s.faiss_bytes).sum(),
        index_prefix: name,
        index,
        running: owner.zip(age).map(|(owner, age)| Running { owner, heartbeat_age_seconds: age.as_secs() }),
        run,
        parts_waiting: parts.filter(|part| part.file_name().to_str().is_some_and(is_part)).count(),
        failures: failures(&prefix.failures())?,
    })
}

/// A JSON file's content; `None` if there is no such file.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    match protocol::read_file(path, MOST_METADATA) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).with_context(|| format!("cannot read {}", path.display())),
        Ok(text) => serde_json::from_slice(&text).map(Some).with_context(|| format!("{} is damaged", path.display())),
    }
}

/// The ledger's failures by kind. It may be long, so it is read line by line.
fn failures(path: &Path) -> Result<BTreeMap<String, Failures>> {
    let mut kinds: BTreeMap<String, Failures> = BTreeMap::new();
    let file = match protocol::open_file(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(kinds),
        file => file.with_context(|| format!("cannot read {}", path.display()))?,
    };
    for line in lines(BufReader::new(file), LONGEST_EVENT) {
        let line = match line {
            // What is longer than any line is one that is damaged, the last.
            Err(e) if e.kind() == ErrorKind::InvalidData => Vec::new(),
            line => line.with_context(|| format!("cannot read {}", path.display()))?,
        };
        // A line that is damaged counts too: the next merge drops it and says so.
        let failure = serde_json::from_slice(&line).unwrap_or_else(|_| {
            let detail = "this line of the ledger is damaged".into();
            Failure::new(path.display().to_string(), FailureKind::Unreadable, detail, "")
        });
        kinds
            .entry(failure.kind.to_string())
            .and_modify(|kind| kind.count += 1)
            .or_insert(Failures { count: 1, example: failure });
    }
    Ok(kinds)
}

fn show(status: &Status) {
    match &status.index {
        None => tell!("Index {}: not merged yet", status.index_prefix),
        Some(index) => {
            tell!(
                "Index {}: {} pictures, generation {}, {}",
                status.index_prefix,
                HumanCount(index.num_images),
                index.generation,
                HumanBytes(status.index_bytes)
            );
            tell!("  made {} by version {}", when(&index.created), index.software_version);
            let deviation = index.model.deviation.map_or_else(String::new, |d| format!(", deviation {d:.4}"));
            tell!("  {} in {} on {}{deviation}", index.model.model_name, index.model.precision, index.model.provider);
            tell!("  pictures are below {}", index.root);
        }
    }
    match &status.running {
        None => tell!("Nobody is working on it."),
        Some(Running { owner, heartbeat_age_seconds }) => tell!(
            "Working on it: {} (process {} on {}), last sign of life {heartbeat_age_seconds} s ago",
            owner.program,
            owner.pid,
            owner.host
        ),
    }
    if let Some(run) = &status.run {
        tell!("Newest run {}, begun {}:", run.run_id, when(&run.started));
        match run.proof {
            Some(p) => tell!(
                "  scanned {} = embedded {} + failed {} + already indexed {}",
                HumanCount(p.scanned),
                HumanCount(p.embedded),
                HumanCount(p.failed),
                HumanCount(p.skipped)
            ),
            None => tell!(
                "  {} scanned, {} to embed; not in the index yet",
                HumanCount(run.summary.scanned),
                HumanCount(run.summary.new)
            ),
        }
    }
    if status.parts_waiting > 0 {
        tell!("{} finished parts wait for a merge", HumanCount(status.parts_waiting as u64));
    }
    for (kind, Failures { count, example }) in status.failures.iter().take(EXAMPLES) {
        tell!("Failed, {kind}: {}, as {}: {}", HumanCount(*count), example.path, example.detail);
    }
}

/// A time as a person reads it, with its age.
fn when(rfc_3339: &str) -> String {
    let Ok(time) = DateTime::parse_from_rfc3339(rfc_3339) else { return rfc_3339.to_owned() };
    let age = Local::now().signed_duration_since(time).to_std().unwrap_or(Duration::ZERO);
    format!("{} ({} ago)", time.with_timezone(&Local).format("%Y-%m-%d %H:%M"), HumanDuration(age))
}

#[cfg(test)]
mod tests {
    use damage::{COPIES, Numbers, contained};
    use serde_json::json;

    use super::*;

    #[test]
    fn damaged_files_of_an_index_are_named_and_a_damaged_ledger_is_counted() {
        contained(damaged_files_of_an_index_are_named_and_a_damaged_ledger_is_counted, || {
            let dir = tempfile::tempdir().unwrap();
            let prefix = IndexPrefix::new(dir.path().join("index"));
            let run = prefix.run("r");
            fs::create_dir_all(run.dir()).unwrap();
            let segment = json!({
                "name": "gen-1/seg-0", "rows": 5, "parquet_bytes": 9, "parquet_checksum": "c", "faiss_bytes": 9,
                "faiss_checksum": "c"
            });
            let index = json!({
                "format_version": 2, "software_version": "0", "generation": 1, "created": "2024-01-01T00:00:00Z",
                "run_id": "r", "root": "/p", "model_name": "m", "fingerprint": "f", "embedding_dim": 4, "precision": "fp32",
                "provider": "cpu", "num_images": 5, "num_failed": 0, "num_workers": 1, "processing_time_seconds": 1.0,
                "worker_metadata": [], "segments": [segment, segment]
            });
            let record = json!({
                "format_version": 2, "run_id": "r", "started": "2024-01-01T00:00:00Z", "root": "/p", "model": "m",
                "fingerprint": "f", "full_scan": true, "summary": {
                    "scanned": 5, "new": 5, "standing": 0, "failed": 0, "gone": 0, "changed": 0, "unreadable_folders": 0},
                "proof": {"scanned": 5, "embedded": 5, "failed": 0, "skipped": 0}
            });
            let failure = json!({"path": "/p/a", "kind": "vanished", "detail": "d", "host": "h", "attempts": 1,
                "first_time": "t", "last_time": "t"});
            let ledger = format!("{failure}\n").repeat(3);
            let files =
                [(prefix.meta(), index.to_string()), (run.record(), record.to_string()), (prefix.failures(), ledger)];
            files.iter().for_each(|(file, whole)| fs::write(file, whole).unwrap());
            show(&read(&prefix).unwrap());
            for (file, whole) in files {
                let mut numbers = Numbers::new(1);
                for _ in 0..COPIES {
                    fs::write(&file, damage::json_lines(&whole, &mut numbers)).unwrap();
                    match read(&prefix) {
                        Ok(status) => show(&status),
                        Err(error) => {
                            assert!(file != prefix.failures(), "the ledger only informs: {error:#}");
                            assert!(error.to_string().contains(file.to_str().unwrap()), "{error:#}");
                        }
                    }
                }
                fs::write(&file, whole).unwrap();
            }
        });
    }
}
