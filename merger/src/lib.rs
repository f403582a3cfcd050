//! Merges partial indexes, or the parts that a controller names, into the next generation of an index; imports vectors
//! that were made elsewhere, and exports those of an index.
//!
//! The work is in the `index` crate; this is its command line. It must never be the second merge of an index at a time.
#![warn(missing_docs)]

mod args;
mod export;
mod import;
mod model;
mod owner;

use std::error::Error;
use std::io::{BufRead, stdin};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use index::{IndexError, Interrupted, MergeReport, MergeRequest, PartRef, Sources};
use protocol::layout::is_file_name;
use protocol::{Exit, IndexPrefix, LONGEST_EVENT, Proof, answer, decode_line, encode_line, lines, note};
use serde::Serialize;
use stop::{Hangup, Reason, Stop};

pub use args::Args;
use owner::Ownership;

/// How long a merger may take to end when its controller is gone. What it has begun is removed by the next one then.
const ENDS: Duration = Duration::from_secs(20);

/// Does what the command line says, tells what was done, and gives the exit code.
pub fn run(args: Args) -> anyhow::Result<Exit> {
    let stop = Stop::default();
    stop.waits_for("the merger to end");
    if !args.granted {
        stop::on_signals(&stop, Hangup::Asks, note).context("cannot take signals")?;
    }
    let done = match (&args.import, &args.export) {
        (Some(vectors), _) => import::run(&args, vectors, &stop),
        (_, Some(folder)) => export::run(&args, folder, &stop),
        _ => run_merge(&args, &stop),
    };
    match done {
        Err(e) if e.chain().any(was_interrupted) => match stop.reason() {
            Some(Reason::Fault(why)) => Err(e.context(why)),
            _ => {
                note!("{e:#}");
                Ok(Exit::Interrupted)
            }
        },
        done => done,
    }
}

fn was_interrupted(cause: &(dyn Error + 'static)) -> bool {
    cause.is::<Interrupted>() || matches!(cause.downcast_ref(), Some(IndexError::Interrupted(_)))
}

fn run_merge(args: &Args, stop: &Stop) -> anyhow::Result<Exit> {
    if args.run.as_ref().is_some_and(|run| !is_file_name(run)) {
        bail!("--run takes the name of a folder in P/runs");
    }
    let sources = match &args.parts {
        Some(_) => Sources::Parts(read_parts(stdin().lock(), args.granted)?),
        None => Sources::Partials { num_workers: args.num_workers },
    };
    if args.granted {
        stop::attended(stop, |_| ())
            .and_then(|()| stop::end_within(ENDS, stop))
            .context("cannot follow the controller")?;
    }
    let prefix = args.index()?;
    let report = merge(args, &prefix, sources, stop)?;
    tell(&prefix, &report);
    if args.parts.is_some() {
        answer(&encode_line(&Outcome::from(&report))).context("the merge is done, but nobody could be told")?;
    }
    Ok(exit(&report))
}

/// Takes the sources into the index.
fn merge(args: &Args, prefix: &IndexPrefix, sources: Sources, stop: &Stop) -> anyhow::Result<MergeReport> {
    let ours = Ownership::take(args, prefix, stop)?;
    let report = index::merge_while(
        &|| ours.stands(),
        MergeRequest {
            prefix,
            run: args.run.as_deref(),
            sources,
            fresh: args.fresh,
            wait_s: args.wait,
            progress: &mut progress("merging", stop),
        },
    );
    let report = report.map(|mut report| {
        report.warnings.extend(disk::unsynced().map(str::to_owned));
        report
    });
    match report {
        Err(e @ IndexError::AfterSwitch { .. }) => Err(e.into()),
        report => {
            report.with_context(|| format!("nothing was merged, the index at {} is as it was", prefix.dir().display()))
        }
    }
}

/// Tells every five seconds how many rows are done, and ends the work when that is wished.
fn progress(what: &'static str, stop: &Stop) -> impl FnMut(u64) -> Result<(), Interrupted> {
    let (mut told, stop) = (Instant::now(), stop.clone());
    move |rows| {
        if rows > 0 && told.elapsed() >= Duration::from_secs(5) {
            told = Instant::now();
            note!("{what}: {rows} rows");
        }
        if stop.wished() { Err(Interrupted) } else { Ok(()) }
    }
}

/// The parts that the controller names: up to the end of the input, or up to an empty line where the controller stays to
/// attend the merge.
fn read_parts(input: impl BufRead, attended: bool) -> anyhow::Result<Vec<PartRef>> {
    let mut parts = Vec::new();
    for (number, line) in lines(input, LONGEST_EVENT).enumerate() {
        let line = line.context("cannot read the names of the parts from standard input")?;
        let line = String::from_utf8_lossy(&line);
        if !line.trim().is_empty() {
            let part = decode_line(&line);
            parts.push(part.with_context(|| format!("line {} of standard input names no part: {line}", number + 1))?);
        } else if attended {
            return Ok(parts);
        }
    }
    ensure!(!attended, "the controller is gone before it had named all parts");
    Ok(parts)
}

fn tell(prefix: &IndexPrefix, report: &MergeReport) {
    for warning in &report.warnings {
        note!("warning: {warning}");
    }
    let meta = &report.meta;
    if report.written {
        note!(
            "merged: generation {} of {} has {} images ({} added, {} replaced, {} dropped)",
            meta.generation,
            prefix.dir().display(),
            meta.num_images,
            report.added,
            report.replaced,
            report.dropped
        );
    } else {
        note!(
            "nothing to change: generation {} of {} stays, {} images",
            meta.generation,
            prefix.dir().display(),
            meta.num_images
        );
    }
    if report.failed > 0 {
        note!("{} pictures could not be read: {} names each", report.failed, prefix.failures().display());
    }
    if let Some(Proof { scanned, embedded, failed, skipped }) = report.proof {
        let sign = if report.proof.is_some_and(|p| p.holds()) { "=" } else { "is NOT" };
        note!("{scanned} scanned {sign} {embedded} embedded + {failed} failed + {skipped} already there");
        if sign != "=" {
            note!("error: pictures are unaccounted for: run the controller again, it embeds what is missing");
        }
    }
}

fn exit(report: &MergeReport) -> Exit {
    if report.proof.is_some_and(|proof| !proof.holds()) { Exit::Failed } else { Exit::after(report.failed) }
}

/// What the controller reads, the last line on standard output.
#[derive(Debug, Serialize)]
struct Outcome<'a> {
    generation: u64,
    num_images: u64,
    added: u64,
    dropped: u64,
    replaced: u64,
    failed: u64,
    proof: Option<Proof>,
    warnings: &'a [String],
}

