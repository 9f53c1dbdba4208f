//! Reads: whole batches from the one that holds an offset, out of memory at the log's end, from the disk elsewhere.
//!
//! A read that memory cannot serve becomes a job: it pins its segment (so that the file is neither closed nor removed),
//! waits for index and file, reads a piece from where the index points, and walks its headers. Look-ups by time
//! (`time_lookup.rs`) are jobs of the same shape. Nothing at or above the durable offset is ever returned.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::base::time::Now;
use crate::port::disk::{DiskErrorKind, DiskOp, DiskOutput, DiskResult};

use super::head::{Found, Head};
use super::lazy_index::IndexState;
use super::ops::Op;
use super::read_ahead::Place;
use super::segment::{block_ceil, block_floor};
use super::stage::{Staging, cut_staged};
use super::time_lookup::Search;
use super::types::{LogEvent, LogOut, ReadData, ReadError, ReadId, ReadOutcome, Wanted};
use super::{PartitionLog, Phase};

/// The most that one piece reads, unless a single batch is larger. A read may return less than it was allowed to.
pub(super) const PIECE_MAX: u64 = 4 << 20;
/// The least that one piece reads.
const PIECE_MIN: u64 = 64 << 10;

#[derive(Debug)]
pub(super) enum Kind {
    Fetch(Wanted),
    Time(Search),
}

/// A read or look-up that goes to the disk.
#[derive(Debug)]
pub(super) struct Job {
    /// `None`: nobody asked yet, it reads ahead.
    pub id: Option<ReadId>,
    pub kind: Kind,
    /// The pinned segment.
    pub segment: i64,
    /// Position of the next batch to look at; `None` until the index was asked.
    pub at: Option<u64>,
    /// What of the segment was written when the piece in flight was asked for: bytes behind it are not believed.
    limit: u64,
    /// Where the piece in flight ends.
    asked_end: u64,
    /// Bytes from `at` on that the next piece must bring.
    pub need: u64,
    pub busy: bool,
    /// The batch at `at` is the one that holds the offset wanted.
    pub exact: bool,
    /// The piece in flight goes to the page cache.
    pub staging: Option<Staging>,
    /// Its host was told that it failed; only the answer to its read is still to come.
    dead: bool,
    /// The index was made again because it led to something that is no batch.
    reindexed: bool,
}

#[derive(Debug, Default)]
pub(super) struct Jobs {
    next: u64,
    jobs: BTreeMap<u64, Job>,
}

/// What a piece of a segment brought a job.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Batches, and the position behind the last of them.
    Fetched {
        data: ReadData,
        end: u64,
    },
    Found(Option<super::types::TimePoint>),
    /// Look on from this position, with so many bytes at hand.
    More {
        at: u64,
        need: u64,
    },
    /// Nothing more in this segment.
    SegmentEnd,
    Corrupt {
        at: u64,
        reason: String,
    },
}

impl Jobs {
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }
}

impl PartitionLog {
    /// Reads whole batches, beginning with the one that holds `wanted.from`, below `wanted.upper` (clamped to what is
    /// durable), up to `wanted.max_bytes`; with `at_least_one` the first batch comes even when it is larger. Only with
    /// `to_send` a part of what comes may lie in a file.
    pub fn read(&mut self, id: ReadId, wanted: Wanted, out: &mut LogOut) -> ReadOutcome {
        let now = self.clock;
        let Wanted { from, max_bytes, at_least_one, .. } = wanted;
        if self.phase != Phase::Ready {
            return ReadOutcome::Unavailable;
        }
        if from < self.start_offset || from > self.end_offset {
            return ReadOutcome::OutOfRange;
        }
        let upper = wanted.upper.min(self.durable_offset);
        let to_send = wanted.to_send && max_bytes >= self.config.stage_bytes_min;
        let wanted = Wanted { upper, to_send, ..wanted };
        if from >= upper || (max_bytes == 0 && !at_least_one) {
            return ReadOutcome::Ready(ReadData { next_offset: from, ..ReadData::default() });
        }
        if let Some(data) = self.read_cached(wanted).or_else(|| self.read_open(wanted)) {
            return ReadOutcome::Ready(data);
        }
        if let Some(outcome) = self.read_ahead(id, wanted, out) {
            return outcome;
        }
        let Some(segment) = self.segment_for(from) else { return ReadOutcome::OutOfRange };
        let place = self.streams.place_of(from).filter(|place| place.segment == segment);
        let job = self.add_job(Some(id), Kind::Fetch(wanted), segment, place.map(|place| place.position));
        self.plan_job(job, now, out);
        ReadOutcome::Pending
    }

