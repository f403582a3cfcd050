//! See [`fuzz::metas`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::metas(data));
