//! Scan: a folder (or a list) in, a manifest on the share and chunk descriptors out.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use globset::{Glob, GlobSet, GlobSetBuilder};
use protocol::layout::RunDir;
use protocol::{
    Chunker, Entry, Event, FORMAT_VERSION, Failure, FailureKind, ImagePath, IndexPrefix, ManifestWriter, Root,
    RunRecord, ScanSummary, encode_line, read_list,
};

use crate::reconcile::{Standing, Verdict, reconcile};
use crate::report::Report;
use crate::sort::Sorter;
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
    /// Write nothing; only count.
    pub dry_run: bool,
    pub host: &'a str,
}

/// Runs the scan; chunks and progress go to `report` while it runs.
pub fn scan(scan: &Scan, report: &Report) -> Result<ScanSummary> {
    let exclude = globs(scan.exclude)?;
    let here = scan.root.here();
    let full_scan = scan.image_list.is_none();
    if full_scan {
        ensure!(here.is_dir(), "the image folder {} is not there; is the share mounted?", here.display());
    }
    let standing = standing(scan, report)?;
    let rows_before = if scan.fresh { 0 } else { index::read_meta(scan.prefix)?.map_or(0, |m| m.num_images) };
    let mut output = Output::open(scan)?;
    let mut summary = ScanSummary::default();
    let mut chunker = Chunker::new(scan.chunk_images);
    let mut said = Instant::now();
    let excluded = exclude.clone();
    let may_drop = |path: &ImagePath| full_scan && !excluded_with_folders(&excluded, path.as_str());
    let found: Box<dyn Iterator<Item = Result<Found>>> = match scan.image_list {
        Some(list) => listed(scan.root, list)?,
        None => {
            let skip = vec![scan.prefix.dir().into(), scan.prefix.results()];
            let skip = skip.into_iter().map(|p: PathBuf| std::path::absolute(&p).unwrap_or(p)).collect();
            let exclude: Exclude = Arc::new(move |path| exclude.is_match(path));
            Box::new(walk(here, skip, exclude, READERS).map(Ok))
        }
    };
    reconcile(found, standing, may_drop, |verdict| {
        match verdict {
            Verdict::New(entry) => {
                (summary.scanned, summary.new) = (summary.scanned + 1, summary.new + 1);
                let offset = output.manifest.push(&entry)?;
                if let Some(chunk) = chunker.push(offset, &entry) {
                    report.event(&Event::Chunk { chunk });
                }
            }
            Verdict::Stands => (summary.scanned, summary.standing) = (summary.scanned + 1, summary.standing + 1),
            Verdict::Gone(row) => {
                summary.gone += u64::from(row.in_index);
                output.gone(&row.entry)?;
            }
            Verdict::Changed(row) => {
                summary.changed += u64::from(row.in_index);
                output.gone(&row.entry)?;
            }
            Verdict::Failed { shown, kind, detail } => {
                (summary.scanned, summary.failed) = (summary.scanned + 1, summary.failed + 1);
                output.failure(report, Failure { path: shown, kind, detail, host: scan.host.into() })?;
            }
            Verdict::FolderUnreadable { folder, detail } => {
                ensure!(folder.is_some(), "{}: {detail}", here.display());
                summary.unreadable_folders += 1;
                let path = folder.map_or_else(String::new, |f| scan.root.canonical_path(&f));
                let kind = FailureKind::FolderUnreadable;
                output.failure(report, Failure { path, kind, detail, host: scan.host.into() })?;
            }
        }
        if said.elapsed() > Duration::from_millis(300) {
            said = Instant::now();
            report.event(&Event::Scanning { scanned: summary.scanned });
        }
        Ok(())
    })?;
    if summary.scanned == 0 && summary.unreadable_folders == 0 {
        bail!(
            "no pictures in {}; nothing is changed. Is the share mounted? Pictures are jpeg, jpg, png, bmp, gif, webp, tif, tiff",
            scan.image_list.unwrap_or(here).display()
        );
    }
    guard_deletions(scan, &summary, rows_before)?;
    if let Some(chunk) = chunker.finish() {
        report.event(&Event::Chunk { chunk });
    }
    output.finish(scan, full_scan, summary)?;
    Ok(summary)
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

fn standing(scan: &Scan, report: &Report) -> Result<Box<dyn Iterator<Item = Result<Standing>>>> {
    if scan.fresh {
        return Ok(Box::new(std::iter::empty()));
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
    Ok(Box::new(standing.map(|row| {
        let row = row?;
        Ok(Standing { entry: row.entry, in_index: row.in_index })
    })))
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
    Ok(Box::new(failed.into_iter().map(Ok).chain(sorter.sorted()?.map(|e| e.map(Found::Picture)))))
}

fn globs(patterns: &[String]) -> Result<GlobSet> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(Glob::new(pattern).with_context(|| format!("--exclude {pattern:?} is not a glob pattern"))?);
    }
    Ok(set.build()?)
}

fn excluded_with_folders(set: &GlobSet, path: &str) -> bool {
    set.is_match(path) || path.match_indices('/').any(|(end, _)| set.is_match(&path[..end]))
}

/// The files of a run while it is scanned.
struct Output {
    manifest: ManifestWriter<Box<dyn Write>>,
    gone: Box<dyn Write>,
    failures: Box<dyn Write>,
    dir: Option<RunDir>,
}

impl Output {
    fn open(scan: &Scan) -> Result<Self> {
        if scan.dry_run {
            let sink = || Box::new(std::io::sink());
            return Ok(Self { manifest: ManifestWriter::new(sink()), gone: sink(), failures: sink(), dir: None });
        }
        let dir = scan.prefix.run(scan.run_id);
        let cannot = || format!("cannot write to the index folder {}", scan.prefix.dir().display());
        fs::create_dir_all(dir.dir()).with_context(cannot)?;
        let create = |path: PathBuf| -> Result<Box<dyn Write>> {
            let file = File::create(&path).with_context(cannot)?;
            Ok(Box::new(BufWriter::new(Synced(file))))
        };
        Ok(Self {
            manifest: ManifestWriter::new(create(dir.manifest())?),
            gone: create(dir.gone())?,
            failures: create(dir.scan_failures())?,
            dir: Some(dir),
        })
    }

    fn gone(&mut self, entry: &Entry) -> Result<()> {
        Ok(self.gone.write_all(encode_line(entry).as_bytes())?)
    }

    fn failure(&mut self, report: &Report, failure: Failure) -> Result<()> {
        self.failures.write_all(encode_line(&failure).as_bytes())?;
        report.event(&Event::Failure { failure });
        Ok(())
    }

    /// Everything reaches the disk before the record that says so.
    fn finish(self, scan: &Scan, full_scan: bool, summary: ScanSummary) -> Result<()> {
        let Some(dir) = self.dir else { return Ok(()) };
        for mut output in [self.manifest.into_inner(), self.gone, self.failures] {
            output.flush().with_context(|| format!("cannot write the run's files in {}", dir.dir().display()))?;
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
        index::atomic::write_json(&dir.record(), &record)?;
        Ok(())
    }
}

/// A file whose flush reaches the disk.
struct Synced(File);

impl Write for Synced {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.sync_data()
    }
}
