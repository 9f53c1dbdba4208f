//! Time as plain numbers. Nothing here can read a clock: drivers do, once a turn, and hand the result in.

use std::ops::{Add, Sub};

/// Nanoseconds on a clock that never goes back; its zero is arbitrary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mono(pub u64);

/// Milliseconds since 1970-01-01 UTC on a clock that may jump.
pub type WallMs = i64;

/// Both clocks, read together at the start of a turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    pub mono: Mono,
    pub wall_ms: WallMs,
}

impl Mono {
    /// The time `ms` milliseconds after this one; saturates.
    pub fn plus_ms(self, ms: u64) -> Mono {
        Mono(self.0.saturating_add(ms.saturating_mul(1_000_000)))
    }

    /// Whole milliseconds from `earlier` to this; 0 when `earlier` is later.
    pub fn ms_since(self, earlier: Mono) -> u64 {
        self.0.saturating_sub(earlier.0) / 1_000_000
    }
}

impl Add<u64> for Mono {
    type Output = Mono;
    fn add(self, ns: u64) -> Mono {
        Mono(self.0.saturating_add(ns))
    }
}

impl Sub for Mono {
    type Output = u64;
    fn sub(self, other: Mono) -> u64 {
        self.0.saturating_sub(other.0)
    }
}
