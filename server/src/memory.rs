//! What this process occupies.

use protocol::stats::Memory;

/// What the system says of this process; `None` where it does not, as on a Mac.
pub fn now() -> Option<Memory> {
    of(&std::fs::read_to_string("/proc/self/status").ok()?)
}

fn of(status: &str) -> Option<Memory> {
    let kib = |name: &str| -> Option<u64> {
        let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        value.split_whitespace().next()?.parse().ok()
    };
    Some(Memory { anonymous_bytes: 1024 * kib("RssAnon")?, mapped_bytes: 1024 * kib("RssFile")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_what_the_kernel_says() {
        let said = "Name:\tserver\nVmRSS:\t  30 kB\nRssAnon:\t  10 kB\nRssFile:\t  20 kB\n";
        assert_eq!(of(said), Some(Memory { anonymous_bytes: 10_240, mapped_bytes: 20_480 }));
        assert_eq!(of("Name:\tserver\n"), None);
        assert_eq!(now().is_some(), cfg!(target_os = "linux"));
    }
}
