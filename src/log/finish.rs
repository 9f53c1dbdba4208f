//! What makes a segment final: exact length, indexes, producer snapshot; in this order, each step after the one before.
//!
//! A rolled segment goes through it once its last write is durable, the active one when the log is closed. The snapshot
//! comes last: where `<base>.snapshot` of the next segment exists, a recovery trusts everything below.

use bytes::Bytes;

use crate::base::time::{Mono, Now};
use crate::port::disk::{DiskErrorKind, DiskOp, DiskResult};

use super::lazy_index::IndexState;
use super::names::{self, FileKind};
use super::ops::Op;
use super::round::SPACE_RETRY_MS;
use super::types::{LogEvent, LogOut};
use super::{PartitionLog, Phase};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    SetLen,
    Index,
    TimeIndex,
    Snapshot,
}

/// How far a segment has come.
#[derive(Debug)]
pub(super) struct Finish {
    step: Step,
    /// The producers as of the segment's end, under the offset they stand for.
    snapshot: Option<(i64, Bytes)>,
    /// The current step is in flight.
    busy: bool,
    /// It found no room and is tried again at this time.
    again_at: Option<Mono>,
}

impl Finish {
    pub fn new(snapshot: Option<(i64, Bytes)>) -> Finish {
        Finish { step: Step::SetLen, snapshot, busy: false, again_at: None }
    }
}

impl PartitionLog {
    /// Takes the next step of every segment that has one.
    pub(super) fn pump_finish(&mut self, now: Now, out: &mut LogOut) {
        // Segments finish soon after their roll, so they are among the last few.
        let bases: Vec<i64> = self.finishing.iter().copied().collect();
        for base in bases {
            self.finish_step(base, now, out);
        }
    }

    pub(super) fn finish_step(&mut self, base: i64, now: Now, out: &mut LogOut) {
        // A start reads nothing below the snapshot.
        let earlier = self.finishing.range(..base).filter_map(|base| self.segments.get(base));
        let earlier_are_synced = earlier.into_iter().all(|segment| segment.synced == segment.size);
        let Some(segment) = self.segments.get_mut(&base) else {
            self.finishing.remove(&base);
            return;
        };
        let doomed = segment.doom.is_some();
        let written = segment.written == segment.size && segment.filling.is_none();
        let Some(finish) = &mut segment.finish else {
            self.finishing.remove(&base);
            return;
        };
        if finish.busy || !written {
            return;
        }
        if let Some(at) = finish.again_at.filter(|at| *at > now.mono) {
            self.retry_by(at);
            return;
        }
        if doomed && finish.step != Step::SetLen {
            // Nobody will need its indexes, but the snapshot is of the producers that go on.
            finish.step = Step::Snapshot;
        }
        let size = segment.size;
        let op = match finish.step {
            Step::SetLen => {
                let Some(file) = self.ensure_open(base, now, out) else { return };
                DiskOp::SetLen { file, len: size }
            }
            // A checkpoint may still be writing the same files.
            _ if self.checkpoints.is_busy() => return,
            Step::Snapshot if !earlier_are_synced => return,
            Step::Index => DiskOp::WriteFile { path: self.path(FileKind::Index, base), data: self.index_data(base) },
            Step::TimeIndex => {
                DiskOp::WriteFile { path: self.path(FileKind::TimeIndex, base), data: self.time_index_data(base) }
            }
            Step::Snapshot => match finish.snapshot.clone() {
                Some((offset, data)) => DiskOp::WriteFile { path: self.path(FileKind::Snapshot, offset), data },
                None => {
                    self.finished(base, out);
                    return;
                }
            },
        };
        if let Some(finish) = &mut self.segment_mut(base).finish {
            finish.busy = true;
        }
        self.ask(Op::Finish { segment: base }, op, out);
    }

    /// A step was answered.
    pub(super) fn finish_answer(
        &mut self,
        base: i64,
        result: DiskResult,
        now: Now,
        out: &mut LogOut,
        events: &mut Vec<LogEvent>,
    ) {
        let Some(segment) = self.segments.get_mut(&base) else { return };
        let (size, doomed) = (segment.size, segment.doom.is_some());
        let Some(finish) = &mut segment.finish else { return };
        finish.busy = false;
        if let Err(error) = result {
            if error.kind == DiskErrorKind::NoSpace {
                if doomed && finish.step == Step::Snapshot {
                    // Its removal is what makes room again; an older snapshot stays until there is a newer one.
                    self.finished(base, out);
                } else if self.phase == Phase::Closing {
                    self.fail(format!("finishing segment {base}: {}", error.detail), events);
                } else {
                    finish.again_at = Some(now.mono.plus_ms(SPACE_RETRY_MS));
                    self.retry_soon(now.mono);
                }
            } else {
                self.fail(format!("finishing segment {base}: {}", error.detail), events);
            }
            return;
        }
        match finish.step {
            Step::SetLen => {
                finish.step = Step::Index;
                segment.filled = size;
                let end = segment.end;
                // It synced the whole file: nothing needs a sync of its own here.
                self.synced(base, size, end.min(self.written_offset));
            }
            Step::Index => finish.step = Step::TimeIndex,
            Step::TimeIndex => finish.step = Step::Snapshot,
            Step::Snapshot => {
                if let Some((offset, _)) = finish.snapshot {
                    self.snapshots.insert(offset);
                    let active = self.active();
                    if active.base == offset {
                        // A recovery reads no further back than this.
                        self.checkpoints.bytes_since = self.checkpoints.bytes_since.min(active.written);
                    }
                }
                self.finished(base, out);
            }
        }
    }

    fn finished(&mut self, base: i64, out: &mut LogOut) {
        self.finishing.remove(&base);
        let segment = self.segment_mut(base);
        segment.finish = None;
        if segment.rolled && segment.readers == 0 {
            self.close_file(base, out);
        }
    }

    pub(super) fn path(&self, kind: FileKind, offset: i64) -> String {
        names::path(&self.dir, kind, offset)
    }

    fn index_data(&mut self, base: i64) -> Bytes {
        match &mut self.segment_mut(base).indexes {
            IndexState::Resident(indexes) => indexes.offset.freeze(),
            _ => unreachable!("the indexes of an unfinished segment stay in memory"),
        }
    }

    fn time_index_data(&mut self, base: i64) -> Bytes {
        match &mut self.segment_mut(base).indexes {
            IndexState::Resident(indexes) => indexes.time.freeze(),
            _ => unreachable!("the indexes of an unfinished segment stay in memory"),
        }
    }
}
