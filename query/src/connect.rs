//! A connection to the server on the host that is asked, here or through SSH. A server is started when none is warm.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use fleet::{Forward, Host, HostSpec};
use protocol::{VERSION, socket};
use tokio::net::UnixStream;

/// A server listens within milliseconds; what takes longer is a machine in trouble.
const PATIENCE: Duration = Duration::from_secs(40);

/// A server, and what keeps the way to it open.
pub struct Server {
    pub stream: UnixStream,
    pub way: Option<(Host, Forward)>,
}

/// Connects to the server on `spec`. One that is warm here answers at once; else `server --ensure`, run there, starts
/// one if need be and tells its socket, which SSH forwards.
pub async fn connect(spec: &HostSpec) -> Result<Server> {
    if spec.is_local() {
        let path = socket::default_socket().context("cannot tell where the server listens")?;
        // Whoever may put a socket there could answer in the server's place.
        socket::prepare_folder(&path)?;
        if let Ok(stream) = UnixStream::connect(&path).await {
            return Ok(Server { stream, way: None });
        }
    }
    let program = spec.program("server")?;
    let host = Host::connect(spec).await?;
    let output = host.run(&program, &["--ensure".into()], b"", PATIENCE).await?;
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
    let forward = host.forward(socket).await?;
    let stream = UnixStream::connect(forward.path()).await;
    let stream = stream.with_context(|| format!("{}: the server there does not answer", spec.name))?;
    Ok(Server { stream, way: Some((host, forward)) })
}
