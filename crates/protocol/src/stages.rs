//! Where a worker's time goes, and what that says.

use serde::{Deserialize, Serialize};

/// Busy times of a worker's stages, in seconds; of a stage with several threads, the sum over them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stages {
    /// Since the work began.
    pub seconds: f64,
    /// Waiting for the share to give files.
    pub read_seconds: f64,
    /// Decoding and preprocessing.
    pub decode_seconds: f64,
    /// The model.
    pub encode_seconds: f64,
    /// Writing parts.
    pub write_seconds: f64,
    /// The model waited for pictures that were on their way.
    pub wait_seconds: f64,
    /// There was nothing to do.
    pub idle_seconds: f64,
    /// Bytes of pictures read.
    pub bytes_read: u64,
    /// Threads that read.
    pub read_threads: usize,
    /// Threads that decode.
    pub decode_threads: usize,
}

/// What a worker's speed depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// The model, whose arithmetic fills the processors.
    Model,
    /// Decoding pictures.
    Decoding,
    /// The share.
    Share,
}

/// A model that waits for more than this part of the time is not the limit.
const MUCH: f64 = 0.2;

/// Threads that are busy for more than this part of the time have no time left.
const BUSY: f64 = 0.8;

/// Less than this says nothing.
const LEAST_SECONDS: f64 = 1.0;

impl Stages {
    /// Time with something to do.
    fn at_work(&self) -> f64 {
        (self.seconds - self.idle_seconds).max(1e-9)
    }

    /// Bytes a second from the share while there was something to do.
    pub fn bytes_per_second(&self) -> f64 {
        self.bytes_read as f64 / self.at_work()
    }

    /// The part of the time with something to do in which the model computed.
    pub fn model_busy(&self) -> f64 {
        (self.encode_seconds / self.at_work()).min(1.0)
    }

    /// What holds the work up; `None` after too short a time.
    pub fn limit(&self) -> Option<Limit> {
        let decoders = self.decode_seconds / self.at_work() / self.decode_threads.max(1) as f64;
        if self.at_work() < LEAST_SECONDS {
            None
        } else if self.wait_seconds < MUCH * self.at_work() {
            Some(Limit::Model)
        } else if decoders > BUSY {
            Some(Limit::Decoding)
        } else {
            Some(Limit::Share)
        }
    }

    /// The stages in a line: `read 3 %, decode 41 %, encode 97 %, write 1 %, idle 0 %, 38.2 MB/s`. Reading and decoding
    /// are told as parts of what their threads could do.
    pub fn words(&self) -> String {
        let part = |seconds: f64, threads: usize| 100.0 * seconds / self.seconds.max(1e-9) / threads.max(1) as f64;
        format!(
            "read {:.0} %, decode {:.0} %, encode {:.0} %, write {:.0} %, idle {:.0} %, {:.1} MB/s",
            part(self.read_seconds, self.read_threads),
            part(self.decode_seconds, self.decode_threads),
            part(self.encode_seconds, 1),
            part(self.write_seconds, 1),
            part(self.idle_seconds, 1),
            self.bytes_per_second() / 1e6
        )
    }

    /// One sentence about what would make it faster; empty if nothing can be said.
    pub fn advice(&self) -> String {
        let waits = 100.0 * self.wait_seconds / self.at_work();
        match self.limit() {
            None => String::new(),
            Some(Limit::Model) => {
                let busy = 100.0 * self.model_busy();
                format!(
                    "the model takes {busy:.0} % of the time: more or faster machines help, a faster share does not"
                )
            }
            Some(Limit::Decoding) => {
                format!(
                    "decoding holds the model up for {waits:.0} % of the time: --decode fast or more processors help"
                )
            }
            Some(Limit::Share) => format!(
                "the share gives {:.0} MB/s: the model waits {waits:.0} % of the time; more machines will not help",
                self.bytes_per_second() / 1e6
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stages() -> Stages {
        Stages { seconds: 100.0, read_threads: 32, decode_threads: 2, bytes_read: 3_800_000_000, ..Stages::default() }
    }

    #[test]
    fn what_holds_the_work_up_is_told() {
        let model = Stages { encode_seconds: 97.0, wait_seconds: 3.0, decode_seconds: 40.0, ..stages() };
        assert_eq!(model.limit(), Some(Limit::Model));
        assert!(model.advice().starts_with("the model takes 97 % of the time"));
        let decoding = Stages { encode_seconds: 29.0, wait_seconds: 71.0, decode_seconds: 190.0, ..stages() };
        assert_eq!(decoding.limit(), Some(Limit::Decoding));
        let share = Stages { encode_seconds: 29.0, wait_seconds: 71.0, decode_seconds: 20.0, ..stages() };
        assert_eq!(
            share.advice(),
            "the share gives 38 MB/s: the model waits 71 % of the time; more machines will not help"
        );
        assert_eq!(Stages { idle_seconds: 99.5, ..stages() }.limit(), None, "half a second of work says nothing");
    }

    #[test]
    fn the_stages_read_as_parts_of_the_time() {
        let stages =
            Stages { read_seconds: 320.0, decode_seconds: 82.0, encode_seconds: 97.0, write_seconds: 1.0, ..stages() };
        assert_eq!(stages.words(), "read 10 %, decode 41 %, encode 97 %, write 1 %, idle 0 %, 38.0 MB/s");
    }
}
