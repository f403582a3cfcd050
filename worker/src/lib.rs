//! The worker: scan a folder into a manifest; encode granted or listed chunks into parts; gather parts into a partial
//! index. It speaks to a person in lines, or to a controller in events.

mod args;
mod bundle;
mod check;
mod encode;
mod facts;
mod glibc;
mod granted;
mod interrupt;
mod life;
mod list;
mod memory;
mod moves;
mod pages;
mod reconcile;
mod report;
mod run_files;
mod scan;
mod share;
mod sort;
mod walk;
mod work;
mod work_dir;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clip::Model;
use protocol::layout::WorkerPrefix;
use protocol::{
    Event, Exit, FORMAT_VERSION, IndexPrefix, MOST_METADATA, Root, RunRecord, VERSION, WorkerMeta, absolute, answer,
    encode_line, folders, tell,
};

pub use args::Args;
use args::{Encode, Job, Scan};
use interrupt::Interrupted;
use life::Life;
use report::Report;
use work::{Ending, Work};
use work_dir::WorkDir;

/// The model of a first run.
const DEFAULT_MODEL: &str = "clip-vit-b-32";

/// The run of a partial index that was made where no run ever was.
const BY_HAND: &str = "by-hand";

/// How long a scan and a check may take to end when their controller is gone: as long as one step of theirs.
const SCAN_ENDS: Duration = Duration::from_secs(5);
const CHECK_ENDS: Duration = Duration::from_secs(20);

/// Does what the command line says. Errors are told through the report, once.
pub fn run(args: Args) -> Exit {
    let (report, result) = match args.command {
        Some(Job::Scan(args)) => {
            let report = Arc::new(Report::new(args.events, "Scan".into()));
            let result = run_scan(args, &report);
            (report, result)
        }
        Some(Job::Check(args)) => (Arc::new(Report::new(false, "Check".into())), run_check(&args)),
        Some(Job::Bundle { out }) => (Arc::new(Report::new(false, "Bundle".into())), run_bundle(&out)),
        None => {
            pages::ask_for_large_ones();
            let encode = &args.encode;
            let report = Report::new(encode.events, format!("Worker {}", encode.worker_id));
            match work_dir(encode.work_dir.clone(), encode.run_dir.clone()) {
                Ok(work_dir) => {
                    // Under a controller standard error is the run's log.
                    let report = match encode.run_dir {
                        Some(_) => report.also_to_standard_error(),
                        None => {
                            work_dir.own_log(encode.worker_id);
                            report.also_to(&work_dir.log(encode.worker_id))
                        }
                    };
                    let report = Arc::new(report);
                    let result = run_encode(args.encode, &work_dir, &report);
                    (report, result)
                }
                Err(error) => (Arc::new(report), Err(error)),
            }
        }
    };
    result.unwrap_or_else(|error| {
        if error.is::<Interrupted>() {
            report.event(&Event::Warning { message: error.to_string() });
            return Exit::Interrupted;
        }
        report.event(&Event::Error { message: format!("{error:#}") });
        Exit::Failed
    })
}

/// The folder for logs, lists and locks, the one that was given, else the person's own; and that of the run.
fn work_dir(all: Option<PathBuf>, run: Option<PathBuf>) -> Result<WorkDir> {
    let all = all.map_or_else(|| folders::state().context("cannot find a folder for logs and locks"), Ok)?;
    Ok(WorkDir::new(all, run))
}

fn run_check(args: &args::Check) -> Result<Exit> {
    if args.granted {
        // What it measures with is removed when it ends by itself, unless the share hangs.
        let stop = interrupt::attended(CHECK_ENDS, |_| ())?;
        stop.at_end(leave(args));
    }
    let token = args.token.as_deref().and_then(|t| Some((t.first()?.as_str(), t.get(1)?.as_str())));
    let report = check::check(&check::Check {
        image_dir: args.image_dir.as_deref(),
        image_name: args.image_name.as_deref(),
        index_dir: args.index_dir.as_deref(),
        token,
        work_dir: work_dir(args.work_dir.clone(), None)?.all(),
        encoding: &args.encoding,
        users: &args.users,
        extent: match (args.share_only, args.measure) {
            (true, _) => check::Extent::Share,
            (_, true) => check::Extent::Measure,
            _ => check::Extent::Programs,
        },
    });
    leave(args)();
    answer(&encode_line(&report))?;
    Ok(if report.problems.is_empty() { Exit::Done } else { Exit::Failed })
}

