//! Ctrl-C at random moments of a run over three hosts, of which one may hang, and the same command once more.
//!
//! A few rounds by default; IMAGEFLEET_INTERRUPTS says how many, IMAGEFLEET_CHAOS_SEED which is the first.

use std::fs;
use std::net::TcpListener;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use e2e::{Fleet, finish, send, signal};
use fastrand::Rng;

use crate::running::{AT_ONCE, Running};
use crate::{paths, processes, ready, silent_host};

const ROUNDS: u64 = 5;
const SEED: u64 = 2026;

/// Rounds that go on at a time, each with an index of its own.
const AT_A_TIME: usize = 3;

/// What a round's programs are called everywhere they run ends within this.
const ORPHANS: Duration = Duration::from_secs(70);

/// A run that is not interrupted takes about so long.
const RUN: Duration = Duration::from_secs(5);

fn number(variable: &str, otherwise: u64) -> u64 {
    let given = std::env::var(variable).unwrap_or_default();
    if given.is_empty() { otherwise } else { given.parse().unwrap_or_else(|e| panic!("{variable}={given}: {e}")) }
}

/// What hangs in a round.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Hangs {
    Nothing,
    /// A host that takes connections and does not answer.
    Connecting,
    /// A worker that is stopped, until the controller has ended.
    Worker,
}

/// The worker of a round on the last host, by its number.
fn last_worker(index: &str) -> Vec<u32> {
    let said = processes(&format!("granted .*index-prefix=[^ ]*/{index}/worker_2 "));
    said.lines().filter_map(|line| line.split(' ').next()?.parse().ok()).collect()
}

/// Plays a round; what went wrong in it.
fn play(fleet: &Fleet, seed: u64, pictures: usize) -> Result<String, String> {
    let rng = &mut Rng::with_seed(seed);
    let (lab, index) = (&fleet.lab, format!("index-{seed}"));
    let hangs = [Hangs::Nothing, Hangs::Connecting, Hangs::Worker][rng.usize(0..3)];
    let controller = |hosts: &str| {
        let mut command = lab.command("controller");
        command.arg("--image-dir").arg(lab.images()).arg("--index-prefix").arg(lab.path(&index));
        command.args(["--model", "demo", "--chunk-images", "4", "--batch-size", "1", "--hosts"]).arg(lab.path(hosts));
        command
    };
    let hosts = if hangs == Hangs::Connecting { "silent-hosts" } else { "hosts" };
    let mut running = Running::start(lab, &index, controller(hosts));
    let begun = Instant::now();
    let until = RUN.mul_f64(rng.f64());
    let mut stopped = Vec::new();
    while begun.elapsed() < until {
        if hangs == Hangs::Worker && stopped.is_empty() {
            stopped = last_worker(&index);
            send("STOP", &stopped);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut ended = begun.elapsed();
    let said = if running.is_over() {
        running.ends(AT_ONCE)
    } else {
        signal(&running.child, ["INT", "TERM"][rng.usize(0..2)]);
        std::thread::sleep(Duration::from_millis(rng.u64(100..1500)));
        ended = begun.elapsed();
        if !running.is_over() {
            signal(&running.child, "INT");
        }
        running.ends(AT_ONCE)
    };
    send("CONT", &stopped);
    let told =
        format!("seed {seed}: {hangs:?}, interrupted after {until:.1?}, again after {ended:.1?}, exit {}", said.code);
    if ![130, 0].contains(&said.code) || said.err.contains("panicked") {
        return Err(format!("{told}: {said:?}"));
    }
    let begun = Instant::now();
    while !processes(&format!("index-prefix=[^ ]*/{index}\\b")).is_empty() {
        if begun.elapsed() > ORPHANS {
            return Err(format!("{told}: left: {}", processes(&format!("index-prefix=[^ ]*/{index}\\b"))));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let next = finish(&mut controller("hosts"));
    if next.code != 0 || paths(&lab.path(&index)).len() != pictures {
        return Err(format!("{told}, but then {next:?}\n{said:?}"));
    }
    Ok(told)
}

#[test]
fn ctrl_c_at_any_moment_ends_a_run_over_three_hosts_and_the_next_one_goes_on() {
    const PICTURES: usize = 48;
    let (rounds, first) = (number("IMAGEFLEET_INTERRUPTS", ROUNDS), number("IMAGEFLEET_CHAOS_SEED", SEED));
    let fleet = ready(3);
    let lab = &fleet.lab;
    lab.draw("", PICTURES, 1);
    let hosts = fs::read_to_string(lab.path("hosts")).unwrap();
    // A hosts file in which a host that hangs takes the place of the last.
    let _silent: TcpListener = silent_host(lab);
    let with_silent = fs::read_to_string(lab.path("hosts")).unwrap();
    let lines: Vec<&str> = with_silent.lines().filter(|line| !line.starts_with("h2 ")).collect();
    fs::write(lab.path("silent-hosts"), lines.join("\n")).unwrap();
    fs::write(lab.path("hosts"), hosts).unwrap();

    let (next, failed) = (AtomicU64::new(first), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= first + rounds {
                        return;
                    }
                    match play(&fleet, seed, PICTURES) {
                        Ok(told) => println!("{told}"),
                        Err(wrong) => failed.lock().unwrap().push(wrong),
                    }
                }
            });
        }
    });
    assert!(failed.lock().unwrap().is_empty(), "{}", failed.lock().unwrap().join("\n"));
    // Connections that nobody uses any more are closed, also those of programs that ended at once.
    let begun = Instant::now();
    let left = || (0..3).map(|i| fleet.logged_in(i)).sum::<usize>();
    while left() > 0 {
        assert!(begun.elapsed() < ORPHANS, "{} connections are left", left());
        std::thread::sleep(Duration::from_millis(100));
    }
}
