//! Kataract: a broker that speaks Apache Kafka's protocol, one engine per core.
//!
//! The floors, lowest first; imports point down only (`tests/tidy.rs` checks it). The map is `src/README.md`.

pub mod base;
pub mod port;

pub mod batch;

pub mod log;
pub mod wire;

pub mod coord;
pub mod meta;
pub mod replica;

pub mod shard;

pub mod api;

pub mod engine;

pub mod rt;
#[cfg(feature = "sim")]
pub mod sim;

pub mod node;

pub mod cli;
