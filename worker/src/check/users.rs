//! The folders in which a run writes: whether this user, and each of the users of other hosts, can write there and replace
//! what the others made.

use std::path::{Path, PathBuf};

use disk::together;
use protocol::IndexPrefix;

use crate::args::Users;

/// What is wrong with the folders of an index and a work folder, if they are there.
pub fn alone(index_dir: Option<&Path>, work_dir: &Path) -> Vec<String> {
    let folders = index_dir.map(|dir| IndexPrefix::new(dir).folders()).unwrap_or_default();
    // Hosts share folders, and their processes' numbers may be the same.
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let name = format!("{}-{}", since.as_nanos(), std::process::id());
    let folders = folders.into_iter().chain([work_dir.to_owned()]).filter(|folder| folder.is_dir());
    folders.filter_map(|folder| together::alone(&folder, &name).err()).collect()
}

/// Does this host's part for the others. Returns what is wrong.
pub fn together(users: &Users, index_dir: Option<&Path>, work_dir: &Path) -> Vec<String> {
    let Some(index_dir) = index_dir else { return Vec::new() };
    let folders: Vec<PathBuf> = IndexPrefix::new(index_dir).folders().into_iter().filter(|f| f.is_dir()).collect();
    let mut problems = Vec::new();
    let mut note = |result: Result<(), String>| problems.extend(result.err());
    for name in &users.leave {
        folders.iter().for_each(|folder| note(together::leave(folder, name)));
        note(together::leave_folder(index_dir, name));
        // Nobody else may see it there.
        let _ = together::leave(work_dir, name);
    }
    for name in &users.take {
        // Who could leave nothing in a folder has told it, and most work folders are the host's own.
        let seen = folders.iter().map(PathBuf::as_path).chain([work_dir]).filter(|f| together::is_left(f, name));
        seen.for_each(|folder| note(together::take(folder, name)));
        if together::is_left_in_folder(index_dir, name) {
            note(together::take_in_folder(index_dir, name));
        }
    }
    for name in &users.take_back {
        folders.iter().chain([&work_dir.to_owned()]).for_each(|folder| together::take_back(folder, name));
    }
    problems
}
