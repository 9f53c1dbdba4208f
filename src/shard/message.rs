//! Everything one core may say to another: one enum. A core speaks to itself in the same words, without the mailbox.
//!
//! An [`Ask`] carries a key that only its asker interprets; exactly one [`Reply`] with the key comes back, unless the
//! ask says that it wants none ([`Ask::Produce`] with `quiet`) or was forgotten first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use crate::base::ids::{ConnId, ProducerId, TopicPartition};
use crate::coord::{GroupAnswer, GroupRequest};
use crate::meta::controller::{Answer, Command};
use crate::meta::record::Record;
use crate::port::range::Part;

use super::moves::MoveMessage;

/// Names an ask in flight; chosen by the asking core, unique there.
pub type AskKey = u64;

/// The key of asks that are never replied to: no table hands it out.
pub const QUIET: AskKey = AskKey::MAX;

/// One core to another.
#[derive(Debug)]
pub enum Message {
    /// `seen`: how far the asker's picture goes; an owner that is behind answers once it has caught up, so that a
    /// client never hears of a partition that its owner does not know yet.
    Ask {
        key: AskKey,
        seen: i64,
        ask: Ask,
    },
    Reply {
        key: AskKey,
        reply: Reply,
    },
    /// The asker no longer waits: drop what is parked for the key, answer nothing.
    Forget {
        key: AskKey,
    },
    /// Committed metadata up to offset `end` (exclusive), from the controller's core to every core, in order.
    Committed {
        end: i64,
        records: Arc<Vec<Record>>,
    },
    /// The sender's picture includes everything below `end`.
    Applied {
        end: i64,
    },
    /// The log folder failed: nothing in it is written or read any more.
    FolderOffline {
        reason: String,
    },
    /// The sender has closed its logs: what the checkpoint files of the data folder say of them.
    LogsClosed {
        checkpoints: Vec<LogCheckpoint>,
        clean: bool,
    },
    /// What core 0 found in the data folder at start; comes before the first [`Message::Committed`].
    Folder(Arc<FolderFacts>),
    /// A Produce with acks=0 that came over this connection has failed: its client learns it by the closed connection.
    HangUp {
        conn: ConnId,
    },
    /// A step of a partition's move from core to core.
    Move(MoveMessage),
    /// New log start offsets, to be kept in the folder's checkpoint before they are answered.
    KeepLogStarts {
        key: AskKey,
        starts: Vec<LogStart>,
    },
}

/// What the data folder held when the node started.
#[derive(Clone, Debug, Default)]
pub struct FolderFacts {
    /// The node was stopped cleanly: logs need no scan.
    pub clean: bool,
    /// Names of the folders inside, to tell a log to load from one to create.
    pub folders: BTreeSet<String>,
    pub recovery_points: BTreeMap<(String, i32), i64>,
    pub log_starts: BTreeMap<(String, i32), i64>,
}

/// What the checkpoint files say of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogCheckpoint {
    pub topic: String,
    pub partition: i32,
    pub log_start: i64,
    pub recovery_point: i64,
    pub high_watermark: i64,
}

/// A log start offset that DeleteRecords moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogStart {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
}

/// A question to the core that owns the answer.
#[derive(Debug)]
pub enum Ask {
    /// Append one batch to each of some partitions. `quiet` (acks=0) wants no reply, but that this connection of the
    /// asking core is closed when something fails ([`Message::HangUp`]).
    Produce {
        items: Vec<ProduceItem>,
        quiet: Option<ConnId>,
    },
    Fetch(FetchAsk),
    /// Reply once with [`Reply::News`] when one of the partitions has something new to say.
    Watch(Vec<WatchItem>),
    ListOffsets(Vec<OffsetQuery>),
    EpochEnds(Vec<EpochQuery>),
    DeleteRecords(Vec<DeleteQuery>),
    /// To the coordinator of `__consumer_offsets` partition `partition`.
    Group {
        partition: i32,
        request: GroupRequest,
    },
    /// The groups of every coordinator on the asked core.
    ListGroups {
        states: Vec<String>,
        types: Vec<String>,
    },
    /// To the controller.
    Control(Command),
}

/// The answer to an [`Ask`].
#[derive(Debug)]
pub enum Reply {
    Produce(Vec<ProduceDone>),
    Fetch(Vec<FetchDone>),
    News,
    ListOffsets(Vec<OffsetDone>),
    EpochEnds(Vec<EpochDone>),
    DeleteRecords(Vec<DeleteDone>),
    Group(GroupAnswer),
    /// The answers of all coordinators of the core.
    Groups(Vec<GroupAnswer>),
    Control(Answer),
    /// The whole ask failed.
    Refused(PartitionError),
    Kept,
}