/// Removes an index folder that was made for a check whose asker is gone, and could not remove it while this host wrote there.
fn leave(args: &args::Check) -> impl FnOnce() + Send + use<> {
    let dir = args.index_dir.clone().filter(|_| args.new_index_dir);
    let token = args.token.as_deref().and_then(|token| token.first().cloned());
    move || {
        if let (Some(dir), Some(token)) = (dir, token)
            && !dir.join(token).exists()
        {
            // It fails where something is in it.
            let _ = std::fs::remove_dir(dir);
        }
    }
}

fn run_bundle(out: &Path) -> Result<Exit> {
    answer(&encode_line(&bundle::bundle(out)?))?;
    Ok(Exit::Done)
}

fn run_scan(args: Scan, report: &Report) -> Result<Exit> {
    let (stop, taken) = match args.granted {
        true => interrupt::scanning(SCAN_ENDS)?,
        false => (interrupt::by_hand("the scan to end")?, None),
    };
    let host = facts::host();
    report.event(&Event::Hello { version: VERSION.into(), pid: std::process::id(), host: host.clone() });
    let prefix = IndexPrefix::new(absolute(&args.index_prefix)?);
    work_dir(args.work_dir, args.run_dir)?.tidy();
    disk::ours::look(&prefix)?;
    let here = absolute(&args.image_dir)?;
    ensure!(here.is_dir(), "the image folder {} is not there; is the share mounted?", here.display());
    let canonical = args.canonical.map_or_else(|| text(&here), Ok)?;
    let run_id = args.run.unwrap_or_else(|| chrono::Local::now().format("%Y%m%d-%H%M%S").to_string());
    let spec = model_spec(args.model.as_deref(), None, &prefix)?;
    let model = Model::open(&spec)?;
    let summary = scan::scan(
        &scan::Scan {
            root: &Root::new(here, canonical),
            prefix: &prefix,
            run_id: &run_id,
            model: &spec,
            fingerprint: model.fingerprint(),
            image_list: args.image_list.as_deref(),
            exclude: &args.exclude,
            chunk_images: args.chunk_images,
            allow_deletions: args.allow_deletions,
            fresh: args.fresh,
            retry_failed: args.retry_failed,
            dry_run: args.dry_run,
            host: &host.hostname,
            stop: &stop,
            taken: taken.as_ref(),
        },
        report,
    )?;
    if !args.events && !args.dry_run {
        tell!("{}", prefix.run(&run_id).manifest().display());
    }
    Ok(Exit::after(summary.failed + summary.unreadable_folders))
}

