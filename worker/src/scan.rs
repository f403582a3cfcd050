//! Scan: a folder (or a list) in, a manifest on the share and chunk descriptors out.

use std::cell::Cell;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use index::{Globs, Sorter};
use protocol::{
    Entry, Event, FORMAT_VERSION, Failure, FailureKind, ImagePath, IndexPrefix, PICTURE_EXTENSIONS, Root, RunRecord,
    ScanSummary, absolute, read_list,
};

use stop::Stop;

use crate::interrupt::{goes_on, until_taken};
use crate::moves::Moves;
use crate::reconcile::{Verdict, reconcile};
use crate::report::Report;
use crate::run_files::RunFiles;
use crate::sort::one_a_path;
use crate::walk::{Exclude, Found, examine, walk};

/// Folders read ahead at once: a share answers each slowly but many together.
const READERS: usize = 16;

/// Gone rows up to this number never stop a run, nor do those up to [`GONE_SHARE`] of the index (promise 5).
const GONE_FEW: u64 = 100;
const GONE_SHARE: f64 = 0.05;

/// What to scan, and against what.
pub struct Scan<'a> {
    pub root: &'a Root,
    pub prefix: &'a IndexPrefix,
    pub run_id: &'a str,
    /// The model as asked for, and its fingerprint.
    pub model: &'a str,
    pub fingerprint: &'a str,
    pub image_list: Option<&'a Path>,
    pub exclude: &'a [String],
    pub chunk_images: Option<u64>,
    pub allow_deletions: bool,
    /// Take nothing of the present index as standing.
    pub fresh: bool,
    /// Try pictures again that failed before and have not changed.
    pub retry_failed: bool,
    /// Write nothing; only count.
    pub dry_run: bool,
    pub host: &'a str,
    /// The wish to end.
    pub stop: &'a Stop,
    /// Tells that the controller has taken what was found; without one nobody is asked.
    pub taken: Option<&'a Receiver<()>>,
}

/// Runs the scan; progress goes to `report` while it runs, and chunks when it is through.
pub fn scan(scan: &Scan, report: &Report) -> Result<ScanSummary> {
    let here = scan.root.here();
    let found: Box<dyn Iterator<Item = Result<Found>>> = match scan.image_list {
        Some(list) => listed(scan.root, list)?,
        None => {
            ensure!(here.is_dir(), "the image folder {} is not there; is the share mounted?", here.display());
            let skip = vec![scan.prefix.dir().into(), scan.prefix.results()];
            let skip = skip.into_iter().map(|p: PathBuf| absolute(&p).unwrap_or(p)).collect();
            let exclude = globs(scan.exclude)?;
            let excluded: Exclude = Arc::new(move |path| exclude.fits(path));
            let exclude = (!scan.exclude.is_empty()).then_some(excluded);
            Box::new(walk(here, skip, exclude, READERS).map(Ok))
        }
    };
    judge(scan, found, report)
}

