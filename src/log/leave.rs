//! A log goes to another core of the node, as it is: no file is written that would not have been written anyway, and
//! nothing is read again.
//!
//! ```text
//!   Ready ──leave──▶ Leaving ──nothing in flight, files closed──▶ Away ──arrive──▶ Ready, on the new core
//! ```
//! What belongs to a core are operations in flight, file numbers, room for reading ahead, and the journal. So a log
//! that leaves begins nothing new, writes what it has into its segments, waits for every answer and closes its files;
//! what is left is plain data. What it does in steps (finishing a rolled segment, a recovery checkpoint, the removal of
//! old segments) is left where it stands between two steps and goes on at the new core.
//!
//! The host sees to it that nobody appends, and that no fetch is left that would read. Look-ups and reads that are
//! pending end as they would have. A full disk keeps a log from leaving until there is room: what is appended and not
//! written must not get away from those who wait for it.
//!
//! A crash at any time finds a folder as any other crash does.

use crate::base::time::Now;

use super::round::Reach;
use super::types::{LogEvent, LogOut};
use super::{PartitionLog, Phase};

impl PartitionLog {
    /// Whether the log could leave soon.
    pub fn may_leave(&self) -> bool {
        self.phase == Phase::Ready && !self.no_space
    }

    /// Gets ready to go to another core: [`LogEvent::Left`] follows, or [`LogEvent::Failed`]. No effect unless the log
    /// is ready. A close or a deletion may still come before it has left.
    pub fn leave(&mut self, now: Now, out: &mut LogOut, events: &mut Vec<LogEvent>) {
        self.clock = now;
        events.append(&mut self.late_events);
        if self.phase != Phase::Ready {
            return;
        }
        self.phase = Phase::Leaving;
        // The next run finds the same segments.
        self.retaining = None;
        self.pump(now, out, events);
    }

    /// Takes the next step out of the core.
    pub(super) fn pump_leave(&mut self, now: Now, out: &mut LogOut, events: &mut Vec<LogEvent>) {
        // Without its epochs on disk a round does not begin.
        self.epochs_are_written(now, out);
        self.pump_writes(Reach::End, now, out);
        self.pump_rebuilds(now, out);
        self.pump_jobs(now, out, events);
        let settled = self.is_settled_to_leave(now, out);
        let reads = !self.jobs.is_empty() || !self.rebuilding.is_empty();
        let writes = !self.writer.is_idle() || self.epochs_file.in_flight || !settled;
        if self.phase != Phase::Leaving || reads || writes {
            return;
        }
        // Nobody waits in them without a job.
        self.streams.clear(events);
        if self.close_files(out) && self.ops.is_empty() {
            crate::invariant!(!self.lags(), "a log leaves bytes behind that only the journal has");
            self.phase = Phase::Away;
            events.push(LogEvent::Left);
        }
    }

    /// The journal of the old core forgets the log: whether all that it had is on stable storage in the segments. Asks
    /// for what is missing.
    fn is_settled_to_leave(&mut self, now: Now, out: &mut LogOut) -> bool {
        if !self.was_journaled || self.synced_offset == self.end_offset {
            return true;
        }
        self.settle_to = self.end_offset;
        let unsynced = |base: &i64| self.segments.get(base).is_some_and(|segment| segment.synced < segment.size);
        let rolled: Vec<i64> = self.finishing.iter().copied().filter(unsynced).collect();
        for base in rolled {
            self.finish_step(base, now, out);
        }
        self.pump_lazy_sync(now, out);
        false
    }

    /// Goes on at the core that has it now: appends and reads may begin at once. What was left between two steps goes
    /// on as well.
    pub fn arrive(&mut self, now: Now, out: &mut LogOut, events: &mut Vec<LogEvent>) {
        crate::invariant!(self.phase == Phase::Away, "a log arrives that has not left");
        self.phase = Phase::Ready;
        self.clock = now;
        // The next write finds the file open; in page-cache mode the next sync does.
        let active = self.active().base;
        self.ensure_open(active, now, out);
        // Indexes that were in use at the old core are looked after again.
        self.note_use(now.mono);
        self.pump(now, out, events);
    }
}
