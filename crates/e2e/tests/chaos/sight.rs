//! Looks at an index while a run goes on.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use e2e::Lab;

use crate::plan::Moment;

/// Inode and nanoseconds of the time of a part: another file of the same name has others.
type Identity = (u64, i64);

/// What can be seen of the index while a run goes on.
pub struct Sight {
    lab: PathBuf,
    meta_before: Option<Vec<u8>>,
    /// All parts that were seen in the round.
    parts: HashSet<String>,
    /// Those that stood when the present run began.
    stood: HashMap<String, Identity>,
    /// Folders of runs that there were then.
    runs: usize,
}

impl Sight {
    /// Of an index as a round begins with it.
    pub fn new(lab: &Lab) -> Self {
        let lab = lab.path("");
        let meta_before = fs::read(lab.join("imageindex.meta.json")).ok();
        Self { lab, meta_before, parts: HashSet::new(), stood: HashMap::new(), runs: 0 }
    }

    /// The parts that are there.
    fn present(&self) -> Vec<(String, Identity)> {
        let parts = self.names("imageindex/parts").into_iter().filter(|name| !name.starts_with('.'));
        let identity = |name: String| {
            let found = fs::metadata(self.lab.join("imageindex/parts").join(&name)).ok()?;
            Some((name, (found.ino(), found.mtime_nsec())))
        };
        parts.filter_map(identity).collect()
    }

    fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.lab.join(folder)).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    /// A run begins.
    pub fn begin(&mut self) {
        self.stood = self.present().into_iter().collect();
        self.parts.extend(self.stood.keys().cloned());
        self.runs = self.names("imageindex/runs").len();
    }

    /// How far the run is. A part that stood when it began must not become another.
    pub fn look(&mut self, wrong: &mut Vec<String>) -> Moment {
        for (name, now) in self.present() {
            if self.stood.get(&name).is_some_and(|then| *then != now) {
                wrong.push(format!("{name} was done again"));
                self.stood.remove(&name);
            }
            self.parts.insert(name);
        }
        let inside = self.names("imageindex");
        let newest = inside.iter().filter_map(|name| name.strip_prefix("gen-")?.parse::<u64>().ok()).max();
        let meta = fs::read(self.lab.join("imageindex.meta.json")).ok();
        let generation = |meta: &[u8]| serde_json::from_slice::<serde_json::Value>(meta).ok()?["generation"].as_u64();
        let said = || fs::read_to_string(self.lab.join("said")).unwrap_or_default();
        if meta != self.meta_before {
            Moment::Switched
        } else if newest > meta.as_deref().and_then(generation) {
            Moment::Written
        } else if inside.iter().any(|name| name.starts_with("gen-") && name.contains(".tmp-")) {
            Moment::Merging
        } else if !self.parts.is_empty() {
            Moment::Parts(self.parts.len())
        } else if said().contains(" started on ") {
            Moment::Started
        } else if self.names("imageindex/runs").len() > self.runs {
            Moment::Scanning
        } else {
            Moment::Begun
        }
    }
}
