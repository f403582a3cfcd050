//! A machine behind SSH: one connection, through which every program, copy and forwarded socket goes. A master in the
//! background holds it; programs are started here, because they must be followed and killed, and because no setting of
//! the person's own ssh configuration may change them.

use std::ffi::OsString;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use protocol::folders::expand_home;
use protocol::{folders, socket};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::master::{Session, briefly};
use crate::process::{Far, Process};
use crate::remote::{Beginning, Log, Token};
use crate::{HostError, HostErrorKind, HostSpec, Limits, kept};

/// What the connection's owner on this machine may take for an answer.
const MASTER_ANSWER: Duration = Duration::from_secs(10);

/// Start-up files of a login shell may say this much before a program begins.
const MOST_NOISE_BYTES: u64 = 64 << 10;

/// Of what came in the place of a program, so much is told.
const TOLD_CHARS: usize = 400;

/// A machine that allows one session at a time is asked again while the last one is being closed, so often and so long.
const SESSION_PAUSE: Duration = Duration::from_millis(100);
const SESSION_LIMIT: Duration = Duration::from_secs(3);

/// Leads to what is no socket anywhere, so that every connection to it is refused.
const PROBE: &str = "probe";

/// What comes behind the folder's name in a socket's path, at most: the 9 of a kept connection's folder, ssh's
/// `/.ssh-connection` with 6 letters, `/master`, and for a moment 17 more.
const CONTROL_NAME_BYTES: usize = 57;

/// A machine behind SSH.
#[derive(Debug)]
pub(crate) struct Ssh {
    pub name: String,
    spec: HostSpec,
    limits: Limits,
    kept: bool,
    /// The connection that is used now. One that broke is replaced.
    session: Mutex<Arc<Session>>,
    /// Held by whoever replaces it.
    replacing: tokio::sync::Mutex<()>,
    forwards: AtomicUsize,
}

impl Ssh {
    /// Makes a connection that ends with its owner.
    pub async fn connect(spec: &HostSpec, limits: Limits) -> Result<Self, HostError> {
        Ok(Self::over(session(spec, limits, control_folder()).await?, spec, limits, false))
    }

    /// Uses the connection that an earlier program left, else makes one, and leaves it for the next.
    pub async fn connect_kept(spec: &HostSpec, limits: Limits) -> Result<Self, HostError> {
        Ok(Self::over(kept_session(spec, limits).await?, spec, limits, true))
    }

    fn over(session: Session, spec: &HostSpec, limits: Limits, kept: bool) -> Self {
        Self {
            name: spec.name.clone(),
            spec: spec.clone(),
            limits,
            kept,
            session: Mutex::new(Arc::new(session)),
            replacing: tokio::sync::Mutex::default(),
            forwards: AtomicUsize::default(),
        }
    }

    pub fn error(&self, kind: HostErrorKind, task: impl Into<String>, said: impl std::fmt::Display) -> HostError {
        HostError::new(&self.name, kind, task, said)
    }

    fn session(&self) -> Arc<Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The connection, made anew if it ended since it was last used: ssh closes one that is idle for a minute, and networks
    /// do so too.
    pub async fn connected(&self, task: &str) -> Result<Arc<Session>, HostError> {
        let session = self.session();
        if session.listens().await { Ok(session) } else { self.connect_again(&session, task).await }
    }

    /// A connection in the place of this one, which broke.
    async fn connect_again(&self, broken: &Arc<Session>, task: &str) -> Result<Arc<Session>, HostError> {
        let _replacing = self.replacing.lock().await;
        let now = self.session();
        if !Arc::ptr_eq(&now, broken) {
            return Ok(now); // somebody else was here first
        }
        let made = match self.kept {
            true => kept_session(&self.spec, self.limits).await,
            false => session(&self.spec, self.limits, control_folder()).await,
        };
        let why = |e: HostError| {
            let again = if e.detail().is_empty() { e.to_string() } else { format!("{e} ({})", e.detail()) };
            self.error(HostErrorKind::Lost, task, format!("{}\n{again}", broken.last_words()))
        };
        let made = Arc::new(made.map_err(why)?);
        *self.session.lock().unwrap_or_else(PoisonError::into_inner) = made.clone();
        Ok(made)
    }

    /// Starts a program there. A connection that breaks before it has begun is made again, once.
    pub async fn start(self: &Arc<Self>, program: &str, args: &[OsString], log: Log<'_>) -> Result<Process, HostError> {
        let task = format!("start {program}");
        let session = self.connected(&task).await?;
        match self.start_over(&session, &task, program, args, log).await {
            Err(e) if e.kind == HostErrorKind::Lost => {
                let session = self.connect_again(&session, &task).await?;
                self.start_over(&session, &task, program, args, log).await
            }
            started => started,
        }
    }

