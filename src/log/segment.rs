//! One segment of a log: a `.log` file, its indexes and what is being done with them.
//!
//! ```text
//!   0 ........ written ........ durable ........ size .......... filled ......... file length
//!   in the file      | only in the    | appended, not | room ahead:     | maybe more room of a
//!                    | journal so far | yet durable   | zeros           | fill in flight
//! ```
//! Invariants: synced ≤ written ≤ durable ≤ size ≤ `i32::MAX`; the last segment is the active one and the only one that
//! grows; a rolled segment never changes again; a segment is closed and removed only while nobody reads it.

use crate::base::limits::BLOCK;
use crate::base::prng::Prng;
use crate::base::time::{Mono, WallMs};
use crate::port::disk::FileId;

use super::finish::Finish;
use super::head::Head;
use super::index::{OffsetIndex, TimeIndex};
use super::lazy_index::IndexState;
use super::types::LogConfig;

/// A segment must stay addressable by the i32 positions of Apache Kafka.
const SEGMENT_BYTES_LIMIT: u32 = i32::MAX as u32;

/// The file behind a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileState {
    Closed,
    Opening(FileId),
    Open(FileId),
    Closing(FileId),
}

/// How far the removal of a segment has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doom {
    /// Below the log start: waiting for its readers and for its own unfinished business.
    Waiting,
    /// So many of its files are still being renamed.
    Renaming(u8),
    /// Renamed; to be removed at this time.
    Delayed(Mono),
    Removing(u8),
    /// The disk is full, and even a renaming (or a removal) takes room there: the same step again at this time.
    Again {
        removes: bool,
        step: u8,
        at: Mono,
    },
}

/// The offset and position indexes of a segment, when they are in memory.
#[derive(Debug)]
pub(super) struct Indexes {
    pub offset: OffsetIndex,
    pub time: TimeIndex,
}

impl Indexes {
    pub fn new() -> Indexes {
        Indexes { offset: OffsetIndex::new(), time: TimeIndex::new() }
    }

    pub fn bytes_len(&self) -> usize {
        self.offset.bytes_len() + self.time.bytes_len()
    }
}

/// The largest timestamp of a segment and the last offset of the batch that reached it first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MaxStamp {
    pub timestamp: i64,
    pub offset: i64,
}

#[derive(Debug)]
pub(super) struct Segment {
    pub base: i64,
    /// One behind the last offset appended. For a segment that was not read at start: the base of the next one.
    pub end: i64,
    /// Bytes of batches appended.
    pub size: u64,
    /// Bytes that are durable: in the journal, or written and synced unless in page-cache mode.
    pub durable: u64,
    /// Bytes that are in the file; behind `durable` by what only the journal has.
    pub written: u64,
    /// Bytes of the file that are on stable storage; what is not, the journal has, unless in page-cache mode.
    pub synced: u64,
    /// `None`: not known before the time index is loaded. Timestamp -1: no batch has one.
    pub max_stamp: Option<MaxStamp>,
    /// The largest timestamp of the first batch: `segment.ms` counts from here.
    pub first_timestamp: Option<i64>,
    pub created_ms: WallMs,
    pub indexes: IndexState,
    pub file: FileState,
    /// The file is (to be) opened past the page cache, so writes are whole blocks.
    pub direct: bool,
    /// The file has room up to here: written, filled with zeros or reserved.
    pub filled: u64,
    /// The range of the fill in flight; no write may touch it.
    pub filling: Option<(u64, u64)>,
    /// Bytes of the next fill.
    pub fill_step: u64,
    pub rolled: bool,
    /// Writing what a rolled segment (or every segment of a log that stops) needs besides its batches.
    pub finish: Option<Finish>,
    /// Found as `.log.swap`.
    pub swap: bool,
    /// A process that died may not have synced the folder: to be opened as if the file were to be made, which does.
    pub name_in_doubt: bool,
    /// Reads planned or in flight on it.
    pub readers: u32,
    /// Index files in flight that were made again.
    pub rebuild_writes: u8,
    pub doom: Option<Doom>,
    pub used_at: Mono,
    /// It could not be opened for lack of room or of files, and is not asked for again before this time.
    pub open_after: Option<Mono>,
}

/// What makes the next batch open a new segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct RollQuestion {
    pub batch_bytes: u64,
    pub batch_max_timestamp: i64,
    pub last_offset: i64,
    pub now_ms: WallMs,
    /// The log's own.
    pub jitter_seed: u32,
}

impl Segment {
    /// A new, empty, active segment.
    pub fn new(base: i64, direct: bool, created_ms: WallMs, now: Mono) -> Segment {
        Segment {
            base,
            end: base,
            size: 0,
            durable: 0,
            written: 0,
            synced: 0,
            max_stamp: Some(MaxStamp { timestamp: -1, offset: base }),
            first_timestamp: None,
            created_ms,
            indexes: IndexState::Resident(Indexes::new()),
            file: FileState::Closed,
            direct,
            filled: 0,
            filling: None,
            fill_step: 0,
            rolled: false,
            finish: None,
            swap: false,
            name_in_doubt: false,
            readers: 0,
            rebuild_writes: 0,
            doom: None,
            used_at: now,
            open_after: None,
        }
    }

