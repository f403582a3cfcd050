//! `server --ensure`: a warm server, whoever starts it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use protocol::{Exit, Lines, VERSION, answer, socket};

/// A server listens within milliseconds; what takes longer is a machine in trouble.
const PATIENCE: Duration = Duration::from_secs(30);
/// So much of a server's last words is shown.
const LAST_LINES: usize = 10;

/// Starts a server on `socket` unless one is warm, and tells its version and socket on standard output.
pub fn ensure(path: &Path) -> Result<Exit> {
    warm(path)?;
    answer(&format!("{VERSION} {}\n", path.display())).context("cannot tell where the server is")?;
    Ok(Exit::Done)
}

/// Starts a server on `socket` unless one is warm.
pub fn warm(path: &Path) -> Result<()> {
    socket::prepare_folder(path)?;
    if UnixStream::connect(path).is_err() {
        start(path)?;
    }
    Ok(())
}

/// Starts a server and waits until it listens, or says why it ended.
fn start(path: &Path) -> Result<()> {
    let program = std::env::current_exe().context("this program does not know where it is")?;
    let log = LogEnd::of(socket::log_beside(path));
    let deadline = Instant::now() + PATIENCE;
    let mut server = spawn(&program, path, &log)?;
    loop {
        if UnixStream::connect(path).is_ok() {
            return Ok(());
        }
        match server.try_wait()? {
            // It left because another one was there, which then left too.
            Some(status) if status.success() => server = spawn(&program, path, &log)?,
            Some(status) => return Err(log.behind(format!("the server could not start ({status})")).into()),
            None => {}
        }
        if Instant::now() > deadline {
            let waited = PATIENCE.as_secs();
            let late = format!("the server did not answer within {waited} s, see {}", log.path.display());
            return Err(log.behind(late).into());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Starts the program so that it outlives this one and its terminal: Ctrl-C here does not reach it, and it keeps
/// neither our pipes open nor our folder busy.
fn spawn(program: &Path, socket: &Path, log: &LogEnd) -> Result<Child> {
    Command::new(program)
        .arg("--socket")
        .arg(socket)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log.open().map_or_else(|_| Stdio::null(), Stdio::from))
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))
}

/// A server's log, and where it ended before that server was started.
struct LogEnd {
    path: PathBuf,
    length_bytes: u64,
}

impl LogEnd {
    fn of(path: PathBuf) -> Self {
        let log = Self { path, length_bytes: 0 };
        let length_bytes = log.open().and_then(|file| file.metadata()).map_or(0, |facts| facts.len());
        Self { length_bytes, ..log }
    }

    /// A server whose log cannot be written answers as well.
    fn open(&self) -> io::Result<File> {
        OpenOptions::new().create(true).append(true).mode(0o600).open(&self.path)
    }

    /// What failed, and the last that was written since.
    fn behind(&self, what: String) -> Lines {
        let lines = self.read().unwrap_or_default();
        let lines: Vec<_> = lines.lines().filter(|l| !l.trim().is_empty()).collect();
        Lines::new(what, lines[lines.len().saturating_sub(LAST_LINES)..].iter().copied())
    }

    fn read(&self) -> io::Result<String> {
        let mut file = File::open(&self.path)?;
        let length_bytes = file.metadata()?.len();
        file.seek(SeekFrom::Start(if length_bytes < self.length_bytes { 0 } else { self.length_bytes }))?;
        let mut bytes = Vec::new();
        file.take(1 << 20).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}
