//! The journal of one core at work: which turns go through it, what is written into the segments when, and when its
//! space is free again. The decisions about bytes and space are `log/journal`'s.
//!
//! ```text
//!   Idle ──► Opening ──► Sizing ──► Naming ──► Ready ──► Emptying ──► Closing ──► Closed
//!    first turn     cut or      first        entries    clean stop: nothing
//!    worth it       filled      superblock              is left in it
//! ```
//! Exists on every core; sees that core's logs. One entry is in flight at a time, so that everything below the newest
//! one is on stable storage, and so that turns gather meanwhile.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::base::ids::{CoreId, Uuid};
use crate::base::slots::Key;
use crate::base::time::{Mono, Now};
use crate::log::JournalOffer;
use crate::log::journal::codec::{
    DATA_START, ENTRY_HEAD, EntryBuilder, Mark, PieceHead, Superblock, empty_superblocks,
};
use crate::log::journal::file_name;
use crate::log::journal::ring::Ring;
use crate::port::disk::{DiskErrorKind, DiskOp, DiskOutput, DiskResult, FileId, OpenMode};

use super::folder::SPACE_RETRY_MS;
use super::io::DiskDesk;
use super::{Shard, ShardConfig};

/// A log with more than this to write goes directly: its bytes are worth a write of their own, not a second copy.
const PIECE_BYTES_MAX: usize = 128 << 10;
/// A log that lags this much behind the journal gets its segment written, bytes.
const LAG_BYTES_MAX: u64 = 384 << 10;
/// How long an entry may wait for its logs, milliseconds: a recovery after a quiet time finds little.
const LAG_MS_MAX: u64 = 10_000;
/// From so many bytes on that are being written behind the journal, no further log is asked: an entry's sync waits for
/// what the disk was given before it.
const BACK_BYTES_MAX: u64 = 512 << 10;
/// What a log with less than that counts for there: it has a sync to wait for, too.
const BACK_BYTES_MIN: u64 = 16 << 10;
/// More than an entry has besides the batches of a piece, bytes: its own head and the piece's, a folder's name in it.
const PIECE_HEAD_MAX: usize = 512;
/// Zeros written at once when the file is made.
const FILL_STEP: u64 = 4 << 20;
/// Smallest journal, bytes; a smaller one is none.
const JOURNAL_BYTES_MIN: u64 = 128 << 10;

/// Whether a journal of so many bytes is one.
pub fn is_used(bytes: u64) -> bool {
    bytes >= JOURNAL_BYTES_MIN
}

/// How a core uses its journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalConfig {
    /// Bytes of the file; 0: no journal.
    pub bytes: u64,
    /// A turn goes through it from this many logs on.
    pub logs_min: usize,
    /// Memory of what is in the journal and not in the segments yet, bytes.
    pub lag_bytes: u64,
}

/// What an operation on the journal's file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JournalOp {
    Open,
    Size,
    Tail(Mark),
    Entry,
    Empty,
    Close,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Opening,
    Sizing,
    Naming,
    Ready,
    Emptying,
    Closing,
    Closed,
}

/// What an answer of the disk meant.
enum Outcome {
    Nothing,
    /// The entry in flight is on stable storage.
    Written,
    /// The disk had no room for the entry in flight.
    Refused,
    Failed(String),
}

/// The journal of one core.
#[derive(Debug)]
pub struct JournalHost {
    config: JournalConfig,
    core: u16,
    incarnation: Uuid,
    state: State,
    file: Option<FileId>,
    ring: Ring,
    /// Of the superblock written last.
    generation: u64,
    /// Bytes of the file that are as they should be.
    sized: u64,
    tail_in_flight: bool,
    /// The logs of the entry in flight.
    entry: Vec<(Key, JournalOffer)>,
    entry_in_flight: bool,
    /// Where the entry in flight goes, and its bytes.
    entry_write: Option<(u64, Bytes)>,
    /// When a write that found no room is tried again. Blocks of the file were written once, so this takes a file
    /// system that writes to new ones all the same, as btrfs does.
    retry_at: Option<Mono>,
    /// Of the writes that found none, one was the entry's: it is in flight, but not with the disk.
    entry_refused: bool,
    /// Memory of chunks whose bytes the segments do not have.
    lag_bytes: u64,
    /// Bytes of logs that were asked to write them, or to sync, and have not done it.
    back_bytes: u64,
    /// Every log of every entry was asked.
    all_asked: bool,
    stopping: bool,
}

