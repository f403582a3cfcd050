//! What merges leave behind. The caller owns the index, so that whatever is half made belongs to nobody alive.
//!
//! The folder bears our marker, but people put things into any folder. Of what is there only files go that an index makes, one
//! by one and by their whole names; a folder goes when it is empty. What is somebody else's stays, with the folder it is in.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use disk::atomic::{self, TEMP_MARK, name_of_temp};
use disk::{Folder, Kind, ours};
use protocol::IndexPrefix;
use protocol::layout::generation_name;

use crate::IndexError;
use crate::current::generations;

/// How long a generation stays after a newer one took its place, and how old a temporary file of another program must
/// be to be nobody's.
const GRACE: Duration = Duration::from_secs(24 * 3600);

/// How long runs stay that are not the newest: somebody may ask what happened in them.
const RUNS_STAY: Duration = Duration::from_secs(30 * 24 * 3600);

/// Removes what merges left that were killed: generations that are unfinished or that nothing refers to, and unfinished
/// files beside the index's folder, which only merges write.
pub(crate) fn remove_leftovers(prefix: &IndexPrefix, current: u64) -> Result<(), IndexError> {
    let Some(folder) = ours::standing(prefix)? else { return Ok(()) };
    for generation in generations(prefix)?.into_iter().filter(|g| *g > current) {
        remove_generation(&folder, &generation_name(generation))?;
    }
    for name in names(&folder)?.iter().filter(|name| is_unfinished_generation(name)) {
        remove_generation(&folder, name)?;
    }
    for file in [prefix.meta(), prefix.parquet(), prefix.faiss()] {
        let (beside, name) = (Folder::open(atomic::folder_of(&file))?, atomic::name_in(&file)?);
        for temp in names(&beside)?.iter().filter(|temp| name_of_temp(temp).is_some_and(|of| name == of)) {
            if beside.kind(temp)? == Some(Kind::File) {
                beside.remove_file(temp)?;
            }
        }
    }
    Ok(())
}

/// The first number from `wanted` on that no folder has. What a killed merge left under it is removed.
pub(crate) fn free_generation(prefix: &IndexPrefix, wanted: u64) -> Result<u64, IndexError> {
    let folder = ours::make(prefix)?;
    let mut number = wanted;
    while !remove_generation(&folder, &generation_name(number))? {
        number += 1;
    }
    Ok(number)
}

/// Removes a part that was taken in.
pub(crate) fn remove_part(prefix: &IndexPrefix, part: &Path) -> Result<(), IndexError> {
    let Some(folder) = ours::standing(prefix)? else { return Ok(()) };
    Ok(folder.place(part)?.map_or(Ok(()), |(parts, name)| parts.remove_file(name))?)
}

/// Removes generations that were replaced more than 24 hours ago, as the share's own clock tells, runs that are a month
/// old, and old temporary files. Failing at that harms nothing, so it only warns.
pub(crate) fn remove_old(prefix: &IndexPrefix, current: u64, warnings: &mut Vec<String>) {
    let folder = match ours::standing(prefix) {
        Ok(Some(folder)) => folder,
        Ok(None) => return,
        Err(e) => return warnings.push(words(&e)),
    };
    // The clock of the file server, so that a host whose clock is wrong removes nothing too early.
    let now = modified(&prefix.meta()).unwrap_or_else(SystemTime::now);
    let old = Old { now };
    for removed in [
        old.generations(prefix, &folder, current),
        old.temporary(Some(folder.clone()), ours::is_top_name),
        folder.folder_if_there("parts").map_err(IndexError::from).and_then(|parts| old.temporary(parts, is_part)),
        old.runs(prefix, &folder),
    ] {
        warnings.extend(removed.err().map(|e| words(&e)));
    }
}

/// What is old, as the share's clock tells.
struct Old {
    now: SystemTime,
}

impl Old {
    fn is(&self, at: Option<SystemTime>, than: Duration) -> bool {
        at.is_some_and(|at| self.now.duration_since(at).is_ok_and(|age| age > than))
    }

