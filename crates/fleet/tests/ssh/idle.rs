//! Connections that ssh or the network has closed while nobody used them, and programs that end with whoever started them.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use fleet::{Content, Host, HostErrorKind, Limits};

use crate::common::sshd::{Lab, until};
use crate::common::{LONG, args, connect, sh};
use crate::{follow, start};

fn briefly() -> Limits {
    Limits { idle: Duration::from_secs(3), ..Limits::default() }
}

/// The socket of the connection that a host uses now.
async fn master(host: &Host) -> PathBuf {
    let forward = host.forward("/tmp/nobody").await.unwrap();
    forward.path().with_file_name("master")
}

/// Waits until a connection is closed, when ssh removes its socket. Who connects to that to see whether anybody listens uses
/// it, and ssh begins to count anew.
fn until_closed(socket: &Path) {
    until(|| (!socket.exists()).then_some(()));
}

/// Uses a machine in one of the ways that there are.
async fn used(host: &Host, lab: &Lab, way: usize) {
    match way {
        0 => assert_eq!(sh(host, "echo here").await.unwrap().stdout, b"here\n"),
        1 => {
            let (_channel, incoming) = start(host, "echo here", &lab.text("log"));
            assert_eq!(follow(incoming).await.0, ["here"]);
        }
        2 => host.put(Content::Bytes(b"x"), &lab.text("x"), 0o644).await.unwrap(),
        _ => drop(host.forward("/tmp/nobody").await.unwrap()),
    }
}

#[tokio::test]
async fn a_connection_that_was_closed_while_nobody_used_it_is_made_again() {
    let lab = Lab::new(1);
    let host = Host::connect_within(&lab.spec("w0"), briefly()).await.unwrap();
    for way in 0..4 {
        let idle = master(&host).await;
        until_closed(&idle);
        used(&host, &lab, way).await;
    }
}

#[tokio::test]
async fn one_log_in_replaces_a_closed_connection_however_many_need_it_at_once() {
    let lab = Lab::with(1, "LogLevel VERBOSE");
    // None is closed for being idle here: on a busy machine that would come between what is counted.
    let host = connect(&lab, "w0").await;
    let logins = || fs::read_to_string(lab.path("sshd_0.log")).unwrap().matches("Accepted publickey").count();
    for way in 0..5 {
        // sshd lets in first, and writes that down then.
        until(|| (logins() == way + 1).then_some(()));
        let closed = master(&host).await;
        let mut close = Command::new("ssh");
        let closes = close.args(["-F", "/dev/null", "-O", "exit", "-S"]).arg(&closed).arg("none").output().unwrap();
        assert!(closes.status.success(), "{closes:?}");
        until_closed(&closed);
        if way < 4 {
            used(&host, &lab, way).await;
        }
    }
    let ask = |host: Host| tokio::spawn(async move { sh(&host, "true").await });
    let asked: Vec<_> = (0..8).map(|_| ask(host.clone())).collect();
    for task in asked {
        assert!(task.await.unwrap().unwrap().status.success());
    }
    assert_eq!(logins(), 6);
}

#[tokio::test]
async fn a_connection_that_breaks_under_a_program_is_told_and_the_next_program_gets_a_new_one() {
    let mut lab = Lab::new(1);
    let host = connect(&lab, "w0").await;
    let (_channel, mut incoming) = start(&host, "echo up; exec cat", &lab.text("log"));
    incoming.recv().await.unwrap();
    lab.restart(0);
    let (_, fleet::Ended::Unknown(error)) = follow(incoming).await else { panic!("nobody saw its end") };
    assert_eq!(error.kind, HostErrorKind::Lost, "{error}: {}", error.detail());
    assert_eq!(sh(&host, "echo here").await.unwrap().stdout, b"here\n");
}

/// Says what it is fed with, up to an empty line, and then lives as long as its standard input.
const ATTENDED: &str =
    "while read -r line && [ -n \"$line\" ]; do echo \"$line\"; done; while read -r line; do :; done; exit 7";

#[tokio::test]
async fn an_attended_program_is_told_when_its_result_is_not_wanted_any_more() {
    let lab = Lab::new(1);
    for host in crate::common::both(&lab).await {
        let soon = tokio::time::sleep(Duration::from_millis(300));
        let output = host.attend("sh", &args(&["-c", ATTENDED]), b"one\ntwo\n", LONG, soon).await.unwrap();
        assert_eq!((output.status.code(), &output.stdout[..]), (Some(7), &b"one\ntwo\n"[..]));
        let never = std::future::pending();
        let output = host.attend("sh", &args(&["-c", "exit 3"]), b"", LONG, never).await.unwrap();
        assert_eq!((output.status.code(), output.status.signal()), (Some(3), None));
    }
}
