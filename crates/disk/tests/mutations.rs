//! A thousand damaged locks: each is free or names its owner; none costs more memory or time than its length.

use std::fs;

use damage::{COPIES, Numbers, contained};
use disk::{Held, RunLock};

const GIB: u64 = 1 << 30;

#[test]
fn damaged_locks_are_free_or_name_their_owner() {
    contained(damaged_locks_are_free_or_name_their_owner, || {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("the-lock");
        drop(RunLock::take(&path, "controller", "mac").unwrap());
        let held = RunLock::take(&path, "controller", "mac").unwrap();
        let whole = fs::read(&path).unwrap();
        drop(held);
        let mut numbers = Numbers::new(4);
        let (mut taken, mut refused) = (0, 0);
        for _ in 0..COPIES {
            fs::write(&path, damage::json(&whole, &mut numbers)).unwrap();
            let seen = RunLock::last_owner(&path);
            match RunLock::take(&path, "merger", "duc17") {
                Ok(_) => taken += 1,
                Err(error @ Held::By { .. }) => {
                    refused += 1;
                    assert!(seen.is_some() && error.to_string().contains("the-lock"), "{error}");
                }
                Err(error) => panic!("{error}"),
            }
        }
        assert!(taken > 100 && refused > 100, "{taken} {refused}");
        fs::File::create(&path).unwrap().set_len(16 * GIB).unwrap();
        assert!(RunLock::last_owner(&path).is_none());
        drop(RunLock::take(&path, "merger", "duc17").unwrap());
    });
}
