//! Floor 2: the v2 record batch as bytes, the one format that disk and wire share.
//!
//! ```text
//!  0        8          12           16    17    21          23 ............................ 57     61
//!  base     batch      leader       magic CRC   attributes  deltas, timestamps, producer    count  records
//!  offset   length     epoch        = 2         └──────────────── covered by the CRC ─────────────────────▶
//! ```
//! The broker may patch base offset and leader epoch without touching the CRC; everything else needs a new one.

pub mod build;
pub mod compress;
pub mod control;
pub mod header;
pub mod patch;
pub mod records;
pub mod validate;
mod varint;
mod walk;

pub use walk::{WalkEnd, Walk, walk};
