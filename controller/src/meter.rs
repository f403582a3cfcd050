//! A rate over the last seconds: honest when a machine slows down, calm when it does not.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

const WINDOW: Duration = Duration::from_secs(20);

/// Counts over time.
#[derive(Debug, Default)]
pub struct Meter(VecDeque<(Instant, u64)>);

impl Meter {
    /// Notes a count at a time.
    pub fn note(&mut self, now: Instant, count: u64) {
        self.0.push_back((now, count));
        while self.0.len() > 2 && now.duration_since(self.0[1].0) > WINDOW {
            self.0.pop_front();
        }
    }

    /// Counts a second over the window; `None` until it is known.
    pub fn rate(&self) -> Option<f64> {
        let (first, last) = (self.0.front()?, self.0.back()?);
        let seconds = last.0.duration_since(first.0).as_secs_f64();
        (seconds > 0.5).then(|| (last.1.saturating_sub(first.1)) as f64 / seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_follows_the_last_seconds() {
        let begin = Instant::now();
        let mut meter = Meter::default();
        assert_eq!(meter.rate(), None);
        for second in 0..100u64 {
            let count = if second < 50 { second * 10 } else { 500 + (second - 50) * 2 };
            meter.note(begin + Duration::from_secs(second), count);
        }
        assert!((meter.rate().unwrap() - 2.0).abs() < 1e-9);
    }
}
