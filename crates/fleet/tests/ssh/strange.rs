//! Machines whose sshd is narrow, or whose accounts have start-up files that are in the way: each is named, nothing that was
//! sent is run by a shell, and nobody waits for ever.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use fleet::{Content, Host, HostError, HostErrorKind, HostSpec, Limits};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::common::sshd::{Lab, free_port, keygen};
use crate::common::{LONG, args, both, connect, sh};
use crate::{follow, start};

/// A machine whose account has these start-up files, read by bash as sshd has it read them; and its home folder.
fn with_start_up(files: &str) -> (Lab, TempDir) {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join(".bashrc"), files).unwrap();
    // Some build bash so that it reads the second under sshd, most the first.
    let bash = format!("exec env HOME={0} BASH_ENV={0}/.bashrc bash -c", home.path().display());
    (Lab::with(1, &format!("ForceCommand {bash} \"$SSH_ORIGINAL_COMMAND\"")), home)
}

/// What is said of a program on a machine with these start-up files, which is waited for so many seconds.
async fn in_the_way(files: &str, seconds: u64) -> HostError {
    let (lab, home) = with_start_up(files);
    // Whoever reads this as a script makes a file.
    let planted = home.path().join("planted");
    let touch = planted.display();
    let word = format!("$(touch {touch})\n`touch {touch}`\ntouch {touch}\n");
    let limits = Limits { answer: Duration::from_secs(seconds), ..Limits::default() };
    let host = Host::connect_within(&lab.spec("w0"), limits).await.unwrap();
    let run = host.run("echo", &args(&[&word, &word]), word.as_bytes(), LONG).await;
    let error = run.expect_err(files);
    assert!(!planted.exists(), "{files}: a shell has run what was sent");
    error
}

#[tokio::test]
async fn start_up_files_that_are_in_the_way_are_named_and_never_run_what_is_sent() {
    let mut tried = JoinSet::new();
    for (files, how, seconds) in [
        ("cat >/dev/null", "they wait for input", 6),
        ("read -r a; read -r b; read -r c", "they wait for input", 6),
        ("exec </dev/null", "they take the input", 60),
        // Another shell takes what comes for its script.
        ("exec sh", "they start another shell", 6),
        ("head -c 5000000 /dev/zero | tr '\\0' x", "they say more than 64 KB", 60),
        ("while :; do echo welcome; done", "they say more than 64 KB", 60),
        ("sleep 1000", "they do not come to an end", 6),
        ("echo This account is not available.; exit 1", "it ended without running what was asked: This account", 60),
    ] {
        tried.spawn(async move { (files, how, in_the_way(files, seconds).await) });
    }
    while let Some(told) = tried.join_next().await {
        let (files, how, error) = told.unwrap();
        assert_eq!(error.kind, HostErrorKind::StartUp, "{files}: {error}: {}", error.detail());
        assert!(error.detail().contains(how) && error.detail().len() < 1_000, "{files}: {}", error.detail());
        assert!(error.to_string().contains(".bashrc"), "{error}");
    }
}

#[tokio::test]
async fn start_up_files_may_talk_much_and_go_elsewhere() {
    let (lab, home) = with_start_up("cd /; CDPATH=/tmp; printf '%60000s' welcome; echo; echo hint >&2; umask 077");
    let host = connect(&lab, "w0").await;
    assert_eq!(sh(&host, "echo here").await.unwrap().stdout, b"here\n");
    // What is relative is below the home folder.
    host.put(Content::Bytes(b"x"), "work/of/mine", 0o644).await.unwrap();
    assert_eq!(fs::read(home.path().join("work/of/mine")).unwrap(), b"x");
}

#[tokio::test]
async fn one_session_at_a_time_is_enough_and_no_second_is_told_as_such() {
    let lab = Lab::with(1, "MaxSessions 1");
    let host = connect(&lab, "w0").await;
    for _ in 0..8 {
        assert_eq!(sh(&host, "echo in").await.unwrap().stdout, b"in\n");
    }
    let (sender, mut incoming) = tokio::sync::mpsc::channel(9);
    let channel = host.start("sh", &args(&["-c", "echo up; cat"]), "", 0, sender);
    incoming.recv().await.unwrap();
    let error = sh(&host, "true").await.unwrap_err();
    assert_eq!(error.kind, HostErrorKind::NoSession, "{error}: {}", error.detail());
    assert!(error.to_string().contains("MaxSessions"), "{error}");
    drop(channel);
    sh(&host, "true").await.unwrap();
}

#[tokio::test]
async fn forwarding_that_is_switched_off_is_told_and_programs_run_all_the_same() {
    for more in ["AllowStreamLocalForwarding no", "AllowTcpForwarding no", "DisableForwarding yes"] {
        let lab = Lab::with(1, more);
        let far = lab.text("far.sock");
        let _listener = UnixListener::bind(&far).unwrap();
        let host = Host::connect_kept(&lab.spec("w0")).await.unwrap();
        for forward in [host.forward(&far).await.unwrap(), host.forward_kept(&far).await.unwrap()] {
            let error = host.reaches(&forward, &far).await.unwrap_err();
            assert_eq!(error.kind, HostErrorKind::ForwardingOff, "{more}: {error}: {}", error.detail());
            assert!(error.to_string().contains("AllowStreamLocalForwarding"), "{error}");
        }
        assert_eq!(sh(&host, "echo in").await.unwrap().stdout, b"in\n");
    }
    // That nobody listens there is something else.
    let lab = Lab::new(1);
    let far = lab.text("far.sock");
    for host in both(&lab).await {
        let _ = fs::remove_file(&far);
        let _listener = UnixListener::bind(&far).unwrap();
        host.reaches(&host.forward(&far).await.unwrap(), &far).await.unwrap();
    }
    let host = connect(&lab, "w0").await;
    let error = host.reaches(&host.forward("/tmp/none.sock").await.unwrap(), "/tmp/none.sock").await.unwrap_err();
    assert!(error.kind == HostErrorKind::Other && error.detail().contains("no such socket"), "{error}");
}

