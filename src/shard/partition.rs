//! One partition on the core that owns it: its log, its leadership, and who waits for what.
//!
//! ```text
//!   log start ... high watermark (= durable) ... log end
//!                 ^ acks below are released       ^ appended, not yet acknowledged
//! ```
//! Exists on one core only; sees one partition.

use std::collections::VecDeque;

use crate::base::ids::TopicPartition;
use crate::base::slots::Key;
use crate::base::time::Mono;
use crate::log::PartitionLog;
use crate::replica::leader::Leader;

use super::journal_host::Share;
use super::message::PartitionError;

/// Someone waits until everything below `until` is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParkedAck {
    pub until: i64,
    pub waiter: AckWaiter,
}

/// Who waits for durability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckWaiter {
    /// Item `item` of a produce job.
    Produce { job: Key, item: u32 },
    /// An outcome of the coordinator that lives on this partition.
    Coordinator,
    /// A decision of the controller.
    Controller,
}

/// A fetch that waits for news; see `fetch.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watcher {
    pub watch: Key,
    pub above: i64,
}

/// What kind of partition this is to its core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Clients produce to it and fetch from it.
    Data,
    /// A partition of `__consumer_offsets`: a group coordinator lives on it.
    Offsets,
    /// `__cluster_metadata-0`: the controller lives on it.
    Metadata,
}

#[derive(Debug)]
pub struct Partition {
    pub topic: String,
    pub id: TopicPartition,
    pub role: Role,
    pub log: PartitionLog,
    pub leader: Leader,
    /// The log has told that it can be used.
    pub ready: bool,
    /// Why the partition is offline for good, if it is.
    pub offline: Option<PartitionError>,
    /// The disk is full: appends are refused until the log says that there is room.
    pub no_space: bool,
    /// In the core's list of logs to flush at the end of this turn.
    pub dirty: bool,
    /// The log's share of the bytes that the core is writing.
    pub writing_bytes: u64,
    /// The log's timer in the core's table.
    pub wake_at: Option<Mono>,
    /// What the core's journal has of the log.
    pub share: Share,
    /// In order of `until`.
    pub acks: VecDeque<ParkedAck>,
    pub watchers: Vec<Watcher>,
}

impl Partition {
    pub fn new(topic: String, id: TopicPartition, role: Role, log: PartitionLog, epoch: i32) -> Partition {
        Partition {
            topic,
            id,
            role,
            log,
            leader: Leader::new(epoch, 0),
            ready: false,
            offline: None,
            no_space: false,
            dirty: false,
            writing_bytes: 0,
            wake_at: None,
            share: Share::default(),
            acks: VecDeque::new(),
            watchers: Vec::new(),
        }
    }

    /// Parks a waiter; `until` never falls because log end offsets do not.
    pub fn park(&mut self, until: i64, waiter: AckWaiter) {
        // A retried duplicate may wait for less than the newest append; it is put where it belongs.
        let at = self.acks.partition_point(|ack| ack.until <= until);
        self.acks.insert(at, ParkedAck { until, waiter });
    }

    /// The next waiter whose offset is reached.
    pub fn next_released(&mut self) -> Option<AckWaiter> {
        let front = self.acks.front()?;
        if front.until > self.leader.high_watermark() {
            return None;
        }
        self.acks.pop_front().map(|ack| ack.waiter)
    }

    /// The log cannot be opened before there is room on the disk.
    pub fn waits_for_room(&self) -> bool {
        !self.ready && self.no_space
    }

    /// Whether a client may be served, and if not, why.
    pub fn serves_clients(&self) -> Result<(), PartitionError> {
        if let Some(reason) = &self.offline {
            return Err(reason.clone());
        }
        if self.waits_for_room() {
            return Err(PartitionError::NoSpace);
        }
        match self.role {
            Role::Data | Role::Offsets => Ok(()),
            Role::Metadata => Err(PartitionError::Unknown),
        }
    }
}