    /// A rolled segment found in the folder, `end` being where the next one begins.
    pub fn found(base: i64, end: i64, size: u64, created_ms: WallMs, now: Mono) -> Segment {
        Segment {
            end,
            size,
            durable: size,
            written: size,
            synced: size,
            filled: size,
            max_stamp: None,
            indexes: IndexState::Absent,
            rolled: true,
            ..Segment::new(base, false, created_ms, now)
        }
    }

    /// The offset as the indexes write it. Appends keep it in range.
    pub fn relative(&self, offset: i64) -> u32 {
        (offset - self.base).clamp(0, i64::from(i32::MAX)) as u32
    }

    /// Enters a batch that was appended at the end of the segment.
    pub fn note_batch(&mut self, head: &Head, index_interval_bytes: u32) {
        let position = self.size;
        if position == 0 {
            self.first_timestamp = Some(head.max_timestamp);
        }
        let stamp = self.max_stamp.get_or_insert(MaxStamp { timestamp: -1, offset: self.base });
        if head.max_timestamp > stamp.timestamp {
            *stamp = MaxStamp { timestamp: head.max_timestamp, offset: head.last_offset };
        }
        let stamp = *stamp;
        let (last, stamped) = (self.relative(head.last_offset), self.relative(stamp.offset));
        if let IndexState::Resident(indexes) = &mut self.indexes
            && position - u64::from(indexes.offset.last_position()) > u64::from(index_interval_bytes)
        {
            indexes.offset.push(last, position as u32);
            indexes.time.push_if_later(stamp.timestamp, stamped);
        }
        self.size += head.size as u64;
        self.end = head.last_offset + 1;
    }

    /// Adds the largest timestamp to the time index: before the index is written, as Apache Kafka does at a roll.
    pub fn close_time_index(&mut self) {
        let (Some(stamp), base) = (self.max_stamp, self.base) else { return };
        if let IndexState::Resident(indexes) = &mut self.indexes
            && stamp.offset >= base
        {
            let relative = (stamp.offset - base).clamp(0, i64::from(i32::MAX)) as u32;
            indexes.time.push_if_later(stamp.timestamp, relative);
        }
    }

    /// Apache Kafka's rule (LogSegment.shouldRoll): by size, by the span of timestamps, by index room, by offset range.
    pub fn should_roll(&self, question: RollQuestion, config: &LogConfig) -> bool {
        let limit = u64::from(config.segment_bytes.min(SEGMENT_BYTES_LIMIT));
        let waited = match self.first_timestamp {
            Some(first) if first >= 0 => question.batch_max_timestamp.saturating_sub(first),
            _ => question.now_ms.saturating_sub(self.created_ms),
        };
        let indexes_full = match &self.indexes {
            IndexState::Resident(indexes) => {
                indexes.offset.is_full(config.index_bytes_max) || indexes.time.is_full(config.index_bytes_max)
            }
            _ => false,
        };
        let segment_ms = config.segment_ms.saturating_sub(self.jitter_ms(question.jitter_seed, config));
        let offset_fits = question.last_offset - self.base <= i64::from(i32::MAX);
        self.size > 0
            && (self.size + question.batch_bytes > limit || waited > segment_ms || indexes_full || !offset_fits)
    }

    /// What of `segment.jitter.ms` is this segment's: many logs that were begun together do not roll together.
    fn jitter_ms(&self, seed: u32, config: &LogConfig) -> i64 {
        let Ok(most @ 1..) = u64::try_from(config.segment_jitter_ms.min(config.segment_ms)) else { return 0 };
        Prng::new((u64::from(seed) << 32) ^ self.base as u64).below(most) as i64
    }

    /// The largest batch a segment may hold.
    pub fn batch_bytes_max(config: &LogConfig) -> u64 {
        u64::from(config.segment_bytes.min(SEGMENT_BYTES_LIMIT))
    }

    /// The open file.
    pub fn open_file(&self) -> Option<FileId> {
        match self.file {
            FileState::Open(file) => Some(file),
            _ => None,
        }
    }

    /// Whether everything in the file is on stable storage.
    pub fn is_synced(&self) -> bool {
        self.synced == self.written
    }

    /// Whether a write of `from..to` would meet the fill in flight.
    pub fn meets_fill(&self, from: u64, to: u64) -> bool {
        self.filling.is_some_and(|(start, end)| from < end && start < to)
    }

    /// Rolled, finished and without readers, so that its file may be closed and opened again at will.
    fn is_idle(&self) -> bool {
        self.rolled && self.finish.is_none() && self.readers == 0 && self.written == self.size
    }

    pub fn is_closable(&self) -> bool {
        self.is_idle() && self.open_file().is_some()
    }

    pub fn has_idle_indexes(&self) -> bool {
        self.is_idle() && matches!(self.indexes, IndexState::Resident(_))
    }

    pub fn is_closable_or_loaded(&self) -> bool {
        self.is_closable() || self.has_idle_indexes()
    }

    /// Bytes of indexes in memory.
    pub fn index_bytes(&self) -> usize {
        match &self.indexes {
            IndexState::Resident(indexes) => indexes.bytes_len(),
            _ => 0,
        }
    }

    /// Whether anything may still be written to it or read from it.
    pub fn is_live(&self) -> bool {
        self.doom.is_none()
    }
}

/// The start of the block that holds `position`.
pub(super) fn block_floor(position: u64) -> u64 {
    position - position % BLOCK as u64
}

/// The first block boundary at or after `position`.
pub(super) fn block_ceil(position: u64) -> u64 {
    position.next_multiple_of(BLOCK as u64)
}
