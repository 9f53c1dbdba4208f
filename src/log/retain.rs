//! What may go: by request (DeleteRecords), by age, by size. Whole segments only, oldest first, never the active one:
//! it is rolled first when it has to go.
//!
//! The log start moves at once. A segment below it is *doomed*: when its readers are gone its files are renamed to
//! `.deleted` (the `.log` first, so that a start after a crash finds no half segment), closed, and removed after
//! `file.delete.delay.ms`.

use crate::base::time::{Mono, Now};
use crate::port::disk::{DiskErrorKind, DiskOp, DiskResult};

use super::lazy_index::IndexState;
use super::names::{FileKind, Leftover, leftover_path};
use super::ops::Op;
use super::round::SPACE_RETRY_MS;
use super::segment::{Doom, FileState, Segment};
use super::types::{DeleteError, LogEvent, LogOut, sooner};
use super::{PartitionLog, Phase};

/// The files of a segment that go with it, in order. Producer snapshots go by their own rule.
const DOOMED_KINDS: [FileKind; 4] = [FileKind::Log, FileKind::Index, FileKind::TimeIndex, FileKind::TxnIndex];

impl PartitionLog {
    /// Moves the log start up to `before` (DeleteRecords) and returns where it is now. The host keeps it in
    /// `log-start-offset-checkpoint`.
    ///
    /// # Errors
    /// When `before` lies above what is durable (the host allows the high watermark at most), or the log is not ready.
    pub fn delete_records(&mut self, before: i64, now: Now, out: &mut LogOut) -> Result<i64, DeleteError> {
        if self.phase != Phase::Ready {
            return Err(DeleteError::Unavailable);
        }
        if before > self.durable_offset {
            return Err(DeleteError::OutOfRange);
        }
        if before > self.start_offset {
            self.move_start(before);
            self.doom_below_start();
            self.epochs_are_written(now, out);
            self.pump_doom(now, out);
        }
        Ok(self.start_offset)
    }

    /// Applies `retention.ms` and `retention.bytes`, below the high watermark. To be called every
    /// `log.retention.check.interval.ms`. [`LogEvent::LogStartMoved`] tells what came of it, perhaps later: the largest
    /// timestamp of a segment may have to be read first.
    pub fn retain(&mut self, now: Now, high_watermark: i64, out: &mut LogOut, events: &mut Vec<LogEvent>) {
        if self.phase == Phase::Ready {
            self.clock = now;
            self.retaining = Some((now.wall_ms, high_watermark.min(self.durable_offset)));
            self.pump_retain(out, events);
            self.pump_doom(now, out);
        }
    }

    /// Goes on with a retention run.
    pub(super) fn pump_retain(&mut self, out: &mut LogOut, events: &mut Vec<LogEvent>) {
        let Some((now_ms, high_watermark)) = self.retaining else { return };
        if self.phase != Phase::Ready {
            self.retaining = None;
            return;
        }
        let mut start = self.start_offset;
        let mut total = self.size_bytes();
        let limit = self.config.retention_bytes;
        let bases: Vec<i64> = self.segments.values().filter(|s| s.is_live()).map(|s| s.base).collect();
        for base in bases {
            let segment = &self.segments[&base];
            let (end, size) = (self.end_of(segment), segment.size);
            if end > high_watermark || size == 0 {
                break;
            }
            let too_large = limit >= 0 && total.saturating_sub(size) >= limit as u64;
            let too_old = match self.is_too_old(base, now_ms, out) {
                Some(old) => old,
                None if too_large => true,
                // Its time index is on its way; this run goes on when it is here.
                None => {
                    self.advance_start(start, events);
                    return;
                }
            };
            if !too_large && !too_old {
                break;
            }
            total -= size;
            start = end;
        }
        self.retaining = None;
        self.advance_start(start, events);
    }

    /// One behind the last offset of a segment.
    fn end_of(&self, segment: &Segment) -> i64 {
        if segment.rolled { segment.end } else { self.end_offset }
    }

