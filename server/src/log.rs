//! What the server has to say, one line each, in a file beside its socket. Nobody watches its terminal. What people
//! ask for is never written down.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Mutex;

use protocol::{note, plain};

/// A log longer than this begins anew.
const LONGEST_BYTES: u64 = 1 << 20;

/// The log; nothing if it cannot be written: answers matter more.
#[derive(Debug)]
pub struct Log(Option<Mutex<File>>);

impl Log {
    /// Opens the log, or makes it.
    pub fn open(path: &Path) -> Self {
        // Appending matters: `query` lets the standard error of a server that it starts run into the same file.
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
        let untold = |e| note!("Warning: no log {}: {e}", path.display());
        Self(file.map_err(untold).ok().map(Mutex::new))
    }

    /// Adds a line. A log that cannot be written (a full disk) must not stop an answer, so errors are dropped.
    pub fn line(&self, text: &str) {
        let Some(file) = &self.0 else { return };
        let mut file = file.lock().expect("nothing panics in it");
        if file.metadata().is_ok_and(|m| m.len() > LONGEST_BYTES) {
            let _ = file.set_len(0);
        }
        let now = chrono::Local::now().format("%Y-%m-%d %H:%M:%S%.3f");
        let line = format!("{now} [{}] {}\n", std::process::id(), plain(text));
        let _ = file.write_all(line.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_log_begins_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("server.log");
        let log = Log::open(&path);
        for _ in 0..30 {
            log.line(&"x".repeat(50_000));
        }
        assert!(path.metadata().unwrap().len() < LONGEST_BYTES + 60_000);
        log.line("two\nlines");
        assert!(std::fs::read_to_string(&path).unwrap().ends_with("two\\nlines\n"));
    }
}
