//! Feeds arbitrary bytes to the entry `meta_properties` (`src/entries.rs`).
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kataract_fuzz::entries::meta_properties(data));