/// Why a partition did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartitionError {
    /// This core owns no such partition.
    Unknown,
    /// The log is offline or its folder is.
    Storage,
    /// No room: the disk is full.
    NoSpace,
    FencedEpoch,
    UnknownEpoch,
    OffsetOutOfRange,
    OutOfOrderSequence,
    InvalidProducerEpoch,
    InvalidTxnState,
    TooLargeForSegment,
    /// More is waiting to be written than the limit allows; nothing was appended.
    Busy,
    CorruptOnDisk,
    /// The log does not take the batch although it was validated.
    Rejected,
    /// The coordinator of the partition is not loaded.
    Loading,
    /// The ask was cut off by the end of the node.
    Stopping,
}

/// One batch for one partition. `slot` finds the place in the request it came from.
#[derive(Debug)]
pub struct ProduceItem {
    pub slot: u32,
    pub partition: TopicPartition,
    /// Exactly one batch, validated.
    pub batch: Bytes,
}

#[derive(Debug)]
pub struct ProduceDone {
    pub slot: u32,
    pub result: Result<Produced, PartitionError>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Produced {
    pub base_offset: i64,
    /// −1 with CreateTime.
    pub log_append_time: i64,
    pub log_start: i64,
}

#[derive(Debug)]
pub struct FetchAsk {
    pub items: Vec<FetchItem>,
    /// Bytes over all items, except that the first batch of the first non-empty one always comes.
    pub max_bytes: u32,
}

#[derive(Clone, Debug)]
pub struct FetchItem {
    pub slot: u32,
    pub partition: TopicPartition,
    pub offset: i64,
    pub max_bytes: u32,
    /// The leader epoch the client believes in; −1: no check (KIP-320).
    pub leader_epoch: i32,
    /// The epoch of the record before `offset`; −1: no check (KIP-595).
    pub last_fetched_epoch: i32,
}

#[derive(Debug)]
pub struct FetchDone {
    pub slot: u32,
    pub result: Result<Fetched, PartitionError>,
}

#[derive(Debug)]
pub struct Fetched {
    pub high_watermark: i64,
    pub log_start: i64,
    /// Whole batches; the first contains the fetch offset.
    pub parts: Vec<Part>,
    pub bytes: usize,
    /// (epoch, end offset) where the reader's log parts from this one.
    pub diverging: Option<(i32, i64)>,
}

/// Wake the asker when the high watermark of the partition is above `above`.
#[derive(Clone, Debug)]
pub struct WatchItem {
    pub partition: TopicPartition,
    pub above: i64,
}

#[derive(Clone, Debug)]
pub struct OffsetQuery {
    pub slot: u32,
    pub partition: TopicPartition,
    pub leader_epoch: i32,
    pub target: OffsetTarget,
}

/// What ListOffsets looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetTarget {
    Latest,
    Earliest,
    /// The first record with this timestamp or a later one, milliseconds.
    AtOrAfter(i64),
    /// The record with the largest timestamp (KIP-734).
    MaxTimestamp,
}

#[derive(Debug)]
pub struct OffsetDone {
    pub slot: u32,
    pub result: Result<OffsetFound, PartitionError>,
}

/// −1 in each field that has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetFound {
    pub offset: i64,
    pub timestamp: i64,
    pub leader_epoch: i32,
}

#[derive(Clone, Debug)]
pub struct EpochQuery {
    pub slot: u32,
    pub partition: TopicPartition,
    /// The epoch the client believes is current; −1: no check.
    pub current_epoch: i32,
    pub epoch: i32,
}

#[derive(Debug)]
pub struct EpochDone {
    pub slot: u32,
    /// (epoch, end offset); (−1, −1) when nothing at or below the asked epoch is known.
    pub result: Result<(i32, i64), PartitionError>,
}

#[derive(Clone, Debug)]
pub struct DeleteQuery {
    pub slot: u32,
    pub partition: TopicPartition,
    /// −1: everything below the high watermark.
    pub before: i64,
}

#[derive(Debug)]
pub struct DeleteDone {
    pub slot: u32,
    /// The new log start offset.
    pub result: Result<i64, PartitionError>,
}

/// First id of a block and how many.
pub type ProducerIdBlock = (ProducerId, i32);
