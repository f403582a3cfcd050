//! `--setup`: every machine in the hosts file becomes ready, all at once. What is there already is left; what fails is
//! told with its remedy and does not hold up the others.

use std::sync::Arc;

use anyhow::{Context, Result};
use fleet::{HostSpec, Hosts};
use protocol::{Exit, folders, note, tell, told};
use stop::Stop;

use crate::Args;
use crate::checkup::{self, Examined, Outcome};
use crate::interrupt::{blocking, unless_stopped};
use crate::programs::{self, Programs};
use crate::share::Share;
use crate::site::Site;
use crate::view::Spinner;

/// What a machine told, and what was done to it.
struct Ready {
    examined: Examined,
    copied: bool,
}

/// What all machines are checked against.
struct Plan {
    bundles: Vec<Programs>,
    only_check: bool,
    share: Share,
    model: Option<String>,
}

/// Makes the machines ready and prints a table.
pub async fn setup(args: &Args, stop: &Stop) -> Result<Exit> {
    let file = args.hosts.clone();
    let Hosts { hosts, .. } = blocking(stop, "the hosts file", move || Ok(Hosts::find(file.as_deref())?)).await?;
    let spinner = Spinner::new("Preparing the programs");
    let bundles = if args.bundle.is_empty() {
        let made = Programs::made(folders::state()?.join("bundle"));
        vec![unless_stopped(stop, "the programs to be copied", made).await?]
    } else {
        let folders = args.bundle.clone();
        let given = move || folders.iter().map(|folder| Programs::given(folder)).collect::<Result<_>>();
        blocking(stop, "the programs to be read", given).await?
    };
    let (images, index) = (args.images()?, args.named_index()?);
    let share = blocking(stop, "the share", move || Share::new(images, index)).await?;
    let plan = Arc::new(Plan { bundles, only_check: args.check, share, model: args.model.clone() });
    spinner.say(&format!("Checking {} hosts", hosts.len()));
    let mut outcomes = checkup::all(stop, hosts, |spec| ready(plan.clone(), spec)).await?;
    let examined = outcomes.iter_mut().filter_map(|o| Some(&mut o.result.as_mut().ok()?.examined));
    checkup::users(stop, &plan.share, examined).await?;
    drop(spinner);
    let exit = table(&plan.bundles, &outcomes);
    told().context("cannot write to standard output")?;
    Ok(exit)
}

async fn ready(plan: Arc<Plan>, spec: HostSpec) -> Result<Ready> {
    let mut site = Site::connect(&spec).await?;
    let copied = if spec.is_local() { false } else { programs::install(&plan.bundles, &site, plan.only_check).await? };
    let arguments = plan.share.arguments(&site)?.set_some("model", plan.model.as_ref().map(|m| spec.path_there(m)));
    site.set_up = true;
    Ok(Ready { examined: checkup::examine(site, &plan.share, arguments).await?, copied })
}

fn table(bundles: &[Programs], outcomes: &[Outcome<Ready>]) -> Exit {
    let width = outcomes.iter().map(|o| o.spec.name.chars().count()).max().unwrap_or(0).max(4);
    tell!("{:<width$} {:>4} {:>7} {:>8} {:<9} {:>8}", "host", "cpus", "RAM GiB", "free GiB", "processor", "images/s");
    let mut failed = Vec::new();
    for Outcome { spec, result } in outcomes {
        let name = &spec.name;
        match result {
            Ok(Ready { examined, .. }) if !examined.problems.is_empty() => {
                tell!("{name:<width$} FAILED");
                failed.push((name, examined.problems.join("; ")));
            }
            Ok(Ready { examined: Examined { report, clock_off_s, .. }, copied }) => {
                let copied = if *copied { " copied" } else { "" };
                let clock = if *clock_off_s == 0.0 { String::new() } else { format!(" clock {clock_off_s:+.1} s") };
                tell!(
                    "{name:<width$} {:>4} {:>7.1} {:>8.1} {:<9} {:>8.0}{copied}{clock}",
                    report.host.cpus,
                    gib(report.host.memory_bytes),
                    gib(report.free_bytes),
                    report.cpu_level,
                    report.images_per_second.unwrap_or(0.0),
                );
            }
            Err(error) => {
                tell!("{name:<width$} FAILED");
                failed.push((name, error.clone()));
            }
        }
    }
    let ready = outcomes.len() - failed.len();
    let names: Vec<&str> = bundles.iter().map(Programs::name).collect();
    tell!("{ready} of {} hosts are ready with programs {}", outcomes.len(), names.join(", "));
    tell!("images/s are those of the built-in demo model");
    let reports =
        outcomes.iter().filter_map(|o| Some((o.spec.name.as_str(), &o.result.as_ref().ok()?.examined.report)));
    checkup::twins(reports).iter().for_each(|twins| note!("Warning: {twins}"));
    for (name, error) in &failed {
        note!("{name}: {error}");
    }
    if failed.is_empty() { Exit::Done } else { Exit::Failed }
}

fn gib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}