    async fn start_over(
        self: &Arc<Self>,
        session: &Arc<Session>,
        task: &str,
        program: &str,
        args: &[OsString],
        log: Log<'_>,
    ) -> Result<Process, HostError> {
        let token = Token::new();
        let Some(header) = token.header(program, args, log) else {
            return Err(self.error(HostErrorKind::Other, task, "an argument holds a NUL"));
        };
        let last_try = Instant::now() + SESSION_LIMIT;
        loop {
            let mut client = tokio::process::Command::from(session.client(&["-T"], &self.name));
            let mut process = Process::spawn(client.arg(token.command_line()).stderr(Stdio::piped()))
                .map_err(|e| self.error(HostErrorKind::Other, task, format!("ssh: {e}")))?;
            let (kind, said) = match begin(&mut process, &header, &token, self.limits.answer).await {
                Ok(Beginning::Begin(pid)) => {
                    return Ok(process.at(Far { ssh: Arc::clone(self), session: Arc::clone(session), token }, pid));
                }
                Ok(Beginning::Barred) => (HostErrorKind::ProgramBarred, String::new()),
                Ok(_) => (HostErrorKind::ProgramMissing, String::new()),
                Err((kind, said)) => (kind, said),
            };
            let words = String::from_utf8_lossy(&process.last_words().await).into_owned();
            if words.contains("Session open refused") {
                if Instant::now() < last_try {
                    sleep(SESSION_PAUSE).await;
                    continue;
                }
                return Err(self.error(HostErrorKind::NoSession, task, ""));
            }
            if kind == HostErrorKind::StartUp || kind == HostErrorKind::Other {
                check(session).await.map_err(|how| self.error(HostErrorKind::Lost, task, how))?;
            }
            let words = if kind == HostErrorKind::TimedOut { "" } else { &words };
            return Err(self.error(kind, task, format!("{words}{said}")));
        }
    }

    /// Kills a process that was started over this connection; false if that could not be said. Another connection may lead
    /// to a machine that was started anew, where the number is another's.
    pub async fn kill(self: &Arc<Self>, session: &Arc<Session>, pid: u32) -> bool {
        let args = ["-c", "kill -KILL \"$1\"", "sh", &pid.to_string()].map(OsString::from);
        let kill = async {
            let mut process = self.start_over(session, "start sh", "sh", &args, Log::default()).await.ok()?;
            process.input = None;
            process.read_all(0, || ()).await.ok()
        };
        timeout(MASTER_ANSWER, kill).await.is_ok_and(|done| done.is_some())
    }

    /// A new name for a socket.
    pub fn new_name(&self) -> String {
        format!("forward-{}", self.forwards.fetch_add(1, Ordering::Relaxed))
    }

    /// Makes the socket `here` lead to the socket `there`.
    pub async fn forward(&self, session: &Session, here: &Path, there: &str) -> Result<(), HostError> {
        let task = || format!("reach {there}");
        let mut client =
            tokio::process::Command::from(session.client(&["-O", "forward", "-L", &pair(here, there)], &self.name));
        let asked = timeout(MASTER_ANSWER, client.stdin(Stdio::null()).kill_on_drop(true).output()).await;
        match asked {
            Ok(Ok(output)) if output.status.success() => Ok(()),
            Ok(Ok(output)) => Err(match check(session).await {
                Ok(()) => self.error(HostErrorKind::Other, task(), String::from_utf8_lossy(&output.stderr)),
                Err(how) => self.error(HostErrorKind::Lost, task(), how),
            }),
            Ok(Err(e)) => Err(self.error(HostErrorKind::Other, task(), format!("ssh: {e}"))),
            Err(_) => Err(self.error(HostErrorKind::TimedOut, task(), "")),
        }
    }

    /// Whether the machine lets a connection to the socket `here` through. ssh takes any order to forward, and hears of a
    /// refusal only when somebody connects; it never hears that one is let through.
    ///
    /// So others are asked for behind it, to what is no socket: they are answered in turn. The first of them may still
    /// be sent together with ours.
    pub async fn lets_through(&self, session: &Session, here: &Path) -> Result<bool, HostError> {
        let probe = session.folder().join(PROBE);
        if !probe.exists() {
            self.forward(session, &probe, "/").await?;
        }
        let connect = async |path| UnixStream::connect(path).await;
        let try_all = async {
            let ours = connect(here).await?;
            for _ in 0..2 {
                connect(&probe).await?.read_to_end(&mut Vec::new()).await?;
            }
            let mut ours = ours.into_std()?;
            Ok::<_, io::Error>(!matches!(ours.read(&mut [0]), Ok(0)))
        };
        let task = || format!("reach {}", here.display());
        match timeout(MASTER_ANSWER, try_all).await {
            Ok(tried) => tried.map_err(|e| self.error(HostErrorKind::Other, task(), e)),
            Err(_) => Err(self.error(HostErrorKind::TimedOut, task(), "")),
        }
    }

