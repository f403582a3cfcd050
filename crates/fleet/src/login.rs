//! Logging in without being a crowd: sshd turns away at random when many are logging in at once (MaxStartups; it begins
//! with the tenth). So few log in at one address at a time, and who is turned away tries again, then alone.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::HostErrorKind;

/// So many log in at one address at a time.
const AT_ONCE: u32 = 4;

/// Who is turned away tries so often in all.
const TRIES: u32 = 3;

/// Before the second try; before the third it is twice as long. As much again comes by chance.
const PAUSE: Duration = Duration::from_millis(400);

/// A log-in that takes longer no longer holds up the others: a machine behind a jump host may be switched off.
const HOLDS: Duration = Duration::from_secs(5);

/// The doors, by address.
static DOORS: LazyLock<Mutex<HashMap<String, Arc<Semaphore>>>> = LazyLock::new(Mutex::default);

/// Why a connection did not come about.
#[derive(Debug)]
pub(crate) struct Failed {
    pub kind: HostErrorKind,
    /// What ssh or the system said.
    pub said: String,
}

impl Failed {
    pub fn other(said: String) -> Self {
        Self { kind: HostErrorKind::Other, said }
    }
}

/// Has `log_in` done when it is its turn at this address, and again if it is turned away.
pub(crate) async fn patiently<T, F>(address: &str, log_in: impl Fn() -> F) -> Result<T, Failed>
where
    F: Future<Output = Result<T, Failed>>,
{
    let door = door(address);
    for tried in 1..TRIES {
        match in_turn(&door, if tried == 1 { 1 } else { AT_ONCE }, log_in()).await {
            Err(failed) if failed.kind == HostErrorKind::TurnedAway => sleep(pause(tried)).await,
            done => return done,
        }
    }
    in_turn(&door, AT_ONCE, log_in()).await
}

async fn in_turn<T>(door: &Semaphore, room: u32, log_in: impl Future<Output = T>) -> T {
    // The semaphore is never closed.
    let turn = door.acquire_many(room).await;
    let mut log_in = std::pin::pin!(log_in);
    match timeout(HOLDS, &mut log_in).await {
        Ok(done) => done,
        Err(_) => {
            drop(turn);
            log_in.await
        }
    }
}

fn door(address: &str) -> Arc<Semaphore> {
    let new = || Arc::new(Semaphore::new(AT_ONCE as usize));
    let Ok(mut doors) = DOORS.lock() else { return new() };
    Arc::clone(doors.entry(address.to_owned()).or_insert_with(new))
}

fn pause(tried: u32) -> Duration {
    let chance = RandomState::new().build_hasher().finish() as f64 / u64::MAX as f64;
    PAUSE.mul_f64(f64::from(tried) * (1.0 + chance))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_is_turned_away_tries_three_times_and_anything_else_is_told_at_once() {
        for (kind, expected) in [(HostErrorKind::TurnedAway, 3), (HostErrorKind::Refused, 1)] {
            let tries = std::cell::Cell::new(0);
            let log_in = || {
                tries.set(tries.get() + 1);
                std::future::ready(Err::<(), _>(Failed { kind, said: String::new() }))
            };
            assert_eq!(patiently("no-such-machine.invalid:22", log_in).await.unwrap_err().kind, kind);
            assert_eq!(tries.get(), expected);
        }
    }
}
