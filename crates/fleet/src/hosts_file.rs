//! Which hosts file counts. One that is named is obeyed; one that was only found must be the person's own, because an
//! ssh_config that it names can start any program.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use protocol::folders;

use crate::hosts::{Hosts, HostsError};
use crate::{HostSpec, PathMap, trust};

/// A list of machines is a few kilobytes.
const MOST_BYTES: u64 = 16 << 20;

/// A hosts file, and why it is this one.
#[derive(Clone, Debug)]
pub struct HostsFile {
    /// Where it is.
    pub path: PathBuf,
    chosen: Chosen,
}

/// Why a hosts file was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chosen {
    /// A person named it.
    Named,
    /// It was found in the current folder.
    Here,
    /// It was found in the person's configuration folder.
    Configured,
}

impl fmt::Display for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Named => "it was named with --hosts",
            Self::Here => "it was found in the current folder",
            Self::Configured => "it was found in your configuration folder, as there is none in the current one",
        })
    }
}

impl HostsFile {
    /// The hosts file as named, else `hosts` in the current folder, else in the person's configuration folder.
    pub fn find(named: Option<&Path>) -> Option<Self> {
        if let Some(path) = named {
            return Some(Self { path: path.to_owned(), chosen: Chosen::Named });
        }
        let configured = folders::config().map(|folder| (folder.join("hosts"), Chosen::Configured));
        let places = [Some((PathBuf::from("./hosts"), Chosen::Here)), configured];
        // A link that leads nowhere, as far as this person may see, is no less there.
        let there = |path: &Path| path.metadata().map_or_else(|_| path.is_symlink(), |found| found.is_file());
        places.into_iter().flatten().find(|(path, _)| there(path)).map(|(path, chosen)| Self { path, chosen })
    }

    /// Reads it. One that was not named, and that somebody else could have written, is refused.
    pub fn read(&self) -> Result<Hosts, HostsError> {
        let because = |error| HostsError::Chosen { error: Box::new(error), why: self.chosen };
        let unreadable = |e: io::Error| because(HostsError::Unreadable { file: self.path.clone(), why: e.to_string() });
        let file = match self.chosen {
            Chosen::Named => File::open(&self.path).map_err(unreadable)?,
            Chosen::Here | Chosen::Configured => match trust::open(&self.path).map_err(unreadable)? {
                Ok(file) => file,
                Err(distrust) => {
                    let (file, why) = (self.path.clone(), distrust.to_string());
                    return Err(because(HostsError::Untrusted { file, why }));
                }
            },
        };
        let mut text = Vec::new();
        file.take(MOST_BYTES + 1).read_to_end(&mut text).map_err(unreadable)?;
        if text.len() as u64 > MOST_BYTES {
            return Err(unreadable(io::Error::other(format!("it is longer than {MOST_BYTES} bytes"))));
        }
        let text = String::from_utf8(text).map_err(|_| unreadable(io::Error::other("it is not UTF-8 text")))?;
        Hosts::parse(&text, &self.path).map_err(because)
    }
}

impl Hosts {
    /// What the hosts file holds that [`HostsFile::find`] finds; where there is none, this machine alone.
    pub fn find(named: Option<&Path>) -> Result<Self, HostsError> {
        match HostsFile::find(named) {
            Some(file) => file.read(),
            None => {
                Ok(Self { hosts: vec![HostSpec::bare("localhost")], scaled_from: None, shared: PathMap::default() })
            }
        }
    }
}
