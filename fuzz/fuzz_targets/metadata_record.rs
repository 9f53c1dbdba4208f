//! Feeds arbitrary bytes to the entry `metadata_record` (`src/entries.rs`).
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kataract_fuzz::entries::metadata_record(data));
