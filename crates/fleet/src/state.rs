//! What Imagefleet remembers for a person, in the folders that their system has for it.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Folder of the person's configuration: `hosts` is looked for there.
pub fn config_dir() -> PathBuf {
    folder("XDG_CONFIG_HOME", ".config")
}

/// Folder for what is remembered between runs, and for logs and lists of workers on this machine.
pub fn state_dir() -> PathBuf {
    folder("XDG_STATE_HOME", ".local/state")
}

/// The prefix of the index last built or asked on this machine.
pub fn last_index() -> Option<PathBuf> {
    let path = fs::read_to_string(last_index_file()).ok()?;
    (!path.is_empty()).then(|| PathBuf::from(path))
}

/// Remembers an index for [`last_index`].
pub fn remember_index(prefix: &Path) -> io::Result<()> {
    let file = last_index_file();
    fs::create_dir_all(state_dir())?;
    fs::write(file, prefix.to_string_lossy().as_bytes())
}

fn last_index_file() -> PathBuf {
    state_dir().join("last-index")
}

fn folder(variable: &str, below_home: &str) -> PathBuf {
    let absolute = |v| Some(PathBuf::from(v)).filter(|p: &PathBuf| p.is_absolute());
    env::var_os(variable)
        .and_then(absolute)
        .or_else(|| env::var_os("HOME").and_then(absolute).map(|home| home.join(below_home)))
        .unwrap_or_else(env::temp_dir)
        .join("imagefleet")
}
