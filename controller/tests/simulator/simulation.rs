//! Machines in virtual time, driven by the plan and the grants that a real run is driven by.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use controller::grants::Grants;
use controller::plan::plan;
use protocol::Chunk;

/// Seconds that a worker takes to load its model.
pub const LOADING: f64 = 10.0;
/// Seconds from a grant until the chunk's first pictures can be embedded, if nothing else is to do.
const REACHING: f64 = 0.2;
/// Seconds until the controller knows that a machine is lost.
const NOTICING: f64 = 60.0;
/// Seconds until a lost machine is back.
const OUTAGE: f64 = 600.0;

/// A machine as it is, and as the hosts file says.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// Pictures a second.
    pub rate: f64,
    pub weight: f64,
}

/// How a run went.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// From the first worker's start to the last chunk.
    pub seconds: f64,
    /// What the machines that were there could have done in that time, in pictures.
    pub possible: f64,
    pub pictures: u64,
    pub losses: u64,
}

impl Outcome {
    /// What was done of what was possible.
    pub fn efficiency(&self) -> f64 {
        self.pictures as f64 / self.possible
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A worker has loaded its model.
    Ready,
    /// The chunk in hand is done, if it is still this one.
    Done(u64),
    /// A worker says how far it is.
    Tick,
    Lost,
    Noticed,
}

/// Work in hand.
#[derive(Clone, Copy)]
struct Hand {
    chunk: Chunk,
    since: f64,
    number: u64,
}

struct Worker {
    machine: Machine,
    /// What is granted, and from when it can be begun.
    queue: VecDeque<(f64, Chunk)>,
    hand: Option<Hand>,
    ready: bool,
    /// Since when it is there.
    there: Option<f64>,
}

/// Numbers by chance, the same in every run of a seed.
struct Numbers(u64);

impl Numbers {
    /// Between 0 and 1.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }
}

/// Time in microseconds, so that it has an order.
type Queue = BinaryHeap<Reverse<(u64, usize, Event)>>;

struct Simulation {
    now: f64,
    events: Queue,
    grants: Grants,
    workers: Vec<Worker>,
    numbers: Numbers,
    losses_an_hour: f64,
    number: u64,
    outcome: Outcome,
}

/// Runs chunks on machines of which a share is lost each hour, for ten minutes each time.
pub fn simulate(chunks: &[Chunk], machines: &[Machine], losses_an_hour: f64, seed: u64) -> Outcome {
    let weights: Vec<f64> = machines.iter().map(|m| m.weight).collect();
    let worker =
        |&machine: &Machine| Worker { machine, queue: VecDeque::new(), hand: None, ready: false, there: Some(0.0) };
    let mut simulation = Simulation {
        now: 0.0,
        events: BinaryHeap::new(),
        grants: Grants::new(plan(chunks, &weights), &weights),
        workers: machines.iter().map(worker).collect(),
        numbers: Numbers(seed),
        losses_an_hour,
        number: 0,
        outcome: Outcome { seconds: 0.0, possible: 0.0, pictures: chunks.iter().map(|c| c.count).sum(), losses: 0 },
    };
    for i in 0..machines.len() {
        simulation.begin(i);
    }
    simulation.run()
}

impl Simulation {
    fn run(mut self) -> Outcome {
        while self.grants.left() > 0 {
            let Reverse((micros, i, event)) = self.events.pop().expect("machines always come back");
            self.now = micros as f64 / 1e6;
            match event {
                Event::Ready => {
                    if self.workers[i].there.is_none() {
                        self.workers[i].there = Some(self.now - LOADING);
                        self.grants.joined(i);
                        self.loss(i);
                    }
                    self.workers[i].ready = true;
                    self.at(1.0, i, Event::Tick);
                    self.grant(i);
                }
                Event::Done(number) if self.workers[i].hand.is_some_and(|hand| hand.number == number) => self.done(i),
                Event::Done(_) => {}
                Event::Tick if self.workers[i].ready => {
                    let worker = &self.workers[i];
                    let in_hand =
                        worker.hand.map_or(0.0, |hand| (self.now - hand.since).max(0.0) * worker.machine.rate);
                    self.grants.measured(i, worker.machine.rate, in_hand as u64);
                    self.grant(i);
                    self.at(1.0, i, Event::Tick);
                }
                Event::Tick => {}
                Event::Lost => {
                    let worker = &mut self.workers[i];
                    self.outcome.losses += 1;
                    let there = worker.there.take().map_or(0.0, |since| self.now - since);
                    self.outcome.possible += there * worker.machine.rate;
                    (worker.hand, worker.ready) = (None, false);
                    worker.queue.clear();
                    self.at(NOTICING, i, Event::Noticed);
                    self.at(OUTAGE, i, Event::Ready);
                }
                Event::Noticed => {
                    self.grants.lost(i);
                    (0..self.workers.len()).for_each(|other| self.grant(other));
                }
            }
        }
        let rest = |w: &Worker| w.there.map_or(0.0, |since| (self.now - since) * w.machine.rate);
        self.outcome.possible += self.workers.iter().map(rest).sum::<f64>();
        Outcome { seconds: self.now, ..self.outcome }
    }

    fn begin(&mut self, i: usize) {
        self.at(LOADING, i, Event::Ready);
        self.loss(i);
    }

    /// When the machine will be lost next.
    fn loss(&mut self, i: usize) {
        if self.losses_an_hour > 0.0 {
            let hours = -self.numbers.next().ln() / self.losses_an_hour;
            self.at(hours * 3600.0, i, Event::Lost);
        }
    }

    fn at(&mut self, seconds: f64, i: usize, event: Event) {
        self.events.push(Reverse((((self.now + seconds) * 1e6) as u64, i, event)));
    }

    fn grant(&mut self, i: usize) {
        if !self.workers[i].ready {
            return;
        }
        while let Some(grant) = self.grants.next(i) {
            self.workers[i].queue.push_back((self.now + REACHING, grant.chunk));
        }
        self.go_on(i);
    }

    /// Begins the next chunk if none is in hand.
    fn go_on(&mut self, i: usize) {
        let worker = &mut self.workers[i];
        if worker.hand.is_none()
            && let Some((reached, chunk)) = worker.queue.pop_front()
        {
            self.number += 1;
            let since = reached.max(self.now);
            worker.hand = Some(Hand { chunk, since, number: self.number });
            let seconds = since - self.now + chunk.count as f64 / worker.machine.rate;
            self.at(seconds, i, Event::Done(self.number));
        }
    }

    fn done(&mut self, i: usize) {
        let Some(hand) = self.workers[i].hand.take() else { return };
        for other in self.grants.finished(hand.chunk.id, i) {
            let worker = &mut self.workers[other];
            worker.queue.retain(|(_, chunk)| chunk.id != hand.chunk.id);
            if worker.hand.is_some_and(|other| other.chunk.id == hand.chunk.id) {
                worker.hand = None;
            }
            self.grant(other);
        }
        self.grant(i);
    }
}
