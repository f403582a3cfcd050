//! The encode stage: workers are started, granted chunks, and followed until every chunk is a part.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use anyhow::Result;
use fleet::{Channel, Ended, Incoming};
use protocol::{Chunk, Command, Event, Failure};
use tokio::sync::mpsc;

use crate::grants::Grants;
use crate::interrupt::Interrupt;
use crate::job::{Arguments, Job};
use crate::merge::PartLine;
use crate::meter::Meter;
use crate::scan::{Found, SHOWN_FAILURES};
use crate::site::Site;
use crate::view::View;

/// How often workers hear from us; they give up after a minute of silence.
const PING: Duration = Duration::from_secs(10);

/// How long workers may take to end when told to.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// What the workers did.
pub struct Encoded {
    /// Parts of this run, by chunk.
    pub parts: Vec<PartLine>,
    pub embedded: u64,
    pub failed: u64,
    pub hosts: Vec<HostReport>,
    /// The first failures, to be shown.
    pub failures: Vec<Failure>,
    pub seconds: f64,
    pub interrupted: bool,
}

/// What one host did.
pub struct HostReport {
    pub name: String,
    pub embedded: u64,
    pub rate: f64,
    /// Why it failed and what to do, if it did.
    pub error: Option<String>,
}

/// One host's worker.
struct Worker {
    name: String,
    site: Option<Site>,
    channel: Option<Channel>,
    list: Vec<Chunk>,
    batch_size: usize,
    meter: Meter,
    begun: Option<Instant>,
    done: u64,
    failed: u64,
    embedded: u64,
    error: Option<String>,
    over: bool,
}

/// Runs workers over the lists until all is done, or nobody is left to do it, or the person interrupts.
pub async fn encode(
    job: &Job,
    sites: &[Result<Site, String>],
    found: &Found,
    lists: Vec<Vec<Chunk>>,
    interrupt: &mut Interrupt,
) -> Result<Encoded> {
    let begun = Instant::now();
    let mut run = Run::new(job, sites, found, lists);
    if found.chunks.is_empty() {
        return Ok(run.report(begun, false));
    }
    let (sender, mut incoming) = mpsc::channel(4096);
    for i in 0..run.workers.len() {
        run.start(job, found, i, sender.clone()).await;
    }
    drop(sender);
    let mut ping = tokio::time::interval(PING);
    let mut stopping: Option<Instant> = None;
    let mut clock = tokio::time::interval(Duration::from_millis(250));
    while run.workers.iter().any(|w| w.channel.is_some()) {
        tokio::select! {
            Some((i, message)) = incoming.recv() => run.hear(i, message).await,
            _ = ping.tick() => run.tell_all(&Command::Ping),
            _ = clock.tick() => {
                run.show();
                if stopping.is_some_and(|since| since.elapsed() > STOP_LIMIT) {
                    run.kill_all();
                }
            }
            () = interrupt.next() => {
                if stopping.is_some() {
                    run.kill_all();
                } else {
                    stopping = Some(Instant::now());
                    run.view.note("Stopping the workers... (Ctrl-C again to end them at once)");
                    run.tell_all(&Command::Stop);
                }
            }
        }
    }
    run.show();
    run.view.clear();
    Ok(run.report(begun, stopping.is_some()))
}

struct Run {
    workers: Vec<Worker>,
    grants: Grants,
    parts: BTreeMap<u64, PartLine>,
    failed: u64,
    failures: Vec<Failure>,
    total: u64,
    finishing: bool,
    noise: HashSet<String>,
    view: View,
}

