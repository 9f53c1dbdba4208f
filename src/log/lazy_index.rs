//! The indexes of rolled segments: read when somebody needs them, let go when nobody does, made again when they are
//! missing or cannot be true.

use bytes::Bytes;

use crate::base::time::Now;
use crate::port::disk::{DiskOp, DiskOutput, DiskResult};

use super::PartitionLog;
use super::head::{Found, Head};
use super::index::{OffsetIndex, TimeIndex};
use super::names::FileKind;
use super::ops::Op;
use super::segment::{Indexes, MaxStamp, Segment, block_ceil, block_floor};
use super::types::{LogEvent, LogOut, ReadError};

/// The largest index file that is believed to be one, bytes: both indexes of a segment of 2 GiB with an entry for every
/// 61-byte batch are below it.
const INDEX_FILE_MAX: u64 = 512 << 20;
/// Bytes read at a time while an index is made again.
const REBUILD_READ: u64 = 1 << 20;

/// Where the indexes of a segment are.
#[derive(Debug)]
pub(super) enum IndexState {
    Resident(Indexes),
    Absent,
    /// Both files are being read; what has come so far. `Err`: missing or unreadable.
    Loading {
        offset: Option<Result<Bytes, ()>>,
        time: Option<Result<Bytes, ()>>,
    },
    Rebuilding(Box<Rebuild>),
}

/// An index being made from the batches of its segment.
#[derive(Debug)]
pub(super) struct Rebuild {
    /// The segment as far as its batches were seen; only sizes, stamps and indexes are used.
    seen: Segment,
    busy: bool,
}

impl PartitionLog {
    /// Whether the indexes of a segment are in memory; when not, sees to it that they will be.
    pub(super) fn ensure_indexes(&mut self, base: i64, now: Now, out: &mut LogOut) -> bool {
        let Some(segment) = self.segments.get_mut(&base) else { return false };
        segment.used_at = now.mono;
        match segment.indexes {
            IndexState::Resident(_) => return true,
            IndexState::Loading { .. } | IndexState::Rebuilding(_) => return false,
            IndexState::Absent => {}
        }
        segment.indexes = IndexState::Loading { offset: None, time: None };
        for kind in [FileKind::Index, FileKind::TimeIndex] {
            let path = self.path(kind, base);
            self.ask(Op::IndexRead { segment: base, kind }, DiskOp::ReadFile { path, len_max: INDEX_FILE_MAX }, out);
        }
        false
    }

    /// One of the two files was read.
    pub(super) fn index_answer(&mut self, base: i64, kind: FileKind, result: DiskResult, now: Now) {
        let Some(segment) = self.segments.get_mut(&base) else { return };
        let IndexState::Loading { offset, time } = &mut segment.indexes else { return };
        let bytes = match result {
            Ok(DiskOutput::Data(bytes)) => Ok(bytes),
            _ => Err(()),
        };
        match kind {
            FileKind::Index => *offset = Some(bytes),
            _ => *time = Some(bytes),
        }
        let (Some(offset), Some(time)) = (&*offset, &*time) else { return };
        let offset = offset.clone().ok().and_then(|bytes| OffsetIndex::decode(bytes, segment.size));
        match (offset, time.clone().ok().and_then(TimeIndex::decode)) {
            (Some(offset), Some(time)) => {
                segment.adopt_indexes(Indexes { offset, time });
                self.note_use(now.mono);
                self.keep_index_budget(base);
            }
            _ => self.begin_rebuild(base, now),
        }
    }

    /// Makes the indexes of a rolled segment again.
    pub(super) fn begin_rebuild(&mut self, base: i64, now: Now) {
        tracing::warn!(dir = self.dir, segment = base, "the indexes are missing or damaged and are made again");
        let segment = self.segment_mut(base);
        segment.readers += 1;
        let seen = Segment::new(base, false, 0, now.mono);
        segment.indexes = IndexState::Rebuilding(Box::new(Rebuild { seen, busy: false }));
        self.rebuilding.insert(base);
    }

