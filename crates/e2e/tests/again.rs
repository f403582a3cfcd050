//! Hosts come and go while a run goes on; nobody has to start it again.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use e2e::{Fleet, Lab, Said, finish, said, signal, wait_for};

fn ready(hosts: usize) -> Fleet {
    let fleet = Fleet::new(&vec![1.0 / hosts as f64; hosts]);
    let said = finish(fleet.lab.command("controller").args(["--setup", "--hosts", "hosts"]));
    assert_eq!(said.code, 0, "{said:?}");
    fleet
}

/// Runs a controller in small steps, and does something when some of them are done.
fn index_while(lab: &Lab, happens: impl FnOnce()) -> Said {
    let mut controller = lab.controller(&["--chunk-images", "10", "--batch-size", "1"]);
    let child = controller.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for("some parts", || fs::read_dir(lab.path("imageindex/parts")).is_ok_and(|d| d.count() >= 4));
    happens();
    said(child.wait_with_output().unwrap())
}

fn pictures(lab: &Lab) -> usize {
    lab.meta()["num_images"].as_u64().unwrap() as usize
}

#[test]
fn a_connection_that_is_lost_is_made_again_and_the_older_worker_ended() {
    let fleet = ready(1);
    let lab = &fleet.lab;
    lab.draw("", 800, 3);
    let said = index_while(lab, || fleet.drop_connections(0));
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.err.contains("Worker 0 on h0 failed: ") && said.err.contains("the connection was lost"), "{said:?}");
    assert_eq!(said.err.matches("Worker 0 started on h0").count(), 2, "{said:?}");
    assert_eq!(pictures(lab), 800);
}

#[test]
fn a_machine_that_is_added_to_the_hosts_file_joins_the_run() {
    let fleet = ready(2);
    let lab = &fleet.lab;
    lab.draw("", 800, 3);
    let all = fs::read_to_string(lab.path("hosts")).unwrap();
    let (first, second) = all.trim_end().rsplit_once('\n').unwrap();
    fs::write(lab.path("hosts"), format!("{first}\n")).unwrap();
    // The run goes on while its only worker sleeps.
    let worker = |order: &str| {
        let pattern = format!("index-prefix={}/worker_0", fleet.share(0).join("imageindex").display());
        assert_eq!(finish(Command::new("pkill").args([order, "-f", &pattern])).code, 0);
    };
    let log = lab.path("said");
    let heard = |words: &str| wait_for(words, || fs::read_to_string(&log).is_ok_and(|text| text.contains(words)));
    let mut controller = lab.controller(&["--chunk-images", "10", "--batch-size", "1"]);
    let mut child = controller.stdout(Stdio::null()).stderr(fs::File::create(&log).unwrap()).spawn().unwrap();
    heard("Worker 0 on h0: demo");
    worker("-STOP");
    fs::write(lab.path("hosts"), format!("{first}\nh9 no-key\n")).unwrap();
    heard("The hosts file has changed, but is left aside: ");
    fs::write(lab.path("hosts"), format!("{first}\n{second}\n")).unwrap();
    heard("h1 is new in the hosts file");
    heard("Worker 1 on h1: demo");
    worker("-CONT");
    assert!(child.wait().unwrap().success(), "{}", fs::read_to_string(&log).unwrap());
    assert_eq!(pictures(lab), 800);
}

/// A share behind a program of its own, which can fall silent as a file server does.
struct Mount {
    server: Child,
    place: PathBuf,
}

impl Mount {
    /// Mounts the laboratory as machine 1 sees it, from machine 0; `None` where that cannot be done, which is said.
    fn new(fleet: &Fleet) -> Option<Self> {
        let place = fleet.share(1);
        fs::remove_file(&place).unwrap();
        fs::create_dir(&place).unwrap();
        let mut server = Command::new("sshfs");
        server.arg("-f").arg("-F").arg(fleet.lab.path("ssh/config"));
        server.arg(format!("h0:{}", fleet.lab.path("").display())).arg(&place);
        let server = server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut mount = server.map(|server| Self { server, place }).ok();
        let begun = Instant::now();
        while let Some(Self { server, place }) = &mut mount {
            if place.join("images").is_dir() {
                break;
            }
            if server.try_wait().unwrap().is_some() || begun.elapsed().as_secs() > 60 {
                mount = None;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        if mount.is_none() {
            eprintln!("NOT RUN: sshfs cannot mount here");
        }
        mount
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        signal(&self.server, "CONT");
        finish(Command::new("fusermount3").args(["-u", "-z"]).arg(&self.place));
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

#[test]
fn a_share_that_falls_silent_is_told_and_when_it_answers_again_the_run_goes_on() {
    let fleet = ready(2);
    let lab = &fleet.lab;
    lab.draw("", 400, 3);
    let Some(mount) = Mount::new(&fleet) else { return };
    let all = fs::read_to_string(lab.path("hosts")).unwrap();
    let lines: String = all.lines().filter(|line| !line.starts_with("h0 ")).map(|line| format!("{line}\n")).collect();
    fs::write(lab.path("hosts"), lines).unwrap();
    let log = lab.path("said");
    let heard = |words: &str| wait_for(words, || fs::read_to_string(&log).is_ok_and(|text| text.contains(words)));
    let mut controller = lab.controller(&["--chunk-images", "10", "--batch-size", "1", "--stall", "5"]);
    let mut child = controller.stdout(Stdio::null()).stderr(fs::File::create(&log).unwrap()).spawn().unwrap();
    wait_for("some parts", || fs::read_dir(lab.path("imageindex/parts")).is_ok_and(|d| d.count() >= 4));
    signal(&mount.server, "STOP");
    heard("it has got no further for 5 s; does its share hang?");
    signal(&mount.server, "CONT");
    assert!(child.wait().unwrap().success(), "{}", fs::read_to_string(&log).unwrap());
    assert_eq!(pictures(lab), 400);
}

/// A library that ends a program which reads a file with a mark in it, as a decoder does that has met its master.
const TRAP: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
ssize_t read(int fd, void *to, size_t most) {
    static ssize_t (*real)(int, void *, size_t);
    if (!real) real = (ssize_t (*)(int, void *, size_t))dlsym(RTLD_NEXT, "read");
    ssize_t got = real(fd, to, most);
    if (got > 0 && memmem(to, (size_t)got, "DEADLY" "PICTURE", 13)) abort();
    return got;
}
"#;

#[test]
fn a_picture_over_which_workers_die_is_found_and_blamed_alone() {
    let lab = Lab::new();
    lab.draw("", 100, 3);
    fs::write(lab.path("trap.c"), TRAP).unwrap();
    let (trap, source) = (lab.path("trap.so"), lab.path("trap.c"));
    let built = finish(Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&trap).arg(&source).arg("-ldl"));
    assert_eq!(built.code, 0, "{built:?}");
    let mut names: Vec<_> = fs::read_dir(lab.images()).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    for deadly in [&names[17], &names[71]] {
        let mut file = fs::OpenOptions::new().append(true).open(deadly).unwrap();
        file.write_all(b"DEADLYPICTURE").unwrap();
    }
    let said = finish(lab.controller(&["--chunk-images", "50"]).env("LD_PRELOAD", &trap));
    assert_eq!(said.code, 3, "{said:?}");
    for deadly in [&names[17], &names[71]] {
        assert!(said.err.contains(&format!("Failed: {}: crashed: ", deadly.display())), "{said:?}");
    }
    assert!(said.out.contains("embedded 98 + failed 2"), "{said:?}");
    assert_eq!(pictures(&lab), 98);
}
