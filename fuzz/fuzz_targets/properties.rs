//! Feeds arbitrary bytes to the entry `properties` (`src/entries.rs`).
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kataract_fuzz::entries::properties(data));
