//! See [`fuzz::part`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::part(data));
