//! Feeds arbitrary bytes to the entry `group_records` (`src/entries.rs`).
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kataract_fuzz::entries::group_records(data));
