//! Promise 1: scanned = embedded + failed + skipped, written into the run's record.

use std::fs;

use disk::atomic;
use protocol::layout::RunDir;
use protocol::{Entry, Failure, ManifestReader, Proof, RunRecord};

use crate::error::FileKind;
use crate::{IndexError, gone};

/// Failures that the run's scan saw.
pub(crate) fn scan_failures(run: &RunDir) -> Result<Vec<Failure>, IndexError> {
    let path = run.scan_failures();
    let text = match fs::read_to_string(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        text => text.map_err(IndexError::io("read", &path))?,
    };
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines.map(|line| serde_json::from_str(line).map_err(|e| FileKind::Run.damaged(&path, e.to_string()))).collect()
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
    run: &RunDir,
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
        atomic::write_json(&run.record(), &RunRecord { proof: Some(proof), ..record.clone() })?;
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
