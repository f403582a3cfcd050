//! A controller's command line, checked and resolved: what is done where.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, anyhow, bail, ensure};
use disk::{Beating, RunLock, ours};
use fleet::{HostSpec, Hosts, PathMap};
use protocol::{IndexPrefix, Lines, hash_hex, note};
use stop::{Reason, Stop};
use tokio::task::JoinSet;

use crate::Args;
use crate::args::absolute;
use crate::interrupt::unless_stopped;
use crate::share::Share;
use crate::site::Site;

/// The share is far from a machine if it takes so many times, and so many milliseconds, longer there than elsewhere.
const FAR_TIMES: f64 = 2.0;
const FAR_MS: f64 = 10.0;

/// What one controller does.
pub struct Job {
    pub args: Args,
    pub hosts: Vec<HostSpec>,
    /// The `*` line's path map.
    pub shared: PathMap,
    pub image_dir: PathBuf,
    pub prefix: IndexPrefix,
    pub run_id: String,
    /// The wish to end before all is done.
    pub stop: Stop,
    /// What the machines must see: of the index only once this controller owns it.
    share: Arc<Share>,
    told_unsynced: AtomicBool,
    /// The right to the index. Let go last.
    pub owner: Option<Arc<Beating>>,
}

impl Job {
    pub fn new(args: Args, stop: Stop) -> Result<Self> {
        let Hosts { hosts, scaled_from, shared } = Hosts::find(args.hosts.as_deref())?;
        if let Some(sum) = scaled_from {
            note!("Weights sum to {sum:.3}, not 1; they are scaled.");
        }
        if let Some(name) = args.merge_on.as_deref().filter(|n| *n != "here" && hosts.iter().all(|h| h.name != *n)) {
            let names: Vec<&str> = hosts.iter().map(|h| h.name.as_str()).collect();
            bail!("--merge-on {name}: no such machine; it can be here, {}", names.join(", "));
        }
        let image_dir = args.images()?;
        if let Some(dir) = &image_dir {
            ensure!(dir.is_dir(), "the image folder {} is not there; is the share mounted?", dir.display());
        }
        let prefix = args.index()?;
        let mut args = args;
        args.image_list = args.image_list.as_deref().map(absolute).transpose()?;
        let now = chrono::Local::now();
        let run_id = format!("{}-{:05}", now.format("%Y%m%d-%H%M%S"), std::process::id() % 100_000);
        let share = Arc::new(Share::new(image_dir.clone(), None)?);
        let (image_dir, told_unsynced) = (image_dir.unwrap_or_default(), AtomicBool::new(false));
        Ok(Self { args, hosts, shared, image_dir, prefix, run_id, stop, share, told_unsynced, owner: None })
    }

    /// Makes this controller the owner of the index until the job is dropped. Refuses a share that cannot hold one. That
    /// another takes the index meanwhile ends the run.
    pub fn lock(&mut self) -> Result<()> {
        ours::look(&self.prefix)?;
        ours::make(&self.prefix)?;
        let stop = self.stop.clone();
        let lost = move |lost: disk::Lost| stop.now(Reason::Fault(lost.to_string()));
        let lock = RunLock::take(&self.prefix.lock(), "controller", &fleet::hostname())?;
        self.owner = Some(Arc::new(lock.beating_until(lost)));
        for file in [self.prefix.lock(), self.prefix.meta()] {
            disk::probe(&file)?;
        }
        if let Some(note) = disk::unsynced().filter(|note| self.is_news(note)) {
            note!("Warning: {note}");
        }
        self.share = Arc::new(Share::new(self.share.image_dir.clone(), Some(self.prefix.clone()))?);
        Ok(())
    }

    /// Whether a warning is to be shown: what every program finds out about a share is told once a run.
    pub fn is_news(&self, warning: &str) -> bool {
        warning != disk::UNSYNCED || !self.told_unsynced.swap(true, Ordering::Relaxed)
    }

    /// What every machine must see.
    pub fn share(&self) -> Arc<Share> {
        self.share.clone()
    }

    /// Connects to all machines at once and looks whether they have our programs and see the share. One that cannot be
    /// used is `Err` with the reason; that none can be used is an error.
    pub async fn connect(&self) -> Result<Vec<Result<Site, String>>> {
        let mut connecting = JoinSet::new();
        for (i, spec) in self.hosts.iter().cloned().enumerate() {
            let share = self.share.clone();
            connecting.spawn(async move { (i, Site::ready(&spec, &share).await) });
        }
        let mut answers = BTreeMap::new();
        loop {
            let silent = self.hosts.iter().enumerate().filter(|(i, _)| !answers.contains_key(i));
            let silent: Vec<&str> = silent.map(|(_, host)| host.name.as_str()).collect();
            self.stop.waits_for(format!("an answer from {}", listed(&silent)));
            let Some(answer) = connecting.join_next().await else { break };
            let (i, site) = answer?;
            answers.insert(i, site.map_err(|e| format!("{e:#}")));
        }
        let sites: Vec<Result<Site, String>> = answers.into_values().collect();
        if sites.iter().all(Result::is_err) {
            let errors: Vec<String> = self
                .hosts
                .iter()
                .zip(&sites)
                .filter_map(|(h, s)| Some(format!("{}: {}", h.name, s.as_ref().err()?)))
                .collect();
            return Err(Lines::new("no host can be used", errors).into());
        }
        for (spec, error) in self.hosts.iter().zip(&sites).filter_map(|(h, s)| Some((h, s.as_ref().err()?))) {
            note!("{} is left out: {error}", spec.name);
        }
        Ok(sites)
    }

