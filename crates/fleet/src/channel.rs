//! A started program and the JSON lines to and from it.

use std::fmt;
use std::process::ExitStatus;

use protocol::{Command, Event, decode_line, encode_line};
use tokio::io::AsyncWriteExt;
use tokio::process::ChildStdin;
use tokio::sync::mpsc;

use crate::HostError;
use crate::process::Process;

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
#[derive(Debug)]
pub enum Ended {
    /// It exited, or was killed by a signal.
    Exited(ExitStatus),
    /// It could not be started, or nobody saw its end, as a rule because the connection was lost: then it may go on
    /// until it notices.
    Unknown(HostError),
}

impl Ended {
    /// Its exit status, if it is known.
    pub fn status(&self) -> Option<ExitStatus> {
        match self {
            Self::Exited(status) => Some(*status),
            Self::Unknown(_) => None,
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(status) => status.fmt(f),
            Self::Unknown(error) if error.detail().is_empty() => error.fmt(f),
            Self::Unknown(error) => write!(f, "{error} ({})", error.detail()),
        }
    }
}

/// A program that takes [`Command`]s. Its [`Event`]s go to the queue that [`crate::Host::start`] was given. Dropping the
/// channel closes the program's standard input.
#[derive(Debug)]
pub struct Channel {
    commands: Option<mpsc::UnboundedSender<String>>,
    killer: mpsc::Sender<()>,
}

/// Commands are few and small; a program that has stopped reading holds up only this task.
async fn write(mut input: ChildStdin, mut lines: mpsc::UnboundedReceiver<String>) {
    while let Some(line) = lines.recv().await {
        if input.write_all(line.as_bytes()).await.is_err() || input.flush().await.is_err() {
            return; // it has ended; its last event and status tell why
        }
    }
}

async fn read(
    mut process: Process,
    tag: usize,
    incoming: mpsc::Sender<(usize, Incoming)>,
    mut killed: mpsc::Receiver<()>,
) {
    let mut told = None;
    let mut can_be_killed = true;
    while told.is_none() {
        let line = tokio::select! {
            line = process.next_line() => line,
            order = killed.recv(), if can_be_killed => {
                can_be_killed = false;
                if order.is_some() {
                    process.kill().await;
                }
                continue;
            }
        };
        let Ok(Some(line)) = line else { break };
        told = process.end_line(&line);
        if told.is_some() || line.is_empty() {
            continue;
        }
        let text = String::from_utf8_lossy(&line);
        let message = match decode_line(&text) {
            Ok(event) => Incoming::Event(event),
            Err(_) => Incoming::Noise(text.into_owned()),
        };
        if incoming.send((tag, message)).await.is_err() {
            return; // nobody listens any more; dropping the process ends it
        }
    }
    let ended = process.ended(told).await;
    // Nobody may be listening any more, which is their right.
    let _ = incoming.send((tag, Incoming::Ended(ended))).await;
}

impl Channel {
    /// Follows a process as soon as it has started: what it says goes to `incoming`, marked with `tag`.
    pub(crate) fn to(
        starting: impl Future<Output = Result<Process, HostError>> + Send + 'static,
        tag: usize,
        incoming: mpsc::Sender<(usize, Incoming)>,
    ) -> Self {
        let (killer, killed) = mpsc::channel(1);
        let (commands, to_write) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            match starting.await {
                Ok(mut process) => {
                    if let Some(input) = process.input.take() {
                        tokio::spawn(write(input, to_write));
                    }
                    read(process, tag, incoming, killed).await;
                }
                // Nobody may be listening any more, which is their right.
                Err(error) => drop(incoming.send((tag, Incoming::Ended(Ended::Unknown(error)))).await),
            }
        });
        Self { commands: Some(commands), killer }
    }

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
