//! Asks an index in words, shows what it found and puts copies beside it. It holds no model and no index itself: a
//! server on the host that is asked does, and is started when there is none.

mod ask;
mod connect;
mod find;
mod show;

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use clap::builder::RangedU64ValueParser;
use fleet::{HostSpec, Hosts, PathMap};
use protocol::Exit;
use protocol::search::{Copied, CopyRequest, MAX_TOP_K, SearchRequest, Term, What};

use crate::ask::Answer;
use crate::show::Row;

/// Who waits longer than this is told what for.
const SILENT: Duration = Duration::from_secs(2);
/// Copies that failed, named one by one up to this many.
const MOST_NOTES: usize = 5;

/// Finds pictures by what they show.
///
/// Prints rank, score (the cosine of text and picture) and path, best first, and copies the found pictures into the
/// folder image_results beside the index. The first question starts a server that keeps the index loaded and leaves
/// after ten idle minutes; the next questions take milliseconds.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
pub struct Args {
    /// What the pictures should show, in words
    #[arg(long, value_name = "WORDS", value_parser = words)]
    text: String,

    /// How many pictures to find
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = RangedU64ValueParser::<usize>::new().range(1..=MAX_TOP_K as u64))]
    top_k: usize,

    /// The index to ask: the path of its files without their endings [default: the index last built or asked here]
    #[arg(long, value_name = "P")]
    index_prefix: Option<PathBuf>,

    /// The host to ask [default: the one with query=yes in hosts, else the one with the most memory]
    #[arg(long, value_name = "HOST")]
    worker: Option<String>,

    /// The machines [default: hosts in this folder, else in your configuration folder, else this machine alone]
    #[arg(long, value_name = "FILE")]
    hosts: Option<PathBuf>,

    /// The folder of the index's model, if it is not one of those known by name
    #[arg(long, value_name = "FOLDER")]
    model: Option<PathBuf>,

    /// Do not copy the found pictures
    #[arg(long, conflicts_with = "results_dir")]
    no_copy_results: bool,

    /// Where to copy the found pictures [default: image_results beside the index]
    #[arg(long, value_name = "D")]
    results_dir: Option<PathBuf>,

    /// Print one JSON object a line: rank, score, path, and copy if it was copied
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  query --text \"a yellow car\"
  query --text \"grandmother laughing in a garden\" --top-k 50 --results-dir ~/Desktop/grandmother
  query --text \"a receipt\" --index-prefix /nas/joe/imageindex --no-copy-results
  query --text \"sunset at the sea\" --top-k 200 --no-copy-results | cut -f3
  query --text \"a dog\" --json | jq -r 'select(.score > 0.25).path'

When the output is no terminal, columns are separated by tabs and paths are whole.
Exit codes: 0 found, 1 failed, 2 wrong usage, 130 interrupted.";

fn words(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err("the text is empty: say what the pictures should show".to_owned());
    }
    Ok(text.to_owned())
}

/// Something that the person can put right on the command line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct WrongUsage(String);

/// The exit code for an error of [`run`].
pub fn exit_of(error: &anyhow::Error) -> Exit {
    if error.is::<WrongUsage>() { Exit::Usage } else { Exit::Failed }
}

/// Asks and shows, unless the person interrupts.
pub fn run(args: &Args) -> Result<Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        tokio::select! {
            result = answer(args) => result,
            pressed = tokio::signal::ctrl_c() => pressed.map(|()| Exit::Interrupted).map_err(Into::into),
        }
    });
    // A write that nobody reads must not keep an interrupted program.
    runtime.shutdown_background();
    result
}

