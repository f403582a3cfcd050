//! Runs in virtual time: how near to the ideal the plan and the grants come.

mod simulation;

use proptest::prelude::*;
use protocol::{Chunk, Chunker, Entry, ImagePath};

use simulation::{LOADING, Machine, simulate};

/// Chunks as a scan cuts them.
fn chunks(pictures: u64) -> Vec<Chunk> {
    let mut chunker = Chunker::new(None);
    let entry = Entry { path: ImagePath::new("a.jpg").unwrap(), size_bytes: 1 << 20, mtime_ns: 0 };
    let mut chunks: Vec<Chunk> = (0..pictures).filter_map(|i| chunker.push(i, &entry)).collect();
    chunks.extend(chunker.finish());
    chunks
}

#[test]
fn a_host_four_times_slower_than_its_weight_says_costs_little() {
    // In the first of these the slow host has so much ahead that the other does a good part of it once more.
    let runs: [(u64, &[f64]); 4] = [
        (6_000, &[800.0, 200.0]),
        (5_000, &[100.0, 100.0, 25.0]),
        (100_000, &[100.0, 100.0, 25.0]),
        (1_000_000, &[100.0, 100.0, 25.0]),
    ];
    for (pictures, rates) in runs {
        let weight = 1.0 / rates.len() as f64;
        let machines: Vec<Machine> = rates.iter().map(|&rate| Machine { rate, weight }).collect();
        let outcome = simulate(&chunks(pictures), &machines, 0.0, 0);
        eprintln!("{pictures} pictures: {:.0} s, efficiency {:.3}", outcome.seconds, outcome.efficiency());
        let (seconds, ideal) = (outcome.seconds - LOADING, pictures as f64 / rates.iter().sum::<f64>());
        assert!(seconds < 1.15 * ideal, "{pictures}: {seconds} s instead of {ideal} s");
    }
}

#[test]
fn hosts_that_are_lost_and_come_back_cost_little() {
    let machines: Vec<Machine> =
        (0..50).map(|i| Machine { rate: 20.0 + f64::from(i % 5) * 20.0, weight: 1.0 / 50.0 }).collect();
    let outcome = simulate(&chunks(5_000_000), &machines, 0.05, 1);
    eprintln!("{outcome:?}, efficiency {:.3}", outcome.efficiency());
    assert!(outcome.losses > 0);
    assert!(outcome.efficiency() > 0.95, "{outcome:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn every_run_ends_and_no_host_waits_for_another(
        pictures in 1u64..60_000,
        hosts in prop::collection::vec((1.0f64..200.0, 0.01f64..1.0), 1..12),
        losses in 0.0f64..2.0,
        seed: u64,
    ) {
        let sum: f64 = hosts.iter().map(|(_, weight)| weight).sum();
        let machines: Vec<Machine> = hosts.iter().map(|&(rate, weight)| Machine { rate, weight: weight / sum }).collect();
        let chunks = chunks(pictures);
        let outcome = simulate(&chunks, &machines, losses, seed);
        prop_assert!(outcome.seconds.is_finite());
        if losses == 0.0 || outcome.losses == 0 {
            // When all is begun, each host has two chunks in hand at most, or ten seconds of work; a slow one's are done
            // by the others, which look for work each second.
            let fastest = machines.iter().map(|m| m.rate).fold(0.0, f64::max);
            let total: f64 = machines.iter().map(|m| m.rate).sum();
            let largest = chunks.iter().map(|c| c.count).max().unwrap_or(0) as f64;
            let in_hand = 2.0 * machines.len() as f64 * largest;
            let bound = 10.0 + (pictures as f64 + in_hand) / total + 2.0 * largest / fastest + 2.0;
            prop_assert!(outcome.seconds <= bound, "{} s, at most {bound} s", outcome.seconds);
        }
    }
}
