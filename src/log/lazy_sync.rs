//! Syncs that no append waits for, and the book-keeping of what is on stable storage.
//!
//! Page-cache mode: writes count as durable at once, and a sync follows after so many records or so long, as
//! `flush.messages` and `flush.ms` say. Otherwise: what the journal has is written into the segment without a sync,
//! which follows when the journal wants to let go of it ([`PartitionLog::settle`]).

use crate::base::time::{Mono, Now};
use crate::port::disk::{DiskError, DiskOp};

use super::ops::Op;
use super::types::{Durability, LogEvent, LogOut};
use super::{PartitionLog, Phase};

/// What was written and not synced.
#[derive(Debug, Default)]
pub(super) struct Unsynced {
    records: u64,
    since: Option<Mono>,
    in_flight: bool,
}

impl Unsynced {
    pub fn written(&mut self, records: u64, now: Mono) {
        self.records = self.records.saturating_add(records);
        self.since.get_or_insert(now);
    }

    pub fn clear(&mut self) {
        self.records = 0;
        self.since = None;
    }
}

impl PartitionLog {
    /// Asks for everything that is durable now to be on stable storage in the segments, so that the journal need not
    /// keep it; without an effect when it is.
    pub fn settle(&mut self, now: Now, out: &mut LogOut) {
        self.clock = now;
        if self.phase == Phase::Ready && self.synced_offset < self.durable_offset {
            self.settle_to = self.durable_offset;
            self.write_back(now, out);
            self.pump_lazy_sync(now, out);
        }
    }

    /// Whether somebody waits for the segments to be on stable storage.
    pub(super) fn is_settling(&self) -> bool {
        self.synced_offset < self.settle_to
    }

    fn wants_lazy_sync(&self, now: Now) -> bool {
        if self.is_settling() && self.settle_to <= self.written_offset && !self.active().is_synced() {
            return matches!(self.phase, Phase::Ready | Phase::Leaving);
        }
        let Durability::PageCache { messages, .. } = self.config.durability else { return false };
        let late = self.lazy_sync_wake().is_some_and(|at| at <= now.mono);
        self.phase == Phase::Ready && self.unsynced.records > 0 && (self.unsynced.records >= messages || late)
    }

    /// Syncs the active segment when there is a reason to. Rolled segments are synced when they are cut to length.
    pub(super) fn pump_lazy_sync(&mut self, now: Now, out: &mut LogOut) {
        if self.unsynced.in_flight || !self.wants_lazy_sync(now) {
            return;
        }
        let active = self.active();
        let (segment, position, offset) = (active.base, active.written, self.written_offset);
        let Some(file) = active.open_file() else { return };
        self.unsynced.clear();
        self.unsynced.in_flight = true;
        self.active_mut().readers += 1;
        self.ask(Op::LazySync { segment, position, offset }, DiskOp::Sync { file }, out);
    }

    pub(super) fn lazy_sync_answer(
        &mut self,
        (segment, position, offset): (i64, u64, i64),
        error: Option<DiskError>,
        out: &mut LogOut,
        events: &mut Vec<LogEvent>,
    ) {
        self.unsynced.in_flight = false;
        self.unpin(segment);
        match error {
            None => {
                self.synced(segment, position, offset);
                if self.checkpoints.is_asked() {
                    self.checkpoint_soon(out);
                }
            }
            Some(error) => self.fail(format!("syncing the log failed: {}", error.detail), events),
        }
    }

    pub(super) fn lazy_sync_wake(&self) -> Option<Mono> {
        let Durability::PageCache { ms, .. } = self.config.durability else { return None };
        // A new active segment is synced once its file is open; the end of the one before it syncs what lies there.
        if self.unsynced.in_flight || self.active().open_file().is_none() {
            return None;
        }
        self.unsynced.since.map(|since| since.plus_ms(ms)).filter(|at| at.0 != u64::MAX)
    }

    /// A segment is on stable storage up to `position`, where `offset` is the next one.
    pub(super) fn synced(&mut self, base: i64, position: u64, offset: i64) {
        let segment = self.segment_mut(base);
        segment.synced = segment.synced.max(position);
        let whole = |bases: &mut dyn Iterator<Item = &i64>| {
            bases.filter_map(|base| self.segments.get(base)).all(|segment| segment.synced == segment.size)
        };
        let active = self.active();
        if whole(&mut self.finishing.range(..active.base)) && active.is_synced() {
            // The last of those before the active one may have been synced after it.
            self.synced_offset = self.written_offset;
        } else if whole(&mut self.finishing.range(..base)) {
            self.synced_offset = self.synced_offset.max(offset);
        }
    }
}
