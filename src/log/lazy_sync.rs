//! Page-cache mode: writes count as durable at once, and a sync follows after so many records or so long, as
//! `flush.messages` and `flush.ms` say. Also the book-keeping of what is on stable storage, in either mode.

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
    /// Syncs the active segment when a limit is reached. Rolled segments are synced when they are cut to length.
    pub(super) fn pump_lazy_sync(&mut self, now: Now, out: &mut LogOut) {
        let Durability::PageCache { messages, .. } = self.config.durability else { return };
        if self.phase != Phase::Ready || self.unsynced.in_flight || self.unsynced.records == 0 {
            return;
        }
        let late = self.lazy_sync_wake().is_some_and(|at| at <= now.mono);
        if self.unsynced.records < messages && !late {
            return;
        }
        let active = self.active();
        let (segment, position, offset) = (active.base, active.durable, self.durable_offset);
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
        events: &mut Vec<LogEvent>,
    ) {
        self.unsynced.in_flight = false;
        self.unpin(segment);
        match error {
            None => self.synced(segment, position, offset),
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
        let earlier = self.finishing.range(..base);
        let whole = earlier.filter_map(|base| self.segments.get(base)).all(|s| s.synced == s.size);
        if whole {
            self.synced_offset = self.synced_offset.max(offset);
        }
    }
}
