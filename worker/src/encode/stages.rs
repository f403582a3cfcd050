//! Where the time goes: each stage's busy time, while it runs.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use protocol::Stages;

/// What a thread of the pipeline is busy with.
#[derive(Clone, Copy, Debug)]
pub enum Stage {
    /// Waiting for the share.
    Read,
    /// Decoding, resizing, normalising.
    Decode,
    /// The model.
    Encode,
    /// Writing parts.
    Write,
    /// The model waits for pictures that are on their way.
    Wait,
    /// There is nothing to do.
    Idle,
}

/// Sums of the times of all stages, over all their threads.
pub struct Clock {
    begun: Instant,
    nanos: [AtomicU64; 6],
    pub bytes_read: AtomicU64,
}

impl Default for Clock {
    fn default() -> Self {
        Self { begun: Instant::now(), nanos: Default::default(), bytes_read: AtomicU64::new(0) }
    }
}

impl Clock {
    /// Does something and adds how long it took.
    pub fn time<T>(&self, stage: Stage, work: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let done = work();
        self.add(stage, begun.elapsed());
        done
    }

    /// Adds a time.
    pub fn add(&self, stage: Stage, time: Duration) {
        self.nanos[stage as usize].fetch_add(time.as_nanos() as u64, SeqCst);
    }

    /// What it comes to so far.
    pub fn read(&self, read_threads: usize, decode_threads: usize) -> Stages {
        let seconds = |stage: Stage| self.nanos[stage as usize].load(SeqCst) as f64 / 1e9;
        Stages {
            seconds: self.begun.elapsed().as_secs_f64(),
            read_seconds: seconds(Stage::Read),
            decode_seconds: seconds(Stage::Decode),
            encode_seconds: seconds(Stage::Encode),
            write_seconds: seconds(Stage::Write),
            wait_seconds: seconds(Stage::Wait),
            idle_seconds: seconds(Stage::Idle),
            bytes_read: self.bytes_read.load(SeqCst),
            read_threads,
            decode_threads,
        }
    }
}
