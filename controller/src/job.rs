//! A controller's command line, checked and resolved: what is done where.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use fleet::{HostSpec, Hosts, state};
use protocol::{IndexPrefix, RunLock};

use crate::Args;

/// How often the lock's heartbeat is written.
const BEAT: Duration = Duration::from_secs(10);

/// What one controller does.
pub struct Job {
    pub args: Args,
    pub hosts: Vec<HostSpec>,
    pub image_dir: PathBuf,
    pub prefix: IndexPrefix,
    pub run_id: String,
}

impl Job {
    pub fn new(args: Args) -> Result<Self> {
        let hosts = Hosts::find(args.hosts.as_deref())?;
        if let Some(sum) = hosts.scaled_from {
            eprintln!("Weights sum to {sum:.3}, not 1; they are scaled.");
        }
        if let Some(far) = hosts.hosts.iter().find(|h| !h.is_local()) {
            bail!(
                "host {}: this version works on localhost only; give a hosts file that holds just: localhost",
                far.name
            );
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
                let last = state::last_index()
                    .context("which index? Say --index-prefix P, or --image-dir DIR for the index beside it")?;
                IndexPrefix::new(last)
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
        Ok(Self { args, hosts: hosts.hosts, image_dir: image_dir.unwrap_or_default(), prefix, run_id })
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

    /// The hosts' shares of the work; they sum to 1.
    pub fn weights(&self) -> Vec<f64> {
        self.hosts.iter().map(|h| h.weight).collect()
    }

    /// Folder for a host's lists and logs.
    pub fn work_dir(&self, host: &HostSpec) -> PathBuf {
        host.work_dir.as_ref().map_or_else(state::state_dir, PathBuf::from)
    }

    /// Opens a log in a host's work folder for what a program says outside its events.
    pub fn log(&self, host: &HostSpec, name: &str) -> Result<(File, PathBuf)> {
        let dir = self.work_dir(host);
        fs::create_dir_all(&dir).with_context(|| format!("cannot make the work folder {}", dir.display()))?;
        let path = dir.join(name);
        let file = OpenOptions::new().create(true).append(true).open(&path);
        Ok((file.with_context(|| format!("cannot write the log {}", path.display()))?, path))
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
