//! Feeds arbitrary bytes to the entry `fetch_request` (`src/entries.rs`).
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kataract_fuzz::entries::fetch_request(data));
