//! The controller: scan -> plan -> grant -> collect -> merge. It holds chunk descriptors, never pictures or paths, and
//! does nothing itself that a worker or the merger can do near the share.

mod args;
mod checkup;
mod doctor;
mod encode;
pub mod grants;
mod interrupt;
mod job;
mod kind;
mod merge;
mod meter;
pub mod plan;
mod programs;
mod scan;
mod setup;
mod share;
mod site;
mod status;
mod summary;
mod users;
mod view;

use anyhow::{Context, Result, bail};
use fleet::HostsError;
use protocol::{Exit, Proof, model_spec, note, told};
use stop::{Hangup, Reason, Stop};

pub use args::Args;
use interrupt::{Interrupted, blocking, unless_stopped};
use job::Job;
use scan::Found;

/// The exit code for an error of [`run`].
pub fn exit_of(error: &anyhow::Error) -> Exit {
    let usage = error.downcast_ref::<HostsError>().is_some_and(HostsError::is_usage);
    if usage { Exit::Usage } else { Exit::Failed }
}

/// Does what the command line says.
pub fn run(args: Args) -> Result<Exit> {
    let stop = Stop::default();
    stop::on_signals(&stop, Hangup::Asks, view::aside).context("cannot take signals")?;
    stop.at_end(fleet::end_connections);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let exit = runtime.block_on(go(args, &stop));
    stop.waits_for("the program to end");
    // Nothing that is still open, as a read from a lost machine, may hold up the end.
    runtime.shutdown_background();
    fleet::end_connections();
    match exit {
        Err(error) if error.is::<Interrupted>() => match stop.reason() {
            Some(Reason::Fault(why)) => bail!(why),
            _ => {
                let told = error.downcast_ref::<Interrupted>().map(ToString::to_string);
                view::aside(&told.unwrap_or_default());
                Ok(Exit::Interrupted)
            }
        },
        exit => exit,
    }
}

async fn go(mut args: Args, stop: &Stop) -> Result<Exit> {
    // A model that is a folder must mean the same folder in every program that is started.
    let model = args.model.clone();
    args.model =
        blocking(stop, "the folder of the model", move || Ok(model.as_deref().map(model_spec).transpose()?)).await?;
    if args.setup {
        return setup::setup(&args, stop).await;
    }
    if args.doctor {
        return doctor::doctor(&args, stop).await;
    }
    if args.status {
        return blocking(stop, "the share", move || status::status(&args.index()?, args.json)).await;
    }
    let of_job = stop.clone();
    let mut job = blocking(stop, "the share", move || Job::new(args, of_job)).await?;
    if !job.args.dry_run {
        job = blocking(stop, "the lock of the index", move || {
            job.lock()?;
            Ok(job)
        })
        .await?;
    }
    index(&job).await
}

/// Scans, embeds, merges; or the part of it that was asked for.
async fn index(job: &Job) -> Result<Exit> {
    let stop = &job.stop;
    let mut sites = unless_stopped(stop, "the hosts to answer", job.connect()).await?;
    // That it cannot be had is told before the work, not after.
    let (near, merging) = job.near_and_merging(&sites).await?;
    if job.args.merge_only {
        let prefix = job.prefix.clone();
        let parts = blocking(stop, "the share", move || merge::kept_parts(&prefix)).await?;
        let merged = merge::merge(job, &merging, &parts.run_id, &parts.lines).await?;
        summary::merged(job, &merged);
        return Ok(merged.exit());
    }
    let found = scan::scan(job, &near).await?;
    if job.args.dry_run {
        summary::dry_run(job, &job.weights(&sites), &found);
        told().context("cannot write to standard output")?;
        return Ok(Exit::Done);
    }
    summary::scanned(job, &found);
    let lists = plan::plan(&found.chunks, &job.weights(&sites));
    let encoded = encode::encode(job, &mut sites, &found, lists).await?;
    finish(job, &sites, &found, &encoded).await
}

/// What follows when the workers have ended.
async fn finish(
    job: &Job,
    sites: &[Result<site::Site, String>],
    found: &Found,
    encoded: &encode::Encoded,
) -> Result<Exit> {
    // Before anything else can fail: with this --merge-only goes on. Of a run that did nothing there is nothing to keep.
    if !encoded.interrupted || !encoded.parts.is_empty() {
        merge::keep_parts(job, &found.run_id, &encoded.parts).await?;
    }
    if encoded.interrupted {
        let kept = encoded.embedded;
        let told = format!("Interrupted. {kept} pictures are embedded and kept; run the same command to go on.");
        return Err(Interrupted(told).into());
    }
    let s = &found.summary;
    let proof = Proof {
        scanned: s.scanned,
        embedded: encoded.embedded,
        failed: encoded.failed + s.failed,
        skipped: s.standing,
    };
    if !proof.holds() {
        summary::unfinished(job, &proof, encoded);
        return Ok(Exit::Failed);
    }
    if job.args.no_merge {
        summary::finished(job, found, &proof, encoded, None);
    } else {
        let merge = async {
            // The machine that scanned may be lost meanwhile.
            let (_, merging) = job.near_and_merging(sites).await?;
            merge::merge(job, &merging, &found.run_id, &encoded.parts).await
        };
        let how =
            "the pictures are embedded, but merging failed; try again with --merge-only, elsewhere with --merge-on";
        let merged = merge.await.map_err(|error| if error.is::<Interrupted>() { error } else { error.context(how) })?;
        if let Err(error) = fleet::state::remember_index(job.prefix.dir()) {
            note!("Warning: {error}; query has to be told which index is meant: --index-prefix");
        }
        summary::finished(job, found, &proof, encoded, Some(&merged));
    }
    // The work is done; a host that failed on the way is told above and does not make it undone.
    Ok(Exit::after(proof.failed + s.unreadable_folders))
}
