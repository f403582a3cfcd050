//! What the tests of this crate share.

pub mod sshd;

use std::ffi::OsString;
use std::time::Duration;

use fleet::{Host, HostError, HostSpec};
use sshd::Lab;

/// Long enough for a busy machine.
pub const LONG: Duration = Duration::from_secs(60);

pub async fn connect(lab: &Lab, name: &str) -> Host {
    Host::connect(&lab.spec(name)).await.unwrap_or_else(|e| panic!("{e}: {}", e.detail()))
}

/// This machine, and one behind SSH.
pub async fn both(lab: &Lab) -> [Host; 2] {
    [Host::connect(&HostSpec::bare("localhost")).await.unwrap(), connect(lab, "w0").await]
}

pub fn args(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

pub async fn sh(host: &Host, script: &str) -> Result<std::process::Output, HostError> {
    host.run("sh", &args(&["-c", script]), b"", LONG).await
}
