//! Feeds arbitrary bytes to the entry `client_batch` (`src/entries.rs`).
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kataract_fuzz::entries::client_batch(data));
