//! A machine behind SSH: one connection, through which every program, copy and forwarded socket goes. `openssh` makes
//! the connection (a master in the background, which ends 60 s after its last use); programs are started here, because
//! they must be followed and killed, and because no setting of the person's own ssh configuration may change them.

use std::ffi::OsString;
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use std::{env, sync::Arc};

use openssh::{ControlPersist, KnownHosts, Session, SessionBuilder};
use protocol::socket;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::process::{Far, Process};
use crate::remote::{Beginning, COMMAND_LINE, Token};
use crate::{HostError, HostErrorKind, HostSpec, Limits, kept};

/// An unused connection is closed after this time, also if its owner was killed.
const PERSIST_S: NonZeroUsize = NonZeroUsize::new(60).unwrap();

/// What the connection's owner on this machine may take for an answer.
const MASTER_ANSWER: Duration = Duration::from_secs(10);

/// Start-up files of a login shell may say this much before a program begins.
const MOST_NOISE_BYTES: u64 = 64 << 10;

/// What comes behind the folder's name in a socket's path, at most: the 9 of a kept connection's folder, ssh's
/// `/.ssh-connection` with 6 letters, `/master`, and for a moment 17 more.
const CONTROL_NAME_BYTES: usize = 57;

/// A connection.
#[derive(Debug)]
pub(crate) struct Ssh {
    pub name: String,
    session: Session,
    limits: Limits,
    forwards: AtomicUsize,
}

impl Ssh {
    /// Makes a connection that ends with its owner.
    pub async fn connect(spec: &HostSpec, limits: Limits) -> Result<Self, HostError> {
        let session = session(spec, limits, control_folder()).await?;
        Ok(Self::over(session, spec, limits))
    }

    /// Uses the connection that an earlier program left, else makes one, and leaves it for the next.
    pub async fn connect_kept(spec: &HostSpec, limits: Limits) -> Result<Self, HostError> {
        let folder = kept::folder(spec);
        if let Ok(folder) = &folder
            && let Some(session) = kept::resume(folder).await
        {
            return Ok(Self::over(session, spec, limits));
        }
        let session = session(spec, limits, folder).await?;
        Ok(Self::over(kept::keep(session), spec, limits))
    }

    fn over(session: Session, spec: &HostSpec, limits: Limits) -> Self {
        Self { name: spec.name.clone(), session, limits, forwards: AtomicUsize::default() }
    }

    pub fn error(&self, kind: HostErrorKind, task: impl Into<String>, said: impl std::fmt::Display) -> HostError {
        HostError::new(&self.name, kind, task, said)
    }

    /// An ssh that goes through the connection, and never makes one itself.
    fn client(&self, options: &[&str]) -> tokio::process::Command {
        self.std_client(options).into()
    }

    fn std_client(&self, options: &[&str]) -> std::process::Command {
        let mut client = std::process::Command::new("ssh");
        client
            .args(["-F", "/dev/null", "-o", "BatchMode=yes", "-o", "ProxyCommand=false", "-S"])
            .arg(self.session.control_socket())
            .args(options)
            .args(["--", &self.name]);
        client
    }

    /// Starts a program there. Its standard error goes to the file `log` there, or comes here if that is empty.
    pub async fn start(self: &Arc<Self>, program: &str, args: &[OsString], log: &str) -> Result<Process, HostError> {
        let task = || format!("start {program}");
        let token = Token::new();
        let Some(header) = token.header(program, args, log) else {
            return Err(self.error(HostErrorKind::Other, task(), "an argument holds a NUL"));
        };
        let mut client = self.client(&["-T"]);
        let mut process = Process::spawn(client.arg(COMMAND_LINE).stderr(Stdio::piped()))
            .map_err(|e| self.error(HostErrorKind::Other, task(), format!("ssh: {e}")))?;
        match timeout(self.limits.answer, begin(&mut process, &header, &token)).await {
            Err(_) => Err(self.error(HostErrorKind::TimedOut, task(), "")),
            Ok(Ok(Beginning::Begin(pid))) => Ok(process.at(Far { ssh: Arc::clone(self), token }, pid)),
            Ok(Ok(Beginning::Missing)) => Err(self.error(HostErrorKind::ProgramMissing, task(), "")),
            Ok(Err(noise)) => {
                let words = process.last_words().await;
                let said = format!("{}{noise}", String::from_utf8_lossy(&words));
                Err(match self.check().await {
                    Ok(()) => self.error(HostErrorKind::Other, task(), said),
                    Err(how) => self.error(HostErrorKind::Lost, task(), how),
                })
            }
        }
    }

