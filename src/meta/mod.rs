//! Floor 4: what the cluster knows, and how it decides.
//!
//! The metadata log holds [`record`]s; the [`image`] is the picture they build; [`settings`] say what each config
//! means; the [`controller`] turns a command and the picture into records and an answer, which the host releases when
//! the records are committed. Everything here is pure: time and randomness arrive as arguments, nothing is read from
//! outside. A shard owns its own image; none of this is shared between cores.

pub mod controller;
pub mod image;
pub mod placement;
pub mod record;
pub mod settings;
