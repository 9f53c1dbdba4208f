//! The words a host exchanges with a partition log: operations, settings, events, errors. Data only.
//!
//! Units are in the names: `_ms` milliseconds, `_bytes` bytes; an offset names a record, a position names a byte of a
//! segment file.

use std::collections::BTreeSet;
use std::fmt;

use crate::base::time::Mono;
use crate::port::disk::{DiskOp, FileId};
use crate::port::range::Part;

use super::read_policy::AheadRoom;

/// Names one operation of one log; unique within that log while it is in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogTag(pub u64);

/// Where a log puts what it wants from the disk, and where it takes the numbers of its files and the memory for reads
/// ahead from.
#[derive(Debug)]
pub struct LogOut<'a> {
    pub ops: &'a mut Vec<(LogTag, DiskOp)>,
    pub files: &'a mut FileSlots,
    pub ahead: &'a AheadRoom,
}

/// The [`FileId`] numbers of one core, shared by all of its logs. Bounded: an empty allocator makes a log wait.
#[derive(Debug)]
pub struct FileSlots {
    next: u32,
    limit: u32,
    free: BTreeSet<u32>,
}

impl FileSlots {
    /// Hands out the numbers `first..first + count`.
    pub fn new(first: u32, count: u32) -> FileSlots {
        FileSlots { next: first, limit: first.saturating_add(count), free: BTreeSet::new() }
    }

    /// The smallest free number, so that the driver's table of files stays small; `None` when all are taken.
    pub fn take(&mut self) -> Option<FileId> {
        if let Some(slot) = self.free.pop_first() {
            return Some(FileId(slot));
        }
        if self.next == self.limit {
            return None;
        }
        self.next += 1;
        Some(FileId(self.next - 1))
    }

    /// Gives a number back once its file is closed (or was never opened).
    pub fn give_back(&mut self, file: FileId) {
        crate::invariant!(file.0 < self.next, "file slot {} was never taken", file.0);
        let fresh = self.free.insert(file.0);
        crate::invariant!(fresh, "file slot {} was given back twice", file.0);
    }

    /// Numbers that may still be taken.
    pub fn left(&self) -> usize {
        (self.limit - self.next) as usize + self.free.len()
    }
}

/// When an append counts as done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// On stable storage (the default).
    Stable,
    /// In the page cache, as in Apache Kafka; synced after so many records (`flush.messages`) or so long (`flush.ms`).
    PageCache { messages: u64, ms: u64 },
}

/// The settings of one log; every one may change while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// `segment.bytes`: a segment is rolled before it grows beyond this. Above `i32::MAX` counts as `i32::MAX`.
    pub segment_bytes: u32,
    /// `segment.ms`: oldest to newest timestamp within one segment.
    pub segment_ms: i64,
    /// `segment.jitter.ms`: a segment may be rolled up to this earlier, each by a number of its own.
    pub segment_jitter_ms: i64,
    /// `index.interval.bytes`: record bytes between two index entries.
    pub index_interval_bytes: u32,
    /// `segment.index.bytes`: a segment whose index would outgrow this is rolled.
    pub index_bytes_max: u32,
    /// `retention.ms`; negative: no limit.
    pub retention_ms: i64,
    /// `retention.bytes`; negative: no limit.
    pub retention_bytes: i64,
    /// `file.delete.delay.ms`: between the renaming of a file to `.deleted` and its removal.
    pub delete_delay_ms: u64,
    /// `producer.id.expiration.ms`.
    pub producer_expiration_ms: i64,
    pub durability: Durability,
    /// Largest step of making room ahead of the write position (zeros, or space reserved), bytes; 0 turns it off.
    pub room_ahead_max: u32,
    /// Durable bytes between two soft recovery checkpoints: about what a start after a crash has to read.
    pub recovery_checkpoint_bytes: u32,
    /// Gaps between offsets are normal in this log (`cleanup.policy` contains `compact`). Otherwise a gap that nothing
    /// follows is taken for damage when a crash is recovered from.
    pub gaps_allowed: bool,
    /// Appended bytes that may wait for the disk; beyond it appends get [`AppendError::Full`].
    pub pending_bytes_max: u32,
    /// A write that ends leaves the next one to the host's flush, so that the host decides what goes to the disk
    /// together.
    pub writes_wait_for_flush: bool,
    /// Small appends may go to the core's journal first (see [`super::PartitionLog::journal_offer`]).
    pub journal: bool,
    /// Reads in sequence of at least so many bytes, by somebody who sends them on, are served from the page cache.
    pub stage_bytes_min: u32,
    /// What is nearer to the end of a segment that still grows is not, bytes: the kernel reads ahead, and a direct
    /// write to pages that it holds has to drop them first.
    pub stage_distance: u64,
}