    /// Kills a process there; false if that could not be said.
    pub async fn kill(self: &Arc<Self>, pid: u32) -> bool {
        let args = ["-c", "kill -KILL \"$1\"", "sh", &pid.to_string()].map(OsString::from);
        let kill = async {
            let mut process = self.start("sh", &args, "").await.ok()?;
            process.input = None;
            process.read_all(0, || ()).await.ok()
        };
        timeout(MASTER_ANSWER, kill).await.is_ok_and(|done| done.is_some())
    }

    /// Whether the connection stands; if not, what ssh said when it broke.
    pub async fn check(&self) -> Result<(), String> {
        match timeout(MASTER_ANSWER, self.session.check()).await {
            Ok(result) => result.map_err(|e| said(&e)),
            Err(_) => Err("ssh does not answer".to_owned()),
        }
    }

    /// A new name for a socket, in the connection's own closed folder.
    pub fn socket_path(&self) -> PathBuf {
        let number = self.forwards.fetch_add(1, Ordering::Relaxed);
        self.socket_named(&format!("forward-{number}"))
    }

    /// A socket of this name in the connection's own closed folder.
    pub fn socket_named(&self, name: &str) -> PathBuf {
        self.session.control_socket().with_file_name(name)
    }

    /// Makes the socket `here` lead to the socket `there`.
    pub async fn forward(&self, here: &Path, there: &str) -> Result<(), HostError> {
        let task = || format!("reach {there}");
        let mut client = self.client(&["-O", "forward", "-L", &pair(here, there)]);
        let asked = timeout(MASTER_ANSWER, client.stdin(Stdio::null()).kill_on_drop(true).output()).await;
        match asked {
            Ok(Ok(output)) if output.status.success() => Ok(()),
            Ok(Ok(output)) => Err(match self.check().await {
                Ok(()) => self.error(HostErrorKind::Other, task(), String::from_utf8_lossy(&output.stderr)),
                Err(how) => self.error(HostErrorKind::Lost, task(), how),
            }),
            Ok(Err(e)) => Err(self.error(HostErrorKind::Other, task(), format!("ssh: {e}"))),
            Err(_) => Err(self.error(HostErrorKind::TimedOut, task(), "")),
        }
    }

    /// Ends what [`Ssh::forward`] began. It only asks a process on this machine.
    pub fn end_forward(&self, here: &Path, there: &str) {
        let mut client = self.std_client(&["-O", "cancel", "-L", &pair(here, there)]);
        // A connection that is lost has ended its forwards, and its folder goes with it.
        let _ = client.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        let _ = std::fs::remove_file(here);
    }

    pub async fn close(self) {
        // A lost connection is closed.
        let _ = timeout(MASTER_ANSWER, self.session.close()).await;
    }
}