    fn read_cached(&self, wanted: Wanted) -> Option<ReadData> {
        let (segment, start, end) = self.cache.find(wanted.from)?;
        let hint = self.segments.get(&segment).and_then(|segment| match &segment.indexes {
            IndexState::Resident(indexes) if wanted.from >= segment.base => {
                Some(u64::from(indexes.offset.lookup(segment.relative(wanted.from))))
            }
            _ => None,
        });
        self.cache.read(wanted, hint.filter(|&at| at >= start && at < end).unwrap_or(0))
    }

    /// The base of the segment in whose range an offset lies.
    pub(super) fn segment_for(&self, offset: i64) -> Option<i64> {
        self.segments.range(..=offset).next_back().filter(|(_, segment)| segment.is_live()).map(|(&base, _)| base)
    }

    pub(super) fn add_job(&mut self, id: Option<ReadId>, kind: Kind, segment: i64, at: Option<u64>) -> u64 {
        self.segment_mut(segment).readers += 1;
        let key = self.jobs.next;
        self.jobs.next += 1;
        let job = Job {
            id,
            kind,
            segment,
            at,
            limit: 0,
            asked_end: 0,
            need: 0,
            busy: false,
            exact: at.is_some(),
            staging: None,
            dead: false,
            reindexed: false,
        };
        self.jobs.jobs.insert(key, job);
        key
    }

    /// Moves every job that waits for an index or a file on.
    pub(super) fn pump_jobs(&mut self, now: Now, out: &mut LogOut, events: &mut Vec<LogEvent>) {
        let waiting: Vec<u64> = self.jobs.jobs.iter().filter(|(_, job)| !job.busy).map(|(&key, _)| key).collect();
        for key in waiting {
            self.pump_job(key, now, out, events);
        }
    }

    pub(super) fn pump_job(&mut self, key: u64, now: Now, out: &mut LogOut, events: &mut Vec<LogEvent>) {
        if let Some(verdict) = self.plan_job(key, now, out) {
            self.judge_job(key, verdict, now, out, events);
        }
    }

    /// Asks for the next piece as soon as everything it needs is there. An answer of `Some` is known without one.
    pub(super) fn plan_job(&mut self, key: u64, now: Now, out: &mut LogOut) -> Option<Verdict> {
        let mut job = self.jobs.jobs.remove(&key)?;
        let verdict = self.plan(key, &mut job, now, out);
        self.jobs.jobs.insert(key, job);
        verdict
    }

