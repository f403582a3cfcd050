//! `controller --setup`, `--doctor` and the scripts around them, where something is not as usual: each is named before a run.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use e2e::{Fleet, Lab, Machines, SHARE_HERE, Said, WORK, finish, said, signal, wait_for};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn executable(path: &Path, script: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, script).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// The folders of a world's connections: those that end with their program, and those that are kept for the next.
fn connections(lab: &Lab) -> Vec<PathBuf> {
    let within = |folder: PathBuf| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let all = within(lab.path("run/imagefleet"));
    let all = all.flat_map(|path| within(path.clone()).chain([path]).collect::<Vec<_>>());
    all.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(".ssh-connection")).collect()
}

#[test]
fn setup_workers_in_a_clone_that_is_not_built_says_what_to_do() {
    let clone = tempfile::tempdir().unwrap();
    fs::copy(repository().join("setup_workers.sh"), clone.path().join("setup_workers.sh")).unwrap();
    fs::create_dir_all(clone.path().join("controller/src")).unwrap();
    let run = || finish(Command::new(clone.path().join("setup_workers.sh")).arg("hosts"));
    let said = run();
    assert!(said.code == 1 && said.err == "error: controller is not built yet; run: make build\n", "{said:?}");
    executable(&clone.path().join("target/debug/controller"), "#!/bin/sh\necho \"$@\"\n");
    assert_eq!(run().out, "--setup --hosts=hosts\n");
}

#[test]
fn a_rust_that_is_too_old_is_told_with_its_remedy() {
    let lab = Lab::new();
    for (version, suits) in
        [("1.63.0", false), ("1.91.1 (abc 2025-01-01)", false), ("nonsense", false), ("1.92.0", true), ("2.0.1", true)]
    {
        executable(&lab.path("bin/cargo"), &format!("#!/bin/sh\necho cargo {version}\n"));
        // Only this function is asked: the others would install what is missing.
        let script = fs::read_to_string(repository().join("scripts/setup.sh")).unwrap();
        let (functions, _) = script.split_once("\ncase \"$(uname -s)\"").unwrap();
        executable(&lab.path("scripts/setup.sh"), &format!("{functions}\nrust\nsay went on\n"));
        fs::copy(repository().join("Cargo.toml"), lab.path("Cargo.toml")).unwrap();
        let mut setup = Command::new("bash");
        let path = format!("{}:/usr/bin:/bin", lab.path("bin").display());
        setup.arg(lab.path("scripts/setup.sh")).arg("build").env("PATH", path).env("HOME", lab.path("home"));
        let said = finish(&mut setup);
        assert_eq!(said.err.contains("went on"), suits, "{version}: {said:?}");
        let told = said.err.contains("Rust 1.92 or newer is needed") && said.err.contains("sh.rustup.rs");
        assert!(suits || said.code == 1 && told && said.err.contains("bin/cargo"), "{version}: {said:?}");
    }
}

#[test]
fn lines_of_one_machine_are_told_by_setup_and_doctor() {
    let fleet = Fleet::new(&[1.0, 1.0]);
    let said = finish(fleet.lab.command("controller").args(["--setup", "--hosts", "hosts"]));
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.err.contains("Warning: h0 and h1 are one machine"), "{said:?}");
    let said =
        finish(fleet.lab.command("controller").args(["--doctor", "--hosts", "hosts", "--model", "demo", "--json"]));
    let found: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert!(found["notes"][0].as_str().unwrap().starts_with("h0 and h1 are one machine"), "{found}");
}

/// A host that takes a connection and then says nothing.
fn silent(lab: &Lab) -> std::net::TcpListener {
    let door = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    fs::create_dir_all(lab.path("ssh")).unwrap();
    fs::write(lab.path("ssh/config"), "Host *\n UserKnownHostsFile /dev/null\n HostName 127.0.0.1\n").unwrap();
    let port = door.local_addr().unwrap().port();
    fs::write(lab.path("hosts"), format!("silent port={port} ssh_config=ssh/config\n")).unwrap();
    door
}

