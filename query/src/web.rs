//! `query --web`: a page on this machine alone, that asks the server for the person who was given its link.

mod door;
mod guard;
mod routes;
mod upstream;

use std::io::IsTerminal;
use std::net::Ipv4Addr;
use std::process::Stdio;
use std::sync::Arc;

use anyhow::{Context, Result};
use protocol::note;
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::tell::print;
use crate::web::guard::Guard;
use crate::web::routes::Site;
pub use crate::web::upstream::Upstream;

/// Serves the page on `port` of the loopback interface, 0 for any that is free, until the program is ended. The page
/// begins with `question`.
pub async fn serve(server: Upstream, port: u16, open: bool, question: Option<String>) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
    let listener =
        listener.with_context(|| format!("cannot listen on port {port}; leave --port out for a free one"))?;
    let port = listener.local_addr()?.port();
    let guard = Guard::new(port)?;
    print(format!("{}\n", guard.link())).await?;
    note("the link is for you alone; the page lives until you press Ctrl-C here");
    if std::env::var_os("SSH_CONNECTION").is_some() {
        note(&format!("from the machine that you came from: ssh -L {port}:127.0.0.1:{port} {}", fleet::hostname()));
    }
    if open && std::io::stdout().is_terminal() {
        open_browser(&guard.one_time_link());
    }
    let site = Arc::new(Site { guard, server, question });
    door::serve(listener, routes::router(site)).await;
    Ok(())
}

/// Opens the person's browser, where there is one. Others on this machine can see a program's arguments, so what the
/// link gives away is of use only once.
fn open_browser(link: &str) {
    let graphical = ["DISPLAY", "WAYLAND_DISPLAY"].into_iter().any(|v| std::env::var_os(v).is_some());
    let opener = match cfg!(target_os = "macos") {
        true => "open",
        false if graphical => "xdg-open",
        false => return,
    };
    // Where it fails the person has the link.
    let _ = Command::new(opener).arg(link).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
}
