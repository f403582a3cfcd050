//! Words for the person: answers go to standard output, all else to standard error.

use std::io::IsTerminal;
use std::time::Duration;

use anyhow::{Context, Result};
use protocol::note;

/// Who waits longer than this is told what for.
const SILENT: Duration = Duration::from_secs(2);

/// Writes to standard output. A reader that has seen enough (`| head`) is no error.
pub async fn print(text: String) -> Result<()> {
    let written = tokio::task::spawn_blocking(move || protocol::answer(&text)).await?;
    written.context("cannot write the matches to standard output")
}

/// What an index's first question waits for.
pub const LOADING: &str = "loading the index; only the first question waits for it...";

/// Tells a person who waits what is going on.
pub async fn patiently<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::pin!(work);
    tokio::select! {
        done = &mut work => return done,
        () = tokio::time::sleep(SILENT) => {}
    }
    if std::io::stderr().is_terminal() {
        note(what);
    }
    work.await
}