    /// Asks for the next piece of every segment whose indexes are being made.
    pub(super) fn pump_rebuilds(&mut self, now: Now, out: &mut LogOut) {
        let bases: Vec<i64> = self.rebuilding.iter().copied().collect();
        for base in bases {
            let Some(file) = self.ensure_open(base, now, out) else { continue };
            let segment = self.segment_mut(base);
            let end = block_ceil(segment.size);
            let IndexState::Rebuilding(rebuild) = &mut segment.indexes else { continue };
            let position = block_floor(rebuild.seen.size);
            let len = REBUILD_READ.min(end - position) as u32;
            if !rebuild.busy && len > 0 {
                rebuild.busy = true;
                self.ask(Op::RebuildRead { segment: base }, DiskOp::Read { file, position, len }, out);
            }
        }
    }

    pub(super) fn rebuild_answer(
        &mut self,
        base: i64,
        result: DiskResult,
        now: Now,
        out: &mut LogOut,
        events: &mut Vec<LogEvent>,
    ) {
        let interval = self.config.index_interval_bytes;
        let Some(segment) = self.segments.get_mut(&base) else { return };
        let size = segment.size;
        let IndexState::Rebuilding(rebuild) = &mut segment.indexes else { return };
        rebuild.busy = false;
        let data = match result {
            Ok(DiskOutput::Data(data)) => data,
            Ok(_) => Bytes::new(),
            Err(error) => {
                segment.indexes = IndexState::Absent;
                segment.readers -= 1;
                self.rebuilding.remove(&base);
                self.fail_jobs_on(base, ReadError::Io(error.detail), events);
                return;
            }
        };
        if !rebuild.feed(&data, size, interval) {
            return;
        }
        let mut seen = Segment::new(base, false, 0, now.mono);
        std::mem::swap(&mut seen, &mut rebuild.seen);
        seen.close_time_index();
        self.rebuilding.remove(&base);
        let segment = self.segment_mut(base);
        segment.readers -= 1;
        segment.max_stamp = seen.max_stamp;
        let IndexState::Resident(mut indexes) = seen.indexes else { return };
        let files = [(FileKind::Index, indexes.offset.freeze()), (FileKind::TimeIndex, indexes.time.freeze())];
        segment.indexes = IndexState::Resident(indexes);
        for (kind, data) in files {
            let path = self.path(kind, base);
            self.ask(Op::RebuildWrite { segment: base }, DiskOp::WriteFile { path, data }, out);
        }
        self.segment_mut(base).rebuild_writes += 2;
        self.note_use(now.mono);
        self.keep_index_budget(base);
    }
}

impl Rebuild {
    /// Walks the headers in a piece read from the block where the last one ended; true when the segment is done, which
    /// it also is at the first thing that is no batch (readers will meet it and say so).
    fn feed(&mut self, data: &[u8], size: u64, interval: u32) -> bool {
        let start = block_floor(self.seen.size);
        let before = self.seen.size;
        while self.seen.size < size {
            let at = (self.seen.size - start) as usize;
            match Head::find(data.get(at..).unwrap_or_default(), size - self.seen.size) {
                Found::Batch(head) if head.base_offset >= self.seen.end => self.seen.note_batch(&head, interval),
                // A piece holds many headers, so without progress the file is shorter than it should be.
                Found::Short if self.seen.size > before => return false,
                _ => return true,
            }
        }
        true
    }
}

impl Segment {
    /// Takes over indexes read from disk. The last entry of the time index is the segment's largest timestamp, as a
    /// segment's last act is to add it.
    fn adopt_indexes(&mut self, indexes: Indexes) {
        let last = indexes.time.last();
        let stamp = last.map(|(timestamp, offset)| MaxStamp { timestamp, offset: self.base + i64::from(offset) });
        self.max_stamp.get_or_insert(stamp.unwrap_or(MaxStamp { timestamp: -1, offset: self.base }));
        self.indexes = IndexState::Resident(indexes);
    }
}
