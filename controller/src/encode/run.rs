//! A run of workers: what each event means for the work, and who does what next.

use std::collections::{BTreeMap, HashSet};
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use fleet::{Channel, Ended, HostSpec, Incoming};
use protocol::{Chunk, Command, Event, Exit, Failure};
use tokio::sync::mpsc;

use super::worker::Worker;
use super::{Encoded, Told, Tried};
use crate::grants::Grants;
use crate::job::Job;
use crate::merge::PartLine;
use crate::scan::{Found, SHOWN_FAILURES};
use crate::site::Site;
use crate::view::View;

/// Workers that have not ended so long after they were told to are not waited for.
const GIVE_UP: Duration = Duration::from_secs(8);

pub struct Run<'a> {
    job: &'a Job,
    found: &'a Found,
    workers: Vec<Worker>,
    grants: Grants,
    parts: BTreeMap<u64, PartLine>,
    /// Pictures of each chunk that workers died over, by row.
    blamed: BTreeMap<u64, Vec<usize>>,
    failed: u64,
    failures: Vec<Failure>,
    total: u64,
    /// Since when all is done, and workers only write what they have.
    finishing: Option<Instant>,
    /// The person wants an end.
    stopping: Option<Instant>,
    /// Since when no host works.
    deserted: Option<Instant>,
    starts: usize,
    noise: HashSet<String>,
    pub view: View,
}

impl<'a> Run<'a> {
    /// All lists unstarted.
    pub fn new(job: &'a Job, sites: &[Result<Site, String>], found: &'a Found, lists: Vec<Vec<Chunk>>) -> Self {
        let hosts = job.hosts.iter().zip(sites).zip(&lists);
        let workers: Vec<Worker> =
            hosts.map(|((host, site), list)| Worker::new(job, host.clone(), site.clone(), list.clone())).collect();
        let pictures = |list: &Vec<Chunk>| list.iter().map(|c| c.count).sum::<u64>();
        let names: Vec<(String, u64)> = workers.iter().map(|w| (w.spec.name.clone(), pictures(&w.list))).collect();
        Self {
            grants: Grants::new(lists, &job.weights(sites)),
            total: pictures(&found.chunks),
            view: View::new(&names),
            job,
            found,
            workers,
            parts: BTreeMap::new(),
            blamed: BTreeMap::new(),
            failed: 0,
            failures: Vec::new(),
            finishing: None,
            stopping: None,
            deserted: None,
            starts: 0,
            noise: HashSet::new(),
        }
    }

    /// Starts a worker on each host that has a list; the others are waited for.
    pub fn start_all(&mut self, sender: &mpsc::Sender<Told>) {
        for i in 0..self.workers.len() {
            let worker = &mut self.workers[i];
            if worker.site.is_none() {
                worker.again.unreachable(Instant::now());
                self.grants.lost(i);
            } else if worker.list.is_empty() {
                self.grants.lost(i);
            } else {
                self.start(i, sender);
            }
        }
    }

    /// A machine of the hosts file as it is by now: a new one joins, one that is away is tried as it stands there.
    pub fn join(&mut self, hosts: Vec<HostSpec>) {
        for spec in hosts {
            match self.workers.iter_mut().find(|worker| worker.spec.name == spec.name) {
                Some(worker) if worker.channel.is_none() => worker.spec = spec,
                Some(_) => {}
                None => {
                    self.view.note(&format!("{} is new in the hosts file", spec.name));
                    self.view.add(&spec.name);
                    self.grants.add(spec.weight);
                    self.grants.lost(self.workers.len());
                    let mut worker = Worker::new(self.job, spec, Err("it was not reached yet".into()), Vec::new());
                    worker.again.unreachable(Instant::now());
                    self.workers.push(worker);
                }
            }
        }
    }

