//! What a merge takes in: named parts or the partial indexes of a run, and every other sound part.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use protocol::{Failure, IndexMeta, IndexPrefix, MOST_METADATA, ModelIdentity, RunRecord, WorkerMeta};
use serde::{Deserialize, Serialize};

use crate::IndexError;
use crate::error::{FileKind, Progress};
use crate::gather::other_model;
use crate::import::Import;
use crate::kway::{Opened, Source};
use crate::merge::MergeRequest;
use crate::meta_file::read_record;
use crate::part::{self, PartHead};
use crate::partials;
use crate::take_in::{Candidate, Kind};

/// A finished part as the controller knows it from its worker, one JSON object a line for `merger --parts -`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartRef {
    /// Its name.
    pub name: String,
    /// Its rows.
    pub rows: u64,
    /// Checksum of its rows.
    pub checksum: String,
}

/// Where a merge's new rows come from.
#[derive(Debug)]
pub enum Sources {
    /// The run's parts, by name.
    Parts(Vec<PartRef>),
    /// The workers' partial indexes: `num_workers` of them, or all that are there.
    Partials {
        /// How many there must be.
        num_workers: Option<usize>,
    },
    /// Vectors that were made elsewhere. They add pictures and replace none.
    Imported {
        /// They.
        import: Box<Import>,
        /// The model that made them.
        model: ModelIdentity,
    },
}

/// Everything a merge takes in, checked as far as that goes without reading it.
pub(crate) struct Inputs {
    pub run_id: String,
    pub record: Option<RunRecord>,
    pub root: String,
    pub fingerprint: String,
    /// Of all that is taken in, the run's own first.
    pub models: Vec<ModelIdentity>,
    pub sources: Vec<Source<Candidate>>,
    /// Parts that are taken in, to be removed afterwards.
    pub parts: Vec<PathBuf>,
    pub workers: Vec<WorkerMeta>,
    pub num_workers: usize,
    pub failures: Vec<Failure>,
    pub failed: u64,
    pub embedded: u64,
    pub warnings: Vec<String>,
}

pub(crate) fn collect(
    request: &mut MergeRequest<'_>,
    current: Option<&IndexMeta>,
    deadline: Instant,
) -> Result<Inputs, IndexError> {
    let mut inputs = match &mut request.sources {
        Sources::Imported { import, model } => return import.inputs(model, current),
        Sources::Parts(refs) => {
            let refs = std::mem::take(refs);
            named_parts(request, &refs, current, deadline)?
        }
        Sources::Partials { num_workers } => {
            let inputs = partials::collect(request.prefix, request.run, *num_workers)?;
            // A fresh index by hand is made of partials only.
            if request.fresh {
                return Ok(inputs);
            }
            still_fit(request.prefix, &inputs, current)?;
            inputs
        }
    };
    moved_parts(request, &mut inputs, deadline)?;
    other_parts(request, &mut inputs)?;
    Ok(inputs)
}

/// Refuses partial indexes of a run that the index has taken in before a later run changed it: they would bring back
/// pictures that are gone, and vectors of pictures as they once were.
fn still_fit(prefix: &IndexPrefix, inputs: &Inputs, current: Option<&IndexMeta>) -> Result<(), IndexError> {
    let merged = inputs.record.as_ref().is_some_and(|record| record.proof.is_some());
    match current {
        Some(current) if merged && current.run_id != inputs.run_id => Err(IndexError::Partial {
            what: format!(
                "the partial indexes in {} are of run {}, which the index took in before run {} changed it",
                prefix.dir().display(),
                inputs.run_id,
                current.run_id
            ),
            remedy: "run the controller, which embeds what is missing; or first run again the worker that you want to \
                     merge"
                .into(),
        }),
        _ => Ok(()),
    }
}

