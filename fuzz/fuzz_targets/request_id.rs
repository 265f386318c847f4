//! Feeds `request_id` with what libFuzzer finds interesting.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| parsers::run("request_id", data));
