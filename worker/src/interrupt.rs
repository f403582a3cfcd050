//! Work that ends before it is done: a person presses Ctrl-C, or the controller of it is gone.

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use protocol::{Command, decode_line, note};
use stop::{Hangup, Reason, Stop};

use crate::work::{Ending, Work};

/// How soon a wish is noticed by who waits for something else.
const LOOK: Duration = Duration::from_millis(100);

/// An end was wished before the work was done.
#[derive(Debug)]
pub struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted; what is not finished leaves nothing behind")
    }
}

impl std::error::Error for Interrupted {}

/// Takes the signals of a person who started this program by hand.
pub fn by_hand(what: &str) -> Result<Stop> {
    let stop = Stop::default();
    stop.waits_for(what);
    stop::on_signals(&stop, Hangup::Asks, note).context("cannot take signals")?;
    Ok(stop)
}

/// Follows a controller that only wants the result: when it is gone this process ends, at the latest after `limit`.
pub fn attended(limit: Duration, heard: impl FnMut(&[u8]) + Send + 'static) -> Result<Stop> {
    let stop = Stop::default();
    stop::attended(&stop, heard)
        .and_then(|()| stop::end_within(limit, &stop))
        .context("cannot follow the controller")?;
    Ok(stop)
}

/// The same for a scan. What is given besides tells once the controller has taken what was found.
pub fn scanning(limit: Duration) -> Result<(Stop, Option<Receiver<()>>)> {
    let (take, taken) = channel();
    let told = Stop::default();
    let by_command = told.clone();
    let heard = move |line: &[u8]| match decode_line(&String::from_utf8_lossy(line)) {
        Ok(Command::Stop) => by_command.now(Reason::Asked),
        // That nobody waits for it any more is fine.
        Ok(Command::Finish) => drop(take.send(())),
        _ => {}
    };
    stop::attended(&told, heard)
        .and_then(|()| stop::end_within(limit, &told))
        .context("cannot follow the controller")?;
    Ok((told, Some(taken)))
}

/// Fails if an end is wished.
pub fn goes_on(stop: &Stop) -> Result<()> {
    match stop.wished().then(|| stop.reason()).flatten() {
        None => Ok(()),
        Some(Reason::Asked) => Err(Interrupted.into()),
        Some(Reason::Fault(why)) => bail!(why),
    }
}

/// Waits until the controller has taken what was found; fails if an end is wished before.
pub fn until_taken(stop: &Stop, taken: &Receiver<()>) -> Result<()> {
    loop {
        match taken.recv_timeout(LOOK) {
            Ok(()) => return Ok(()),
            Err(RecvTimeoutError::Timeout) => {}
            // Whoever followed the controller is about to tell why.
            Err(RecvTimeoutError::Disconnected) => drop(stop.sleep(LOOK)),
        }
        goes_on(stop)?;
    }
}

/// Lets the wish end a stream of work.
pub fn ends(stop: Stop, work: &Arc<Work>) -> Result<()> {
    let work = work.clone();
    let wait = move || {
        while !stop.sleep(Duration::from_secs(3600)) {}
        work.end(Ending::Stopped);
    };
    std::thread::Builder::new().spawn(wait).context("cannot start a thread")?;
    Ok(())
}
