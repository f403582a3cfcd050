//! What this host is like.

use std::env;
use std::fs;
use std::path::PathBuf;

use protocol::HostFacts;

/// This host as a process may use it.
pub fn host() -> HostFacts {
    HostFacts {
        hostname: gethostname::gethostname().to_string_lossy().into_owned(),
        cpus: std::thread::available_parallelism().map_or(1, |n| n.get() as u32),
        memory_bytes: memory_bytes().unwrap_or(0),
    }
}

/// The machine's memory, or its control group's limit where that is lower; `None` where neither can be read.
fn memory_bytes() -> Option<u64> {
    let info = fs::read_to_string("/proc/meminfo").ok()?;
    let total =
        info.lines().find_map(|l| l.strip_prefix("MemTotal:"))?.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024;
    let limits = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let limit = limits.iter().filter_map(|p| fs::read_to_string(p).ok()?.trim().parse::<u64>().ok()).min();
    Some(limit.map_or(total, |l| l.min(total)))
}

/// Folder for logs, lists and locks of a worker that was given none.
pub fn state_dir() -> PathBuf {
    let absolute = |v| Some(PathBuf::from(v)).filter(|p: &PathBuf| p.is_absolute());
    env::var_os("XDG_STATE_HOME")
        .and_then(absolute)
        .or_else(|| env::var_os("HOME").and_then(absolute).map(|home| home.join(".local/state")))
        .unwrap_or_else(env::temp_dir)
        .join("imagefleet")
}
