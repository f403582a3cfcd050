//! A share that keeps other time than the hosts, and one that hides what others have just written.

use std::fs::{self, File, FileTimes};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use e2e::{CANONICAL, Judge, Lab, Machines, looks_again, wait_for};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn set_time(path: &Path, time: SystemTime) {
    File::open(path).unwrap().set_times(FileTimes::new().set_modified(time)).unwrap();
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn pictures_from_before_1970_and_from_the_future_are_embedded_once() {
    let lab = Lab::new();
    lab.draw("", 12, 1);
    let now = SystemTime::now();
    let times = [UNIX_EPOCH - DAY * 400, UNIX_EPOCH, now + DAY, now + DAY * 365 * 100];
    for (file, time) in files(&lab.images()).iter().zip(times.iter().cycle()) {
        set_time(file, *time);
    }
    let said = lab.index(&["--chunk-images", "5"]);
    assert_eq!(said.code, 0, "{said:?}");
    let said = lab.index(&[]);
    assert!(said.code == 0 && said.out.contains("embedded 0 + failed 0 + already indexed 12"), "{said:?}");
    assert_eq!(lab.rows().len(), 12);
}

#[test]
fn a_share_days_ahead_or_behind_costs_no_row_and_no_work() {
    let lab = Lab::new();
    lab.draw("", 40, 1);
    assert_eq!(lab.index(&[]).code, 0);
    let mut judge = Judge::new(&lab.path("imageindex.parquet"));
    let all = lab.drawn();
    fs::create_dir(lab.path("later")).unwrap();
    let now = SystemTime::now();
    for (round, time) in [now + DAY * 3, now - DAY * 3, now + DAY * 900].into_iter().enumerate() {
        // Parts that were made by that clock, an index too, and some pictures that come later.
        lab.remove_index();
        let away: Vec<&String> = all.keys().skip(round).step_by(2).collect();
        away.iter().for_each(|name| fs::rename(lab.images().join(name), lab.path("later").join(name)).unwrap());
        assert_eq!(lab.index(&[]).code, 0);
        away.iter().for_each(|name| fs::rename(lab.path("later").join(name), lab.images().join(name)).unwrap());
        assert_eq!(lab.index(&["--no-merge", "--chunk-images", "4"]).code, 0);
        let beside = ["meta.json", "parquet", "faiss"].map(|e| lab.path(format!("imageindex.{e}")));
        files(&lab.prefix()).iter().chain(&beside).for_each(|file| set_time(file, time));
        let said = lab.index(&[]);
        let counted = format!("Scanned 40 = embedded 0 + failed 0 + already indexed {}", all.len());
        assert!(said.code == 0 && said.out.contains(&counted), "{said:?}");
        assert_eq!(judge.judge(&lab, &lab.images(), &all), [""; 0]);
    }
}

#[test]
fn a_lock_that_a_dead_host_left_holds_nobody_up_whatever_time_it_is_there() {
    let lab = Lab::new();
    lab.draw("", 10, 1);
    fs::create_dir(lab.prefix()).unwrap();
    let lock = lab.prefix().join("lock");
    let now = SystemTime::now();
    let unix_s = now.duration_since(UNIX_EPOCH).unwrap().as_secs();
    for (heartbeat, written, held) in [(unix_s + 7200, now - DAY, false), (unix_s - 7200, now, true)] {
        let owner =
            serde_json::json!({"program": "controller", "host": "elsewhere", "pid": 7, "heartbeat_unix_s": heartbeat});
        fs::write(&lock, owner.to_string()).unwrap();
        set_time(&lock, written);
        let said = lab.index(&[]);
        assert_eq!(said.code, i32::from(held), "{said:?}");
        assert_eq!(said.err.contains("controller (process 7 on elsewhere) is working on this index"), held, "{said:?}");
    }
}

#[test]
fn parts_that_are_hidden_from_the_merger_for_a_while_are_waited_for() {
    let Some(machines) = Machines::ready(&["ram_gb=2", "ram_gb=1"]) else { return };
    let lab = &machines.lab;
    lab.draw("", 40, 1);
    let said = machines.index(&["--no-merge", "--chunk-images", "5"]);
    assert_eq!(said.code, 0, "{said:?}");
    let parts = format!("{}/imageindex/parts", machines.share(0));
    machines.inside(0, &format!("mount -t tmpfs tmpfs {parts}"));
    let mut merging = machines.controller(&["--merge-only", "--merge-on", "h0"]);
    let merging = merging.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for("the merger to look for the parts", || machines.processes(Some(0), "merger").into_iter().any(looks_again));
    assert!(!lab.path("imageindex.meta.json").exists());
    machines.inside(0, &format!("umount {parts}"));
    let said = e2e::said(merging.wait_with_output().unwrap());
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(lab.rows_below(&Path::new(CANONICAL).join("images")).len(), 40);
}

#[test]
fn a_host_from_which_the_run_is_hidden_is_named_and_the_others_do_the_work() {
    let Some(machines) = Machines::ready(&["ram_gb=2", "ram_gb=1"]) else { return };
    let lab = &machines.lab;
    lab.draw("", 40, 1);
    machines.inside(
        1,
        &format!("mkdir -p {0} && mount -t tmpfs tmpfs {0}", format_args!("{}/imageindex/runs", machines.share(1))),
    );
    let said = machines.index(&["--chunk-images", "5"]);
    assert_eq!(said.code, 0, "{said:?}");
    let named = |line: &str| line.contains("Worker 1 on h1 failed: ") && line.contains("/imageindex/runs/");
    assert!(said.err.lines().any(named), "{said:?}");
    assert_eq!(lab.rows_below(&Path::new(CANONICAL).join("images")).len(), 40);
}