/// A log's share in the journal; kept with its partition.
#[derive(Debug, Default)]
pub struct Share {
    /// Entries with bytes of the log that are not synced in its segment: number, and the offset behind the bytes.
    pieces: VecDeque<(u64, i64)>,
    lag_bytes: u64,
    back_bytes: u64,
}

impl JournalHost {
    pub fn new(config: &ShardConfig) -> JournalHost {
        let bytes = config.journal.bytes / DATA_START * DATA_START;
        let state = if is_used(bytes) { State::Idle } else { State::Closed };
        if config.core == CoreId(0) && bytes > 0 && state == State::Closed {
            tracing::warn!("no journal: kataract.journal.bytes is below {JOURNAL_BYTES_MIN}");
        }
        JournalHost {
            config: JournalConfig { bytes, ..config.journal },
            core: config.core.0,
            incarnation: config.node.incarnation,
            state,
            file: None,
            ring: Ring::new(bytes.max(JOURNAL_BYTES_MIN)),
            generation: 0,
            sized: 0,
            tail_in_flight: false,
            entry: Vec::new(),
            entry_in_flight: false,
            entry_write: None,
            retry_at: None,
            entry_refused: false,
            lag_bytes: 0,
            back_bytes: 0,
            all_asked: true,
            stopping: false,
        }
    }

    /// An entry is being written: what is appended meanwhile goes with the next.
    pub fn is_writing(&self) -> bool {
        self.entry_in_flight && !self.entry_refused
    }

    /// Memory of what only the journal has, bytes.
    pub fn lag_bytes(&self) -> u64 {
        self.lag_bytes
    }

    /// Whether an entry may be written now; the first time somebody asks, the file is made ready.
    fn is_ready(&mut self, desk: &mut DiskDesk) -> bool {
        if self.state == State::Idle
            && !self.stopping
            && let Some(file) = desk.take_file()
        {
            self.file = Some(file);
            self.state = State::Opening;
            let mode = OpenMode { direct: true, create: true };
            desk.journal(JournalOp::Open, DiskOp::Open { file, path: file_name(self.core), mode });
        }
        let memory_left = self.lag_bytes <= self.config.lag_bytes;
        self.state == State::Ready && !self.stopping && !self.entry_in_flight && memory_left
    }

    fn complete(&mut self, op: JournalOp, result: DiskResult, now: Now, desk: &mut DiskDesk) -> Outcome {
        let Some(file) = self.file else { return Outcome::Nothing };
        match (op, result) {
            (JournalOp::Close, _) => {
                desk.give_file(file);
                self.file = None;
                self.state = State::Closed;
                Outcome::Nothing
            }
            (JournalOp::Open, Ok(DiskOutput::Opened { len })) => self.size(len, file, desk),
            (JournalOp::Open, Err(error)) => {
                desk.give_file(file);
                (self.file, self.state) = (None, State::Closed);
                self.no_journal(&error.detail, error.kind == DiskErrorKind::Io)
            }
            (JournalOp::Size, Err(error)) => {
                self.close_file(desk);
                self.no_journal(&error.detail, error.kind != DiskErrorKind::NoSpace)
            }
            (JournalOp::Empty, Err(error)) if error.kind == DiskErrorKind::NoSpace => {
                // After a stop in order nobody replays it.
                self.close_file(desk);
                Outcome::Nothing
            }
            (JournalOp::Entry | JournalOp::Tail(_), Err(error)) if error.kind == DiskErrorKind::NoSpace => {
                self.refused(op, now)
            }
            (_, Err(error)) => {
                self.entry_in_flight = false;
                self.tail_in_flight = false;
                self.retry_at = None;
                self.stopping = true;
                Outcome::Failed(format!("{}: {}", file_name(self.core), error.detail))
            }
            (JournalOp::Open, Ok(_)) => self.no_journal("opened with another answer", true),
            (JournalOp::Size, Ok(_)) => self.size(self.sized, file, desk),
            (JournalOp::Tail(mark), Ok(_)) => {
                self.tail_in_flight = false;
                self.ring.tail_written(mark);
                if self.state == State::Naming {
                    self.state = State::Ready;
                }
                Outcome::Nothing
            }
            (JournalOp::Entry, Ok(_)) => {
                self.entry_in_flight = false;
                self.entry_write = None;
                Outcome::Written
            }
            (JournalOp::Empty, Ok(_)) => {
                self.close_file(desk);
                Outcome::Nothing
            }
        }
    }

