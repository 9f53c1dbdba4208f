//! Feeds arbitrary bytes to the entry `segment_scan` (`src/entries.rs`).
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kataract_fuzz::entries::segment_scan(data));
