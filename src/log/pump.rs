//! The entrances of the machine after its birth: an answer from the disk, the end of a turn, a due time.
//!
//! Each ends in [`PartitionLog::pump`], which takes every next step that is possible; no other code decides when.

use crate::base::time::{Mono, Now};
use crate::port::disk::{DiskErrorKind, DiskOp, DiskResult};

use super::epochs::UNDEFINED_EPOCH;
use super::ops::Op;
use super::round::{Reach, SPACE_RETRY_MS};
use super::types::{LogEvent, LogOut, LogTag, sooner};
use super::{PartitionLog, Phase, names};

impl PartitionLog {
    /// Takes the answer to an operation.
    pub fn complete(
        &mut self,
        tag: LogTag,
        result: DiskResult,
        now: Now,
        out: &mut LogOut,
        events: &mut Vec<LogEvent>,
    ) {
        self.clock = now;
        events.append(&mut self.late_events);
        let Some(op) = self.ops.take(tag) else {
            // Only a host that mixes up its logs can do that.
            unreachable!("{}: an answer to {tag:?}, which is not in flight", self.dir);
        };
        match op {
            Op::Open { segment, file } => self.open_answer((segment, file), result, now, out, events),
            Op::Close { segment, file } => self.close_answer(segment, file, out),
            Op::Read { job } => self.read_answer(job, result, now, out, events),
            Op::Delete => self.delete_answer(result, events),
            // After a failure, and while what is in memory is about to be thrown away, only files are kept track of.
            _ if matches!(self.phase, Phase::Offline | Phase::Deleting | Phase::Truncating) => {
                self.write_off(op, result, events);
            }
            _ => self.dispatch(op, result, now, out, events),
        }
        self.pump(now, out, events);
    }

    fn dispatch(&mut self, op: Op, result: DiskResult, now: Now, out: &mut LogOut, events: &mut Vec<LogEvent>) {
        match op {
            Op::Create => self.create_answer(result, now, out, events),
            Op::Load => self.load_answer(result, now, out, events),
            Op::Write | Op::RoundSync => self.round_answer(result.err(), now, out, events),
            Op::LazySync { segment, position, offset } => {
                self.lazy_sync_answer((segment, position, offset), result.err(), out, events);
            }
            Op::Fill { segment, to } => self.fill_answer(segment, to, result.err(), events),
            Op::Finish { segment } => self.finish_answer(segment, result, now, out, events),
            Op::Checkpoint => self.checkpoint_answer(result, now, out, events),
            Op::Epochs => self.epochs_answer(result, now, events),
            Op::IndexRead { segment, kind } => self.index_answer(segment, kind, result, now),
            Op::RebuildRead { segment } => self.rebuild_answer(segment, result, now, out, events),
            Op::Doom { segment } => self.doom_answer(segment, result, now, out, events),
            Op::RebuildWrite { .. } | Op::DropSnapshot => {
                if let Op::RebuildWrite { segment } = op {
                    self.segment_mut(segment).rebuild_writes -= 1;
                }
                // Neither is needed for correctness, but a disk that fails here fails.
                if let Err(error) = result
                    && error.kind == DiskErrorKind::Io
                {
                    self.fail(format!("writing beside the log: {}", error.detail), events);
                }
            }
            Op::Open { .. } | Op::Close { .. } | Op::Read { .. } | Op::Delete => unreachable!("handled before"),
        }
    }

    /// Book-keeping for an answer that nobody waits for any more.
    fn write_off(&mut self, op: Op, result: DiskResult, events: &mut Vec<LogEvent>) {
        if let Op::Fill { segment, .. } = op
            && let Some(segment) = self.segments.get_mut(&segment)
        {
            segment.filling = None;
        }
        // The folder is about to be read again: what a failed write left there must not be believed.
        let writes = !matches!(op, Op::IndexRead { .. } | Op::RebuildRead { .. });
        if let Err(error) = result
            && self.phase == Phase::Truncating
            && writes
            && !matches!(error.kind, DiskErrorKind::NoSpace | DiskErrorKind::NotFound)
        {
            self.fail(format!("a write before the truncation failed: {}", error.detail), events);
        }
    }

    /// The end of a turn: hands everything appended to the disk, unless a write is in flight already; then it follows
    /// as soon as that one is done, or with the next flush when the settings say that writes wait for it.
    pub fn flush(&mut self, now: Now, out: &mut LogOut) {
        self.clock = now;
        if self.phase == Phase::Ready {
            self.pump_writes(Reach::End, now, out);
        }
    }

    /// Does what is due; see [`PartitionLog::next_wake`].
    pub fn wake(&mut self, now: Now, out: &mut LogOut, events: &mut Vec<LogEvent>) {
        self.clock = now;
        events.append(&mut self.late_events);
        if self.idle_at.is_some_and(|at| at <= now.mono) && self.phase == Phase::Ready {
            self.drop_idle(now, out);
        }
        self.pump(now, out, events);
    }

    /// Bytes of appends in the disk's hands; 0 as well when they stay there until something outside changes.
    pub fn writing_bytes(&self) -> u64 {
        match self.phase {
            Phase::Ready | Phase::Leaving | Phase::Closing => self.round_bytes(),
            _ => 0,
        }
    }

