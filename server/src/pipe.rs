//! `server --pipe`: one connection to a warm server over standard input and output, for where SSH forwards no sockets.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context, Result};
use protocol::Exit;

use crate::ensure;

/// Starts a server on `socket` unless one is warm, and carries bytes to and from it until either end closes.
pub fn pipe(socket: &Path) -> Result<Exit> {
    ensure::warm(socket)?;
    let mut from = UnixStream::connect(socket).with_context(|| format!("cannot connect to {}", socket.display()))?;
    let mut to = from.try_clone()?;
    // As files, because the library's own keep what has no line end.
    let (mut input, mut output) =
        (File::from(io::stdin().as_fd().try_clone_to_owned()?), File::from(io::stdout().as_fd().try_clone_to_owned()?));
    std::thread::spawn(move || {
        // Whatever ends it, the server is told that nothing more comes.
        let _ = carry(&mut input, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
    // Who no longer listens has what they wanted.
    let _ = carry(&mut from, &mut output);
    Ok(Exit::Done)
}

fn carry(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut piece = vec![0; 64 << 10];
    loop {
        let length = match from.read(&mut piece) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        if length == 0 {
            return Ok(());
        }
        to.write_all(&piece[..length])?;
    }
}