fn run_encode(args: Encode, work_dir: &WorkDir, report: &Arc<Report>) -> Result<Exit> {
    let host = facts::host();
    let controller = args.granted.then(|| granted::listen(report));
    let by_hand = if args.granted { None } else { Some(interrupt::by_hand("the worker to end")?) };
    report.event(&Event::Hello { version: VERSION.into(), pid: std::process::id(), host: host.clone() });
    let worker = WorkerPrefix::new(absolute(args.index_prefix.as_ref().context("--index-prefix is needed")?)?);
    let prefix = worker.index();
    disk::ours::look(&prefix)?;
    let _life = match args.granted {
        true => Some(Life::begin(work_dir.all(), prefix.dir(), args.worker_id, &host.hostname)?),
        false => {
            disk::probe(&prefix.lock())?;
            None
        }
    };
    work_dir.tidy();
    let record = run_record(&prefix, args.run.as_deref())?;
    let encoding = &args.encoding;
    let spec = model_spec(encoding.model.as_deref(), record.as_ref(), &prefix)?;
    let begun = Instant::now();
    let model = Model::open(&spec)?;
    if let Some(record) = record.as_ref().filter(|r| r.fingerprint != model.fingerprint()) {
        ensure!(
            !args.granted,
            "run {} is for the model {} ({}), but here it is {}: is another version of it installed on this host?",
            record.run_id,
            record.model,
            record.fingerprint,
            model.fingerprint()
        );
    }
    let canonical = record.as_ref().map(|r| r.root.clone());
    let (root, plan) = match &args.image_list {
        Some(file) => {
            let root = list::root(args.root.as_deref(), canonical, &prefix, file)?;
            let plan = list::plan(file, &root, args.chunk_images, report, &host.hostname)?;
            (root, Some(plan))
        }
        None => (list::given_root(args.root.as_deref(), canonical)?.context("a granted worker needs --root")?, None),
    };
    let options = encoding.options(&model);
    let encoder = model.image_encoder(&options)?;
    let identity = encoder.identity().clone();
    for message in encoder.warnings() {
        report.event(&Event::Warning { message: message.clone() });
    }
    let manifest = match &plan {
        Some(plan) => plan.manifest.path().to_owned(),
        None => prefix.run(args.run.as_deref().unwrap_or(BY_HAND)).manifest(),
    };
    if let Some(controller) = &controller {
        // The answer to what follows is the list.
        controller.ready(&manifest, &root, work_dir, args.worker_id);
    }
    let load_seconds = begun.elapsed().as_secs_f64();
    report.event(&Event::Ready {
        model: identity.clone(),
        threads: encoder.threads(),
        batch_size: encoder.batch(),
        load_seconds,
    });
    report.begin();
    let begun = Instant::now();
    let setup = encode::Setup {
        prefix: &prefix,
        root: &root,
        manifest: &manifest,
        host: &host.hostname,
        model: &model,
        options,
        identity: identity.clone(),
        decode: encoding.decode_mode(),
        decode_threads: options.threads,
    };
    let (work, listed_failures, _temporary_manifest) = match (plan, &controller) {
        (Some(plan), _) => (Arc::new(Work::list(plan.chunks)), plan.failures, Some(plan.manifest)),
        (None, Some(controller)) => (controller.work.clone(), Vec::new(), None),
        (None, None) => anyhow::bail!("--image-list is needed"),
    };
    by_hand.map_or(Ok(()), |stop| interrupt::ends(stop, &work))?;
    let finished = encode::encode(&setup, encoder, &work, report)?;
    match work.ending().unwrap_or(Ending::Finished) {
        Ending::Finished => {}
        Ending::Stopped if args.granted => return Ok(Exit::Interrupted),
        Ending::Stopped => return Err(Interrupted.into()),
        Ending::Lost(why) => anyhow::bail!("{why}; finished parts are kept, run the controller again to go on"),
    }
    let run_id = args.run.or_else(|| record.map(|r| r.run_id)).unwrap_or_else(|| BY_HAND.into());
    let meta = WorkerMeta {
        format_version: FORMAT_VERSION,
        software_version: VERSION.into(),
        worker_id: args.worker_id,
        run_id,
        root: root.canonical().into(),
        model: identity,
        num_images: 0,
        num_failed: 0,
        processing_time_seconds: begun.elapsed().as_secs_f64(),
        stages: finished.stages,
        batch_size: finished.batch_size,
        host: host.hostname.clone(),
        checksum: String::new(),
        failures: listed_failures,
    };
    let meta = index::gather(&worker, &finished.parts, meta)?;
    tell_unsynced(report);
    report.event(&Event::Done { rows: meta.num_images, failed: meta.num_failed });
    Ok(Exit::after(meta.num_failed))
}

/// What a share cannot do is told once.
fn tell_unsynced(report: &Report) {
    if let Some(note) = disk::unsynced() {
        report.event(&Event::Warning { message: note.into() });
    }
}

/// The record of the run named, or of the index's newest run if there is one.
fn run_record(prefix: &IndexPrefix, run_id: Option<&str>) -> Result<Option<RunRecord>> {
    let Some(run_id) = run_id.map(str::to_owned).or_else(|| prefix.newest_run()) else { return Ok(None) };
    let path = prefix.run(&run_id).record();
    let unreadable = || format!("cannot read the run's record {}; is the share mounted here?", path.display());
    let text = protocol::read_file(&path, MOST_METADATA).with_context(unreadable)?;
    let record =
        serde_json::from_slice(&text).with_context(|| format!("the run's record {} is damaged", path.display()))?;
    Ok(Some(record))
}

/// The model: as asked for, else the run's, else the index's, else the default.
fn model_spec(asked: Option<&str>, record: Option<&RunRecord>, prefix: &IndexPrefix) -> Result<String> {
    if let Some(asked) = asked {
        return Ok(protocol::model_spec(asked)?);
    }
    if let Some(record) = record {
        return Ok(record.model.clone());
    }
    Ok(index::model_name(prefix)?.unwrap_or_else(|| DEFAULT_MODEL.into()))
}

fn text(path: &Path) -> Result<String> {
    let text = path.to_str().with_context(|| format!("the folder's name {} is not UTF-8", path.display()))?;
    Ok(text.to_owned())
}
