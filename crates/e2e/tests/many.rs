//! One controller and as many machines as a company has: real sshd, real connections, workers that only speak.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use e2e::{Fleet, program};

const MACHINES: usize = 64;

/// What a controller may need for them.
const MOST_KIB: u64 = 200 << 10;

/// Far more than such a run takes.
const LIMIT: Duration = Duration::from_secs(240);

/// The most memory that a process has had, in KiB.
fn peak_kib(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[test]
fn a_controller_of_64_machines_stays_small_and_one_that_talks_much_does_not_stall() {
    let fleet = Fleet::new(&[1.0; MACHINES]);
    let real = program("worker");
    // Workers wait for this file with their work: without it, the first could have done everything before the last start.
    let go = fleet.lab.path("go");
    let script =
        format!("#!/bin/sh\nREAL='{}' GO='{}'\n{}", real.display(), go.display(), include_str!("many/worker.sh"));
    for i in 0..MACHINES {
        let folder = fleet.work(i).join("current/bin");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("worker"), &script).unwrap();
        fs::set_permissions(folder.join("worker"), fs::Permissions::from_mode(0o755)).unwrap();
    }
    for i in 0..MACHINES * 10 {
        fs::write(fleet.lab.images().join(format!("{i:04}.jpg")), b"x").unwrap();
    }
    let began = Instant::now();
    let mut controller = fleet
        .lab
        .controller(&["--no-merge", "--chunk-images", "5"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A run that does not end by itself is ended, and tells where it stood.
    let pid = controller.id().to_string();
    std::thread::spawn(move || {
        std::thread::sleep(LIMIT);
        e2e::finish(std::process::Command::new("kill").args(["-KILL", &pid]));
    });
    let (mut started, mut peak, mut said) = (0, 0, String::new());
    for line in BufReader::new(controller.stderr.take().unwrap()).lines() {
        let line = line.unwrap();
        if line.starts_with("Worker ") && line.contains(" started on ") {
            started += 1;
            if started == MACHINES {
                println!("{MACHINES} machines started in {:.1} s", began.elapsed().as_secs_f64());
                fs::write(&go, "").unwrap();
            }
        }
        peak = peak_kib(controller.id()).unwrap_or(0).max(peak);
        said += &format!("{line}\n");
    }
    let ended = e2e::said(controller.wait_with_output().unwrap());
    println!("all done in {:.1} s, controller's memory {} MiB", began.elapsed().as_secs_f64(), peak >> 10);
    assert_eq!(ended.code, 0, "{said}\n{ended:?}");
    assert_eq!(started, MACHINES, "{said}");
    assert!(ended.out.contains("Scanned 640 = embedded 640"), "{ended:?}");
    assert!(peak > 0 && peak < MOST_KIB, "{peak} KiB");
    assert_eq!(fs::metadata(fleet.work(1).join("worker_1.log")).unwrap().len(), 50_000_000);
}
