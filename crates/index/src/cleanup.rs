//! What merges leave behind. The caller owns the index, so that whatever is half made belongs to nobody alive.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use disk::atomic::{self, TEMP_MARK};
use protocol::IndexPrefix;

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
    for generation in generations(prefix)?.into_iter().filter(|g| *g > current) {
        remove_dir(&prefix.generation(generation))?;
    }
    for name in names(prefix.dir()) {
        if name.starts_with("gen-") && name.contains(TEMP_MARK) {
            remove_dir(&prefix.dir().join(name))?;
        }
    }
    for file in [prefix.meta(), prefix.parquet(), prefix.faiss()] {
        let Some(name) = file.file_name().and_then(|name| name.to_str()) else { continue };
        let (folder, unfinished) = (atomic::folder_of(&file), format!(".{name}{TEMP_MARK}"));
        for name in names(folder).into_iter().filter(|name| name.starts_with(&unfinished)) {
            atomic::remove_file(&folder.join(name))?;
        }
    }
    Ok(())
}

/// Removes generations that were replaced more than 24 hours ago, as the share's own clock tells, runs that are a month
/// old, and old temporary files. Failing at that harms nothing, so it only warns.
pub(crate) fn remove_old(prefix: &IndexPrefix, current: u64, warnings: &mut Vec<String>) {
    let Ok(mut numbers) = generations(prefix) else { return };
    numbers.sort_unstable();
    let made = |generation: u64| modified(&prefix.generation(generation).join("seg-0.parquet"));
    // The clock of the file server, so that a host whose clock is wrong removes nothing too early.
    let now = modified(&prefix.meta()).unwrap_or_else(SystemTime::now);
    let older = |path: &Path, than| modified(path).is_some_and(|at| now.duration_since(at).is_ok_and(|age| age > than));
    for pair in numbers.windows(2) {
        let replaced = made(pair[1]);
        let old = replaced.is_some_and(|at| now.duration_since(at).is_ok_and(|age| age > GRACE));
        if pair[0] < current && old {
            let removed = remove_dir(&prefix.generation(pair[0]));
            warnings.extend(removed.err().map(|e| e.to_string()));
        }
    }
    for dir in [prefix.dir(), &prefix.parts()] {
        for name in names(dir).into_iter().filter(|n| n.starts_with('.') && n.contains(TEMP_MARK)) {
            let path = dir.join(name);
            if older(&path, GRACE) {
                let _ = atomic::remove_file(&path);
            }
        }
    }
    let newest = prefix.newest_run();
    for run in names(&prefix.runs()).into_iter().filter(|run| Some(run) != newest.as_ref()) {
        let run = prefix.runs().join(run);
        if older(&run, RUNS_STAY) {
            warnings.extend(remove_dir(&run).err().map(|e| e.to_string()));
        }
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|m| m.modified()).ok()
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

fn remove_dir(dir: &Path) -> Result<(), IndexError> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(IndexError::io("remove", dir)(e)),
        _ => Ok(()),
    }
}
