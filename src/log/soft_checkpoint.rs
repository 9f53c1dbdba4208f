//! The soft recovery checkpoint: so that a start after a crash reads megabytes, not a whole segment.
//!
//! Every `recovery_checkpoint_bytes` of durable data: the active segment's indexes up to there are written, then a
//! producer snapshot named by that durable offset. A recovery begins at the newest snapshot and trusts the indexes
//! below it. The newest two are kept (the older one for the case that the newer turns out damaged), besides those at
//! segment bases.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::base::time::Now;
use crate::port::disk::{DiskErrorKind, DiskOp, DiskResult};

use super::lazy_index::IndexState;
use super::names::FileKind;
use super::ops::Op;
use super::types::{LogEvent, LogOut};
use super::{PartitionLog, Phase};

/// A checkpoint that is asked for is worth its three files and their syncs when it spares a recovery this much, bytes.
const ASKED_BYTES_MIN: u64 = 4 << 20;
/// ... and this many times what its index files hold, as they are written whole.
const ASKED_INDEX_FACTOR: u64 = 8;
/// Soft snapshots kept.
const SOFT_SNAPSHOTS_MAX: usize = 2;

/// The state of the log at the end of a round, to be written once the round is durable.
#[derive(Debug)]
pub(super) struct Capture {
    segment: i64,
    offset: i64,
    index: Bytes,
    time_index: Bytes,
    snapshot: Bytes,
}

#[derive(Debug, Default)]
pub(super) struct Checkpoints {
    /// Bytes of segments since the last checkpoint was begun; what only the journal has is not counted.
    pub bytes_since: u64,
    /// The host wants one as soon as may be.
    asked: bool,
    /// Files still to be written, in order; the front one is in flight when `busy`.
    steps: VecDeque<DiskOp>,
    busy: bool,
    /// What the last step makes valid.
    offset: i64,
}

impl Checkpoints {
    pub fn is_busy(&self) -> bool {
        !self.steps.is_empty()
    }

    /// The host waits for one.
    pub fn is_asked(&self) -> bool {
        self.asked
    }
}

impl PartitionLog {
    /// Takes a copy of what a checkpoint at the end of a round needs, when one is due and the round ends the log.
    pub(super) fn capture_checkpoint(&mut self, segment: i64, position: u64, offset: i64) -> Option<Box<Capture>> {
        let target = self.segments.get(&segment)?;
        let added = position - target.written;
        let due = self.checkpoint_is_due(added);
        let target = self.segments.get_mut(&segment)?;
        // A segment before this one that is not final yet may lack its sync.
        if !due
            || !self.finishing.is_empty()
            || self.checkpoints.is_busy()
            || offset != self.end_offset
            || target.rolled
        {
            return None;
        }
        target.close_time_index();
        let IndexState::Resident(indexes) = &target.indexes else { return None };
        Some(Box::new(Capture {
            segment,
            offset,
            index: indexes.offset.copy(),
            time_index: indexes.time.copy(),
            snapshot: self.producers.encode_snapshot(),
        }))
    }

    /// Whether a round that adds so many bytes to a segment should be one that a checkpoint is taken behind.
    pub(super) fn checkpoint_is_due(&self, added: u64) -> bool {
        let bytes = self.checkpoints.bytes_since + added;
        self.checkpoints.asked || bytes >= u64::from(self.config.recovery_checkpoint_bytes)
    }

    /// The round of a capture is durable: its files may follow.
    pub(super) fn begin_checkpoint(&mut self, capture: Capture) {
        let Capture { segment, offset, index, time_index, snapshot } = capture;
        let steps = [
            DiskOp::WriteFile { path: self.path(FileKind::Index, segment), data: index },
            DiskOp::WriteFile { path: self.path(FileKind::TimeIndex, segment), data: time_index },
            DiskOp::WriteFile { path: self.path(FileKind::Snapshot, offset), data: snapshot },
        ];
        self.checkpoints = Checkpoints { bytes_since: 0, asked: false, steps: steps.into(), busy: false, offset };
    }

    /// About what a recovery would have to read now, bytes.
    pub fn recovery_bytes(&self) -> u64 {
        self.checkpoints.bytes_since
    }

    /// Asks for a checkpoint: now when nothing is being written, else with the next round. False when it would cost
    /// more than it is worth, or cannot be.
    pub fn checkpoint_soon(&mut self, out: &mut LogOut) -> bool {
        let bytes = self.checkpoints.bytes_since;
        let Some(active) = self.segments.values().next_back() else { return false };
        let worth = bytes >= ASKED_BYTES_MIN && bytes >= ASKED_INDEX_FACTOR * active.index_bytes() as u64;
        if !worth || self.phase != Phase::Ready || self.checkpoints.is_busy() {
            return self.checkpoints.asked;
        }
        self.checkpoints.asked = true;
        let (segment, position, offset) = (active.base, active.written, self.durable_offset);
        if self.writer.is_idle()
            && self.synced_offset == offset
            && let Some(capture) = self.capture_checkpoint(segment, position, offset)
        {
            self.begin_checkpoint(*capture);
            self.pump_checkpoint(out);
        }
        true
    }

    pub(super) fn pump_checkpoint(&mut self, out: &mut LogOut) {
        if self.checkpoints.busy {
            return;
        }
        if let Some(step) = self.checkpoints.steps.front().cloned() {
            self.checkpoints.busy = true;
            self.ask(Op::Checkpoint, step, out);
        }
    }

    pub(super) fn checkpoint_answer(
        &mut self,
        result: DiskResult,
        now: Now,
        out: &mut LogOut,
        events: &mut Vec<LogEvent>,
    ) {
        self.checkpoints.busy = false;
        if let Err(error) = result {
            if error.kind == DiskErrorKind::NoSpace {
                // Not needed for correctness: give it up, try a new one later.
                self.checkpoints.steps.clear();
                self.retry_soon(now.mono);
            } else {
                self.fail(format!("writing a recovery checkpoint: {}", error.detail), events);
            }
            return;
        }
        self.checkpoints.steps.pop_front();
        if self.checkpoints.steps.is_empty() {
            let offset = self.checkpoints.offset;
            self.snapshots.insert(offset);
            self.drop_soft_snapshots(out);
        }
    }

    /// Removes soft snapshots beyond the newest ones.
    fn drop_soft_snapshots(&mut self, out: &mut LogOut) {
        let soft: Vec<i64> =
            self.snapshots.iter().copied().filter(|offset| !self.segments.contains_key(offset)).collect();
        let surplus = soft.len().saturating_sub(SOFT_SNAPSHOTS_MAX);
        for offset in soft.into_iter().take(surplus) {
            self.drop_snapshot(offset, out);
        }
    }

    pub(super) fn drop_snapshot(&mut self, offset: i64, out: &mut LogOut) {
        self.snapshots.remove(&offset);
        let path = self.path(FileKind::Snapshot, offset);
        self.ask(Op::DropSnapshot, DiskOp::Remove { path }, out);
    }
}
