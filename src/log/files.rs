//! Opening and closing the files behind segments.
//!
//! The active segment's file stays open. Rolled segments are opened (past the page cache or through it as
//! `read_policy.rs` says: they get no direct writes any more) when somebody reads them, a bounded number at a time, and
//! closed when nobody did for a while. While a log is loaded its files are read past the page cache in every mode.

use crate::base::time::{Mono, Now};
use crate::port::disk::{DiskError, DiskErrorKind, DiskOp, DiskOutput, DiskResult, FileId, OpenMode};

use super::lazy_index::IndexState;
use super::names::{self, FileKind, Leftover};
use super::ops::Op;
use super::read_policy;
use super::round::SPACE_RETRY_MS;
use super::segment::{FileState, Segment};
use super::types::{LogEvent, LogOut, ReadError, sooner};
use super::{PartitionLog, Phase};

/// Rolled segments of one log that are open at the same time.
const ROLLED_OPEN_MAX: usize = 8;
/// Indexes of rolled segments that one log keeps in memory, bytes: about those of two full segments.
const IDLE_INDEXES_MAX: usize = 8 << 20;
/// How long a rolled segment's file and indexes are kept without being used.
const IDLE_MS: u64 = 30_000;

impl PartitionLog {
    /// The segment's open file; when it is not open, sees to it that it will be (the caller is pumped again then).
    pub(super) fn ensure_open(&mut self, base: i64, now: Now, out: &mut LogOut) -> Option<FileId> {
        let segment = self.segments.get_mut(&base)?;
        segment.used_at = now.mono;
        match segment.file {
            FileState::Open(file) => return Some(file),
            FileState::Opening(_) | FileState::Closing(_) => return None,
            FileState::Closed => {}
        }
        if let Some(at) = segment.open_after.filter(|at| *at > now.mono) {
            self.retry_by(at);
            return None;
        }
        let for_reading = segment.rolled && segment.finish.is_none() && !self.writer.holds(base);
        if for_reading && self.rolled_open() >= ROLLED_OPEN_MAX && !self.close_least_used(out) {
            return None;
        }
        let Some(file) = out.files.take() else {
            self.close_least_used(out);
            self.retry_soon(now.mono);
            return None;
        };
        // A recovery reads what the device has: after a failed sync the page cache may hold what it has not.
        let direct = self.phase == Phase::Loading || read_policy::is_direct(self.config.durability);
        let segment = self.segment_mut(base);
        let swap = segment.swap;
        segment.file = FileState::Opening(file);
        if for_reading {
            segment.direct = direct;
        }
        let create = segment.durable == 0 || std::mem::take(&mut segment.name_in_doubt);
        let mode = OpenMode { direct: segment.direct, create };
        let path = match swap {
            false => names::path(&self.dir, FileKind::Log, base),
            true => names::leftover_path(&self.dir, FileKind::Log, base, Leftover::Swap),
        };
        self.ask(Op::Open { segment: base, file }, DiskOp::Open { file, path, mode }, out);
        None
    }

    fn rolled_open(&self) -> usize {
        self.segments.values().filter(|segment| segment.rolled && segment.file != FileState::Closed).count()
    }

    /// Closes the rolled segment that was not used for the longest time, if one is free.
    fn close_least_used(&mut self, out: &mut LogOut) -> bool {
        let candidates = self.segments.values().filter(|segment| segment.is_closable());
        let Some(base) = candidates.min_by_key(|segment| segment.used_at).map(|segment| segment.base) else {
            return false;
        };
        self.close_file(base, out);
        true
    }

    /// Closes a segment's file if it is open.
    pub(super) fn close_file(&mut self, base: i64, out: &mut LogOut) {
        let Some(segment) = self.segments.get_mut(&base) else { return };
        if let FileState::Open(file) = segment.file {
            crate::invariant!(segment.readers == 0, "a segment is closed under its readers");
            segment.file = FileState::Closing(file);
            self.ask(Op::Close { segment: base, file }, DiskOp::Close { file }, out);
        }
    }

