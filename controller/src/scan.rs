//! The scan stage: one worker, where the share is near, lists the folder and streams chunk descriptors back.

use std::fs::File;
use std::io::{BufReader, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use fleet::{Content, Incoming};
use indicatif::HumanCount;
use protocol::{Chunk, Command, Event, Exit, Failure, ScanSummary, read_list};
use stop::PING;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::interrupt::{Interrupted, unless_stopped};
use crate::job::{Arguments, Job};
use crate::site::Site;
use crate::view::Spinner;

/// What a scan found.
pub struct Found {
    pub run_id: String,
    /// The root's name in the index.
    pub canonical: String,
    /// The model that is embedded with: a name, or a folder as this machine sees it.
    pub model: String,
    pub chunks: Vec<Chunk>,
    pub summary: ScanSummary,
    /// The first failures, to be shown; the run's folder holds all.
    pub failures: Vec<Failure>,
}

/// Failures that are shown; the ledger holds all.
pub const SHOWN_FAILURES: usize = 10;

/// How long a scan may take to end when told to.
const SCAN_ENDS: Duration = Duration::from_secs(10);

/// Scans at `site`. The scan counts once it has been told so here: one that nobody waits for any more leaves nothing.
pub async fn scan(job: &Job, site: &Site) -> Result<Found> {
    let host = &site.spec;
    let arguments = arguments(job, site).await?;
    let (sender, mut incoming) = mpsc::channel(1024);
    let log = format!("{}/scan.log", job.run_dir(host));
    let mut channel = site.host.start(&site.program("worker")?, &arguments.0, &log, 0, sender);
    job.stop.waits_for(format!("the scan on {} to end", host.name));
    let spinner = Spinner::new("Scanning");
    let mut found = Found {
        run_id: job.run_id.clone(),
        canonical: job.canonical(site)?,
        model: String::new(),
        chunks: Vec::new(),
        summary: ScanSummary::default(),
        failures: Vec::new(),
    };
    let interrupted = || Interrupted("Interrupted while scanning; nothing is changed.".into());
    let mut ping = tokio::time::interval(PING);
    let (mut whole, mut stopping) = (false, None::<Instant>);
    loop {
        let late = tokio::time::sleep_until(stopping.unwrap_or_else(Instant::now));
        let message = tokio::select! {
            message = incoming.recv() => message,
            _ = ping.tick() => {
                channel.send(&Command::Ping);
                continue;
            }
            () = job.stop.wait(), if stopping.is_none() => {
                channel.send(&Command::Stop);
                channel.close();
                stopping = Some(Instant::now() + SCAN_ENDS);
                continue;
            }
            () = late, if stopping.is_some() => {
                channel.kill();
                return Err(interrupted().into());
            }
        };
        match message {
            _ if stopping.is_some() && matches!(message, None | Some((_, Incoming::Ended(_)))) => {
                return Err(interrupted().into());
            }
            Some((_, Incoming::Event(event))) => match event {
                Event::Chunk { chunk } => found.chunks.push(chunk),
                Event::Scanning { scanned } => spinner.say(&format!("Scanning: {} pictures", HumanCount(scanned))),
                Event::Scanned { summary, model } => {
                    found.summary = summary;
                    found.model = host.path_here(&model);
                    whole = true;
                    channel.send(&Command::Finish);
                }
                Event::Failure { failure } if found.failures.len() < SHOWN_FAILURES => found.failures.push(failure),
                Event::Warning { message } if !job.is_news(&message) => {}
                Event::Warning { message } => spinner.note(&format!("Warning: {message}")),
                Event::Error { message } if stopping.is_none() => bail!("{message}"),
                _ => {}
            },
            Some((_, Incoming::Noise(_))) => {}
            Some((_, Incoming::Ended(ended))) => {
                let codes = [Exit::Done.code(), Exit::SomeUnreadable.code()].map(|c| Some(i32::from(c)));
                if !whole || !codes.contains(&ended.status().and_then(|s| s.code())) {
                    bail!("the scan on {} ended before it was complete: {ended}", host.name);
                }
                return Ok(found);
            }
            None => bail!("the scan on {} was lost", host.name),
        }
    }
}

/// The command line of the scan. A list of pictures is brought to the machine first.
async fn arguments(job: &Job, site: &Site) -> Result<Arguments> {
    let (args, host) = (&job.args, &site.spec);
    let image_list = match &args.image_list {
        Some(list) => Some(unless_stopped(&job.stop, "the list of pictures", put_list(job, site, list)).await?),
        None => None,
    };
    let arguments = Arguments::default()
        .word("scan")
        .word("--granted")
        .word("--events")
        .set("image-dir", site.path(&job.image_dir)?)
        .set("canonical", job.canonical(site)?)
        .set("index-prefix", site.path(job.prefix.dir())?)
        .set("run", &job.run_id)
        .set("work-dir", site.work(""))
        .set("run-dir", job.run_dir(host))
        .set_some("model", args.model.as_ref().map(|m| host.path_there(m)))
        .set_some("image-list", image_list)
        .set_some("chunk-images", args.chunk_images.map(|n| n.to_string()))
        .flag("allow-deletions", args.allow_deletions)
        .flag("fresh", args.fresh)
        .flag("retry-failed", args.retry_failed)
        .flag("dry-run", args.dry_run);
    Ok(args.exclude.iter().fold(arguments, |a, glob| a.set("exclude", glob)))
}

/// Brings a list to the machine that scans; its paths are as this machine sees them, and become as that one does.
async fn put_list(job: &Job, site: &Site, list: &Path) -> Result<String> {
    if site.spec.is_local() {
        return Ok(list.to_string_lossy().into_owned());
    }
    let cannot = || format!("cannot read the image list {}", list.display());
    let mut there = tempfile::NamedTempFile::new().context("cannot write a temporary file")?;
    for path in read_list(BufReader::new(File::open(list).with_context(cannot)?)).with_context(cannot)? {
        let path = path.with_context(cannot)?;
        let mapped = std::str::from_utf8(&path).map(|p| site.spec.path_map.to_remote(p).into_bytes()).unwrap_or(path);
        there.write_all(&mapped)?;
        there.write_all(&[0])?;
    }
    let to = format!("{}/scan_images.txt", job.run_dir(&site.spec));
    site.host.put(Content::File(there.path()), &to, 0o644).await?;
    Ok(to)
}
