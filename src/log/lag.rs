//! A log and its core's journal: what is durable there before the segment has it.
//!
//! ```text
//!   log start ... written ......... durable ......... log end
//!                 | in the journal, | not durable
//!                 | in memory; the  |
//!                 | segment lags    |
//! ```
//! A host offers the journal what a turn appended ([`PartitionLog::journal_offer`]) and says when the entry is on
//! stable storage ([`PartitionLog::journaled`]); the chunk stays open and fills on. The segment gets the bytes in one
//! large write later: when the host asks ([`PartitionLog::write_back`]), with the next write that goes the direct way,
//! at a roll and at a close. Until then they are served from the open chunk.
//!
//! Nothing is offered unless a replay of it would find its place: the segment's file is there and has room to the end
//! of the offer, and `leader-epoch-checkpoint` knows the epoch. Nothing is offered, either, that would be
//! out of order with a direct write: what is sealed and not durable; or would lie on bytes that nothing holds through a
//! power cut: what page-cache mode has written, until a direct write has synced it.

use crate::base::time::Now;

use super::journal::codec::PieceHead;
use super::read::{Kind, Verdict};
use super::round::Reach;
use super::segment::block_ceil;
use super::types::{Durability, LogEvent, LogOut, ReadData};
use super::{PartitionLog, Phase};

/// What a log wants in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalOffer {
    /// Base offset of the segment.
    pub segment: i64,
    /// Position in the segment, and bytes.
    pub position: u64,
    pub len: usize,
    /// The offset behind it.
    pub end_offset: i64,
}

impl PartitionLog {
    /// What was appended and is not durable, when all of it may go to the journal.
    pub fn journal_offer(&self) -> Option<JournalOffer> {
        if self.phase != Phase::Ready || !self.uses_journal() || self.writer.pending_bytes == 0 || self.no_space {
            return None;
        }
        let rests_on_synced = self.synced_offset >= self.unjournaled_end;
        let epochs_are_written = !self.epochs_file.dirty && !self.epochs_file.in_flight;
        let active = self.active();
        let len = active.size - active.durable;
        let offered = len == self.writer.pending_bytes && self.writer.holds_open(active.base, self.durable_offset);
        let has_place = active.open_file().is_some() && active.direct && active.filled >= block_ceil(active.size);
        let round_is_behind = self.writer.round.as_ref().is_none_or(|round| round.is_durable_at(self.durable_offset));
        (rests_on_synced && epochs_are_written && offered && has_place && round_is_behind).then_some(JournalOffer {
            segment: active.base,
            position: active.durable,
            len: len as usize,
            end_offset: self.end_offset,
        })
    }

    /// Whether small appends may go to the core's journal first.
    pub(super) fn uses_journal(&self) -> bool {
        self.config.journal && self.config.durability == Durability::Stable
    }

    /// The bytes of an offer and whose they are, to be put into an entry: from here on a replay may bring them back.
    pub fn journal_piece(&mut self, offer: &JournalOffer) -> (PieceHead<'_>, &[u8]) {
        self.was_journaled = true;
        let (topic_id, dir) = (self.topic_id, self.dir.as_str());
        let head = PieceHead { topic_id, dir, segment: offer.segment, position: offer.position };
        (head, self.writer.open_bytes(offer.position, offer.len))
    }

    /// The entry with the offer is on stable storage.
    pub fn journaled(&mut self, offer: &JournalOffer, now: Now, out: &mut LogOut, events: &mut Vec<LogEvent>) {
        self.clock = now;
        if !matches!(self.phase, Phase::Ready | Phase::Leaving | Phase::Closing)
            || offer.end_offset <= self.durable_offset
        {
            // A direct write has overtaken it, or nobody asks any more.
            return;
        }
        let Some(segment) = self.segments.get_mut(&offer.segment) else { return };
        crate::invariant!(segment.durable == offer.position, "the journal has another part of the log than was due");
        segment.durable += offer.len as u64;
        self.durable_offset = offer.end_offset;
        self.writer.pending_bytes -= offer.len as u64;
        events.push(LogEvent::Durable(self.durable_offset));
        if self.active().base == offer.segment {
            self.fill_ahead(offer.segment, out);
        }
    }

