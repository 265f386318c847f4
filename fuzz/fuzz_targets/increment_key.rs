//! Feeds `increment_key` with what libFuzzer finds interesting.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| parsers::run("increment_key", data));
