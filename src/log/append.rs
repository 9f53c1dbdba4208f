//! Appending: offsets are given, the batch is copied once and stamped in the copy, everything in memory is brought up
//! to date. No operation is asked for here: that is the end of the turn's business (`round.rs`).

use bytes::Bytes;

use crate::base::time::Now;
use crate::batch::{BatchHeader, patch};

use super::epochs::UNDEFINED_EPOCH;
use super::finish::Finish;
use super::head::Head;
use super::producers::ProducerStates;
use super::seal::Place;
use super::segment::{RollQuestion, Segment};
use super::types::{AppendError, Appended, Durability};
use super::{PartitionLog, Phase};

/// What is written into the copy of a batch.
#[derive(Clone, Copy, Debug)]
enum Stamp {
    /// The next offset and this leader epoch; the log append time as well.
    Leader { epoch: i32, append_time_ms: Option<i64> },
    /// Nothing: another log's leader has stamped it.
    Follower,
}

impl PartitionLog {
    /// Appends one batch as the leader: gives it the next offsets and `leader_epoch`. The batch was validated, and the
    /// producer checked, before; on success all that is left to do for durability is [`PartitionLog::flush`].
    ///
    /// # Errors
    /// Nothing has changed after any [`AppendError`].
    pub fn append(&mut self, batch: &[u8], leader_epoch: i32, now: Now) -> Result<Appended, AppendError> {
        self.append_stamped(batch, Stamp::Leader { epoch: leader_epoch, append_time_ms: None }, now)
    }

    /// The same under `message.timestamp.type=LogAppendTime`: the wall time of `now` becomes the time of every record.
    pub fn append_log_append_time(
        &mut self,
        batch: &[u8],
        leader_epoch: i32,
        now: Now,
    ) -> Result<Appended, AppendError> {
        self.append_stamped(batch, Stamp::Leader { epoch: leader_epoch, append_time_ms: Some(now.wall_ms) }, now)
    }

    /// Appends one batch as a follower: offsets and epoch are the leader's. A gap above the log end is taken as it is
    /// (the leader's log was compacted).
    pub fn append_replicated(&mut self, batch: &[u8], now: Now) -> Result<Appended, AppendError> {
        self.append_stamped(batch, Stamp::Follower, now)
    }

    fn append_stamped(&mut self, batch: &[u8], stamp: Stamp, now: Now) -> Result<Appended, AppendError> {
        let head = self.judge(batch, stamp)?;
        let jitter_seed = if self.config.segment_jitter_ms > 0 { crc32c::crc32c(self.dir.as_bytes()) } else { 0 };
        let active = self.active();
        let question = RollQuestion {
            jitter_seed,
            batch_bytes: head.size as u64,
            batch_max_timestamp: head.max_timestamp,
            last_offset: head.last_offset,
            now_ms: now.wall_ms,
        };
        let rolled = active.should_roll(question, &self.config);
        if rolled {
            // At the log end even when a replicated batch leaves a gap, so that segments always touch; an index entry
            // reaches only so far from the base, though.
            let touches = head.last_offset - self.end_offset <= i64::from(i32::MAX);
            self.roll(if touches { self.end_offset } else { head.base_offset }, now);
        } else if head.last_offset - active.base > i64::from(i32::MAX) {
            return Err(AppendError::OutOfOrder);
        }
        let active = self.active();
        let place = Place {
            segment: active.base,
            position: active.size,
            offset: self.end_offset,
            direct: active.direct,
            grows: self.uses_journal(),
            now: now.mono,
        };
        let copy = self.writer.put(batch, place, &mut self.sealed);
        let mut append_time = -1;
        if let Stamp::Leader { epoch, append_time_ms } = stamp {
            patch::stamp(copy, head.base_offset, epoch);
            if let Some(time) = append_time_ms {
                patch::set_log_append_time(copy, time);
                append_time = time;
            }
        }
        note_producer(&mut self.producers, copy);
        self.writer.set_end(head.last_offset + 1);
        if !self.sealed.is_empty() {
            self.take_sealed();
        }
        let interval = self.config.index_interval_bytes;
        self.active_mut().note_batch(&head, interval);
        if head.leader_epoch >= 0 && self.epochs.assign(head.leader_epoch, head.base_offset) {
            self.epochs_file.dirty = true;
        }
        self.end_offset = head.last_offset + 1;
        Ok(Appended {
            base_offset: head.base_offset,
            last_offset: head.last_offset,
            log_append_time_ms: append_time,
            rolled,
        })
    }