impl Default for LogConfig {
    /// Apache Kafka's defaults where it has the setting.
    fn default() -> LogConfig {
        LogConfig {
            segment_bytes: 1 << 30,
            segment_ms: 7 * 86_400_000,
            segment_jitter_ms: 0,
            index_interval_bytes: 4096,
            index_bytes_max: 10 << 20,
            retention_ms: 7 * 86_400_000,
            retention_bytes: -1,
            delete_delay_ms: 60_000,
            producer_expiration_ms: 86_400_000,
            durability: Durability::Stable,
            room_ahead_max: 16 << 20,
            recovery_checkpoint_bytes: 64 << 20,
            gaps_allowed: false,
            pending_bytes_max: 32 << 20,
            writes_wait_for_flush: false,
            journal: false,
            stage_bytes_min: 64 << 10,
            stage_distance: 32 << 20,
        }
    }
}

/// What the host knows about a log it loads, from its own small files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadHints {
    /// The broker stopped cleanly, this log included: nothing needs to be scanned.
    pub clean: bool,
    /// Everything below was on stable storage (`recovery-point-offset-checkpoint`). Without it the newest snapshot in
    /// the folder counts, which is right for folders this log has written; for a foreign folder without it say
    /// `Some(0)`.
    pub recovery_point: Option<i64>,
    /// `log-start-offset-checkpoint`.
    pub log_start: Option<i64>,
}

/// What an append brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    pub base_offset: i64,
    pub last_offset: i64,
    /// The time stamped under `message.timestamp.type=LogAppendTime`, -1 otherwise.
    pub log_append_time_ms: i64,
    /// The batch opened a new segment.
    pub rolled: bool,
}

/// Why an append was refused; nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendError {
    /// Larger than `segment.bytes`.
    TooLargeForSegment,
    /// Too much is waiting for the disk already: try again after the next [`LogEvent::Durable`].
    Full,
    /// The disk is full; refused until [`LogEvent::SpaceBack`].
    NoSpace,
    /// A write failed, or the log is closed or deleted.
    Offline,
    /// Still loading or truncating.
    NotReady,
    /// Not one whole v2 batch with at least one record's worth of offsets (the caller validates; this is the net
    /// below).
    Invalid,
    /// A replicated batch that starts below the log end.
    OutOfOrder,
    /// The log would run out of offsets.
    OffsetsExhausted,
}

/// Chosen by the host to tell its reads and look-ups by time apart; unique among those pending on one log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadId(pub u64);

/// What a reader wants; the same for memory and disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The first batch is the one that holds this offset.
    pub from: i64,
    /// Exclusive; a batch that reaches beyond it is not returned.
    pub upper: i64,
    pub max_bytes: u32,
    /// The first batch comes even when it is larger.
    pub at_least_one: bool,
    /// Whoever asks sends it on as it is: what is large enough for that may stay in a file.
    pub to_send: bool,
}

/// Whole batches, in order, as slices of shared memory or, for a reader that sends them on, parts of a segment's file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadData {
    pub parts: Vec<Part>,
    pub bytes: u32,
    /// Where the next read goes on: one behind the last batch, or the offset asked for when there is none.
    pub next_offset: i64,
}

