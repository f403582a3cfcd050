//! What goes to a program and comes from it, and how long that may take.

use std::future::Ready;
use std::io;
use std::pin::pin;
use std::sync::Mutex;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::ChildStdin;
use tokio::time::{Instant, interval, sleep_until};

/// How often a program that is attended hears of it; it gives up after a minute of silence.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);

/// What goes to a program's standard input.
pub(crate) struct Input<F, U> {
    pub from: F,
    /// It stays open until this is over.
    pub until: Option<U>,
}

impl<F> Input<F, Ready<()>> {
    /// All of `from`, and then its end.
    pub fn whole(from: F) -> Self {
        Self { from, until: None }
    }
}

/// Feeds a program until it has said all, whose result is given. The error is that of reading what it is fed with, or what
/// it says.
pub(crate) async fn talk<T>(
    feeding: impl Future<Output = io::Result<()>>,
    reading: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    let (mut feeding, mut reading) = (pin!(feeding), pin!(reading));
    tokio::select! {
        said = &mut reading => return said,
        fed = &mut feeding => fed?,
    }
    reading.await
}

/// Writes all of the input to a program. The error is that of reading it: one that stops listening has its own reasons.
pub(crate) async fn feed(
    to: Option<ChildStdin>,
    input: Input<impl AsyncRead + Unpin, impl Future<Output = ()>>,
    clock: &Clock,
) -> io::Result<()> {
    let (Some(mut to), Input { mut from, until }) = (to, input) else { return Ok(()) };
    let mut piece = vec![0; 128 << 10];
    loop {
        let length = from.read(&mut piece).await?;
        if length == 0 {
            break;
        }
        if to.write_all(&piece[..length]).await.is_err() {
            return Ok(());
        }
        clock.moved();
    }
    let Some(until) = until else { return Ok(()) };
    let mut clock = interval(SIGN_OF_LIFE);
    let attending = async {
        loop {
            clock.tick().await;
            if to.write_all(b"\n").await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = attending => {}
        () = until => {}
    }
    Ok(())
}

/// How long something may take: as a whole, or between two moves.
pub(crate) struct Clock {
    limit: Duration,
    since: Mutex<Instant>,
    moves_count: bool,
}

impl Clock {
    pub fn whole(limit: Duration) -> Self {
        Self { limit, since: Mutex::new(Instant::now()), moves_count: false }
    }

    pub fn still(limit: Duration) -> Self {
        Self { moves_count: true, ..Self::whole(limit) }
    }

    pub fn moved(&self) {
        if self.moves_count
            && let Ok(mut since) = self.since.lock()
        {
            *since = Instant::now();
        }
    }

    pub async fn runs_out(&self) {
        loop {
            let Ok(since) = self.since.lock().map(|since| *since) else { return };
            if since.elapsed() >= self.limit {
                return;
            }
            sleep_until(since + self.limit).await;
        }
    }
}
