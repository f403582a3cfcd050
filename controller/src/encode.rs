//! The encode stage: workers are started, granted chunks, and followed until every chunk is a part. Hosts that are lost
//! are tried again, and hosts that are added to the hosts file join.

mod again;
mod roster;
mod run;
mod worker;

use std::time::{Duration, Instant};

use anyhow::Result;
use fleet::{HostSpec, HostsFile, Incoming};
use protocol::{Chunk, Command, Failure, Stages};
use stop::PING;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::job::Job;
use crate::merge::PartLine;
use crate::scan::Found;
use crate::site::Site;
use roster::Roster;
use run::Run;

/// How long workers may take to end when told to.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// What the workers did.
pub struct Encoded {
    /// Parts of this run, by chunk.
    pub parts: Vec<PartLine>,
    pub embedded: u64,
    pub failed: u64,
    pub hosts: Vec<HostReport>,
    /// The first failures, to be shown.
    pub failures: Vec<Failure>,
    pub seconds: f64,
    pub interrupted: bool,
}

/// What one host did.
pub struct HostReport {
    pub name: String,
    pub embedded: u64,
    pub rate: f64,
    /// Where its worker's time went.
    pub stages: Stages,
    /// Why it failed, if it did and has not worked since.
    pub error: Option<String>,
}

/// A machine, connected or not.
type Tried = (usize, Result<Site, String>);

/// What a started worker is called: the number of its start, which no other has.
type Told = (usize, Incoming);

/// Runs workers over the lists until all is done, or nobody is left to do it, or an end is wished. Connections to
/// hosts that came back are put into `sites`.
pub async fn encode(
    job: &Job,
    sites: &mut [Result<Site, String>],
    found: &Found,
    lists: Vec<Vec<Chunk>>,
) -> Result<Encoded> {
    let begun = Instant::now();
    let mut run = Run::new(job, sites, found, lists);
    job.stop.waits_for("the workers to end");
    if found.chunks.is_empty() {
        return Ok(run.report(begun));
    }
    let mut roster = Roster::new(HostsFile::find(job.args.hosts.as_deref()));
    let (sender, mut incoming) = mpsc::channel::<Told>(4096);
    run.start_all(&sender);
    let mut trying: JoinSet<Tried> = JoinSet::new();
    let mut ping = tokio::time::interval(PING);
    let mut clock = tokio::time::interval(Duration::from_millis(250));
    while run.goes_on(trying.len()) {
        tokio::select! {
            Some((start, message)) = incoming.recv() => run.hear(start, message).await,
            Some(tried) = trying.join_next() => run.tried(tried?, &sender),
            _ = ping.tick() => {
                run.tell_all(&Command::Ping);
                match roster.changed() {
                    Some(Ok(hosts)) => run.join(hosts),
                    Some(Err(e)) => run.view.note(&format!("The hosts file has changed, but is left aside: {e}")),
                    None => {}
                }
            }
            _ = clock.tick() => {
                run.show();
                run.end_the_silent();
                run.due().into_iter().for_each(|(i, spec)| try_again(job, &mut trying, i, spec));
                if run.stopping().is_some_and(|since| since.elapsed() > STOP_LIMIT) {
                    run.kill_all();
                }
            }
            () = job.stop.wait(), if run.stopping().is_none() => {
                trying.abort_all();
                run.view.note("Stopping the workers... (Ctrl-C again ends the program at once)");
                run.stop();
            }
        }
    }
    run.show();
    run.view.clear();
    for (site, came_back) in sites.iter_mut().zip(run.sites()) {
        if let Some(came_back) = came_back {
            *site = Ok(came_back);
        }
    }
    Ok(run.report(begun))
}

/// Connects to a machine once more, beside everything else.
fn try_again(job: &Job, trying: &mut JoinSet<Tried>, i: usize, spec: HostSpec) {
    let share = job.share();
    trying.spawn(async move { (i, Site::ready(&spec, &share).await.map_err(|e| format!("{e:#}"))) });
}
