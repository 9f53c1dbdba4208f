//! Look-ups by time (ListOffsets): the first record at or after a timestamp, or the first with the largest timestamp.
//!
//! As Apache Kafka does it: skip the segments that are older as a whole, ask the time index where to begin, walk the
//! batches by their max timestamp, and open the first that can hold the record. Jobs as in `read.rs`, from the disk
//! only.

use crate::base::time::Now;
use crate::batch::records;

use super::lazy_index::IndexState;
use super::read::{Kind, Piece, Verdict, corrupt};
use super::segment::MaxStamp;
use super::types::{LogEvent, LogOut, ReadId, TimeOutcome, TimePoint, TimeTarget};
use super::{PartitionLog, Phase};

#[derive(Clone, Copy, Debug)]
enum Stage {
    /// Looking for this timestamp or a later one.
    AtOrAfter(i64),
    /// Asking every segment for its largest timestamp; the best so far, and whose it is.
    Survey(Option<(i64, MaxStamp)>),
    /// Going to the batch that ends at this offset.
    Locate(i64),
}

/// A look-up by time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Search {
    stage: Stage,
    /// Log start when the look-up began: earlier records of a batch do not count.
    start: i64,
    /// Exclusive.
    upper: i64,
}

impl PartitionLog {
    /// Finds a record by time, below `upper` (clamped to what is durable). Never ready at once unless the log is empty
    /// below `upper` or has nothing that young.
    pub fn find_time(&mut self, id: ReadId, target: TimeTarget, upper: i64, out: &mut LogOut) -> TimeOutcome {
        if self.phase != Phase::Ready {
            return TimeOutcome::Unavailable;
        }
        let upper = upper.min(self.durable_offset);
        if upper <= self.start_offset {
            return TimeOutcome::Ready(None);
        }
        let stage = match target {
            TimeTarget::AtOrAfter(timestamp) => Stage::AtOrAfter(timestamp),
            TimeTarget::MaxTimestamp => Stage::Survey(None),
        };
        let Some(first) = self.segment_for(self.start_offset) else { return TimeOutcome::Ready(None) };
        let search = Search { stage, start: self.start_offset, upper };
        let job = self.add_job(Some(id), Kind::Time(search), first, None);
        let mut events = Vec::new();
        let now = self.clock;
        self.pump_job(job, now, out, &mut events);
        match events.pop() {
            Some(LogEvent::TimeFound { result: Ok(point), .. }) => TimeOutcome::Ready(point),
            // Errors come with the answer to a read, so none can be here yet.
            _ => TimeOutcome::Pending,
        }
    }

    /// The position in a segment from which to walk; otherwise what is known without a walk, or `None` to wait.
    pub(super) fn plan_search(
        &mut self,
        base: i64,
        search: &mut Search,
        now: Now,
        out: &mut LogOut,
    ) -> Result<u64, Option<Verdict>> {
        let stamp = match self.segments.get(&base).and_then(|segment| segment.max_stamp) {
            Some(stamp) => stamp,
            None if !self.ensure_indexes(base, now, out) => return Err(None),
            None => self.segments[&base].max_stamp.unwrap_or(MaxStamp { timestamp: -1, offset: base }),
        };
        let from = match &mut search.stage {
            Stage::AtOrAfter(target) => {
                if stamp.timestamp < *target || base >= search.upper {
                    return Err(Some(Verdict::SegmentEnd));
                }
                if !self.ensure_indexes(base, now, out) {
                    return Err(None);
                }
                let relative = match &self.segments[&base].indexes {
                    IndexState::Resident(indexes) => indexes.time.lookup(*target),
                    _ => 0,
                };
                (base + i64::from(relative)).max(search.start)
            }
            Stage::Survey(best) => {
                if stamp.timestamp >= 0 && best.is_none_or(|(_, known)| stamp.timestamp > known.timestamp) {
                    *best = Some((base, stamp));
                }
                return Err(Some(Verdict::SegmentEnd));
            }
            Stage::Locate(offset) => {
                if base > *offset {
                    return Err(Some(Verdict::Found(None)));
                }
                if !self.ensure_indexes(base, now, out) {
                    return Err(None);
                }
                *offset
            }
        };
        Ok(self.position_of(base, from))
    }
}

impl Search {
    /// After the last segment: where the largest timestamp lies. `None`: the search is over.
    pub fn after_survey(&mut self) -> Option<i64> {
        let Stage::Survey(Some((base, stamp))) = self.stage else { return None };
        self.stage = Stage::Locate(stamp.offset);
        Some(base)
    }

    /// Walks the batches of a piece from `at`.
    pub fn walk(&self, piece: &Piece, mut at: u64) -> Verdict {
        loop {
            let head = match piece.look(at) {
                Ok(head) => head,
                Err(verdict) => return verdict,
            };
            if head.base_offset >= self.upper {
                return Verdict::Found(None);
            }
            let candidate = head.last_offset >= self.start
                && match self.stage {
                    Stage::AtOrAfter(target) => head.max_timestamp >= target,
                    Stage::Locate(offset) => head.last_offset >= offset,
                    Stage::Survey(_) => false,
                };
            if candidate {
                let batch = match piece.whole(at, &head) {
                    Ok(batch) => batch,
                    Err(verdict) => return verdict,
                };
                let found = match self.stage {
                    Stage::AtOrAfter(target) => records::first_at_or_after_from(&batch, target, self.start),
                    _ => records::max_timestamp_offset(&batch),
                };
                match found {
                    Ok(Some((offset, timestamp))) => {
                        let point = TimePoint { offset, timestamp, leader_epoch: head.leader_epoch };
                        return Verdict::Found((offset < self.upper).then_some(point));
                    }
                    Ok(None) => {}
                    Err(error) => return corrupt(at, &format!("its records cannot be read: {error}")),
                }
            }
            at += head.size as u64;
        }
    }
}
