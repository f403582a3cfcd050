//! A connection to the server on the host that is asked. On this machine a server is started when none is warm.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use fleet::HostSpec;
use protocol::socket;
use tokio::net::UnixStream;

/// A server listens within milliseconds; what takes longer is a machine in trouble.
const PATIENCE: Duration = Duration::from_secs(30);
/// So much of a server's last words is shown.
const LAST_LINES: usize = 10;

/// Connects to the server on `host`.
pub async fn connect(host: &HostSpec) -> Result<UnixStream> {
    if !host.is_local() {
        bail!("asking over SSH is not available in this version; run query on {} itself", host.name);
    }
    let path = socket::default_socket().context("cannot tell where the server listens")?;
    socket::prepare_folder(&path)?;
    match UnixStream::connect(&path).await {
        Ok(stream) => Ok(stream),
        Err(_) => start(&path).await,
    }
}

/// Starts a server and connects to it, or says why it ended.
async fn start(path: &Path) -> Result<UnixStream> {
    let program = fleet::program("server")?;
    let log = LogEnd::of(socket::log_beside(path))?;
    let deadline = Instant::now() + PATIENCE;
    let mut server = spawn(&program, path, &log)?;
    loop {
        if let Ok(stream) = UnixStream::connect(path).await {
            return Ok(stream);
        }
        match server.try_wait()? {
            // It left because another one was there, which then left too.
            Some(status) if status.success() => server = spawn(&program, path, &log)?,
            Some(status) => bail!("the server could not start ({status}){}", log.last_words()),
            None => {}
        }
        if Instant::now() > deadline {
            let waited = PATIENCE.as_secs();
            bail!("the server did not answer within {waited} s, see {}{}", log.path.display(), log.last_words());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
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
        .stderr(log.open()?)
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
    fn of(path: PathBuf) -> Result<Self> {
        let log = Self { path, length_bytes: 0 };
        let length_bytes = log.open()?.metadata()?.len();
        Ok(Self { length_bytes, ..log })
    }

    fn open(&self) -> Result<File> {
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&self.path);
        file.with_context(|| format!("cannot open {}", self.path.display()))
    }

    /// What was written since, as a text to put behind a message; empty if there is nothing.
    fn last_words(&self) -> String {
        let lines = self.read().unwrap_or_default();
        let lines: Vec<_> = lines.lines().filter(|l| !l.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(LAST_LINES)..].iter().map(|l| format!("\n  {l}")).collect()
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
