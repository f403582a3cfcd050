//! What the system may send.

use std::io;

use tokio::signal::unix::{SignalKind, signal};

/// Returns when the process is asked to end, with the reason. A closed terminal (SIGHUP) is none: the server outlives
/// the shell that it was started from.
pub async fn wait() -> io::Result<String> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok("SIGTERM".to_owned()),
            _ = interrupt.recv() => return Ok("SIGINT".to_owned()),
            _ = hangup.recv() => {}
        }
    }
}
