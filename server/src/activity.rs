//! Knows when a request was last in hand.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

/// The requests in hand, and when the last one ended.
#[derive(Debug)]
pub struct Activity(Mutex<(usize, Instant)>);

/// A request in hand, until dropped.
pub struct Busy<'a>(&'a Activity);

impl Activity {
    /// Nothing asked yet.
    pub fn new() -> Self {
        Self(Mutex::new((0, Instant::now())))
    }

    /// Counts a request for as long as the answer lives.
    pub fn begin(&self) -> Busy<'_> {
        self.0.lock().expect("nothing panics in it").0 += 1;
        Busy(self)
    }

    /// Returns once no request was in hand for `idle`.
    pub async fn wait_until_idle(&self, idle: Duration) {
        loop {
            let (busy, since) = *self.0.lock().expect("nothing panics in it");
            let now = Instant::now();
            let until = if busy > 0 { now + idle } else { since + idle };
            if until <= now {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        let mut state = self.0.0.lock().expect("nothing panics in it");
        *state = (state.0 - 1, Instant::now());
    }
}
