//! (floor header comes with its first code)

pub mod checkpoint;
pub mod epochs;
pub mod producers;
mod snapshot_file;