impl<'a> From<&'a MergeReport> for Outcome<'a> {
    fn from(report: &'a MergeReport) -> Self {
        Self {
            generation: report.meta.generation,
            num_images: report.meta.num_images,
            added: report.added,
            dropped: report.dropped,
            replaced: report.replaced,
            failed: report.failed,
            proof: report.proof,
            warnings: &report.warnings,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Read, repeat};

    use damage::{COPIES, Numbers, contained};

    use super::*;

    #[test]
    fn parts_are_read_one_a_line_and_a_bad_line_is_named() {
        let parts = read_parts("{\"name\":\"a\",\"rows\":2,\"checksum\":\"c\"}\n\n".as_bytes(), false).unwrap();
        assert_eq!(parts, [PartRef { name: "a".into(), rows: 2, checksum: "c".into() }]);
        let error = read_parts("{\"name\":\"a\"}\n".as_bytes(), false).unwrap_err();
        assert!(error.to_string().contains("line 1"));
    }

    #[test]
    fn parts_of_a_controller_that_stays_end_with_an_empty_line() {
        let lines = "{\"name\":\"a\",\"rows\":2,\"checksum\":\"c\"}\n\nwhat follows are signs of life";
        assert_eq!(read_parts(lines.as_bytes(), true).unwrap().len(), 1);
        let cut = read_parts(&lines.as_bytes()[..37], true).unwrap_err();
        assert!(cut.to_string().contains("the controller is gone"), "{cut}");
    }

    #[test]
    fn damaged_lists_of_parts_name_the_line() {
        contained(damaged_lists_of_parts_name_the_line, || {
            let part = |i: u64| encode_line(&PartRef { name: format!("p{i}"), rows: i, checksum: "c".into() });
            let whole: String = (0..5).map(part).collect();
            let mut numbers = Numbers::new(1);
            let mut refused = 0;
            for _ in 0..COPIES {
                if let Err(error) = read_parts(&damage::json_lines(&whole, &mut numbers)[..], false) {
                    refused += 1;
                    assert!(error.to_string().starts_with("line "), "{error:#}");
                }
            }
            assert!(refused > COPIES / 4, "{refused}");
            let endless = BufReader::new(repeat(b'x').take(16 << 30));
            assert!(format!("{:#}", read_parts(endless, false).unwrap_err()).contains("longer than"));
        });
    }
}
