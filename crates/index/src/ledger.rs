//! The ledger of failures, `P/failures.jsonl`: one JSON object a line, sorted by path.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{BufReader, ErrorKind};

use disk::{Folder, atomic, ours};
use protocol::{Entry, Failure, ImagePath, IndexPrefix, LONGEST_EVENT, encode_line, lexical_text, lines, read_all};
use serde::{Deserialize, Serialize};

use crate::IndexError;

/// A longer file is no ledger: three million failures have a gigabyte.
const MOST_BYTES: u64 = 1 << 30;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Line {
    #[serde(flatten)]
    failure: Failure,
    attempts: u64,
    first_time: String,
    last_time: String,
}

/// Pictures below this canonical root that failed by a fault in their bytes, as they were then, in any order: this
/// version need not try them again while they are so. Lines that cannot be read are nobody's; the next merge tells.
pub fn would_fail_again(
    prefix: &IndexPrefix,
    root: &str,
) -> Result<impl Iterator<Item = Result<Entry, IndexError>>, IndexError> {
    let (path, root) = (prefix.failures(), format!("{}/", root.trim_end_matches('/')));
    let file = open(prefix)?.map(BufReader::new);
    let entry = move |line: &[u8]| {
        let failure = serde_json::from_slice::<Line>(line).ok()?.failure;
        let image = ImagePath::new(lexical_text(&failure.path).strip_prefix(&root)?).ok()?;
        let judged = failure.would_fail_again()?;
        Some(Entry { path: image, size_bytes: judged.size_bytes, mtime_ns: judged.mtime_ns })
    };
    // What is no line is the end of it.
    let lines = file.into_iter().flat_map(|file| lines(file, LONGEST_EVENT));
    let lines = lines.take_while(|line| line.as_ref().err().is_none_or(|e| e.kind() != ErrorKind::InvalidData));
    Ok(lines.filter_map(move |line| line.map(|line| entry(&line)).map_err(IndexError::io("read", &path)).transpose()))
}

/// The ledger's file, which is no link; `None` if there is none.
fn open(prefix: &IndexPrefix) -> Result<Option<File>, IndexError> {
    match Folder::open(prefix.dir()) {
        Err(e) if e.source.kind() == ErrorKind::NotFound => Ok(None),
        folder => Ok(folder?.read(atomic::name_in(&prefix.failures())?)?),
    }
}

/// The ledger as it stood, while a merge decides what of it remains.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    old: BTreeMap<String, Line>,
    embedded: HashSet<String>,
    not_tried: BTreeMap<String, Line>,
    /// The file as it is; `None` if there is none.
    text: Option<Vec<u8>>,
    /// The file is none of ours, and stays as it is.
    is_others: bool,
}

impl Ledger {
    /// Reads the ledger. It only informs: lines that cannot be read are dropped, with a warning.
    pub(crate) fn read(prefix: &IndexPrefix, warnings: &mut Vec<String>) -> Result<Self, IndexError> {
        let path = prefix.failures();
        let Some(file) = open(prefix)? else { return Ok(Self::default()) };
        let left = |why: &str| {
            let path = path.display();
            format!("{path}: {why}. It is left as it is, and no failures are written down: move it away")
        };
        let bytes = match read_all(file, MOST_BYTES) {
            Err(e) if e.kind() == ErrorKind::InvalidData => {
                warnings.push(left("it is longer than any ledger of Imagefleet"));
                return Ok(Self { is_others: true, ..Self::default() });
            }
            bytes => bytes.map_err(IndexError::io("read", &path))?,
        };
        let lines: Vec<_> = bytes.split(|b| *b == b'\n').filter(|l| !l.is_empty()).collect();
        let old: BTreeMap<String, Line> = lines
            .iter()
            .filter_map(|line| serde_json::from_slice::<Line>(line).ok())
            .map(|mut line| {
                line.failure.path = lexical_text(&line.failure.path).into_owned();
                (line.failure.path.clone(), line)
            })
            .collect();
        if old.is_empty() && !lines.is_empty() {
            warnings.push(left("no line of it is of a ledger of Imagefleet"));
            return Ok(Self { is_others: true, ..Self::default() });
        }
        if old.len() < lines.len() {
            warnings.push(format!("{}: {} unreadable lines were dropped", path.display(), lines.len() - old.len()));
        }
        Ok(Self { old, text: Some(bytes), ..Self::default() })
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

    /// A picture failed before, is as it was then, and was not tried again: its line stays as it is.
    pub(crate) fn not_tried(&mut self, path: &str) {
        self.not_tried.extend(self.old.remove_entry(path));
    }

    /// Writes the ledger after a run: of a full scan just the run's failures and what was not tried again, else those
    /// beside what remains of the old ones.
    pub(crate) fn write(
        mut self,
        prefix: &IndexPrefix,
        failures: &[Failure],
        full_scan: bool,
        now: &str,
    ) -> Result<(), IndexError> {
        if self.is_others {
            return Ok(());
        }
        let mut lines = self.not_tried;
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
        if self.text.as_deref() == Some(text.as_bytes()) {
            return Ok(());
        }
        Ok(ours::make(prefix)?.write(atomic::name_in(&prefix.failures())?, text.as_bytes())?)
    }
}

#[cfg(test)]
mod tests {
    use protocol::FailureKind;

    use super::*;

    fn failure(path: &str) -> Failure {
        Failure::new(path.into(), FailureKind::Undecodable, "d".into(), "h")
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
