//! Group commit: one round of writes at a time, and everything appended meanwhile goes into the next.
//!
//! A round takes all sealed chunks of one segment. One chunk, and nothing before it that waits for a sync: a single
//! write that syncs. Otherwise all writes at once, then one sync. Behind the journal: no sync. Only when the round is
//! over does the durable offset move, so it never passes a hole. A segment's round waits for its file to be open, for a
//! fill in its way, and for the leader-epoch file when that has news: an epoch is on disk before its first batch is,
//! which lets a recovery tell a flipped epoch from a new one.
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

/// First fill of a segment, bytes; each one after it is twice as large.
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
    /// Its only write is the sync, too: nothing else in the file waits for one.
    one_step: bool,
    no_space: bool,
    end_position: u64,
    end_offset: i64,
    /// The journal had all of it when the round began: nobody waits for it.
    behind: bool,
    /// What to keep for recovery once the round is durable.
    capture: Option<Box<Capture>>,
}

impl Round {
    /// Nobody waits for it: the journal has all of it.
    pub fn is_behind(&self) -> bool {
        self.behind
    }

    /// What it writes, bytes.
    pub fn bytes(&self) -> u64 {
        self.jobs.iter().map(|job| job.data.len() as u64).sum()
    }

    /// Whether what it writes was durable when everything below `offset` was.
    pub fn is_durable_at(&self, offset: i64) -> bool {
        self.end_offset <= offset
    }
}

/// How far a round goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// To the log end.
    End,
    /// As far as nobody waits for it, if that is possible: to what is durable.
    Durable,
}