    /// Whether the batch may be appended now; its header as it will be stored.
    fn judge(&self, batch: &[u8], stamp: Stamp) -> Result<Head, AppendError> {
        self.takes_appends()?;
        let head = match stamp {
            Stamp::Leader { .. } => Head::of_client(batch),
            Stamp::Follower => Head::of_memory(batch),
        };
        let mut head = head.filter(|head| head.size == batch.len()).ok_or(AppendError::Invalid)?;
        match stamp {
            Stamp::Leader { epoch, .. } if epoch < UNDEFINED_EPOCH => return Err(AppendError::Invalid),
            Stamp::Leader { epoch, append_time_ms } => {
                let delta = head.last_offset - head.base_offset;
                head.base_offset = self.end_offset;
                head.last_offset = self.end_offset.checked_add(delta).ok_or(AppendError::OffsetsExhausted)?;
                head.leader_epoch = epoch;
                head.max_timestamp = append_time_ms.unwrap_or(head.max_timestamp);
            }
            Stamp::Follower if head.base_offset < self.end_offset => return Err(AppendError::OutOfOrder),
            Stamp::Follower => {}
        }
        if head.last_offset == i64::MAX {
            return Err(AppendError::OffsetsExhausted);
        }
        if head.size as u64 > Segment::batch_bytes_max(&self.config) {
            return Err(AppendError::TooLargeForSegment);
        }
        if !self.is_within_pending(head.size as u64) {
            return Err(AppendError::Full);
        }
        Ok(head)
    }

    fn takes_appends(&self) -> Result<(), AppendError> {
        match self.phase {
            Phase::Ready => {}
            Phase::Creating | Phase::Loading | Phase::Truncating | Phase::Leaving | Phase::Away => {
                return Err(AppendError::NotReady);
            }
            _ => return Err(AppendError::Offline),
        }
        if self.no_space { Err(AppendError::NoSpace) } else { Ok(()) }
    }

    fn is_within_pending(&self, bytes: u64) -> bool {
        let pending = self.writer.pending_bytes;
        pending == 0 || pending + bytes <= u64::from(self.config.pending_bytes_max)
    }

    /// Whether a batch of up to `bytes` would be taken now: for a host whose decision cannot be taken back once it is
    /// made, and which therefore asks before.
    ///
    /// # Errors
    /// What [`PartitionLog::append`] would say of any batch of that size.
    pub fn has_room_for(&self, bytes: u64) -> Result<(), AppendError> {
        self.takes_appends()?;
        if self.is_within_pending(bytes) { Ok(()) } else { Err(AppendError::Full) }
    }

    /// Ends the active segment at the log end and begins the next one at `base` (at or above the log end).
    pub(super) fn roll(&mut self, base: i64, now: Now) {
        let direct = self.active().direct;
        self.writer.seal(direct, true, now.mono, &mut self.sealed);
        self.take_sealed();
        self.writer.begin_segment();
        let snapshot = (base, self.producers.encode_snapshot());
        let old = self.active_mut();
        crate::invariant!(old.size > 0 && base > old.base, "an empty segment was rolled");
        old.rolled = true;
        old.close_time_index();
        old.finish = Some(Finish::new(Some(snapshot)));
        old.end = base;
        let finishing = old.base;
        self.finishing.insert(finishing);
        let direct = self.config.durability == Durability::Stable;
        self.segments.insert(base, Segment::new(base, direct, now.wall_ms, now.mono));
    }
}

/// Brings the producer states up to date with a batch as it stands in the log.
pub(super) fn note_producer(producers: &mut ProducerStates, batch: &[u8]) {
    let Some(header) = BatchHeader::parse(batch) else { return };
    if header.is_control() {
        // Only markers have a body to look at, and they are small. One that cannot be read ends no transaction.
        if let Err(error) = producers.replay(&Bytes::copy_from_slice(batch)) {
            tracing::warn!(offset = header.base_offset, %error, "a control batch cannot be read");
        }
    } else {
        producers.record(&header, header.base_offset, header.last_offset());
    }
}
