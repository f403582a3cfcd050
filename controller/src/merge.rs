//! The merge stage: the merger is told the names and checksums of this run's parts, so that a directory cache cannot
//! hide one from it.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use protocol::{Exit, Proof, RunRecord, encode_line};
use serde::{Deserialize, Serialize};

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

/// Writes the run's parts beside its manifest, for `--merge-only`.
pub async fn keep_parts(job: &Job, site: &Site, run_id: &str, parts: &[PartLine]) -> Result<()> {
    let text: String = parts.iter().map(encode_line).collect();
    site.write(&site.path(&job.prefix.run(run_id).parts())?, text.as_bytes()).await
}

/// The parts that the newest run left.
pub fn kept_parts(job: &Job) -> Result<Kept> {
    let runs = job.prefix.runs();
    let Some(run_id) = job.prefix.newest_run() else {
        bail!("no run to merge in {}; run the controller with --image-dir first", runs.display())
    };
    let record = job.prefix.run(&run_id).record();
    let text = fs::read(&record).with_context(|| format!("cannot read {}", record.display()))?;
    let record: RunRecord =
        serde_json::from_slice(&text).with_context(|| format!("{} is damaged", record.display()))?;
    if record.proof.is_some() {
        bail!("there is nothing to merge: run {run_id}, the newest, is in the index already");
    }
    let path = job.prefix.run(&run_id).parts();
    let text = fs::read_to_string(&path).with_context(|| {
        format!(
            "run {run_id} was not finished ({}); run the controller with --image-dir again, it goes on where it was",
            path.display()
        )
    })?;
    let lines: Result<Vec<PartLine>, _> = text.lines().map(serde_json::from_str).collect();
    Ok(Kept { run_id, lines: lines.with_context(|| format!("{} is damaged", path.display()))? })
}

/// Runs the merger at `site` over the parts of a run.
pub async fn merge(job: &Job, site: &Site, run_id: &str, parts: &[PartLine]) -> Result<Merged> {
    let spinner = Spinner::new("Merging");
    let arguments = Arguments::default()
        .set("index-prefix", site.path(job.prefix.dir())?)
        .set("run", run_id)
        .set("parts", "-")
        .flag("fresh", job.args.fresh);
    let lines: String = parts.iter().map(encode_line).collect();
    let output = site.host.run(&site.program("merger")?, &arguments.0, lines.as_bytes(), LONGEST_MERGE).await?;
    drop(spinner);
    let said = String::from_utf8_lossy(&output.stderr);
    let last = String::from_utf8_lossy(&output.stdout);
    match last.lines().next_back().map(serde_json::from_str::<Merged>) {
        Some(Ok(merged)) => Ok(merged),
        _ => bail!(
            "the merger on {} failed: {}",
            site.spec.name,
            said.trim().trim_start_matches("error: ").replace('\n', "\n  ")
        ),
    }
}
