//! Feeds `forwarded_for` with what libFuzzer finds interesting.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| parsers::run("forwarded_for", data));
