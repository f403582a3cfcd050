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

/// The highest level of x86-64 that this processor has; empty on others.
pub fn cpu_level() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags: Vec<&str> =
        info.lines().find_map(|l| l.strip_prefix("flags")).unwrap_or_default().split_whitespace().collect();
    let has = |needed: &[&str]| needed.iter().all(|n| flags.contains(n));
    let levels: [(&str, &[&str]); 3] = [
        ("x86-64-v4", &["avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", "avx2", "fma", "bmi2"]),
        ("x86-64-v3", &["avx2", "bmi1", "bmi2", "f16c", "fma", "movbe"]),
        ("x86-64-v2", &["cx16", "popcnt", "sse4_1", "sse4_2", "ssse3"]),
    ];
    levels.iter().find(|(_, needed)| has(needed)).map_or("", |(level, _)| level).into()
}
