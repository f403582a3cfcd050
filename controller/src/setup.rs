//! `--setup`: every machine in the hosts file becomes ready, all at once. What is there already is left; what fails is
//! told with its remedy and does not hold up the others.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use fleet::{Content, HostSpec, Hosts, state};
use indicatif::HumanBytes;
use protocol::setup::{Bundle, HostReport, MANIFEST};
use protocol::{Exit, IndexPrefix};

use crate::Args;
use crate::job::Arguments;
use crate::site::{SHORT, Site};
use crate::view::Spinner;

/// A clock that is further off than this makes file times meaningless.
const CLOCK_S: f64 = 5.0;

/// A host's self-check may load a large model.
const CHECK: Duration = Duration::from_secs(300);

/// A manifest is a few kilobytes.
const MOST_MANIFEST_BYTES: usize = 1 << 20;

/// What became of one machine.
struct Outcome {
    name: String,
    result: Result<Ready, String>,
}

/// A machine's report, and what was done to it.
struct Ready {
    report: HostReport,
    copied: bool,
    clock_off_s: f64,
}

/// What all machines are checked against.
struct Plan {
    bundle: Bundle,
    folder: PathBuf,
    only_check: bool,
    image_dir: Option<PathBuf>,
    prefix: Option<IndexPrefix>,
    model: Option<String>,
    token: Option<(String, String)>,
}

/// Makes the machines ready and prints a table.
pub async fn setup(args: &Args) -> Result<Exit> {
    let Hosts { hosts, .. } = Hosts::find(args.hosts.as_deref())?;
    let absolute = |path: &Path| std::path::absolute(path).with_context(|| format!("bad path {}", path.display()));
    let image_dir = args.image_dir.as_deref().map(absolute).transpose()?;
    let prefix = match (&args.index_prefix, &image_dir) {
        (Some(prefix), _) => Some(IndexPrefix::new(absolute(prefix)?)),
        (None, Some(dir)) => Some(IndexPrefix::beside(dir)),
        (None, None) => None,
    };
    let spinner = Spinner::new("Preparing the programs");
    let folder = state::state_dir().join("bundle");
    let bundle = make_bundle(&folder).await?;
    let token = prefix.as_ref().map(put_token).transpose()?;
    let plan = Plan { bundle, folder, only_check: args.check, image_dir, prefix, model: args.model.clone(), token };
    spinner.say(&format!("Checking {} hosts", hosts.len()));
    let plan = std::sync::Arc::new(plan);
    let working: Vec<_> = hosts
        .into_iter()
        .map(|spec| {
            let plan = plan.clone();
            tokio::spawn(async move {
                let name = spec.name.clone();
                Outcome { name, result: ready(&plan, &spec).await.map_err(|e| format!("{e:#}")) }
            })
        })
        .collect();
    let mut outcomes = Vec::new();
    for task in working {
        outcomes.push(task.await?);
    }
    drop(spinner);
    if let (Some((name, _)), Some(prefix)) = (&plan.token, &plan.prefix) {
        fs::remove_file(prefix.dir().join(name)).context("cannot remove the token from the index folder")?;
    }
    Ok(table(&plan.bundle, &outcomes))
}

/// Has the worker beside this program make the bundle.
async fn make_bundle(folder: &Path) -> Result<Bundle> {
    let here = Site::connect(&HostSpec::bare("localhost")).await?;
    let arguments = Arguments::default().word("bundle").set("out", folder);
    let output = here.host.run(&here.program("worker")?, &arguments.0, b"", CHECK).await?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "cannot make a bundle of the programs: {}", said.trim());
    serde_json::from_slice(&output.stdout).context("the worker beside this program is of another version")
}

/// Writes a token into the index folder: who reads it there sees the same folder.
fn put_token(prefix: &IndexPrefix) -> Result<(String, String)> {
    let dir = prefix.dir();
    fs::create_dir_all(dir).with_context(|| format!("cannot make the index folder {}", dir.display()))?;
    let content = format!("{}-{}-{:?}", fleet::hostname(), std::process::id(), SystemTime::now());
    let name = format!(".token-{}", std::process::id());
    fs::write(dir.join(&name), &content)
        .with_context(|| format!("cannot write to the index folder {}", dir.display()))?;
    Ok((name, content))
}