/// Compares what was found, in path order, with what stands.
fn judge(scan: &Scan, found: impl Iterator<Item = Result<Found>>, report: &Report) -> Result<ScanSummary> {
    let here = scan.root.here();
    let full_scan = scan.image_list.is_none();
    let excluded = globs(scan.exclude)?;
    let may_drop = |path: &ImagePath| full_scan && !excluded.fits_within(path.as_str());
    let standing = standing(scan, report)?;
    let rows_before = if scan.fresh { 0 } else { index::read_meta(scan.prefix)?.map_or(0, |m| m.num_images) };
    let rows = standing.as_ref().map(index::Standing::files);
    let mut files = RunFiles::create(scan.prefix, scan.run_id, scan.chunk_images, scan.dry_run)?;
    let (mut summary, mut moves) = (ScanSummary::default(), Moves::default());
    let said = Cell::new(Instant::now());
    let alive = |scanned: u64| {
        if said.get().elapsed() > Duration::from_millis(300) {
            said.set(Instant::now());
            report.event(&Event::Scanning { scanned });
        }
    };
    let failure = |path, kind, detail| Failure::new(path, kind, detail, scan.host);
    let standing = standing.into_iter().flatten().map(|row| Ok(row?));
    reconcile(found, standing, failed_before(scan)?, may_drop, |verdict| {
        goes_on(scan.stop)?;
        if summary.scanned.is_multiple_of(256) {
            alive(summary.scanned);
        }
        count(&mut summary, &verdict);
        match verdict {
            Verdict::New(entry) => files.missing(&entry),
            Verdict::Stands(row) => moves.stands(&row),
            Verdict::FailedBefore(entry) => files.failed_before(&entry),
            Verdict::Gone(row) => {
                moves.lost(&row, true)?;
                files.gone(&row.entry())
            }
            Verdict::Changed(row) => {
                moves.lost(&row, false)?;
                files.gone(&row.entry())
            }
            Verdict::Failed { shown, kind, detail } => tell(&mut files, report, failure(shown, kind, detail)),
            Verdict::FolderUnreadable { folder, detail } => {
                ensure!(folder.is_some(), "{}: {detail}", here.display());
                let path = folder.map_or_else(String::new, |f| scan.root.canonical_path(&f));
                tell(&mut files, report, failure(path, FailureKind::FolderUnreadable, detail))
            }
        }
    })?;
    if summary.scanned == 0 && summary.unreadable_folders == 0 {
        bail!(
            "no pictures in {}; nothing is changed. Is the share mounted? Pictures are {}",
            scan.image_list.unwrap_or(here).display(),
            PICTURE_EXTENSIONS.join(", ")
        );
    }
    if let Some(rows) = rows {
        let found = moves.find(&rows, scan.root, files.manifest()?, || alive(summary.scanned))?;
        summary.moved = found.moved.len();
        summary.new -= summary.moved;
        summary.standing += summary.moved;
        summary.gone -= found.kept;
        guard_deletions(scan, &summary, rows_before)?;
        if summary.moved > 0 {
            let mut mover = rows.mover(scan.prefix, scan.host);
            files.take_out(found.moved, |part| {
                goes_on(scan.stop)?;
                alive(summary.scanned);
                if scan.dry_run { Ok(None) } else { Ok(Some(mover.publish(part)?)) }
            })?;
        }
    }
    let record = RunRecord {
        format_version: FORMAT_VERSION,
        run_id: scan.run_id.into(),
        started: chrono::Local::now().to_rfc3339(),
        root: scan.root.canonical().into(),
        model: scan.model.into(),
        fingerprint: scan.fingerprint.into(),
        full_scan,
        summary,
        proof: None,
    };
    let (chunks, ready) = files.finish()?;
    for chunk in chunks {
        report.event(&Event::Chunk { chunk });
    }
    crate::tell_unsynced(report);
    report.event(&Event::Scanned { summary, model: scan.model.into() });
    // What nobody has taken must not stand as the newest run.
    scan.taken.map_or_else(|| goes_on(scan.stop), |taken| until_taken(scan.stop, taken))?;
    ready.publish(&record)?;
    Ok(summary)
}

fn tell(files: &mut RunFiles, report: &Report, failure: Failure) -> Result<()> {
    files.failed(&failure)?;
    report.event(&Event::Failure { failure });
    Ok(())
}

/// Counts a verdict.
fn count(summary: &mut ScanSummary, verdict: &Verdict) {
    let s = summary;
    match verdict {
        Verdict::New(_) => (s.scanned, s.new) = (s.scanned + 1, s.new + 1),
        Verdict::Stands(_) => (s.scanned, s.standing) = (s.scanned + 1, s.standing + 1),
        Verdict::FailedBefore(_) => {
            (s.scanned, s.failed, s.failed_before) = (s.scanned + 1, s.failed + 1, s.failed_before + 1);
        }
        Verdict::Failed { .. } => (s.scanned, s.failed) = (s.scanned + 1, s.failed + 1),
        Verdict::Gone(row) => s.gone += u64::from(row.in_index),
        Verdict::Changed(row) => s.changed += u64::from(row.in_index),
        Verdict::FolderUnreadable { .. } => s.unreadable_folders += 1,
    }
}

