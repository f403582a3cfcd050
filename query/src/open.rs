//! Opens pictures with the machine's own viewer. No shell sees their names.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use protocol::{TELLING_BYTES, begins_as_picture, is_picture};

/// The program that finds the viewer of a file.
const OPENER: &str = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };

/// An opener that still runs after this time is the viewer itself.
const AT_ONCE: Duration = Duration::from_secs(3);

/// Opens a found picture, an absolute path of this machine. An index may name any file, and there are such that a viewer
/// runs; so it must be a picture by its name and by what is in it.
pub async fn picture(path: &str) -> Result<()> {
    let file = Path::new(path);
    // Opening a pipe would wait for who writes into it.
    if !file.is_file() {
        bail!("cannot open {path}: there is no such file here; is the share mounted? Copies do not need it");
    }
    let mut head = Vec::new();
    let reading = File::open(file).and_then(|open| open.take(TELLING_BYTES as u64).read_to_end(&mut head));
    reading.with_context(|| format!("cannot open {path}"))?;
    if !(is_picture(file) && begins_as_picture(&head)) {
        bail!("{path} is not opened: it is no picture");
    }
    open(path).await
}

/// Opens a file that we made.
pub async fn open(path: &str) -> Result<()> {
    let mut command = tokio::process::Command::new(OPENER);
    command.arg(path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut opener = command.spawn().with_context(|| format!("cannot start {OPENER} to open {path}"))?;
    match tokio::time::timeout(AT_ONCE, opener.wait()).await {
        Ok(ended) => {
            let status = ended?;
            if !status.success() {
                bail!("{OPENER} could not open {path} ({status})");
            }
            Ok(())
        }
        Err(_) => Ok(()),
    }
}
