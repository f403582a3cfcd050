//! Programs that are started, told to end, and must.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use e2e::{Lab, Said, signal, wait_for};

/// After the second signal, whatever hangs.
pub const AT_ONCE: Duration = Duration::from_secs(3);

/// A started program whose words go to files.
pub struct Running {
    pub child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Running {
    pub fn start(lab: &Lab, name: &str, mut command: Command) -> Self {
        let (out, err) = (lab.path(format!("{name}.out")), lab.path(format!("{name}.err")));
        let child =
            command.stdin(Stdio::null()).stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
        Self { child: child.spawn().unwrap(), out, err }
    }

    pub fn words(&self) -> String {
        fs::read_to_string(&self.err).unwrap()
    }

    /// Waits until it has said these words.
    pub fn heard(&self, words: &str) {
        wait_for(words, || self.words().contains(words));
    }

    /// Whether it has ended.
    pub fn is_over(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Its end, which must come within this time.
    pub fn ends(mut self, within: Duration) -> Said {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if begun.elapsed() > within {
                signal(&self.child, "KILL");
                panic!("it has not ended within {within:?}: {}", self.words());
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let out = fs::read_to_string(&self.out).unwrap();
        Said { code: status.code().unwrap_or(-1), out, err: self.words() }
    }

    /// Two signals: what it says after the first, and its end after the second.
    pub fn ends_when_told_twice(self, words: &str) -> Said {
        signal(&self.child, "INT");
        let begun = Instant::now();
        self.heard(words);
        assert!(begun.elapsed() < Duration::from_secs(2), "{}", self.words());
        signal(&self.child, "TERM");
        let said = self.ends(AT_ONCE);
        assert_eq!(said.code, 130, "{said:?}");
        said
    }
}
