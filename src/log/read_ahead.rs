//! What is read for a reader before it asks: the piece behind the one that it has just got.
//!
//! ```text
//!   Expected ──its reader came from there, and there is room──▶ Reading ──the disk──▶ Ready ──taken whole──▶ Expected
//!      ▲                                                          │ the reader is faster: it waits here
//!      └──────────────── nothing came of it ──────────────────────┘
//! ```
//! A reader is known by nothing but the offset that it will ask for next. What waits for a reader that does not come is
//! dropped after a while (`AHEAD_IDLE_MS`); all of it is bounded by the core's [`AheadRoom`](super::AheadRoom).

use bytes::Bytes;

use crate::base::time::{Mono, Now};
use crate::port::range::Part;

use super::head::Head;
use super::read::{Kind, Verdict};
use super::read_policy::{AHEAD_IDLE_MS, AheadLease, Habit, STREAMS_MAX};
use super::types::{LogEvent, LogOut, ReadData, ReadError, ReadId, ReadOutcome, Wanted};
use super::{PartitionLog, Phase};

/// A place in a segment where a batch begins. Good until the segment is cut or written anew: whoever does that fails
/// all jobs, which forgets the places as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub segment: i64,
    pub position: u64,
}

#[derive(Debug)]
enum State {
    Expected,
    Reading {
        job: u64,
        waiting: Option<(ReadId, Wanted)>,
        lease: AheadLease,
        /// It may stay in a file, where it cannot be cut for somebody who wants less than this many bytes.
        staged: Option<u32>,
    },
    Ready {
        data: ReadData,
        _lease: AheadLease,
    },
}

/// One reader in sequence.
#[derive(Debug)]
struct Stream {
    /// The offset it will ask for.
    next: i64,
    /// Where that lies, or where the batch behind what is ready lies; `None`: the index knows.
    place: Option<Place>,
    habit: Habit,
    state: State,
    used_at: Mono,
}

/// The readers of one log.
#[derive(Debug, Default)]
pub(super) struct Streams {
    streams: Vec<Stream>,
    /// Something may be begun.
    eager: bool,
}

impl Streams {
    fn of_offset(&mut self, next: i64) -> Option<&mut Stream> {
        self.streams.iter_mut().find(|stream| stream.next == next)
    }

    /// Where the batch lies that a reader in sequence will ask for, if that is known.
    pub fn place_of(&self, next: i64) -> Option<Place> {
        let known = self.streams.iter().find(|s| s.next == next && matches!(s.state, State::Expected))?;
        known.place
    }

    /// When the first of what is ready is given up. What is still being read has no time: nothing could be done then.
    pub fn next_wake(&self) -> Option<Mono> {
        let held = self.streams.iter().filter(|stream| matches!(stream.state, State::Ready { .. }));
        held.map(|stream| stream.used_at.plus_ms(AHEAD_IDLE_MS)).min()
    }

    /// Forgets everything; tells who waited.
    pub fn clear(&mut self, events: &mut Vec<LogEvent>) {
        self.eager = false;
        for stream in self.streams.drain(..) {
            if let State::Reading { waiting: Some((id, _)), .. } = stream.state {
                events.push(LogEvent::ReadDone { id, result: Err(ReadError::Gone) });
            }
        }
    }

    /// Drops what nobody came for. A read in flight is left alone until its answer.
    fn drop_idle(&mut self, now: Mono) {
        self.streams.retain(|stream| {
            let idle = now.ms_since(stream.used_at) >= AHEAD_IDLE_MS;
            !idle || matches!(stream.state, State::Reading { .. })
        });
    }

    /// A reader was given everything from `from` to `next` and ends at `place`.
    fn note(&mut self, wanted: Wanted, next: i64, place: Place, from_start: bool, now: Mono) {
        let Wanted { from, max_bytes, to_send, .. } = wanted;
        self.eager = true;
        let known = self.streams.iter_mut().find(|s| s.next == from && matches!(s.state, State::Expected));
        if let Some(stream) = known {
            stream.habit.in_sequence += 1;
            (stream.habit.max_bytes, stream.habit.to_send) = (max_bytes, to_send);
            (stream.next, stream.place, stream.used_at) = (next, Some(place), now);
            return;
        }
        if self.streams.len() == STREAMS_MAX {
            let idle = self.streams.iter().enumerate().filter(|(_, s)| !matches!(s.state, State::Reading { .. }));
            let Some((oldest, _)) = idle.min_by_key(|(_, stream)| stream.used_at) else { return };
            self.streams.swap_remove(oldest);
        }
        let habit = Habit { in_sequence: 0, from_start, max_bytes, to_send };
        self.streams.push(Stream { next, place: Some(place), habit, state: State::Expected, used_at: now });
    }
}

impl Stream {
    /// Gives a reader what is ready; `None`: nothing is.
    fn take(&mut self, wanted: Wanted, now: Mono) -> Option<ReadData> {
        let State::Ready { data, .. } = &mut self.state else { return None };
        (self.habit.max_bytes, self.habit.to_send, self.used_at) = (wanted.max_bytes, wanted.to_send, now);
        if let Some(position) = not_to_be_cut(data, wanted) {
            // It is asked for again, as this reader wants it.
            self.place = self.place.map(|place| Place { position, ..place });
            self.state = State::Expected;
            return None;
        }
        let taken = cut(data, wanted);
        self.next = taken.next_offset;
        if data.bytes == 0 {
            self.state = State::Expected;
        }
        Some(taken)
    }
}

