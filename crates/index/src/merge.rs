//! Merges: (current generation - rows that are gone) + new rows = the next generation.
//!
//! The caller holds `P/merge.lock`: two merges at a time would remove each other's unfinished files.

use std::time::{Duration, Instant};

use chrono::{SecondsFormat, Utc};
use protocol::{FORMAT_VERSION, Failure, IndexMeta, IndexPrefix, ModelIdentity, Proof, VERSION, WorkerMeta};

use crate::current::{self, Current};
use crate::error::{FileKind, Progress};
use crate::gather::other_model;
use crate::generation::GenerationWriter;
use crate::gone::Gone;
use crate::inputs::{self, Inputs, Sources};
use crate::kway::{KWay, Opened, Skipped, Source};
use crate::ledger::Ledger;
use crate::meta_file::segments;
use crate::row_reader::RowFile;
use crate::take_in::{Candidate, Counts, Kind, take_in};
use crate::{IndexError, cleanup, for_python, proof};

/// What to merge.
pub struct MergeRequest<'a> {
    /// The index.
    pub prefix: &'a IndexPrefix,
    /// The run whose work this is; needed for the proof, the rows that are gone, and the ledger. With
    /// [`Sources::Partials`], `None` takes the newest run that has partial indexes.
    pub run: Option<&'a str>,
    /// Where new rows come from.
    pub sources: Sources,
    /// Ignore the current generation; its root and model do not matter then.
    pub fresh: bool,
    /// How long to wait, in all, for files that this host's directory cache may hide.
    pub wait_s: f64,
    /// Told how many rows are written, now and then. Nothing is left of a merge that it ends.
    pub progress: Progress<'a>,
}

/// What a merge did.
#[derive(Clone, Debug, PartialEq)]
pub struct MergeReport {
    /// The index as it is now.
    pub meta: IndexMeta,
    /// False if nothing was to be changed, so that the current generation stays.
    pub written: bool,
    /// Promise 1, if the run has a record. It may not hold: the merge stands, but someone must be told.
    pub proof: Option<Proof>,
    /// Pictures of the run that could not be embedded.
    pub failed: u64,
    /// Pictures that the index did not have.
    pub added: u64,
    /// Pictures that are gone.
    pub dropped: u64,
    /// Pictures whose row is another one now.
    pub replaced: u64,
    /// What a person should know.
    pub warnings: Vec<String>,
}

/// Makes the next generation and switches to it. On an error the old one stays as it is, unless the error is
/// [`IndexError::AfterSwitch`].
pub fn merge(request: MergeRequest<'_>) -> Result<MergeReport, IndexError> {
    merge_while(&|| Ok(()), request)
}

/// The same, for as long as the index is seen to be the caller's: `ours` is asked now and then, and right before the
/// switch.
pub fn merge_while(
    ours: &dyn Fn() -> Result<(), disk::Lost>,
    mut request: MergeRequest<'_>,
) -> Result<MergeReport, IndexError> {
    let prefix = request.prefix;
    let deadline = Instant::now() + Duration::try_from_secs_f64(request.wait_s).unwrap_or_default();
    let current = current::read(prefix, request.fresh, deadline, request.progress)?;
    for_python::refuse_others(prefix, current.base.as_ref())?;
    let mut inputs = inputs::collect(&mut request, current.base.as_ref(), deadline)?;
    let model = check_same_collection(prefix, &current, &inputs)?;
    let run = inputs.record.as_ref().map(|record| prefix.run(&record.run_id));
    let mut gone = run.as_ref().map_or(Ok(Gone::nothing()), |run| Gone::open(&run.gone()))?;
    let mut after = Aftermath {
        prefix,
        now: Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true),
        warnings: std::mem::take(&mut inputs.warnings),
        ledger: Ledger::default(),
        scan_failures: run.as_ref().map_or(Ok(Vec::new()), proof::scan_failures)?,
        left_out: Vec::new(),
        ours,
    };
    after.ledger = Ledger::read(prefix, &mut after.warnings)?;
    if let Some(record) = &inputs.record {
        for entry in proof::failed_before(&prefix.run(&record.run_id), record)? {
            after.ledger.not_tried(&format!("{}/{}", inputs.root, entry?.path));
        }
    }
    cleanup::remove_leftovers(prefix, current.generation)?;

    let idle = current.base.is_some() && inputs.sources.is_empty() && gone.is_empty();
    let (next, counts) = match model {
        Some(model) if !idle => write_next(&mut request, &current, &mut inputs, &model, &mut gone, &mut after)?,
        _ => {
            let rows = current.base.as_ref().map_or(0, |m| m.num_images);
            (None, Counts { rows, kept: rows, ..Counts::default() })
        }
    };
    let switched = next.as_ref().map(|next| next.generation);
    after.finish(inputs, next, current, counts).map_err(|source| match switched {
        Some(generation) => {
            IndexError::AfterSwitch { generation, prefix: prefix.dir().into(), source: Box::new(source) }
        }
        None => source,
    })
}

