//! What the fuzz targets share: an entry for each decoder, the same that `tests/hostile/decoders.rs` runs.

pub mod entries;
#[allow(dead_code, missing_debug_implementations, reason = "the samples of the guard's tests")]
#[path = "../../src/wire/guard/samples.rs"]
pub mod samples;

// `samples` is shared with the unit tests of the guard, which call it `super::wire`.
use kataract::wire;
