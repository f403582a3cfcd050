//! `--doctor`: what every machine can do, measured on all of them at once, and what follows: weights, and the end of a run.
//! Leaves nothing behind, but for what the first use of a model always leaves beside it: the self-check's vectors.

mod advice;
mod forecast;
mod table;
mod weights;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chrono::Local;
use disk::RunLock;
use fleet::{HostSpec, Hosts};
use protocol::setup::{HostReport, Pictures};
use protocol::{Exit, IndexMeta, IndexPrefix, RunRecord, answer, json};
use serde::Serialize;
use stop::Stop;

use crate::Args;
use crate::checkup::{self, Examined, Outcome};
use crate::interrupt::blocking;
use crate::job::Arguments;
use crate::merge;
use crate::share::Share;
use crate::site::Site;
use crate::status::read_json;
use crate::view::Spinner;
use forecast::{Forecast, ToDo};

/// All that is told, as `--json` prints it.
#[derive(Serialize)]
struct Diagnosis {
    hosts: Vec<Patient>,
    /// A line for the hosts file for each machine; behind `#` if it is not ready.
    suggested_lines: Vec<String>,
    /// Absent without a folder of pictures, or if nobody could count them.
    to_do: Option<ToDo>,
    /// Absent without [`ToDo`].
    forecast: Option<Forecast>,
    /// When embedding would end if it began now, RFC 3339.
    end: Option<String>,
    /// What a person should know of it all.
    notes: Vec<String>,
}

/// One machine.
#[derive(Serialize)]
struct Patient {
    host: String,
    ready: bool,
    /// What is wrong, each with its remedy. Empty: ready.
    problems: Vec<String>,
    /// What a person should know of it.
    notes: Vec<String>,
    /// Its share of the work by its measured speed; absent if it is not ready.
    weight: Option<f64>,
    /// How far its clock is ahead of ours; absent if it could not be asked.
    clock_off_seconds: Option<f64>,
    /// What it says of itself; absent if it could not be asked.
    report: Option<HostReport>,
}

/// What is known of the index from here.
#[derive(Default)]
struct Known {
    index: Option<IndexMeta>,
    /// The newest run, and how many pictures it embedded if that was kept for a merge.
    run: Option<RunRecord>,
    embedded: u64,
    notes: Vec<String>,
}

/// Measures the machines and prints what was found.
pub async fn doctor(args: &Args, stop: &Stop) -> Result<Exit> {
    let file = args.hosts.clone();
    let Hosts { hosts, .. } = blocking(stop, "the hosts file", move || Ok(Hosts::find(file.as_deref())?)).await?;
    let (image_dir, prefix) = (args.images()?, args.named_index()?);
    let look = move || {
        if let Some(dir) = &image_dir {
            ensure!(dir.is_dir(), "the image folder {} is not there; is the share mounted?", dir.display());
        }
        let known = prefix.as_ref().map(Known::read).transpose()?.unwrap_or_default();
        Ok((known, Arc::new(Share::new(image_dir, prefix)?)))
    };
    let (known, share) = blocking(stop, "the share", look).await?;
    let model = model(args, known.index.as_ref(), &hosts);
    let spinner = Spinner::new("Measuring");
    spinner.say(&format!("Measuring {} hosts, which takes about ten seconds", hosts.len()));
    let ask = |spec: HostSpec| examine(share.clone(), spec.clone(), check(args, &spec, model.as_deref()));
    let mut outcomes = checkup::all(stop, hosts, ask).await?;
    checkup::users(stop, &share, outcomes.iter_mut().filter_map(|o| o.result.as_mut().ok())).await?;
    drop(spinner);
    let diagnosis = Diagnosis::of(outcomes, known, args.fresh);
    let text = if args.json { json(&diagnosis) + "\n" } else { table::text(&diagnosis, table::columns()) };
    answer(&text).context("cannot write to standard output")?;
    Ok(if diagnosis.hosts.iter().all(|host| host.ready) { Exit::Done } else { Exit::Failed })
}

async fn examine(share: Arc<Share>, spec: HostSpec, more: Arguments) -> Result<Examined> {
    let site = Site::connect(&spec).await?;
    let mut arguments = share.arguments(&site)?;
    arguments.0.extend(more.0);
    checkup::examine(site, &share, arguments).await
}

/// What is asked beyond a check: measure, with what a worker would be started with.
fn check(args: &Args, spec: &HostSpec, model: Option<&str>) -> Arguments {
    Arguments::default().word("--measure").set_some("model", model.map(|model| spec.path_there(model))).encoding(
        args,
        spec,
        spec.batch_size.or(args.batch_size.map(|n| n as usize)),
    )
}

/// The model that a run would embed with: asked for, else the index's. None: the workers' default.
fn model(args: &Args, index: Option<&IndexMeta>, hosts: &[HostSpec]) -> Option<String> {
    if args.model.is_some() {
        return args.model.clone();
    }
    let name = &index?.model.model_name;
    // A folder's name in the index is that on the machine that embedded.
    let mut here = hosts.iter().map(|host| host.path_here(name)).filter(|here| here.contains('/'));
    Some(here.find(|here| Path::new(here).is_dir()).unwrap_or_else(|| name.clone()))
}

