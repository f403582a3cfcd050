//! The merge stage: the merger is told the names and checksums of this run's parts, so that a directory cache cannot
//! hide one from it.

use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use disk::ours;
use protocol::{Exit, IndexPrefix, Lines, MOST_METADATA, Proof, RunRecord, encode_line, read_file};
use serde::{Deserialize, Serialize};

use crate::interrupt::Interrupted;
use crate::job::{Arguments, Job};
use crate::site::Site;
use crate::view::Spinner;

/// A merge that takes longer has hung.
const LONGEST_MERGE: Duration = Duration::from_secs(24 * 3600);

/// A finished part, as the merger reads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartLine {
    pub name: String,
    pub rows: u64,
    pub checksum: String,
}

/// What the merger says at its end.
#[derive(Debug, Deserialize)]
pub struct Merged {
    pub generation: u64,
    pub num_images: u64,
    pub added: u64,
    pub dropped: u64,
    pub replaced: u64,
    pub proof: Option<Proof>,
    #[serde(default)]
    pub warnings: Vec<String>,
}

impl Merged {
    /// How a merge alone ended.
    pub fn exit(&self) -> Exit {
        match self.proof {
            Some(proof) if !proof.holds() => Exit::Failed,
            Some(proof) => Exit::after(proof.failed),
            None => Exit::Done,
        }
    }
}

/// The parts of a run that was not merged.
pub struct Kept {
    pub run_id: String,
    pub lines: Vec<PartLine>,
}

/// How long a merger may take to end when told to.
const MERGER_ENDS: Duration = Duration::from_secs(30);

/// Writes the run's parts beside its manifest, for `--merge-only`. An end that is wished is no reason not to keep what is
/// done.
pub async fn keep_parts(job: &Job, run_id: &str, parts: &[PartLine]) -> Result<()> {
    let text: String = parts.iter().map(encode_line).collect();
    let (prefix, file, owner) = (job.prefix.clone(), job.prefix.run(run_id).parts(), job.owner.clone());
    job.stop.waits_for(format!("{} to be written", file.display()));
    let write = move || {
        owner.map_or(Ok(()), |owner| owner.check())?;
        // The scan made the folder; this machine may not see it yet.
        let (run, name) = ours::make(&prefix)?.make_place(&file)?;
        Ok(run.write(name, text.as_bytes())?)
    };
    tokio::task::spawn_blocking(write).await?
}

/// The parts that the newest run left, of those that came to their end. One that was interrupted before it had any counts
/// for nothing: what it found is found again.
pub fn kept_parts(prefix: &IndexPrefix) -> Result<Kept> {
    let mut unfinished = None;
    for run_id in finished_scans(prefix) {
        let record = prefix.run(&run_id).record();
        let text = read_file(&record, MOST_METADATA).with_context(|| format!("cannot read {}", record.display()))?;
        let record: RunRecord =
            serde_json::from_slice(&text).with_context(|| format!("{} is damaged", record.display()))?;
        if record.proof.is_some() {
            bail!("there is nothing to merge: run {run_id}, the newest that was finished, is in the index already");
        }
        let path = prefix.run(&run_id).parts();
        match read_file(&path, MOST_METADATA) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                unfinished.get_or_insert((run_id, path));
            }
            text => {
                let text = text.with_context(|| format!("cannot read {}", path.display()))?;
                let lines: Result<Vec<PartLine>, _> = lines_of(&text).map(serde_json::from_slice).collect();
                return Ok(Kept { run_id, lines: lines.with_context(|| format!("{} is damaged", path.display()))? });
            }
        }
    }
    match unfinished {
        Some((run_id, path)) => bail!(
            "run {run_id} was not finished ({} is not there); run the controller with --image-dir again, it goes on where it was",
            path.display()
        ),
        None => bail!("no run to merge in {}; run the controller with --image-dir first", prefix.runs().display()),
    }
}

/// Runs whose scan came to its end, the newest first. Their names begin with their time.
fn finished_scans(prefix: &IndexPrefix) -> Vec<String> {
    let entries = std::fs::read_dir(prefix.runs()).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut finished: Vec<String> = names.filter(|run| prefix.run(run).record().is_file()).collect();
    finished.sort_by(|a, b| b.cmp(a));
    finished
}

