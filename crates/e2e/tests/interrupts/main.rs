//! Ctrl-C, SIGTERM and closed connections: whatever hangs, a program says what it waits for and ends when it is told to
//! twice; what runs on hosts ends by itself; and nothing is half-made.

mod rounds;
mod running;
mod terminal;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use e2e::{Fleet, Lab, finish, run_python, signal, wait_for};
use running::{AT_ONCE, Running};

fn ready(hosts: usize) -> Fleet {
    let fleet = Fleet::new(&vec![1.0 / hosts as f64; hosts]);
    let said = finish(fleet.lab.command("controller").args(["--setup", "--hosts", "hosts"]));
    assert_eq!(said.code, 0, "{said:?}");
    fleet
}

/// Lets a program of machine 0 run this script first; `"$0.real" "$@"` is the program.
fn before(fleet: &Fleet, program: &str, script: &str) {
    let path = fleet.work(0).join("current/bin").join(program);
    let mut real = path.clone().into_os_string();
    real.push(".real");
    fs::rename(&path, real).unwrap();
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Scans of machine 0 wait for the gate; how many do.
fn gate_scans(fleet: &Fleet) {
    let lab = fleet.lab.path("");
    let lab = lab.display();
    let wait = format!("[ \"$1\" = scan ] && touch {lab}/waits-$$ && while [ ! -e {lab}/gate ]; do sleep 0.02; done");
    before(fleet, "worker", &format!("{wait}\nexec \"$0.real\" \"$@\""));
}

fn waiting_scans(lab: &Lab) -> usize {
    let names = fs::read_dir(lab.path("")).unwrap().flatten().map(|entry| entry.file_name());
    names.filter(|name| name.to_string_lossy().starts_with("waits-")).count()
}

/// Processes that were started with these words.
fn processes(words: &str) -> String {
    finish(Command::new("pgrep").args(["-a", "-f", "--", words])).out
}

fn runs(prefix: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(prefix.join("runs")).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn paths(index: &Path) -> Vec<String> {
    let script = "import sys, polars\nfor path in polars.read_parquet(sys.argv[1])['path']: print(path)";
    let mut parquet = index.to_owned().into_os_string();
    parquet.push(".parquet");
    run_python(script, &[&parquet]).lines().map(|path| path.rsplit_once("/images/").unwrap().1.to_owned()).collect()
}

/// A host in the hosts file that takes connections and says nothing.
fn silent_host(lab: &Lab) -> TcpListener {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = fs::read_to_string(lab.path("ssh/config")).unwrap_or_default();
    let port = silent.local_addr().unwrap().port();
    fs::create_dir_all(lab.path("ssh")).unwrap();
    fs::write(lab.path("ssh/config"), format!("{config}Host silent\n HostName 127.0.0.1\n Port {port}\n")).unwrap();
    let hosts = fs::read_to_string(lab.path("hosts")).unwrap();
    fs::write(lab.path("hosts"), format!("{hosts}silent weight=0.5 ssh_config={}\n", lab.path("ssh/config").display()))
        .unwrap();
    silent
}

#[test]
fn two_runs_that_use_one_host_never_get_each_others_lists_or_logs() {
    let fleet = ready(1);
    let lab = &fleet.lab;
    gate_scans(&fleet);
    let drawn = ["first", "second"].map(|name| {
        lab.draw(name, 10, name.len() as u64);
        let names = fs::read_dir(lab.images().join(name)).unwrap().map(|entry| entry.unwrap().path());
        let list: Vec<String> = names.map(|path| path.display().to_string()).collect();
        fs::write(lab.path(name), list.join("\n")).unwrap();
        let mut controller = lab.controller(&["--image-list", name, "--index-prefix"]);
        controller.arg(lab.path(format!("index-{name}")));
        Running::start(lab, &format!("said-{name}"), controller)
    });
    wait_for("both scans", || waiting_scans(lab) == 2);
    fs::write(lab.path("gate"), "").unwrap();
    for (running, name) in drawn.into_iter().zip(["first", "second"]) {
        let said = running.ends(Duration::from_secs(60));
        assert_eq!(said.code, 0, "{said:?}");
        let found = paths(&lab.path(format!("index-{name}")));
        assert!(found.len() == 10 && found.iter().all(|path| path.starts_with(name)), "{name}: {found:?}");
    }
    // Each has its folder; the names that people know are those of one of them.
    let own =
        finish(Command::new("find").arg(fleet.work(0)).args(["-name", "worker_0*", "-path", "*/????????/*/*"])).out;
    assert_eq!(own.lines().count(), 4, "{own}");
    let list = fs::read_to_string(fleet.work(0).join("worker_0_images.txt")).unwrap();
    let of_one =
        |name: &str| list.lines().count() == 10 && list.lines().all(|line| line.contains(&format!("/images/{name}/")));
    assert!(of_one("first") || of_one("second"), "{list}");
    assert!(fs::read_to_string(fleet.work(0).join("worker_0.log")).unwrap().contains("[Worker 0] Done: 10 images"));
}

#[test]
fn a_scan_without_its_controller_leaves_nothing_and_what_was_embedded_before_can_be_merged() {
    let fleet = ready(1);
    let lab = &fleet.lab;
    lab.draw("", 20, 1);
    assert_eq!(lab.index(&["--no-merge"]).code, 0);
    let before = runs(&lab.prefix());
    lab.draw("new", 5, 2);
    gate_scans(&fleet);
    for how in ["INT", "KILL"] {
        let running = Running::start(lab, "interrupted", lab.controller(&[]));
        wait_for("the scan", || waiting_scans(lab) == 1);
        signal(&running.child, how);
        if how == "KILL" {
            running.ends(AT_ONCE);
            fs::write(lab.path("gate"), "").unwrap();
        } else {
            // It is told to end, and does as soon as it can.
            fs::write(lab.path("gate"), "").unwrap();
            let said = running.ends(Duration::from_secs(20));
            assert_eq!(said.code, 130, "{said:?}");
            assert!(said.err.contains("Interrupted while scanning; nothing is changed."), "{said:?}");
        }
        wait_for("the scan to end", || processes(&format!("scan .*{}", fleet.share(0).display())).is_empty());
        assert_eq!(runs(&lab.prefix()), before, "no run is left");
        let waits = fs::read_dir(lab.path("")).unwrap().flatten().map(|entry| entry.path());
        waits.filter(|path| path.to_string_lossy().contains("/waits-")).for_each(|path| fs::remove_file(path).unwrap());
        fs::remove_file(lab.path("gate")).unwrap();
    }
    let said = lab.index(&["--merge-only"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("20 pictures (20 added"), "{said:?}");
}

#[test]
fn a_host_whose_connection_was_closed_while_it_was_idle_merges_and_is_not_called_lost() {
    let fleet = ready(2);
    let lab = &fleet.lab;
    lab.draw("", 300, 1);
    // One chunk: the other host has nothing to do.
    let options = ["--merge-on", "h1", "--chunk-images", "300", "--batch-size", "1"];
    let running = Running::start(lab, "run", lab.controller(&options));
    running.heard("Worker 0 started on h0");
    fleet.drop_connections(1);
    let said = running.ends(Duration::from_secs(120));
    assert_eq!(said.code, 0, "{said:?}");
    assert!(!said.err.contains("lost") && said.out.contains("300 pictures (300 added"), "{said:?}");
}

#[test]
fn ctrl_c_ends_a_run_that_waits_for_a_host_or_a_merger_that_hangs() {
    let fleet = ready(1);
    let lab = &fleet.lab;
    lab.draw("", 8, 1);
    let merger = format!("tail -f {}", lab.path("hosts").display());
    before(&fleet, "merger", &format!("trap '' HUP INT TERM\nexec {merger}"));
    let merging = Running::start(lab, "merging", lab.controller(&[]));
    wait_for("the merger", || !processes(&merger).is_empty());
    let said = merging.ends_when_told_twice("waiting for the merger on h0 to end");
    finish(Command::new("pkill").args(["-f", &merger]));
    assert!(!said.err.contains("panicked"), "{said:?}");
    // What was embedded is listed for --merge-only, although nobody could merge it.
    assert_eq!(
        runs(&lab.prefix())
            .iter()
            .filter(|run| lab.prefix().join("runs").join(run).join("parts.jsonl").is_file())
            .count(),
        1
    );

    let silent = silent_host(lab);
    for how in ["INT", "TERM", "HUP"] {
        let connecting = Running::start(lab, "connecting", lab.controller(&[]));
        let _open = silent.accept().unwrap();
        signal(&connecting.child, how);
        let said = connecting.ends(AT_ONCE);
        assert_eq!(said.code, 130, "{how}: {said:?}");
        assert!(
            said.err.contains("Interrupted while waiting for an answer from ")
                && said.err.contains("silent; the index is"),
            "{said:?}"
        );
    }
    let setup = ["--setup", "--doctor"].map(|what| {
        let mut command = lab.command("controller");
        command.args([what, "--hosts", "hosts"]);
        Running::start(lab, what, command)
    });
    let _open = setup.each_ref().map(|_| silent.accept().unwrap());
    for running in setup {
        signal(&running.child, "INT");
        assert_eq!(running.ends(AT_ONCE).code, 130);
    }
    // A log-in that was given up ends by ssh's own limit for it.
    wait_for("ssh to give up", || processes(&format!("{}/.*silent", lab.path("run").display())).is_empty());
}

#[test]
fn programs_by_hand_end_in_order_and_leave_nothing_half_made() {
    let lab = Lab::new();
    lab.draw("", 400, 1);
    assert_eq!(lab.index(&["--no-merge", "--chunk-images", "50"]).code, 0);
    // The merger is busy elsewhere.
    let lock = lab.prefix().join("merge.lock");
    let mut holder = Command::new("flock").arg("--no-fork").arg(&lock).args(["sleep", "1000"]).spawn().unwrap();
    wait_for("the lock", || File::open(&lock).is_ok_and(|lock| lock.try_lock().is_err()));
    let mut merger = lab.command("merger");
    merger.arg("--index-prefix").arg(lab.prefix());
    let merging = Running::start(&lab, "merger", merger);
    let owner = lab.prefix().join("lock");
    wait_for("the merger to own the index", || fs::read_to_string(&owner).is_ok_and(|owner| owner.contains("merger")));
    signal(&merging.child, "INT");
    let said = merging.ends(AT_ONCE);
    assert_eq!(said.code, 130, "{said:?}");
    assert_eq!(fs::read_to_string(&owner).unwrap(), "", "the lock is free, also for other hosts");
    let _ = (holder.kill(), holder.wait());

    let mut worker = lab.command("worker");
    let list = lab.path("list");
    let pictures = fs::read_dir(lab.images()).unwrap().map(|entry| entry.unwrap().path().display().to_string());
    fs::write(&list, pictures.collect::<Vec<_>>().join("\n")).unwrap();
    let by_hand = lab.path("byhand");
    worker.args(["--model", "demo", "--batch-size", "1", "--chunk-images", "10", "--image-list"]).arg(&list);
    worker.arg("--index-prefix").arg(by_hand.join("worker_0")).arg("--root").arg(lab.images());
    let working = Running::start(&lab, "worker", worker);
    let parts = || {
        fs::read_dir(by_hand.join("parts"))
            .map_or(0, |parts| parts.flatten().filter(|p| !p.file_name().to_string_lossy().starts_with('.')).count())
    };
    wait_for("some parts", || parts() >= 3);
    signal(&working.child, "TERM");
    let said = working.ends(Duration::from_secs(10));
    assert_eq!(said.code, 130, "{said:?}");
    assert!(parts() >= 3 && !by_hand.join("worker_0.meta.json").exists());
    let left = finish(Command::new("find").arg(&by_hand).args(["-name", ".*.tmp-*"])).out;
    assert_eq!(left, "", "nothing is half-made");
    assert_eq!(lab.index(&["--merge-only"]).code, 0);
}
