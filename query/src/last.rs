//! The last answer, remembered for `--like RANK`: which pictures it held, and of which index.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use protocol::folders;
use serde::{Deserialize, Serialize};

use crate::WrongUsage;
use crate::question::{Of, Summand};

/// An answer of the most matches with the longest paths is smaller.
const MOST_BYTES: u64 = 512 << 20;

/// An answer that a person can refer to.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Last {
    /// The index's prefix as it is here.
    pub index_prefix: PathBuf,
    /// Canonical paths, best first.
    pub paths: Vec<String>,
}

impl Last {
    /// What was remembered.
    ///
    /// # Errors
    /// If nothing was, or it was an answer of another index.
    pub fn load(index_prefix: &Path) -> Result<Self> {
        let file = file()?;
        let none = || WrongUsage("no answer is remembered yet that --like could mean; ask a question first".to_owned());
        let read = match File::open(&file) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Err(none().into()),
            opened => opened.with_context(|| format!("cannot read {}", file.display()))?,
        };
        let mut text = String::new();
        read.take(MOST_BYTES).read_to_string(&mut text).with_context(|| format!("cannot read {}", file.display()))?;
        let last: Self = serde_json::from_str(&text).map_err(|_| none())?;
        if last.index_prefix != index_prefix {
            return Err(WrongUsage(format!(
                "the last answer was of the index {}, not of {}; ask this one first, or that one with --index-prefix",
                last.index_prefix.display(),
                index_prefix.display()
            ))
            .into());
        }
        Ok(last)
    }

    /// The picture with this rank.
    pub fn like(&self, rank: usize) -> Result<Summand, WrongUsage> {
        let path = rank.checked_sub(1).and_then(|at| self.paths.get(at)).cloned();
        path.map(|path| Summand::plain(Of::Found(path))).ok_or_else(|| {
            let matches = self.paths.len();
            WrongUsage(format!(
                "the last answer has no rank {rank}: it had {matches} match{}",
                if matches == 1 { "" } else { "es" }
            ))
        })
    }

    /// Remembers it for this person alone: names of pictures are nobody else's.
    pub fn save(&self) -> Result<()> {
        let file = file()?;
        fs::create_dir_all(folders::state()?)?;
        let temporary = file.with_extension(format!("tmp-{}", std::process::id()));
        let write = || {
            let mut out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
            out.write_all(&serde_json::to_vec(self)?)?;
            fs::rename(&temporary, &file)
        };
        write()
            .inspect_err(|_| drop(fs::remove_file(&temporary)))
            .with_context(|| format!("cannot write {}", file.display()))
    }
}

fn file() -> io::Result<PathBuf> {
    Ok(folders::state()?.join("last-answer.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_count_from_one_and_one_that_was_not_there_is_told() {
        let last = Last { index_prefix: "/i".into(), paths: vec!["/nas/a.jpg".into(), "/nas/b.jpg".into()] };
        assert_eq!(last.like(2).unwrap(), Summand::plain(Of::Found("/nas/b.jpg".to_owned())));
        for rank in [0, 3, usize::MAX] {
            assert!(last.like(rank).unwrap_err().0.contains("it had 2 matches"), "{rank}");
        }
    }
}
