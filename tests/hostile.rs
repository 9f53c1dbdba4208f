//! Every byte from a socket is hostile: a real node meets requests that nobody would send by mistake.
//!
//! `storm` sends mutated requests of every served API and version over several connections while a witness works on
//! another one; the other files hold one named case each test. Everywhere the same is asked: the process lives, its
//! memory stays within [`CEILING`] of what it was before, the others are served, and what the protocol can answer is
//! answered. Seeds and counts: `KATARACT_HOSTILE_SEED`, `KATARACT_HOSTILE_REQUESTS`.
#![allow(clippy::disallowed_methods, reason = "starts processes and speaks over sockets")]

#[path = "hostile/client.rs"]
mod client;
#[path = "hostile/configs.rs"]
mod configs;
#[path = "hostile/connections.rs"]
mod connections;
#[path = "hostile/corpus.rs"]
mod corpus;
#[path = "hostile/decoders.rs"]
mod decoders;
#[path = "hostile/fetches.rs"]
mod fetches;
#[path = "hostile/groups.rs"]
mod groups;
#[path = "hostile/mutate.rs"]
mod mutate;
#[path = "hostile/node.rs"]
mod node;
#[path = "hostile/overload.rs"]
mod overload;
#[path = "hostile/requests.rs"]
mod requests;
#[path = "hostile/start.rs"]
mod start;
#[path = "hostile/storm.rs"]
mod storm;
#[path = "hostile/witness.rs"]
mod witness;

#[path = "../fuzz/src/entries.rs"]
mod entries;
#[allow(dead_code, reason = "other tests use the rest of it")]
#[path = "../src/wire/guard/samples.rs"]
mod samples;

// `samples` is shared with the unit tests of the guard, which call it `super::wire`.
use kataract::wire;

/// How far the resident memory of a node may rise above what it was when idle, bytes.
const CEILING: u64 = 64 << 20;
