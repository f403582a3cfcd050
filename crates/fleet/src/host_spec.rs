//! A machine as its line in `hosts` tells it.

use std::path::PathBuf;

use crate::hosts_words::quoted;
use protocol::folders;

use crate::{NoProgram, PathMap};

/// Where lists, logs and programs are on a host whose line names no work_dir: below the home folder.
const WORK_DIR: &str = ".local/state/imagefleet";

/// Where nothing can be written, for a machine whose person has no folder; connecting to it says so.
const NOWHERE: &str = "/dev/null/imagefleet";

/// One machine, with the defaults of the `*` line filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct HostSpec {
    /// Its name, as ssh knows it; `localhost` needs no ssh.
    pub name: String,
    /// User to log in as.
    pub user: Option<String>,
    /// Port of its sshd.
    pub port: Option<u16>,
    /// Private key.
    pub identity_file: Option<PathBuf>,
    /// A file for `ssh -F`.
    pub ssh_config: Option<PathBuf>,
    /// Its share of the work; the weights of all hosts sum to 1.
    pub weight: f64,
    /// Pictures to encode at once.
    pub batch_size: Option<usize>,
    /// Memory that its worker may use.
    pub ram_gb: Option<f64>,
    /// Threads that its worker may use.
    pub threads: Option<usize>,
    /// Folder there for lists, logs and programs.
    pub work_dir: Option<String>,
    /// Paths here to paths there.
    pub path_map: PathMap,
    /// Queries go to this host unless one is named.
    pub query: bool,
    /// The words of its own line behind its name, without those of the `*` line.
    pub words: Vec<String>,
}

impl HostSpec {
    /// A machine of which nothing but the name is known.
    pub fn bare(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            user: None,
            port: None,
            identity_file: None,
            ssh_config: None,
            weight: 1.0,
            batch_size: None,
            ram_gb: None,
            threads: None,
            work_dir: None,
            path_map: PathMap::default(),
            query: false,
            words: Vec::new(),
        }
    }

    /// Whether programs run on it directly, without ssh.
    pub fn is_local(&self) -> bool {
        self.name == "localhost"
    }

    /// A path of this machine as the host sees it.
    pub fn path_there(&self, here: &str) -> String {
        if self.is_local() { here.to_owned() } else { self.path_map.to_remote(here) }
    }

    /// A path of the host as this machine sees it.
    pub fn path_here(&self, there: &str) -> String {
        if self.is_local() { there.to_owned() } else { self.path_map.to_local(there) }
    }

    /// A place in the host's work folder, or the folder itself if `below` is empty.
    pub fn work(&self, below: &str) -> String {
        let dir = match (&self.work_dir, self.is_local()) {
            (Some(dir), _) => dir.clone(),
            (None, true) => {
                folders::state().map_or_else(|_| NOWHERE.to_owned(), |folder| folder.to_string_lossy().into_owned())
            }
            (None, false) => WORK_DIR.to_owned(),
        };
        if below.is_empty() { dir } else { format!("{dir}/{below}") }
    }

    /// Its line for a hosts file, as it is there but for the weight.
    pub fn line(&self, weight: &str) -> String {
        let words = self.words.iter().filter(|word| !word.starts_with("weight=")).map(|word| quoted(word));
        [quoted(&self.name), format!("weight={weight}")].into_iter().chain(words).collect::<Vec<_>>().join(" ")
    }

    /// A program of the set, as the host starts it: beside this one here, from the current bundle there.
    pub fn program(&self, name: &str) -> Result<String, NoProgram> {
        if self.is_local() {
            return Ok(crate::program(name)?.to_string_lossy().into_owned());
        }
        Ok(self.work(&format!("current/bin/{name}")))
    }
}
