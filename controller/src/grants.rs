//! Grants: which host embeds which chunk next. Pure: time and machines stay outside.
//!
//! Weights are a first guess, measured speed decides. A host works on its own list from the end, where chunks are
//! large, and then takes chunks from the beginning of the list that would take longest. What a lost host had goes
//! back.

use std::collections::{BTreeMap, VecDeque};

use protocol::Chunk;

/// Seconds of work that a host is granted ahead.
const AHEAD_S: f64 = 10.0;

/// Chunks granted ahead at least, so that a host is never idle between two.
const AHEAD_CHUNKS: usize = 2;

/// The state of a run's work.
#[derive(Debug)]
pub struct Grants {
    hosts: Vec<Host>,
}

#[derive(Debug)]
struct Host {
    list: VecDeque<Chunk>,
    granted: BTreeMap<u64, Chunk>,
    /// Pictures a second; `None` until measured.
    rate: Option<f64>,
    /// Its share of the work, until its rate is known.
    weight: f64,
    works: bool,
}

impl Grants {
    /// All work unstarted: a list and a weight for each host.
    pub fn new(lists: Vec<Vec<Chunk>>, weights: &[f64]) -> Self {
        let host = |(list, &weight): (Vec<Chunk>, &f64)| Host {
            list: list.into(),
            granted: BTreeMap::new(),
            rate: None,
            weight,
            works: true,
        };
        Self { hosts: lists.into_iter().zip(weights).map(host).collect() }
    }

    /// The next chunk for `host`, now granted to it; `None` if it has enough, or nothing is left to begin.
    pub fn next(&mut self, host: usize) -> Option<Chunk> {
        let me = &self.hosts[host];
        let ahead: u64 = me.granted.values().map(|c| c.count).sum();
        let enough = me.granted.len() >= AHEAD_CHUNKS && ahead as f64 >= me.rate.unwrap_or(0.0) * AHEAD_S;
        if !me.works || enough {
            return None;
        }
        let chunk = match self.hosts[host].list.pop_back() {
            Some(chunk) => chunk,
            None => {
                let slowest =
                    (0..self.hosts.len()).max_by(|&a, &b| self.seconds_left(a).total_cmp(&self.seconds_left(b)))?;
                self.hosts[slowest].list.pop_front()?
            }
        };
        self.hosts[host].granted.insert(chunk.id, chunk);
        Some(chunk)
    }

    /// A host finished a chunk.
    pub fn finished(&mut self, host: usize, chunk_id: u64) {
        self.hosts[host].granted.remove(&chunk_id);
    }

    /// A host's measured rate in pictures a second.
    pub fn measured(&mut self, host: usize, rate: f64) {
        self.hosts[host].rate = Some(rate);
    }

    /// A host is lost: what it was granted can be granted to others.
    pub fn lost(&mut self, host: usize) {
        let me = &mut self.hosts[host];
        me.works = false;
        me.list.extend(std::mem::take(&mut me.granted).into_values());
    }

    /// Pictures that are not finished.
    pub fn left(&self) -> u64 {
        self.hosts.iter().flat_map(|h| h.list.iter().chain(h.granted.values())).map(|c| c.count).sum()
    }

    /// Whether any host still works.
    pub fn any_works(&self) -> bool {
        self.hosts.iter().any(|h| h.works)
    }

    /// How long a host would need for the unstarted rest of its list; endless for one that no longer works.
    fn seconds_left(&self, host: usize) -> f64 {
        let me = &self.hosts[host];
        let pictures: u64 = me.list.iter().map(|c| c.count).sum();
        if pictures == 0 {
            return 0.0;
        }
        if me.works { pictures as f64 / me.rate.unwrap_or(me.weight) } else { f64::INFINITY }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn chunks(ids: std::ops::Range<u64>) -> Vec<Chunk> {
        ids.map(|id| Chunk { id, offset: 0, count: 10, bytes: 0 }).collect()
    }

    #[test]
    fn a_host_takes_its_own_list_first_and_then_the_slowest_ones() {
        let mut grants = Grants::new(vec![chunks(0..1), chunks(1..4), chunks(4..6)], &[0.2, 0.5, 0.3]);
        assert_eq!(grants.next(0).unwrap().id, 0);
        grants.finished(0, 0);
        grants.measured(1, 100.0);
        grants.measured(2, 1.0);
        assert_eq!(grants.next(0).unwrap().id, 4, "from the beginning of the list that takes longest");
    }

    #[test]
    fn work_is_granted_about_ten_seconds_ahead() {
        let mut grants = Grants::new(vec![chunks(0..50)], &[1.0]);
        assert_eq!(std::iter::from_fn(|| grants.next(0)).count(), 2);
        grants.measured(0, 10.0);
        assert_eq!(std::iter::from_fn(|| grants.next(0)).count(), 8);
    }

    proptest! {
        #[test]
        fn every_chunk_is_finished_whatever_happens_to_all_hosts_but_one(
            sizes in prop::collection::vec(0u64..30, 1..6), events in prop::collection::vec((0usize..6, 0u8..10), 0..300),
        ) {
            let mut next = 0;
            let lists: Vec<_> = sizes.iter().map(|n| { next += n; chunks(next - n..next) }).collect();
            let weights = vec![1.0 / sizes.len() as f64; sizes.len()];
            let mut grants = Grants::new(lists, &weights);
            let mut finished = std::collections::BTreeSet::new();
            let mut work = |grants: &mut Grants, host: usize| {
                while grants.next(host).is_some() {}
                let id = grants.hosts[host].granted.keys().next().copied();
                if let Some(id) = id {
                    grants.finished(host, id);
                    assert!(finished.insert(id), "chunk {id} was granted again after it was finished");
                }
                id.is_some()
            };
            for (host, what) in events {
                let host = host % sizes.len();
                if what == 0 && host > 0 { grants.lost(host) } else { work(&mut grants, host); }
            }
            for host in 1..sizes.len() { grants.lost(host) }
            while work(&mut grants, 0) {}
            prop_assert_eq!(grants.left(), 0);
            prop_assert_eq!(finished.len() as u64, next);
        }
    }
}
