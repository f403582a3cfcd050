//! A connection to the server on the host that is asked, here or through SSH. A server is started when none is warm.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use fleet::{Host, HostErrorKind, HostSpec};
use protocol::{VERSION, socket};
use tokio::net::UnixStream;

/// A server listens within milliseconds; what takes longer is a machine in trouble.
const PATIENCE: Duration = Duration::from_secs(40);

/// A server that was asked before and is warm: its socket here, or one that SSH still forwards. It may have left since.
pub async fn warm(spec: &HostSpec) -> Result<Option<UnixStream>> {
    let own = socket::default_socket().context("cannot tell where the server listens")?;
    let socket = if spec.is_local() {
        // Whoever may put a socket there could answer in the server's place.
        socket::prepare_folder(&own)?;
        Some(own)
    } else {
        own.file_name().and_then(|name| fleet::kept_socket(spec, name.to_str()?))
    };
    match socket {
        Some(socket) => Ok(UnixStream::connect(&socket).await.ok()),
        None => Ok(None),
    }
}

/// Connects to the server on `spec`: `server --ensure`, run there, starts one if need be and tells its socket, which SSH
/// forwards for this question and those of the next minute.
pub async fn connect(spec: &HostSpec) -> Result<UnixStream> {
    // Another may have been started here meanwhile.
    if spec.is_local()
        && let Some(stream) = warm(spec).await?
    {
        return Ok(stream);
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
    let forward = host.forward_kept(socket).await?;
    host.reaches(&forward, socket).await?;
    let stream = UnixStream::connect(forward.path()).await;
    stream.with_context(|| format!("{}: the server there does not answer", spec.name))
}