impl Run {
    fn new(job: &Job, sites: &[Result<Site, String>], found: &Found, lists: Vec<Vec<Chunk>>) -> Self {
        let worker = |((host, site), list): ((&fleet::HostSpec, &Result<Site, String>), &Vec<Chunk>)| Worker {
            name: host.name.clone(),
            site: site.as_ref().ok().cloned(),
            channel: None,
            list: list.clone(),
            batch_size: host.batch_size.unwrap_or(job.args.batch_size as usize),
            meter: Meter::default(),
            begun: None,
            done: 0,
            failed: 0,
            embedded: 0,
            error: site.as_ref().err().cloned(),
            over: false,
        };
        let workers: Vec<Worker> = job.hosts.iter().zip(sites).zip(&lists).map(worker).collect();
        let pictures = |list: &Vec<Chunk>| list.iter().map(|c| c.count).sum::<u64>();
        let names: Vec<(String, u64)> = workers.iter().map(|w| (w.name.clone(), pictures(&w.list))).collect();
        Self {
            grants: Grants::new(lists, &job.weights(sites)),
            workers,
            parts: BTreeMap::new(),
            failed: 0,
            failures: Vec::new(),
            total: pictures(&found.chunks),
            finishing: false,
            noise: HashSet::new(),
            view: View::new(&names),
        }
    }

    async fn start(&mut self, job: &Job, found: &Found, i: usize, sender: mpsc::Sender<(usize, Incoming)>) {
        let worker = &mut self.workers[i];
        let site = match &worker.site {
            Some(site) if !worker.list.is_empty() => site.clone(),
            _ => {
                worker.over = true;
                self.grants.lost(i);
                return;
            }
        };
        let batch_size = worker.batch_size;
        let started = async {
            let root = format!("{}:{}", site.path(&job.image_dir)?, found.canonical);
            let arguments = Arguments::default()
                .word("--granted")
                .word("--events")
                .set("run", &found.run_id)
                .set("index-prefix", site.path(job.prefix.worker(i as u32).path())?)
                .set("worker-id", i.to_string())
                .set("root", root)
                .set("batch-size", batch_size.to_string())
                .set("precision", &job.args.precision)
                .set("decode", &job.args.decode)
                .set("work-dir", site.work(""))
                .set_some("threads", site.spec.threads.map(|n| n.to_string()));
            let log = site.work(&format!("worker_{i}.log"));
            anyhow::Ok(site.host.start(&site.program("worker")?, &arguments.0, &log, i, sender).await?)
        };
        match started.await {
            Ok(channel) => self.workers[i].channel = Some(channel),
            Err(e) => self.lose(i, format!("{e:#}")),
        }
    }

    async fn hear(&mut self, i: usize, message: Incoming) {
        match message {
            Incoming::Event(event) => self.event(i, event),
            Incoming::Noise(line) => {
                // Said once: a library that repeats itself must not bury the rest.
                if self.noise.len() < 100 && self.noise.insert(line.clone()) {
                    self.view.note(&format!("{}: {line}", self.workers[i].name));
                }
            }
            Incoming::Ended(ended) => {
                self.workers[i].channel = None;
                if !self.workers[i].over {
                    let worker = &self.workers[i];
                    let error = match worker.error.clone() {
                        Some(error) => error,
                        None => explain(i, worker, &ended).await,
                    };
                    self.lose(i, error);
                }
            }
        }
    }

