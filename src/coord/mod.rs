//! Floor 4: the group coordinator, a pure machine. One [`Coordinator`] serves one `__consumer_offsets` partition.
//!
//! ```text
//!  request ──▶ Coordinator ──▶ Outcome { records, answers }
//!                  ▲                │ records: appended as ONE batch, then durable
//!   replay(record) ┘                └ answers: released only then
//! ```
//!
//! Rules that hold everywhere on this floor
//! * The state moves in memory at once and is never rolled back: the host asks the log for room (`batch_bytes_max`)
//!   before it hands over a request that `may_write`, or a wake; a failed write takes the partition offline.
//! * A timeout is like a request: it only makes records and answers. There is no clock here; a late wake is harmless.
//! * Whatever must survive a failover is in the records; replaying them into a new coordinator gives the same committed
//!   offsets and the same members. Pending member ids, waiting joins and timers are memory only, as in Kafka.
//! * Everything is bounded: by [`GroupSettings`] where Kafka has a setting, by the constants of `limits` otherwise.
//! * Maps that are walked are ordered, so that the same inputs give the same outputs.
//!
//! Absent on purpose (they join this floor as files of their own): KIP-848 groups, transactional offset commits, share
//! and streams groups. Their records are skipped on load.

mod answer;
mod codec;
mod coordinator;
mod expire;
mod footprint;
mod group;
mod group_classic;
mod group_classic_join;
mod group_classic_rounds;
mod group_classic_sync;
mod hash;
pub mod limits;
mod member;
mod offsets;
mod records;
mod request;
mod settings;
mod subscription;
mod turn;

#[cfg(test)]
mod tests;

pub use answer::*;
pub use coordinator::Coordinator;
pub use hash::partition_for;
pub use records::{CoordRecord, ReplayError};
pub use request::*;
pub use settings::GroupSettings;
pub use turn::Outcome;

/// Names a request that waits for an answer; chosen by the host, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AskId(pub u64);
