//! Promise 1: scanned = embedded + failed + skipped, written into the run's record.

use std::io::BufReader;

use disk::ours;
use protocol::layout::RunDir;
use protocol::{Entry, Failure, IndexPrefix, LONGEST_EVENT, ManifestReader, Proof, RunRecord, lines};

use crate::error::FileKind;
use crate::{IndexError, gone};

/// Failures that the run's scan saw.
pub(crate) fn scan_failures(run: &RunDir) -> Result<Vec<Failure>, IndexError> {
    let path = run.scan_failures();
    let file = match protocol::open_file(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        file => file.map_err(IndexError::io("read", &path))?,
    };
    let mut failures = Vec::new();
    for line in lines(BufReader::new(file), LONGEST_EVENT) {
        let line = line.map_err(IndexError::io("read", &path))?;
        if !line.trim_ascii().is_empty() {
            failures.push(serde_json::from_slice(&line).map_err(|e| FileKind::Run.damaged(&path, e.to_string()))?);
        }
    }
    Ok(failures)
}

/// Pictures that failed before and that the run did not try again.
pub(crate) fn failed_before(
    run: &RunDir,
    record: &RunRecord,
) -> Result<impl Iterator<Item = Result<Entry, IndexError>>, IndexError> {
    let path = run.failed_before();
    let reader = (record.summary.failed_before > 0).then(|| ManifestReader::open(&path)).transpose();
    let reader = reader.map_err(|e| gone::bad(&path, e))?;
    Ok(reader.into_iter().flatten().map(move |entry| entry.map_err(|e| gone::bad(&path, e))))
}

/// Completes a run's record. A proof that held before is not replaced by one that does not: a later merge of the same
/// run may no longer see all of its work.
pub(crate) fn complete(
    prefix: &IndexPrefix,
    record: &RunRecord,
    embedded: u64,
    failed: u64,
    warnings: &mut Vec<String>,
) -> Result<Proof, IndexError> {
    let summary = record.summary;
    let proof =
        Proof { scanned: summary.scanned, embedded, failed: failed + summary.failed, skipped: summary.standing };
    if let Some(before) = record.proof.filter(|before| before.holds() && !proof.holds()) {
        warnings.push(format!("run {} was accounted for by an earlier merge; its numbers stay", record.run_id));
        return Ok(before);
    }
    if record.proof != Some(proof) {
        let (run, name) = ours::make(prefix)?.make_place(&prefix.run(&record.run_id).record())?;
        run.write_json(name, &RunRecord { proof: Some(proof), ..record.clone() })?;
    }
    Ok(proof)
}

/// After a full scan the index must hold every picture that did not fail, and nothing else.
pub(crate) fn check_rows(record: &RunRecord, proof: &Proof, rows: u64, warnings: &mut Vec<String>) {
    let summary = record.summary;
    let expected = summary.scanned.saturating_sub(proof.failed);
    if record.full_scan && summary.unreadable_folders == 0 && proof.holds() && rows != expected {
        warnings.push(format!(
            "the index has {rows} rows, but {} pictures were scanned and {} failed, which leaves {expected}: \
             pictures changed while the run worked, or rows of an earlier run remain; run the controller again",
            summary.scanned, proof.failed
        ));
    }
}
