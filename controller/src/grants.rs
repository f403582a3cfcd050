//! Grants: which host embeds which chunk next. Pure: time and machines stay outside.
//!
//! Weights are a first guess, measured speed decides. A host works on its own list from the end, where chunks are
//! large, and then takes chunks from the beginning of the list that would take longest. When all are begun, a host
//! that is about to be without work does the chunk that would be finished last once more, if it is the sooner of the
//! two: so nobody waits for a slow machine, and nothing has to be taken away from it. What a lost host had goes back.

use std::collections::{BTreeMap, HashMap, VecDeque};

use protocol::Chunk;

/// Seconds of work that a host is granted ahead.
const AHEAD_S: f64 = 10.0;

/// Chunks granted ahead at least, so that a host is never idle between two.
const AHEAD_CHUNKS: usize = 2;

/// A chunk in the hands of so many workers that died is done with care: picture by picture.
const DEATHS: u32 = 2;

/// The state of a run's work.
#[derive(Debug)]
pub struct Grants {
    hosts: Vec<Host>,
    /// Who has which granted chunk: one host, or more.
    holders: HashMap<u64, Vec<usize>>,
    /// Workers that died with a chunk in hand.
    deaths: HashMap<u64, u32>,
    /// Pictures on lists, and all that are not finished.
    unstarted: u64,
    left: u64,
}

#[derive(Debug)]
struct Host {
    list: VecDeque<Chunk>,
    /// Pictures on the list.
    listed: u64,
    /// In the order of the grants, which is that of its work.
    granted: VecDeque<Chunk>,
    /// Pictures of granted chunks that are done.
    in_hand: u64,
    /// Pictures a second; `None` until measured.
    rate: Option<f64>,
    /// Its share of the work, until its rate is known.
    weight: f64,
    works: bool,
}

/// What a host is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    pub chunk: Chunk,
    /// Picture by picture, because workers died over it.
    pub careful: bool,
}

impl Grants {
    /// All work unstarted: a list and a weight for each host.
    pub fn new(lists: Vec<Vec<Chunk>>, weights: &[f64]) -> Self {
        let hosts: Vec<Host> =
            lists.into_iter().zip(weights).map(|(list, &weight)| Host::new(list.into(), weight)).collect();
        let unstarted = hosts.iter().map(|h| h.listed).sum();
        Self { hosts, holders: HashMap::new(), deaths: HashMap::new(), unstarted, left: unstarted }
    }

    /// One more host, without a list of its own.
    pub fn add(&mut self, weight: f64) {
        self.hosts.push(Host::new(VecDeque::new(), weight));
    }

    /// The next chunk for `host`, now granted to it; `None` if it has enough, or nothing is left that it could do sooner
    /// than those who have it.
    pub fn next(&mut self, host: usize) -> Option<Grant> {
        let me = &self.hosts[host];
        let enough = me.granted.len() >= AHEAD_CHUNKS && me.ahead() as f64 >= me.rate.unwrap_or(0.0) * AHEAD_S;
        if !me.works || enough {
            return None;
        }
        let chunk = self.unstarted_for(host).or_else(|| self.unfinished_for(host))?;
        self.hosts[host].granted.push_back(chunk);
        self.holders.entry(chunk.id).or_default().push(host);
        Some(Grant { chunk, careful: self.deaths(chunk.id) >= DEATHS })
    }

    /// A chunk is finished. Tells who else has it and can forget it.
    pub fn finished(&mut self, chunk_id: u64, by: usize) -> Vec<usize> {
        let mut holders = self.holders.remove(&chunk_id).unwrap_or_default();
        for (i, holder) in holders.iter().enumerate() {
            if let Some(chunk) = self.hosts[*holder].take(chunk_id)
                && i == 0
            {
                self.left -= chunk.count;
            }
        }
        self.deaths.remove(&chunk_id);
        holders.retain(|holder| *holder != by);
        holders
    }

    /// A host's measured rate in pictures a second, and how many pictures of its unfinished chunks are done. A rate of 0
    /// is that of a host which gets no further.
    pub fn measured(&mut self, host: usize, rate: f64, in_hand: u64) {
        let me = &mut self.hosts[host];
        (me.rate, me.in_hand) = (Some(rate), in_hand);
    }

    /// A host is lost: what it was granted can be granted to others.
    pub fn lost(&mut self, host: usize) {
        let me = &mut self.hosts[host];
        (me.works, me.in_hand) = (false, 0);
        for chunk in std::mem::take(&mut me.granted) {
            let holders = self.holders.entry(chunk.id).or_default();
            holders.retain(|holder| *holder != host);
            if holders.is_empty() {
                self.holders.remove(&chunk.id);
                self.hosts[host].put(chunk);
                self.unstarted += chunk.count;
            }
        }
    }