    /// Clones of [`Job::nearest`] and [`Job::merging`]: those that answer now.
    pub async fn near_and_merging(&self, sites: &[Result<Site, String>]) -> Result<(Site, Site)> {
        let ask = async {
            let near = self.nearest(sites).await?;
            Ok((near.clone(), self.merging(sites, near).await?))
        };
        unless_stopped(&self.stop, "an answer from the host that scans or merges", ask).await
    }

    /// The machine that scans and merges, of those that answer now: one to which the share is near; of several, this one
    /// if it is in the hosts file, else the one that answers queries, else the one with the most memory.
    async fn nearest<'a>(&self, sites: &'a [Result<Site, String>]) -> Result<&'a Site> {
        let mut usable: Vec<&Site> = sites.iter().flatten().collect();
        let memory = |s: &Site| s.spec.ram_gb.unwrap_or(0.0);
        let least_ms = usable.iter().map(|s| s.share_ms).fold(f64::INFINITY, f64::min);
        // The scanning machine may name the root of the index: then its choice must not depend on the weather.
        let names: BTreeSet<_> = usable.iter().flat_map(|s| self.canonical(s)).collect();
        let far = |s: &Site| names.len() == 1 && s.share_ms > FAR_TIMES * least_ms + FAR_MS;
        usable.sort_by(|a, b| memory(b).total_cmp(&memory(a)));
        usable.sort_by_key(|s| (far(s), !s.spec.is_local(), !s.spec.query));
        let mut errors = Vec::new();
        for site in usable {
            match site.is_ready(&self.share).await {
                Ok(_) => return Ok(site),
                Err(e) => errors.push(format!("{}: {e:#}", site.spec.name)),
            }
        }
        Err(Lines::new("no host can be used any more", errors).into())
    }

    /// The machine that merges: the one that was asked for, which must be usable, else `near`, the nearest.
    async fn merging(&self, sites: &[Result<Site, String>], near: &Site) -> Result<Site> {
        match self.args.merge_on.as_deref() {
            None => Ok(near.clone()),
            Some("here") => Site::connect(&HostSpec::bare("localhost")).await,
            Some(name) => {
                let mut found = self.hosts.iter().zip(sites).filter(|(host, _)| host.name == name);
                let (_, site) = found.next().context("it was looked for at the start")?;
                let site = site.as_ref().map_err(|e| anyhow!("--merge-on {name}: {e}"))?;
                site.is_ready(&self.share).await.with_context(|| format!("--merge-on {name}"))?;
                Ok(site.clone())
            }
        }
    }

    /// The folder in a machine's work folder that holds this run's list and logs: no other run, of this index or of another,
    /// has files there.
    pub fn run_dir(&self, host: &HostSpec) -> String {
        let here = self.prefix.dir().to_string_lossy();
        let index = hash_hex(self.shared.to_remote(&here).as_bytes());
        host.work(&format!("{}/{}", &index[..8], self.run_id))
    }

    /// The root's name in the index: how the `*` line's path map names it, else how the scanning machine sees it.
    pub fn canonical(&self, scanning: &Site) -> Result<String> {
        let here = self.image_dir.to_str().context("the image folder's name is not UTF-8")?;
        let shared = self.shared.to_remote(here);
        if shared != here { Ok(shared) } else { scanning.path(&self.image_dir) }
    }

    /// The hosts' shares of the work; those that cannot be used have none.
    pub fn weights(&self, sites: &[Result<Site, String>]) -> Vec<f64> {
        let weight = |(host, site): (&HostSpec, &Result<Site, String>)| if site.is_ok() { host.weight } else { 0.0 };
        let weights: Vec<f64> = self.hosts.iter().zip(sites).map(weight).collect();
        let sum: f64 = weights.iter().sum();
        weights.iter().map(|w| w / sum).collect()
    }
}

/// The first few of names.
fn listed(names: &[&str]) -> String {
    const SHOWN: usize = 3;
    match names.len().saturating_sub(SHOWN) {
        0 => names.join(", "),
        more => format!("{} and {more} more hosts", names[..SHOWN].join(", ")),
    }
}

/// Command-line arguments under construction.
#[derive(Default)]
pub struct Arguments(pub Vec<OsString>);

impl Arguments {
    /// A bare word.
    pub fn word(mut self, word: &str) -> Self {
        self.0.push(word.into());
        self
    }

    /// `--name=value`, in one word, so that a value may begin with a dash.
    pub fn set(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        let mut word = OsString::from(format!("--{name}="));
        word.push(value);
        self.0.push(word);
        self
    }

    /// `--name=value` if there is a value.
    pub fn set_some(self, name: &str, value: Option<impl AsRef<std::ffi::OsStr>>) -> Self {
        match value {
            Some(value) => self.set(name, value),
            None => self,
        }
    }

    /// How a worker on `host` encodes; `batch_size` is what its line says, or less by now; none is for itself to
    /// choose.
    pub fn encoding(self, args: &Args, host: &HostSpec, batch_size: Option<usize>) -> Self {
        self.set_some("batch-size", batch_size.map(|n| n.to_string()))
            .set("provider", &args.provider)
            .set("precision", &args.precision)
            .set_some("max-deviation", args.max_deviation.map(|d| d.to_string()))
            .set("decode", &args.decode)
            .set_some("threads", host.threads.map(|n| n.to_string()))
            .set_some("ram-gb", host.ram_gb.map(|gb| gb.to_string()))
    }

    /// `--name` if it is so.
    pub fn flag(self, name: &str, is_so: bool) -> Self {
        if is_so { self.word(&format!("--{name}")) } else { self }
    }
}
