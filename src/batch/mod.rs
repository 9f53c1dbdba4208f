//! Floor 2: the v2 record batch as bytes, the one format that disk and wire share.
//!
//! Everything here works on byte slices that may come from a hostile client or a torn disk: every function answers
//! with a typed error or `None`, never with a panic, and allocates no more than the bytes at hand justify.

pub mod build;
pub mod compress;
pub mod control;
mod cursor;
pub mod header;
pub mod patch;
pub mod records;
#[cfg(test)]
mod samples;
pub mod validate;
pub mod walk;

pub use self::compress::Codec;
pub use self::header::{BatchHeader, HEADER_LEN};
pub use self::walk::{Walk, WalkEnd, walk};
