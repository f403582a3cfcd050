//! One host's worker: how it is started, what it has told, and why it ended.

use std::time::{Duration, Instant};

use anyhow::Result;
use fleet::{Channel, Ended, HostSpec};
use protocol::{Chunk, Exit, Stages};
use tokio::sync::mpsc;

use super::again::Again;
use super::{HostReport, Told};
use crate::job::{Arguments, Job};
use crate::meter::Meter;
use crate::scan::Found;
use crate::site::Site;

/// One that gets no further for so long is slow enough that others do its work too.
const STUCK: Duration = Duration::from_secs(10);

/// One host's worker, which may be started more than once.
pub struct Worker {
    pub spec: HostSpec,
    pub site: Option<Site>,
    /// Of the start that runs.
    pub channel: Option<Channel>,
    pub start: Option<usize>,
    /// Its list, for a person to run again.
    pub list: Vec<Chunk>,
    /// As asked for; as the worker chose once it is ready.
    pub batch_size: Option<usize>,
    pub again: Again,
    /// How often it was started.
    pub starts: u32,
    /// Whether its model is loaded.
    pub ready: bool,
    /// Whether it has said that it is done.
    pub over: bool,
    /// Its first sign of work, and the last signs of life and of progress of this start.
    pub begun: Option<Instant>,
    pub heard: Instant,
    pub moved: Instant,
    /// Of this start, as it tells.
    pub done: u64,
    pub failed: u64,
    pub meter: Meter,
    bytes_read: u64,
    /// Pictures of the chunks that this start has finished.
    pub finished: u64,
    /// The chunk, and the picture of it, that is alone in hand.
    pub trying: Option<(u64, usize)>,
    /// Rows of all its starts, and the pictures that failed in the same chunks.
    pub embedded: u64,
    pub blamed: u64,
    pub stages: Stages,
    /// Why it failed last.
    pub error: Option<String>,
}

impl Worker {
    pub fn new(job: &Job, spec: HostSpec, site: Result<Site, String>, list: Vec<Chunk>) -> Self {
        let now = Instant::now();
        let (site, error) = site.map_or_else(|e| (None, Some(e)), |site| (Some(site), None));
        Self {
            batch_size: spec.batch_size.or(job.args.batch_size.map(|n| n as usize)),
            again: Again::new(job.args.limits.starts),
            spec,
            site,
            channel: None,
            start: None,
            list,
            starts: 0,
            ready: false,
            over: false,
            begun: None,
            heard: now,
            moved: now,
            done: 0,
            failed: 0,
            meter: Meter::default(),
            bytes_read: 0,
            finished: 0,
            trying: None,
            embedded: 0,
            blamed: 0,
            stages: Stages::default(),
            error,
        }
    }

    /// Starts it on its host; what it says is marked with `start`.
    pub fn begin(
        &mut self,
        job: &Job,
        found: &Found,
        i: usize,
        start: usize,
        sender: &mpsc::Sender<Told>,
    ) -> Result<()> {
        let Some(site) = &self.site else { anyhow::bail!("it is not connected") };
        let root = format!("{}:{}", site.path(&job.image_dir)?, found.canonical);
        let arguments = Arguments::default()
            .word("--granted")
            .word("--events")
            .set("run", &found.run_id)
            .set("index-prefix", site.path(job.prefix.worker(i as u32).path())?)
            .set("worker-id", i.to_string())
            .set("root", root)
            .set("model", site.spec.path_there(&found.model))
            .set("work-dir", site.work(""))
            .set("run-dir", job.run_dir(&self.spec))
            .encoding(&job.args, &site.spec, self.batch_size);
        let program = site.program("worker")?;
        let (log, shown) = (self.log(job, i), site.work(&format!("worker_{i}.log")));
        let channel = site.host.start_shown(&program, &arguments.0, &log, &shown, start, sender.clone());
        self.channel = Some(channel);
        self.starts += 1;
        let now = Instant::now();
        (self.start, self.heard, self.moved) = (Some(start), now, now);
        (self.ready, self.over, self.error) = (false, false, None);
        (self.done, self.failed, self.finished, self.bytes_read, self.trying) = (0, 0, 0, 0, None);
        self.meter = Meter::default();
        Ok(())
    }

    /// Takes how far it is. One that has nothing to do need not move.
    pub fn progress(&mut self, done: u64, failed: u64, stages: Stages, busy: bool) {
        let now = Instant::now();
        if (done, stages.bytes_read) != (self.done, self.bytes_read) || !busy {
            self.moved = now;
        }
        (self.done, self.failed, self.stages, self.bytes_read) = (done, failed, stages, stages.bytes_read);
        self.meter.note(now, done);
    }

    /// Pictures of chunks in hand that are done; none of a worker that has ended, whose chunks are done again.
    pub fn in_hand(&self) -> u64 {
        let works = self.channel.is_some() && !self.over;
        if works { self.done.saturating_sub(self.finished) } else { 0 }
    }

    /// Pictures a second; 0 for one that gets no further.
    pub fn rate(&self) -> Option<f64> {
        if self.ready && self.moved.elapsed() > STUCK { Some(0.0) } else { self.meter.rate() }
    }

    /// Why a worker ended that did not say it.
    pub async fn explain(&self, job: &Job, i: usize, ended: &Ended) -> String {
        use std::os::unix::process::ExitStatusExt;
        let (Ended::Exited(status), Some(site)) = (ended, &self.site) else { return ended.to_string() };
        let advice = if status.signal() == Some(9) {
            let batch_size = self.batch_size.map_or("N".to_owned(), |n| n.to_string());
            format!(" (killed, probably out of memory: lower batch_size={batch_size} in hosts)")
        } else if status.code() == Some(i32::from(Exit::Usage.code())) {
            // We say nothing to a worker that one of our own version does not understand.
            " (its programs are of another build than this one: run setup_workers.sh)".to_owned()
        } else {
            String::new()
        };
        let log = self.log(job, i);
        format!("{ended}{advice}; its log is {log}{}", site.tail(&log).await)
    }

    /// What it comes to.
    pub fn report(&self) -> HostReport {
        HostReport {
            name: self.spec.name.clone(),
            embedded: self.embedded,
            rate: self.begun.map_or(0.0, |b| self.embedded as f64 / b.elapsed().as_secs_f64().max(1e-9)),
            stages: self.stages,
            error: self.error.clone(),
        }
    }

    fn log(&self, job: &Job, i: usize) -> String {
        format!("{}/worker_{i}.log", job.run_dir(&self.spec))
    }
}