/// Streams all rows into the next generation and switches to it; `None` if it would be the same as the current one.
fn write_next(
    request: &mut MergeRequest<'_>,
    current: &Current,
    inputs: &mut Inputs,
    model: &ModelIdentity,
    gone: &mut Gone,
    after: &mut Aftermath<'_>,
) -> Result<(Option<IndexMeta>, Counts), IndexError> {
    let prefix = request.prefix;
    let mut sources = std::mem::take(&mut inputs.sources);
    if let Some(base) = &current.base {
        current::verify(prefix, base)?;
        sources.extend(segments(prefix, base).into_iter().enumerate().map(|(i, s)| segment_source(s, &base.root, i)));
    }
    let mut candidates = KWay::new(sources);
    let generation = cleanup::free_generation(prefix, current.generation + 1)?;
    let mut writer = GenerationWriter::create(prefix, generation, &inputs.root, model.embedding_dim)?;
    let mut written = 0u64;
    let counts = take_in(&mut candidates, gone, |kind, row| {
        if kind != Kind::Generation && !after.ledger.is_empty() {
            after.ledger.embedded(format!("{}/{}", inputs.root, row.path));
        }
        writer.push(row)?;
        written += 1;
        if written.is_multiple_of(4096) {
            (request.progress)(written)?;
            match (after.ours)() {
                // A share that is away for a moment is asked again.
                Ok(()) | Err(disk::Lost::Unseen { .. }) => {}
                lost => lost?,
            }
        }
        Ok(())
    })?;
    (request.progress)(written)?;
    after.left_out = std::mem::take(&mut candidates.skipped);
    if current.base.is_some() && counts.added + counts.dropped + counts.replaced == 0 {
        return Ok((None, counts));
    }
    let (fresh, owned) = (request.fresh, after.ours);
    let ours = move || {
        owned()?;
        let unchanged = current::is_unchanged(prefix, current, fresh)?;
        if unchanged { Ok(()) } else { Err(IndexError::ChangedMeanwhile { meta: prefix.meta() }) }
    };
    let (published, segment) = writer.finish(prefix, &ours)?;
    (request.progress)(written)?;
    let next = IndexMeta {
        format_version: FORMAT_VERSION,
        software_version: VERSION.into(),
        generation,
        created: after.now.clone(),
        run_id: inputs.run_id.clone(),
        root: inputs.root.clone(),
        model: mixed(model, &inputs.models, current.base.as_ref().filter(|_| counts.kept > 0)),
        num_images: counts.rows,
        num_failed: after.failed(inputs),
        num_workers: inputs.num_workers,
        processing_time_seconds: inputs.workers.iter().map(|w| w.processing_time_seconds).sum(),
        worker_metadata: inputs.workers.iter().map(|w| WorkerMeta { failures: Vec::new(), ..w.clone() }).collect(),
        segments: vec![segment],
    };
    published.switch(prefix, &next, &ours)?;
    Ok((Some(next), counts))
}

/// What is done once the rows are in their place: files for Python, ledger, proof, and removal of what was taken in.
struct Aftermath<'a> {
    prefix: &'a IndexPrefix,
    now: String,
    warnings: Vec<String>,
    ledger: Ledger,
    scan_failures: Vec<Failure>,
    left_out: Vec<Skipped>,
    ours: &'a dyn Fn() -> Result<(), disk::Lost>,
}

