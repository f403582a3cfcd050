//! Programs that a controller starts and attends: it holds their standard input open and writes to it now and then. When
//! that ends, nobody is left who could want the result.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use protocol::{LONGEST_COMMAND, lines};

use crate::{Reason, Stop};

/// How often a controller gives a sign of life.
pub const PING: Duration = Duration::from_secs(10);

/// A controller that has given none for so long is gone, although its connection may seem to stand.
pub const SILENCE: Duration = Duration::from_secs(60);

/// Follows the controller on standard input, beside the program's work: `heard` gets each line. Its end, and its silence
/// for longer than [`SILENCE`], are told to `stop`.
pub fn attended(stop: &Stop, mut heard: impl FnMut(&[u8]) + Send + 'static) -> io::Result<()> {
    let last = Arc::new(Mutex::new(Instant::now()));
    let (watched, silent) = (last.clone(), stop.clone());
    thread::Builder::new().name("silence".into()).spawn(move || {
        loop {
            let heard = *watched.lock().unwrap_or_else(PoisonError::into_inner);
            let left = SILENCE.saturating_sub(heard.elapsed());
            if left.is_zero() {
                return silent.now(gone(&format!("nothing heard from it for {} s", SILENCE.as_secs())));
            }
            if silent.sleep(left) {
                return;
            }
        }
    })?;
    let ended = stop.clone();
    // Reading cannot be interrupted, so nobody waits for this thread: it ends with the stream or with the process.
    thread::Builder::new().name("controller".into()).spawn(move || {
        for line in lines(io::stdin().lock(), LONGEST_COMMAND).map_while(Result::ok) {
            *last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
            heard(&line);
        }
        ended.now(gone("it closed the connection"));
    })?;
    Ok(())
}

fn gone(why: &str) -> Reason {
    Reason::Fault(format!("the controller is gone: {why}"))
}
