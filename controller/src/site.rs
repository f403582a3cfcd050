//! A machine as one job uses it: the connection, and where things are there.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use fleet::{Content, Host, HostSpec};
use protocol::VERSION;

/// A small question to a machine must be answered within this.
pub const SHORT: Duration = Duration::from_secs(60);

/// A machine that is connected.
#[derive(Clone, Debug)]
pub struct Site {
    pub spec: HostSpec,
    pub host: Host,
}

impl Site {
    /// Connects to a machine.
    pub async fn connect(spec: &HostSpec) -> Result<Self> {
        Ok(Self { spec: spec.clone(), host: Host::connect(spec).await? })
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

    /// Refuses a site whose programs are not of this version.
    pub async fn has_our_version(&self) -> Result<()> {
        if self.spec.is_local() {
            return Ok(());
        }
        let output = self.host.run(&self.program("worker")?, &["--version".into()], b"", SHORT).await?;
        let said = String::from_utf8_lossy(&output.stdout);
        let there = said.trim().trim_start_matches("worker ");
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("its programs do not run ({}): {}; run setup_workers.sh", output.status, said.trim());
        }
        if there != VERSION {
            bail!("it has version {there} of the programs, this is {VERSION}; run setup_workers.sh");
        }
        Ok(())
    }

    /// Puts a small file into place there.
    pub async fn write(&self, to: &str, bytes: &[u8]) -> Result<()> {
        Ok(self.host.put(Content::Bytes(bytes), to, 0o644).await?)
    }

    /// The last lines of a file there, each on a line of its own; empty if they cannot be had.
    pub async fn tail(&self, file: &str) -> String {
        let args = ["-n", "4", "--", file].map(OsString::from);
        let output = self.host.run("tail", &args, b"", Duration::from_secs(10)).await;
        let text = output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
        text.lines().map(|l| format!("\n    {l}")).collect()
    }
}