    /// Whether all of a segment is older than `retention.ms`; `None` while its largest timestamp is being read.
    fn is_too_old(&mut self, base: i64, now_ms: i64, out: &mut LogOut) -> Option<bool> {
        let limit = self.config.retention_ms;
        if limit < 0 {
            return Some(false);
        }
        let now = self.clock;
        if self.segments[&base].max_stamp.is_none() {
            self.ensure_indexes(base, now, out);
        }
        let segment = &self.segments[&base];
        let stamp = segment.max_stamp?;
        // Without any timestamp the segment's own age counts, as in Apache Kafka.
        let newest = if stamp.timestamp >= 0 { stamp.timestamp } else { segment.created_ms };
        Some(now_ms.saturating_sub(newest) > limit)
    }

    fn advance_start(&mut self, start: i64, events: &mut Vec<LogEvent>) {
        if start > self.start_offset {
            self.move_start(start);
            events.push(LogEvent::LogStartMoved(start));
        }
        self.doom_below_start();
    }

    fn move_start(&mut self, start: i64) {
        self.start_offset = start;
        self.producers.remove_below(start);
        if self.epochs.truncate_from_start(start) {
            self.epochs_file.dirty = true;
        }
    }

    /// Dooms every segment that ends at or below the log start; rolls the active one first when it does.
    pub(super) fn doom_below_start(&mut self) {
        let start = self.start_offset;
        let active = self.active();
        if active.size > 0 && self.end_offset <= start && active.durable == active.size {
            let now = self.clock;
            self.roll(start, now);
        }
        let last = self.active().base;
        let below: Vec<i64> = self
            .segments
            .range(..last)
            .filter(|(_, segment)| segment.is_live() && segment.end <= start)
            .map(|(&base, _)| base)
            .collect();
        for base in below {
            self.segment_mut(base).doom = Some(Doom::Waiting);
            self.doomed.insert(base);
        }
    }

    /// Takes the next step of every doomed segment.
    pub(super) fn pump_doom(&mut self, now: Now, out: &mut LogOut) {
        if self.phase != Phase::Ready {
            return;
        }
        let bases: Vec<i64> = self.doomed.iter().copied().collect();
        for base in bases {
            self.doom_step(base, now, out);
            // Oldest first: after a crash there must be no hole between the segments that are left.
            let stage = self.segments.get(&base).and_then(|segment| segment.doom);
            if matches!(stage, Some(Doom::Waiting | Doom::Renaming(_) | Doom::Again { removes: false, .. })) {
                break;
            }
        }
    }

    fn doom_step(&mut self, base: i64, now: Now, out: &mut LogOut) {
        // The file of the active segment is what tells a start after a crash where the log ends: it is there before the
        // last segment before it goes. On a full disk it may be missing although batches wait for it in memory; then
        // the last one stays until something else makes room.
        let active = self.active();
        let (active, has_file) = (active.base, active.written > 0);
        let is_last = self.segments.range(base + 1..).next().is_some_and(|(&next, _)| next == active);
        let waits = is_last && !has_file && self.segments[&base].doom == Some(Doom::Waiting);
        if waits && self.ensure_open(active, now, out).is_none() {
            return;
        }
        let written = !self.writer.holds(base) && !self.checkpoints.is_busy();
        let segment = self.segment_mut(base);
        let free = segment.readers == 0
            && segment.filling.is_none()
            && segment.rebuild_writes == 0
            && !matches!(segment.indexes, IndexState::Loading { .. })
            && segment.finish.is_none();
        match segment.doom {
            Some(Doom::Waiting) if free && written => match segment.file {
                FileState::Open(_) => self.close_file(base, out),
                FileState::Closed => {
                    segment.doom = Some(Doom::Renaming(0));
                    segment.indexes = IndexState::Absent;
                    self.rename_doomed(base, 0, out);
                }
                FileState::Opening(_) | FileState::Closing(_) => {}
            },
            Some(Doom::Delayed(at)) if at <= now.mono => {
                segment.doom = Some(Doom::Removing(0));
                self.remove_doomed(base, 0, out);
            }
            Some(Doom::Again { removes, step, at }) if at <= now.mono => {
                segment.doom = Some(if removes { Doom::Removing(step) } else { Doom::Renaming(step) });
                if removes {
                    self.remove_doomed(base, usize::from(step), out);
                } else {
                    self.rename_doomed(base, usize::from(step), out);
                }
            }
            _ => {}
        }
    }

