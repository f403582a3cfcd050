//! Large pages for pictures: with pages of 4 KiB a tenth of the time of large photos goes for having the system clear and
//! map them, one after the other.

use std::env;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// The C library's setting for the heap, which glibc knows since 2.35. It is read before a program begins.
const SETTING: &str = "glibc.malloc.hugetlb";

/// Starts this program once more in its own place, with the C library told to ask for large pages; not if somebody has told
/// it anything about them. Where that cannot be, the program goes on as it is, a little slower.
pub fn ask_for_large_ones() {
    let told = env::var("GLIBC_TUNABLES").unwrap_or_default();
    let Ok(program) = env::current_exe() else { return };
    if !cfg!(all(target_os = "linux", target_env = "gnu")) || told.contains(SETTING) {
        return;
    }
    let settings = [&told, ":", SETTING, "=1"].concat();
    let mut again = Command::new(program);
    let mut words = env::args_os();
    words.next().map(|name| again.arg0(name));
    again.args(words).env("GLIBC_TUNABLES", settings.trim_start_matches(':'));
    drop(again.exec());
}
