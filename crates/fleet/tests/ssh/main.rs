//! Machines behind a real sshd, and this one, do what `fleet` promises; each fault has its kind.

mod common;
mod idle;
mod sockets;
mod strange;

use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::Duration;

use common::sshd::{Lab, free_port, keygen, until};
use common::{LONG, args, both, connect, sh};
use fleet::{Channel, Content, Ended, Host, HostError, HostErrorKind, HostSpec, Incoming, Limits};
use tokio::sync::mpsc::{self, Receiver};

fn impatient() -> Limits {
    Limits { connect: Duration::from_secs(1), silence: Duration::from_secs(3), ..Limits::default() }
}

async fn refused(spec: &HostSpec) -> HostError {
    let error = Host::connect_within(spec, impatient()).await.unwrap_err();
    assert!(error.to_string().starts_with(&format!("{}: cannot connect", spec.name)), "{error}");
    error
}

/// Starts a shell script as a worker is started.
fn start(host: &Host, script: &str, log: &str) -> (Channel, Receiver<(usize, Incoming)>) {
    let (sender, incoming) = mpsc::channel(100);
    let channel = host.start("sh", &args(&["-c", script]), log, 7, sender);
    (channel, incoming)
}

/// What it says until it ends, and how it ends.
async fn follow(mut incoming: Receiver<(usize, Incoming)>) -> (Vec<String>, Ended) {
    let mut lines = Vec::new();
    while let Some((tag, message)) = tokio::time::timeout(LONG, incoming.recv()).await.unwrap() {
        assert_eq!(tag, 7);
        match message {
            Incoming::Event(event) => lines.push(format!("{event:?}")),
            Incoming::Noise(line) => lines.push(line),
            Incoming::Ended(ended) => return (lines, ended),
        }
    }
    panic!("an end is always told");
}

#[tokio::test]
async fn each_way_to_miss_a_machine_has_its_kind() {
    let lab = Lab::new(0);
    let error = refused(&lab.spec("no-such-machine.invalid")).await;
    assert_eq!(error.kind, HostErrorKind::UnknownHost, "{error}: {}", error.detail());

    lab.name("closed", free_port());
    let error = refused(&lab.spec("closed")).await;
    assert_eq!(error.kind, HostErrorKind::Refused, "{error}: {}", error.detail());

    // It takes the connection, and then says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    lab.name("silent", silent.local_addr().unwrap().port());
    let error = refused(&lab.spec("silent")).await;
    assert_eq!(error.kind, HostErrorKind::TimedOut, "{error}: {}", error.detail());

    let spec = HostSpec { ssh_config: Some(lab.path("none")), ..HostSpec::bare("w0") };
    assert!(refused(&spec).await.detail().contains("ssh_config="));
}

#[tokio::test]
async fn a_machine_that_falls_silent_while_logging_in_is_given_up() {
    let lab = Lab::new(0);
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    lab.name("silent", silent.local_addr().unwrap().port());
    let far = std::thread::spawn(move || {
        let (mut stream, _) = silent.accept().unwrap();
        stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").unwrap();
        stream
    });
    let error = refused(&lab.spec("silent")).await;
    assert_eq!(error.kind, HostErrorKind::TimedOut, "{error}: {}", error.detail());
    // Nobody goes on with it.
    let mut far = far.join().unwrap();
    far.set_read_timeout(Some(LONG)).unwrap();
    far.read_to_end(&mut Vec::new()).unwrap();
}

#[tokio::test]
async fn a_key_that_is_not_known_or_not_the_known_one_is_never_taken() {
    let lab = Lab::new(1);
    lab.know_nobody();
    let error = refused(&lab.spec("w0")).await;
    assert_eq!(error.kind, HostErrorKind::HostKeyUnknown, "{error}: {}", error.detail());
    assert!(error.to_string().contains("by hand and check the key: ssh -F "), "{error}");
    assert_eq!(fs::read_to_string(lab.path("known_hosts")).unwrap(), "");

    keygen(&lab.path("other"));
    lab.know(lab.port(0), &fs::read_to_string(lab.path("other.pub")).unwrap());
    let error = refused(&lab.spec("w0")).await;
    assert_eq!(error.kind, HostErrorKind::HostKeyChanged, "{error}: {}", error.detail());
    assert!(error.detail().contains("SHA256:") && !error.detail().contains("ssh-keygen"), "{}", error.detail());
}

#[tokio::test]
async fn a_stranger_is_not_let_in_and_told_what_to_do() {
    let lab = Lab::new(1);
    keygen(&lab.path("stranger"));
    fs::copy(lab.path("stranger"), lab.path("id")).unwrap();
    fs::copy(lab.path("stranger.pub"), lab.path("id_stranger.pub")).unwrap();
    let error = refused(&lab.spec("w0")).await;
    assert_eq!(error.kind, HostErrorKind::PermissionDenied, "{error}: {}", error.detail());
    assert!(error.to_string().contains("identity_file="), "{error}");
}

