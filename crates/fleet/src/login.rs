//! Logging in without being a crowd: sshd turns away at random when many are logging in at once (MaxStartups; it begins
//! with the tenth). So few log in at one address at a time, and who is turned away tries again, then alone.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use protocol::folders::expand_home;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::{HostErrorKind, HostSpec};

/// So many log in at one address at a time.
const AT_ONCE: u32 = 4;

/// Who is turned away tries so often in all.
const TRIES: u32 = 3;

/// Before the second try; before the third it is twice as long. As much again comes by chance.
const PAUSE: Duration = Duration::from_millis(400);

/// A log-in that takes longer no longer holds up the others: a machine behind a jump host may be switched off.
const HOLDS: Duration = Duration::from_secs(5);

/// ssh reads its configuration within this.
const READING: Duration = Duration::from_secs(5);

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

/// Has `log_in` done when it is its turn at this machine's address, and again if it is turned away.
pub(crate) async fn patiently<F>(spec: &HostSpec, log_in: impl Fn() -> F) -> Result<(), Failed>
where
    F: Future<Output = Result<(), Failed>>,
{
    let door = door(&address(spec).await);
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

/// Where ssh knocks first: at the jump host if there is one, else at the machine itself. What ssh cannot tell is taken by
/// its name.
async fn address(spec: &HostSpec) -> String {
    let mut ssh = Command::new("ssh");
    ssh.arg("-G");
    name(&mut ssh, spec);
    ssh.stdin(Stdio::null()).stderr(Stdio::null()).process_group(0);
    let mut ssh = tokio::process::Command::from(ssh);
    match timeout(READING, ssh.kill_on_drop(true).output()).await {
        Ok(Ok(output)) if output.status.success() => first_door(&String::from_utf8_lossy(&output.stdout), &spec.name),
        _ => spec.name.clone(),
    }
}

/// The first address of what `ssh -G` tells.
fn first_door(told: &str, name: &str) -> String {
    let value = |key: &str| {
        let line = told.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))?;
        Some(line.trim()).filter(|value| !value.is_empty() && *value != "none")
    };
    let jump = value("proxyjump").and_then(|hosts| hosts.split(',').next());
    if let Some(door) = jump.or_else(|| value("proxycommand")) {
        return door.to_owned();
    }
    format!("{}:{}", value("hostname").unwrap_or(name), value("port").unwrap_or("22"))
}

/// Tells ssh who is meant, as the hosts file says.
pub(crate) fn name(ssh: &mut Command, spec: &HostSpec) {
    if let Some(user) = &spec.user {
        ssh.args(["-l", user]);
    }
    if let Some(port) = spec.port {
        ssh.args(["-p", &port.to_string()]);
    }
    if let Some(file) = &spec.identity_file {
        // This key and no other.
        ssh.args(["-o", "IdentitiesOnly=yes", "-i"]).arg(expand_home(file));
    }
    if let Some(file) = &spec.ssh_config {
        ssh.arg("-F").arg(expand_home(file));
    }
    ssh.args(["--", &spec.name]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_door_is_the_jump_host_if_there_is_one() {
        let told = "user joe\nhostname 10.0.0.7\nport 2222\nproxyjump none\n";
        assert_eq!(first_door(told, "a"), "10.0.0.7:2222");
        assert_eq!(first_door("hostname b\nproxyjump gate:2200,inner\n", "b"), "gate:2200");
        assert_eq!(first_door("hostname b\nproxycommand nc -X 5 %h %p\n", "b"), "nc -X 5 %h %p");
        assert_eq!(first_door("", "b"), "b:22");
    }

    #[tokio::test]
    async fn who_is_turned_away_tries_three_times_and_anything_else_is_told_at_once() {
        let spec = HostSpec::bare("no-such-machine.invalid");
        for (kind, expected) in [(HostErrorKind::TurnedAway, 3), (HostErrorKind::Refused, 1)] {
            let tries = std::cell::Cell::new(0);
            let log_in = || {
                tries.set(tries.get() + 1);
                std::future::ready(Err(Failed { kind, said: String::new() }))
            };
            assert_eq!(patiently(&spec, log_in).await.unwrap_err().kind, kind);
            assert_eq!(tries.get(), expected);
        }
    }
}
