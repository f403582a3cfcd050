//! The workers' partial indexes of one run: which run, are they all there, do their files fit together.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use protocol::{IndexPrefix, RunRecord, WorkerMeta};

use crate::IndexError;
use crate::error::FileKind;
use crate::flat::FlatFile;
use crate::gather::other_model;
use crate::inputs::Inputs;
use crate::kway::{Opened, Source};
use crate::meta_file::{read_json, read_record};
use crate::row_reader::RowFile;
use crate::seal;
use crate::take_in::{Candidate, Kind};

/// The partial indexes of `run`, or of the newest run that has any, checked.
pub(crate) fn collect(
    prefix: &IndexPrefix,
    run: Option<&str>,
    num_workers: Option<usize>,
) -> Result<Inputs, IndexError> {
    let mut found = BTreeMap::new();
    let mut unfinished = BTreeSet::new();
    for id in numbers(prefix)? {
        match read_json::<WorkerMeta>(&prefix.worker(id).meta(), FileKind::Partial)? {
            Some(meta) => drop(found.insert(id, meta)),
            None => drop(unfinished.insert(id)),
        }
    }
    if let Some(workers) = num_workers {
        let missing: Vec<u32> = (0..workers as u32).filter(|id| !found.contains_key(id)).collect();
        if !missing.is_empty() {
            return Err(missing_workers(prefix, &missing));
        }
    } else if !unfinished.is_empty() {
        return Err(missing_workers(prefix, &unfinished.into_iter().collect::<Vec<_>>()));
    }
    if found.is_empty() {
        return Err(IndexError::Partial {
            what: format!("there is no partial index {}", prefix.worker(0).meta().display()),
            remedy: "run a worker with --index-prefix P/worker_0 first, or the controller, which does all of it".into(),
        });
    }
    let (run_id, record) = choose_run(prefix, run, &found)?;
    let (of_run, strays): (BTreeMap<_, _>, BTreeMap<_, _>) = found.into_iter().partition(|(_, m)| m.run_id == run_id);
    let needed: Vec<u32> = (0..num_workers.unwrap_or(0) as u32).filter(|id| strays.contains_key(id)).collect();
    if !needed.is_empty() {
        let name =
            |id: &u32| format!("{} is of run {}, not {run_id}", prefix.worker(*id).meta().display(), strays[id].run_id);
        let what = needed.iter().map(name).collect::<Vec<_>>().join("; ");
        return Err(IndexError::Partial { what, remedy: format!("run each again: {}", rerun(prefix, needed[0])) });
    }
    let warnings = strays.iter().map(|(id, meta)| {
        format!("{} is of run {}, not {run_id}: left", prefix.worker(*id).meta().display(), meta.run_id)
    });
    let Some(first) = of_run.values().next() else {
        return Err(IndexError::Partial {
            what: format!("{} holds no partial index of run {run_id}", prefix.dir().display()),
            remedy: "run its workers again".into(),
        });
    };
    let model = first.model.clone();
    let mut inputs = Inputs {
        record,
        root: first.root.trim_end_matches('/').to_owned(),
        fingerprint: model.fingerprint.clone(),
        models: Vec::new(),
        sources: Vec::new(),
        parts: Vec::new(),
        num_workers: of_run.len(),
        workers: Vec::new(),
        failures: Vec::new(),
        failed: 0,
        embedded: 0,
        warnings: warnings.collect(),
        run_id,
    };
    for (id, meta) in of_run {
        let path = prefix.worker(id).meta();
        if meta.root.trim_end_matches('/') != inputs.root {
            return Err(IndexError::OtherRoot { path, has: meta.root, wanted: inputs.root });
        }
        if meta.model.fingerprint != model.fingerprint || meta.model.embedding_dim != model.embedding_dim {
            return Err(other_model(&path, &meta.model, &model));
        }
        check(prefix, id, &meta)?;
        push(&mut inputs, prefix, id, meta);
    }
    Ok(inputs)
}

/// The metadata of every finished partial index of a run. What cannot be read is left out.
pub(crate) fn metas_of_run(prefix: &IndexPrefix, run_id: &str) -> Vec<WorkerMeta> {
    let metas = numbers(prefix).unwrap_or_default().into_iter();
    let metas = metas.filter_map(|id| read_json::<WorkerMeta>(&prefix.worker(id).meta(), FileKind::Partial).ok()?);
    metas.filter(|meta| meta.run_id == run_id).collect()
}

