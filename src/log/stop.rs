//! The ends of a log: a clean stop, the deletion of its topic, and what is left to do after a failure.

use crate::base::time::Now;
use crate::port::disk::{DiskErrorKind, DiskOp, DiskResult};

use super::finish::Finish;
use super::names;
use super::ops::Op;
use super::segment::FileState;
use super::types::{LogEvent, LogOut};
use super::{PartitionLog, Phase};

/// How far the log has come with what it does once: being made, closed or deleted.
#[derive(Debug, Default)]
pub(super) struct Stopping {
    /// Steps done.
    pub steps: u8,
    /// The step after those found no room and is to be tried again.
    pub again: bool,
    /// [`LogEvent::Closed`] is owed.
    pub close_asked: bool,
    closing_files: bool,
    /// The folder to be removed could not be renamed.
    keeps_name: bool,
}

impl PartitionLog {
    /// Stops cleanly: everything is written, files get their exact lengths, indexes and the producer snapshot follow,
    /// files are closed. [`LogEvent::Closed`] comes at the end, after [`LogEvent::Failed`] when it could not be clean:
    /// a host must not call its stop clean then. Reads still pending end with [`super::ReadError::Gone`].
    pub fn close(&mut self, now: Now, out: &mut LogOut) {
        self.clock = now;
        let mut events = std::mem::take(&mut self.late_events);
        match self.phase {
            Phase::Ready | Phase::Leaving => {
                self.phase = Phase::Closing;
                self.retaining = None;
                self.fail_all_jobs(&mut events);
            }
            Phase::Offline => self.stopping.close_asked = true,
            // One that is between two cores has nothing to close, and nobody who could ask for it.
            Phase::Away | Phase::Closing | Phase::Closed | Phase::Deleting | Phase::Deleted => {}
            // It closes when it is made; what waits for room is not waited for.
            Phase::Creating if !self.no_space => self.stopping.close_asked = true,
            // Nothing was appended; what was begun is begun again at the next start.
            Phase::Creating | Phase::Loading | Phase::Truncating => {
                self.stopping.close_asked = true;
                self.fail("stopped before it was ready".to_string(), &mut events);
            }
        }
        self.pump(now, out, &mut events);
        self.late_events = events;
    }

    /// Takes the next step of a clean stop.
    pub(super) fn pump_close(&mut self, now: Now, out: &mut LogOut, events: &mut Vec<LogEvent>) {
        if self.phase != Phase::Closing {
            return;
        }
        if self.no_space {
            self.fail("the disk is full, so the log cannot stop cleanly".to_string(), events);
            return;
        }
        let written = self.writer.is_idle() && self.finishing.is_empty() && !self.checkpoints.is_busy();
        if !self.stopping.closing_files {
            if !written || !self.epochs_are_written(now, out) || self.active().filling.is_some() {
                return;
            }
            if self.stopping.steps == 0 {
                self.stopping.steps = 1;
                let snapshot = (self.end_offset, self.producers.encode_snapshot());
                let active = self.active_mut();
                active.close_time_index();
                active.finish = Some(Finish::new(Some(snapshot)));
                let base = active.base;
                self.finishing.insert(base);
                self.pump_finish(now, out);
                return;
            }
            self.stopping.closing_files = true;
        }
        if self.close_files(out) && self.ops.is_empty() {
            self.phase = Phase::Closed;
            self.cache.clear();
            events.push(LogEvent::Closed);
        }
    }

    /// Closes every file as soon as nothing is in flight; true when all are closed.
    pub(super) fn close_files(&mut self, out: &mut LogOut) -> bool {
        if !self.ops.only_closes() {
            return false;
        }
        let open: Vec<i64> =
            self.segments.values().filter(|s| s.open_file().is_some()).map(|segment| segment.base).collect();
        for base in open {
            // Whoever pinned it has no operation in flight and gets no further one.
            self.segment_mut(base).readers = 0;
            self.close_file(base, out);
        }
        self.segments.values().all(|segment| segment.file == FileState::Closed)
    }

    /// After a failure: files are closed once nothing is in flight.
    pub(super) fn pump_offline(&mut self, out: &mut LogOut, events: &mut Vec<LogEvent>) {
        if self.stopping.close_asked && self.close_files(out) && self.ops.is_empty() {
            self.phase = Phase::Closed;
            self.cache.clear();
            events.push(LogEvent::Closed);
        }
    }

    /// Deletes the log with all it holds: the folder is renamed to `<topic>-<partition>.<32 hex digits>-delete`, so
    /// that the name is free at once, files are closed, the folder is removed. [`LogEvent::Deleted`] follows.
    pub fn delete(&mut self, out: &mut LogOut) {
        match self.phase {
            Phase::Deleting | Phase::Deleted => return,
            _ => {}
        }
        self.phase = Phase::Deleting;
        self.retry_at = None;
        self.loader = None;
        self.retaining = None;
        self.stopping = Stopping::default();
        let mut events = std::mem::take(&mut self.late_events);
        self.fail_all_jobs(&mut events);
        self.pump_delete(out, &mut events);
        self.late_events = events;
    }

    /// Renames once nothing is in flight (operations name files by path), then closes, then removes.
    pub(super) fn pump_delete(&mut self, out: &mut LogOut, events: &mut Vec<LogEvent>) {
        if !self.ops.only_closes() {
            return;
        }
        let renamed = names::delete_dir(&self.dir, self.topic_id);
        match self.stopping.steps {
            0 => {
                let from = self.dir.clone();
                self.ask(Op::Delete, DiskOp::Rename { from, to: renamed }, out);
            }
            1 => {
                if self.close_files(out) && self.ops.is_empty() {
                    let path = if self.stopping.keeps_name { self.dir.clone() } else { renamed };
                    self.ask(Op::Delete, DiskOp::RemoveDir { path }, out);
                }
            }
            _ => {
                self.phase = Phase::Deleted;
                self.cache.clear();
                self.segments.clear();
                events.push(LogEvent::Deleted);
            }
        }
    }

    /// The rename or the removal was answered.
    pub(super) fn delete_answer(&mut self, result: DiskResult, events: &mut Vec<LogEvent>) {
        self.stopping.steps += 1;
        let Err(error) = result else { return };
        if error.kind != DiskErrorKind::NotFound {
            // What cannot be renamed is removed under its own name; what cannot be removed is left for the next start.
            let renames = self.stopping.steps == 1;
            self.stopping.keeps_name = renames;
            if error.kind == DiskErrorKind::NoSpace && renames {
                // Nothing is wrong with the disk, and the removal makes room.
                return;
            }
            events.push(LogEvent::Failed(format!("{}: deleting the log: {}", self.dir, error.detail)));
        }
    }
}
