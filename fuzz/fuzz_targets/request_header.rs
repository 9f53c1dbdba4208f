//! Feeds arbitrary bytes to the entry `request_header` (`src/entries.rs`).
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kataract_fuzz::entries::request_header(data));