/// The run of the newest record for which there are partial indexes; without any record, the one run of them all.
fn choose_run(
    prefix: &IndexPrefix,
    run: Option<&str>,
    found: &BTreeMap<u32, WorkerMeta>,
) -> Result<(String, Option<RunRecord>), IndexError> {
    if let Some(run) = run {
        return Ok((run.to_owned(), read_record(prefix, run)?));
    }
    let runs: BTreeSet<&str> = found.values().map(|m| m.run_id.as_str()).collect();
    let mut records = Vec::new();
    for run in &runs {
        records.extend(read_record(prefix, run)?);
    }
    let newest = records.into_iter().max_by(|a, b| (&a.started, &a.run_id).cmp(&(&b.started, &b.run_id)));
    match newest {
        Some(record) => Ok((record.run_id.clone(), Some(record))),
        None if runs.len() == 1 => Ok((runs.first().map(|r| (*r).to_owned()).unwrap_or_default(), None)),
        None => {
            let list = found.iter().map(|(id, m)| format!("worker_{id} is of run {}", m.run_id));
            Err(IndexError::Partial {
                what: format!(
                    "{} holds partial indexes of several runs ({})",
                    prefix.dir().display(),
                    list.collect::<Vec<_>>().join(", ")
                ),
                remedy: "remove those that do not belong together, or run their workers again".into(),
            })
        }
    }
}

/// Compares a partial index's three files with each other.
fn check(prefix: &IndexPrefix, id: u32, meta: &WorkerMeta) -> Result<(), IndexError> {
    let worker = prefix.worker(id);
    let partial = |path: &std::path::Path, what: String| FileKind::Partial.damaged(path, what);
    let present = |e: IndexError| if e.is_not_found() { missing_workers(prefix, &[id]) } else { e };
    let parquet = seal::verify(&worker.parquet(), FileKind::Partial).map_err(present)?;
    let faiss = FlatFile::open(&worker.faiss(), FileKind::Partial).map_err(present)?;
    if parquet.rows != meta.num_images || faiss.rows != meta.num_images {
        let counts = format!(
            "it lists {} images, but {} has {} rows and {} has {}",
            meta.num_images,
            worker.parquet().display(),
            parquet.rows,
            worker.faiss().display(),
            faiss.rows
        );
        return Err(partial(&worker.meta(), counts));
    }
    if parquet.rows_hash != meta.checksum {
        return Err(partial(&worker.parquet(), "its rows do not fit the checksum in its metadata".into()));
    }
    if faiss.dim != meta.model.embedding_dim {
        return Err(partial(&worker.faiss(), format!("it has D = {}, not {}", faiss.dim, meta.model.embedding_dim)));
    }
    Ok(())
}

fn push(inputs: &mut Inputs, prefix: &IndexPrefix, id: u32, meta: WorkerMeta) {
    let path = prefix.worker(id).parquet();
    if !inputs.models.contains(&meta.model) {
        inputs.models.push(meta.model.clone());
    }
    inputs.embedded += meta.num_images;
    inputs.failed += meta.num_failed;
    inputs.failures.extend(meta.failures.iter().cloned());
    let (root, file, dim) = (inputs.root.clone(), path.clone(), meta.model.embedding_dim);
    inputs.sources.push(Source {
        first: None,
        rank: inputs.sources.len(),
        path,
        open: Box::new(move || {
            let rows = RowFile::open(&file, FileKind::Partial, &root)?;
            if rows.dim() != dim {
                return Err(rows.damaged(format!("it has D = {}, not {dim}", rows.dim())));
            }
            Ok(Opened::Rows(Box::new(rows.rows().map(|row| Ok(Candidate { kind: Kind::Named, row: row? })))))
        }),
    });
    inputs.workers.push(meta);
}

/// Numbers of workers of which there is any file.
fn numbers(prefix: &IndexPrefix) -> Result<BTreeSet<u32>, IndexError> {
    let dir = prefix.dir();
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        entries => entries.map_err(IndexError::io("list", dir))?,
    };
    let mut found = BTreeSet::new();
    for entry in entries {
        let name = entry.map_err(IndexError::io("list", dir))?.file_name();
        let number = name.to_str().and_then(|n| n.strip_prefix("worker_")).and_then(|n| n.split_once('.'));
        if let Some((number, "parquet" | "faiss" | "meta.json")) = number {
            found.extend(number.parse::<u32>().ok());
        }
    }
    Ok(found)
}

fn missing_workers(prefix: &IndexPrefix, ids: &[u32]) -> IndexError {
    let mut missing = Vec::new();
    for id in ids {
        let worker = prefix.worker(*id);
        let files = [worker.parquet(), worker.faiss(), worker.meta()];
        missing.extend(files.into_iter().filter(|f| !f.exists()).map(|f| f.display().to_string()));
    }
    let commands: Vec<String> = ids.iter().map(|id| rerun(prefix, *id)).collect();
    IndexError::Partial {
        what: format!("not finished, {} missing", missing.join(" and ")),
        remedy: format!("run on the worker's host: {}", commands.join("; ")),
    }
}

fn rerun(prefix: &IndexPrefix, id: u32) -> String {
    let target = prefix.worker(id);
    format!("worker --image-list worker_{id}_images.txt --index-prefix {} --worker-id {id}", target.path().display())
}
