//! A machine that programs are started on, files put to and sockets reached on: this one, or one behind SSH. What can
//! go wrong is a [`HostError`]; every wait has a limit.

use std::ffi::{OsStr, OsString};
use std::fs::{self, OpenOptions};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use protocol::folders;
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;

use crate::channel::{Channel, Ended, Incoming};
use crate::exchange::{Clock, Input, feed, talk};
use crate::process::Process;
use crate::remote::Log;
use crate::ssh::Ssh;
use crate::{Carried, Forward, HostError, HostErrorKind, HostSpec};

/// What a program may say to [`Host::run`].
const MOST_OUTPUT_BYTES: usize = 64 << 20;

/// Writes standard input to a file that appears whole or not at all. A connection that breaks looks like the end of
/// the file, so its length is compared. A share may refuse chmod, so files are made with their mode; the right to run
/// them comes with a program that is copied first.
const PUT: &str = r#"to=$1 mode=$2 size=$3 tmp=$4
case $to in */*) [ -d "${to%/*}/" ] || mkdir -p -- "${to%/*}/" || exit;; esac
if [ -d "$to" ]; then echo "it is a folder" >&2; exit 1; fi
trap 'rm -f -- "$tmp"' EXIT
umask "$(printf %o $((0777 & ~0$mode)))"
case $mode in *[1357]*) cp -- "$(command -v cat)" "$tmp" || exit;; esac
cat >"$tmp" || exit
if [ "$(wc -c <"$tmp")" -ne "$size" ]; then echo "it did not arrive whole" >&2; exit 1; fi
case $mode in *[1357]*) chmod "$mode" "$tmp" || [ -x "$tmp" ] || exit;; esac
mv -f -- "$tmp" "$to" && trap - EXIT"#;

/// A connected machine. Clones share the connection.
#[derive(Clone, Debug)]
pub struct Host {
    limits: Limits,
    link: Link,
}

#[derive(Clone, Debug)]
enum Link {
    Local,
    Ssh(Arc<Ssh>),
}

/// How long a machine is waited for.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For it to take a connection. Logging in may take three times this.
    pub connect: Duration,
    /// For a program there to begin, and between two pieces of a file.
    pub answer: Duration,
    /// A machine that gives no sign of life for so long is lost (unless the person's ssh configuration sets another
    /// ServerAliveCountMax than the usual 3).
    pub silence: Duration,
    /// A connection that nobody has used for so long is closed, also if its owner was killed. Whoever needs it again makes
    /// it again.
    pub idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { connect: seconds(10), answer: seconds(60), silence: seconds(15), idle: seconds(60) }
    }
}

/// What [`Host::put`] writes.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// These bytes.
    Bytes(&'a [u8]),
    /// What is in this file here.
    File(&'a Path),
}

impl Host {
    /// Connects, with the usual limits.
    pub async fn connect(spec: &HostSpec) -> Result<Self, HostError> {
        Self::connect_within(spec, Limits::default()).await
    }

    /// Connects. Nobody is asked for a password, and the host's key must be known. `localhost` needs nothing.
    pub async fn connect_within(spec: &HostSpec, limits: Limits) -> Result<Self, HostError> {
        if !spec.is_local() {
            return Ok(Self { limits, link: Link::Ssh(Arc::new(Ssh::connect(spec, limits).await?)) });
        }
        if spec.work_dir.is_none() {
            let homeless = |e| HostError::new(&spec.name, HostErrorKind::Other, "find a folder for lists and logs", e);
            folders::state().map_err(homeless)?;
        }
        Ok(Self { limits, link: Link::Local })
    }

    /// Connects as [`Host::connect`] does, over the connection that another program left, if it stands, and leaves it
    /// open for the next, for 60 s.
    pub async fn connect_kept(spec: &HostSpec) -> Result<Self, HostError> {
        let limits = Limits::default();
        let local = spec.is_local();
        let link = if local { Link::Local } else { Link::Ssh(Arc::new(Ssh::connect_kept(spec, limits).await?)) };
        Ok(Self { limits, link })
    }

    /// Its name in `hosts`.
    pub fn name(&self) -> &str {
        match &self.link {
            Link::Local => "localhost",
            Link::Ssh(ssh) => &ssh.name,
        }
    }

    /// Runs a program to its end, which must come within `limit`, or it is killed. Its status may tell of any failure of its own; an
    /// error means that it could not be run or its end was not seen. At most 64 MiB of its output are taken, and the
    /// last 64 KiB of what it says on standard error.
    ///
    /// Arguments reach the program as they are, whatever they hold.
    pub async fn run(
        &self,
        program: &str,
        args: &[OsString],
        input: &[u8],
        limit: Duration,
    ) -> Result<Output, HostError> {
        let task = format!("run {program}");
        self.exchange(&task, program, args, Input::whole(input), MOST_OUTPUT_BYTES, Clock::whole(limit)).await
    }

    /// Runs a program as [`Host::run`] does, one of ours that wants to be attended: once it has its input, an empty line now
    /// and then tells it that somebody still waits for its result. When `until` is over its standard input is closed,
    /// which asks it to end; so does a connection that breaks.
    pub async fn attend(
        &self,
        program: &str,
        args: &[OsString],
        input: &[u8],
        limit: Duration,
        until: impl Future<Output = ()>,
    ) -> Result<Output, HostError> {
        let task = format!("run {program}");
        let clock = Clock::whole(limit);
        self.exchange(&task, program, args, Input { from: input, until: Some(until) }, MOST_OUTPUT_BYTES, clock).await
    }

    /// Starts a program whose standard input and output are a stream.
    pub async fn carry(&self, program: &str, args: &[OsString]) -> Result<Carried, HostError> {
        self.process(program, args, Log::default()).await.map(Carried::by)
    }

    /// Starts a program that takes commands and tells events; what it says goes to `incoming`, marked with `tag`, and
    /// so does that it could not be started. Nobody waits here: many machines start at once. The program's standard
    /// error is appended to the file `log` on its host, so that nothing it says can block it.
    ///
    /// If the connection breaks, the program goes on there until it notices: its standard input is at its end.
    pub fn start(
        &self,
        program: &str,
        args: &[OsString],
        log: &str,
        tag: usize,
        incoming: mpsc::Sender<(usize, Incoming)>,
    ) -> Channel {
        self.start_shown(program, args, log, "", tag, incoming)
    }

    /// The same; the log gets `shown` for another name, which takes the place of what has that name.
    pub fn start_shown(
        &self,
        program: &str,
        args: &[OsString],
        log: &str,
        shown: &str,
        tag: usize,
        incoming: mpsc::Sender<(usize, Incoming)>,
    ) -> Channel {
        let (host, program, args) = (self.clone(), program.to_owned(), args.to_owned());
        let (file, shown) = (log.to_owned(), shown.to_owned());
        let starting = async move { host.process(&program, &args, Log { file: &file, shown: &shown }).await };
        Channel::to(starting, tag, incoming)
    }

    /// Writes a file there with these permissions, as 0o644. Its folder is made. It appears whole or not at all.
    pub async fn put(&self, content: Content<'_>, to: &str, mode: u32) -> Result<(), HostError> {
        let task = format!("write {to}");
        let unreadable = |file: &Path, e: io::Error| {
            self.error(HostErrorKind::Other, &task, format!("cannot read {}: {e}", file.display()))
        };
        let (size_bytes, input): (u64, Box<dyn AsyncRead + Send + Unpin>) = match content {
            Content::Bytes(bytes) => (bytes.len() as u64, Box::new(bytes)),
            Content::File(path) => {
                let file = File::open(path).await.map_err(|e| unreadable(path, e))?;
                let size_bytes = file.metadata().await.map_err(|e| unreadable(path, e))?.len();
                (size_bytes, Box::new(file.take(size_bytes)))
            }
        };
        // Each RandomState has its own random keys. Names of hosts can be longer than a share takes.
        let temporary = format!("{to}.{:016x}.tmp", RandomState::new().build_hasher().finish());
        let (mode, size) = (format!("{mode:o}"), size_bytes.to_string());
        let args = ["-c", PUT, "sh", to, &mode, &size, &temporary].map(OsString::from);
        let clock = Clock::still(self.limits.answer);
        let output = self.exchange(&task, "sh", &args, Input::whole(input), 0, clock).await?;
        self.succeeded(&output, task)
    }

    /// Reads a file there, of at most `most_bytes`.
    pub async fn get(&self, from: &str, most_bytes: usize) -> Result<Vec<u8>, HostError> {
        let task = format!("read {from}");
        let args = ["--", from].map(OsString::from);
        let clock = Clock::still(self.limits.answer);
        let output = self.exchange(&task, "cat", &args, Input::whole(&b""[..]), most_bytes, clock).await?;
        self.succeeded(&output, task)?;
        Ok(output.stdout)
    }

    /// Makes a Unix socket there reachable here. That nothing listens there shows when it is connected to.
    pub async fn forward(&self, socket: &str) -> Result<Forward, HostError> {
        let Some(ssh) = self.can_forward(socket)? else { return Ok(Forward::open(socket.into())) };
        let session = ssh.connected(&format!("reach {socket}")).await?;
        let here = session.folder().join(ssh.new_name());
        ssh.forward(&session, &here, socket).await?;
        Ok(Forward::to(here, Arc::clone(ssh), session, socket))
    }

    /// The same for as long as a connection of [`Host::connect_kept`] stands: [`crate::kept_socket`] finds it by the name
    /// of the socket's file.
    pub async fn forward_kept(&self, socket: &str) -> Result<Forward, HostError> {
        let Some(ssh) = self.can_forward(socket)? else { return Ok(Forward::open(socket.into())) };
        let session = ssh.connected(&format!("reach {socket}")).await?;
        let here = session.folder().join(socket.rsplit('/').next().unwrap_or_default());
        // One that is there already is no error, if it leads to the same socket.
        if ssh.forward(&session, &here, socket).await.is_err() {
            // It led to another, or cannot be removed; then what follows tells.
            let _ = fs::remove_file(&here);
            ssh.forward(&session, &here, socket).await?;
        }
        Ok(Forward::open(here))
    }

    /// Fails if connections to `socket` do not get through this forward of it, as where forwarding is switched off: then
    /// what connects only sees its end. Whoever listens there sees a connection on which nothing comes.
    pub async fn reaches(&self, forward: &Forward, socket: &str) -> Result<(), HostError> {
        let Link::Ssh(ssh) = &self.link else { return Ok(()) };
        let task = format!("reach {socket}");
        let session = ssh.connected(&task).await?;
        if ssh.lets_through(&session, forward.path()).await? {
            return Ok(());
        }
        let there = self.run("test", &["-S".into(), socket.into()], b"", self.limits.answer).await?;
        if there.status.success() {
            return Err(self.error(HostErrorKind::ForwardingOff, task, ""));
        }
        Err(self.error(HostErrorKind::Other, task, "there is no such socket"))
    }

    /// The connection that can forward to this socket; `None` on this machine.
    fn can_forward(&self, socket: &str) -> Result<Option<&Arc<Ssh>>, HostError> {
        let Link::Ssh(ssh) = &self.link else { return Ok(None) };
        // ssh reads these characters in a path as its own.
        if !socket.starts_with('/') || socket.contains(|c: char| c.is_control() || ":\\%${}[]".contains(c)) {
            let said = "a socket's path must be absolute and without any of : \\ % $ { } [ ]";
            return Err(self.error(HostErrorKind::Other, format!("reach {socket}"), said));
        }
        Ok(Some(ssh))
    }

    /// Closes the connection, unless a clone, a channel or a forward still uses it: then the last of them does.
    pub async fn close(self) {
        if let Link::Ssh(ssh) = self.link
            && let Ok(ssh) = Arc::try_unwrap(ssh)
        {
            // A lost connection is closed; ending one may take a moment.
            let _ = tokio::task::spawn_blocking(|| drop(ssh)).await;
        }
    }

    fn error(&self, kind: HostErrorKind, task: impl Into<String>, said: impl std::fmt::Display) -> HostError {
        HostError::new(self.name(), kind, task, said)
    }

    fn succeeded(&self, output: &Output, task: String) -> Result<(), HostError> {
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let said = if said.trim().is_empty() { output.status.to_string() } else { said.into_owned() };
        Err(self.error(HostErrorKind::Other, task, said))
    }

    /// Starts a program.
    async fn process(&self, program: &str, args: &[OsString], log: Log<'_>) -> Result<Process, HostError> {
        match &self.link {
            Link::Ssh(ssh) => ssh.start(program, args, log).await,
            Link::Local => {
                // Without its log a program works as well.
                let log = Some(log).filter(|log| !log.file.is_empty()).and_then(|log| open_log(log).ok());
                let stderr = log.unwrap_or_else(Stdio::piped);
                Process::here(OsStr::new(program), args, stderr).map_err(|e| {
                    let kind = match e.kind() {
                        io::ErrorKind::NotFound => HostErrorKind::ProgramMissing,
                        io::ErrorKind::PermissionDenied => HostErrorKind::ProgramBarred,
                        _ => HostErrorKind::Other,
                    };
                    self.error(kind, format!("start {program}"), e)
                })
            }
        }
    }

    /// Runs a program over `input`, as long as the clock allows.
    async fn exchange(
        &self,
        task: &str,
        program: &str,
        args: &[OsString],
        input: Input<impl AsyncRead + Unpin, impl Future<Output = ()>>,
        most_bytes: usize,
        clock: Clock,
    ) -> Result<Output, HostError> {
        let late = || self.error(HostErrorKind::TimedOut, task, "");
        let mut process = tokio::select! {
            process = self.process(program, args, Log::default()) => process?,
            () = clock.runs_out() => return Err(late()),
        };
        let to = process.input.take();
        let work = async {
            let talk = talk(feed(to, input, &clock), process.read_all(most_bytes, || clock.moved()));
            let (stdout, told) = talk.await.map_err(|e| self.error(HostErrorKind::Other, task, e))?;
            match process.ended(told).await {
                Ended::Exited(status) => Ok((status, stdout)),
                Ended::Unknown(e) => Err(self.error(e.kind, task, e.detail())),
            }
        };
        let done = tokio::select! {
            done = work => done,
            () = clock.runs_out() => Err(late()),
        };
        match done {
            Ok((status, stdout)) => Ok(Output { status, stdout, stderr: process.last_words().await }),
            Err(e) => {
                process.kill().await;
                Err(e)
            }
        }
    }
}

fn open_log(log: Log<'_>) -> io::Result<Stdio> {
    if let Some(folder) = Path::new(log.file).parent() {
        fs::create_dir_all(folder)?;
    }
    let file = OpenOptions::new().create(true).append(true).open(log.file)?;
    if !log.shown.is_empty() {
        // Without it the log has one name less.
        let beside = format!("{}.{}", log.shown, std::process::id());
        let _ = fs::hard_link(log.file, &beside).and_then(|()| fs::rename(&beside, log.shown));
        // A rename over another name of the same file does nothing.
        let _ = fs::remove_file(&beside);
    }
    Ok(file.into())
}
