//! Floor 8: the simulated driver. Real engines in a made-up world, in one thread, from one seed.

pub mod disk;
pub mod mutation;
pub mod net;
pub mod trace;
pub mod world;

#[cfg(test)]
mod tests_contract;
