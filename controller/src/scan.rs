//! The scan stage: one worker, where the share is near, lists the folder and streams chunk descriptors back.

use anyhow::{Result, bail};
use fleet::Incoming;
use indicatif::HumanCount;
use protocol::{Chunk, Event, Exit, Failure, ScanSummary};
use tokio::sync::mpsc;

use crate::interrupt::Interrupt;
use crate::job::{Arguments, Job};
use crate::view::Spinner;

/// What a scan found.
pub struct Found {
    pub run_id: String,
    pub chunks: Vec<Chunk>,
    pub summary: ScanSummary,
    /// The first failures, to be shown; the run's folder holds all.
    pub failures: Vec<Failure>,
}

/// Failures that are shown; the ledger holds all.
pub const SHOWN_FAILURES: usize = 10;

/// Scans. `None` if the person interrupted it.
pub async fn scan(job: &Job, interrupt: &mut Interrupt) -> Result<Option<Found>> {
    let args = &job.args;
    let arguments = Arguments::default()
        .word("scan")
        .word("--events")
        .set("image-dir", &job.image_dir)
        .set("index-prefix", job.prefix.dir())
        .set("run", &job.run_id)
        .set_some("model", args.model.as_ref())
        .set_some("image-list", args.image_list.as_ref())
        .set_some("chunk-images", args.chunk_images.map(|n| n.to_string()))
        .flag("allow-deletions", args.allow_deletions)
        .flag("fresh", args.fresh)
        .flag("dry-run", args.dry_run);
    let arguments = args.exclude.iter().fold(arguments, |a, glob| a.set("exclude", glob));
    let host = &job.hosts[0];
    let (log, _) = job.log(host, "scan.log")?;
    let (sender, mut incoming) = mpsc::channel(1024);
    let channel = fleet::start(&fleet::program("worker")?, &arguments.0, log, 0, sender)?;
    let spinner = Spinner::new("Scanning");
    let mut found =
        Found { run_id: job.run_id.clone(), chunks: Vec::new(), summary: ScanSummary::default(), failures: Vec::new() };
    let mut whole = false;
    loop {
        let message = tokio::select! {
            message = incoming.recv() => message,
            () = interrupt.next() => {
                channel.kill();
                return Ok(None);
            }
        };
        match message {
            Some((_, Incoming::Event(event))) => match event {
                Event::Chunk { chunk } => found.chunks.push(chunk),
                Event::Scanning { scanned } => spinner.say(&format!("Scanning: {} pictures", HumanCount(scanned))),
                Event::Scanned { summary } => {
                    found.summary = summary;
                    whole = true;
                }
                Event::Failure { failure } if found.failures.len() < SHOWN_FAILURES => found.failures.push(failure),
                Event::Warning { message } => spinner.note(&format!("Warning: {message}")),
                Event::Error { message } => bail!("{message}"),
                _ => {}
            },
            Some((_, Incoming::Noise(_))) => {}
            Some((_, Incoming::Ended(ended))) => {
                let codes = [Exit::Done.code(), Exit::SomeUnreadable.code()].map(|c| Some(i32::from(c)));
                if !whole || !codes.contains(&ended.status.and_then(|s| s.code())) {
                    bail!("the scan on {} ended before it was complete: {}", host.name, crate::encode::how(ended));
                }
                return Ok(Some(found));
            }
            None => bail!("the scan on {} was lost", host.name),
        }
    }
}
