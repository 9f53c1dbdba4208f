//! Floor 1: the vocabulary of I/O. Data types only: what a machine may ask a driver for, and what comes back.

pub mod disk;
pub mod net;
pub mod range;
pub mod turn;
