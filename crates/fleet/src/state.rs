//! What Imagefleet remembers for a person.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use protocol::folders;

/// The prefix of the index last built or asked on this machine.
pub fn last_index() -> Option<PathBuf> {
    let path = fs::read_to_string(last_index_file().ok()?).ok()?;
    (!path.is_empty()).then(|| PathBuf::from(path))
}

/// Remembers an index for [`last_index`].
pub fn remember_index(prefix: &Path) -> io::Result<()> {
    let file = last_index_file()?;
    fs::create_dir_all(folders::state()?)?;
    fs::write(file, prefix.to_string_lossy().as_bytes())
}

fn last_index_file() -> io::Result<PathBuf> {
    Ok(folders::state()?.join("last-index"))
}