    /// A host's worker died. What it had in hand is suspect: `trying`, if it said so, else all that it was granted.
    pub fn died(&mut self, host: usize, trying: Option<u64>) {
        let suspects = self.hosts[host].granted.iter().map(|c| c.id).filter(|id| trying.is_none_or(|t| t == *id));
        for id in suspects.collect::<Vec<_>>() {
            *self.deaths.entry(id).or_default() += 1;
        }
        self.lost(host);
    }

    /// A host works again.
    pub fn joined(&mut self, host: usize) {
        self.hosts[host].works = true;
        self.hosts[host].rate = None;
    }

    /// Pictures that are not finished.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Whether a host has chunks in hand.
    pub fn busy(&self, host: usize) -> bool {
        !self.hosts[host].granted.is_empty()
    }

    /// Whether there is unstarted work of hosts that do not work.
    pub fn orphaned(&self) -> bool {
        self.hosts.iter().any(|h| !h.works && h.listed > 0)
    }

    fn deaths(&self, chunk_id: u64) -> u32 {
        self.deaths.get(&chunk_id).copied().unwrap_or(0)
    }

    /// The end of the host's own list, else the beginning of the one that would take longest.
    fn unstarted_for(&mut self, host: usize) -> Option<Chunk> {
        if self.unstarted == 0 {
            return None;
        }
        let own = !self.hosts[host].list.is_empty();
        let from = if own { host } else { self.longest_list()? };
        let chunk = if own { self.hosts[from].list.pop_back() } else { self.hosts[from].list.pop_front() }?;
        self.hosts[from].listed -= chunk.count;
        self.unstarted -= chunk.count;
        Some(chunk)
    }

    fn longest_list(&self) -> Option<usize> {
        let measured = self.hosts.iter().filter_map(|h| Some((h.rate?, h.weight)));
        let (rates, weights) = measured.fold((0.0, 0.0), |(r, w), (rate, weight)| (r + rate, w + weight));
        let rate_of_weight = if rates > 0.0 && weights > 0.0 { rates / weights } else { 1.0 };
        let seconds = |h: &Host| match h.works {
            true => h.listed as f64 / h.rate.unwrap_or(h.weight * rate_of_weight),
            false => f64::INFINITY,
        };
        let listed = (0..self.hosts.len()).filter(|&i| self.hosts[i].listed > 0);
        listed.max_by(|&a, &b| seconds(&self.hosts[a]).total_cmp(&seconds(&self.hosts[b])))
    }

    /// The granted chunk that is expected to be finished last, if `host` would be sooner, behind what it has in hand: the
    /// more have it already, the more so.
    fn unfinished_for(&self, host: usize) -> Option<Chunk> {
        let me = &self.hosts[host];
        if me.granted.len() >= AHEAD_CHUNKS {
            return None;
        }
        let mut soonest: BTreeMap<u64, (f64, Chunk)> = BTreeMap::new();
        for (seconds, chunk) in self.hosts.iter().flat_map(Host::expected) {
            let (least, _) = soonest.entry(chunk.id).or_insert((seconds, chunk));
            *least = least.min(seconds);
        }
        soonest.retain(|id, _| self.deaths(*id) == 0 && me.granted.iter().all(|mine| mine.id != *id));
        let (seconds, chunk) = soonest.into_values().max_by(|(a, _), (b, _)| a.total_cmp(b))?;
        let copies = self.holders.get(&chunk.id).map_or(0, Vec::len) as u64;
        let before = me.ahead().saturating_sub(me.in_hand);
        let sooner = me.rate.is_none_or(|rate| ((before + copies * chunk.count) as f64) / rate < seconds);
        sooner.then_some(chunk)
    }
}

impl Host {
    fn new(list: VecDeque<Chunk>, weight: f64) -> Self {
        let listed = list.iter().map(|c| c.count).sum();
        Self { list, listed, granted: VecDeque::new(), in_hand: 0, rate: None, weight, works: true }
    }

    fn put(&mut self, chunk: Chunk) {
        self.listed += chunk.count;
        self.list.push_back(chunk);
    }

    fn take(&mut self, chunk_id: u64) -> Option<Chunk> {
        let at = self.granted.iter().position(|c| c.id == chunk_id)?;
        let chunk = self.granted.remove(at)?;
        self.in_hand = self.in_hand.saturating_sub(chunk.count);
        Some(chunk)
    }

    /// Pictures granted and not finished.
    fn ahead(&self) -> u64 {
        self.granted.iter().map(|c| c.count).sum()
    }