    fn plan(&mut self, key: u64, job: &mut Job, now: Now, out: &mut LogOut) -> Option<Verdict> {
        let base = job.segment;
        let at = match job.at {
            Some(at) => at,
            None => {
                let at = match &mut job.kind {
                    Kind::Fetch(wanted) => {
                        if !self.ensure_indexes(base, now, out) {
                            return None;
                        }
                        self.position_of(base, wanted.from)
                    }
                    Kind::Time(search) => match self.plan_search(base, search, now, out) {
                        Ok(at) => at,
                        Err(verdict) => return verdict,
                    },
                };
                *job.at.insert(at)
            }
        };
        if self.meets_lag(base, at, &job.kind) {
            return self.wait_for_segment(now, out);
        }
        let limit = self.segments.get(&base)?.written;
        if at >= limit {
            return Some(Verdict::SegmentEnd);
        }
        let stages = job.exact && matches!(&job.kind, Kind::Fetch(wanted) if wanted.to_send);
        if stages && !self.ensure_indexes(base, now, out) {
            return None;
        }
        let file = self.ensure_open(base, now, out)?;
        if stages && let Some(staging) = self.staging_of(job) {
            job.limit = limit;
            self.begin_staging(key, job, file, staging, out);
            return None;
        }
        let piece = match &job.kind {
            Kind::Fetch(wanted) => u64::from(wanted.max_bytes) + u64::from(self.config.index_interval_bytes),
            Kind::Time(_) => PIECE_MIN,
        };
        let len = piece.clamp(PIECE_MIN, PIECE_MAX).max(job.need);
        let position = block_floor(at);
        let end = block_ceil((at + len).min(limit));
        (job.busy, job.limit, job.asked_end) = (true, limit, end);
        let read = DiskOp::Read { file, position, len: (end - position) as u32 };
        self.ask(Op::Read { job: key }, read, out);
        None
    }

    /// Where to begin looking for an offset; the indexes are in memory.
    pub(super) fn position_of(&self, base: i64, offset: i64) -> u64 {
        match self.segments.get(&base) {
            Some(segment) => match &segment.indexes {
                IndexState::Resident(indexes) if offset >= base => {
                    u64::from(indexes.offset.lookup(segment.relative(offset)))
                }
                _ => 0,
            },
            None => 0,
        }
    }

    /// A piece was read.
    pub(super) fn read_answer(
        &mut self,
        key: u64,
        result: DiskResult,
        now: Now,
        out: &mut LogOut,
        events: &mut Vec<LogEvent>,
    ) {
        let Some(job) = self.jobs.jobs.get_mut(&key) else { return };
        job.busy = false;
        if job.dead {
            let base = job.segment;
            self.jobs.jobs.remove(&key);
            self.unpin(base);
            return;
        }
        let staging = job.staging.take();
        let data = match result {
            Ok(DiskOutput::Data(data)) => data,
            Ok(DiskOutput::Staged { range, tail }) => {
                let wanted = if let Kind::Fetch(wanted) = &job.kind { Some(*wanted) } else { None };
                let cut = staging.zip(wanted).and_then(|(s, wanted)| cut_staged(s, wanted, range, &tail, job.limit));
                let verdict = cut.unwrap_or_else(|| job.directly());
                self.judge_job(key, verdict, now, out, events);
                return;
            }
            Ok(_) => Bytes::new(),
            Err(error) if staging.is_some() => {
                if error.kind != DiskErrorKind::NotCached {
                    tracing::debug!(error = error.detail, "a piece is read directly");
                }
                let verdict = job.directly();
                self.judge_job(key, verdict, now, out, events);
                return;
            }
            Err(error) => {
                self.end_job(key, Err(ReadError::Io(error.detail)), events);
                return;
            }
        };
        let Some(segment) = self.segments.get(&job.segment) else { return };
        let at = job.at.unwrap_or(0);
        let (limit, asked_end) = (job.limit, job.asked_end);
        let piece = Piece { data, start: block_floor(at), limit, asked_end, base: segment.base };
        let verdict = match &job.kind {
            Kind::Fetch(wanted) => piece.fetch(at, *wanted),
            Kind::Time(search) => search.walk(&piece, at),
        };
        self.judge_job(key, verdict, now, out, events);
    }

    /// Acts on a verdict, and on those that follow without a read.
    fn judge_job(&mut self, key: u64, mut verdict: Verdict, now: Now, out: &mut LogOut, events: &mut Vec<LogEvent>) {
        loop {
            let Some(job) = self.jobs.jobs.get_mut(&key) else { return };
            let base = job.segment;
            match verdict {
                Verdict::Fetched { .. } | Verdict::Found(_) => {
                    self.end_job(key, Ok(verdict), events);
                    return;
                }
                Verdict::More { at, need } => (job.at, job.need, job.exact) = (Some(at), need, false),
                Verdict::SegmentEnd => {
                    let Some(next) = self.next_segment(key, base) else {
                        self.end_job(key, Ok(Verdict::Found(None)), events);
                        return;
                    };
                    self.move_job(key, next);
                }
                Verdict::Corrupt { at, reason } => {
                    if at == 0 || job.reindexed || !self.reindex(key, base, now) {
                        let text = format!("segment {base} at position {at}: {reason}");
                        self.end_job(key, Err(ReadError::Corrupt(text)), events);
                        return;
                    }
                }
            }
            match self.plan_job(key, now, out) {
                Some(next) => verdict = next,
                None => return,
            }
        }
    }

