//! The controller: scan -> plan -> grant -> collect -> merge. It holds chunk descriptors, never pictures or paths, and
//! does nothing itself that a worker or the merger can do near the share.

mod args;
mod encode;
mod grants;
mod interrupt;
mod job;
mod merge;
mod meter;
mod plan;
mod scan;
mod setup;
mod site;
mod summary;
mod view;

use anyhow::{Context, Result};
use protocol::{Exit, Proof};

pub use args::Args;
use interrupt::Interrupt;
use job::Job;

/// Does what the command line says.
pub fn run(args: Args) -> Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let exit = runtime.block_on(go(args));
    // Nothing that is still open, as a read from a lost machine, may hold up the end.
    runtime.shutdown_background();
    exit
}

async fn go(args: Args) -> Result<Exit> {
    if args.setup {
        return setup::setup(&args).await;
    }
    let job = Job::new(args)?;
    let mut interrupt = Interrupt::listen()?;
    let sites = job.connect().await?;
    let near = job.nearest(&sites).await?;
    if job.args.dry_run {
        let found = scan::scan(&job, near, &mut interrupt).await?;
        if let Some(found) = &found {
            summary::dry_run(&job, &job.weights(&sites), found);
        }
        return Ok(if found.is_some() { Exit::Done } else { Exit::Interrupted });
    }
    let _lock = job.lock()?;
    if job.args.merge_only {
        let parts = merge::kept_parts(&job)?;
        let merged = merge::merge(&job, near, &parts.run_id, &parts.lines).await?;
        summary::merged(&job, &merged);
        return Ok(merged.exit());
    }
    let Some(found) = scan::scan(&job, near, &mut interrupt).await? else {
        eprintln!("Interrupted while scanning; nothing is changed.");
        return Ok(Exit::Interrupted);
    };
    summary::scanned(&job, &found);
    let lists = plan::plan(&found.chunks, &job.weights(&sites));
    let encoded = encode::encode(&job, &sites, &found, lists, &mut interrupt).await?;
    // The machine that scanned may be lost meanwhile.
    let near = job.nearest(&sites).await?;
    merge::keep_parts(&job, near, &found.run_id, &encoded.parts).await?;
    if encoded.interrupted {
        eprintln!("Interrupted. {} pictures are embedded and kept; run the same command to go on.", encoded.embedded);
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
        let merged = merge::merge(&job, near, &found.run_id, &encoded.parts)
            .await
            .context("the pictures are embedded, but merging failed; try again with --merge-only")?;
        fleet::state::remember_index(job.prefix.dir()).context("cannot remember this index for query")?;
        summary::finished(&job, &found, &proof, &encoded, Some(&merged));
    }
    // The work is done; a host that failed on the way is told above and does not make it undone.
    Ok(Exit::after(proof.failed + s.unreadable_folders))
}
