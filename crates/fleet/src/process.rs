//! A running program with its pipes, here or on the far end of an ssh.

use std::ffi::{OsStr, OsString};
use std::io;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use protocol::LONGEST_EVENT;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::channel::Ended;
use crate::master::Session;
use crate::remote::Token;
use crate::ssh::{Ssh, check};
use crate::{HostError, HostErrorKind};

/// What cannot be done when a program's end was not seen.
const FOLLOW: &str = "tell how it ended";

/// So much of what a program says on standard error is kept: its end.
const LAST_WORDS_BYTES: usize = 64 << 10;

/// What is still on its way when a program has ended comes within this time.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// An ssh whose connection is gone ends at once.
const CLIENT_END: Duration = Duration::from_secs(10);

/// A running program. Dropping it ends a program here; one there loses its standard input and output.
pub(crate) struct Process {
    pub pid: Option<u32>,
    pub input: Option<ChildStdin>,
    pub output: BufReader<ChildStdout>,
    /// The line that is being read.
    line: Vec<u8>,
    /// The program, or the ssh that carries it.
    child: Child,
    last_words: Arc<Mutex<Vec<u8>>>,
    listener: mpsc::Receiver<()>,
    far: Option<Far>,
}

/// A program's far end.
pub(crate) struct Far {
    pub ssh: Arc<Ssh>,
    /// The connection that it was started over.
    pub session: Arc<Session>,
    pub token: Token,
}

impl Process {
    /// Starts a program on this machine; its standard error goes to `stderr`, or is kept if that is a pipe.
    pub fn here(program: &OsStr, args: &[OsString], stderr: Stdio) -> io::Result<Self> {
        Self::spawn(Command::new(program).args(args).stderr(stderr))
    }

    /// Starts the command in its own process group: a Ctrl-C at the terminal reaches only the program that started it,
    /// which then decides.
    pub fn spawn(command: &mut Command) -> io::Result<Self> {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0).kill_on_drop(true).spawn()?;
        let output = child.stdout.take().ok_or_else(|| io::Error::other("it has no standard output"))?;
        let (input, stderr) = (child.stdin.take(), child.stderr.take());
        let (open, listener) = mpsc::channel(1);
        let last_words = Arc::default();
        tokio::spawn(listen(stderr, Arc::clone(&last_words), open));
        Ok(Self {
            pid: child.id(),
            input,
            output: BufReader::new(output),
            line: Vec::new(),
            child,
            last_words,
            listener,
            far: None,
        })
    }

    /// Its output is wrapped by the far end's wrapper from here on.
    pub fn at(self, far: Far, pid: u32) -> Self {
        Self { far: Some(far), pid: Some(pid), ..self }
    }

    /// How a program there ended, if this line of its output tells it.
    pub fn end_line(&self, line: &[u8]) -> Option<ExitStatus> {
        self.far.as_ref()?.token.end_line(line)
    }

    /// The next line of its output, without its line end; one that is longer than any event comes in pieces. Waiting for
    /// it can be given up without losing anything.
    pub async fn next_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let room = LONGEST_EVENT.saturating_sub(self.line.len()) as u64;
        let mut output = (&mut self.output).take(room);
        if output.read_until(b'\n', &mut self.line).await? == 0 && self.line.is_empty() {
            return Ok(None);
        }
        let mut line = std::mem::take(&mut self.line);
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        Ok(Some(line))
    }

    /// Reads its whole output, at most `most_bytes`; `moved` is called whenever something came. Returns how it ended if
    /// the output told it.
    pub async fn read_all(&mut self, most_bytes: usize, moved: impl Fn()) -> io::Result<(Vec<u8>, Option<ExitStatus>)> {
        let mut output = Vec::new();
        while self.output.read_buf(&mut output).await? > 0 {
            moved();
            if let Some((length, status)) = self.far.as_ref().and_then(|far| far.token.end(&output)) {
                output.truncate(length);
                return if length > most_bytes { Err(too_long(most_bytes)) } else { Ok((output, Some(status))) };
            }
            // The last line of a far end is short.
            if output.len() > most_bytes + if self.far.is_some() { 100 } else { 0 } {
                return Err(too_long(most_bytes));
            }
        }
        Ok((output, None))
    }

    /// Ends the program at once. Its end is told as any other.
    pub async fn kill(&mut self) {
        let killed = match (&self.far, self.pid) {
            (Some(far), Some(pid)) => far.ssh.kill(&far.session, pid).await,
            _ => false,
        };
        if !killed {
            // An error here means that it has just ended by itself.
            let _ = self.child.start_kill();
        }
    }

    /// How it ended, once its output is over; `told` is what the output said about it.
    pub async fn ended(&mut self, told: Option<ExitStatus>) -> Ended {
        let Some(far) = &self.far else {
            return match self.child.wait().await {
                Ok(status) => Ended::Exited(status),
                Err(e) => Ended::Unknown(HostError::new("localhost", HostErrorKind::Other, FOLLOW, e)),
            };
        };
        if let Some(status) = told {
            return Ended::Exited(status);
        }
        let carried = timeout(CLIENT_END, self.child.wait()).await;
        Ended::Unknown(match check(&far.session).await {
            Err(said) => far.ssh.error(HostErrorKind::Lost, FOLLOW, said),
            Ok(()) => {
                let how = carried.ok().and_then(Result::ok).map_or_else(|| "no end".into(), |s| s.to_string());
                let said = format!("the shell that watches it was killed (ssh: {how})");
                far.ssh.error(HostErrorKind::Other, FOLLOW, said)
            }
        })
    }

    /// The last that it said on standard error.
    pub async fn last_words(&mut self) -> Vec<u8> {
        // All of it has come when its pipe closes, unless something that it left running keeps the pipe open.
        let _ = timeout(LAST_WORDS, self.listener.recv()).await;
        self.last_words.lock().map(|mut kept| std::mem::take(&mut *kept)).unwrap_or_default()
    }
}

/// Reads standard error to its end, so that nothing said there can block a program. Keeps the last of it.
async fn listen(stderr: Option<ChildStderr>, kept: Arc<Mutex<Vec<u8>>>, _open: mpsc::Sender<()>) {
    let Some(mut stderr) = stderr else { return };
    let mut buffer = vec![0; 8 << 10];
    while let Ok(length @ 1..) = stderr.read(&mut buffer).await {
        let Ok(mut kept) = kept.lock() else { return };
        kept.extend(&buffer[..length]);
        let excess = kept.len().saturating_sub(LAST_WORDS_BYTES);
        kept.drain(..excess);
    }
}

fn too_long(most_bytes: usize) -> io::Error {
    io::Error::other(format!("it is longer than {most_bytes} bytes"))
}