    /// When [`PartitionLog::wake`] wants to be called; nothing happens by itself before.
    pub fn next_wake(&self) -> Option<Mono> {
        if !self.late_events.is_empty() {
            return Some(self.clock.mono);
        }
        // Only what the phase will act upon: a time that stays due would wake the log for ever.
        let serves = self.phase == Phase::Ready;
        let writes = matches!(self.phase, Phase::Ready | Phase::Leaving | Phase::Closing);
        let times = [
            self.retry_at,
            self.round_wake().filter(|_| writes),
            self.epochs_file.retry_at.filter(|_| writes),
            if serves { self.lazy_sync_wake() } else { None },
            self.doom_wake().filter(|_| serves),
            self.idle_at.filter(|_| serves),
            self.streams.next_wake().filter(|_| serves),
        ];
        times.into_iter().fold(None, sooner)
    }

    /// Takes every next step that is possible.
    pub(super) fn pump(&mut self, now: Now, out: &mut LogOut, events: &mut Vec<LogEvent>) {
        if self.retry_at.is_some_and(|at| at <= now.mono) {
            self.retry_at = None;
        }
        match self.phase {
            Phase::Creating => self.pump_create(now, out, events),
            Phase::Loading => self.pump_load(now, out, events),
            Phase::Ready | Phase::Closing => {
                self.epochs_are_written(now, out);
                let behind = self.writer.pending_bytes == 0 && !self.writer.queue.is_empty();
                if self.phase == Phase::Closing || !self.config.writes_wait_for_flush || behind {
                    self.pump_writes(Reach::End, now, out);
                } else if self.write_back_asked {
                    self.pump_write_back(now, out);
                } else {
                    self.retry_round(now, out);
                }
                self.pump_finish(now, out);
                self.pump_checkpoint(out);
                self.pump_lazy_sync(now, out);
                self.pump_rebuilds(now, out);
                self.pump_jobs(now, out, events);
                self.pump_ahead(now, out);
                self.pump_retain(out, events);
                self.pump_doom(now, out);
                self.pump_close(now, out, events);
            }
            Phase::Truncating => self.pump_truncate(now, out, events),
            Phase::Leaving => self.pump_leave(now, out, events),
            Phase::Deleting => self.pump_delete(out, events),
            Phase::Offline => self.pump_offline(out, events),
            Phase::Away | Phase::Closed | Phase::Deleted => {}
        }
    }

    /// Takes the log offline for good.
    pub(super) fn fail(&mut self, reason: String, events: &mut Vec<LogEvent>) {
        if matches!(self.phase, Phase::Offline | Phase::Deleting | Phase::Deleted | Phase::Closed) {
            return;
        }
        self.stopping.close_asked |= self.phase == Phase::Closing;
        self.phase = Phase::Offline;
        self.loader = None;
        self.fail_all_jobs(events);
        events.push(LogEvent::Failed(format!("{}: {reason}", self.dir)));
    }

    /// Whether `leader-epoch-checkpoint` says all that is known; asks for it to be written when it does not.
    pub(super) fn epochs_are_written(&mut self, now: Now, out: &mut LogOut) -> bool {
        if self.epochs_file.in_flight || self.epochs_file.retry_at.is_some_and(|at| at > now.mono) {
            return false;
        }
        if !self.epochs_file.dirty {
            return true;
        }
        self.epochs_file = super::EpochsFile { dirty: false, in_flight: true, retry_at: None };
        let path = format!("{}/{}", self.dir, names::EPOCHS);
        let data = self.epochs.encode().into();
        self.ask(Op::Epochs, DiskOp::WriteFile { path, data }, out);
        false
    }

    fn epochs_answer(&mut self, result: DiskResult, now: Now, events: &mut Vec<LogEvent>) {
        self.epochs_file.in_flight = false;
        let Err(error) = result else {
            self.space_seems_back(events);
            return;
        };
        if error.kind == DiskErrorKind::NoSpace {
            self.epochs_file.dirty = true;
            self.epochs_file.retry_at = Some(now.mono.plus_ms(SPACE_RETRY_MS));
            self.set_no_space(events);
        } else {
            self.fail(format!("writing {}: {}", names::EPOCHS, error.detail), events);
        }
    }

    /// Opens a new leader epoch at the log end, as a new leader does before its first append. No effect unless it is
    /// larger than the latest.
    pub fn assign_epoch(&mut self, epoch: i32, now: Now, out: &mut LogOut) {
        if self.phase == Phase::Ready && self.epochs.assign(epoch, self.end_offset) {
            self.epochs_file.dirty = true;
            self.epochs_are_written(now, out);
        }
    }

    /// The largest epoch at or below `epoch` that the log knows, and where it ends; (-1, -1) when `epoch` is newer than
    /// all (OffsetForLeaderEpoch, KIP-279; see [`super::epochs::EpochCache::end_offset_for`]).
    pub fn epoch_end(&self, epoch: i32) -> (i32, i64) {
        self.epochs.end_offset_for(epoch, self.end_offset)
    }

    /// The leader epoch of the record at `offset`; -1 when the log does not know.
    pub fn epoch_for(&self, offset: i64) -> i32 {
        self.epochs.epoch_for_offset(offset).unwrap_or(UNDEFINED_EPOCH)
    }

    /// The newest leader epoch in the log; -1 when there is none.
    pub fn latest_epoch(&self) -> i32 {
        self.epochs.latest().map_or(UNDEFINED_EPOCH, |entry| entry.epoch)
    }
}