    fn rename_doomed(&mut self, base: i64, step: usize, out: &mut LogOut) {
        let from = self.path(DOOMED_KINDS[step], base);
        let to = leftover_path(&self.dir, DOOMED_KINDS[step], base, Leftover::Deleted);
        self.ask(Op::Doom { segment: base }, DiskOp::Rename { from, to }, out);
    }

    fn remove_doomed(&mut self, base: i64, step: usize, out: &mut LogOut) {
        let path = leftover_path(&self.dir, DOOMED_KINDS[step], base, Leftover::Deleted);
        self.ask(Op::Doom { segment: base }, DiskOp::Remove { path }, out);
    }

    /// A rename or removal was answered: the next file, or the next stage.
    pub(super) fn doom_answer(
        &mut self,
        base: i64,
        result: DiskResult,
        now: Now,
        out: &mut LogOut,
        events: &mut Vec<LogEvent>,
    ) {
        match result {
            Err(error) if error.kind == DiskErrorKind::NoSpace => return self.doom_again(base, now),
            Err(error) if error.kind != DiskErrorKind::NotFound => {
                self.fail(format!("removing segment {base}: {}", error.detail), events);
                return;
            }
            _ => {}
        }
        let delay = self.config.delete_delay_ms;
        let Some(segment) = self.segments.get_mut(&base) else { return };
        match segment.doom {
            Some(Doom::Renaming(step)) => {
                let next = step + 1;
                if usize::from(next) < DOOMED_KINDS.len() {
                    segment.doom = Some(Doom::Renaming(next));
                    self.rename_doomed(base, usize::from(next), out);
                } else {
                    segment.doom = Some(Doom::Delayed(now.mono.plus_ms(delay)));
                    self.drop_snapshots_below_start(out);
                }
            }
            Some(Doom::Removing(step)) => {
                let next = step + 1;
                if usize::from(next) < DOOMED_KINDS.len() {
                    segment.doom = Some(Doom::Removing(next));
                    self.remove_doomed(base, usize::from(next), out);
                } else {
                    self.doomed.remove(&base);
                    self.segments.remove(&base);
                }
            }
            Some(Doom::Waiting | Doom::Delayed(_) | Doom::Again { .. }) | None => {}
        }
    }

    /// There was no room for a step of a removal, which is what makes room: it is tried again.
    fn doom_again(&mut self, base: i64, now: Now) {
        let at = now.mono.plus_ms(SPACE_RETRY_MS);
        let Some(segment) = self.segments.get_mut(&base) else { return };
        segment.doom = match segment.doom {
            Some(Doom::Renaming(step)) => Some(Doom::Again { removes: false, step, at }),
            Some(Doom::Removing(step)) => Some(Doom::Again { removes: true, step, at }),
            other => other,
        };
    }

    /// No recovery begins below the first segment that is left, if there is a snapshot to begin from.
    fn drop_snapshots_below_start(&mut self, out: &mut LogOut) {
        let Some(first) = self.segments.values().find(|segment| segment.is_live()).map(|segment| segment.base) else {
            return;
        };
        let mut below: Vec<i64> = self.snapshots.range(..first).copied().collect();
        if self.snapshots.range(first..).next().is_none() {
            below.pop();
        }
        for offset in below {
            self.drop_snapshot(offset, out);
        }
    }

    /// When the next doomed segment's delay is over, or its next attempt due.
    pub(super) fn doom_wake(&self) -> Option<Mono> {
        let delays = self.doomed.iter().filter_map(|base| match self.segments.get(base)?.doom {
            Some(Doom::Delayed(at) | Doom::Again { at, .. }) => Some(at),
            _ => None,
        });
        delays.fold(None, |a, b| sooner(a, Some(b)))
    }
}