fn named_parts(
    request: &mut MergeRequest<'_>,
    refs: &[PartRef],
    current: Option<&IndexMeta>,
    deadline: Instant,
) -> Result<Inputs, IndexError> {
    let run = request.run;
    let record = run.map(|run_id| wait_for_record(request, run_id, deadline)).transpose()?;
    let mut warnings = Vec::new();
    let heads = wait_for_parts(request, refs, record.as_ref(), deadline, &mut warnings)?;
    let first = heads.first().map(|h| (h.meta.root.clone(), h.meta.model.fingerprint.clone()));
    let of_run = record.as_ref().map(|r| (r.root.trim_end_matches('/').to_owned(), r.fingerprint.clone()));
    let of_index = current.map(|m| (m.root.clone(), m.model.fingerprint.clone()));
    let Some((root, fingerprint)) = of_run.or(first).or(of_index) else {
        return Err(IndexError::NothingToMerge { prefix: request.prefix.dir().into() });
    };
    let run_id = request.run.map(str::to_owned).or(current.map(|m| m.run_id.clone())).unwrap_or_default();
    let workers = request.run.map(|run| partials::metas_of_run(request.prefix, run)).unwrap_or_default();
    let hosts: BTreeSet<&str> = heads.iter().map(|h| h.meta.host.as_str()).collect();
    let mut inputs = Inputs {
        run_id,
        record,
        root,
        fingerprint,
        models: Vec::new(),
        sources: Vec::new(),
        parts: Vec::new(),
        num_workers: if workers.is_empty() { hosts.len() } else { workers.len() },
        workers,
        failed: heads.iter().map(|h| h.meta.failures.len() as u64).sum(),
        failures: heads.iter().flat_map(|h| h.meta.failures.iter().cloned()).collect(),
        embedded: refs.iter().fold(0, |sum, part| sum.saturating_add(part.rows)),
        warnings,
    };
    push_named(&mut inputs, heads)?;
    Ok(inputs)
}

/// Adds the parts that the run's scan made of pictures that were moved: they are no work of any worker.
fn moved_parts(request: &mut MergeRequest<'_>, inputs: &mut Inputs, deadline: Instant) -> Result<(), IndexError> {
    let Some(record) = inputs.record.clone().filter(|record| record.summary.moved > 0) else { return Ok(()) };
    let path = request.prefix.run(&record.run_id).moved();
    let text = loop {
        match protocol::read_file(&path, MOST_METADATA) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && nap(request.progress, &path, deadline)? => {}
            text => break text.map_err(IndexError::io("read", &path))?,
        }
    };
    let lines = text.split(|b| *b == b'\n').filter(|line| !line.is_empty());
    let refs: Result<Vec<PartRef>, _> = lines.map(serde_json::from_slice).collect();
    let refs = refs.map_err(|e| FileKind::Run.damaged(&path, e.to_string()))?;
    let heads = wait_for_parts(request, &refs, Some(&record), deadline, &mut inputs.warnings)?;
    push_named(inputs, heads)
}

/// Adds parts of the run, which must be of its root and model.
fn push_named(inputs: &mut Inputs, heads: Vec<PartHead>) -> Result<(), IndexError> {
    for head in heads {
        if head.meta.root != inputs.root {
            return Err(IndexError::OtherRoot { path: head.path, has: head.meta.root, wanted: inputs.root.clone() });
        }
        if head.meta.model.fingerprint != inputs.fingerprint {
            let wanted = ModelIdentity { fingerprint: inputs.fingerprint.clone(), ..head.meta.model.clone() };
            return Err(other_model(&head.path, &head.meta.model, &wanted));
        }
        push_part(inputs, head, Kind::Named);
    }
    Ok(())
}

