//! The ledger of failures, `P/failures.jsonl`: one JSON object a line, sorted by path.

use std::collections::{BTreeMap, HashSet};
use std::fs;

use protocol::{Failure, IndexPrefix, encode_line};
use serde::{Deserialize, Serialize};

use crate::{IndexError, atomic};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Line {
    #[serde(flatten)]
    failure: Failure,
    attempts: u64,
    first_time: String,
    last_time: String,
}

/// The ledger as it stood, while a merge decides what of it remains.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    old: BTreeMap<String, Line>,
    embedded: HashSet<String>,
}

impl Ledger {
    /// Reads the ledger. It only informs: lines that cannot be read are dropped, with a warning.
    pub(crate) fn read(prefix: &IndexPrefix, warnings: &mut Vec<String>) -> Result<Self, IndexError> {
        let path = prefix.failures();
        let bytes = match fs::read(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            bytes => bytes.map_err(IndexError::io("read", &path))?,
        };
        let lines: Vec<_> = bytes.split(|b| *b == b'\n').filter(|l| !l.is_empty()).collect();
        let old: BTreeMap<String, Line> = lines
            .iter()
            .filter_map(|line| serde_json::from_slice::<Line>(line).ok())
            .map(|line| (line.failure.path.clone(), line))
            .collect();
        if old.len() < lines.len() {
            warnings.push(format!("{}: {} unreadable lines were dropped", path.display(), lines.len() - old.len()));
        }
        Ok(Self { old, embedded: HashSet::new() })
    }

    /// True if nothing ever failed, so that embedded pictures need not be told.
    pub(crate) fn is_empty(&self) -> bool {
        self.old.is_empty()
    }

    /// A picture, by its canonical path, was embedded: it is no failure any more.
    pub(crate) fn embedded(&mut self, path: String) {
        if self.old.contains_key(&path) {
            self.embedded.insert(path);
        }
    }

    /// Writes the ledger after a run: of a full scan just the run's failures, else those beside what remains of the
    /// old ones.
    pub(crate) fn write(
        mut self,
        prefix: &IndexPrefix,
        failures: &[Failure],
        full_scan: bool,
        now: &str,
    ) -> Result<(), IndexError> {
        let mut lines = BTreeMap::new();
        for failure in failures {
            let before = self.old.remove(&failure.path);
            let (attempts, first_time) =
                before.map_or((1, now.to_owned()), |old| (old.attempts.saturating_add(1), old.first_time));
            let line = Line { failure: failure.clone(), attempts, first_time, last_time: now.to_owned() };
            lines.entry(failure.path.clone()).or_insert(line);
        }
        if !full_scan {
            lines.extend(self.old.into_iter().filter(|(path, _)| !self.embedded.contains(path)));
        }
        let text: String = lines.values().map(encode_line).collect();
        atomic::create_dir(prefix.dir())?;
        atomic::write(&prefix.failures(), text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use protocol::FailureKind;

    use super::*;

    fn failure(path: &str) -> Failure {
        Failure { path: path.into(), kind: FailureKind::Undecodable, detail: "d".into(), host: "h".into() }
    }

    #[test]
    fn attempts_are_counted_and_embedded_pictures_leave() {
        let dir = tempfile::tempdir().unwrap();
        let prefix = IndexPrefix::new(dir.path().join("index"));
        let run = |failures: &[Failure], embedded: &str, full: bool, now: &str| -> Vec<(String, u64, String)> {
            let mut ledger = Ledger::read(&prefix, &mut Vec::new()).unwrap();
            ledger.embedded(embedded.into());
            ledger.write(&prefix, failures, full, now).unwrap();
            let ledger = Ledger::read(&prefix, &mut Vec::new()).unwrap();
            ledger.old.into_values().map(|l| (l.failure.path, l.attempts, l.first_time)).collect()
        };
        run(&[failure("/a"), failure("/b")], "/x", true, "t1");
        let second = run(&[failure("/a")], "/b", false, "t2");
        assert_eq!(second, [("/a".into(), 2, "t1".into())]);
        let third = run(&[failure("/c")], "/x", false, "t3");
        assert_eq!(third, [("/a".into(), 2, "t1".into()), ("/c".into(), 1, "t3".into())]);
        assert_eq!(run(&[], "/x", true, "t4"), []);
    }
}
