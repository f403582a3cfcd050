//! How long a question takes over SSH: the whole program `query`, from its start to its end, asking a machine behind a
//! real sshd on loopback, with the demo model. `make bench-ask` runs it.

use std::time::{Duration, Instant};

use e2e::{Fleet, finish};

const ROUNDS: usize = 20;

fn main() {
    let fleet = Fleet::new(&[1.0]);
    let ready = finish(fleet.lab.command("controller").args(["--setup", "--hosts", "hosts"]));
    assert_eq!(ready.code, 0, "{ready:?}");
    fleet.lab.draw("", 100, 1);
    let indexed = fleet.lab.index(&[]);
    assert_eq!(indexed.code, 0, "{indexed:?}");

    let cold = ask(&fleet, "a yellow car");
    let second = ask(&fleet, "a red house");
    let mut warm: Vec<Duration> = (0..ROUNDS).map(|i| ask(&fleet, &format!("a blue boat {i}"))).collect();
    warm.sort();
    println!("query over SSH on loopback, demo model, 100 pictures, no copies:");
    println!("  cold (log in, start the server, load)  {:6.0} ms", ms(cold));
    println!("  the second question                    {:6.0} ms", ms(second));
    println!(
        "  then, median and slowest of {ROUNDS}         {:6.0} ms {:6.0} ms",
        ms(warm[ROUNDS / 2]),
        ms(warm[ROUNDS - 1])
    );
}

fn ask(fleet: &Fleet, text: &str) -> Duration {
    let mut query = fleet.lab.command("query");
    query.args(["--hosts", "hosts", "--index-prefix"]).arg(fleet.lab.path("imageindex"));
    query.args(["--no-copy-results", "--text", text]);
    let began = Instant::now();
    let said = finish(&mut query);
    let took = began.elapsed();
    assert_eq!(said.code, 0, "{said:?}");
    took
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