    /// A write found no room. The entries behind it need it, so nothing else is written until it is there.
    fn refused(&mut self, op: JournalOp, now: Now) -> Outcome {
        self.retry_at = Some(now.mono.plus_ms(SPACE_RETRY_MS));
        match op {
            JournalOp::Entry => {
                self.entry_refused = true;
                Outcome::Refused
            }
            _ => {
                self.tail_in_flight = false;
                Outcome::Nothing
            }
        }
    }

    /// Tries again what found no room, when its time has come.
    fn retry(&mut self, now: Now, desk: &mut DiskDesk) {
        let Some(file) = self.file.filter(|_| self.retry_at.is_some_and(|at| at <= now.mono)) else { return };
        self.retry_at = None;
        if self.state == State::Naming {
            self.write_tail(self.ring.tail(), file, desk);
        }
        if std::mem::take(&mut self.entry_refused) {
            self.write_entry(file, desk);
        }
    }

    fn write_entry(&mut self, file: FileId, desk: &mut DiskDesk) {
        if let Some((position, data)) = self.entry_write.clone() {
            desk.journal(JournalOp::Entry, DiskOp::Write { file, position, data, sync: true });
        }
    }

    /// Turns go directly from here on.
    fn no_journal(&mut self, reason: &str, fatal: bool) -> Outcome {
        if fatal {
            self.stopping = true;
            return Outcome::Failed(format!("{}: {reason}", file_name(self.core)));
        }
        tracing::warn!("core {}: no journal: {reason}", self.core);
        Outcome::Nothing
    }

    /// Brings the file to its length, in steps: every block of it is written once before an entry is.
    fn size(&mut self, len: u64, file: FileId, desk: &mut DiskDesk) -> Outcome {
        self.state = State::Sizing;
        if self.stopping {
            self.close_file(desk);
            return Outcome::Nothing;
        }
        let wanted = self.config.bytes;
        let from = len / DATA_START * DATA_START;
        if len > wanted {
            self.sized = wanted;
            desk.journal(JournalOp::Size, DiskOp::SetLen { file, len: wanted });
        } else if from < wanted {
            let to = (from + FILL_STEP).min(wanted);
            self.sized = to;
            desk.journal(JournalOp::Size, DiskOp::ZeroFill { file, from, to });
        } else {
            self.state = State::Naming;
            self.write_tail(self.ring.tail(), file, desk);
        }
        Outcome::Nothing
    }

    fn write_tail(&mut self, tail: Mark, file: FileId, desk: &mut DiskDesk) {
        self.generation += 1;
        self.tail_in_flight = true;
        let superblock = Superblock { incarnation: self.incarnation, generation: self.generation, tail };
        let (position, data) = (superblock.position(), superblock.encode());
        desk.journal(JournalOp::Tail(tail), DiskOp::Write { file, position, data, sync: true });
    }

    /// Writes the tail when that frees enough; `short`: when it frees anything.
    fn advance(&mut self, short: bool, desk: &mut DiskDesk) {
        if self.state == State::Ready
            && !self.stopping
            && !self.tail_in_flight
            && self.retry_at.is_none()
            && let Some(file) = self.file
            && let Some(tail) = self.ring.tail_to_write(short)
        {
            self.write_tail(tail, file, desk);
        }
    }

    /// No new entries, and no more filling.
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    /// Leaves nothing in the journal and closes it; every log of the core is closed. True once that is done; otherwise
    /// to be called again when the disk has answered.
    pub fn close(&mut self, desk: &mut DiskDesk) -> bool {
        self.stopping = true;
        if self.state == State::Idle {
            self.state = State::Closed;
        }
        self.go_on_closing(desk);
        self.state == State::Closed
    }

    fn go_on_closing(&mut self, desk: &mut DiskDesk) {
        // The logs are closed: an entry that found no room is not needed any more.
        let idle = !self.is_writing() && !self.tail_in_flight;
        if !self.stopping || !idle {
            return;
        }
        self.retry_at = None;
        match (self.state, self.file) {
            (State::Ready, Some(file)) => {
                self.state = State::Emptying;
                let data = empty_superblocks();
                desk.journal(JournalOp::Empty, DiskOp::Write { file, position: 0, data, sync: true });
            }
            // Its first superblock found no room.
            (State::Naming, _) => self.close_file(desk),
            _ => {}
        }
    }

    fn close_file(&mut self, desk: &mut DiskDesk) {
        if let Some(file) = self.file {
            self.state = State::Closing;
            desk.journal(JournalOp::Close, DiskOp::Close { file });
        }
    }

    /// The largest piece: an entry has room for any two.
    fn piece_bytes_max(&self) -> usize {
        PIECE_BYTES_MAX.min(self.ring.entry_bytes_max() as usize / 2 - PIECE_HEAD_MAX)
    }

