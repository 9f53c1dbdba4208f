//! Our bytes against bytes made by Apache Kafka 4.2 (`tests/golden/README.md`): decode, encode again, compare.
#![allow(clippy::disallowed_methods, reason = "reads stored samples")]

#[path = "golden/batch.rs"]
mod batch;
#[path = "golden/coord.rs"]
mod coord;
#[path = "golden/log.rs"]
mod log;
#[path = "golden/meta.rs"]
mod meta;
#[path = "golden/wire.rs"]
mod wire;

use std::fs;
use std::path::PathBuf;

/// The folder of the samples.
fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// A stored file, whole.
fn sample(path: &str) -> Vec<u8> {
    fs::read(folder().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Fails with the first difference instead of two walls of numbers.
fn same(what: &str, ours: &[u8], kafka: &[u8]) {
    let at = ours.iter().zip(kafka).position(|(a, b)| a != b).unwrap_or(ours.len().min(kafka.len()));
    let near = |bytes: &[u8]| bytes[at.saturating_sub(8).min(bytes.len())..bytes.len().min(at + 24)].to_vec();
    assert!(
        ours == kafka,
        "{what}: {} bytes of ours, {} of Kafka's, different at {at}:\n ours  {:02x?}\n kafka {:02x?}",
        ours.len(),
        kafka.len(),
        near(ours),
        near(kafka)
    );
}