    /// An open was answered.
    pub(super) fn open_answer(
        &mut self,
        (base, file): (i64, FileId),
        result: DiskResult,
        now: Now,
        out: &mut LogOut,
        events: &mut Vec<LogEvent>,
    ) {
        let Some(segment) = self.segments.get_mut(&base) else { return };
        let error = match result {
            Ok(DiskOutput::Opened { len }) => {
                if self.loader.is_some() {
                    segment.filled = len;
                }
                segment.file = FileState::Open(file);
                self.note_use(now.mono);
                self.space_seems_back(events);
                return;
            }
            Ok(_) => {
                DiskError { kind: DiskErrorKind::Invalid, detail: "an open was answered with something else".into() }
            }
            Err(error) => error,
        };
        segment.file = FileState::Closed;
        out.files.give_back(file);
        match error.kind {
            DiskErrorKind::TooManyFiles | DiskErrorKind::NoSpace => {
                // Not at once: whoever needs the file asks at every turn.
                segment.open_after = Some(now.mono.plus_ms(SPACE_RETRY_MS));
                self.retry_soon(now.mono);
                if error.kind == DiskErrorKind::NoSpace {
                    self.set_no_space(events);
                }
            }
            _ if self.is_needed(base) => self.fail(format!("opening segment {base}: {}", error.detail), events),
            _ => self.fail_jobs_on(base, ReadError::Io(format!("opening segment {base}: {}", error.detail)), events),
        }
    }

    /// Whether the log cannot go on without the segment's file.
    fn is_needed(&self, base: i64) -> bool {
        self.loader.is_some()
            || self.writer.holds(base)
            || self.segments.get(&base).is_some_and(|segment| !segment.rolled || segment.finish.is_some())
    }

    /// A close was answered: the slot is free even when it failed, as the system has let go of the file in any case.
    pub(super) fn close_answer(&mut self, base: i64, file: FileId, out: &mut LogOut) {
        out.files.give_back(file);
        if let Some(segment) = self.segments.get_mut(&base)
            && segment.file == FileState::Closing(file)
        {
            segment.file = FileState::Closed;
        }
    }

    /// Lets go of the files and indexes that nobody used for a while.
    pub(super) fn drop_idle(&mut self, now: Now, out: &mut LogOut) {
        let idle = |segment: &Segment| segment.is_closable_or_loaded() && now.mono.ms_since(segment.used_at) >= IDLE_MS;
        let bases: Vec<i64> =
            self.segments.values().filter(|segment| idle(segment)).map(|segment| segment.base).collect();
        for base in bases {
            self.close_file(base, out);
            let segment = self.segment_mut(base);
            if matches!(segment.indexes, IndexState::Resident(_)) {
                segment.indexes = IndexState::Absent;
            }
        }
        // A file that is busy or being written for stays out of this; whoever ends that notes the use again.
        let used = self.segments.values().filter(|segment| segment.is_closable_or_loaded());
        self.idle_at = used.map(|segment| segment.used_at.plus_ms(IDLE_MS)).min();
    }

    /// Something was opened or loaded that is to be let go of when it is idle.
    pub(super) fn note_use(&mut self, now: Mono) {
        self.idle_at = sooner(self.idle_at, Some(now.plus_ms(IDLE_MS)));
    }

    /// Indexes were loaded: those of other rolled segments go when together they are too many.
    pub(super) fn keep_index_budget(&mut self, loaded: i64) {
        let idle = self.segments.values().filter(|segment| segment.has_idle_indexes());
        let bytes: usize = idle.map(Segment::index_bytes).sum();
        self.evict_indexes(bytes.saturating_sub(IDLE_INDEXES_MAX), loaded);
    }

    /// Drops the indexes of rolled segments but one, least recently used first, until `bytes` are free or none is left.
    pub(super) fn evict_indexes(&mut self, bytes: usize, kept: i64) {
        let mut freed = 0;
        while freed < bytes {
            let candidates = self.segments.values_mut().filter(|one| one.has_idle_indexes() && one.base != kept);
            let Some(segment) = candidates.min_by_key(|segment| segment.used_at) else { break };
            freed += segment.index_bytes().max(1);
            segment.indexes = IndexState::Absent;
        }
    }
}
