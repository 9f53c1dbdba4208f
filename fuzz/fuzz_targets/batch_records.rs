//! Feeds arbitrary bytes to the entry `batch_records` (`src/entries.rs`).
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kataract_fuzz::entries::batch_records(data));