#[test]
fn interrupted_and_killed_programs_leave_no_connections() {
    let lab = Lab::new();
    let _door = silent(&lab);
    let start = |name: &str, args: &[&str]| {
        let mut command = lab.command(name);
        command.args(args).args(["--hosts", "hosts"]);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        wait_for("it to connect", || !connections(&lab).is_empty());
        child
    };
    for (name, args) in [
        ("controller", &["--doctor"][..]),
        ("controller", &["--setup", "--check"]),
        ("query", &["--index-prefix", "imageindex", "a car"]),
    ] {
        let child = start(name, args);
        signal(&child, "INT");
        let said = said(child.wait_with_output().unwrap());
        assert_eq!(said.code, 130, "{name} {args:?}: {said:?}");
        assert_eq!(connections(&lab), [] as [PathBuf; 0], "{name} {args:?}");
    }
    // One that is killed cannot tidy up; the next does.
    let mut killed = start("controller", &["--doctor"]);
    let left = connections(&lab);
    killed.kill().unwrap();
    killed.wait().unwrap();
    let next = start("controller", &["--doctor"]);
    wait_for("the next to tidy up", || left.iter().all(|folder| !folder.exists()));
    signal(&next, "INT");
    assert_eq!(said(next.wait_with_output().unwrap()).code, 130);
}

/// Setup over the share of two hosts.
fn setup(machines: &Machines) -> Said {
    let mut command = machines.command("controller");
    command.arg("--setup").arg("--hosts").arg(machines.lab.path("hosts"));
    finish(command.arg(format!("--image-dir={SHARE_HERE}/images")))
}

#[test]
fn a_work_folder_that_may_hold_no_programs_is_named_as_such() {
    let Some(machines) = Machines::fresh(&[""; 2]) else { return };
    machines.lab.draw("", 3, 1);
    machines.inside(1, &format!("mkdir -p {WORK} && mount -t tmpfs -o noexec tmpfs {WORK}"));
    let said = setup(&machines);
    assert!(said.code == 1 && said.out.contains("1 of 2 hosts are ready"), "{said:?}");
    assert!(said.err.contains("h1: ") && said.err.contains("noexec") && said.err.contains("work_dir="), "{said:?}");
    assert!(!said.err.contains("setup_workers.sh"), "setup would only do the same again: {said:?}");
}

#[test]
fn hosts_that_log_in_as_different_users_are_ready_only_if_they_can_replace_each_others_files() {
    let Some(machines) = Machines::fresh(&["user=ann", "user=bob"]) else { return };
    let (lab, index) = (&machines.lab, "imageindex");
    lab.draw("", 40, 1);
    for (i, (user, uid)) in [("ann", 4101), ("bob", 4102)].into_iter().enumerate() {
        // In a host's own namespace, whose files are gone with it. A strict umask shuts nobody out of the index.
        machines.inside(
            i,
            &format!(
                "echo '{user}:x:{uid}:{uid}::/home/{user}:/bin/bash' >>/etc/passwd; echo '{user}:*:1:0:9:7:::' >>/etc/shadow; \
                 echo '{user}:x:{uid}:' >>/etc/group; mkdir -p /home/{user} {WORK}; echo umask 077 >/home/{user}/.bashrc; \
                 chown -R {uid}:{uid} /home/{user} {WORK}; chmod 755 /run; chmod 1777 /tmp"
            ),
        );
    }
    let mode = |path: &Path, mode: u32| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    mode(&lab.path(""), 0o777);
    fs::create_dir_all(lab.path(index).join("runs")).unwrap();
    mode(&lab.path(index), 0o777);
    // A run of ann's alone made this folder.
    fs::create_dir(lab.path(index).join("parts")).unwrap();
    std::os::unix::fs::chown(lab.path(index).join("parts"), Some(4101), Some(4101)).unwrap();
    mode(&lab.path(index).join("runs"), 0o777);
    let said = setup(&machines);
    assert!(said.code == 1 && said.out.contains("1 of 2 hosts are ready"), "{said:?}");
    let parts = format!("{}/imageindex/parts", machines.share(1));
    for word in ["h1: ", &format!("cannot write in {parts}: Permission denied"), &format!("chmod -R g+rwX {parts}")] {
        assert!(said.err.contains(word), "{word:?} is not in {said:?}");
    }
    // Each may write, but none may take over what the other made.
    mode(&lab.path(index).join("parts"), 0o1777);
    let said = setup(&machines);
    assert!(said.code == 1 && said.out.contains("0 of 2 hosts are ready"), "{said:?}");
    for word in ["a file of user 4101 in", "by user bob: ", &format!("chmod -t {parts}")] {
        assert!(said.err.contains(word), "{word:?} is not in {said:?}");
    }
    mode(&lab.path(index).join("parts"), 0o777);
    let said = setup(&machines);
    assert_eq!(said.code, 0, "{said:?}");
    let left = finish(Command::new("find").arg(lab.path("")).args(["-name", ".check*"]));
    assert_eq!(left.out, "", "probes stay");
    let said = finish(&mut machines.controller(&["--chunk-images", "5", "--merge-on", "h1"]));
    assert!(said.code == 0 && !said.err.contains("failed"), "{said:?}");
}