/// Promise 5: many rows gone at once looks like a wrong folder or a share that is not mounted.
fn guard_deletions(scan: &Scan, summary: &ScanSummary, rows_before: u64) -> Result<()> {
    let many = summary.gone > GONE_FEW && summary.gone as f64 > GONE_SHARE * rows_before as f64;
    if many && !scan.allow_deletions {
        bail!(
            "{} of {rows_before} indexed pictures are no longer in {}; nothing is changed. If they are meant to be gone, run again with --allow-deletions",
            summary.gone,
            scan.root.here().display()
        );
    }
    Ok(())
}

/// What stands; nothing for a fresh index.
fn standing(scan: &Scan, report: &Report) -> Result<Option<index::Standing>> {
    if scan.fresh {
        return Ok(None);
    }
    if let Some(meta) = index::read_meta(scan.prefix)? {
        ensure!(
            meta.model.fingerprint == scan.fingerprint,
            "the index {} was made with the model {} ({}), not with {} ({}): vectors of two models cannot stand together. Leave --model out, or build anew with --fresh",
            scan.prefix.meta().display(),
            meta.model.model_name,
            meta.model.fingerprint,
            scan.model,
            scan.fingerprint
        );
    }
    let standing = index::standing(scan.prefix, scan.root.canonical(), scan.fingerprint)?;
    for message in standing.skipped() {
        report.event(&Event::Warning { message: message.clone() });
    }
    Ok(Some(standing))
}

/// Pictures that need not be tried again while they are so, by path.
fn failed_before(scan: &Scan) -> Result<impl Iterator<Item = Result<Entry>>> {
    let mut sorter = Sorter::default();
    if !scan.fresh && !scan.retry_failed {
        for entry in index::would_fail_again(scan.prefix, scan.root.canonical())? {
            sorter.push(entry?)?;
        }
    }
    Ok(sorter.sorted()?.map(|entry| Ok(entry?)))
}

/// The pictures of a list, sorted, each looked at where it is.
fn listed(root: &Root, list: &Path) -> Result<Box<dyn Iterator<Item = Result<Found>>>> {
    let file = File::open(list).with_context(|| format!("cannot read the image list {}", list.display()))?;
    let mut sorter = Sorter::default();
    let mut failed: Vec<Found> = Vec::new();
    for path in read_list(BufReader::new(file))? {
        let path = path.with_context(|| format!("cannot read the image list {}", list.display()))?;
        let shown = String::from_utf8_lossy(&path).into_owned();
        let fail = |path, kind, detail: &str| Found::Failed { path, shown: shown.clone(), kind, detail: detail.into() };
        match std::str::from_utf8(&path) {
            Err(_) => failed.push(fail(None, FailureKind::NameNotUtf8, "rename the file")),
            Ok(text) => match root.relative(text) {
                None => {
                    let detail = format!("it is not in the collection's folder {}", root.here().display());
                    failed.push(fail(None, FailureKind::OutsideRoot, &detail));
                }
                Some(image) => match examine(&root.open_path(&image), image.clone()) {
                    Ok(entry) => sorter.push(entry)?,
                    Err((kind, detail)) => failed.push(fail(None, kind, &detail)),
                },
            },
        }
    }
    // Failures of a list come first; they stand for no row, since a list never deletes.
    let pictures = one_a_path(sorter.sorted()?).map(|entry| entry.map(Found::Picture));
    Ok(Box::new(failed.into_iter().map(Ok).chain(pictures)))
}

fn globs(patterns: &[String]) -> Result<Globs> {
    Globs::new(patterns).context("--exclude")
}

#[cfg(test)]
mod tests;
