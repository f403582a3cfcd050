//! Ctrl-C and SIGTERM: the first asks for an orderly end, the second ends the process, whatever hangs in it.
//!
//! A thread of its own takes them, so that neither a share that does not answer nor a pipe that nobody reads can hold them
//! up. It writes nothing itself.

use std::io;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use protocol::Exit;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::{Reason, Stop};

/// A program that has not ended by then says what it waits for.
const SOON: Duration = Duration::from_millis(500);

/// What comes so soon after the first is the same wish: who passes signals on, as `timeout` does, sends them twice.
const SAME: Duration = Duration::from_millis(50);

/// What becomes of a program whose terminal is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hangup {
    /// The same as after Ctrl-C, unless it was started to outlive its terminal, as by `nohup`.
    Asks,
    /// What the system does: it is killed. For programs that have nothing to put away.
    Kills,
}

/// What may be done between the wish to end at once and the end.
const LAST: Duration = Duration::from_secs(1);

/// From now on Ctrl-C and SIGTERM do not kill this process: the first is told to `stop`; the second, unless the wish was
/// granted and [forgotten](Stop::forget) meanwhile, ends the process at once with exit code 130. If it is still at work half a
/// second after the first, `say` gets words for the person, and may take its time.
pub fn on_signals(stop: &Stop, hangup: Hangup, say: impl Fn(&str) + Send + Sync + 'static) -> io::Result<()> {
    let mut taken = vec![SIGINT, SIGTERM];
    if hangup == Hangup::Asks && !outlives_its_terminal() {
        taken.push(SIGHUP);
    }
    let mut signals = Signals::new(taken)?;
    let (stop, say) = (stop.clone(), Arc::new(say));
    thread::Builder::new().name("signals".into()).spawn(move || {
        let mut asked: Option<Instant> = None;
        for _ in signals.forever() {
            match asked.filter(|_| stop.wished()) {
                Some(first) if first.elapsed() < SAME => continue,
                Some(_) => end_with(&stop),
                None => {}
            }
            asked = Some(Instant::now());
            stop.now(Reason::Asked);
            let (stop, say) = (stop.clone(), say.clone());
            // That no thread can be made leaves the person without these words, not without the second signal.
            let _ = thread::Builder::new().spawn(move || {
                thread::sleep(SOON);
                if stop.wished() {
                    say(&words(&stop.what_is_waited_for()));
                }
            });
        }
    })?;
    Ok(())
}

fn words(what: &str) -> String {
    let what = if what.is_empty() { "what is under way" } else { what };
    format!("Stopping; waiting for {what}. Ctrl-C again ends the program at once, and what is finished is kept.")
}

/// Ends this process, whatever its threads are doing, if it is still there after so long once an end is wished. For programs
/// that nobody watches any more.
pub fn end_within(limit: Duration, stop: &Stop) -> io::Result<()> {
    let stop = stop.clone();
    thread::Builder::new().name("end".into()).spawn(move || {
        while !stop.sleep(Duration::from_secs(3600)) {}
        thread::sleep(limit);
        end_with(&stop);
    })?;
    Ok(())
}

fn end_with(stop: &Stop) -> ! {
    let last = stop.last_things();
    let (done, all_done) = channel::<()>();
    let doing = thread::Builder::new().spawn(move || {
        last.into_iter().for_each(|thing| thing());
        drop(done);
    });
    if doing.is_ok() {
        let _ = all_done.recv_timeout(LAST);
    }
    end(Exit::Interrupted)
}

/// Ends this process now, without a look at what is still being written: it may be what hangs.
pub fn end(exit: Exit) -> ! {
    signal_hook::low_level::exit(exit.code().into())
}

/// Whether this process was started with SIGHUP ignored. A shell tells: it cannot trap what it was started to ignore.
fn outlives_its_terminal() -> bool {
    const TRAP: &str = "trap 'exit 1' HUP; kill -HUP $$; exit 0";
    let mut shell = Command::new("sh");
    shell.args(["-c", TRAP]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // Without an answer it is left as it is, which a process that is to outlive its terminal needs.
    shell.status().map_or(true, |status| status.success())
}