    fn generations(&self, prefix: &IndexPrefix, folder: &Folder, current: u64) -> Result<(), IndexError> {
        let mut numbers = generations(prefix)?;
        numbers.sort_unstable();
        for pair in numbers.windows(2) {
            let replaced = modified(&prefix.generation(pair[1]).join("seg-0.parquet"));
            if pair[0] < current && self.is(replaced, GRACE) {
                remove_generation(folder, &generation_name(pair[0]))?;
            }
        }
        Ok(())
    }

    fn temporary(&self, folder: Option<Folder>, is_ours: impl Fn(&str) -> bool) -> Result<(), IndexError> {
        let Some(folder) = folder else { return Ok(()) };
        for name in names(&folder)?.iter().filter(|name| name_of_temp(name).is_some_and(&is_ours)) {
            // It may be gone by now, or be no file.
            let file = folder.read(name).ok().flatten();
            let made = file.and_then(|file| file.metadata().and_then(|found| found.modified()).ok());
            if self.is(made, GRACE) {
                folder.remove_file(name)?;
            }
        }
        Ok(())
    }

    fn runs(&self, prefix: &IndexPrefix, folder: &Folder) -> Result<(), IndexError> {
        let Some(runs) = folder.folder_if_there("runs")? else { return Ok(()) };
        let newest = prefix.newest_run();
        for name in names(&runs)?.iter().filter(|name| Some(*name) != newest.as_ref()) {
            if runs.kind(name)? != Some(Kind::Folder) {
                continue;
            }
            let run = runs.folder(name)?;
            if !self.is(run.modified(), RUNS_STAY) || !ours::is_run(&runs, name) {
                continue;
            }
            for file in names(&run)?.iter().filter(|file| ours::is_run_file(file)) {
                run.remove_file(file)?;
            }
            runs.remove_empty(name)?;
        }
        Ok(())
    }
}

/// Removes the files of a generation, and its folder if nothing else is in it. False if something is in its place.
fn remove_generation(folder: &Folder, name: &str) -> Result<bool, IndexError> {
    match folder.kind(name)? {
        None => return Ok(true),
        Some(Kind::Folder | Kind::Link) => {}
        Some(_) => return Ok(false),
    }
    let files = folder.folder(name)?;
    let (ours, others): (Vec<_>, Vec<_>) = files.names()?.into_iter().partition(|name| {
        name.to_str().is_some_and(is_segment_file) && matches!(files.kind(name), Ok(Some(Kind::File)))
    });
    for file in ours {
        files.remove_file(file)?;
    }
    // What a system puts into every folder goes with it, if all that it is there for is gone.
    if others.iter().all(|name| ours::is_dropping(name)) {
        for dropping in others.iter().filter(|name| matches!(files.kind(name), Ok(Some(Kind::File)))) {
            files.remove_file(dropping)?;
        }
    }
    Ok(folder.remove_empty(name)?)
}

/// `seg-K.parquet` and its siblings.
pub(crate) fn is_segment_file(name: &str) -> bool {
    let number = name.strip_prefix("seg-").and_then(|name| name.split_once('.'));
    number.is_some_and(|(number, end)| is_number(number) && matches!(end, "parquet" | "faiss" | "bits"))
}

/// `gen-G.tmp-PID`
fn is_unfinished_generation(name: &str) -> bool {
    let numbers = name.strip_prefix("gen-").and_then(|name| name.split_once(TEMP_MARK));
    numbers.is_some_and(|(generation, process)| is_number(generation) && is_number(process))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn is_part(name: &str) -> bool {
    name.ends_with(".parquet")
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|m| m.modified()).ok()
}

fn names(folder: &Folder) -> Result<Vec<String>, IndexError> {
    Ok(folder.names()?.into_iter().filter_map(|name| name.into_string().ok()).collect())
}

/// An error with its causes, in a line.
pub(crate) fn words(error: &(impl std::error::Error + ?Sized)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}
