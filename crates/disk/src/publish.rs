//! Puts a finished file under a name that nobody has yet, whole: of two that try, one is first and the other is told.

use std::ffi::OsStr;
use std::io::{self, ErrorKind, Read, Write};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::atomic::Temp;
use crate::{Error, Folder};

/// What a claim begins with: no file of ours does.
const CLAIM: &str = "imagefleet-claim ";

/// Between a claim and its file lies one rename; whoever takes longer has died.
const CLAIM_STANDS: Duration = Duration::from_secs(if cfg!(test) { 3 } else { 10 });

/// Between an empty file and the claim in it lies one short write.
const EMPTY_STANDS: Duration = Duration::from_secs(1);

/// Who was first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// The name is ours.
    We,
    /// Something had it before, which need not be visible here yet.
    Another,
}

/// A way to give a file of a folder a name there that is free; that it is not is [`ErrorKind::AlreadyExists`].
type Way = fn(&Folder, &OsStr, &OsStr) -> io::Result<()>;

/// By a hard link, else by a rename that replaces nothing, else by a claim. Each share knows one of them.
const WAYS: [Way; 3] = [link, Folder::rename_new, claim];

impl Temp {
    /// Gives it the name that it is for unless somebody has that. Syncs the folder.
    pub fn publish_new(&self) -> Result<First, Error> {
        self.publish_by(&WAYS)
    }

    fn publish_by(&self, ways: &[Way]) -> Result<First, Error> {
        let (folder, name, target) = (&self.folder, &self.name, &self.target);
        let placed = place(ways, folder, name, target);
        let mut first = placed.map_err(Error::io("rename into place", &folder.file(target)))?;
        if first == First::Another
            && let Some(claim) = claim_of(folder, target)
            && still_stands(&claim, folder, target)
        {
            // Whoever made it has died.
            folder.replace(name, target)?;
            first = First::We;
        }
        if first == First::We {
            folder.sync()?;
        }
        Ok(first)
    }
}

fn place(ways: &[Way], folder: &Folder, from: &OsStr, to: &OsStr) -> io::Result<First> {
    let mut last = None;
    for way in ways {
        match way(folder, from, to) {
            Ok(()) => return Ok(First::We),
            // Some shares say so of a name that is free.
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                if folder.kind(to).is_ok_and(|found| found.is_some()) {
                    return Ok(First::Another);
                }
                last = None;
            }
            // Whatever the reason is: the last way tells it, if it is one for all.
            Err(e) => last = Some(e),
        }
    }
    last.map_or(Ok(First::Another), Err)
}

fn link(folder: &Folder, from: &OsStr, to: &OsStr) -> io::Result<()> {
    folder.link(folder, from, to).map_err(|e| e.source)
}

/// Creates the name, which one alone can, and renames the file over it.
fn claim(folder: &Folder, from: &OsStr, to: &OsStr) -> io::Result<()> {
    let mut made = folder.create_new(to).map_err(|e| e.source)?;
    let claim = format!("{CLAIM}{}", from.to_string_lossy());
    let is_ours = || claim_of(folder, to).is_some_and(|now| now == claim);
    let done = made.write_all(claim.as_bytes()).and_then(|()| {
        drop(made);
        // One that slept may have lost its claim.
        if is_ours() { folder.replace(from, to).map_err(|e| e.source) } else { Err(ErrorKind::AlreadyExists.into()) }
    });
    if done.is_err() && is_ours() {
        let _ = folder.remove_file(to);
    }
    done
}

/// The claim in a file's place; empty before it is written.
fn claim_of(folder: &Folder, name: &OsStr) -> Option<String> {
    let mut start = Vec::new();
    folder.read(name).ok()??.take(1 << 10).read_to_end(&mut start).ok()?;
    String::from_utf8(start).ok().filter(|text| text.starts_with(CLAIM) || text.is_empty())
}

/// Waits for a claim's file; true if it never comes.
fn still_stands(claim: &str, folder: &Folder, name: &OsStr) -> bool {
    let (begun, limit) = (Instant::now(), if claim.is_empty() { EMPTY_STANDS } else { CLAIM_STANDS });
    while begun.elapsed() < limit {
        if claim_of(folder, name).is_none_or(|now| now != claim) {
            return false;
        }
        sleep(Duration::from_millis(100));
    }
    true
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;

    fn temp(target: &Path, text: &str) -> Temp {
        let temp = Temp::beside(target).unwrap();
        fs::write(temp.path(), text).unwrap();
        temp
    }

    fn refused(_: &Folder, _: &OsStr, _: &OsStr) -> io::Result<()> {
        Err(rustix::io::Errno::PERM.into())
    }

    fn taken_they_say(_: &Folder, _: &OsStr, _: &OsStr) -> io::Result<()> {
        Err(rustix::io::Errno::EXIST.into())
    }

    #[test]
    fn by_each_way_one_is_first_and_its_file_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let all: [&[Way]; 5] = [
            &WAYS,
            &[refused, Folder::rename_new, claim],
            &[refused, refused, claim],
            &[taken_they_say, Folder::rename_new, claim],
            &[taken_they_say, taken_they_say, claim],
        ];
        for (number, ways) in all.into_iter().enumerate() {
            let target = dir.path().join(number.to_string());
            let tries: Vec<_> = (0..8)
                .map(|i| {
                    let (target, ways): (PathBuf, Vec<Way>) = (target.clone(), ways.to_vec());
                    std::thread::spawn(move || {
                        let text = format!("{i}").repeat(100_000);
                        let first = temp(&target, &text).publish_by(&ways).unwrap();
                        (first == First::We).then_some(text)
                    })
                })
                .collect();
            let firsts: Vec<String> = tries.into_iter().filter_map(|t| t.join().unwrap()).collect();
            assert_eq!(firsts.len(), 1, "way {number}");
            assert_eq!(fs::read_to_string(&target).unwrap(), firsts[0], "way {number}");
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 5, "nothing is left over");
    }

    #[test]
    fn a_claim_that_a_dead_program_left_is_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("part");
        for left in ["", "imagefleet-claim .part.tmp-1-2-3"] {
            fs::write(&target, left).unwrap();
            assert_eq!(temp(&target, "whole").publish_new().unwrap(), First::We);
            assert_eq!(fs::read_to_string(&target).unwrap(), "whole");
        }
    }

    #[test]
    fn where_nothing_can_be_written_the_reason_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("part");
        let error = temp(&target, "x").publish_by(&[refused, refused, refused]).unwrap_err();
        assert!(error.to_string().contains("part"), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
