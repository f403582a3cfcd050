//! A test in a process of its own, whose memory and processor time are limited.

use std::any::type_name;
use std::path::PathBuf;
use std::process::Command;

/// Address space that the process may have. Threads and libraries reserve much of it without using it.
const MEMORY_MIB: u64 = 3 << 10;

/// Processor time that it may take in all. A test takes a tenth of it, so that an input which hangs is seen on a slow
/// machine too, and a busy one hurts nothing.
const SECONDS: u64 = 120;

/// Set in that process.
const INSIDE: &str = "IMAGEFLEET_CONTAINED";

/// Runs `body` of the test function `test` in a process of its own, which ends if it takes too much memory or too much
/// processor time: an input that asks for gigabytes, or for ever, fails the test as one that panics does.
///
/// # Panics
/// If the process ends in any other way than by passing the test.
pub fn contained<T: Fn()>(test: T, body: impl FnOnce()) {
    let _ = test;
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    let name = type_name::<T>().split_once("::").map_or(type_name::<T>(), |(_, name)| name);
    let program = std::env::current_exe().expect("a test has a program");
    // macOS knows no limit of the address space.
    // Where there are files in memory, syncing them is quick.
    let folder = [PathBuf::from("/dev/shm"), std::env::temp_dir()].into_iter().find(|f| f.is_dir()).unwrap_or_default();
    let limits = "ulimit -v \"$1\" 2>/dev/null || :; ulimit -t \"$2\" && shift 2 && exec \"$@\"";
    let output = Command::new("sh")
        .args(["-c", limits, "sh", &(MEMORY_MIB << 10).to_string(), &SECONDS.to_string()])
        .arg(program)
        .args([name, "--exact", "--nocapture"])
        .env("TMPDIR", folder)
        .envs([(INSIDE, "1"), ("RUST_BACKTRACE", "0")])
        // Threads by the dozen would reserve more than the limit on a large machine.
        .envs(
            ["POLARS_MAX_THREADS", "RAYON_NUM_THREADS", "OMP_NUM_THREADS", "MALLOC_ARENA_MAX"].map(|name| (name, "2")),
        )
        .output()
        .expect("sh starts");
    let (said, told) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    // Panics that are caught are told too; the one that ends a test comes last.
    let told = last(&told, 4_000);
    assert!(
        output.status.success() && said.contains("test result: ok. 1 passed"),
        "{name}, with {MEMORY_MIB} MiB and {SECONDS} s of processor time: {}\n{}{}",
        output.status,
        last(&said, 1_000),
        told
    );
}

/// The end of a text, about so many bytes.
fn last(text: &str, bytes: usize) -> &str {
    &text[text.ceil_char_boundary(text.len().saturating_sub(bytes))..]
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;

    #[test]
    fn an_input_that_passes() {
        contained(an_input_that_passes, || {});
    }

    fn fails(test: impl Fn() + std::panic::UnwindSafe) {
        if std::env::var_os(INSIDE).is_some() { test() } else { assert!(catch_unwind(test).is_err()) }
    }

    #[test]
    fn an_input_that_panics() {
        fails(|| contained(an_input_that_panics, || panic!("as a decoder might")));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_input_that_asks_for_gigabytes() {
        let body = || assert!(std::hint::black_box(vec![1u8; 4 << 30]).ends_with(&[1]));
        fails(move || contained(an_input_that_asks_for_gigabytes, body));
    }
}
