//! Feeds `if_none_match` with what libFuzzer finds interesting.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| parsers::run("if_none_match", data));
