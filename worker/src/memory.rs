//! How much memory this process may take, and how much it takes now. On Linux; elsewhere nobody knows.

use std::fs;
use std::path::Path;

/// The share of what there is that a worker takes if it is not told how much: others need some, and the kernel some to
/// keep files in.
const SHARE: f64 = 0.6;

/// Bytes that this process may take: `ram_gb` if given, else [`SHARE`] of what there is; none where that is unknown.
pub fn limit(ram_gb: Option<f64>) -> Option<u64> {
    let available = available();
    match ram_gb {
        Some(gb) => Some((gb * 1e9) as u64).into_iter().chain(available).min(),
        None => available.map(|most| (most as f64 * SHARE) as u64),
    }
}

/// The machine's memory in bytes, or the limit of a control group that this process is in where that is lower.
pub fn available() -> Option<u64> {
    let machine = machine()?;
    Some(group().map_or(machine, |limit| limit.min(machine)))
}

/// The machine's memory in bytes.
pub fn machine() -> Option<u64> {
    field("/proc/meminfo", "MemTotal:")
}

/// The limit of the control group that this process is in; a group without one may tell more than the machine has.
pub fn group() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    group_limit(Path::new("/sys/fs/cgroup"), &groups)
}

/// The lowest limit of the groups in `own`, which is as /proc/self/cgroup, and of those above them. A container often
/// sees its own group as the root of all, under whatever name it has outside.
fn group_limit(mounted: &Path, own: &str) -> Option<u64> {
    let mut limits = Vec::new();
    for line in own.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (fields.next(), fields.next()) else { continue };
        let (hierarchies, files): (&[&str], &[&str]) = match controllers {
            // Version 2, beside which version 1 may be mounted too.
            "" => (&["", "unified"], &["memory.max", "memory.high"]),
            _ if controllers.split(',').any(|c| c == "memory") => (&["memory"], &["memory.limit_in_bytes"]),
            _ => continue,
        };
        let group = Path::new(group.trim_start_matches('/'));
        for folder in hierarchies.iter().flat_map(|h| group.ancestors().map(move |group| mounted.join(h).join(group))) {
            let limit = |file| fs::read_to_string(folder.join(file)).ok()?.trim().parse::<u64>().ok();
            limits.extend(files.iter().filter_map(limit));
        }
    }
    limits.into_iter().min()
}

/// Bytes of this process in memory now.
pub fn resident() -> Option<u64> {
    field("/proc/self/status", "VmRSS:")
}

fn field(file: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(name))?.trim().strip_suffix(" kB")?;
    Some(value.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_limit_on_the_way_up_counts_in_both_versions() {
        let dir = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let limit = |own: &str| group_limit(dir.path(), own);
        write("memory/memory.limit_in_bytes", "9223372036854771712\n");
        write("memory/a/memory.limit_in_bytes", "500\n");
        write("memory/a/b/memory.limit_in_bytes", "700\n");
        assert_eq!(limit("5:cpu:/x\n4:cpuset,memory:/a/b\n0::/\n"), Some(500));
        assert_eq!(limit("4:memory:/"), Some(9_223_372_036_854_771_712));
        assert_eq!(limit("4:memory:/docker/0123"), Some(9_223_372_036_854_771_712), "seen from inside");
        assert_eq!(limit("5:cpu:/a\n"), None);
        write("user.slice/memory.max", "max\n");
        write("user.slice/memory.high", "300\n");
        write("user.slice/s:1/memory.max", "400\n");
        write("unified/z/memory.max", "20\n");
        assert_eq!(limit("0::/user.slice/s:1\n"), Some(300));
        assert_eq!(limit("0::/z\n"), Some(20));
        assert_eq!(limit("0::/elsewhere\n"), None);
    }
}
