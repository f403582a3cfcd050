//! Who owns an index, as it stands in the lock's file, and which machine that is. Two machines may have one name.

use std::fs::File;
use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState};
use std::io;
use std::net::UdpSocket;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, test_kill_process};
use serde::{Deserialize, Serialize};

/// No owner's name takes so many bytes.
const LONGEST: usize = 1 << 16;

/// Who holds an index, as it stands in `P/lock`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The program.
    pub program: String,
    /// Its host.
    pub host: String,
    /// Its process there.
    pub pid: u32,
    /// Its last sign of life, seconds since 1970.
    pub heartbeat_unix_s: u64,
    /// Tells this owner from every other, also of the same name and process; empty in files of older programs.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// Tells its machine from others of the same name; empty in files of older programs.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub machine: String,
}

impl Owner {
    /// This process.
    pub(crate) fn here(program: &str, host: &str) -> Self {
        Self {
            program: program.into(),
            host: host.into(),
            pid: std::process::id(),
            heartbeat_unix_s: now_s(),
            id: random(),
            machine: machine(host),
        }
    }

    /// One of whom nothing is known but that there is one.
    pub(crate) fn unknown() -> Self {
        let (program, host) = ("another program".into(), "this host".into());
        Self { program, host, pid: 0, heartbeat_unix_s: 0, id: String::new(), machine: String::new() }
    }

    /// Who stands in a lock's file; what is damaged names nobody.
    pub(crate) fn read(file: &File) -> io::Result<Option<Self>> {
        let mut text = vec![0; LONGEST];
        let mut length = 0;
        loop {
            match file.read_at(&mut text[length..], length as u64)? {
                0 => return Ok(serde_json::from_slice(&text[..length]).ok()),
                more => length += more,
            }
        }
    }

    /// Whether the other is this very owner, at whatever time.
    pub fn is(&self, other: &Self) -> bool {
        let of = |owner: &Self| (owner.program.clone(), owner.host.clone(), owner.pid, owner.id.clone());
        of(self) == of(other)
    }

    /// Whether its process was started on the same machine, as far as is known.
    pub(crate) fn is_near(&self, other: &Self) -> bool {
        let known = !self.machine.is_empty() && !other.machine.is_empty();
        self.host == other.host && (!known || self.machine == other.machine)
    }

    /// Whether there is a process of its number on this machine.
    pub(crate) fn may_run_here(&self) -> bool {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        pid.is_some_and(|pid| test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
    }
}

pub(crate) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}

fn random() -> String {
    // Each RandomState has its own random keys.
    format!("{:016x}", RandomState::new().build_hasher().finish())
}

/// What tells a machine from others of its name, clones too: its id where the system gives it one, its disk, and the
/// address from which it would speak to the network; nothing is sent. Where it moved to another network meanwhile, its
/// dead owners are waited for as those of any other machine.
fn machine(host: &str) -> String {
    let id = std::fs::read("/etc/machine-id").unwrap_or_default();
    let disk = std::fs::metadata("/").map(|root| (root.dev(), root.ino())).ok();
    // Addresses that belong to nobody.
    let far = [("0.0.0.0:0", "192.0.2.1:9"), ("[::]:0", "[2001:db8::1]:9")];
    let address = far.map(|(any, far)| {
        let socket = UdpSocket::bind(any).ok()?;
        socket.connect(far).ok()?;
        socket.local_addr().ok().map(|address| address.ip())
    });
    // Of the standard library's release, too: of another one the machine is taken for another, which costs a minute.
    let mut hash = DefaultHasher::new();
    (host, id, disk, address).hash(&mut hash);
    format!("{:016x}", hash.finish())
}
