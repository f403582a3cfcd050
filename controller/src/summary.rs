//! What a run comes to, on standard output.

use indicatif::{HumanBytes, HumanCount, HumanDuration};
use protocol::{Proof, ScanSummary, note, tell};
use std::time::Duration;

use crate::encode::Encoded;
use crate::job::Job;
use crate::merge::Merged;
use crate::plan::plan;
use crate::scan::Found;

/// After a scan, before the work.
pub fn scanned(job: &Job, found: &Found) {
    note!("{}", scan_words(job, found));
    for failure in &found.failures {
        note!("Failed: {}: {}: {}", failure.path, failure.kind, failure.detail);
    }
}

fn scan_words(job: &Job, found: &Found) -> String {
    let s = &found.summary;
    let mut words = format!(
        "{}: {} pictures, {} to embed, {} already indexed{}",
        job.image_dir.display(),
        HumanCount(s.scanned),
        HumanCount(s.new),
        HumanCount(s.standing),
        moved(s)
    );
    for (count, what) in [
        (s.changed, "changed"),
        (s.gone, "gone"),
        (s.failed, "failed"),
        (s.unreadable_folders, "folders could not be listed"),
    ] {
        if count > 0 {
            words += &format!(", {} {what}", HumanCount(count));
        }
    }
    words
}

/// How many of the pictures that are indexed already were found under another name.
fn moved(summary: &ScanSummary) -> String {
    if summary.moved > 0 { format!(" ({} of them moved)", HumanCount(summary.moved)) } else { String::new() }
}

/// `--dry-run`: the plan.
pub fn dry_run(job: &Job, weights: &[f64], found: &Found) {
    tell!("{}", scan_words(job, found));
    let lists = plan(&found.chunks, weights);
    let bytes: u64 = found.chunks.iter().map(|c| c.bytes).sum();
    tell!("{:<30} {:>7} {:>12} {:>8} {:>12}", "host", "weight", "pictures", "chunks", "bytes");
    for ((host, list), weight) in job.hosts.iter().zip(&lists).zip(weights) {
        let pictures: u64 = list.iter().map(|c| c.count).sum();
        let bytes: u64 = list.iter().map(|c| c.bytes).sum();
        tell!(
            "{:<30} {:>7.3} {:>12} {:>8} {:>12}",
            host.name,
            weight,
            HumanCount(pictures).to_string(),
            list.len(),
            HumanBytes(bytes).to_string()
        );
    }
    tell!("{} to read in all. Nothing was changed (--dry-run).", HumanBytes(bytes));
}

/// A run that is through.
pub fn finished(job: &Job, found: &Found, proof: &Proof, encoded: &Encoded, merged: Option<&Merged>) {
    tell!(
        "Scanned {} = embedded {} + failed {} + already indexed {}{}",
        HumanCount(proof.scanned),
        HumanCount(proof.embedded),
        HumanCount(proof.failed),
        HumanCount(proof.skipped),
        moved(&found.summary)
    );
    hosts(encoded);
    match merged {
        Some(merged) => self::merged(job, merged),
        None => tell!(
            "Not merged (--no-merge); do it with: controller --merge-only --index-prefix {}",
            job.prefix.dir().display()
        ),
    }
    let (before, shown) = (found.summary.failed_before, found.failures.len() + encoded.failures.len());
    let tried = proof.failed - before.min(proof.failed);
    if tried > shown as u64 {
        tell!("{} pictures failed, of which {shown} are named above", HumanCount(tried));
    }
    if before > 0 {
        tell!("{} failed before and unchanged; controller --retry-failed tries them again", HumanCount(before));
    }
    if proof.failed > 0 && merged.is_some() {
        tell!("Failed pictures and reasons: {}", job.prefix.failures().display());
    }
}

/// A merge.
pub fn merged(job: &Job, merged: &Merged) {
    for warning in &merged.warnings {
        tell!("Warning: {warning}");
    }
    let change = merged.added + merged.dropped + merged.replaced;
    let words = if change == 0 {
        "unchanged".to_owned()
    } else {
        format!(
            "{} added, {} replaced, {} removed",
            HumanCount(merged.added),
            HumanCount(merged.replaced),
            HumanCount(merged.dropped)
        )
    };
    tell!(
        "Index {}: {} pictures ({words}), generation {}",
        job.prefix.dir().display(),
        HumanCount(merged.num_images),
        merged.generation
    );
}

/// A run that could not account for every picture.
pub fn unfinished(job: &Job, proof: &Proof, encoded: &Encoded) {
    hosts(encoded);
    let missing = proof.scanned.saturating_sub(proof.embedded + proof.failed + proof.skipped);
    note!(
        "error: {} of {} pictures are not done. What is done is kept; run the same command to go on. The index {} is as it was.",
        HumanCount(missing),
        HumanCount(proof.scanned),
        job.prefix.dir().display()
    );
}

fn hosts(encoded: &Encoded) {
    if encoded.hosts.is_empty() {
        return;
    }
    for host in &encoded.hosts {
        let error = host.error.as_ref().map_or_else(String::new, |e| format!(" - failed: {e}"));
        tell!(
            "  {:<28} {:>10} embedded {:>8.1} img/s{error}",
            host.name,
            HumanCount(host.embedded).to_string(),
            host.rate
        );
        if host.embedded > 0 {
            tell!("    {}", host.stages.words());
        }
        if host.stages.limit().is_some() {
            tell!("    {}", host.stages.advice());
        }
    }
    tell!("  in {:#}", HumanDuration(Duration::from_secs_f64(encoded.seconds)));
}
