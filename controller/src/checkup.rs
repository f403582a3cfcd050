//! What setup and doctor have in common: every machine is asked at once, and answers for itself. One that fails or is slow
//! does not hold up the others.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use fleet::HostSpec;
use protocol::setup::HostReport;
use stop::Stop;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::interrupt::unless_stopped;
use crate::job::Arguments;
use crate::share::{Share, name_in};
use crate::site::{SHORT, Site};
use crate::users;

/// A clock that is further off than this makes file times meaningless.
const CLOCK_S: f64 = 5.0;

/// Tasks that are given up are gone within this.
const GIVEN_UP: Duration = Duration::from_secs(1);

/// A host's self-check may load a large model.
const CHECK: Duration = Duration::from_secs(300);

/// What became of one machine; an error is told without the machine's name.
pub struct Outcome<T> {
    pub spec: HostSpec,
    pub result: Result<T, String>,
}

/// A machine's report, its clock's difference to ours, and what is wrong there or seen from here.
pub struct Examined {
    pub site: Site,
    pub report: HostReport,
    pub clock_off_s: f64,
    pub problems: Vec<String>,
}

/// Asks all machines at once; in the order of the hosts file. When an end is wished nothing goes on.
pub async fn all<T, F>(stop: &Stop, hosts: Vec<HostSpec>, ask: impl Fn(HostSpec) -> F) -> Result<Vec<Outcome<T>>>
where
    T: Send + 'static,
    F: Future<Output = Result<T>> + Send + 'static,
{
    let mut asked = JoinSet::new();
    for (i, spec) in hosts.iter().enumerate() {
        let answer = ask(spec.clone());
        asked.spawn(async move { (i, answer.await) });
    }
    let mut results = BTreeMap::new();
    let answers = async {
        while let Some(answer) = asked.join_next().await {
            let (i, result) = answer?;
            results.insert(i, result);
        }
        Ok(())
    };
    // What runs on the machines finds its standard input closed.
    let answered = unless_stopped(stop, "the hosts to answer", answers).await;
    if answered.is_err() {
        // Who still asks holds the share, whose token goes with the last of them.
        let _ = timeout(GIVEN_UP, asked.shutdown()).await;
    }
    answered?;
    let outcome = |(spec, result): (HostSpec, Result<T>)| {
        let named = format!("{}: ", spec.name);
        let result = result.map_err(|e| format!("{e:#}").trim_start_matches(&named).to_owned());
        Outcome { spec, result }
    };
    Ok(hosts.into_iter().zip(results.into_values()).map(outcome).collect())
}

/// Lets the users of the machines try whether they can work together.
pub async fn users<'a>(stop: &Stop, share: &Share, examined: impl Iterator<Item = &'a mut Examined>) -> Result<()> {
    let mut examined: Vec<&mut Examined> = examined.collect();
    unless_stopped(stop, "the hosts to try files of each other", users::examine(share, &mut examined)).await
}

/// Has a machine check itself, with these arguments of `worker check`, and looks at it from here.
pub async fn examine(site: Site, share: &Share, arguments: Arguments) -> Result<Examined> {
    // A share that does not answer is known sooner by this.
    let clock_off_s = clock_off_s(&site, share).await?;
    let report = site.ask(&arguments, CHECK).await?;
    let mut problems = report.problems.clone();
    if let Some(owners) = &report.owners {
        problems.iter_mut().for_each(|problem| *problem = users::named(problem, owners));
    }
    if clock_off_s.abs() > CLOCK_S {
        problems.push(format!("its clock is {clock_off_s:+.0} s off: switch on time synchronisation there"));
    }
    if share.image_dir.is_none() && !site.spec.is_local() {
        for (here, there) in site.spec.path_map.pairs() {
            // A mount point without its mount is a folder too, but an empty one.
            let known = Path::new(there).join(name_in(Path::new(here)).unwrap_or_default()).into_os_string();
            if !site.host.run("test", &["-e".into(), known], b"", SHORT).await?.status.success() {
                problems.push(format!(
                    "{there} is not there what {here} is here: mount the share, or mend path_map in hosts"
                ));
            }
        }
    }
    Ok(Examined { site, report, clock_off_s, problems })
}

/// A sentence about each machine that has more than one line in the hosts file, under whatever names.
pub fn twins<'a>(reports: impl Iterator<Item = (&'a str, &'a HostReport)>) -> Vec<String> {
    let mut lines = BTreeMap::<&str, Vec<&str>>::new();
    for (name, report) in reports.filter(|(_, report)| !report.machine.is_empty()) {
        lines.entry(&report.machine).or_default().push(name);
    }
    let names = lines.into_values().filter(|names| names.len() > 1).map(|names| names.join(" and "));
    let told = |names| {
        format!(
            "{names} are one machine: it would be given the work of several, and its processors and memory be counted \
             again; keep one of the lines in hosts"
        )
    };
    names.map(told).collect()
}

/// How far a machine's clock is ahead of ours, seconds; 0 if it may be none, as far as a short question can tell.
async fn clock_off_s(site: &Site, share: &Share) -> Result<f64> {
    let question = share.arguments(site)?.word("--share-only");
    let before = now_ms();
    let there = site.ask(&question, SHORT).await?.unix_ms as f64;
    let after = now_ms();
    // Whole milliseconds are cut off there.
    let off_ms = if there + 1.0 < before { there - before } else { (there - after).max(0.0) };
    Ok(off_ms / 1000.0)
}

fn now_ms() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64() * 1000.0)
}