/// What a read brings at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadOutcome {
    Ready(ReadData),
    /// [`LogEvent::ReadDone`] with the same id follows.
    Pending,
    /// Below the log start or beyond the log end.
    OutOfRange,
    /// Loading, truncating, closed or offline.
    Unavailable,
}

/// Why a read that went to the disk failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// What lies on the disk there is not a batch.
    Corrupt(String),
    Io(String),
    /// The log went offline, was truncated, closed or deleted while the read was pending.
    Gone,
}

/// What time is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeTarget {
    /// The first record whose timestamp is this or later.
    AtOrAfter(i64),
    /// The first record that has the largest timestamp (KIP-734).
    MaxTimestamp,
}

/// A record found by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimePoint {
    pub offset: i64,
    pub timestamp: i64,
    pub leader_epoch: i32,
}

/// What a look-up by time brings at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TimeOutcome {
    Ready(Option<TimePoint>),
    /// [`LogEvent::TimeFound`] with the same id follows.
    Pending,
    Unavailable,
}

/// Why records could not be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteError {
    /// Beyond what is durable.
    OutOfRange,
    Unavailable,
}

/// Something that happened to a log by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogEvent {
    /// Created or loaded: appends and reads may begin.
    Ready,
    /// Everything below this offset is durable (as `durability` defines it).
    Durable(i64),
    ReadDone {
        id: ReadId,
        result: Result<ReadData, ReadError>,
    },
    TimeFound {
        id: ReadId,
        result: Result<Option<TimePoint>, ReadError>,
    },
    /// A write, a sync or the start-up failed: the log is offline for good, and what was not durable is in doubt.
    Failed(String),
    /// The disk is full: what is pending stays pending and is written when there is room; reads go on. Before
    /// [`LogEvent::Ready`]: the log is opened when there is room.
    NoSpace,
    SpaceBack,
    /// The log start moved up to this offset (retention); to be kept in `log-start-offset-checkpoint`.
    LogStartMoved(i64),
    /// [`super::PartitionLog::truncate`] is done; the log ends at this offset and is ready again.
    Truncated(i64),
    /// Nothing is in flight and every file is closed: the log may go to another core.
    Left,
    /// Every file is closed and exact to the byte. After [`LogEvent::Failed`] it only says that files are closed.
    Closed,
    Deleted,
}

/// What a start found and did, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// The snapshot that the scan began from; `None`: from the first segment.
    pub snapshot_offset: Option<i64>,
    pub scanned_bytes: u64,
    pub scanned_batches: u64,
    /// Zeros behind the last batch: the padding of a direct write or space filled ahead. Normal after a crash.
    pub padding_bytes: u64,
    /// Bytes behind the last good batch that were cut and were not zeros: a torn write, or damage.
    pub torn_bytes: u64,
    /// Why the scan stopped before the end of the data, with the place.
    pub torn_reason: Option<String>,
    pub segments_removed: u32,
    pub indexes_rebuilt: u32,
    /// Anything else out of the ordinary, a sentence each.
    pub notes: Vec<String>,
    pub log_start: i64,
    pub log_end: i64,
}

impl fmt::Display for RecoveryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "offsets {}..{}: scanned {} bytes", self.log_start, self.log_end, self.scanned_bytes)?;
        match self.snapshot_offset {
            Some(offset) => write!(f, " from the snapshot at offset {offset}")?,
            None => write!(f, " from the start")?,
        }
        write!(f, " ({} batches); {} bytes of padding", self.scanned_batches, self.padding_bytes)?;
        if let Some(reason) = &self.torn_reason {
            write!(f, "; cut {} bytes: {reason}", self.torn_bytes)?;
        }
        if self.segments_removed > 0 {
            write!(f, "; removed {} later segments", self.segments_removed)?;
        }
        if self.indexes_rebuilt > 0 {
            write!(f, "; rebuilt {} indexes", self.indexes_rebuilt)?;
        }
        for note in &self.notes {
            write!(f, "; {note}")?;
        }
        Ok(())
    }
}

/// The earlier of two optional times.
pub(super) fn sooner(a: Option<Mono>, b: Option<Mono>) -> Option<Mono> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
