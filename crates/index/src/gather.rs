//! Gathers a worker's parts into its partial index, `P/worker_N.{parquet,faiss,meta.json}`. The metadata file comes
//! last: a partial without it is not finished.

use std::collections::BTreeSet;

use disk::{atomic, ours};
use protocol::layout::WorkerPrefix;
use protocol::{FORMAT_VERSION, WorkerMeta};

use crate::IndexError;
use crate::flat::FlatWriter;
use crate::kway::{KWay, Opened, Source};
use crate::part;
use crate::row_writer::{PARTIAL_GROUP, RowWriter};

/// Writes a worker's partial index from its parts, sorted by path, one row a picture. Rows, failures and checksum of
/// the metadata are computed here. Parts must be sound and of the metadata's root and model.
pub fn gather(worker: &WorkerPrefix, parts: &[String], meta: WorkerMeta) -> Result<WorkerMeta, IndexError> {
    let prefix = worker.index();
    let root = meta.root.trim_end_matches('/').to_owned();
    let dim = meta.model.embedding_dim;
    let mut failures = Vec::new();
    let mut sources = Vec::new();
    for name in parts.iter().collect::<BTreeSet<_>>() {
        let path = part::part_path(&prefix, name)?;
        let head = part::head(&path)?;
        if head.meta.root != root {
            return Err(IndexError::OtherRoot { path, has: head.meta.root, wanted: root });
        }
        if head.meta.model.fingerprint != meta.model.fingerprint {
            return Err(other_model(&path, &head.meta.model, &meta.model));
        }
        failures.extend(head.meta.failures.iter().cloned());
        sources.push(Source {
            first: head.first.clone(),
            rank: sources.len(),
            path,
            open: Box::new(move || Ok(Opened::Rows(Box::new(part::open(&head)?.rows())))),
        });
    }

    let folder = ours::make(&prefix)?;
    let meta_name = atomic::name_in(&worker.meta())?.to_owned();
    folder.remove_file(&meta_name)?;
    let (parquet, faiss) = (ours::temp(&folder, &worker.parquet())?, ours::temp(&folder, &worker.faiss())?);
    let mut rows = RowWriter::new(parquet.create()?, &parquet.path(), &root, dim, PARTIAL_GROUP, Vec::new())?;
    let mut vectors = FlatWriter::new(faiss.create()?, &faiss.path(), dim)?;
    let mut last = None;
    for row in KWay::new(sources) {
        let row = row?;
        if last.as_ref() != Some(&row.path) {
            rows.push(&row)?;
            vectors.push(&row.vector)?;
            last = Some(row.path);
        }
    }
    let written = rows.finish()?;
    vectors.finish()?;
    parquet.publish()?;
    faiss.publish()?;
    let meta = WorkerMeta {
        format_version: FORMAT_VERSION,
        root,
        num_images: written.seal.rows,
        num_failed: failures.len() as u64,
        checksum: written.seal.rows_hash,
        failures,
        ..meta
    };
    folder.write_json(&meta_name, &meta)?;
    Ok(meta)
}

/// Says which two models were brought together.
pub(crate) fn other_model(
    path: &std::path::Path,
    has: &protocol::ModelIdentity,
    wanted: &protocol::ModelIdentity,
) -> IndexError {
    let name = |m: &protocol::ModelIdentity| format!("{} ({}, D = {})", m.model_name, m.fingerprint, m.embedding_dim);
    IndexError::OtherModel { path: path.into(), has: name(has), wanted: name(wanted) }
}
