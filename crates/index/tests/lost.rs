//! A merge whose index another takes meanwhile changes nothing that is the other's.

mod common;

use std::cell::Cell;
use std::fs;

use common::*;
use disk::{Lost, RunLock};
use index::{IndexError, MergeRequest, Sources, merge_while, read_meta};

const DIM: usize = 4;

fn lost(place: &Place) -> Lost {
    let lock = place.prefix.merge_lock();
    let _other = RunLock::take(&lock, "merger", "elsewhere").unwrap();
    Lost::To { owner: Box::new(RunLock::owner(&lock).unwrap().unwrap()), path: lock }
}

#[test]
fn a_merge_that_loses_the_index_switches_nothing_and_removes_nothing_of_the_other() {
    // Asked before its folder gets its name, right before the switch, and before what comes after it.
    for asked in 0..3 {
        let place = built(&[row("a.jpg", 1, DIM)], DIM);
        let before = fs::read(place.prefix.meta()).unwrap();
        let part = place.part("new", &[row("b.jpg", 1, DIM)], DIM);
        let theirs = place.prefix.generation(2).join("theirs");
        let times = Cell::new(0);
        let ours = || {
            times.set(times.get() + 1);
            if times.get() <= asked {
                return Ok(());
            }
            // The other has merged meanwhile, into a generation of the same number.
            fs::create_dir_all(place.prefix.generation(2)).unwrap();
            fs::write(&theirs, "").unwrap();
            Err(lost(&place))
        };
        let request = MergeRequest {
            prefix: &place.prefix,
            run: None,
            sources: Sources::Parts(vec![part]),
            fresh: false,
            wait_s: 0.0,
            progress: &mut |_| Ok(()),
        };
        let error = merge_while(&ours, request).unwrap_err();
        let switched = asked == 2;
        match error {
            IndexError::AfterSwitch { ref source, .. } if switched => {
                assert!(source.to_string().contains("elsewhere"), "{source}");
            }
            IndexError::Lost(ref lost) if !switched => assert!(lost.to_string().contains("elsewhere"), "{lost}"),
            other => panic!("{asked}: {other}"),
        }
        let now = read_meta(&place.prefix).unwrap().unwrap();
        assert_eq!(now.generation, if switched { 2 } else { 1 }, "{asked}");
        assert!(switched || fs::read(place.prefix.meta()).unwrap() == before);
        assert!(theirs.exists(), "{asked}: a generation of the other is gone");
        assert!(place.prefix.part("new").exists(), "{asked}: what was not taken in for sure stays");
    }
}
