//! When a host that was lost is tried again. Pure: the clock stays outside.

use std::time::{Duration, Instant};

/// The first wait, which doubles with each failure, and the longest.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);

/// A host's failures and what follows.
#[derive(Debug)]
pub struct Again {
    /// Workers that failed since the host last finished a chunk.
    failed: u32,
    /// Attempts to reach it since it was lost.
    attempts: u32,
    due: Option<Instant>,
    being_tried: bool,
    most_failures: u32,
}

impl Again {
    /// A host whose worker may fail so many times without finishing a chunk.
    pub fn new(most_failures: u32) -> Self {
        Self { failed: 0, attempts: 0, due: None, being_tried: false, most_failures }
    }

    /// It finished a chunk, or came nearer to it.
    pub fn worked(&mut self) {
        self.failed = 0;
    }

    /// Its worker failed. True if it is tried again.
    pub fn worker_failed(&mut self, now: Instant) -> bool {
        self.failed += 1;
        self.attempts = self.failed - 1;
        if self.failed >= self.most_failures {
            self.due = None;
            return false;
        }
        self.wait(now);
        true
    }

    /// It is to be tried at once.
    pub fn now(&mut self, now: Instant) {
        if !self.being_tried {
            self.due = Some(now);
        }
    }

    /// It could not be reached, or is not ready: it is tried as long as others work.
    pub fn unreachable(&mut self, now: Instant) {
        self.attempts += 1;
        self.wait(now);
    }

    /// Whether it will be tried.
    pub fn is_waiting(&self) -> bool {
        self.due.is_some()
    }

    /// Whether it is to be tried now; if so, that counts as begun until [`Again::tried`].
    pub fn take_due(&mut self, now: Instant) -> bool {
        let due = self.due.is_some_and(|due| due <= now);
        if due {
            (self.due, self.being_tried) = (None, true);
        }
        due
    }

    /// It was tried.
    pub fn tried(&mut self) {
        self.being_tried = false;
    }

    fn wait(&mut self, now: Instant) {
        let doubled = FIRST.saturating_mul(2u32.saturating_pow(self.attempts));
        self.due = Some(now + doubled.min(LONGEST));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(again: &mut Again, now: Instant) -> u64 {
        (0..100).find(|s| again.take_due(now + Duration::from_secs(*s))).unwrap()
    }

    #[test]
    fn a_worker_that_fails_is_started_again_later_and_later_but_not_for_ever() {
        let (mut again, now) = (Again::new(4), Instant::now());
        let waits: Vec<u64> = (0..3)
            .map(|_| {
                assert!(again.worker_failed(now));
                seconds(&mut again, now)
            })
            .collect();
        assert_eq!(waits, [1, 2, 4]);
        assert!(!again.worker_failed(now) && !again.is_waiting());
        let mut again = Again::new(2);
        assert!(again.worker_failed(now));
        again.worked();
        assert!(again.worker_failed(now), "it finished a chunk in between");
    }

    #[test]
    fn a_host_that_cannot_be_reached_is_tried_each_minute() {
        let (mut again, now) = (Again::new(2), Instant::now());
        let waits: Vec<u64> = (0..8)
            .map(|_| {
                again.unreachable(now);
                seconds(&mut again, now)
            })
            .collect();
        assert_eq!(waits, [2, 4, 8, 16, 32, 60, 60, 60]);
    }
}
