//! Sockets there are reached here, through connections that end with their owner or are kept for the next program.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};

use fleet::{Host, HostSpec};

use crate::common::sshd::{Lab, until};
use crate::common::{both, connect, sh};

#[tokio::test]
async fn a_socket_there_can_be_reached_here_until_it_is_dropped() {
    let lab = Lab::new(1);
    let far = lab.text("far.sock");
    let listener = UnixListener::bind(&far).unwrap();
    let echo = std::thread::spawn(move || {
        for _ in 0..4 {
            let (mut stream, _) = listener.accept().unwrap();
            let mut heard = [0; 5];
            stream.read_exact(&mut heard).unwrap();
            stream.write_all(&heard).unwrap();
        }
    });
    for host in both(&lab).await {
        let forward = host.forward(&far).await.unwrap();
        let path = forward.path().to_owned();
        assert!(path.as_os_str().len() <= protocol::socket::LONGEST_SOCKET_PATH, "{}", path.display());
        for word in [b"hello", b"again"] {
            let mut stream = UnixStream::connect(&path).unwrap();
            stream.write_all(word).unwrap();
            let mut heard = [0; 5];
            stream.read_exact(&mut heard).unwrap();
            assert_eq!(&heard, word);
        }
        drop(forward);
        if host.name() != "localhost" {
            // The connection's folder stands in one that is closed to others.
            let closed = path.ancestors().nth(2).unwrap().metadata().unwrap();
            assert_eq!(closed.permissions().mode() & 0o777, 0o700);
            assert!(UnixStream::connect(&path).is_err() && !path.exists());
            assert!(host.forward("relative").await.is_err());
            assert!(host.forward("/a:b").await.is_err());
        }
    }
    echo.join().unwrap();
}

#[tokio::test]
async fn a_closed_connection_leaves_nothing_behind() {
    let lab = Lab::new(2);
    let (w0, w1) = (connect(&lab, "w0").await, connect(&lab, "w1").await);
    let folders = [&w0, &w1].map(|h| h.clone());
    let mut paths = Vec::new();
    for host in folders {
        let forward = host.forward("/tmp/none.sock").await.unwrap();
        paths.push(forward.path().parent().unwrap().to_owned());
    }
    w0.close().await;
    drop(w1);
    for path in paths {
        assert!(!path.exists(), "{}", path.display());
    }
}

/// A server on a socket there, which says hello to everyone.
fn greeter(socket: &str) {
    let listener = UnixListener::bind(socket).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            stream.unwrap().write_all(b"hello").unwrap();
        }
    });
}

fn greeted(socket: &std::path::Path) -> bool {
    let mut heard = String::new();
    let asked = UnixStream::connect(socket).and_then(|mut stream| stream.read_to_string(&mut heard));
    asked.is_ok() && heard == "hello"
}

#[tokio::test]
async fn a_kept_connection_serves_the_next_program_until_it_breaks() {
    let mut lab = Lab::with(1, "LogLevel VERBOSE");
    let (spec, far) = (lab.spec("w0"), lab.text("far.sock"));
    greeter(&far);
    assert_eq!(fleet::kept_socket(&spec, "far.sock"), None);
    let logins = |lab: &Lab| fs::read_to_string(lab.path("sshd_0.log")).unwrap().matches("Accepted publickey").count();
    for _ in 0..3 {
        let host = Host::connect_kept(&spec).await.unwrap();
        assert_eq!(sh(&host, "echo here").await.unwrap().stdout, b"here\n");
        assert!(greeted(host.forward_kept(&far).await.unwrap().path()));
    }
    let socket = fleet::kept_socket(&spec, "far.sock").unwrap();
    assert!(greeted(&socket));
    assert!(socket.as_os_str().len() <= protocol::socket::LONGEST_SOCKET_PATH, "{}", socket.display());
    assert_eq!(logins(&lab), 1);
    // Another way to the same machine is another connection.
    let other = HostSpec { port: Some(lab.port(0)), ..spec.clone() };
    assert_eq!(fleet::kept_socket(&other, "far.sock"), None);

    // The machine restarts: what is left of the connection leads nowhere, and a new one is made.
    lab.restart(0);
    until(|| (!greeted(&socket)).then_some(()));
    let host = Host::connect_kept(&spec).await.unwrap();
    assert!(greeted(host.forward_kept(&far).await.unwrap().path()));
    assert!(greeted(&fleet::kept_socket(&spec, "far.sock").unwrap()));
    lab.kill(0);
}