    /// What a job found is no batch: perhaps the index that led there lies. Makes it again and lets the job try once
    /// more; false when the segment's index is not one that was read from disk.
    fn reindex(&mut self, key: u64, base: i64, now: Now) -> bool {
        let Some(segment) = self.segments.get(&base) else { return false };
        if !segment.rolled || segment.finish.is_some() || segment.doom.is_some() {
            return false;
        }
        if matches!(segment.indexes, IndexState::Resident(_)) {
            self.begin_rebuild(base, now);
        }
        if let Some(job) = self.jobs.jobs.get_mut(&key) {
            (job.reindexed, job.at, job.need, job.exact) = (true, None, 0, false);
        }
        true
    }

    /// Where a job goes after the end of a segment.
    fn next_segment(&mut self, key: u64, base: i64) -> Option<i64> {
        let next = self.segments.range(base + 1..).next().map(|(&next, _)| next);
        if next.is_some() {
            return next;
        }
        let best = match &mut self.jobs.jobs.get_mut(&key)?.kind {
            Kind::Fetch(_) => return None,
            Kind::Time(search) => search.after_survey()?,
        };
        self.segments.contains_key(&best).then_some(best)
    }

    fn move_job(&mut self, key: u64, next: i64) {
        let Some(job) = self.jobs.jobs.get_mut(&key) else { return };
        let base = job.segment;
        (job.segment, job.at, job.need, job.exact) = (next, None, 0, false);
        self.segment_mut(base).readers -= 1;
        self.segment_mut(next).readers += 1;
    }

    /// Ends a job and tells its result.
    pub(super) fn end_job(&mut self, key: u64, result: Result<Verdict, ReadError>, events: &mut Vec<LogEvent>) {
        let Some(job) = self.jobs.jobs.remove(&key) else { return };
        self.unpin(job.segment);
        let Some(id) = job.id else {
            return self.ahead_done(key, result, job.segment, events);
        };
        if let (Kind::Fetch(wanted), Ok(Verdict::Fetched { data, end })) = (&job.kind, &result) {
            self.note_read(*wanted, data, Place { segment: job.segment, position: *end });
        }
        events.push(job.event(id, result));
    }

    pub(super) fn unpin(&mut self, base: i64) {
        if let Some(segment) = self.segments.get_mut(&base) {
            segment.readers -= 1;
        }
    }

    /// Fails the jobs that wait on a segment.
    pub(super) fn fail_jobs_on(&mut self, base: i64, error: ReadError, events: &mut Vec<LogEvent>) {
        let waiting = self.jobs.jobs.iter().filter(|(_, job)| job.segment == base && !job.busy);
        let keys: Vec<u64> = waiting.map(|(&key, _)| key).collect();
        for key in keys {
            self.end_job(key, Err(error.clone()), events);
        }
    }

    /// Fails every job. One with a read in flight keeps its segment pinned until the answer has come.
    pub(super) fn fail_all_jobs(&mut self, events: &mut Vec<LogEvent>) {
        self.streams.clear(events);
        let jobs = std::mem::take(&mut self.jobs.jobs);
        for (key, mut job) in jobs {
            if let Some(id) = job.id.filter(|_| !job.dead) {
                events.push(job.event(id, Err(ReadError::Gone)));
            }
            if job.busy {
                job.dead = true;
                self.jobs.jobs.insert(key, job);
            } else {
                self.unpin(job.segment);
            }
        }
    }
}

