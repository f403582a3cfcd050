//! Whether one user can read and replace what another makes in a folder, tried with real files. Each leaves one for each of
//! the others, who take it over; then the first takes back what is left.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::atomic::{self, TEMP_MARK, Temp};

/// The sticky bit: nobody replaces the files of others in such a folder.
const STICKY: u32 = 0o1000;

/// Makes a file for another user, who knows it by `name`. The name must be one that nobody used before, so that no host
/// has it in a cache.
pub fn leave(folder: &Path, name: &str) -> Result<(), String> {
    let path = place(folder, name);
    let written = atomic::create_new(&path).map_err(|e| e.source).and_then(|mut file| file.write_all(name.as_bytes()));
    written.map_err(|e| format!("this user cannot write in {}: {e}{}", folder.display(), remedy(folder)))
}

/// The same in a new folder in `folder`, as a run makes some.
pub fn leave_folder(folder: &Path, name: &str) -> Result<(), String> {
    let new = place(folder, &format!("{name}-folder"));
    atomic::create_dir(&new).map_err(|e| format!("{e}: {}{}", e.source, remedy(folder)))?;
    leave(&new, name)
}

/// Whether there is something to be taken over, as far as this user sees.
pub fn is_left(folder: &Path, name: &str) -> bool {
    place(folder, name).symlink_metadata().is_ok()
}

/// The same of [`leave_folder`].
pub fn is_left_in_folder(folder: &Path, name: &str) -> bool {
    // One that may not be entered is there.
    place(folder, &format!("{name}-folder")).symlink_metadata().is_ok()
}

/// Reads what another user has left.
fn read(folder: &Path, name: &str) -> Result<(), String> {
    read_as(&place(folder, name), name).map_err(|e| told(folder, name, "read", &e))
}

/// Reads what another user has left, puts a file of this user in its place, reads that and removes it.
pub fn take(folder: &Path, name: &str) -> Result<(), String> {
    read(folder, name)?;
    let path = place(folder, name);
    let own = format!("{name} is taken");
    let replaced = Temp::beside(&path).and_then(|temp| {
        temp.create()?.write_all(own.as_bytes()).map_err(Error::io("write", &path))?;
        temp.publish_unsynced()
    });
    replaced.map_err(|e| told(folder, name, "replaced", &e.source))?;
    read_as(&path, &own).map_err(|e| told(folder, name, "read again after it was replaced", &e))?;
    fs::remove_file(&path).map_err(|e| told(folder, name, "removed", &e))
}

/// The same in the folder of [`leave_folder`].
pub fn take_in_folder(folder: &Path, name: &str) -> Result<(), String> {
    take(&place(folder, &format!("{name}-folder")), name)
}

/// Removes what is left of it all.
pub fn take_back(folder: &Path, name: &str) {
    // Another has removed it already, or nobody may; its name tells what it is.
    let new = place(folder, &format!("{name}-folder"));
    let _ = fs::remove_file(place(&new, name));
    let _ = fs::remove_dir(new);
    let _ = fs::remove_file(place(folder, name));
}

/// Tries all of it for this user alone.
pub fn alone(folder: &Path, name: &str) -> Result<(), String> {
    let tried = leave(folder, name).and_then(|()| take(folder, name));
    take_back(folder, name);
    tried
}

fn place(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!(".check{TEMP_MARK}{name}"))
}

fn read_as(path: &Path, content: &str) -> io::Result<()> {
    let mut found = String::new();
    protocol::open_file(path)?.take(content.len() as u64 + 1).read_to_string(&mut found)?;
    if found == content { Ok(()) } else { Err(io::Error::other("another file is in its place")) }
}

fn told(folder: &Path, name: &str, what: &str, error: &io::Error) -> String {
    let owner = place(folder, name).symlink_metadata().map_or_else(|_| "another".into(), |m| m.uid().to_string());
    format!("a file of user {owner} in {} cannot be {what} by this user: {error}{}", folder.display(), remedy(folder))
}

fn remedy(folder: &Path) -> String {
    let shown = folder.display();
    let sticky = folder.metadata().is_ok_and(|m| m.mode() & STICKY != 0);
    let sticky = if sticky { format!("; its sticky bit is in the way: chmod -t {shown}") } else { String::new() };
    format!(
        "{sticky}; log in to all machines as one user (user= in hosts), or put their users into one group G: \
         chgrp -R G {shown}; chmod -R g+rwX {shown}; chmod g+s {shown}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_taken_over_and_nothing_stays() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path();
        leave(folder, "a-1").unwrap();
        leave_folder(folder, "a-1").unwrap();
        assert!(is_left(folder, "a-1") && !is_left(folder, "a-2"));
        read(folder, "a-1").unwrap();
        take(folder, "a-1").unwrap();
        take_in_folder(folder, "a-1").unwrap();
        assert!(!is_left(folder, "a-1"));
        take_back(folder, "a-1");
        alone(folder, "b").unwrap();
        assert_eq!(fs::read_dir(folder).unwrap().count(), 0);
        let error = take(folder, "a-2").unwrap_err();
        assert!(error.contains("cannot be read by this user") && error.contains("chmod -R g+rwX"), "{error}");
    }
}
