//! The hosts file while a run goes on: a machine that is added to it joins.

use std::fs;
use std::time::SystemTime;

use fleet::{HostSpec, HostsFile};

/// The file, and which state of it was read.
pub struct Roster {
    file: Option<HostsFile>,
    read: Option<(SystemTime, u64)>,
}

impl Roster {
    /// The job's hosts file, not read yet. Without one nothing ever changes.
    pub fn new(file: Option<HostsFile>) -> Self {
        Self { file, read: None }
    }

    /// All machines, if the file has changed since it was read; the error if it is wrong by now.
    pub fn changed(&mut self) -> Option<Result<Vec<HostSpec>, String>> {
        let file = self.file.as_ref()?;
        let metadata = fs::metadata(&file.path).ok()?;
        let stamp = Some((metadata.modified().ok()?, metadata.len()));
        if stamp == self.read {
            return None;
        }
        self.read = stamp;
        Some(file.read().map(|hosts| hosts.hosts).map_err(|e| e.to_string()))
    }
}