impl Job {
    /// What could not be staged is read again from where it began.
    fn directly(&self) -> Verdict {
        Verdict::More { at: self.at.unwrap_or(0), need: 0 }
    }

    /// What the host is told.
    fn event(&self, id: ReadId, result: Result<Verdict, ReadError>) -> LogEvent {
        match &self.kind {
            Kind::Fetch(wanted) => {
                let nothing = ReadData { next_offset: wanted.from, ..ReadData::default() };
                let result = result.map(|verdict| match verdict {
                    Verdict::Fetched { data, .. } => data,
                    _ => nothing,
                });
                LogEvent::ReadDone { id, result }
            }
            Kind::Time(_) => {
                let result = result.map(|verdict| match verdict {
                    Verdict::Found(point) => point,
                    _ => None,
                });
                LogEvent::TimeFound { id, result }
            }
        }
    }
}

/// Bytes read from a segment.
#[derive(Debug)]
pub(super) struct Piece {
    pub data: Bytes,
    /// Position of the first byte.
    pub start: u64,
    /// Bytes of the segment that are believed.
    pub limit: u64,
    /// Where the piece was to end.
    pub asked_end: u64,
    /// The segment's base offset: no batch in it is below.
    pub base: i64,
}

impl Piece {
    /// What is at a position; `Err` ends the walk.
    pub fn look(&self, at: u64) -> Result<Head, Verdict> {
        if at >= self.limit {
            return Err(Verdict::SegmentEnd);
        }
        let bytes = self.data.get((at - self.start) as usize..).unwrap_or_default();
        match Head::find(bytes, self.limit - at) {
            Found::Batch(head) if head.base_offset >= self.base => Ok(head),
            Found::Batch(_) => Err(corrupt(at, "the base offset lies below the segment's")),
            Found::Implausible(reason) => Err(corrupt(at, reason)),
            Found::Short => Err(self.more(at, PIECE_MIN)),
        }
    }

    /// The bytes of a batch, or the wish to read them.
    pub fn whole(&self, at: u64, head: &Head) -> Result<Bytes, Verdict> {
        let from = (at - self.start) as usize;
        match self.data.len().checked_sub(from) {
            Some(left) if left >= head.size => Ok(self.data.slice(from..from + head.size)),
            _ => Err(self.more(at, head.size as u64)),
        }
    }

    /// Reads on from `at`, unless this piece brought less than was asked for: then the file is shorter than its
    /// batches.
    fn more(&self, at: u64, need: u64) -> Verdict {
        if self.start + (self.data.len() as u64) < self.asked_end.min(self.limit) {
            return corrupt(at, "the file ends before its batches do");
        }
        Verdict::More { at, need }
    }

    fn fetch(&self, from: u64, wanted: Wanted) -> Verdict {
        let mut at = from;
        let mut start = from;
        let mut data = ReadData { parts: Vec::new(), bytes: 0, next_offset: wanted.from };
        let mut taken = 0u64;
        let stop = loop {
            let head = match self.look(at) {
                Ok(head) => head,
                Err(verdict) => break verdict,
            };
            if head.last_offset < wanted.from {
                at += head.size as u64;
                start = at;
                continue;
            }
            if !wanted.takes(&head, taken) {
                break Verdict::Fetched { data: ReadData::default(), end: at };
            }
            if let Err(verdict) = self.whole(at, &head) {
                break verdict;
            }
            taken += head.size as u64;
            at += head.size as u64;
            data.next_offset = head.last_offset + 1;
        };
        if taken == 0 && !matches!(stop, Verdict::Fetched { .. }) {
            return stop;
        }
        if taken > 0 {
            data.parts.push(self.data.slice((start - self.start) as usize..(at - self.start) as usize).into());
        }
        data.bytes = taken.min(u64::from(u32::MAX)) as u32;
        Verdict::Fetched { data, end: at }
    }
}

pub(super) fn corrupt(at: u64, reason: &str) -> Verdict {
    Verdict::Corrupt { at, reason: reason.to_string() }
}