    /// Everything below is in the segments; what of it is synced, [`PartitionLog::stable_storage_offset`] tells.
    pub fn written_offset(&self) -> i64 {
        self.written_offset
    }

    /// Bytes that only the journal and memory hold.
    pub fn lagging_bytes(&self) -> u64 {
        match self.phase {
            Phase::Ready if self.lags() => self.active().durable - self.active().written,
            _ => 0,
        }
    }

    /// Memory that is held for them, bytes.
    pub fn lagging_memory(&self) -> usize {
        if self.lags() { self.writer.open_capacity() } else { 0 }
    }

    pub(super) fn lags(&self) -> bool {
        self.written_offset < self.durable_offset
    }

    /// Asks for the segment to get what only the journal has; without an effect when it has everything.
    pub fn write_back(&mut self, now: Now, out: &mut LogOut) {
        self.clock = now;
        if self.phase == Phase::Ready && self.lags() {
            self.write_back_asked = true;
            self.pump_write_back(now, out);
        }
    }

    /// Does what [`PartitionLog::write_back`] asked for. What the journal does not have yet is the host's to give to
    /// it, unless the log is told not to wait for that.
    pub(super) fn pump_write_back(&mut self, now: Now, out: &mut LogOut) {
        let reach = if self.config.writes_wait_for_flush { Reach::Durable } else { Reach::End };
        self.pump_writes(reach, now, out);
    }

    /// Where the open chunk is to be cut so that nobody waits for what is written of it. `None`: it goes whole.
    pub(super) fn cut_at_durable(&self, segment: i64) -> Option<(u64, i64)> {
        let active = self.active();
        let cut = active.base == segment
            && active.direct
            && self.lags()
            && self.writer.pending_bytes > 0
            && self.writer.opens_before(active.durable)
            // That one takes the log as it is at its end.
            && !self.checkpoint_is_due(active.durable - active.written);
        cut.then_some((active.durable, self.durable_offset))
    }

    /// Bytes of a write-back, or of the sync behind one, that was asked for and is not done.
    pub fn writing_back(&self) -> Option<u64> {
        match &self.writer.round {
            _ if self.phase != Phase::Ready => None,
            Some(round) if round.is_behind() => Some(round.bytes()),
            _ => (self.write_back_asked || self.is_settling()).then(|| self.lagging_bytes()),
        }
    }

    /// Whether all that could be written now may as well be written later.
    pub(super) fn may_lag(&self) -> bool {
        self.phase == Phase::Ready
            && !self.write_back_asked
            && self.writer.queue.is_empty()
            && self.writer.pending_bytes == 0
            && self.lags()
    }

    /// A job has come to bytes that the segment's file does not have yet: sees to it that it will.
    pub(super) fn wait_for_segment(&mut self, now: Now, out: &mut LogOut) -> Option<Verdict> {
        self.write_back(now, out);
        None
    }

    /// Whether a job that would read at `at` of a segment must wait for a write-back.
    pub(super) fn meets_lag(&self, base: i64, at: u64, kind: &Kind) -> bool {
        let Some(segment) = self.segments.get(&base) else { return false };
        match kind {
            Kind::Fetch(_) => at >= segment.written && segment.written < segment.durable,
            // It walks to the end.
            Kind::Time(_) => segment.written < segment.durable,
        }
    }

    /// What the open chunk has for a reader. `None`: the offset does not lie in it.
    pub(super) fn read_open(&self, wanted: super::types::Wanted) -> Option<ReadData> {
        if !self.lags() {
            return None;
        }
        let active = self.active();
        let hint = if wanted.from >= active.base { self.position_of(active.base, wanted.from) } else { 0 };
        self.writer.read_open(wanted, hint)
    }
}
