//! A started program and the JSON lines to and from it.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use protocol::{Command, Event, decode_line, encode_line};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin};
use tokio::sync::mpsc;

/// A program could not be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start {program}")]
pub struct StartError {
    program: PathBuf,
    source: std::io::Error,
}

/// What comes out of a channel.
#[derive(Debug)]
pub enum Incoming {
    /// An event.
    Event(Event),
    /// A line that is no event, as from a library that prints.
    Noise(String),
    /// Nothing more comes.
    Ended(Ended),
}

/// How a program ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// Its exit status, if it is known.
    pub status: Option<ExitStatus>,
}

/// A running program that takes [`Command`]s. Its [`Event`]s go to the queue that [`start`] was given. Dropping the
/// channel closes the program's standard input.
#[derive(Debug)]
pub struct Channel {
    /// The process.
    pub pid: Option<u32>,
    commands: Option<mpsc::UnboundedSender<String>>,
    killer: mpsc::Sender<()>,
}

/// Starts a program on this machine; what it says goes to `incoming`, marked with `tag`. Its standard error goes to
/// `log`, so that nothing it says can block it. It is its own process group: a Ctrl-C at the terminal reaches only the
/// controller, which then decides.
pub fn start(
    program: &Path,
    args: &[OsString],
    log: File,
    tag: usize,
    incoming: mpsc::Sender<(usize, Incoming)>,
) -> Result<Channel, StartError> {
    let mut child = tokio::process::Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log)
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| StartError { program: program.into(), source })?;
    let (killer, killed) = mpsc::channel(1);
    let (commands, to_write) = mpsc::unbounded_channel();
    let pid = child.id();
    if let Some(input) = child.stdin.take() {
        tokio::spawn(write(input, to_write));
    }
    tokio::spawn(read(child, tag, incoming, killed));
    Ok(Channel { pid, commands: Some(commands), killer })
}

/// Commands are few and small; a program that has stopped reading holds up only this task.
async fn write(mut input: ChildStdin, mut lines: mpsc::UnboundedReceiver<String>) {
    while let Some(line) = lines.recv().await {
        if input.write_all(line.as_bytes()).await.is_err() || input.flush().await.is_err() {
            return; // it has ended; its last event and status tell why
        }
    }
}

async fn read(mut child: Child, tag: usize, incoming: mpsc::Sender<(usize, Incoming)>, mut killed: mpsc::Receiver<()>) {
    let Some(output) = child.stdout.take() else { return };
    let mut lines = BufReader::new(output).split(b'\n');
    let mut can_be_killed = true;
    loop {
        let line = tokio::select! {
            line = lines.next_segment() => line,
            order = killed.recv(), if can_be_killed => {
                can_be_killed = false;
                if order.is_some() {
                    // An error here means that it has just ended by itself.
                    let _ = child.start_kill();
                }
                continue;
            }
        };
        let Ok(Some(line)) = line else { break };
        let text = String::from_utf8_lossy(&line);
        let message = match decode_line(&text) {
            Ok(event) => Incoming::Event(event),
            Err(_) => Incoming::Noise(text.into_owned()),
        };
        if incoming.send((tag, message)).await.is_err() {
            return; // nobody listens any more; dropping the child kills it
        }
    }
    let status = child.wait().await.ok();
    // Nobody may be listening any more, which is their right.
    let _ = incoming.send((tag, Incoming::Ended(Ended { status }))).await;
}

impl Channel {
    /// Sends a command. If the program no longer listens, its end will tell.
    pub fn send(&self, command: &Command) {
        if let Some(commands) = &self.commands {
            let _ = commands.send(encode_line(command));
        }
    }

    /// Closes the program's standard input, once what was sent is written.
    pub fn close(&mut self) {
        self.commands = None;
    }

    /// Ends the program at once.
    pub fn kill(&self) {
        // A full or closed queue means that it is being killed or has ended.
        let _ = self.killer.try_send(());
    }
}