#[tokio::test]
async fn user_port_and_key_of_the_hosts_file_count() {
    let lab = Lab::new(1);
    lab.name("wrong", free_port());
    let whoami = Command::new("id").arg("-un").output().unwrap().stdout;
    let spec = HostSpec {
        user: Some(String::from_utf8(whoami).unwrap().trim().to_owned()),
        port: Some(lab.port(0)),
        identity_file: Some(lab.path("id")),
        ..lab.spec("wrong")
    };
    let host = Host::connect(&spec).await.unwrap();
    assert_eq!(sh(&host, "echo in").await.unwrap().stdout, b"in\n");
    host.close().await;
}

#[tokio::test]
async fn a_run_tells_how_it_went() {
    let lab = Lab::new(1);
    for host in both(&lab).await {
        let output = host.run("cat", &[], b"\0\xff through \n", LONG).await.unwrap();
        assert_eq!((output.status.code(), &output.stdout[..]), (Some(0), &b"\0\xff through \n"[..]));
        for code in [0, 1, 7, 126, 127, 130, 255] {
            let output = sh(&host, &format!("echo out; echo err >&2; exit {code}")).await.unwrap();
            assert_eq!(output.status.code(), Some(code));
            assert_eq!((&output.stdout[..], &output.stderr[..]), (&b"out\n"[..], &b"err\n"[..]));
        }
        let killed = sh(&host, "kill -KILL $$").await.unwrap();
        assert_eq!(killed.status.signal(), Some(9), "{}", killed.status);
        let nothing = sh(&host, "true").await.unwrap();
        assert_eq!(nothing.stdout, b"");

        for missing in ["/no/such/program", "no-such-program", "-x", ""] {
            let error = host.run(missing, &[], b"", LONG).await.unwrap_err();
            assert_eq!(error.kind, HostErrorKind::ProgramMissing, "{missing}: {error}: {}", error.detail());
        }
        let file = lab.path(&format!("pid at {}", host.name()));
        let script = args(&["-c", "echo $$ >\"$1\"; exec sleep 1000", "sh", file.to_str().unwrap()]);
        let error = host.run("sh", &script, b"", Duration::from_secs(2)).await.unwrap_err();
        assert_eq!(error.kind, HostErrorKind::TimedOut, "{error}");
        let pid = fs::read_to_string(file).unwrap();
        let alive = move || Command::new("kill").args(["-0", pid.trim()]).output().unwrap().status.success();
        tokio::task::spawn_blocking(move || until(|| (!alive()).then_some(()))).await.unwrap();
    }
}

/// Words that a shell, printf, echo or an option parser would take for more than words.
fn hostile() -> Vec<OsString> {
    let words = [
        "",
        " ",
        "  two  blanks  ",
        "'",
        "\"",
        "'\"'\"'",
        "it's",
        "`touch pwned`",
        "$(touch pwned)",
        "${HOME}",
        "$HOME",
        "\\",
        "\\\\",
        "\\n",
        "\\0134",
        "\n",
        "a\nb\n\n",
        "\r\n",
        "\t",
        "-n",
        "-e",
        "--",
        "-rf /",
        "%s%n%d",
        "%%",
        "*",
        "?[a-z]",
        "~",
        "~root",
        "!!",
        "!x",
        "#no comment",
        ";touch pwned",
        "&& touch pwned",
        "|touch pwned",
        "> pwned",
        "é🚗 ü",
        "a=b",
        "{a,b}",
        "\u{1}\u{7f}\u{1b}[31m",
        "x\\",
        "'; touch pwned; '",
        "imagefleet- ended 0",
        "$'\\x41'",
        "a\u{2028}b",
        "^C",
        "\\c",
        "(",
        ")",
    ];
    let mut words: Vec<OsString> = words.iter().map(OsString::from).collect();
    words.push(OsString::from_vec(vec![b'f', 0xff, 0x80, b'\\', 0xc3]));
    words.push(OsString::from_vec((1..=255).collect()));
    words.push("long ".repeat(20_000).into());
    words
}

