//! Group commit: one round of writes at a time, and everything appended meanwhile goes into the next.
//!
//! A round takes all sealed chunks of one segment. One chunk: a single write that syncs. Several: all writes at once,
//! then one sync. Only when the round is over does the durable offset move, so it never passes a hole. A segment's
//! round waits for its file to be open, for a zero-fill in its way, and for the leader-epoch file when that has news:
//! an epoch is on disk before its first batch is, which lets a recovery tell a flipped epoch from a new one.
//!
//! No room on the disk: the round is kept and tried again; nothing of it is acknowledged, appends are refused
//! meanwhile. Any other failure takes the log offline: a sync that failed once may forget the data and succeed the next
//! time.

use crate::base::time::{Mono, Now};
use crate::port::disk::{DiskError, DiskErrorKind, DiskOp};

use super::ops::Op;
use super::seal::WriteJob;
use super::segment::{block_ceil, block_floor};
use super::soft_checkpoint::Capture;
use super::types::{Durability, LogEvent, LogOut};
use super::{PartitionLog, Phase};

/// First zero-fill of a segment, bytes; each one after it is twice as large.
const FILL_STEP_FIRST: u64 = 64 << 10;
/// How long to wait before trying again when the disk is full.
pub(super) const SPACE_RETRY_MS: u64 = 1000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Writing,
    Syncing,
    /// The disk was full: write again at this time.
    Retry(Mono),
}

/// Writes in flight together.
#[derive(Debug)]
pub(super) struct Round {
    pub segment: i64,
    /// Kept until the end, to be written again when there was no room.
    jobs: Vec<WriteJob>,
    /// Operations without an answer yet.
    left: usize,
    stage: Stage,
    /// Whether it ends with a sync.
    sync: bool,
    no_space: bool,
    end_position: u64,
    end_offset: i64,
    /// What to keep for recovery once the round is durable.
    capture: Option<Box<Capture>>,
}

impl PartitionLog {
    /// Seals what is open and starts a round, when none is in flight and nothing is in its way.
    pub(super) fn pump_writes(&mut self, now: Now, out: &mut LogOut) {
        if !matches!(self.phase, Phase::Ready | Phase::Closing) {
            return;
        }
        if self.writer.round.is_some() {
            return self.retry_round(now, out);
        }
        let Some(segment) = self.writer.next_segment() else { return };
        if !self.epochs_are_written(now, out) || self.ensure_open(segment, now, out).is_none() {
            return;
        }
        let target = &self.segments[&segment];
        let direct = target.direct;
        if target.meets_fill(block_floor(target.durable), block_ceil(target.size)) {
            return;
        }
        // Sealed only now that it is written at once: the chunk after it begins with the same block.
        if self.writer.open_segment() == Some(segment) {
            self.writer.seal(direct, false, now.mono, &mut self.sealed);
            self.take_sealed();
        }
        let jobs = self.writer.take_jobs(segment);
        self.start_round(segment, jobs, out);
        self.fill_ahead(segment, out);
    }

    /// Writes again what found no room, when its time has come. Never left to the host's flush: nothing new may come.
    pub(super) fn retry_round(&mut self, now: Now, out: &mut LogOut) {
        if self.round_wake().is_some_and(|at| now.mono >= at) {
            self.issue_round(out);
        }
    }

    fn start_round(&mut self, segment: i64, jobs: Vec<WriteJob>, out: &mut LogOut) {
        let Some(last) = jobs.last() else { return };
        let (end_position, end_offset) = (last.end_position, last.end_offset);
        let capture = self.capture_checkpoint(segment, end_position, end_offset);
        let round = Round {
            segment,
            left: 0,
            stage: Stage::Writing,
            sync: capture.is_some() || self.config.durability == Durability::Stable,
            no_space: false,
            end_position,
            end_offset,
            capture,
            jobs,
        };
        let write_end = round.jobs.iter().map(WriteJob::write_end).max().unwrap_or(0);
        let target = self.segment_mut(segment);
        target.filled = target.filled.max(write_end);
        self.writer.round = Some(round);
        self.issue_round(out);
    }

    /// Hands the writes of the current round to the disk.
    fn issue_round(&mut self, out: &mut LogOut) {
        let Some(mut round) = self.writer.round.take() else { return };
        let Some(file) = self.segments.get(&round.segment).and_then(|segment| segment.open_file()) else {
            // A segment with writes ahead is not closed.
            unreachable!("a round without an open file");
        };
        let single = round.jobs.len() == 1;
        round.stage = Stage::Writing;
        round.no_space = false;
        round.left = round.jobs.len();
        for job in &round.jobs {
            let (position, data) = (job.position, job.data.clone());
            self.ask(Op::Write, DiskOp::Write { file, position, data, sync: single && round.sync }, out);
        }
        self.writer.round = Some(round);
    }

