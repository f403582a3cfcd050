//! Where a worker's log and list are. Under a controller each run has a folder of its own, `work_dir/INDEX/RUN`, so that two
//! runs that use one machine never read each other's; the names in the work folder itself lead to those of the run that
//! began last, for people.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use disk::atomic;
use protocol::layout::is_file_name;

/// How long a run's folder stays when nothing in it changes any more.
const STAYS: Duration = Duration::from_secs(30 * 24 * 3600);

/// A work folder, and the run's own in it.
#[derive(Clone, Debug)]
pub struct WorkDir {
    all: PathBuf,
    run: Option<PathBuf>,
}

impl WorkDir {
    /// The work folder `all`; under a controller with the run's own folder.
    pub fn new(all: PathBuf, run: Option<PathBuf>) -> Self {
        Self { all, run }
    }

    /// The work folder, which all runs share.
    pub fn all(&self) -> &Path {
        &self.all
    }

    /// The log of worker `id`.
    pub fn log(&self, id: u32) -> PathBuf {
        self.own().join(format!("worker_{id}.log"))
    }

    /// The list of worker `id`.
    pub fn list(&self, id: u32) -> PathBuf {
        self.own().join(format!("worker_{id}_images.txt"))
    }

    /// Makes sure that a log by hand is a file of its own: its name may be the second one of a run's.
    pub fn own_log(&self, id: u32) {
        let log = self.log(id);
        if self.run.is_none() && fs::symlink_metadata(&log).is_ok_and(|found| found.is_file() && found.nlink() > 1) {
            // What stays is refused by whoever opens it, which is told.
            let _ = fs::remove_file(&log);
        }
    }

    /// Lets the name in the work folder stand for this file of the run from now on. Whoever starts a worker does that for
    /// its log, which has to be there also if the worker cannot be started.
    pub fn show(&self, file: &Path) -> Result<()> {
        let (Some(_), Some(name)) = (&self.run, file.file_name()) else { return Ok(()) };
        let shown = self.all.join(name);
        let identity = |path: &Path| fs::symlink_metadata(path).map(|m| (m.dev(), m.ino()));
        if identity(&shown).is_ok_and(|shown| identity(file).is_ok_and(|file| file == shown)) {
            return Ok(()); // a rename of one name over another of the same file does nothing
        }
        atomic::link_or_copy(file, &shown).with_context(|| format!("cannot replace {}", shown.display()))
    }

    /// Removes what runs left here that ended long ago: of folders that are named as ours the files that are, and the folders
    /// when nothing else is in them. What cannot be removed now is looked at again the next time.
    pub fn tidy(&self) {
        let Some(own) = &self.run else { return };
        for index in folders(&self.all).into_iter().filter(|folder| name(folder).is_some_and(is_index)) {
            for run in folders(&index).into_iter().filter(|run| run != own && name(run).is_some_and(is_file_name)) {
                remove_if_old(&run);
            }
            let _ = fs::remove_dir(&index); // refused unless it is empty
        }
    }

    fn own(&self) -> &Path {
        self.run.as_deref().unwrap_or(&self.all)
    }
}

fn remove_if_old(run: &Path) {
    let Ok(entries) = fs::read_dir(run) else { return };
    let files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    let old = |path: &PathBuf| {
        let written = fs::symlink_metadata(path).and_then(|metadata| metadata.modified());
        written.is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age > STAYS))
    };
    if old(&run.to_path_buf()) && files.iter().all(|file| old(file) && name(file).is_some_and(is_ours)) {
        files.iter().for_each(|file| drop(fs::remove_file(file)));
        let _ = fs::remove_dir(run);
    }
}

/// The folders right in a folder; links to folders are none.
fn folders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
}

fn name(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
}

/// Eight hexadecimal digits.
fn is_index(name: &str) -> bool {
    name.len() == 8 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// The names of a run's files.
fn is_ours(name: &str) -> bool {
    let worker = name
        .strip_prefix("worker_")
        .and_then(|rest| rest.strip_suffix("_images.txt").or_else(|| rest.strip_suffix(".log")));
    matches!(name, "scan.log" | "scan_images.txt") || worker.is_some_and(|id| id.parse::<u32>().is_ok())
}

#[cfg(test)]
mod tests {
    use std::fs::{File, FileTimes};

    use super::*;

    #[test]
    fn the_names_in_the_work_folder_are_those_of_the_run_that_began_last() {
        let dir = tempfile::tempdir().unwrap();
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
        fs::write(dir.path().join("worker_0.log"), "of an older version").unwrap();
        for run in ["a", "b"] {
            let own = dir.path().join("01234567").join(run);
            fs::create_dir_all(&own).unwrap();
            let place = WorkDir::new(dir.path().into(), Some(own));
            for file in [place.log(0), place.list(0)] {
                fs::write(&file, run).unwrap();
                place.show(&file).unwrap();
                place.show(&file).unwrap();
                fs::write(&file, format!("{run}{run}")).unwrap(); // a log grows under both names
            }
        }
        assert_eq!(["worker_0.log", "worker_0_images.txt", "01234567/a/worker_0.log"].map(read), ["bb", "bb", "aa"]);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3, "nothing is left over");
    }

    #[test]
    fn only_what_is_ours_and_old_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let put = |path: &str, days: u64| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "").unwrap();
            let time = FileTimes::new().set_modified(SystemTime::now() - Duration::from_secs(days * 24 * 3600));
            for path in [&path, path.parent().unwrap()] {
                File::open(path).unwrap().set_times(time).unwrap();
            }
        };
        put("01234567/old/worker_3.log", 40);
        put("01234567/new/worker_3.log", 20);
        put("89abcdef/old/scan.log", 40);
        put("89abcdex/old/scan.log", 40);
        put("deadbeef/trip/worker_3.log", 40);
        put("deadbeef/trip/photo.jpg", 40);
        put("elsewhere/old/worker_3.log", 40);
        std::os::unix::fs::symlink(dir.path().join("elsewhere"), dir.path().join("fedcba98")).unwrap();
        WorkDir::new(dir.path().into(), Some(dir.path().join("01234567/mine"))).tidy();
        for (path, stays) in [
            ("01234567/old", false),
            ("01234567/new/worker_3.log", true),
            ("89abcdef", false),
            ("89abcdex/old/scan.log", true),
            ("deadbeef/trip/worker_3.log", true),
            ("deadbeef/trip/photo.jpg", true),
            ("elsewhere/old/worker_3.log", true),
        ] {
            assert_eq!(dir.path().join(path).exists(), stays, "{path}");
        }
    }
}