/// Adds every sound part of the same root and fingerprint that was not named: an interrupted run left it.
fn other_parts(request: &MergeRequest<'_>, inputs: &mut Inputs) -> Result<(), IndexError> {
    let named: BTreeSet<PathBuf> = inputs.parts.iter().cloned().collect();
    for path in part::list(request.prefix)? {
        if named.contains(&path) {
            continue;
        }
        match part::head(&path) {
            Ok(head) if head.meta.root != inputs.root => {
                inputs.warnings.push(format!("{} is of {:?}: left", path.display(), head.meta.root));
            }
            Ok(head) if head.meta.model.fingerprint != inputs.fingerprint => {
                inputs.warnings.push(format!("{} is of model {}: left", path.display(), head.meta.model.model_name));
            }
            Ok(head) => push_part(inputs, head, Kind::Other),
            Err(e) if e.is_not_found() => {}
            Err(e) => inputs.warnings.push(format!("left out: {e}")),
        }
    }
    Ok(())
}

fn push_part(inputs: &mut Inputs, head: PartHead, kind: Kind) {
    inputs.parts.push(head.path.clone());
    if !inputs.models.contains(&head.meta.model) {
        inputs.models.push(head.meta.model.clone());
    }
    let rank = inputs.sources.len();
    let candidates = move |row| Candidate { kind, row };
    inputs.sources.push(Source {
        first: head.first.clone(),
        rank,
        path: head.path.clone(),
        open: Box::new(move || match part::open(&head) {
            Ok(file) => Ok(Opened::Rows(Box::new(file.rows().map(move |row| row.map(candidates))))),
            Err(e) if kind == Kind::Other => Ok(Opened::Skip(e.to_string())),
            Err(e) => Err(e),
        }),
    });
}

/// The record is on the share already, but this host's directory cache may not show it for a while.
fn wait_for_record(request: &mut MergeRequest<'_>, run_id: &str, deadline: Instant) -> Result<RunRecord, IndexError> {
    let path = request.prefix.run(run_id).record();
    loop {
        if let Some(record) = read_record(request.prefix, run_id)? {
            return Ok(record);
        }
        if !nap(request.progress, &path, deadline)? {
            return Err(FileKind::Run.damaged(&path, "it is not there, so the run's scan did not finish"));
        }
    }
}

fn wait_for_parts(
    request: &mut MergeRequest<'_>,
    refs: &[PartRef],
    record: Option<&RunRecord>,
    deadline: Instant,
    warnings: &mut Vec<String>,
) -> Result<Vec<PartHead>, IndexError> {
    let mut heads = Vec::new();
    for part in refs {
        match wait_for_part(request, part, deadline) {
            Ok(head) => heads.push(head),
            // A merge that was killed while it removed what it had taken in.
            Err(e @ IndexError::PartMissing { .. }) if record.is_some_and(|r| r.proof.is_some()) => {
                warnings.push(format!("{e} (an earlier merge of this run took it in)"));
            }
            Err(e) => return Err(e),
        }
    }
    Ok(heads)
}

fn wait_for_part(request: &mut MergeRequest<'_>, part: &PartRef, deadline: Instant) -> Result<PartHead, IndexError> {
    let path = part::part_path(request.prefix, &part.name)?;
    loop {
        let what = match part::head(&path) {
            Ok(head) if head.meta.rows == part.rows && head.meta.checksum == part.checksum => return Ok(head),
            Ok(head) => format!(
                "it has {} rows of checksum {}, its worker told {} of {}",
                head.meta.rows, head.meta.checksum, part.rows, part.checksum
            ),
            Err(e) if e.is_not_found() => format!("it did not appear within {:.0} s", request.wait_s),
            Err(e) => e.to_string(),
        };
        if !nap(request.progress, &path, deadline)? {
            return Err(IndexError::PartMissing { path, what });
        }
    }
}

/// Waits a little for `path` to show up; false if the time is over. Listing the folder makes some network file systems
/// ask their server again. `progress` can end the wait.
pub(crate) fn nap(progress: Progress<'_>, path: &std::path::Path, deadline: Instant) -> Result<bool, IndexError> {
    progress(0)?;
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Ok(false);
    }
    std::thread::sleep(left.min(Duration::from_millis(200)));
    if let Some(parent) = path.parent() {
        let _ = std::fs::read_dir(parent).map(Iterator::count);
    }
    Ok(true)
}
