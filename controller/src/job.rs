//! A controller's command line, checked and resolved: what is done where.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use fleet::{HostSpec, Hosts, PathMap, state};
use protocol::{IndexPrefix, RunLock};

use crate::Args;
use crate::site::{SHORT, Site};

/// How often the lock's heartbeat is written.
const BEAT: Duration = Duration::from_secs(10);

/// What one controller does.
pub struct Job {
    pub args: Args,
    pub hosts: Vec<HostSpec>,
    /// The `*` line's path map.
    pub shared: PathMap,
    pub image_dir: PathBuf,
    pub prefix: IndexPrefix,
    pub run_id: String,
}

impl Job {
    pub fn new(args: Args) -> Result<Self> {
        let Hosts { hosts, scaled_from, shared } = Hosts::find(args.hosts.as_deref())?;
        if let Some(sum) = scaled_from {
            eprintln!("Weights sum to {sum:.3}, not 1; they are scaled.");
        }
        let absolute = |path: &Path| std::path::absolute(path).with_context(|| format!("bad path {}", path.display()));
        let image_dir = args.image_dir.as_deref().map(absolute).transpose()?;
        if let Some(dir) = &image_dir {
            ensure!(dir.is_dir(), "the image folder {} is not there; is the share mounted?", dir.display());
        }
        let prefix = match (&args.index_prefix, &image_dir) {
            (Some(prefix), _) => IndexPrefix::new(absolute(prefix)?),
            (None, Some(dir)) => IndexPrefix::beside(dir),
            (None, None) => {
                let which = "which index? Say --index-prefix P, or --image-dir DIR for the index beside it";
                IndexPrefix::new(state::last_index().context(which)?)
            }
        };
        let mut args = args;
        args.image_list = args.image_list.as_deref().map(absolute).transpose()?;
        // A model that is a folder must mean the same folder in every program that is started.
        if let Some(folder) = args.model.as_deref().map(Path::new).filter(|m| m.is_dir()) {
            args.model = Some(absolute(folder)?.to_string_lossy().into_owned());
        }
        let now = chrono::Local::now();
        let run_id = format!("{}-{:05}", now.format("%Y%m%d-%H%M%S"), std::process::id() % 100_000);
        Ok(Self { args, hosts, shared, image_dir: image_dir.unwrap_or_default(), prefix, run_id })
    }

    /// Makes this controller the owner of the index until the guard is dropped.
    pub fn lock(&self) -> Result<LockGuard> {
        let dir = self.prefix.dir();
        fs::create_dir_all(dir).with_context(|| format!("cannot make the index folder {}", dir.display()))?;
        let lock = Arc::new(Mutex::new(RunLock::take(&self.prefix.lock(), "controller", &fleet::hostname())?));
        let beating = Arc::downgrade(&lock);
        tokio::spawn(async move {
            let mut clock = tokio::time::interval(BEAT);
            loop {
                clock.tick().await;
                let Some(lock) = beating.upgrade() else { return };
                // A share that is away for a moment takes the next beat; other controllers wait for six of them.
                let _ = lock.lock().map(|mut lock| lock.beat());
            }
        });
        Ok(LockGuard { _lock: lock })
    }

    /// Connects to all machines at once and looks whether they have our programs. One that cannot be used is `Err`
    /// with the reason; that none can be used is an error.
    pub async fn connect(&self) -> Result<Vec<Result<Site, String>>> {
        let connecting: Vec<_> = self
            .hosts
            .iter()
            .cloned()
            .map(|spec| {
                tokio::spawn(async move {
                    let site = Site::connect(&spec).await?;
                    site.has_our_version().await?;
                    anyhow::Ok(site)
                })
            })
            .collect();
        let mut sites = Vec::new();
        for task in connecting {
            sites.push(task.await?.map_err(|e| format!("{e:#}")));
        }
        if sites.iter().all(Result::is_err) {
            let errors: Vec<String> = self
                .hosts
                .iter()
                .zip(&sites)
                .filter_map(|(h, s)| Some(format!("{}: {}", h.name, s.as_ref().err()?)))
                .collect();
            bail!("no host can be used:\n  {}", errors.join("\n  "));
        }
        for (spec, error) in self.hosts.iter().zip(&sites).filter_map(|(h, s)| Some((h, s.as_ref().err()?))) {
            eprintln!("{} is left out: {error}", spec.name);
        }
        Ok(sites)
    }

    /// The machine that scans and merges, of those that answer now: this one if it is in the hosts file, else the one
    /// that answers queries, else the one with the most memory.
    pub async fn nearest<'a>(&self, sites: &'a [Result<Site, String>]) -> Result<&'a Site> {
        let mut usable: Vec<&Site> = sites.iter().flatten().collect();
        let memory = |s: &Site| s.spec.ram_gb.unwrap_or(0.0);
        usable.sort_by(|a, b| memory(b).total_cmp(&memory(a)));
        usable.sort_by_key(|s| (!s.spec.is_local(), !s.spec.query));
        let mut errors = String::new();
        for site in usable {
            match site.host.run("true", &[], b"", SHORT).await {
                Ok(_) => return Ok(site),
                Err(e) => errors += &format!("\n  {e}"),
            }
        }
        bail!("no host answers any more:{errors}")
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

/// Holds the index's lock.
pub struct LockGuard {
    _lock: Arc<Mutex<RunLock>>,
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

    /// `--name` if it is so.
    pub fn flag(self, name: &str, is_so: bool) -> Self {
        if is_so { self.word(&format!("--{name}")) } else { self }
    }
}
