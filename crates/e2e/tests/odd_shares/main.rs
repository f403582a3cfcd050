//! Shares that lack what most have, and locks that were lost: a run works, or says why not before anything is done.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use e2e::{Lab, Said, finish, said, send, wait_for};
use tempfile::TempDir;

const PERM: i32 = 1;
const IO: i32 = 5;
const EXIST: i32 = 17;
const INVAL: i32 = 22;
const NOLCK: i32 = 37;
const NOTSUP: i32 = 95;

/// The library that makes the share odd, compiled once.
fn library() -> PathBuf {
    static MADE: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let (source, library) = (dir.path().join("share.c"), dir.path().join("share.so"));
        fs::write(&source, include_str!("share.c")).unwrap();
        let mut compiler = Command::new("cc");
        let said = finish(compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source).arg("-ldl"));
        assert_eq!(said.code, 0, "{said:?}");
        (dir, library)
    });
    made.1.clone()
}

/// Lets a command, and all that it starts, find that every share lacks this.
fn odd<'a>(command: &'a mut Command, lacks: &str, errno: i32) -> &'a mut Command {
    command.env("LD_PRELOAD", library()).env("ODD_LACKS", lacks).env("ODD_ERRNO", errno.to_string())
}

#[test]
fn a_share_that_lacks_one_thing_or_all_of_them_holds_an_index() {
    let all = "chmod link noreplace fsync flock utimes";
    let lacking = [
        ("chmod", PERM),
        ("link", PERM),
        ("link", EXIST),
        ("fsync", NOTSUP),
        ("flock", NOLCK),
        ("utimes", PERM),
        (all, INVAL),
    ];
    let rounds = lacking.map(|(lacks, errno)| std::thread::spawn(move || indexes_and_answers(lacks, errno)));
    rounds.into_iter().for_each(|round| round.join().unwrap());
}

fn indexes_and_answers(lacks: &str, errno: i32) {
    let lab = Lab::new();
    lab.draw("", 6, 1);
    let run = odd(&mut lab.controller(&["--chunk-images", "2"]), lacks, errno).output().unwrap();
    let run = said(run);
    assert!(run.code == 0 && run.out.contains("embedded 6"), "{lacks} {errno}: {run:?}");
    let told = run.err.matches("cannot sync").count();
    assert_eq!(told, usize::from(lacks.contains("fsync")), "{lacks} {errno}: {run:?}");
    assert_eq!(e2e::strangers(&lab), [""; 0], "{lacks} {errno}");
    let mut query = lab.command("query");
    query.arg("--index-prefix").arg(lab.prefix()).arg("--hosts").arg(lab.path("hosts"));
    query.args(["--text", "a car", "--top-k", "6", "--no-collapse", "--html"]).arg(lab.path("page.html"));
    let answer = finish(odd(&mut query, lacks, errno));
    assert_eq!(answer.code, 0, "{lacks} {errno}: {answer:?}");
    assert_eq!(fs::read_dir(lab.path("image_results")).unwrap().count(), 6, "{lacks} {errno}: {answer:?}");
    assert_eq!(lab.rows().len(), 6, "{lacks} {errno}");
}

#[test]
fn a_disk_that_fails_to_sync_is_no_share_that_cannot() {
    let lab = Lab::new();
    lab.draw("", 2, 1);
    let run = finish(odd(&mut lab.controller(&[]), "fsync", IO));
    assert!(run.code == 1 && run.err.contains("Input/output error"), "{run:?}");
}

#[test]
fn a_share_that_cannot_hold_an_index_is_told_before_anything_is_embedded() {
    let lab = Lab::new();
    lab.draw("", 2, 1);
    assert_eq!(lab.index(&[]).code, 0);
    let before = lab.meta();
    lab.draw("more", 2, 2);
    let told = |said: Said| {
        let once = said.err.matches("rror: ").count() == 1;
        let named = said.err.contains("refuses to rename a file over another") && said.err.contains("imageindex");
        assert!(said.code == 1 && once && named, "{said:?}");
    };
    told(finish(odd(&mut lab.controller(&[]), "rename", PERM)));
    let mut worker = lab.command("worker");
    worker.args(["scan", "--model", "demo", "--image-dir"]).arg(lab.images()).arg("--index-prefix").arg(lab.prefix());
    told(finish(odd(&mut worker, "rename", PERM)));
    assert_eq!((lab.meta(), fs::read_dir(lab.prefix().join("parts")).unwrap().count()), (before, 0));
}