async fn takes_every_word(host: &Host, lab: &Lab) {
    // $0 of this program has a name that is no better.
    let folder = lab.path("it's $(touch pwned) `x`\n");
    fs::create_dir_all(&folder).unwrap();
    let program = folder.join("-argv");
    fs::write(&program, "#!/bin/sh\ncd \"${0%/*}\" && printf '%s\\0' \"$@\"\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let words = hostile();
    assert!(words.len() >= 40);
    let output = host.run(program.to_str().unwrap(), &words, b"", LONG).await.unwrap();
    let mut heard: Vec<_> = output.stdout.split(|&b| b == 0).map(|w| OsString::from_vec(w.to_vec())).collect();
    assert_eq!(heard.pop().as_deref(), Some("".as_ref()));
    assert_eq!(heard, words);

    let nul = [OsString::from_vec(vec![b'a', 0])];
    assert!(host.run("true", &nul, b"", LONG).await.is_err());

    let home = std::env::var_os("HOME").unwrap_or_default();
    for place in [folder, lab.path(""), std::env::current_dir().unwrap(), home.into()] {
        assert!(!place.join("pwned").exists(), "{}", place.display());
    }
}

#[tokio::test]
async fn arguments_arrive_as_they_are_and_nothing_in_them_is_run() {
    let lab = Lab::new(1);
    for host in both(&lab).await {
        takes_every_word(&host, &lab).await;
    }
}

#[tokio::test]
async fn any_login_shell_and_any_sh_will_do_and_start_up_files_may_talk() {
    let there = |name: &str| Command::new(name).args(["-c", "exit"]).output().is_ok();
    // A login shell that talks first, even in half a line.
    for shell in ["sh", "bash", "zsh", "fish", "tcsh"].into_iter().filter(|s| there(s)) {
        let lab =
            Lab::with(1, &format!("ForceCommand printf 'welcome\\nto'; exec {shell} -c \"$SSH_ORIGINAL_COMMAND\""));
        let host = connect(&lab, "w0").await;
        takes_every_word(&host, &lab).await;
        let (_channel, incoming) = start(&host, "echo hello", &lab.text("log"));
        assert_eq!(follow(incoming).await.0, ["hello"], "{shell}");
    }
    // What is called sh.
    for shell in ["dash", "bash", "busybox", "zsh"].into_iter().filter(|s| there(s)) {
        let bin = tempfile::tempdir().unwrap();
        let found = Command::new("sh").args(["-c", "command -v \"$1\"", "sh", shell]).output().unwrap().stdout;
        symlink(String::from_utf8(found).unwrap().trim(), bin.path().join("sh")).unwrap();
        let path = bin.path().display();
        let lab = Lab::with(1, &format!("ForceCommand PATH={path}:$PATH; exec sh -c \"$SSH_ORIGINAL_COMMAND\""));
        let host = connect(&lab, "w0").await;
        assert_eq!(sh(&host, "command -v sh").await.unwrap().stdout, format!("{path}/sh\n").as_bytes());
        takes_every_word(&host, &lab).await;
    }
}

#[tokio::test]
async fn no_amount_of_standard_error_stalls_a_program_and_all_of_it_is_in_the_log() {
    let lab = Lab::new(1);
    for (i, host) in both(&lab).await.iter().enumerate() {
        let log = lab.text(&format!("new/folder of {i}/worker 'x'.log"));
        let (_channel, incoming) = start(host, "head -c 50000000 /dev/zero >&2; echo done", &log);
        let (lines, ended) = follow(incoming).await;
        assert_eq!(lines, ["done"]);
        assert!(ended.status().unwrap().success(), "{ended}");
        assert_eq!(fs::metadata(&log).unwrap().len(), 50_000_000);

        let output = sh(host, "head -c 50000000 /dev/zero >&2; echo last >&2; echo done").await.unwrap();
        assert_eq!(output.stdout, b"done\n");
        assert!(output.stderr.ends_with(b"last\n") && output.stderr.len() <= 64 << 10);

        // A log that cannot be written loses no work.
        let (_channel, incoming) = start(host, "echo done", "/dev/null/x.log");
        let (lines, ended) = follow(incoming).await;
        assert_eq!(lines, ["done"]);
        assert!(ended.status().unwrap().success(), "{ended}");
    }
}

#[tokio::test]
async fn lines_go_both_ways_until_the_input_is_closed() {
    let lab = Lab::new(1);
    for host in both(&lab).await {
        let (mut channel, incoming) = start(&host, "cat; printf 'half a line'", &lab.text("log"));
        channel.send(&protocol::Command::Ping);
        channel.close();
        let (lines, ended) = follow(incoming).await;
        assert_eq!(lines, ["{\"job\":\"ping\"}", "half a line"]);
        assert!(ended.status().unwrap().success());
    }
}

#[tokio::test]
async fn a_killed_program_is_told_as_killed_and_not_as_lost() {
    let lab = Lab::new(1);
    for host in both(&lab).await {
        let (_channel, mut incoming) = start(&host, "echo $$; exec sleep 1000", &lab.text("log"));
        let Some((_, Incoming::Noise(pid))) = incoming.recv().await else { panic!("it tells its process id") };
        assert!(Command::new("kill").args(["-KILL", &pid]).status().unwrap().success());
        let (_, ended) = follow(incoming).await;
        assert_eq!(ended.status().and_then(|s| s.signal()), Some(9), "{ended}");

        let (channel, incoming) = start(&host, "exec sleep 1000", &lab.text("log"));
        channel.kill();
        let (_, ended) = follow(incoming).await;
        assert_eq!(ended.status().and_then(|s| s.signal()), Some(9), "{ended}");

        let (_channel, incoming) = start(&host, "exit 255", &lab.text("log"));
        assert_eq!(follow(incoming).await.1.status().and_then(|s| s.code()), Some(255));
    }
}

#[tokio::test]
async fn a_killed_wrapper_is_not_told_as_lost() {
    let lab = Lab::new(1);
    let host = connect(&lab, "w0").await;
    let (_channel, incoming) = start(&host, "kill -KILL $PPID; exec cat", &lab.text("log"));
    let (_, ended) = follow(incoming).await;
    let Ended::Unknown(error) = ended else { panic!("{ended}") };
    assert_eq!(error.kind, HostErrorKind::Other, "{error}: {}", error.detail());
}

#[tokio::test]
async fn a_program_whose_listener_is_gone_sees_the_end_of_its_input() {
    let lab = Lab::new(1);
    let host = connect(&lab, "w0").await;
    let ended = lab.path("ended");
    let (channel, incoming) = start(&host, &format!("cat; touch '{}'", ended.display()), &lab.text("log"));
    drop((channel, incoming));
    tokio::task::spawn_blocking(move || until(|| ended.exists().then_some(()))).await.unwrap();
}

#[tokio::test]
async fn a_dead_sshd_is_told_as_lost() {
    let mut lab = Lab::new(1);
    let host = connect(&lab, "w0").await;
    let (_channel, mut incoming) = start(&host, "echo up; exec cat", &lab.text("log"));
    incoming.recv().await.unwrap();
    lab.kill(0);
    let (_, ended) = follow(incoming).await;
    let Ended::Unknown(error) = ended else { panic!("{ended}") };
    assert_eq!(error.kind, HostErrorKind::Lost, "{error}: {}", error.detail());
    assert!(error.to_string().starts_with("w0: "), "{error}");
    assert_eq!(sh(&host, "true").await.unwrap_err().kind, HostErrorKind::Lost);
    assert_eq!(host.put(Content::Bytes(b"x"), &lab.text("x"), 0o644).await.unwrap_err().kind, HostErrorKind::Lost);
    assert_eq!(host.forward("/tmp/x").await.unwrap_err().kind, HostErrorKind::Lost);
    host.close().await;
}

#[tokio::test]
async fn a_machine_that_hangs_is_told_as_lost() {
    let lab = Lab::new(1);
    let host = Host::connect_within(&lab.spec("w0"), impatient()).await.unwrap();
    let (_channel, mut incoming) = start(&host, "echo up; exec cat", &lab.text("log"));
    incoming.recv().await.unwrap();
    lab.freeze(0);
    let Ended::Unknown(error) = follow(incoming).await.1 else { panic!("it cannot be known") };
    assert_eq!(error.kind, HostErrorKind::Lost, "{error}: {}", error.detail());
}

#[tokio::test]
async fn files_arrive_whole_or_not_at_all() {
    let lab = Lab::new(1);
    let bytes: Vec<u8> = (0..20_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    fs::write(lab.path("big"), &bytes).unwrap();
    for (i, host) in both(&lab).await.iter().enumerate() {
        let folder = lab.path(&format!("there {i}"));
        let to = folder.join("new '$(x)'/-bundle").to_str().unwrap().to_owned();
        host.put(Content::File(&lab.path("big")), &to, 0o755).await.unwrap();
        assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o755);
        assert!(host.get(&to, bytes.len()).await.unwrap() == bytes, "it came back changed");
        assert!(host.get(&to, bytes.len() - 1).await.unwrap_err().detail().contains("longer"));

        host.put(Content::Bytes(b"short"), &to, 0o600).await.unwrap();
        assert_eq!(host.get(&to, 5).await.unwrap(), b"short");
        assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o600);
        host.put(Content::Bytes(b""), &to, 0o600).await.unwrap();
        assert_eq!(host.get(&to, 0).await.unwrap(), b"");

        let error = host.put(Content::Bytes(b"x"), folder.to_str().unwrap(), 0o644).await.unwrap_err();
        assert!(error.detail().contains("folder"), "{error}: {}", error.detail());
        let error = host.get(&lab.text("none"), 9).await.unwrap_err();
        assert!(error.detail().contains("No such file"), "{error}: {}", error.detail());
        let nowhere = host.put(Content::Bytes(&bytes), "/dev/null/x", 0o644).await.unwrap_err();
        assert_eq!(nowhere.kind, HostErrorKind::Other, "{nowhere}");
        let left: Vec<_> = fs::read_dir(folder.join("new '$(x)'")).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["-bundle"]);
    }
}
