//! Where this machine's own Imagefleet programs are, and what it is called.

use std::env;
use std::path::PathBuf;

/// A program of the set is not where it should be.
#[derive(Debug, thiserror::Error)]
#[error("the program {name} is not beside this one ({folder}); build it with: cargo build --workspace")]
pub struct NoProgram {
    name: String,
    folder: String,
}

/// The program `name` of this installation: beside the one that is running.
pub fn program(name: &str) -> Result<PathBuf, NoProgram> {
    let folder = env::current_exe().ok().and_then(|exe| exe.parent().map(PathBuf::from)).unwrap_or_default();
    // Test binaries live one folder below the programs.
    let places = [folder.join(name), folder.join("..").join(name)];
    places
        .into_iter()
        .find(|p| p.is_file())
        .ok_or_else(|| NoProgram { name: name.into(), folder: folder.display().to_string() })
}

/// This machine's name, for people and for lock files.
pub fn hostname() -> String {
    gethostname::gethostname().to_string_lossy().into_owned()
}