async fn answer(args: &Args) -> Result<Exit> {
    let began = Instant::now();
    let hosts = Hosts::find(args.hosts.as_deref())?;
    let host = &hosts.query_host(args.worker.as_deref())?;
    let paths = Paths { shared: &hosts.shared, host };
    let prefix = find::index(args.index_prefix.as_deref(), host)?;
    let question = SearchRequest::new(vec![Term { weight: 1.0, what: What::Text(args.text.clone()) }], args.top_k);
    let model = args.model.as_deref().map(|m| find::model(m, host)).transpose()?;
    let mut answer = patiently(ask::ask(host, &prefix, model, None, &question)).await?;
    // Not remembering only means that the next question has to name the index.
    let _ = fleet::state::remember_index(prefix.dir());
    if let Some(warning) = &answer.response.warning {
        note(&format!("query: {warning}"));
    }

    let took = began.elapsed();
    let here = |path: &str| paths.here(path);
    let found = &answer.response.matches;
    let mut rows: Vec<Row> =
        found.iter().map(|m| Row { rank: m.rank, score: m.score, path: here(&m.path), copy: None }).collect();
    let summary = show::summary(rows.len(), answer.response.num_images, took);
    let folder = std::path::absolute(args.results_dir.clone().unwrap_or_else(|| prefix.results()))?;
    let copying = !args.no_copy_results && !rows.is_empty();

    if !args.json {
        print(show::for_people(&rows)).await?;
    }
    let copied = if copying { Some(copy(&mut answer, &mut rows, &paths, &folder).await) } else { None };
    if args.json {
        print(show::json_lines(&rows)).await?;
    }
    note(&summary);
    if let Some(copied) = copied {
        note(&copied?);
    }
    Ok(Exit::Done)
}

/// One picture, three names: as it stands in the index, as the asker sees it, and as the asked host does.
struct Paths<'a> {
    shared: &'a PathMap,
    host: &'a HostSpec,
}

impl Paths<'_> {
    /// A path of the index as it is here.
    fn here(&self, canonical: &str) -> String {
        let mapped = self.shared.to_local(canonical);
        if mapped == canonical { self.host.path_here(canonical) } else { mapped }
    }
}

/// Has the found pictures copied, fills in where to, and says what became of it.
async fn copy(answer: &mut Answer, rows: &mut [Row], paths: &Paths<'_>, folder: &Path) -> Result<String> {
    let root_there = paths.host.path_there(&paths.here(&answer.opened.root));
    let target = folder.to_str().context("the results folder's name is not UTF-8; give another with --results-dir")?;
    let request = CopyRequest {
        paths: answer.response.matches.iter().map(|m| m.path.clone()).collect(),
        folder: paths.host.path_there(target),
        stamp: chrono::Local::now().format("%Y%m%d_%H%M%S").to_string(),
        root_here: (root_there != answer.opened.root).then_some(root_there),
    };
    let hint = "the pictures were not copied; --results-dir chooses another folder, --no-copy-results none";
    let copies = answer.copy(&request).await.context(hint)?;
    let mut failures = Vec::new();
    for (row, copied) in rows.iter_mut().zip(copies) {
        match copied {
            Copied::To(path) => row.copy = Some(paths.host.path_here(&path)),
            Copied::Failed(reason) => failures.push(format!("query: rank {} was not copied: {reason}", row.rank)),
        }
    }
    failures.iter().take(MOST_NOTES).for_each(|f| note(f));
    if failures.len() > MOST_NOTES {
        note(&format!("query: and {} more were not copied", failures.len() - MOST_NOTES));
    }
    Ok(match failures.len() {
        0 => format!("copied to {}", folder.display()),
        missing => format!("{} of {} copied to {}", rows.len() - missing, rows.len(), folder.display()),
    })
}

/// A line for the person, on standard error. Nobody may be listening there.
pub fn note(line: &str) {
    let line: String = line.split('\n').map(show::plain).collect::<Vec<_>>().join("\n");
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Writes to standard output. A reader that has seen enough (`| head`) is no error.
async fn print(text: String) -> Result<()> {
    let write = move || {
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush())
    };
    match tokio::task::spawn_blocking(write).await? {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write the matches to standard output"),
    }
}

/// Tells a person who waits what is going on.
async fn patiently<T>(work: impl Future<Output = T>) -> T {
    tokio::pin!(work);
    tokio::select! {
        done = &mut work => return done,
        () = tokio::time::sleep(SILENT) => {}
    }
    if std::io::stderr().is_terminal() {
        note("loading the index; only the first question waits for it...");
    }
    work.await
}
