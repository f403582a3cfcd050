//! What a host costs that is four times slower than its weight says: two hosts over real sshd, one thread and half of the
//! work each, one of which sleeps three quarters of the time. Prints how long embedding took beside what both together
//! could have done in that time. `make bench-slow` runs it; a number of pictures can be given.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use e2e::{Fleet, finish};

/// At the end a host may wait for the other's last chunk: of a longer run that is a smaller share.
const PICTURES: usize = 12_000;
const ROUNDS: usize = 2;

/// Asleep for three of four of these.
const BEAT: Duration = Duration::from_millis(30);

fn main() {
    let pictures: usize = std::env::args().nth(1).map_or(PICTURES, |n| n.parse().expect("a number of pictures"));
    let fleet = Fleet::new(&[0.5, 0.5]);
    let ready = finish(fleet.lab.command("controller").args(["--setup", "--hosts", "hosts"]));
    assert_eq!(ready.code, 0, "{ready:?}");
    fleet.lab.draw("", pictures, 1);
    let hosts = fs::read_to_string(fleet.lab.path("hosts")).expect("the fixture wrote it");
    let line = |i: usize| hosts.lines().find(|l| l.starts_with(&format!("h{i} "))).expect("it has both").to_owned();
    let write = |lines: &[String]| {
        let defaults = hosts.lines().filter(|l| l.starts_with('*')).map(|l| format!("{l}\n"));
        let text: String = defaults.chain(lines.iter().map(|l| format!("{l} threads=1\n"))).collect();
        fs::write(fleet.lab.path("hosts"), text).expect("it is ours");
    };
    for round in 1..=ROUNDS {
        write(&[line(0)]);
        let fast = seconds(&fleet, false);
        write(&[line(0), line(1)]);
        let both = seconds(&fleet, true);
        // The slow host does a quarter of what the fast one does.
        let ideal = fast / 1.25;
        println!(
            "round {round}: {pictures} pictures, the fast host alone {fast:.1} s, both {both:.1} s, ideal {ideal:.1} s: {:.2}",
            both / ideal
        );
    }
}

/// How long a run embeds, from the first worker's list to the last part; start-up and merge are left out.
fn seconds(fleet: &Fleet, slow: bool) -> f64 {
    let index = fleet.lab.path("imageindex");
    let _ = fs::remove_dir_all(&index);
    for file in ["imageindex.meta.json", "imageindex.parquet", "imageindex.faiss"] {
        let _ = fs::remove_file(fleet.lab.path(file));
    }
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        if slow {
            scope.spawn(|| sleepy(fleet, &over));
        }
        let mut run = fleet.lab.controller(&["--no-merge"]);
        let mut run = run.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it was built");
        let parts = || fs::read_dir(index.join("parts")).map_or(0, Iterator::count);
        let mut begun = None;
        let mut ended = (0, Instant::now());
        while run.try_wait().expect("it is ours").is_none() {
            let ready: Vec<PathBuf> = (0..2).map(|i| fleet.work(i).join(format!("worker_{i}_images.txt"))).collect();
            if begun.is_none() && ready.iter().any(|list| list.exists()) {
                begun = Some(Instant::now());
            }
            let now = parts();
            if now > ended.0 {
                ended = (now, Instant::now());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        over.store(true, SeqCst);
        for i in 0..2 {
            let _ = fs::remove_file(fleet.work(i).join(format!("worker_{i}_images.txt")));
        }
        ended.1.duration_since(begun.expect("a worker has begun")).as_secs_f64()
    })
}

/// Lets the second host's worker sleep three quarters of the time.
fn sleepy(fleet: &Fleet, over: &AtomicBool) {
    let pattern = format!("index-prefix={}/imageindex/worker_1", fleet.share(1).display());
    while !over.load(SeqCst) {
        for (order, beats) in [("-STOP", 3), ("-CONT", 1)] {
            // Before it has begun, and when it has ended, nobody is found.
            let _ = Command::new("pkill").args([order, "-f", &pattern]).status();
            std::thread::sleep(BEAT * beats);
        }
    }
    let _ = Command::new("pkill").args(["-CONT", "-f", &pattern]).status();
}