impl PartitionLog {
    /// Seals what is open and starts a round, when none is in flight and nothing is in its way.
    pub(super) fn pump_writes(&mut self, reach: Reach, now: Now, out: &mut LogOut) {
        if !matches!(self.phase, Phase::Ready | Phase::Leaving | Phase::Closing) {
            return;
        }
        if self.writer.round.is_some() {
            return self.retry_round(now, out);
        }
        if self.may_lag() {
            return;
        }
        let behind_is_done = reach == Reach::Durable && self.writer.queue.is_empty() && !self.lags();
        let Some(segment) = self.writer.next_segment().filter(|_| !behind_is_done) else {
            self.write_back_asked = false;
            return;
        };
        if !self.epochs_are_written(now, out) || self.ensure_open(segment, now, out).is_none() {
            return;
        }
        let target = &self.segments[&segment];
        let direct = target.direct;
        if target.meets_fill(block_floor(target.written), block_ceil(target.size)) {
            return;
        }
        // Sealed only now that it is written at once: the chunk after it begins with the same block.
        if self.writer.open_segment() == Some(segment) {
            match self.cut_at_durable(segment).filter(|_| reach == Reach::Durable) {
                Some((position, offset)) => self.writer.seal_to(position, offset, now.mono, &mut self.sealed),
                None => self.writer.seal(direct, false, now.mono, &mut self.sealed),
            }
            self.take_sealed();
        }
        self.write_back_asked = false;
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
        let behind = end_offset <= self.durable_offset;
        let waited_for = self.config.durability == Durability::Stable && !behind;
        let sync = capture.is_some() || waited_for || self.is_settling();
        let round = Round {
            segment,
            left: 0,
            stage: Stage::Writing,
            sync,
            one_step: sync && jobs.len() == 1 && self.segments[&segment].is_synced(),
            no_space: false,
            end_position,
            end_offset,
            behind,
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
        round.stage = Stage::Writing;
        round.no_space = false;
        round.left = round.jobs.len();
        for job in &round.jobs {
            let (position, data) = (job.position, job.data.clone());
            self.ask(Op::Write, DiskOp::Write { file, position, data, sync: round.one_step }, out);
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
        if round.stage == Stage::Writing && round.sync && !round.one_step {
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
        crate::invariant!(round.end_offset > self.written_offset, "the written offset did not move");
        let segment = self.segment_mut(round.segment);
        crate::invariant!(
            round.end_position > segment.written && round.end_position <= segment.size,
            "a round ends at {} of {} to {}",
            round.end_position,
            segment.written,
            segment.size
        );
        let added = round.end_position - segment.written;
        segment.written = round.end_position;
        // The journal may have had it before, and more by now.
        let bytes = round.end_position.saturating_sub(segment.durable);
        segment.durable += bytes;
        self.checkpoints.bytes_since += added;
        self.writer.pending_bytes -= bytes;
        let records = (round.end_offset - self.written_offset) as u64;
        self.written_offset = round.end_offset;
        let moved = round.end_offset > self.durable_offset;
        self.durable_offset = self.durable_offset.max(round.end_offset);
        if round.sync {
            self.unsynced.clear();
            self.synced(round.segment, round.end_position, round.end_offset);
        } else {
            self.unsynced.written(records, now.mono);
            if !round.behind {
                self.unjournaled_end = round.end_offset;
            }
        }
        // Room ahead is only wished for, and asked for again in small steps.
        self.fill_stopped &= !self.uses_journal();
        if let Some(capture) = round.capture {
            self.begin_checkpoint(*capture);
        }
        self.clear_no_space(events);
        if moved {
            events.push(LogEvent::Durable(self.durable_offset));
        }
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

    /// Asks for room ahead of the write position of the active segment. Without a journal it is filled with zeros, so
    /// that later syncs find their extents written; what small appends the journal covers need room only.
    pub(super) fn fill_ahead(&mut self, base: i64, out: &mut LogOut) {
        let step_max = u64::from(self.config.room_ahead_max);
        let limit = block_ceil(u64::from(self.config.segment_bytes));
        let stable = self.config.durability == Durability::Stable;
        let reserves = self.config.journal;
        let stopped = self.fill_stopped || step_max == 0 || !stable || self.phase == Phase::Leaving;
        let segment = self.segment_mut(base);
        let Some(file) = segment.open_file() else { return };
        if stopped || !segment.direct || segment.rolled || segment.filling.is_some() {
            return;
        }
        let step = segment.fill_step.max(FILL_STEP_FIRST).min(step_max);
        let written = block_ceil(segment.size);
        // Early: it may have to wait for those of other logs.
        if segment.filled.saturating_sub(written) >= step / 4 * 3 {
            return;
        }
        let from = block_ceil(segment.filled.max(written));
        let to = block_ceil(from + step).min(limit);
        // What was appended beyond the room makes its own with a direct write; reserving behind it would leave a gap.
        if from >= to || (reserves && segment.filled < segment.size) {
            return;
        }
        segment.filling = Some((from, to));
        segment.fill_step = (step * 2).min(step_max);
        let op = match reserves {
            true => DiskOp::Reserve { file, from, to },
            false => DiskOp::ZeroFill { file, from, to },
        };
        self.ask(Op::Fill { segment: base, to }, op, out);
    }

    /// A fill was answered. A full disk only ends the filling: the writes notice by themselves.
    pub(super) fn fill_answer(&mut self, base: i64, to: u64, error: Option<DiskError>, events: &mut Vec<LogEvent>) {
        let segment = self.segment_mut(base);
        segment.filling = None;
        match error {
            None => segment.filled = segment.filled.max(to),
            Some(error) if error.kind == DiskErrorKind::NoSpace => {
                segment.fill_step = 0;
                self.fill_stopped = true;
            }
            Some(error) => self.fail(format!("making room ahead failed: {}", error.detail), events),
        }
    }

    /// Bytes that the disk is writing or syncing and that somebody waits for; not those that wait for room on it.
    pub(super) fn round_bytes(&self) -> u64 {
        match &self.writer.round {
            Some(round) if !round.behind && !matches!(round.stage, Stage::Retry(_)) => round.bytes(),
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