    fn event(&mut self, i: usize, event: Event) {
        match event {
            Event::Hello { pid, .. } => {
                self.view.note(&format!("Worker {i} started on {} (PID {pid})", self.workers[i].name));
            }
            Event::Ready { model, load_seconds } => {
                let name = &self.workers[i].name;
                self.view.note(&format!(
                    "Worker {i} on {name}: {} in {} on {}, loaded in {load_seconds:.1} s",
                    model.model_name, model.precision, model.provider
                ));
                self.workers[i].begun = Some(Instant::now());
                self.workers[i].meter.note(Instant::now(), 0);
                let chunks = self.workers[i].list.clone();
                self.tell(i, &Command::List { chunks });
                self.grant(i);
            }
            Event::Progress { done, failed } => {
                let worker = &mut self.workers[i];
                (worker.done, worker.failed) = (done, failed);
                worker.meter.note(Instant::now(), done);
                if let Some(rate) = worker.meter.rate() {
                    self.grants.measured(i, rate);
                }
                self.grant(i);
            }
            Event::Part { chunk_id, name, rows, failed, checksum, .. } => {
                self.grants.finished(i, chunk_id);
                let part = PartLine { name, rows, checksum };
                if self.parts.insert(chunk_id, part).is_none() {
                    self.failed += failed;
                    self.workers[i].embedded += rows;
                }
                self.grant(i);
                if self.grants.left() == 0 && !self.finishing {
                    self.finishing = true;
                    self.tell_all(&Command::Finish);
                }
            }
            Event::Failure { failure } => {
                if self.failures.len() < SHOWN_FAILURES {
                    self.view.note(&format!("Failed: {}: {}: {}", failure.path, failure.kind, failure.detail));
                    self.failures.push(failure);
                }
            }
            Event::Warning { message } => self.view.note(&format!("{}: {message}", self.workers[i].name)),
            Event::Done { .. } => self.workers[i].over = true,
            Event::Error { message } => self.workers[i].error = Some(message),
            Event::Scanning { .. } | Event::Chunk { .. } | Event::Scanned { .. } | Event::Revoked { .. } => {}
        }
    }

    /// Grants a host what it may have now.
    fn grant(&mut self, i: usize) {
        while let Some(chunk) = self.grants.next(i) {
            self.tell(i, &Command::Encode { chunk });
        }
    }

    /// A host cannot go on: the others take its work.
    fn lose(&mut self, i: usize, error: String) {
        self.view.note(&format!("Worker {i} on {} failed: {error}", self.workers[i].name));
        self.workers[i].error = Some(error);
        self.workers[i].over = true;
        self.grants.lost(i);
        for other in 0..self.workers.len() {
            self.grant(other);
        }
        if !self.grants.any_works() {
            self.tell_all(&Command::Stop);
        }
    }

    fn tell(&self, i: usize, command: &Command) {
        if let Some(channel) = &self.workers[i].channel {
            channel.send(command);
        }
    }

    fn tell_all(&self, command: &Command) {
        (0..self.workers.len()).for_each(|i| self.tell(i, command));
    }

    fn kill_all(&self) {
        self.workers.iter().filter_map(|w| w.channel.as_ref()).for_each(Channel::kill);
    }

    fn show(&self) {
        for (i, worker) in self.workers.iter().enumerate() {
            self.view.host(i, worker.done, worker.failed, worker.meter.rate());
        }
        let rate: f64 = self.workers.iter().filter(|w| !w.over).filter_map(|w| w.meter.rate()).sum();
        let done = self.workers.iter().map(|w| w.done).sum();
        let failed = self.workers.iter().map(|w| w.failed).sum();
        self.view.total(done, self.total, failed, rate);
    }

    fn report(self, begun: Instant, interrupted: bool) -> Encoded {
        let hosts = self.workers.iter().filter(|w| !w.list.is_empty()).map(|w| HostReport {
            name: w.name.clone(),
            embedded: w.embedded,
            rate: w.begun.map_or(0.0, |b| w.embedded as f64 / b.elapsed().as_secs_f64().max(1e-9)),
            error: w.error.clone(),
        });
        Encoded {
            hosts: hosts.collect(),
            embedded: self.parts.values().map(|p| p.rows).sum(),
            parts: self.parts.into_values().collect(),
            failed: self.failed,
            failures: self.failures,
            seconds: begun.elapsed().as_secs_f64(),
            interrupted,
        }
    }
}

/// Why a worker ended that did not say it.
async fn explain(i: usize, worker: &Worker, ended: &Ended) -> String {
    use std::os::unix::process::ExitStatusExt;
    let (Ended::Exited(status), Some(site)) = (ended, &worker.site) else { return ended.to_string() };
    let advice = if status.signal() == Some(9) {
        format!(" (killed, probably out of memory: lower batch_size={} in hosts)", worker.batch_size)
    } else {
        String::new()
    };
    let log = site.work(&format!("worker_{i}.log"));
    format!("{ended}{advice}; its log is {log}{}", site.tail(&log).await)
}