impl Known {
    fn read(prefix: &IndexPrefix) -> Result<Self> {
        let busy = RunLock::last_owner(&prefix.lock()).map(|(owner, _)| {
            format!(
                "{} (process {} on {}) is working on this index: everything is faster without it",
                owner.program, owner.pid, owner.host
            )
        });
        let run = prefix.newest_run().map(|run| prefix.run(&run));
        Ok(Self {
            index: read_json(&prefix.meta())?,
            embedded: run.as_ref().map(|run| merge::rows_kept(&run.parts())).transpose()?.unwrap_or(0),
            run: run.map(|run| read_json(&run.record())).transpose()?.flatten(),
            notes: busy.into_iter().collect(),
        })
    }
}

impl Diagnosis {
    fn of(outcomes: Vec<Outcome<Examined>>, known: Known, fresh: bool) -> Self {
        let (specs, mut hosts): (Vec<HostSpec>, Vec<Patient>) = outcomes.into_iter().map(Patient::of).unzip();
        let rates: Vec<Option<f64>> = hosts.iter().map(|host| host.rate().filter(|_| host.ready)).collect();
        for (host, weight) in hosts.iter_mut().zip(weights::weights(&rates)) {
            host.weight = weight;
        }
        let reports = hosts.iter().filter_map(|host| Some((host.host.as_str(), host.report.as_ref()?)));
        let notes = known.notes.into_iter().chain(checkup::twins(reports)).collect();
        let line = |(spec, host): (&HostSpec, &Patient)| match host.weight {
            Some(weight) => spec.line(&weights::word(weight)),
            None => format!("# {}", spec.line(&weights::word(spec.weight))),
        };
        let suggested_lines = specs.iter().zip(&hosts).map(line).collect();
        let ready =
            || hosts.iter().filter(|host| host.ready).filter_map(|host| host.report.as_ref()?.measured.as_ref());
        // Each looks for a short time only; who has seen most is right.
        let counted: Option<Pictures> = ready().filter_map(|m| m.pictures).max_by_key(|p| (p.complete, p.count));
        let to_do = forecast::to_do(known.run.as_ref(), known.embedded, known.index.as_ref(), counted, fresh)
            .filter(|_| counted.is_some());
        let share: f64 = ready().filter_map(|m| m.images).map(|speed| speed.read_bytes_per_second).sum();
        let mean_bytes = counted.map_or(0.0, |p| p.bytes as f64 / p.count.max(1) as f64);
        let rates: Vec<f64> = rates.into_iter().flatten().collect();
        let forecast = to_do.as_ref().and_then(|to_do| forecast::forecast(to_do.images, &rates, share, mean_bytes));
        let end = forecast.and_then(|f| Some(Local::now() + chrono::Duration::from_std(span(f.seconds)).ok()?));
        let end = end.map(|end| end.to_rfc3339_opts(chrono::SecondsFormat::Secs, false));
        Self { hosts, suggested_lines, to_do, forecast, end, notes }
    }
}

/// A time that any clock can add; a century is as good as for ever.
fn span(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds.clamp(0.0, 3.2e9))
}

impl Patient {
    fn of(Outcome { spec, result }: Outcome<Examined>) -> (HostSpec, Self) {
        let (report, clock_off_seconds, problems) = match result {
            Ok(Examined { report, clock_off_s, problems, .. }) => (Some(report), Some(clock_off_s), problems),
            Err(error) => (None, None, vec![error]),
        };
        let mut notes = report.as_ref().and_then(|r| Some(r.measured.as_ref()?.notes.clone())).unwrap_or_default();
        notes.extend(report.iter().flat_map(|report| too_much(&spec, report)));
        let (host, ready) = (spec.name.clone(), problems.is_empty());
        (spec, Self { host, ready, problems, notes, weight: None, clock_off_seconds, report })
    }

    /// Pictures a second.
    fn rate(&self) -> Option<f64> {
        Some(self.report.as_ref()?.measured.as_ref()?.trial.as_ref()?.images_per_second)
    }
}

/// What the hosts file gives a machine that it does not have.
fn too_much(spec: &HostSpec, report: &HostReport) -> Vec<String> {
    let has = report.host.memory_bytes as f64 / 1e9;
    let memory = spec.ram_gb.filter(|ram_gb| has > 0.0 && *ram_gb > has);
    let memory =
        memory.map(|ram_gb| format!("hosts gives it ram_gb={ram_gb}, but a process there may use {has:.1} GB"));
    let cpus = report.host.cpus;
    let threads = spec.threads.filter(|threads| *threads > cpus as usize);
    let threads = threads.map(|threads| format!("hosts gives it threads={threads}, but it has {cpus} processors"));
    memory.into_iter().chain(threads).collect()
}
