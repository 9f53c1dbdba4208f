//! Feeds arbitrary bytes to the entry `cold_request` (`src/entries.rs`).
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kataract_fuzz::entries::cold_request(data));
