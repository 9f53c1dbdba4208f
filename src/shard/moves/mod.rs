//! Moving a partition from one core to another while clients use it.
//!
//! ```text
//!   core 0 (Mover)          old owner                 new owner             every core
//!      │── Asked ──────────────▶│ may the log leave?       │                     │
//!      │                        │── Expected ─────────────▶│ holds asks for it   │
//!      │◀───────────────────────────────────────── Ready ──│                     │
//!      │── Turn ──────────────────────────────────────────────────────────────▶│ its route turns
//!      │                        │◀───────────────────────────────────── Turned ──│
//!      │      all have turned: every ask is in;            │
//!      │      reads end, writes become durable,            │
//!      │      files are closed  │                          │
//!      │                        │── Handed (the log) ─────▶│ goes on; the asks it held, in order
//!      │◀───────────────────────────────────────── Moved ──│
//! ```
//! Why the order of one connection's requests holds: messages of a pair of cores stay in order. What a core asked
//! before its route turned reaches the old owner before its `Turned` does, and the log does not leave before all have
//! come; what it asks after that goes to the new owner, which holds it until the log is there. Nobody is told an error,
//! nobody asks twice: a move is a wait of some milliseconds. What is held is bounded by the requests in flight.
//!
//! Why the log itself goes, and not a log that is closed here and opened there: nothing is written or read that would
//! not have been anyway (`log/leave.rs`), producers, caches and a group coordinator with its members come along as they
//! are, and a full disk cannot make a clean close fail on the way. A log that is not ready, whose coordinator still
//! loads, or whose disk is full says no to `Asked`, and is asked again later; should the disk fill in the milliseconds
//! between, the partition waits until there is room.
//!
//! One partition moves at a time. Both ends are told by number, so nothing late is mistaken. A topic that is deleted
//! meanwhile is deleted by whoever has the log in the end (`Arrival::doomed`); a stop or a failed folder keeps the log
//! where it is, and the old owner hands over nothing. After a crash each partition begins where its pin or its turn
//! puts it: a move leaves no trace on disk but the setting that asked for it.

mod mover;
#[cfg(test)]
mod tests;
mod transit;

pub use mover::Mover;
pub use transit::{Arrival, Transit};

use super::coordinator_host::CoordinatorHost;
use super::partition::Partition;
use crate::base::ids::{CoreId, TopicPartition};

/// One move of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// Of this life of the node, from 1.
    pub number: u64,
    pub partition: TopicPartition,
    pub from: CoreId,
    pub to: CoreId,
}

/// What cores say to each other about a move; see the picture above.
#[derive(Debug)]
pub enum MoveMessage {
    Asked(Move),
    /// The old owner's no, for now.
    Refused {
        number: u64,
    },
    Expected(Move),
    Ready {
        number: u64,
    },
    Turn(Move),
    Turned {
        number: u64,
    },
    /// `None`: the log stays where it is, because its topic, the folder or the node has come to an end.
    Handed {
        of: Move,
        parcel: Option<Box<Parcel>>,
    },
    Moved {
        number: u64,
    },
}

/// A partition between two cores.
#[derive(Debug)]
pub struct Parcel {
    pub partition: Partition,
    /// Of a partition of `__consumer_offsets`.
    pub coordinator: Option<CoordinatorHost>,
}