async fn ready(plan: &Plan, spec: &HostSpec) -> Result<Ready> {
    let site = Site::connect(spec).await?;
    let copied = if spec.is_local() { false } else { install(plan, &site).await? };
    let mut arguments =
        Arguments::default().word("check").set("work-dir", site.work("")).set_some("model", plan.model.as_ref());
    if let Some(dir) = &plan.image_dir {
        arguments = arguments.set("image-dir", site.path(dir)?);
    }
    if let Some(prefix) = &plan.prefix {
        arguments = arguments.set("index-dir", site.path(prefix.dir())?);
    }
    let mut arguments = arguments.0;
    if let Some((name, content)) = &plan.token {
        arguments.extend(["--token".into(), OsString::from(name), OsString::from(content)]);
    }
    let before = now_ms();
    let output = site.host.run(&site.program("worker")?, &arguments, b"", CHECK).await?;
    let after = now_ms();
    let Ok(report) = serde_json::from_slice::<HostReport>(&output.stdout) else {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("the programs do not run there ({}): {}{}", output.status, said.trim(), advice(plan));
    };
    let there = report.unix_ms as f64;
    let clock_off_s = if there < before {
        there - before
    } else if there > after {
        there - after
    } else {
        0.0
    } / 1000.0;
    let mut problems = report.problems.clone();
    if clock_off_s.abs() > CLOCK_S {
        problems.push(format!("its clock is {clock_off_s:+.0} s off: switch on time synchronisation there"));
    }
    if let Some((_, there)) = spec.path_map.pairs().iter().find(|_| plan.image_dir.is_none() && !spec.is_local())
        && !site.host.run("test", &["-d".into(), there.into()], b"", SHORT).await?.status.success()
    {
        problems.push(format!("{there} is not there: mount the share, or mend path_map in hosts"));
    }
    ensure!(problems.is_empty(), "{}", problems.join("; "));
    Ok(Ready { report, copied, clock_off_s })
}

/// Copies the bundle unless it is there, and makes it the current one. True if it was copied.
async fn install(plan: &Plan, site: &Site) -> Result<bool> {
    let bundle = &plan.bundle;
    let kind = site.host.run("uname", &["-sm".into()], b"", SHORT).await?;
    let kind = String::from_utf8_lossy(&kind.stdout).trim().to_lowercase();
    let (system, processor) = kind.split_once(' ').unwrap_or((&kind, ""));
    let target = format!("{processor}-{system}");
    ensure!(
        target == bundle.target,
        "it is {target}, but the programs here are for {}: run setup_workers.sh on a machine of its kind",
        bundle.target
    );
    let folder = format!("versions/{}", bundle.name);
    let manifest = site.work(&format!("{folder}/{MANIFEST}"));
    let wanted = fs::read(plan.folder.join(MANIFEST)).context("the bundle's manifest is gone")?;
    let there = site.host.get(&manifest, MOST_MANIFEST_BYTES).await.unwrap_or_default();
    let missing = there != wanted;
    ensure!(!(missing && plan.only_check), "it does not have these programs ({}): run setup_workers.sh", bundle.name);
    if missing {
        for file in &bundle.files {
            let to = site.work(&format!("{folder}/{}", file.path));
            let mode = if file.program { 0o755 } else { 0o644 };
            site.host.put(Content::File(&plan.folder.join(&file.path)), &to, mode).await?;
        }
        site.host.put(Content::Bytes(&wanted), &manifest, 0o644).await?;
    }
    if !plan.only_check {
        // The current version, and the programs where a person looks for them.
        let links = [
            ("current", folder.clone()),
            ("worker", "current/bin/worker".into()),
            ("merger", "current/bin/merger".into()),
            ("query", "current/bin/query".into()),
        ];
        for (name, to) in links {
            let args = ["-sfn".into(), OsString::from(to), OsString::from(site.work(name))];
            let output = site.host.run("ln", &args, b"", SHORT).await?;
            ensure!(
                output.status.success(),
                "cannot link {}: {}",
                site.work(name),
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
    }
    Ok(missing)
}

fn advice(plan: &Plan) -> String {
    match plan.bundle.cpu_level.as_str() {
        "" => String::new(),
        level => format!(". They need a processor of level {level} and the C library of this machine or a newer one"),
    }
}

fn table(bundle: &Bundle, outcomes: &[Outcome]) -> Exit {
    let width = outcomes.iter().map(|o| o.name.chars().count()).max().unwrap_or(0).max(4);
    println!(
        "{:<width$}  {:>4}  {:>10}  {:>10}  {:<10} {:>9}  programs",
        "host", "cpus", "memory", "free", "processor", "images/s"
    );
    for Outcome { name, result } in outcomes {
        match result {
            Ok(Ready { report, copied, clock_off_s }) => {
                let clock = if *clock_off_s == 0.0 { String::new() } else { format!(", clock {clock_off_s:+.1} s") };
                println!(
                    "{name:<width$}  {:>4}  {:>10}  {:>10}  {:<10} {:>9.0}  {}{clock}",
                    report.host.cpus,
                    HumanBytes(report.host.memory_bytes).to_string(),
                    HumanBytes(report.free_bytes).to_string(),
                    report.cpu_level,
                    report.images_per_second.unwrap_or(0.0),
                    if *copied { format!("{} copied", bundle.name) } else { bundle.name.clone() },
                );
            }
            Err(_) => println!("{name:<width$}  FAILED"),
        }
    }
    let failed: Vec<_> = outcomes.iter().filter_map(|o| Some((&o.name, o.result.as_ref().err()?))).collect();
    println!("{} of {} hosts are ready (images/s: built-in demo model)", outcomes.len() - failed.len(), outcomes.len());
    for (name, error) in &failed {
        eprintln!("{name}: {error}");
    }
    if failed.is_empty() { Exit::Done } else { Exit::Failed }
}

fn now_ms() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64() * 1000.0)
}