    /// When each granted chunk will be finished, in seconds from now; endless while the rate is unknown or 0.
    fn expected(&self) -> impl Iterator<Item = (f64, Chunk)> + '_ {
        let rate = self.rate.unwrap_or(0.0);
        let before = self.granted.iter().scan(0u64, |sum, chunk| {
            *sum += chunk.count;
            Some((*sum, *chunk))
        });
        before.map(move |(pictures, chunk)| {
            let seconds = pictures.saturating_sub(self.in_hand).max(1) as f64 / rate;
            (seconds, chunk)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn chunks(ids: std::ops::Range<u64>) -> Vec<Chunk> {
        ids.map(|id| Chunk { id, offset: 0, count: 10, bytes: 0 }).collect()
    }

    fn id(grant: Option<Grant>) -> Option<u64> {
        grant.map(|g| g.chunk.id)
    }

    #[test]
    fn a_host_takes_its_own_list_first_and_then_the_slowest_ones() {
        let mut grants = Grants::new(vec![chunks(0..1), chunks(1..4), chunks(4..6)], &[0.2, 0.5, 0.3]);
        assert_eq!(id(grants.next(0)), Some(0));
        grants.finished(0, 0);
        grants.measured(1, 100.0, 0);
        grants.measured(2, 1.0, 0);
        assert_eq!(id(grants.next(0)), Some(4), "from the beginning of the list that takes longest");
    }

    #[test]
    fn work_is_granted_about_ten_seconds_ahead() {
        let mut grants = Grants::new(vec![chunks(0..50)], &[1.0]);
        assert_eq!(std::iter::from_fn(|| grants.next(0)).count(), 2);
        grants.measured(0, 10.0, 0);
        assert_eq!(std::iter::from_fn(|| grants.next(0)).count(), 8);
    }

    #[test]
    fn who_has_nothing_to_do_does_what_would_be_finished_last_if_it_is_sooner() {
        let mut grants = Grants::new(vec![chunks(0..2), chunks(2..3)], &[0.5, 0.5]);
        assert_eq!((id(grants.next(0)), id(grants.next(0)), id(grants.next(1))), (Some(1), Some(0), Some(2)));
        grants.measured(0, 1.0, 8);
        grants.measured(1, 10.0, 0);
        assert_eq!(id(grants.next(1)), Some(0), "it is done in 2 s here, behind the other, and in 12 s there");
        assert_eq!(id(grants.next(1)), None, "it has work");
        assert_eq!(grants.finished(2, 1), [0; 0]);
        assert_eq!(id(grants.next(1)), None, "the last one is done in 2 s there as well");
        assert_eq!(grants.finished(0, 1), [0], "the other is told to forget it");
        assert_eq!(id(grants.next(1)), Some(1), "two more seconds there");
        assert_eq!(grants.finished(1, 0), [1]);
        assert_eq!(grants.finished(1, 1), [0; 0], "finished twice counts once");
        assert_eq!(grants.left(), 0);
    }

    #[test]
    fn a_chunk_over_which_workers_died_is_done_with_care_and_by_one() {
        let mut grants = Grants::new(vec![chunks(0..1), vec![]], &[0.5, 0.5]);
        for _ in 0..DEATHS {
            assert!(!grants.next(0).unwrap().careful);
            grants.died(0, None);
            grants.joined(0);
        }
        assert!(grants.next(0).unwrap().careful);
        assert_eq!(grants.next(1), None);
    }

    proptest! {
        #[test]
        fn every_chunk_is_finished_whatever_happens_to_all_hosts_but_one(
            sizes in prop::collection::vec(0u64..30, 1..6),
            events in prop::collection::vec((0usize..6, 0u8..12, 0u64..30), 0..300),
        ) {
            let mut next = 0;
            let lists: Vec<_> = sizes.iter().map(|n| { next += n; chunks(next - n..next) }).collect();
            let weights = vec![1.0 / sizes.len() as f64; sizes.len()];
            let mut grants = Grants::new(lists, &weights);
            let mut finished = std::collections::BTreeSet::new();
            let mut work = |grants: &mut Grants, host: usize| {
                while let Some(grant) = grants.next(host) {
                    assert!(!finished.contains(&grant.chunk.id), "it was granted again after it was finished");
                }
                let Some(chunk) = grants.hosts[host].granted.front().copied() else { return false };
                let before = grants.left();
                for other in grants.finished(chunk.id, host) {
                    assert!(other != host && grants.hosts[other].granted.iter().all(|c| c.id != chunk.id));
                }
                assert_eq!(grants.left(), before - chunk.count);
                finished.insert(chunk.id)
            };
            for (host, what, pictures) in events {
                let host = host % sizes.len();
                match what {
                    0 if host > 0 => grants.lost(host),
                    1 if host > 0 => grants.died(host, None),
                    2 => grants.joined(host),
                    3 => grants.measured(host, pictures as f64, pictures),
                    _ => { work(&mut grants, host); }
                }
                let unstarted: u64 = grants.hosts.iter().flat_map(|h| &h.list).map(|c| c.count).sum();
                let granted: std::collections::BTreeSet<u64> =
                    grants.hosts.iter().flat_map(|h| &h.granted).map(|c| c.id).collect();
                prop_assert_eq!(grants.unstarted, unstarted);
                prop_assert_eq!(grants.left(), unstarted + 10 * granted.len() as u64);
            }
            for host in 1..sizes.len() { grants.lost(host) }
            while work(&mut grants, 0) {}
            prop_assert_eq!((grants.left(), grants.unstarted), (0, 0));
            prop_assert_eq!(finished.len() as u64, next);
        }
    }
}
