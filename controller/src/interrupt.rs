//! A run that ends before it is done, because the person wishes it or because something makes it pointless. Whatever takes
//! long, also a share that does not answer, is given up for it, except what must be put away in order.

use std::fmt;

use anyhow::Result;
use stop::Stop;

/// An end was wished before the work was done. What to say of it.
#[derive(Debug)]
pub struct Interrupted(pub String);

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Interrupted {}

/// What `work` gives, or [`Interrupted`] if an end is wished before. `what` is waited for meanwhile: "the hosts to answer".
pub async fn unless_stopped<T>(stop: &Stop, what: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
    stop.waits_for(what);
    tokio::select! {
        biased;
        () = stop.wait() => {
            let what = stop.what_is_waited_for();
            Err(Interrupted(format!("Interrupted while waiting for {what}; the index is as it was.")).into())
        }
        result = work => result,
    }
}

/// The same for work that blocks its thread, as on a share: it is left alone, and ends with the process.
pub async fn blocking<T: Send + 'static>(
    stop: &Stop,
    what: &str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    unless_stopped(stop, what, async { tokio::task::spawn_blocking(work).await? }).await
}
