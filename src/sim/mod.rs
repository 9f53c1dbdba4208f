//! Floor 8: the simulated driver. Real engines in a made-up world, in one thread, from one seed.
//!
//! | file | what it makes up |
//! | --- | --- |
//! | `world.rs` | time, turns, mailboxes: carries out the effects of any machine |
//! | `disk/` | files and names, what a power cut leaves of them, errors, a full disk |
//! | `net.rs` | connections: cut, delayed, slow, reset |
//! | `node.rs` | the lives of a node |
//! | `client/` | clients that speak Kafka's protocol, and the checker that reads everything |
//! | `model.rs` | what was acknowledged or seen |
//! | `swarm.rs` | what a seed turns on |
//! | `run.rs`, `outcome.rs` | one run from beginning to end, what it is asked and what comes of it |
//! | `mutation.rs`, `faults.rs` | mistakes that must be caught, damage that must be noticed |
//!
//! Same seed, same build: same trace hash.

pub mod client;
pub mod disk;
pub mod faults;
pub mod model;
pub mod mutation;
pub mod net;
pub mod node;
pub mod outcome;
pub mod run;
pub mod swarm;
pub mod trace;
pub mod world;

#[cfg(test)]
mod tests_contract;