#[test]
fn where_there_are_no_locks_one_of_two_controllers_works() {
    let lab = Lab::new();
    lab.draw("", 20, 1);
    let start = || {
        let mut command = lab.controller(&["--chunk-images", "2"]);
        odd(&mut command, "flock", NOLCK).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let both = [start(), start()].map(|child| said(child.wait_with_output().unwrap()));
    let worked: Vec<bool> = both.iter().map(|said| said.code == 0).collect();
    assert!(worked == [true, false] || worked == [false, true], "{both:?}");
    let other = both.iter().find(|said| said.code != 0).unwrap();
    assert!(other.err.contains("is working on this index"), "{other:?}");
}

/// Another's lock, fresh.
fn steal(lock: &Path) {
    let heartbeat = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let owner =
        serde_json::json!({"program": "controller", "host": "elsewhere", "pid": 7, "heartbeat_unix_s": heartbeat});
    fs::write(lock, owner.to_string()).unwrap();
}

/// The workers of a laboratory.
fn workers(lab: &Lab) -> Vec<u32> {
    let said = finish(Command::new("pgrep").args(["-f", &format!("worker .*{}", lab.prefix().display())]));
    said.out.lines().filter_map(|line| line.parse().ok()).collect()
}

fn ended(child: std::process::Child) -> Said {
    let output: Output = child.wait_with_output().unwrap();
    said(output)
}

#[test]
fn a_controller_that_lost_its_lock_publishes_nothing_and_leaves_it_to_the_owner() {
    let lab = Lab::new();
    lab.draw("", 12, 1);
    let start =
        || lab.controller(&["--chunk-images", "1"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let parts = || fs::read_dir(lab.prefix().join("parts")).map_or(0, Iterator::count);
    let lock = lab.prefix().join("lock");
    // Noticed by a heartbeat, while workers can do nothing; and, before anybody noticed, when all is embedded.
    for frozen in [true, false] {
        let run = start();
        wait_for("a worker to begin", || parts() > 0);
        let workers_now = workers(&lab);
        send("STOP", &workers_now);
        steal(&lock);
        let theirs = fs::read(&lock).unwrap();
        if !frozen {
            send("CONT", &workers_now);
        }
        let run = ended(run);
        assert!(run.code == 1 && run.err.contains("controller (process 7 on elsewhere) has taken over"), "{run:?}");
        assert_eq!(run.err.matches("error: ").count(), 1, "{run:?}");
        assert_eq!(fs::read(&lock).unwrap(), theirs, "the lock is another's");
        assert!(!lab.path("imageindex.meta.json").exists(), "{run:?}");
        wait_for("the workers to end", || workers(&lab).is_empty());
        fs::remove_file(&lock).unwrap();
        fs::remove_dir_all(lab.prefix().join("parts")).unwrap();
    }
    assert_eq!(lab.index(&[]).code, 0);
}

#[test]
fn another_machine_of_this_ones_name_is_not_taken_for_this_one() {
    let lab = Lab::new();
    lab.draw("", 2, 1);
    fs::create_dir(lab.prefix()).unwrap();
    let host = finish(Command::new("uname").arg("-n")).out;
    let owner = serde_json::json!({"program": "controller", "host": host.trim(), "pid": 7, "heartbeat_unix_s": 0,
        "id": "1", "machine": "another"});
    let lock = lab.prefix().join("lock");
    for (age_s, held) in [(0, true), (120, false)] {
        fs::write(&lock, owner.to_string()).unwrap();
        let written = SystemTime::now() - Duration::from_secs(age_s);
        fs::File::options().write(true).open(&lock).unwrap().set_modified(written).unwrap();
        let run = lab.index(&[]);
        assert_eq!(run.code, i32::from(held), "{run:?}");
    }
}
