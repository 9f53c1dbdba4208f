//! Feeds arbitrary bytes to the entry `frames` (`src/entries.rs`).
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kataract_fuzz::entries::frames(data));