    /// Hosts that are to be connected to now.
    pub fn due(&mut self) -> Vec<(usize, HostSpec)> {
        if self.stopping.is_some() || self.grants.left() == 0 {
            return Vec::new();
        }
        let now = Instant::now();
        if self.grants.orphaned() {
            let idle = |w: &&mut Worker| w.site.is_some() && w.error.is_none() && w.starts == 0;
            self.workers.iter_mut().filter(idle).for_each(|w| w.again.now(now));
        }
        let workers = self.workers.iter_mut().enumerate();
        workers.filter_map(|(i, w)| w.again.take_due(now).then(|| (i, w.spec.clone()))).collect()
    }

    /// A lost host was tried again.
    pub fn tried(&mut self, (i, site): Tried, sender: &mpsc::Sender<Told>) {
        let worker = &mut self.workers[i];
        worker.again.tried();
        match site {
            Ok(site) => {
                worker.site = Some(site);
                self.start(i, sender);
            }
            Err(error) => {
                if worker.error.as_ref() != Some(&error) {
                    self.view.note(&format!("{} is tried again: {error}", worker.spec.name));
                    worker.error = Some(error);
                }
                worker.again.unreachable(Instant::now());
            }
        }
    }

    fn start(&mut self, i: usize, sender: &mpsc::Sender<Told>) {
        self.starts += 1;
        self.grants.joined(i);
        match self.workers[i].begin(self.job, self.found, i, self.starts, sender) {
            Ok(()) => self.deserted = None,
            Err(e) => self.lose(i, format!("{e:#}"), false),
        }
    }

    /// Whether there is anything to wait for.
    pub fn goes_on(&mut self, trying: usize) -> bool {
        // A host that hangs does not say that its worker has ended; that finds its standard input closed when it wakes.
        if self.stopping.is_some_and(|since| since.elapsed() > GIVE_UP) {
            return false;
        }
        if self.workers.iter().any(|w| w.channel.is_some()) {
            return true;
        }
        if self.stopping.is_some() || self.grants.left() == 0 {
            return false;
        }
        if trying == 0 && !self.workers.iter().any(|w| w.again.is_waiting()) {
            return false;
        }
        let patience = self.job.args.limits.patience;
        let since = *self.deserted.get_or_insert_with(|| {
            self.view.note(&format!("No host works; waiting {patience} s for one to come back (--patience)"));
            Instant::now()
        });
        since.elapsed() < Duration::from_secs(patience)
    }

    /// Gives up workers that say nothing any more, or get no further. One that wakes later finds its standard input closed.
    pub fn end_the_silent(&mut self) {
        let limits = self.job.args.limits;
        for i in 0..self.workers.len() {
            let worker = &self.workers[i];
            let silent = |limit: u64| worker.heard.elapsed() > Duration::from_secs(limit);
            let error = match (&worker.channel, worker.ready) {
                (None, _) => continue,
                (_, false) if silent(limits.loading) => {
                    format!("it has said nothing for {} s while loading; is it frozen?", limits.loading)
                }
                (_, true) if silent(limits.silence) => {
                    format!("it has said nothing for {} s while working; is it frozen?", limits.silence)
                }
                _ if self.finishing.is_some_and(|since| since.elapsed() > Duration::from_secs(limits.silence)) => {
                    format!("it does not end within {} s", limits.silence)
                }
                (_, true) if worker.moved.elapsed() > Duration::from_secs(limits.stall) => {
                    format!("it has got no further for {} s; does its share hang?", limits.stall)
                }
                _ => continue,
            };
            if let Some(channel) = self.workers[i].channel.take() {
                channel.kill();
            }
            self.ended(i, error, None);
        }
    }

    /// What a worker of any start says; of one that was given up nothing counts.
    pub async fn hear(&mut self, start: usize, message: Incoming) {
        let Some(i) = self.workers.iter().position(|w| w.start == Some(start) && w.channel.is_some()) else { return };
        self.workers[i].heard = Instant::now();
        match message {
            Incoming::Event(event) => self.event(i, event),
            Incoming::Noise(line) => {
                // Said once: a library that repeats itself must not bury the rest.
                if self.noise.len() < 100 && self.noise.insert(line.clone()) {
                    self.view.note(&format!("{}: {line}", self.workers[i].spec.name));
                }
            }
            Incoming::Ended(ended) => {
                self.workers[i].channel = None;
                let worker = &self.workers[i];
                let error = match worker.error.clone() {
                    Some(error) => error,
                    None if worker.over => String::new(),
                    None => worker.explain(self.job, i, &ended).await,
                };
                self.ended(i, error, Some(&ended));
            }
        }
    }

