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

use anyhow::{Context, Result};
use fleet::HostsError;
use protocol::{Exit, Proof, model_spec, note, told};

pub use args::Args;
use interrupt::Interrupt;
use job::Job;

/// The exit code for an error of [`run`].
pub fn exit_of(error: &anyhow::Error) -> Exit {
    let usage = error.downcast_ref::<HostsError>().is_some_and(HostsError::is_usage);
    if usage { Exit::Usage } else { Exit::Failed }
}

/// Does what the command line says.
pub fn run(args: Args) -> Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let exit = runtime.block_on(go(args));
    // Nothing that is still open, as a read from a lost machine, may hold up the end.
    runtime.shutdown_background();
    fleet::end_connections();
    exit
}

async fn go(mut args: Args) -> Result<Exit> {
    // A model that is a folder must mean the same folder in every program that is started.
    args.model = args.model.as_deref().map(model_spec).transpose()?;
    if args.setup {
        return setup::setup(&args).await;
    }
    if args.doctor {
        return doctor::doctor(&args).await;
    }
    if args.status {
        return status::status(&args.index()?, args.json);
    }
    let mut job = Job::new(args)?;
    let mut interrupt = Interrupt::listen()?;
    let _lock = if job.args.dry_run { None } else { Some(job.lock()?) };
    let mut sites = job.connect().await?;
    let near = job.nearest(&sites).await?;
    // That it cannot be had is told before the work, not after.
    job.merging(&sites, near).await?;
    if job.args.dry_run {
        let found = scan::scan(&job, near, &mut interrupt).await?;
        if let Some(found) = &found {
            summary::dry_run(&job, &job.weights(&sites), found);
            told().context("cannot write to standard output")?;
        }
        return Ok(if found.is_some() { Exit::Done } else { Exit::Interrupted });
    }
    if job.args.merge_only {
        let parts = merge::kept_parts(&job.prefix)?;
        let merged = merge::merge(&job, &job.merging(&sites, near).await?, &parts.run_id, &parts.lines).await?;
        summary::merged(&job, &merged);
        return Ok(merged.exit());
    }
    let Some(found) = scan::scan(&job, near, &mut interrupt).await? else {
        note!("Interrupted while scanning; nothing is changed.");
        return Ok(Exit::Interrupted);
    };
    summary::scanned(&job, &found);
    let lists = plan::plan(&found.chunks, &job.weights(&sites));
    let encoded = encode::encode(&job, &mut sites, &found, lists, &mut interrupt).await?;
    // The machine that scanned may be lost meanwhile.
    let near = job.nearest(&sites).await?;
    let merging = job.merging(&sites, near).await?;
    merge::keep_parts(&job, &found.run_id, &encoded.parts)?;
    if encoded.interrupted {
        note!("Interrupted. {} pictures are embedded and kept; run the same command to go on.", encoded.embedded);
        return Ok(Exit::Interrupted);
    }
    let s = &found.summary;
    let proof = Proof {
        scanned: s.scanned,
        embedded: encoded.embedded,
        failed: encoded.failed + s.failed,
        skipped: s.standing,
    };
    if !proof.holds() {
        summary::unfinished(&job, &proof, &encoded);
        return Ok(Exit::Failed);
    }
    if job.args.no_merge {
        summary::finished(&job, &found, &proof, &encoded, None);
    } else {
        let merged = merge::merge(&job, &merging, &found.run_id, &encoded.parts).await.context(
            "the pictures are embedded, but merging failed; try again with --merge-only, elsewhere with --merge-on",
        )?;
        if let Err(error) = fleet::state::remember_index(job.prefix.dir()) {
            note!("Warning: {error}; query has to be told which index is meant: --index-prefix");
        }
        summary::finished(&job, &found, &proof, &encoded, Some(&merged));
    }
    // The work is done; a host that failed on the way is told above and does not make it undone.
    Ok(Exit::after(proof.failed + s.unreadable_folders))
}