    /// A write or the sync of the round was answered.
    pub(super) fn round_answer(
        &mut self,
        error: Option<DiskError>,
        now: Now,
        out: &mut LogOut,
        events: &mut Vec<LogEvent>,
    ) {
        let Some(round) = &mut self.writer.round else { return };
        round.left -= 1;
        if let Some(error) = error {
            if error.kind != DiskErrorKind::NoSpace || round.stage == Stage::Syncing {
                self.fail(format!("writing the log failed: {}", error.detail), events);
                return;
            }
            round.no_space = true;
        }
        if round.left > 0 {
            return;
        }
        if round.no_space {
            round.stage = Stage::Retry(now.mono.plus_ms(SPACE_RETRY_MS));
            self.set_no_space(events);
            return;
        }
        if round.stage == Stage::Writing && round.sync && round.jobs.len() > 1 {
            let segment = round.segment;
            round.stage = Stage::Syncing;
            round.left = 1;
            if let Some(file) = self.segments.get(&segment).and_then(|segment| segment.open_file()) {
                self.ask(Op::RoundSync, DiskOp::Sync { file }, out);
            }
            return;
        }
        self.round_done(now, events);
    }

    fn round_done(&mut self, now: Now, events: &mut Vec<LogEvent>) {
        let Some(round) = self.writer.round.take() else { return };
        let segment = self.segment_mut(round.segment);
        crate::invariant!(
            round.end_position > segment.durable && round.end_position <= segment.size,
            "a round ends at {} of {} to {}",
            round.end_position,
            segment.durable,
            segment.size
        );
        let bytes = round.end_position - segment.durable;
        segment.durable = round.end_position;
        let records = (round.end_offset - self.durable_offset) as u64;
        crate::invariant!(round.end_offset > self.durable_offset, "the durable offset did not move");
        self.durable_offset = round.end_offset;
        self.writer.pending_bytes -= bytes;
        self.checkpoints.bytes_since += bytes;
        if round.sync {
            self.unsynced.clear();
            self.synced(round.segment, round.end_position, round.end_offset);
        } else {
            self.unsynced.written(records, now.mono);
        }
        if let Some(capture) = round.capture {
            self.begin_checkpoint(*capture);
        }
        self.clear_no_space(events);
        events.push(LogEvent::Durable(self.durable_offset));
    }

    pub(super) fn set_no_space(&mut self, events: &mut Vec<LogEvent>) {
        if !self.no_space {
            self.no_space = true;
            events.push(LogEvent::NoSpace);
        }
    }

    pub(super) fn clear_no_space(&mut self, events: &mut Vec<LogEvent>) {
        if self.no_space {
            self.no_space = false;
            self.fill_stopped = false;
            events.push(LogEvent::SpaceBack);
        }
    }

    /// Something other than a round found room. Says so unless a round is pending that can say it better.
    pub(super) fn space_seems_back(&mut self, events: &mut Vec<LogEvent>) {
        if self.writer.pending_bytes == 0 {
            self.clear_no_space(events);
        }
    }

    /// Asks for zeros ahead of the write position of the active segment, so that later syncs find their extents
    /// written.
    fn fill_ahead(&mut self, base: i64, out: &mut LogOut) {
        let step_max = u64::from(self.config.zero_fill_max);
        let limit = block_ceil(u64::from(self.config.segment_bytes));
        let stable = self.config.durability == Durability::Stable;
        let stopped = self.fill_stopped || step_max == 0 || !stable;
        let segment = self.segment_mut(base);
        let Some(file) = segment.open_file() else { return };
        if stopped || !segment.direct || segment.rolled || segment.filling.is_some() {
            return;
        }
        let step = segment.fill_step.max(FILL_STEP_FIRST).min(step_max);
        let written = block_ceil(segment.size);
        if segment.filled.saturating_sub(written) >= step / 2 {
            return;
        }
        let from = block_ceil(segment.filled.max(written));
        let to = block_ceil(from + step).min(limit);
        if from >= to {
            return;
        }
        segment.filling = Some((from, to));
        segment.fill_step = (step * 2).min(step_max);
        self.ask(Op::ZeroFill { segment: base, to }, DiskOp::ZeroFill { file, from, to }, out);
    }

    /// A zero-fill was answered. A full disk only ends the filling: the writes notice by themselves.
    pub(super) fn fill_answer(&mut self, base: i64, to: u64, error: Option<DiskError>, events: &mut Vec<LogEvent>) {
        let segment = self.segment_mut(base);
        segment.filling = None;
        match error {
            None => segment.filled = segment.filled.max(to),
            Some(error) if error.kind == DiskErrorKind::NoSpace => self.fill_stopped = true,
            Some(error) => self.fail(format!("filling the log ahead failed: {}", error.detail), events),
        }
    }

    /// Bytes that the disk is writing or syncing; not those that wait for room on it.
    pub(super) fn round_bytes(&self) -> u64 {
        match &self.writer.round {
            Some(round) if !matches!(round.stage, Stage::Retry(_)) => {
                round.jobs.iter().map(|job| job.data.len() as u64).sum()
            }
            _ => 0,
        }
    }

    /// When the current round is to be tried again.
    pub(super) fn round_wake(&self) -> Option<Mono> {
        match self.writer.round.as_ref()?.stage {
            Stage::Retry(at) => Some(at),
            Stage::Writing | Stage::Syncing => None,
        }
    }
}