    /// A worker is gone. That is a loss, unless all was done.
    fn ended(&mut self, i: usize, error: String, how: Option<&Ended>) {
        let worker = &mut self.workers[i];
        if worker.over || self.stopping.is_some() {
            return;
        }
        if self.grants.left() == 0 {
            worker.over = true;
            let name = &worker.spec.name;
            self.view.note(&format!("Worker {i} on {name} failed: {error}; nothing is lost: all pictures are done"));
            worker.error = Some(error);
            return;
        }
        let status = how.and_then(Ended::status);
        let signal = status.and_then(|status| status.signal());
        // It said why, as that no model is there, before it was ready to work: it would say it again. So would one that
        // does not understand us.
        let hopeless = (worker.error.is_some() && !worker.ready)
            || status.and_then(|s| s.code()) == Some(i32::from(Exit::Usage.code()));
        if let Some(size) = worker.batch_size.filter(|&n| n > 1 && signal == Some(9)) {
            let (name, size) = (&worker.spec.name, size / 2);
            worker.batch_size = Some(size);
            self.view.note(&format!("Batches on {name} are of {size} pictures from now on"));
        }
        if signal.is_some() {
            let trying = worker.trying.take();
            self.grants.died(i, trying.map(|(chunk_id, _)| chunk_id));
            if let Some((chunk_id, row)) = trying {
                self.blamed.entry(chunk_id).or_default().push(row);
                worker.again.worked(); // one picture fewer to fail over
            }
        }
        self.lose(i, error, !hopeless);
    }

    fn event(&mut self, i: usize, event: Event) {
        let worker = &mut self.workers[i];
        match event {
            Event::Hello { pid, .. } => {
                self.view.note(&format!("Worker {i} started on {} (PID {pid})", worker.spec.name));
            }
            Event::Ready { model, threads, batch_size, load_seconds } => {
                worker.batch_size.get_or_insert(batch_size);
                self.view.note(&format!(
                    "Worker {i} on {}: {}, {} {}, {threads} threads, loaded in {load_seconds:.1} s",
                    worker.spec.name, model.model_name, model.provider, model.precision
                ));
                let now = Instant::now();
                worker.begun.get_or_insert(now);
                (worker.ready, worker.moved) = (true, now);
                worker.meter.note(now, 0);
                let chunks = worker.list.clone();
                self.tell(i, &Command::List { chunks });
                self.grant(i);
                if self.finishing.is_some() {
                    self.tell(i, &Command::Finish);
                }
            }
            Event::Progress { done, failed, stages } => {
                worker.progress(done, failed, stages, self.grants.busy(i));
                if let Some(rate) = worker.rate() {
                    self.grants.measured(i, rate, worker.in_hand());
                }
                self.grant(i);
            }
            Event::Trying { chunk_id, row } => worker.trying = Some((chunk_id, row)),
            Event::Part { chunk_id, name, rows, failed, checksum, .. } => {
                worker.finished += rows + failed;
                worker.moved = Instant::now();
                worker.again.worked();
                let part = PartLine { name, rows, checksum };
                if self.parts.insert(chunk_id, part).is_none() {
                    self.failed += failed;
                    self.workers[i].embedded += rows;
                    self.workers[i].blamed += failed;
                }
                for other in self.grants.finished(chunk_id, i) {
                    self.tell(other, &Command::Drop { chunk_id });
                }
                self.grant(i);
                if self.grants.left() == 0 && self.finishing.is_none() {
                    self.finish();
                }
            }
            Event::Failure { failure } => {
                if self.failures.len() < SHOWN_FAILURES {
                    self.view.note(&format!("Failed: {}: {}: {}", failure.path, failure.kind, failure.detail));
                    self.failures.push(failure);
                }
            }
            Event::Warning { message } if !self.job.is_news(&message) => {}
            Event::Warning { message } => self.view.note(&format!("{}: {message}", worker.spec.name)),
            Event::Done { .. } => worker.over = true,
            Event::Error { message } => worker.error = Some(message),
            Event::Scanning { .. } | Event::Chunk { .. } | Event::Scanned { .. } => {}
        }
    }

