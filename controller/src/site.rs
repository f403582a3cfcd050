//! A machine as one job uses it: the connection, and where things are there.

use std::ffi::OsString;
use std::future::pending;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use fleet::{Host, HostSpec};
use protocol::setup::HostReport;
use protocol::{VERSION, joined};
use tokio::time::timeout;

use crate::job::Arguments;
use crate::share::Share;

/// A small question to a machine must be answered within this.
pub const SHORT: Duration = Duration::from_secs(60);

/// What a log ends with is not worth a longer wait.
const TAIL: Duration = Duration::from_secs(10);

/// A machine that is connected.
#[derive(Clone, Debug)]
pub struct Site {
    pub spec: HostSpec,
    pub host: Host,
    /// How long the share takes to answer there, milliseconds; 0 where it was not asked.
    pub share_ms: f64,
    /// Setup has just put our programs there: what is wrong with them now is not mended by setup.
    pub set_up: bool,
}

impl Site {
    /// Connects to a machine.
    pub async fn connect(spec: &HostSpec) -> Result<Self> {
        Ok(Self { spec: spec.clone(), host: Host::connect(spec).await?, share_ms: 0.0, set_up: false })
    }

    /// Connects to a machine that has our programs and sees the share.
    pub async fn ready(spec: &HostSpec, share: &Share) -> Result<Self> {
        let mut site = Self::connect(spec).await?;
        site.share_ms = site.is_ready(share).await?;
        Ok(site)
    }

    /// A path of this machine as the site sees it.
    pub fn path(&self, here: &Path) -> Result<String> {
        let text = here.to_str().with_context(|| format!("the path {} is not UTF-8", here.display()))?;
        Ok(self.spec.path_there(text))
    }

    /// A place in the site's work folder.
    pub fn work(&self, below: &str) -> String {
        self.spec.work(below)
    }

    /// A program of the set, as the site starts it: beside this one here, from the current bundle there.
    pub fn program(&self, name: &str) -> Result<String> {
        Ok(self.spec.program(name)?)
    }

    /// What `worker check` reports with these arguments. Refuses programs that are not of this version.
    pub async fn ask(&self, check: &Arguments, limit: Duration) -> Result<HostReport> {
        let worker = self.program("worker")?;
        let granted: Vec<OsString> = check.0.iter().cloned().chain(["--granted".into()]).collect();
        let output = self.host.attend(&worker, &granted, b"", limit, pending()).await?;
        let Ok(report) = serde_json::from_slice::<HostReport>(&output.stdout) else {
            // A worker of another version may not know the question; this one they all do.
            let told = self.host.run(&worker, &["--version".into()], b"", SHORT).await?;
            let there = String::from_utf8_lossy(&told.stdout).trim().trim_start_matches("worker ").to_owned();
            let said = String::from_utf8_lossy(&output.stderr);
            ensure!(!told.status.success() || there == VERSION, other_version(&there));
            let remedy = if self.set_up { "" } else { "; run setup_workers.sh" };
            bail!("its programs do not run ({}): {}{remedy}", output.status, joined(&said));
        };
        ensure!(report.version == VERSION, other_version(&report.version));
        Ok(report)
    }

    /// Refuses a site whose programs are not of this version, or that does not see the share. Tells how long the share
    /// took to answer there, in milliseconds.
    pub async fn is_ready(&self, share: &Share) -> Result<f64> {
        if self.spec.is_local() {
            return Ok(0.0);
        }
        let report = self.ask(&share.arguments(self)?.word("--share-only"), SHORT).await?;
        ensure!(report.problems.is_empty(), report.problems.join("; "));
        Ok(report.share_ms)
    }

    /// The last lines of a file there, behind a colon; empty if they cannot be had.
    pub async fn tail(&self, file: &str) -> String {
        let args = ["-n", "4", "--", file].map(OsString::from);
        let output = timeout(TAIL, self.host.run("tail", &args, b"", TAIL)).await;
        let text = output
            .ok()
            .and_then(Result::ok)
            .map(|o| String::from_utf8_lossy(&o.stdout).into_owned())
            .unwrap_or_default();
        Some(joined(&text)).filter(|text| !text.is_empty()).map_or_else(String::new, |text| format!(": {text}"))
    }
}

fn other_version(there: &str) -> String {
    format!("it has version {there} of the programs, this is {VERSION}; run setup_workers.sh")
}