/// Where in its segment something lies that a reader may not have as it is: in a file whose batches nobody has seen.
fn not_to_be_cut(data: &ReadData, wanted: Wanted) -> Option<u64> {
    let fits = data.bytes <= wanted.max_bytes && data.next_offset <= wanted.upper && wanted.to_send;
    data.parts.iter().find_map(|part| match part {
        Part::File(range) if !fits => Some(range.position()),
        _ => None,
    })
}

/// Takes the whole batches off the front that a reader may have.
fn cut(data: &mut ReadData, wanted: Wanted) -> ReadData {
    if data.bytes <= wanted.max_bytes && data.next_offset <= wanted.upper {
        return std::mem::take(data);
    }
    let mut taken = ReadData { next_offset: wanted.from, ..ReadData::default() };
    let Some(Part::Memory(part)) = data.parts.first_mut() else { return taken };
    let mut size = 0;
    while let Some(head) = part.get(size..).and_then(Head::of_memory) {
        if !wanted.takes(&head, size as u64) {
            break;
        }
        size += head.size;
        taken.next_offset = head.last_offset + 1;
    }
    let front: Bytes = part.split_to(size);
    taken.bytes = front.len() as u32;
    data.bytes -= taken.bytes;
    if taken.bytes > 0 {
        taken.parts.push(front.into());
    }
    taken
}

impl PartitionLog {
    /// Serves a read from what was read ahead, or lets it wait for that; `None`: nothing was.
    pub(super) fn read_ahead(&mut self, id: ReadId, wanted: Wanted, out: &mut LogOut) -> Option<ReadOutcome> {
        let now = self.clock;
        let stream = self.streams.of_offset(wanted.from)?;
        if let State::Reading { waiting: waiting @ None, staged, .. } = &mut stream.state
            && staged.is_none_or(|bytes| wanted.to_send && wanted.max_bytes >= bytes)
        {
            *waiting = Some((id, wanted));
            stream.used_at = now.mono;
            return Some(ReadOutcome::Pending);
        }
        let data = stream.take(wanted, now.mono)?;
        stream.habit.in_sequence = stream.habit.in_sequence.saturating_add(1);
        self.streams.eager = true;
        self.pump_ahead(now, out);
        Some(ReadOutcome::Ready(data))
    }

    /// A read of the disk for a reader has ended.
    pub(super) fn note_read(&mut self, wanted: Wanted, data: &ReadData, place: Place) {
        if data.bytes > 0 {
            let from_start = wanted.from == self.start_offset;
            let now = self.clock.mono;
            self.streams.note(wanted, data.next_offset, place, from_start, now);
        }
    }

    /// Begins what is worth it and fits the room; drops what nobody came for.
    pub(super) fn pump_ahead(&mut self, now: Now, out: &mut LogOut) {
        if self.streams.next_wake().is_some_and(|at| at <= now.mono) {
            self.streams.drop_idle(now.mono);
        }
        if !std::mem::take(&mut self.streams.eager) || self.phase != Phase::Ready {
            return;
        }
        for index in 0..self.streams.streams.len() {
            let stream = &self.streams.streams[index];
            // What the segments lack is served from memory and needs no reading ahead.
            let (next, upper) = (stream.next, self.written_offset);
            let Some(max_bytes) = stream.habit.ahead() else { continue };
            let begun = !matches!(stream.state, State::Expected);
            if begun || next >= upper || next < self.start_offset || self.cache.find(next).is_some() {
                continue;
            }
            let Some(base) = self.segment_for(next) else { continue };
            let place = stream.place.filter(|place| place.segment == base);
            let Some(lease) = out.ahead.lease(u64::from(max_bytes)) else { continue };
            let to_send = stream.habit.to_send;
            let wanted = Wanted { from: next, upper, max_bytes, at_least_one: true, to_send };
            let job = self.add_job(None, Kind::Fetch(wanted), base, place.map(|place| place.position));
            self.streams.streams[index].state =
                State::Reading { job, waiting: None, lease, staged: to_send.then_some(max_bytes) };
            // At least one batch is written from here on, so that no answer is known without a read.
            self.plan_job(job, now, out);
        }
    }

    /// A job that read ahead has ended.
    pub(super) fn ahead_done(
        &mut self,
        key: u64,
        result: Result<Verdict, ReadError>,
        segment: i64,
        events: &mut Vec<LogEvent>,
    ) {
        let of_job = |stream: &Stream| matches!(stream.state, State::Reading { job, .. } if job == key);
        let Some(index) = self.streams.streams.iter().position(of_job) else { return };
        let stream = &mut self.streams.streams[index];
        let State::Reading { waiting, lease, .. } = std::mem::replace(&mut stream.state, State::Expected) else {
            return;
        };
        let error = match result {
            Ok(Verdict::Fetched { data, end }) if data.bytes > 0 => {
                stream.place = Some(Place { segment, position: end });
                stream.state = State::Ready { data, _lease: lease };
                None
            }
            Ok(_) => None,
            Err(error) => Some(error),
        };
        if let Some((id, wanted)) = waiting {
            let taken = stream.take(wanted, self.clock.mono);
            let nothing = ReadData { next_offset: wanted.from, ..ReadData::default() };
            let result = error.clone().map_or(Ok(taken.unwrap_or(nothing)), Err);
            events.push(LogEvent::ReadDone { id, result });
            stream.habit.in_sequence = stream.habit.in_sequence.saturating_add(1);
            self.streams.eager = true;
        }
        if error.is_some() {
            // Its reader meets the error itself, if it is still there when it asks.
            self.streams.streams.swap_remove(index);
        }
    }
}
