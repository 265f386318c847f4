//! Feeds `image_path` with what libFuzzer finds interesting.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| parsers::run("image_path", data));