impl Aftermath<'_> {
    fn failed(&self, inputs: &Inputs) -> u64 {
        inputs.failed + inputs.record.as_ref().map_or(self.scan_failures.len() as u64, |r| r.summary.failed)
    }

    fn finish(
        mut self,
        inputs: Inputs,
        next: Option<IndexMeta>,
        current: Current,
        counts: Counts,
    ) -> Result<MergeReport, IndexError> {
        let (prefix, written, failed) = (self.prefix, next.is_some(), self.failed(&inputs));
        let meta = next.or(current.base);
        (self.ours)()?;
        if let Some(meta) = &meta {
            for_python::link(prefix, meta)?;
        }
        let full_scan = inputs.record.as_ref().is_some_and(|r| r.full_scan);
        let failures: Vec<Failure> = inputs.failures.into_iter().chain(self.scan_failures).collect();
        self.ledger.write(prefix, &failures, full_scan, &self.now)?;
        let mut proof = None;
        if let Some(record) = &inputs.record {
            let numbers = proof::complete(prefix, record, inputs.embedded, inputs.failed, &mut self.warnings)?;
            proof::check_rows(record, &numbers, counts.rows, &mut self.warnings);
            proof = Some(numbers);
        }
        let meta = meta.ok_or_else(|| IndexError::NothingToMerge { prefix: prefix.dir().into() })?;
        self.warnings.extend(self.left_out.iter().map(|s| format!("left out: {}", s.why)));
        for part in inputs.parts.iter().filter(|part| self.left_out.iter().all(|skipped| skipped.path != **part)) {
            self.warnings.extend(cleanup::remove_part(prefix, part).err().map(|e| cleanup::words(&e)));
        }
        cleanup::remove_old(prefix, meta.generation, &mut self.warnings);
        let Counts { added, dropped, replaced, .. } = counts;
        Ok(MergeReport { meta, written, proof, failed, added, dropped, replaced, warnings: self.warnings })
    }
}

/// Everything must be of one root, one model and one dimension. Gives back the model; `None` if nothing tells it.
fn check_same_collection(
    prefix: &IndexPrefix,
    current: &Current,
    inputs: &Inputs,
) -> Result<Option<ModelIdentity>, IndexError> {
    if let Some(base) = &current.base {
        if base.root != inputs.root {
            return Err(IndexError::OtherRoot {
                path: prefix.meta(),
                has: base.root.clone(),
                wanted: inputs.root.clone(),
            });
        }
        if base.model.fingerprint != inputs.fingerprint {
            let unnamed = ModelIdentity { fingerprint: inputs.fingerprint.clone(), ..base.model.clone() };
            return Err(other_model(&prefix.meta(), &base.model, inputs.models.first().unwrap_or(&unnamed)));
        }
    }
    let models = inputs.models.iter().chain(current.base.as_ref().map(|m| &m.model));
    let model = models.clone().next().cloned();
    for other in models {
        if let Some(model) = model.as_ref().filter(|m| m.embedding_dim != other.embedding_dim) {
            return Err(other_model(&prefix.meta(), other, model));
        }
    }
    Ok(model)
}

/// The identity of rows of several precisions or providers: each once, joined by `+`, with the greatest deviation.
pub(crate) fn mixed(first: &ModelIdentity, models: &[ModelIdentity], base: Option<&IndexMeta>) -> ModelIdentity {
    let all: Vec<&ModelIdentity> = models.iter().chain(base.map(|m| &m.model)).collect();
    let join = |field: fn(&ModelIdentity) -> &str| {
        let mut words: Vec<&str> = all.iter().flat_map(|m| field(m).split('+')).collect();
        words.sort_unstable();
        words.dedup();
        words.join("+")
    };
    let deviations: Option<Vec<f64>> = all.iter().map(|m| m.deviation).collect();
    ModelIdentity {
        precision: join(|m| &m.precision),
        provider: join(|m| &m.provider),
        deviation: deviations.and_then(|d| d.into_iter().reduce(f64::max)),
        ..first.clone()
    }
}

fn segment_source(segment: crate::meta_file::Segment, root: &str, number: usize) -> Source<Candidate> {
    let root = root.to_owned();
    Source {
        first: None,
        rank: usize::MAX / 2 + number,
        path: segment.parquet.clone(),
        open: Box::new(move || {
            let file = RowFile::open(&segment.parquet, FileKind::Generation, &root)?;
            Ok(Opened::Rows(Box::new(file.rows().map(|row| Ok(Candidate { kind: Kind::Generation, row: row? })))))
        }),
    }
}
