//! What kind of machine a host is, and whether a bundle runs there. Asked before anything is copied: what the loader of a
//! program says there comes late and tells nobody what to do.

use std::ffi::OsString;

use anyhow::{Result, ensure};
use protocol::setup::{Bundle, GlibcVersion};

use crate::site::{SHORT, Site};

/// A host's kind.
pub struct Kind {
    /// Processor and system, as `x86_64-linux`.
    target: String,
    /// `None` where the C library is another.
    glibc: Option<GlibcVersion>,
}

impl Kind {
    /// Asks a host that may have no program of ours yet.
    pub async fn of(site: &Site) -> Result<Self> {
        let [system, libc] = [["uname", "-sm"], ["getconf", "GNU_LIBC_VERSION"]];
        Ok(Self::from_words(&said(site, system).await?, &said(site, libc).await?))
    }

    /// From the words of `uname -sm` and `getconf GNU_LIBC_VERSION`: `Linux x86_64` and `glibc 2.36`.
    fn from_words(system: &str, libc: &str) -> Self {
        let system = system.trim().to_lowercase();
        let (name, processor) = system.split_once(' ').unwrap_or((&system, ""));
        let glibc = libc.trim().strip_prefix("glibc ").and_then(|version| version.parse().ok());
        Self { target: format!("{processor}-{name}"), glibc }
    }

    /// Refuses a bundle that cannot run there.
    pub fn suits(&self, bundle: &Bundle) -> Result<()> {
        ensure!(
            self.target == bundle.target,
            "it is {}, but the programs here are for {}: make some on a machine of its kind (worker \
             bundle --out FOLDER) and name them with --bundle FOLDER",
            self.target,
            bundle.target
        );
        let Some(needed) = bundle.glibc else { return Ok(()) };
        let has = self.glibc.map_or("no GNU C library".to_owned(), |version| format!("glibc {version}"));
        ensure!(
            self.glibc >= Some(needed),
            "it has {has}, but the programs here need glibc {needed} or newer: update its system, or make some on the \
             machine with the oldest one (worker bundle --out FOLDER) and name them with --bundle FOLDER"
        );
        Ok(())
    }
}

/// What a command says; nothing if it fails or is not there.
async fn said(site: &Site, [program, argument]: [&str; 2]) -> Result<String> {
    let output = site.host.run(program, &[OsString::from(argument)], b"", SHORT).await?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(system: &str, libc: &str) -> String {
        let bundle = Bundle {
            name: "0-1".into(),
            version: "0".into(),
            target: "x86_64-linux".into(),
            glibc: "2.34".parse().ok(),
            files: Vec::new(),
        };
        Kind::from_words(system, libc).suits(&bundle).err().map(|e| e.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_bundle_goes_only_where_it_runs() {
        assert_eq!(refusal("Linux x86_64\n", "glibc 2.34\n"), "");
        assert_eq!(refusal("Linux x86_64", "glibc 3.0"), "");
        let old = refusal("Linux x86_64", "glibc 2.4");
        assert!(old.starts_with("it has glibc 2.4, but the programs here need glibc 2.34 or newer: "), "{old}");
        assert!(refusal("Linux x86_64", "").starts_with("it has no GNU C library, but "));
        assert!(
            refusal("Linux aarch64", "glibc 2.36").starts_with("it is aarch64-linux, but the programs here are for")
        );
        assert!(refusal("", "").starts_with("it is -, "));
    }
}
