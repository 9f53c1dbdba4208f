//! Cutting the log down to an offset, as a follower does after a change of leaders.
//!
//! Rare, so it is done by the code that must be right anyway: nothing new is begun, what is in flight ends, files are
//! closed, and the folder is loaded again with a limit. Snapshots above the cut are removed first, then later segments
//! newest first, then the tail: after a crash in between a start finds a longer log that is still true, and the
//! follower cuts it again.

use crate::base::time::Now;

use super::types::{AppendError, LoadHints, LogEvent, LogOut};
use super::{PartitionLog, Phase};

impl PartitionLog {
    /// Cuts the log so that it ends at `to`, or before the batch that holds `to`. Appends that were not durable may go
    /// as a whole. [`LogEvent::Truncated`] tells where the log ends; until then it is not ready. Pending reads end with
    /// [`super::ReadError::Gone`]. Below the log start everything goes and the log begins anew at `to`.
    ///
    /// # Errors
    /// [`AppendError::NotReady`] when the log is not ready, and when the core's journal may hold bytes of it: a replay
    /// would bring back what was cut (`journal/JOURNAL.md`).
    pub fn truncate(&mut self, to: i64, now: Now, out: &mut LogOut) -> Result<(), AppendError> {
        if to < self.start_offset {
            return self.truncate_fully(to, now, out);
        }
        self.begin_truncation(Some(to), None, now, out)
    }

    /// Drops everything; the log begins anew, empty, at `start` (the leader's log start lies beyond this log's end).
    /// [`LogEvent::Truncated`] follows as for [`PartitionLog::truncate`].
    pub fn truncate_fully(&mut self, start: i64, now: Now, out: &mut LogOut) -> Result<(), AppendError> {
        self.begin_truncation(None, Some(start.max(0)), now, out)
    }

    fn begin_truncation(
        &mut self,
        limit: Option<i64>,
        restart_at: Option<i64>,
        now: Now,
        out: &mut LogOut,
    ) -> Result<(), AppendError> {
        if self.phase != Phase::Ready || self.was_journaled {
            return Err(AppendError::NotReady);
        }
        self.clock = now;
        let mut events = std::mem::take(&mut self.late_events);
        if limit.is_some_and(|to| to >= self.end_offset) {
            events.push(LogEvent::Truncated(self.end_offset));
        } else {
            self.phase = Phase::Truncating;
            self.truncation = (limit, restart_at);
            self.retaining = None;
            self.fail_all_jobs(&mut events);
            self.pump_truncate(now, out, &mut events);
        }
        self.late_events = events;
        Ok(())
    }

    /// Waits until nothing is in flight and every file is closed, then loads the folder again.
    pub(super) fn pump_truncate(&mut self, now: Now, out: &mut LogOut, _events: &mut Vec<LogEvent>) {
        if !self.close_files(out) || !self.ops.is_empty() {
            return;
        }
        let (limit, restart_at) = self.truncation;
        let log_start = Some(if restart_at.is_some() { 0 } else { self.start_offset });
        let hints = LoadHints { clean: false, recovery_point: None, log_start };
        let mut blank =
            PartitionLog::blank(std::mem::take(&mut self.dir), self.topic_id, self.config.clone(), Phase::Loading);
        blank.clock = now;
        blank.ops = std::mem::take(&mut self.ops);
        blank.late_events = std::mem::take(&mut self.late_events);
        *self = blank;
        self.begin_load(hints, limit, restart_at, true, out);
    }
}