    /// Whether another log should be asked now to have everything in its segment, synced.
    fn wants_settling(&self, now: Mono) -> bool {
        let old = self.ring.oldest().is_some_and(|at| now >= at.plus_ms(LAG_MS_MAX));
        let needed = old || self.ring.is_filling() || self.lag_bytes * 4 >= self.config.lag_bytes * 3;
        needed && self.has_room_behind()
    }

    /// Whether another log may be asked to write behind the journal.
    fn has_room_behind(&self) -> bool {
        self.back_bytes < BACK_BYTES_MAX
    }

    /// When entries have waited long enough.
    pub fn next_wake(&self) -> Option<Mono> {
        // With an entry in flight there is a turn when it is answered.
        let idle = self.all_asked || self.stopping || self.entry_in_flight || !self.has_room_behind();
        let old = self.ring.oldest().filter(|_| !idle).map(|at| at.plus_ms(LAG_MS_MAX));
        old.into_iter().chain(self.retry_at.filter(|_| !self.stopping)).min()
    }
}

impl Shard {
    /// Takes what the journal is to hold out of a turn's dirty logs and writes it as one entry. Logs that the entry has
    /// no room for are left for the next one.
    pub(super) fn journal_turn(&mut self, dirty: &mut Vec<Key>, waiting: &mut Vec<Key>, now: Now) {
        let logs_min = self.journal.config.logs_min;
        let busy = self.journal.stopping || self.journal.entry_in_flight;
        if dirty.len() < logs_min || self.folder_offline || busy {
            return;
        }
        let mut offers = std::mem::take(&mut self.journal.entry);
        offers.clear();
        let piece_bytes_max = self.journal.piece_bytes_max();
        for key in dirty.iter() {
            let offer = self.partitions.get(*key).and_then(|partition| partition.log.journal_offer());
            offers.extend(offer.filter(|offer| offer.len <= piece_bytes_max).map(|offer| (*key, offer)));
        }
        if offers.len() >= logs_min && self.journal.is_ready(&mut self.desk) {
            self.write_entry(&mut offers, dirty, waiting, now);
        }
        self.journal.entry = offers;
    }

    fn write_entry(
        &mut self,
        offers: &mut Vec<(Key, JournalOffer)>,
        dirty: &mut Vec<Key>,
        waiting: &mut Vec<Key>,
        now: Now,
    ) {
        let limit = self.journal.ring.entry_bytes_max() as usize;
        let (mut taken, mut bytes) = (0, ENTRY_HEAD);
        for (key, offer) in offers.iter() {
            let dir_len = self.partitions.get(*key).map_or(0, |partition| partition.log.dir().len());
            let more = PieceHead::piece_len(dir_len, offer.len);
            if bytes + more > limit {
                break;
            }
            bytes += more;
            taken += 1;
        }
        crate::invariant!(taken > 0, "an entry of {limit} bytes has no room for the first piece");
        let mut builder = EntryBuilder::with_capacity(bytes - ENTRY_HEAD);
        let keys = offers[..taken].iter().map(|(key, _)| *key).collect();
        let len = builder.block_bytes() as u64;
        let (Some(mark), Some(file)) = (self.journal.ring.push(len, keys, now.mono), self.journal.file) else {
            // Full: this turn goes directly, which makes room, too.
            return self.journal.advance(true, &mut self.desk);
        };
        let mut next = offers.iter();
        let mut offered = next.next();
        // The offers are in the order of the dirty logs.
        dirty.retain(|key| {
            let is_offered = offered.is_some_and(|(offered, _)| offered == key);
            if is_offered {
                offered = next.next();
            }
            !is_offered
        });
        waiting.extend(offers.drain(taken..).map(|(key, _)| key));
        for (key, offer) in offers.iter() {
            let Some(partition) = self.partitions.get_mut(*key) else { continue };
            partition.dirty = false;
            partition.share.pieces.push_back((mark.sequence, offer.end_offset));
            let (head, batches) = partition.log.journal_piece(offer);
            builder.push(&head, batches);
        }
        self.journal.entry_in_flight = true;
        self.journal.all_asked = false;
        let data = builder.finish(self.journal.incarnation, mark.sequence);
        self.journal.entry_write = Some((mark.position, data));
        self.journal.write_entry(file, &mut self.desk);
    }