#[tokio::test]
async fn a_machine_that_takes_one_log_in_at_a_time_takes_them_all() {
    let lab = Lab::with(1, "MaxStartups 1:100:1");
    let mut connecting = JoinSet::new();
    for _ in 0..12 {
        let spec = lab.spec("w0");
        connecting.spawn(async move { Host::connect(&spec).await });
    }
    while let Some(connected) = connecting.join_next().await {
        connected.unwrap().unwrap_or_else(|e| panic!("{e}: {}", e.detail()));
    }
}

#[tokio::test]
async fn who_is_turned_away_three_times_is_told_why() {
    let lab = Lab::new(0);
    let door = TcpListener::bind("127.0.0.1:0").unwrap();
    lab.name("busy", door.local_addr().unwrap().port());
    let knocks = std::thread::spawn(move || (0..3).map(|_| drop(door.accept().unwrap().0)).count());
    let error = Host::connect(&lab.spec("busy")).await.unwrap_err();
    assert_eq!(error.kind, HostErrorKind::TurnedAway, "{error}: {}", error.detail());
    assert!(error.to_string().contains("MaxStartups"), "{error}");
    assert_eq!(knocks.join().unwrap(), 3);
}

#[tokio::test]
async fn a_silent_ssh_configuration_hides_no_fault_and_its_forwards_stop_nobody() {
    let lab = Lab::new(1);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    lab.for_all_hosts(&format!(
        "LogLevel QUIET\nExitOnForwardFailure yes\nLocalForward 127.0.0.1:{} 127.0.0.1:9",
        taken.local_addr().unwrap().port()
    ));
    assert_eq!(sh(&connect(&lab, "w0").await, "echo in").await.unwrap().stdout, b"in\n");
    let kind = async |lab: &Lab, name: &str| Host::connect(&lab.spec(name)).await.unwrap_err().kind;
    lab.name("closed", free_port());
    assert_eq!(kind(&lab, "closed").await, HostErrorKind::Refused);
    lab.know_nobody();
    assert_eq!(kind(&lab, "w0").await, HostErrorKind::HostKeyUnknown);
    keygen(&lab.path("other"));
    lab.know(lab.port(0), &fs::read_to_string(lab.path("other.pub")).unwrap());
    let error = Host::connect(&lab.spec("w0")).await.unwrap_err();
    assert_eq!(error.kind, HostErrorKind::HostKeyChanged, "{error}: {}", error.detail());
    assert!(error.detail().contains("SHA256:"), "{}", error.detail());
}

#[tokio::test]
async fn an_ssh_configuration_counts_whatever_its_file_is_called() {
    let lab = Lab::new(2);
    lab.name("inner", lab.port(1));
    lab.for_all_hosts("Host inner\nProxyJump w0");
    for name in ["my own config", "it's 100% \"*[o]?n\\fig\" ${x} {y}\n~"] {
        let file = lab.path(name);
        fs::copy(lab.path("config"), &file).unwrap();
        for host in ["w0", "inner"] {
            let spec = HostSpec { ssh_config: Some(file.clone()), ..HostSpec::bare(host) };
            let host = Host::connect(&spec).await.unwrap_or_else(|e| panic!("{name}: {e}: {}", e.detail()));
            assert_eq!(sh(&host, "echo in").await.unwrap().stdout, b"in\n");
        }
    }
    fs::set_permissions(lab.path("config"), fs::Permissions::from_mode(0o666)).unwrap();
    let error = Host::connect(&lab.spec("w0")).await.unwrap_err();
    assert!(error.detail().contains("Bad owner or permissions"), "{error}: {}", error.detail());
}

#[tokio::test]
async fn ctrl_c_at_a_terminal_ends_no_proxy_of_a_connection() {
    let lab = Lab::new(2);
    lab.name("jumps", lab.port(1));
    lab.name("asks", lab.port(1));
    let proxy = format!("ssh -F {} -W %h:%p w0", lab.text("config"));
    lab.for_all_hosts(&format!("Host jumps\nProxyJump w0\nHost asks\nProxyCommand {proxy}"));
    for name in ["jumps", "asks"] {
        let host = connect(&lab, name).await;
        let (channel, mut incoming) = start(&host, "echo up; exec cat", &lab.text("log"));
        incoming.recv().await.unwrap();
        // A terminal sends it to every process of the group that it is lent to.
        let found = Command::new("pgrep").args(["-g", "0", "-f", &lab.text("config")]).output().unwrap().stdout;
        let found = String::from_utf8(found).unwrap();
        assert!(found.lines().count() >= 1, "{name}: its proxy is in this group");
        assert!(Command::new("kill").arg("-INT").args(found.lines()).status().unwrap().success());
        drop(channel);
        let (_, ended) = follow(incoming).await;
        assert!(ended.status().is_some_and(|status| status.success()), "{name}: {ended}");
    }
}

#[tokio::test]
async fn a_program_that_may_not_be_started_is_not_told_as_missing() {
    let lab = Lab::new(1);
    let program: PathBuf = lab.path("program");
    fs::write(&program, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o644)).unwrap();
    for host in both(&lab).await {
        let error = host.run(program.to_str().unwrap(), &[], b"", LONG).await.unwrap_err();
        assert_eq!(error.kind, HostErrorKind::ProgramBarred, "{error}: {}", error.detail());
        assert!(error.to_string().contains("noexec") && error.to_string().contains("work_dir="), "{error}");
    }
}