    /// All is done. Nobody waits for a worker that is still loading.
    fn finish(&mut self) {
        self.finishing = Some(Instant::now());
        self.tell_all(&Command::Finish);
        for worker in self.workers.iter_mut().filter(|w| !w.ready) {
            worker.over = true;
            worker.channel.iter().for_each(Channel::kill);
        }
    }

    /// Grants a host what it may have now.
    fn grant(&mut self, i: usize) {
        if !self.workers[i].ready || self.workers[i].channel.is_none() {
            return;
        }
        while let Some(grant) = self.grants.next(i) {
            let blamed = self.blamed.get(&grant.chunk.id).cloned().unwrap_or_default();
            self.tell(i, &Command::Encode { chunk: grant.chunk, careful: grant.careful, blamed });
        }
    }

    /// A host cannot go on: the others take its work.
    fn lose(&mut self, i: usize, error: String, may_return: bool) {
        let worker = &mut self.workers[i];
        worker.start = None;
        let again = may_return && worker.again.worker_failed(Instant::now());
        let then = if again { "" } else { "; it is not started again in this run" };
        self.view.note(&format!("Worker {i} on {} failed: {error}{then}", worker.spec.name));
        worker.error = Some(error);
        self.grants.lost(i);
        (0..self.workers.len()).for_each(|other| self.grant(other));
    }

    fn tell(&self, i: usize, command: &Command) {
        if let Some(channel) = &self.workers[i].channel {
            channel.send(command);
        }
    }

    /// Tells every worker.
    pub fn tell_all(&self, command: &Command) {
        (0..self.workers.len()).for_each(|i| self.tell(i, command));
    }

    /// Tells every worker to end now. Nothing that ends from here on is a loss.
    pub fn stop(&mut self) {
        self.stopping = Some(Instant::now());
        self.tell_all(&Command::Stop);
    }

    /// Since when the workers have been told to end, if they have.
    pub fn stopping(&self) -> Option<Instant> {
        self.stopping
    }

    /// Ends every worker at once.
    pub fn kill_all(&self) {
        self.workers.iter().filter_map(|w| w.channel.as_ref()).for_each(Channel::kill);
    }

    /// Shows how far all are, and lets those without work look for some.
    pub fn show(&mut self) {
        for i in 0..self.workers.len() {
            let worker = &self.workers[i];
            let done = worker.embedded + worker.blamed + worker.in_hand();
            self.view.host(i, done, worker.failed, worker.meter.rate(), worker.stages.limit());
            if worker.rate() == Some(0.0) {
                self.grants.measured(i, 0.0, worker.in_hand());
            }
        }
        let works = |w: &&Worker| w.channel.is_some() && !w.over;
        let rate: f64 = self.workers.iter().filter(works).filter_map(|w| w.meter.rate()).sum();
        let in_hand: u64 = self.workers.iter().map(Worker::in_hand).sum();
        let done = (self.total - self.grants.left() + in_hand).min(self.total);
        let failed = self.failed;
        self.view.total(done, self.total, failed, rate);
    }

    /// Connections to hosts as they are now, in their order.
    pub fn sites(&self) -> impl Iterator<Item = Option<Site>> + '_ {
        self.workers.iter().map(|worker| worker.site.clone())
    }

    /// What it all comes to.
    pub fn report(self, begun: Instant) -> Encoded {
        let took_part = |w: &&Worker| !w.list.is_empty() || w.embedded > 0 || w.error.is_some();
        Encoded {
            hosts: self.workers.iter().filter(took_part).map(Worker::report).collect(),
            embedded: self.parts.values().map(|p| p.rows).sum(),
            parts: self.parts.into_values().collect(),
            failed: self.failed,
            failures: self.failures,
            seconds: begun.elapsed().as_secs_f64(),
            interrupted: self.stopping.is_some(),
        }
    }
}
