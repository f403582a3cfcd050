//! Chunks that a worker is to embed: all of a list at once, or as a controller grants them over standard input.

use std::collections::VecDeque;
use std::io::BufRead;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use protocol::{Chunk, Command, Event, decode_line};

use crate::report::Report;

/// How a stream of work ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All that was to do is done.
    Finished,
    /// Told to end now.
    Stopped,
    /// The controller is gone: the part in hand is finished, nothing new begun.
    Lost(String),
}

/// A queue of chunks between whoever grants and the pipeline.
#[derive(Default)]
pub struct Work {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Chunk>,
    total: u64,
    ending: Option<Ending>,
    heard: Option<Instant>,
}

impl Work {
    /// All of a worker's own list.
    pub fn list(chunks: Vec<Chunk>) -> Self {
        let total = chunks.iter().map(|c| c.count).sum();
        let state = State { queue: chunks.into(), total, ending: Some(Ending::Finished), heard: None };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// The next chunk to begin; waits for grants. `None` when there will be none.
    pub fn next(&self) -> Option<Chunk> {
        let mut state = self.lock();
        loop {
            if matches!(state.ending, Some(Ending::Stopped | Ending::Lost(_))) {
                return None;
            }
            match state.queue.pop_front() {
                Some(chunk) => return Some(chunk),
                None if state.ending.is_some() => return None,
                None => state = self.changed.wait(state).expect("no holder of this lock panics"),
            }
        }
    }

    /// Pictures granted so far, and not given back.
    pub fn total(&self) -> u64 {
        self.lock().total
    }

    /// How the stream ended, or will when its queue is empty.
    pub fn ending(&self) -> Option<Ending> {
        self.lock().ending.clone()
    }

    /// Whether all is to be dropped at once.
    pub fn stopped(&self) -> bool {
        self.lock().ending == Some(Ending::Stopped)
    }

    /// Ends the stream. What ended it first stays the reason, but for a stop, which always wins.
    pub fn end(&self, ending: Ending) {
        let mut state = self.lock();
        if state.ending.is_none() || ending == Ending::Stopped {
            state.ending = Some(ending);
        }
        self.changed.notify_all();
    }

    /// Follows a controller's commands until its stream ends. `keep_list` is called with the worker's list.
    pub fn follow(&self, input: impl BufRead, report: &Report, keep_list: impl Fn(&[Chunk])) {
        for line in input.split(b'\n') {
            let Ok(line) = line else { break };
            self.lock().heard = Some(Instant::now());
            match decode_line(&String::from_utf8_lossy(&line)) {
                Err(e) => {
                    let message = format!("a command that this version does not know: {e}");
                    report.event(&Event::Warning { message });
                }
                Ok(Command::Ping) => {}
                Ok(Command::List { chunks }) => keep_list(&chunks),
                Ok(Command::Encode { chunk }) => {
                    let mut state = self.lock();
                    state.total += chunk.count;
                    state.queue.push_back(chunk);
                    self.changed.notify_all();
                }
                Ok(Command::Revoke { chunk_id }) => {
                    let given_back = self.give_back(chunk_id);
                    report.event(&Event::Revoked { chunk_id, given_back });
                }
                Ok(Command::Finish) => self.end(Ending::Finished),
                Ok(Command::Stop) => self.end(Ending::Stopped),
            }
        }
        self.end(Ending::Lost("the controller closed the connection".into()));
    }

    /// Ends the stream if a controller has been silent for too long; call it about once a second.
    pub fn watch(&self, limit: Duration) {
        let silent = self.lock().heard.is_some_and(|heard| heard.elapsed() > limit);
        if silent {
            self.end(Ending::Lost(format!("nothing heard from the controller for {} s", limit.as_secs())));
        }
    }

    fn give_back(&self, chunk_id: u64) -> bool {
        let mut state = self.lock();
        let Some(at) = state.queue.iter().position(|c| c.id == chunk_id) else { return false };
        let chunk = state.queue.remove(at);
        state.total -= chunk.map_or(0, |c| c.count);
        true
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::encode_line;

    fn chunk(id: u64) -> Chunk {
        Chunk { id, offset: 0, count: 10, bytes: 0 }
    }

    #[test]
    fn an_unstarted_grant_can_be_revoked_and_a_closed_stream_is_a_lost_controller() {
        let work = Work::default();
        let commands: String = [
            Command::Encode { chunk: chunk(1) },
            Command::Encode { chunk: chunk(2) },
            Command::Revoke { chunk_id: 1 },
            Command::Revoke { chunk_id: 9 },
        ]
        .iter()
        .map(encode_line)
        .collect();
        work.follow(commands.as_bytes(), &Report::new(false, "test".into()), |_| {});
        assert_eq!(work.total(), 10);
        assert!(matches!(work.ending(), Some(Ending::Lost(_))));
        assert_eq!(work.next(), None, "nothing new is begun once the controller is lost");
    }

    #[test]
    fn finish_lets_the_queue_run_dry_and_stop_does_not() {
        let finish = encode_line(&Command::Encode { chunk: chunk(1) }) + &encode_line(&Command::Finish);
        let work = Work::default();
        work.follow(finish.as_bytes(), &Report::new(false, "test".into()), |_| {});
        assert_eq!((work.next(), work.next()), (Some(chunk(1)), None));
        assert_eq!(work.ending(), Some(Ending::Finished));
        work.end(Ending::Stopped);
        assert!(work.stopped());
    }
}
