//! Floor 0: ids, offsets, time as numbers, bounded containers, limits. Depends on nothing of ours.

pub mod chunk;
pub mod ids;
pub mod limits;
pub mod prng;
pub mod slots;
pub mod time;

/// Stops the process when an invariant of the program (never of its input) is broken; kept in release builds.
#[macro_export]
macro_rules! invariant {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            panic!("invariant broken: {}", format_args!($($message)+));
        }
    };
}
