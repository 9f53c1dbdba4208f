//! The contract of a driver, as cases that every driver must pass, the simulated one included: each case builds small
//! machines, has a [`Rig`] run them, and panics with a sentence when something is not as `port` promises.
//!
//! `disk` and `turns` need nothing but the rig. `net` and `failures` speak real TCP to the driver and break it, so they
//! are for the real ones.

pub mod disk;
pub mod turns;

#[cfg(test)]
mod drivers;
#[cfg(test)]
mod failures;
#[cfg(test)]
mod net;
#[cfg(test)]
mod staged;

use std::fmt;

use crate::base::ids::CoreId;
use crate::base::time::Now;
use crate::port::turn::{Effects, Inputs, Machine, NextWake};

/// A way to run machines until all have stopped, in a fresh, empty data folder each time.
pub trait Rig {
    /// Panics when a machine does, or when the run does not end. `stop_after_ms`: ask to stop that long after the
    /// start.
    fn run<M: Machine>(
        &self,
        cores: u16,
        stop_after_ms: Option<u64>,
        build: impl Fn(CoreId) -> M + Send + Sync + Clone + 'static,
    );
}

/// A machine from a closure; its messages are numbers.
pub struct Acting<F>(pub F);

impl<F> fmt::Debug for Acting<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Acting")
    }
}

impl<F: FnMut(Now, Inputs<u64>, &mut Effects<u64>) -> NextWake> Machine for Acting<F> {
    type Message = u64;

    fn turn(&mut self, now: Now, inputs: &mut Inputs<u64>, effects: &mut Effects<u64>) -> NextWake {
        (self.0)(now, std::mem::take(inputs), effects)
    }
}

/// How long a case may take before its machine gives up, milliseconds of the driver's clock.
pub const CASE_MS_MAX: u64 = 60_000;
