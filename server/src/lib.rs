//! Keeps indexes and their text encoders loaded and answers questions over HTTP on a Unix socket, so that only the
//! first question waits. It belongs to one person and one machine: it never listens on a network, and it leaves by
//! itself when nobody asks.

mod activity;
mod below;
mod cache;
mod claim;
mod copy;
mod encoders;
mod ensure;
mod indexes;
mod log;
mod map;
mod memory;
mod owners;
mod pictures;
mod pipe;
mod question;
mod refusal;
mod request;
mod routes;
mod signals;
mod stats;
mod templates;
mod thumbnails;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use protocol::Exit;
use tokio::net::UnixListener;
use tokio::sync::{Notify, Semaphore};

use crate::activity::Activity;
use crate::cache::Cache;
use crate::claim::Claim;
use crate::indexes::Indexes;
use crate::log::Log;
use crate::pictures::Studio;
use crate::routes::App;

/// How long requests in hand may still take once the server has been told to end.
const GRACE: Duration = Duration::from_secs(5);

/// Answers questions about indexes on this machine, over HTTP on a Unix socket.
///
/// `query` starts it when it is needed and it leaves after ten idle minutes; nobody has to start or stop it. What it
/// has to say goes to a log beside the socket.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
pub struct Args {
    /// Where to listen; its folder must be yours alone [default: where `query` looks, in $XDG_RUNTIME_DIR or /var/tmp]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,

    /// Start a server that outlives this command unless one is warm, and print its version and socket: how `query` asks
    /// over SSH
    #[arg(long, conflicts_with = "idle_seconds")]
    ensure: bool,

    /// The same, but carry one connection to it over standard input and output: for where SSH forwards no sockets
    #[arg(long, conflicts_with = "ensure")]
    pipe: bool,

    /// End after this many minutes without a request
    #[arg(long, value_name = "N", default_value_t = 10.0, value_parser = positive)]
    idle_minutes: f64,

    /// The same in seconds, for tests
    #[arg(long, value_name = "N", hide = true, value_parser = positive, conflicts_with = "idle_minutes")]
    idle_seconds: Option<f64>,
}

const EXAMPLES: &str = "\
Examples:
  server --socket ~/.imagefleet/s.sock &
  curl --unix-socket ~/.imagefleet/s.sock http://server/v1/status
  curl --unix-socket ~/.imagefleet/s.sock http://server/v1/indexes --json '{\"index_prefix\": \"/nas/imageindex\"}'
  curl --unix-socket ~/.imagefleet/s.sock http://server/v1/indexes/imageindex/search --json '{\"text\": \"a yellow car\", \"top_k\": 10}'
  curl --unix-socket ~/.imagefleet/s.sock http://server/v1/stop -X POST";

fn positive(text: &str) -> Result<f64, String> {
    // A year is more than anyone means, and keeps the sum with a clock's time from overflowing.
    text.parse().ok().filter(|n| *n > 0.0 && *n <= 525_600.0).ok_or_else(|| "a number above 0 is needed".to_owned())
}

/// Serves until there is a reason to leave. A second server on the same socket leaves at once, which is no failure.
pub fn run(args: &Args) -> Result<Exit> {
    let socket = match &args.socket {
        Some(path) => protocol::absolute(path)?,
        None => protocol::socket::default_socket()?,
    };
    if args.ensure {
        return ensure::ensure(&socket);
    }
    if args.pipe {
        return pipe::pipe(&socket);
    }
    let idle = Duration::from_secs_f64(args.idle_seconds.unwrap_or(args.idle_minutes * 60.0));
    let Some(claim) = Claim::take(&socket)? else { return Ok(Exit::Done) };
    let log = Arc::new(Log::open(&protocol::socket::log_beside(&socket)));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = Cache::of_this_machine().and_then(|cache| runtime.block_on(serve(claim, cache, idle, log)));
    // A search or a load that is still running is not waited for: the process ends under it.
    runtime.shutdown_background();
    result.map(|()| Exit::Done)
}

async fn serve(mut claim: Claim, cache: Cache, idle: Duration, log: Arc<Log>) -> Result<()> {
    let listener = UnixListener::from_std(claim.listener()?).context("cannot listen on the socket")?;
    let activity = Arc::new(Activity::new());
    let stop = Arc::new(Notify::new());
    let tidied = cache.clone();
    tokio::task::spawn_blocking(move || tidied.tidy());
    let app = App {
        indexes: Arc::new(Indexes::new(cache, log.clone())),
        log: log.clone(),
        activity: activity.clone(),
        stop: stop.clone(),
        room: Arc::new(Semaphore::new(request::ROOM_MIB)),
        studio: Arc::new(Studio::new()),
    };
    log.line(&format!("version {} listens on {}", protocol::VERSION, claim.socket().display()));

    let (leave, leaving) = tokio::sync::oneshot::channel::<()>();
    let serving = axum::serve(listener, routes::router(app))
        .with_graceful_shutdown(async {
            let _ = leaving.await;
        })
        .into_future();
    let mut serving = tokio::spawn(serving);
    let reason = tokio::select! {
        reason = signals::wait() => reason?,
        () = stop.notified() => "asked to stop".to_owned(),
        () = activity.wait_until_idle(idle) => format!("nobody asked for {} s", idle.as_secs_f64()),
        () = claim.wait_until_lost() => "the socket's file is gone".to_owned(),
        ended = &mut serving => return Ok(ended??),
    };
    // First the name, so that who asks from now on starts a new server and is not cut off by this one.
    claim.remove_socket();
    log.line(&format!("leaves: {reason}"));
    let _ = leave.send(());
    let _ = tokio::time::timeout(GRACE, serving).await;
    Ok(())
}
