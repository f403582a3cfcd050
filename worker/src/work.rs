//! Chunks that a worker is to embed: all of a list at once, or as a controller grants them over standard input.

use std::collections::{HashSet, VecDeque};
use std::io::BufRead;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use protocol::{Chunk, Command, Event, LONGEST_COMMAND, decode_line, lines};

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

/// A chunk to embed, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    pub chunk: Chunk,
    /// Picture by picture.
    pub careful: bool,
    /// Rows of the chunk that are failures without being tried.
    pub blamed: Vec<usize>,
}

/// A queue of chunks between whoever grants and the pipeline.
#[derive(Default)]
pub struct Work {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Grant>,
    /// Begun chunks that somebody else has finished.
    dropped: HashSet<u64>,
    total: u64,
    ending: Option<Ending>,
    heard: Option<Instant>,
}

impl Work {
    /// All of a worker's own list.
    pub fn list(chunks: Vec<Chunk>) -> Self {
        let total = chunks.iter().map(|c| c.count).sum();
        let queue = chunks.into_iter().map(|chunk| Grant { chunk, careful: false, blamed: Vec::new() }).collect();
        let state = State { queue, total, ending: Some(Ending::Finished), ..Default::default() };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// The next chunk to begin; waits for grants. `None` when there will be none.
    pub fn next(&self) -> Option<Grant> {
        let mut state = self.lock();
        loop {
            if matches!(state.ending, Some(Ending::Stopped | Ending::Lost(_))) {
                return None;
            }
            match state.queue.pop_front() {
                Some(grant) => return Some(grant),
                None if state.ending.is_some() => return None,
                None => state = self.changed.wait(state).expect("no holder of this lock panics"),
            }
        }
    }

    /// Pictures granted so far, but for those that were dropped before they were begun.
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

    /// Waits until all is to be dropped at once, or the controller is lost; which of them.
    pub fn wait_until_over(&self) -> Ending {
        let mut state = self.lock();
        loop {
            match &state.ending {
                Some(over @ (Ending::Stopped | Ending::Lost(_))) => return over.clone(),
                _ => state = self.changed.wait(state).expect("no holder of this lock panics"),
            }
        }
    }

    /// Follows a controller's commands until its stream ends. `keep_list` is called with the worker's list.
    pub fn follow(&self, input: impl BufRead, report: &Report, keep_list: impl Fn(&[Chunk])) {
        let mut end = "the controller closed the connection".to_owned();
        for line in lines(input, LONGEST_COMMAND) {
            let line = match line {
                Ok(line) => line,
                Err(e) => {
                    end = format!("the controller cannot be understood: {e}");
                    break;
                }
            };
            self.lock().heard = Some(Instant::now());
            match decode_line(&String::from_utf8_lossy(&line)) {
                Err(e) => {
                    let message = format!("a command that this version does not know: {e}");
                    report.event(&Event::Warning { message });
                }
                Ok(Command::Ping) => {}
                Ok(Command::List { chunks }) => keep_list(&chunks),
                Ok(Command::Encode { chunk, careful, blamed }) => {
                    let mut state = self.lock();
                    state.total += chunk.count;
                    state.queue.push_back(Grant { chunk, careful, blamed });
                    self.changed.notify_all();
                }
                Ok(Command::Drop { chunk_id }) => self.forget(chunk_id),
                Ok(Command::Finish) => self.end(Ending::Finished),
                Ok(Command::Stop) => self.end(Ending::Stopped),
            }
        }
        self.end(Ending::Lost(end));
    }

    /// Ends the stream if a controller has been silent for too long; call it about once a second.
    pub fn watch(&self, limit: Duration) {
        let silent = self.lock().heard.is_some_and(|heard| heard.elapsed() > limit);
        if silent {
            self.end(Ending::Lost(format!("nothing heard from the controller for {} s", limit.as_secs())));
        }
    }

    /// Whether a begun chunk is to be forgotten.
    pub fn dropped(&self, chunk_id: u64) -> bool {
        self.lock().dropped.contains(&chunk_id)
    }

    fn forget(&self, chunk_id: u64) {
        let mut state = self.lock();
        let queued = state.queue.iter().position(|grant| grant.chunk.id == chunk_id);
        match queued.and_then(|at| state.queue.remove(at)) {
            Some(grant) => state.total -= grant.chunk.count,
            None => drop(state.dropped.insert(chunk_id)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Read, repeat};

    use damage::{COPIES, Numbers, contained};
    use protocol::encode_line;

    use super::*;

    fn chunk(id: u64) -> Chunk {
        Chunk { id, offset: 0, count: 10, bytes: 0 }
    }

    fn encode(id: u64) -> Command {
        Command::Encode { chunk: chunk(id), careful: false, blamed: Vec::new() }
    }

    #[test]
    fn a_grant_can_be_dropped_and_a_closed_stream_is_a_lost_controller() {
        let work = Work::default();
        let commands: String = [encode(1), encode(2), Command::Drop { chunk_id: 1 }, Command::Drop { chunk_id: 9 }]
            .iter()
            .map(encode_line)
            .collect();
        work.follow(commands.as_bytes(), &Report::new(false, "test".into()), |_| {});
        assert_eq!(work.total(), 10);
        assert!(work.dropped(9) && !work.dropped(1));
        assert!(matches!(work.ending(), Some(Ending::Lost(_))));
        assert_eq!(work.next(), None, "nothing new is begun once the controller is lost");
    }

    #[test]
    fn finish_lets_the_queue_run_dry_and_stop_does_not() {
        let finish = encode_line(&encode(1)) + &encode_line(&Command::Finish);
        let work = Work::default();
        work.follow(finish.as_bytes(), &Report::new(false, "test".into()), |_| {});
        assert_eq!((work.next().map(|grant| grant.chunk), work.next()), (Some(chunk(1)), None));
        assert_eq!(work.ending(), Some(Ending::Finished));
        work.end(Ending::Stopped);
        assert!(work.stopped());
    }

    #[test]
    fn damaged_grants_are_told_and_the_others_taken() {
        contained(damaged_grants_are_told_and_the_others_taken, || {
            let commands = [
                Command::List { chunks: vec![chunk(1), chunk(2)] },
                encode(1),
                encode(2),
                Command::Drop { chunk_id: 1 },
                Command::Ping,
            ];
            let whole: String = commands.iter().map(encode_line).collect();
            let mut numbers = Numbers::new(1);
            for _ in 0..COPIES {
                let work = Work::default();
                let copy = [damage::json_lines(&whole, &mut numbers), encode_line(&Command::Finish).into()].concat();
                work.follow(&copy[..], &Report::new(false, "test".into()), |chunks| assert!(chunks.len() <= 4));
                let granted: u64 = std::iter::from_fn(|| work.next()).map(|grant| grant.chunk.count).sum();
                assert!(granted <= work.total());
            }
            let work = Work::default();
            let endless = BufReader::new(repeat(b' ').take(16 << 30));
            work.follow(endless, &Report::new(false, "test".into()), |_| {});
            assert!(matches!(work.ending(), Some(Ending::Lost(why)) if why.contains("cannot be understood")));
        });
    }
}
