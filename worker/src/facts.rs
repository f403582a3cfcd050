//! What this host is like.

use std::fs;

use protocol::HostFacts;

use crate::memory;

/// This host as a process may use it.
pub fn host() -> HostFacts {
    HostFacts {
        hostname: gethostname::gethostname().to_string_lossy().into_owned(),
        cpus: std::thread::available_parallelism().map_or(1, |n| n.get() as u32),
        memory_bytes: memory::available().unwrap_or(0),
    }
}

/// What tells this machine from others until it starts anew; empty where nothing does. A container has its own name.
pub fn machine() -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    if boot.is_empty() { String::new() } else { format!("{}-{}", host().hostname, boot.trim()) }
}

/// The user that this process runs as: its name, else its number.
pub fn user() -> String {
    let uid = rustix::process::geteuid().as_raw().to_string();
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let mut fields = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let own = fields.find(|fields| fields.get(2) == Some(&uid.as_str()));
    own.map_or_else(|| uid.clone(), |fields| fields[0].to_owned())
}

/// The highest level of x86-64 that this processor has; empty on others.
pub fn cpu_level() -> String {
    let flags = cpu_flags();
    let has = |needed: &[&str]| needed.iter().all(|n| flags.iter().any(|flag| flag == n));
    let levels: [(&str, &[&str]); 3] = [
        ("x86-64-v4", &["avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", "avx2", "fma", "bmi2"]),
        ("x86-64-v3", &["avx2", "bmi1", "bmi2", "f16c", "fma", "movbe"]),
        ("x86-64-v2", &["cx16", "popcnt", "sse4_1", "sse4_2", "ssse3"]),
    ];
    levels.iter().find(|(_, needed)| has(needed)).map_or("", |(level, _)| level).into()
}

/// What this processor calls itself; empty where nobody knows.
pub fn cpu_model() -> String {
    cpu_field("model name").trim_start_matches([' ', '\t', ':']).to_owned()
}

/// What this processor has of the instructions that decoding, models and searches gain from.
pub fn cpu_features() -> Vec<String> {
    const GAINED_FROM: [&str; 9] =
        ["avx", "f16c", "fma", "avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16"];
    let flags = cpu_flags();
    GAINED_FROM.into_iter().filter(|name| flags.iter().any(|flag| flag == name)).map(str::to_owned).collect()
}

fn cpu_flags() -> Vec<String> {
    cpu_field("flags").split_whitespace().map(str::to_owned).collect()
}

fn cpu_field(name: &str) -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    info.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned()
}
