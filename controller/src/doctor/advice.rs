//! What would make a machine faster, by its trial. What the trial took from the share is what it needed, not what the share
//! can give: that was measured apart.

use protocol::Limit;
use protocol::setup::{ShareSpeed, Trial};

/// A share that gives so many times what is taken of it does not hold anybody up.
const AMPLE: f64 = 1.5;

/// One sentence; empty if nothing can be said. `images` is how fast the share gave pictures when nothing else was done.
pub fn of(trial: &Trial, images: Option<ShareSpeed>) -> String {
    let stages = &trial.stages;
    let taken = stages.bytes_per_second();
    let given = images.map(|speed| speed.read_bytes_per_second);
    let waits = 100.0 * stages.wait_seconds / (stages.seconds - stages.idle_seconds).max(1e-9);
    match (stages.limit(), given) {
        (Some(Limit::Share), _) if !trial.own_pictures => format!(
            "the model waits {waits:.0} % of the time for small built-in pictures; --image-dir DIR tells how it is with yours"
        ),
        (Some(Limit::Share), Some(given)) if given > AMPLE * taken => format!(
            "the model waits {waits:.0} % of the time, but not for the share, which gives {:.0} MB/s and is asked for {:.0}: \
             fewer other programs or more processors help",
            given / 1e6,
            taken / 1e6
        ),
        _ => stages.advice(),
    }
}

#[cfg(test)]
mod tests {
    use protocol::Stages;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_share_that_gives_more_than_is_taken_is_not_blamed() {
        let stages = Stages {
            seconds: 10.0,
            wait_seconds: 7.0,
            bytes_read: 280_000_000,
            decode_threads: 2,
            ..Stages::default()
        };
        assert_eq!(stages.limit(), Some(Limit::Share));
        let trial = json!({"model_name": "m", "fingerprint": "f", "embedding_dim": 4, "precision": "fp32", "provider": "cpu",
            "threads": 2, "batch_size": 8, "load_seconds": 1.0, "images_per_second": 9.0, "own_pictures": true,
            "stages": stages});
        let mut trial: Trial = serde_json::from_value(trial).unwrap();
        let speed = |megabytes: f64| {
            Some(ShareSpeed { operation_ms: 1.0, read_bytes_per_second: megabytes * 1e6, write_bytes_per_second: None })
        };
        let ample = of(&trial, speed(748.0));
        assert!(ample.contains("748 MB/s and is asked for 28") && !ample.contains("the share gives 28"), "{ample}");
        assert!(of(&trial, speed(30.0)).starts_with("the share gives 28 MB/s: the model waits 70 %"));
        trial.own_pictures = false;
        assert!(of(&trial, None).contains("built-in pictures"));
    }
}
