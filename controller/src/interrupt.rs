//! Ctrl-C and SIGTERM: once to end in an orderly way, twice to end at once.

use anyhow::Result;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The person's wish to stop.
pub struct Interrupt {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupt {
    /// From now on signals do not kill this process; they are told by [`Interrupt::next`].
    pub fn listen() -> Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for the next signal.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