/// Rows of the parts that a run left in this file; none if it left none.
pub fn rows_kept(parts: &Path) -> Result<u64> {
    let text = match read_file(parts, MOST_METADATA) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
        text => text.with_context(|| format!("cannot read {}", parts.display()))?,
    };
    let rows = lines_of(&text).map(|line| Ok(serde_json::from_slice::<PartLine>(line)?.rows));
    rows.sum::<Result<u64>>().with_context(|| format!("{} is damaged", parts.display()))
}

fn lines_of(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|b| *b == b'\n').filter(|line| !line.is_empty())
}

/// Runs the merger at `site` over the parts of a run. When an end is wished it is told to end, and has some time for it.
pub async fn merge(job: &Job, site: &Site, run_id: &str, parts: &[PartLine]) -> Result<Merged> {
    let spinner = Spinner::new("Merging");
    let name = &site.spec.name;
    job.stop.waits_for(format!("the merger on {name} to end"));
    let arguments = Arguments::default()
        .set("index-prefix", site.path(job.prefix.dir())?)
        .set("run", run_id)
        .set("parts", "-")
        .word("--granted")
        .flag("fresh", job.args.fresh);
    let lines: String = parts.iter().map(encode_line).collect();
    let (program, stop) = (site.program("merger")?, &job.stop);
    let interrupted = |how: &str| {
        let kept = "what is embedded is kept: run the same command to go on, or merge with --merge-only";
        Interrupted(format!("Interrupted while merging; {how}, and {kept}."))
    };
    let output = tokio::select! {
        output = site.host.attend(&program, &arguments.0, lines.as_bytes(), LONGEST_MERGE, stop.wait()) => output?,
        () = async { stop.wait().await; tokio::time::sleep(MERGER_ENDS).await } => {
            return Err(interrupted(&format!("the merger on {name} does not answer")).into());
        }
    };
    drop(spinner);
    let said = String::from_utf8_lossy(&output.stderr);
    let last = String::from_utf8_lossy(&output.stdout);
    match last.lines().next_back().map(serde_json::from_str::<Merged>) {
        Some(Ok(merged)) => {
            let warnings = merged.warnings.into_iter().filter(|warning| job.is_news(warning)).collect();
            Ok(Merged { warnings, ..merged })
        }
        _ if stop.wished() => Err(interrupted("the index is as it was").into()),
        _ => {
            let said = said.trim().trim_start_matches("error: ").lines().map(str::trim);
            Err(Lines::new(format!("the merger on {name} failed"), said).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use damage::{COPIES, Numbers, contained};
    use protocol::{FORMAT_VERSION, ScanSummary};

    use super::*;

    #[test]
    fn damaged_lists_of_parts_and_records_of_runs_are_named() {
        contained(damaged_lists_of_parts_and_records_of_runs_are_named, || {
            let dir = tempfile::tempdir().unwrap();
            let prefix = IndexPrefix::new(dir.path().join("index"));
            let run = prefix.run("r");
            fs::create_dir_all(run.dir()).unwrap();
            let record = RunRecord {
                format_version: FORMAT_VERSION,
                run_id: "r".into(),
                started: String::new(),
                root: "/photos".into(),
                model: "m".into(),
                fingerprint: "f".into(),
                full_scan: true,
                summary: ScanSummary::default(),
                proof: None,
            };
            let part = PartLine { name: "p".into(), rows: 3, checksum: "c".into() };
            let wholes = [(run.record(), encode_line(&record)), (run.parts(), encode_line(&part).repeat(3))];
            wholes.iter().for_each(|(file, whole)| fs::write(file, whole).unwrap());
            assert_eq!(kept_parts(&prefix).unwrap().lines.len(), 3);
            for (file, whole) in wholes {
                let mut numbers = Numbers::new(1);
                let mut refused = 0;
                for _ in 0..COPIES {
                    fs::write(&file, damage::json_lines(&whole, &mut numbers)).unwrap();
                    if let Err(error) = kept_parts(&prefix) {
                        refused += 1;
                        let merged = error.to_string().contains("is in the index already");
                        assert!(merged || error.to_string().contains(file.to_str().unwrap()), "{error:#}");
                    }
                }
                assert!(refused > COPIES / 4, "{refused}");
                fs::write(&file, whole).unwrap();
            }
        });
    }
}