    /// Ends what [`Ssh::forward`] began. It only asks a process on this machine.
    pub fn end_forward(&self, session: &Session, here: &Path, there: &str) {
        let client = session.client(&["-O", "cancel", "-L", &pair(here, there)], &self.name);
        // A connection that is lost has ended its forwards, and its folder goes with it.
        briefly(client);
        let _ = std::fs::remove_file(here);
    }
}

/// Whether a connection stands; if not, what ssh said when it broke.
pub(crate) async fn check(session: &Session) -> Result<(), String> {
    match timeout(MASTER_ANSWER, session.check()).await {
        Ok(result) => result,
        Err(_) => Err("ssh does not answer".to_owned()),
    }
}

/// The connection that an earlier program left, else a new one, which is left for the next.
async fn kept_session(spec: &HostSpec, limits: Limits) -> Result<Session, HostError> {
    let folder = kept::folder(spec);
    if let Ok(folder) = &folder
        && let Some(session) = kept::resume(folder).await
    {
        return Ok(session);
    }
    Ok(kept::keep(session(spec, limits, folder).await?))
}

/// Logs in. The sockets of the connection come into a new folder below `folder`.
async fn session(spec: &HostSpec, limits: Limits, folder: io::Result<PathBuf>) -> Result<Session, HostError> {
    let error = |kind, said: &str| HostError::connecting(&spec.name, kind, by_hand(spec), said);
    let folder = folder.map_err(|e| error(HostErrorKind::Other, &e.to_string()))?;
    if let Some(file) = spec.ssh_config.as_deref().map(expand_home)
        && let Err(e) = std::fs::File::open(&file)
    {
        return Err(error(HostErrorKind::Other, &format!("ssh_config={}: {e}", file.display())));
    }
    Session::connect(spec, limits, &folder).await.map_err(|failed| error(failed.kind, &failed.said))
}

/// Waits for the shell there, sends it the header, and waits for the program to begin. The error is what came instead.
///
/// Nothing is sent before the shell says that it listens: start-up files may start another one, which would run what it
/// reads. If nothing is said for half of the `limit`, the input is closed: who waits for it then goes on, or ends.
async fn begin(
    process: &mut Process,
    header: &[u8],
    token: &Token,
    limit: Duration,
) -> Result<Beginning, (HostErrorKind, String)> {
    let (half, whole) = (Instant::now() + limit / 2, Instant::now() + limit);
    let start_up = |why: &str, noise: &[u8]| (HostErrorKind::StartUp, format!("{why}{}", told(noise)));
    let mut output = (&mut process.output).take(MOST_NOISE_BYTES);
    let (mut noise, mut line) = (Vec::new(), Vec::new());
    let (mut listens, mut waited) = (false, false);
    loop {
        let deadline = if waited || listens { whole } else { half };
        let read = match timeout_at(deadline, output.read_until(b'\n', &mut line)).await {
            Ok(read) => read.unwrap_or(0),
            // What has come of a line stays.
            Err(_) if !waited && !listens => {
                (waited, process.input) = (true, None);
                continue;
            }
            Err(_) if listens => return Err((HostErrorKind::TimedOut, String::new())),
            Err(_) => return Err(start_up("they do not come to an end", &noise)),
        };
        if read == 0 && line.is_empty() {
            return Err(match (output.limit() == 0, listens, waited) {
                (true, false, _) => start_up("they say more than 64 KB", &noise),
                (_, true, _) => (HostErrorKind::Other, told(&noise)),
                (_, false, true) => start_up("they start another shell, or wait for input", &noise),
                (_, false, false) => start_up("it ended without running what was asked", &noise),
            });
        }
        match token.beginning(&line) {
            Some(Beginning::Listens) if waited => return Err(start_up("they wait for input", &noise)),
            Some(Beginning::Deaf) => return Err(start_up("they take the input that is meant for programs", &noise)),
            Some(Beginning::Listens) => {
                listens = true;
                if let Some(input) = &mut process.input {
                    // An ssh that has ended, or a machine that takes nothing, shows in what comes or does not.
                    let _ = timeout_at(whole, input.write_all(header)).await;
                }
            }
            Some(beginning) => return Ok(beginning),
            None => noise.extend(&line),
        }
        line.clear();
    }
}

/// Something that came, in so many words that a person reads it.
fn told(noise: &[u8]) -> String {
    let text = String::from_utf8_lossy(noise);
    let text = text.trim();
    let short: String = text.chars().take(TOLD_CHARS).collect();
    match (short.is_empty(), short.len() < text.len()) {
        (true, _) => String::new(),
        (_, true) => format!(": {short}..."),
        (_, false) => format!(": {short}"),
    }
}

fn pair(here: &Path, there: &str) -> String {
    format!("{}:{there}", here.display())
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
    folders::sockets(socket::LONGEST_SOCKET_PATH - CONTROL_NAME_BYTES)
}
