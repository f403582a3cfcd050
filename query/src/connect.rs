//! A connection to the server on the host that is asked, here or through SSH. A server is started when none is warm.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use fleet::{Host, HostErrorKind, HostSpec};
use protocol::{VERSION, socket};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::ask::Connection;
use protocol::note;

/// A server listens within milliseconds; what takes longer is a machine in trouble.
const PATIENCE: Duration = Duration::from_secs(40);

/// What a warm server may take for an answer.
const ANSWER: Duration = Duration::from_secs(10);

/// A server that was asked before and is warm: its socket here, or one that SSH still forwards. It may have left since.
pub async fn warm(spec: &HostSpec) -> Result<Option<Connection>> {
    let socket = if spec.is_local() {
        // In a folder of our own: whoever may put a socket there could answer in the server's place.
        Some(socket::default_socket().context("cannot tell where the server listens")?)
    } else {
        fleet::kept_socket(spec, &socket::socket_name())
    };
    match socket {
        Some(socket) => Ok(over(&socket).await),
        None => Ok(None),
    }
}

/// Connects to the server on `spec`: `server --ensure`, run there, starts one if need be and tells its socket, which SSH
/// forwards for this question and those of the next minute. Where it may not, `server --pipe` carries the connection.
pub async fn connect(spec: &HostSpec) -> Result<Connection> {
    // Another may have been started here meanwhile.
    if spec.is_local()
        && let Some(connection) = warm(spec).await?
    {
        return Ok(connection);
    }
    let program = spec.program("server")?;
    let mut host = Host::connect_kept(spec).await?;
    let ensure = ["--ensure".into()];
    let output = match host.run(&program, &ensure, b"", PATIENCE).await {
        // The connection was an old one, whose network has changed since.
        Err(e) if e.kind == HostErrorKind::Lost => {
            host = Host::connect_kept(spec).await?;
            host.run(&program, &ensure, b"", PATIENCE).await?
        }
        output => output?,
    };
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.trim().trim_start_matches("error: ");
        bail!("{}: the server could not start ({}): {said}", spec.name, output.status);
    }
    let told = String::from_utf8_lossy(&output.stdout);
    let old = || format!("{}: {program} is of another version than this {VERSION}; run setup_workers.sh", spec.name);
    let (version, socket) = told.trim_end().split_once(' ').with_context(old)?;
    if version != VERSION {
        bail!("{}", old());
    }
    if let Some(connection) = forwarded(&host, socket).await {
        return Ok(connection);
    }
    carried(&host, &program).await
}

/// A connection through a socket that SSH forwards, if it may. On this machine, through the socket itself.
async fn forwarded(host: &Host, socket: &str) -> Option<Connection> {
    let forward = host.forward_kept(socket).await.ok()?;
    if host.reaches(&forward, socket).await.is_err() {
        // The next question need not try it.
        let _ = std::fs::remove_file(forward.path());
        return None;
    }
    over(forward.path()).await
}

/// A connection to the socket, if anybody listens there.
async fn over(socket: &Path) -> Option<Connection> {
    Connection::over(UnixStream::connect(socket).await.ok()?).await.ok()
}

/// A connection without any forwarding, which an sshd can be told to refuse.
async fn carried(host: &Host, program: &str) -> Result<Connection> {
    let carried = host.carry(program, &["--pipe".into()]).await?;
    let answering = async {
        let mut connection = Connection::over(carried).await.ok()?;
        connection.get("/v1/status").await.ok().map(|_| connection)
    };
    let answer = timeout(ANSWER, answering).await.ok().flatten();
    let connection = answer.with_context(|| format!("{}: the server there does not answer", host.name()))?;
    if host.name() != "localhost" {
        note(&format!(
            "query: {}: its sshd forwards no sockets (AllowStreamLocalForwarding), so each question takes a bit longer",
            host.name()
        ));
    }
    Ok(connection)
}
