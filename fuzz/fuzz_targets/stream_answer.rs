//! Feeds `stream_answer` with what libFuzzer finds interesting.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| parsers::run("stream_answer", data));
