//! Asks an index in words and pictures, shows what it found and puts copies beside it. It holds no model and no index
//! itself: a server on the host that is asked does, and is started when there is none.

mod answer;
mod args;
mod ask;
mod connect;
mod duplicates;
mod filters;
mod find;
mod html;
mod last;
mod list;
mod map;
mod open;
mod page;
mod paths;
mod picture;
mod pictures;
mod prompt;
mod question;
mod row;
mod session;
mod show;
mod sixel;
mod stats;
mod tell;
mod trust;
mod web;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use fleet::{Hosts, HostsError};
use protocol::{Exit, note};
use stop::{Hangup, Stop};

pub use crate::args::Args;
use crate::args::Asked;
use crate::last::Last;
use crate::session::{Session, Target};
use crate::tell::{LOADING, patiently};
use crate::web::Upstream;

/// Something that the person can put right on the command line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct WrongUsage(String);

/// The exit code for an error of [`run`].
pub fn exit_of(error: &anyhow::Error) -> Exit {
    let usage = error.is::<WrongUsage>() || error.downcast_ref::<HostsError>().is_some_and(HostsError::is_usage);
    if usage { Exit::Usage } else { Exit::Failed }
}

/// Asks and shows, unless the person interrupts.
pub fn run(args: &Args) -> Result<Exit> {
    let stop = &Stop::default();
    stop::on_signals(stop, Hangup::Kills, note).context("cannot take signals")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        let began = Instant::now();
        if let Some(prefix) = &args.trust {
            allow(args, prefix)?;
            if !args.asks() {
                return Ok(Exit::Done);
            }
        }
        if args.web {
            return Ok(unless_interrupted(stop, serve(args)).await?.map_or(Exit::Interrupted, |()| Exit::Done));
        }
        if let Some(file) = &args.map {
            return Ok(unless_interrupted(stop, draw(args, file)).await?.map_or(Exit::Interrupted, |()| Exit::Done));
        }
        let Some((mut session, asked)) = unless_interrupted(stop, open(args)).await? else {
            return Ok(Exit::Interrupted);
        };
        let answered = match asked {
            Asked::One(summands, _) => {
                unless_interrupted(stop, answer::one(&mut session, args, &summands, began)).await?
            }
            Asked::Many(questions) => {
                unless_interrupted(stop, list::answer(&mut session, args, &questions, began)).await?
            }
            Asked::Stats => unless_interrupted(stop, stats::tell(&mut session, args.json)).await?,
            Asked::Duplicates => unless_interrupted(stop, duplicates::tell(&mut session, args, began)).await?,
            Asked::Prompt => prompt::run(session, args.clone(), stop).await?,
        };
        Ok(answered.map_or(Exit::Interrupted, |()| Exit::Done))
    });
    // A write that nobody reads must not keep an interrupted program.
    runtime.shutdown_background();
    fleet::end_connections();
    result
}

/// What `work` gives, or `None` if the person presses Ctrl-C before.
async fn unless_interrupted<T>(stop: &Stop, work: impl Future<Output = Result<T>>) -> Result<Option<T>> {
    stop.waits_for("an answer");
    tokio::select! {
        biased;
        () = stop.wait() => Ok(None),
        result = work => result.map(Some),
    }
}

/// Remembers that an index may be copied from.
fn allow(args: &Args, prefix: &Path) -> Result<()> {
    let prefix = target(&Args { index_prefix: Some(prefix.to_owned()), ..args.clone() })?.prefix;
    trust::allow(&prefix)?;
    note(&format!("query: pictures are copied from {} from now on, whoever made it", prefix.dir().display()));
    Ok(())
}

/// An index that can be asked, and what it is asked.
async fn open(args: &Args) -> Result<(Session, Asked)> {
    let mut asked = args.asked()?;
    if let Some(file) = &args.html {
        page::check("--html", file)?;
    }
    let target = target(args)?;
    if let Asked::One(summands, Some(rank)) = &mut asked {
        summands.insert(0, Last::load(target.prefix.dir())?.like(*rank)?);
    }
    Ok((session(target).await?, asked))
}

/// Serves the gallery, which begins with what was asked.
async fn serve(args: &Args) -> Result<()> {
    let server = Upstream::new(session(target(args)?).await?);
    let question = args.text.clone().or_else(|| (!args.words.is_empty()).then(|| args.words.join(" ")));
    web::serve(server, args.port, !args.no_open, question).await
}

/// Draws the map of the collection.
async fn draw(args: &Args, file: &Path) -> Result<()> {
    page::check("--map", file)?;
    map::run(file, args.open.is_some(), session(target(args)?).await?).await
}

async fn session(target: Target) -> Result<Session> {
    let session = patiently(LOADING, Session::open(Arc::new(target))).await?;
    // Not remembering only means that the next question has to name the index.
    let _ = fleet::state::remember_index(session.prefix().dir());
    Ok(session)
}

/// Which index is meant, and who may be asked about it.
fn target(args: &Args) -> Result<Target> {
    let hosts = Hosts::find(args.hosts.as_deref())?;
    let candidates = hosts.query_hosts(args.worker.as_deref())?;
    let prefix = find::index(args.named_index(), &candidates[0])?;
    Ok(Target { hosts, candidates, prefix, model: args.model.clone() })
}