    /// The disk has answered the journal.
    pub(super) fn journal_done(&mut self, op: JournalOp, result: DiskResult, now: Now) {
        match self.journal.complete(op, result, now, &mut self.desk) {
            Outcome::Nothing => {}
            Outcome::Written => self.entry_written(now),
            Outcome::Refused => self.entry_refused(),
            Outcome::Failed(reason) => self.fail_folder(&reason, now),
        }
        if self.is_stopping() {
            self.stop_progress();
        }
    }

    /// The logs of the entry write for themselves: they find no room either, tell their producers so, and notice by
    /// themselves when there is some.
    fn entry_refused(&mut self) {
        let entry = std::mem::take(&mut self.journal.entry);
        for (key, _) in &entry {
            self.mark_dirty(*key);
        }
        self.journal.entry = entry;
    }

    /// Everything in the entry is durable.
    fn entry_written(&mut self, now: Now) {
        let entry = std::mem::take(&mut self.journal.entry);
        let mut events = std::mem::take(&mut self.events);
        for (key, offer) in &entry {
            let Some(partition) = self.partitions.get_mut(*key) else { continue };
            let log = &mut partition.log;
            self.desk.with_log(*key, |out| {
                log.journaled(offer, now, out, &mut events);
                if log.lagging_bytes() >= LAG_BYTES_MAX && self.journal.has_room_behind() {
                    log.write_back(now, out);
                }
            });
            for event in events.drain(..) {
                self.log_event(*key, event, now);
            }
            self.note_share(*key);
        }
        self.events = events;
        self.journal.entry = entry;
    }

    /// Keeps what the journal knows of a log as the log has it now.
    pub(super) fn note_share(&mut self, key: Key) {
        let Some(partition) = self.partitions.get_mut(key) else { return };
        let (log, share, journal) = (&partition.log, &mut partition.share, &mut self.journal);
        let lag_bytes = log.lagging_memory() as u64;
        journal.lag_bytes = journal.lag_bytes - share.lag_bytes + lag_bytes;
        share.lag_bytes = lag_bytes;
        let back_bytes = log.writing_back().map_or(0, |bytes| bytes.max(BACK_BYTES_MIN));
        journal.back_bytes = journal.back_bytes - share.back_bytes + back_bytes;
        share.back_bytes = back_bytes;
        while let Some((sequence, _)) = share.pieces.front().filter(|(_, end)| *end <= log.stable_storage_offset()) {
            journal.ring.release(*sequence);
            share.pieces.pop_front();
        }
    }

    /// A log is gone with its folder: nothing of it is needed.
    pub(super) fn forget_share(&mut self, key: Key) {
        let Some(partition) = self.partitions.get_mut(key) else { return };
        let share = std::mem::take(&mut partition.share);
        self.journal.lag_bytes -= share.lag_bytes;
        self.journal.back_bytes -= share.back_bytes;
        for (sequence, _) in share.pieces {
            self.journal.ring.release(sequence);
        }
    }

    /// Asks logs to settle, oldest first, when there is a reason to; writes the tail.
    pub(super) fn journal_upkeep(&mut self, now: Now) {
        self.journal.retry(now, &mut self.desk);
        if self.journal.all_asked && self.journal.ring.is_empty() {
            return self.journal.advance(false, &mut self.desk);
        }
        while self.journal.wants_settling(now.mono) {
            let in_flight = self.journal.entry_in_flight;
            let Some((key, sequence)) = self.journal.ring.next_to_settle(in_flight) else {
                self.journal.all_asked = !in_flight;
                break;
            };
            if let Some(partition) = self.partitions.get_mut(key)
                && partition.share.pieces.front().is_some_and(|(first, _)| *first <= sequence)
            {
                let log = &mut partition.log;
                self.desk.with_log(key, |out| log.settle(now, out));
                self.rearm(key);
            }
        }
        self.journal.advance(false, &mut self.desk);
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_config::test_config;
    use super::*;

    /// Otherwise entries without a piece would fill the ring for good.
    #[test]
    fn the_largest_entry_of_the_smallest_journal_has_room_for_the_largest_piece() {
        const FOLDER_NAME_MAX: usize = 255;
        let entry = Ring::new(JOURNAL_BYTES_MIN).entry_bytes_max() as usize;
        let config = JournalConfig { bytes: JOURNAL_BYTES_MIN, logs_min: 1, lag_bytes: 0 };
        let host = JournalHost::new(&ShardConfig { journal: config, ..test_config(1, &[]) });
        assert!(ENTRY_HEAD + 2 * PieceHead::piece_len(FOLDER_NAME_MAX, host.piece_bytes_max()) <= entry);
    }
}
