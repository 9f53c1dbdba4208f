//! The one place that reads a clock: both clocks together, once a turn.
#![allow(unsafe_code, reason = "clock_gettime")]

use crate::base::time::{Mono, Now, WallMs};

fn read(clock: libc::clockid_t) -> libc::timespec {
    let mut spec = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `spec` is a valid timespec to write to, and both clocks used here always exist on Linux.
    let result = unsafe { libc::clock_gettime(clock, &mut spec) };
    crate::invariant!(result == 0, "clock_gettime({clock}) failed");
    spec
}

/// CLOCK_MONOTONIC, nanoseconds: the clock that wait time-outs of epoll and io_uring run on too.
pub fn mono() -> Mono {
    let spec = read(libc::CLOCK_MONOTONIC);
    Mono(spec.tv_sec as u64 * 1_000_000_000 + spec.tv_nsec as u64)
}

/// CLOCK_REALTIME, milliseconds.
pub fn wall_ms() -> WallMs {
    let spec = read(libc::CLOCK_REALTIME);
    spec.tv_sec * 1000 + spec.tv_nsec / 1_000_000
}

/// Both, for a turn.
pub fn now() -> Now {
    Now { mono: mono(), wall_ms: wall_ms() }
}
