//! Feeds arbitrary bytes to the entry `producer_snapshot` (`src/entries.rs`).
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kataract_fuzz::entries::producer_snapshot(data));