/// Logs in. The sockets of the connection come into a new folder below `folder`.
async fn session(spec: &HostSpec, limits: Limits, folder: io::Result<PathBuf>) -> Result<Session, HostError> {
    let error = |kind, said: &str| HostError::connecting(&spec.name, kind, by_hand(spec), said);
    let folder = folder.map_err(|e| error(HostErrorKind::Other, &e.to_string()))?;
    let mut builder = SessionBuilder::default();
    builder
        .known_hosts_check(KnownHosts::Strict)
        .control_directory(folder)
        .control_persist(ControlPersist::IdleFor(PERSIST_S))
        // ssh counts whole seconds, and takes 0 for none.
        .connect_timeout(limits.connect.max(Duration::from_secs(1)))
        // ssh gives up after three unanswered signs of life.
        .server_alive_interval((limits.silence / 3).max(Duration::from_secs(1)));
    if let Some(user) = &spec.user {
        builder.user(user.clone());
    }
    if let Some(port) = spec.port {
        builder.port(port);
    }
    if let Some(file) = &spec.identity_file {
        builder.keyfile(expand_home(file));
    }
    if let Some(file) = &spec.ssh_config {
        let file = expand_home(file);
        if let Err(e) = std::fs::File::open(&file) {
            return Err(error(HostErrorKind::Other, &format!("ssh_config={}: {e}", file.display())));
        }
        builder.config_file(file);
    }
    // ssh's own limit does not cover the exchange of keys.
    match timeout(limits.connect * 3, builder.connect(&spec.name)).await {
        Ok(Ok(session)) => Ok(session),
        Ok(Err(e)) => {
            let said = said(&e);
            Err(error(HostErrorKind::of_connection(&said), &said))
        }
        Err(_) => Err(error(HostErrorKind::TimedOut, "")),
    }
}

/// Sends the header, and waits for the program to begin. The error is what came instead.
async fn begin(process: &mut Process, header: &[u8], token: &Token) -> Result<Beginning, String> {
    if let Some(input) = &mut process.input {
        // An ssh that has ended tells why itself.
        let _ = input.write_all(header).await;
    }
    let mut output = (&mut process.output).take(MOST_NOISE_BYTES);
    let mut noise = Vec::new();
    loop {
        let before = noise.len();
        if !matches!(output.read_until(b'\n', &mut noise).await, Ok(1..)) {
            return Err(String::from_utf8_lossy(&noise).into_owned());
        }
        if let Some(beginning) = token.beginning(&noise[before..]) {
            return Ok(beginning);
        }
    }
}

fn pair(here: &Path, there: &str) -> String {
    format!("{}:{there}", here.display())
}

/// The text behind openssh's error.
fn said(error: &openssh::Error) -> String {
    let source = std::error::Error::source(error).map(ToString::to_string);
    source.filter(|s| !s.trim().is_empty()).unwrap_or_else(|| error.to_string())
}

/// The command with which a person can connect as we do.
fn by_hand(spec: &HostSpec) -> String {
    let mut command = "ssh".to_owned();
    let mut add = |option: &str, value: Option<String>| {
        if let Some(value) = value {
            command += &format!(" {option}{value}");
        }
    };
    add("-F ", spec.ssh_config.as_ref().map(|f| f.display().to_string()));
    add("-i ", spec.identity_file.as_ref().map(|f| f.display().to_string()));
    add("-p ", spec.port.map(|p| p.to_string()));
    add("-l ", spec.user.clone());
    add("", Some(spec.name.clone()));
    command
}

/// A folder for sockets that is closed to others and short enough for ssh on macOS too.
pub(crate) fn control_folder() -> io::Result<PathBuf> {
    let short = |dir: &PathBuf| dir.as_os_str().len() + CONTROL_NAME_BYTES <= socket::LONGEST_SOCKET_PATH;
    let usual = socket::default_socket()?.parent().map(Path::to_path_buf);
    let folder = match usual.filter(short) {
        Some(folder) => folder,
        None => PathBuf::from(format!("/tmp/imagefleet-{}", socket::own_uid()?)),
    };
    socket::prepare_folder(&folder.join("-"))?;
    Ok(folder)
}

/// `~/` as a shell would read it, because no shell does.
fn expand_home(file: &Path) -> PathBuf {
    match (file.strip_prefix("~"), env::var_os("HOME")) {
        (Ok(rest), Some(home)) => Path::new(&home).join(rest),
        _ => file.to_owned(),
    }
}
