//! When a run over a folder would be through. Pure, but for the clock of whoever asks.

use protocol::setup::Pictures;
use protocol::{IndexMeta, RunRecord};
use serde::Serialize;

/// What is to be embedded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ToDo {
    /// Pictures.
    pub images: u64,
    /// There are more, but nobody has counted them.
    pub at_least: bool,
    /// How that is known.
    pub basis: String,
}

/// What it comes to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Forecast {
    /// Pictures a second that the machines embed together.
    pub images_per_second: f64,
    /// Bytes a second that the share gave all of them at once; absent if its speed or the pictures' size is not known.
    pub share_bytes_per_second: Option<f64>,
    /// The same in pictures a second.
    pub share_images_per_second: Option<f64>,
    /// How long embedding takes.
    pub seconds: f64,
}

impl Forecast {
    /// Whether the share holds the machines up.
    pub fn limited_by_share(&self) -> bool {
        self.share_images_per_second.is_some_and(|share| share < self.images_per_second)
    }
}

/// What is left to do: by the newest run if it is not merged, less the pictures that it is known to have `embedded`; else
/// what was counted and is not in the index. `fresh` takes nothing as done. None if nobody knows.
pub fn to_do(
    run: Option<&RunRecord>,
    embedded: u64,
    index: Option<&IndexMeta>,
    counted: Option<Pictures>,
    fresh: bool,
) -> Option<ToDo> {
    if let Some(run) = run.filter(|run| run.proof.is_none() && !fresh) {
        let done = match embedded {
            0 => "what it may have finished is not counted off".to_owned(),
            n => format!("without the {n} that it embedded"),
        };
        let basis = format!("as run {} found them, {done}", run.run_id);
        return Some(ToDo { images: run.summary.new.saturating_sub(embedded), at_least: false, basis });
    }
    let standing = index.filter(|_| !fresh).map_or(0, |index| index.num_images);
    let known = run.map_or(0, |run| run.summary.scanned);
    let counted = counted?;
    let (total, how) = match (counted.complete, known > counted.count) {
        (true, _) => (counted.count, "counted now".to_owned()),
        (false, true) => (known, format!("by run {}", run.map_or("", |run| &run.run_id))),
        (false, false) => (counted.count, "as far as they could be counted in two seconds".to_owned()),
    };
    let basis = if standing > 0 { format!("{how}, without the {standing} in the index") } else { how };
    Some(ToDo { images: total.saturating_sub(standing), at_least: !counted.complete, basis })
}

/// How long so many pictures take machines with these rates, from a share that gives all of them together so many bytes a
/// second. None if no machine can do anything.
pub fn forecast(images: u64, rates: &[f64], share_bytes_per_second: f64, mean_bytes: f64) -> Option<Forecast> {
    let images_per_second: f64 = rates.iter().sum();
    let share_bytes_per_second = Some(share_bytes_per_second).filter(|share| *share > 0.0 && mean_bytes > 0.0);
    let share_images_per_second = share_bytes_per_second.map(|share| share / mean_bytes);
    let rate = share_images_per_second.map_or(images_per_second, |share| share.min(images_per_second));
    let seconds = images as f64 / rate;
    (rate > 0.0).then_some(Forecast { images_per_second, share_bytes_per_second, share_images_per_second, seconds })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn run(new: u64, ended: bool) -> RunRecord {
        let summary = json!({"scanned": 100, "new": new, "standing": 100 - new, "failed": 0, "gone": 0, "changed": 0,
            "unreadable_folders": 0});
        let proof = json!({"scanned": 100, "embedded": new, "failed": 0, "skipped": 100 - new});
        let mut record = json!({"format_version": 2, "run_id": "r1", "root": "/nas", "started": "", "host": "", "model": "demo",
            "fingerprint": "f", "full_scan": true, "summary": summary});
        if ended {
            record["proof"] = proof;
        }
        serde_json::from_value(record).unwrap()
    }

    fn index(num_images: u64) -> IndexMeta {
        serde_json::from_value(json!({"format_version": 2, "software_version": "", "generation": 1, "created": "",
            "run_id": "r1", "root": "/nas", "model_name": "demo", "fingerprint": "f", "embedding_dim": 1,
            "precision": "fp32", "provider": "cpu", "num_images": num_images, "num_failed": 0, "num_workers": 1,
            "processing_time_seconds": 0.0, "worker_metadata": [], "segments": []}))
        .unwrap()
    }

    fn counted(count: u64, complete: bool) -> Option<Pictures> {
        Some(Pictures { count, bytes: 10 * count, complete })
    }

    #[test]
    fn what_is_to_do_is_what_the_last_run_left_or_what_is_not_in_the_index() {
        let left = |run: Option<RunRecord>, embedded, standing: Option<u64>, counted, fresh| {
            let index = standing.map(index);
            to_do(run.as_ref(), embedded, index.as_ref(), counted, fresh).map(|to_do| (to_do.images, to_do.at_least))
        };
        assert_eq!(left(Some(run(40, false)), 0, None, counted(7, true), false), Some((40, false)));
        assert_eq!(left(Some(run(40, false)), 30, None, counted(7, true), false), Some((10, false)));
        assert_eq!(left(Some(run(40, true)), 40, Some(100), counted(130, true), false), Some((30, false)));
        assert_eq!(left(Some(run(40, true)), 40, Some(90), counted(50, false), false), Some((10, true)));
        assert_eq!(left(Some(run(40, true)), 40, Some(90), counted(120, false), false), Some((30, true)));
        assert_eq!(left(None, 0, Some(100), counted(20, true), false), Some((0, false)));
        assert_eq!(left(Some(run(40, false)), 30, Some(60), counted(120, true), true), Some((120, false)));
        assert_eq!(left(None, 0, None, None, false), None);
        let basis = |run: &RunRecord, embedded| {
            to_do(Some(run), embedded, Some(&index(90)), counted(50, false), false).unwrap().basis
        };
        assert_eq!(basis(&run(40, true), 40), "by run r1, without the 90 in the index");
        assert_eq!(basis(&run(40, false), 30), "as run r1 found them, without the 30 that it embedded");
    }

    #[test]
    fn a_share_that_is_slower_than_the_machines_decides() {
        let free = forecast(1000, &[40.0, 60.0], 2e9, 1e6).unwrap();
        assert!(!free.limited_by_share() && free.seconds == 10.0);
        let held = forecast(1000, &[40.0, 60.0], 50e6, 1e6).unwrap();
        assert!(held.limited_by_share() && held.seconds == 20.0);
        assert_eq!(forecast(1000, &[100.0], 0.0, 1e6).unwrap().share_images_per_second, None);
        assert_eq!(forecast(1000, &[], 1e6, 1e6), None);
        assert_eq!(forecast(0, &[1.0], 0.0, 0.0).unwrap().seconds, 0.0);
    }

    proptest! {
        #[test]
        fn one_machine_more_never_takes_longer(
            images in 0u64..1_000_000, rates in prop::collection::vec(0.1f64..1000.0, 1..20), share in 0.0f64..1e9,
        ) {
            let fewer = forecast(images, &rates, share, 1e5).unwrap();
            let more = forecast(images, &[&rates[..], &[1.0]].concat(), share, 1e5).unwrap();
            prop_assert!(more.seconds <= fewer.seconds && fewer.seconds.is_finite());
        }
    }
}
