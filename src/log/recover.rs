//! The part of loading that reads batches: from the newest usable snapshot to the end of the log, segment by segment.
//!
//! Rules: a batch is believed as `scan.rs` says. A segment that ends well and touches the next one is made final on the
//! spot (exact length, indexes, the snapshot at the next one's base), so that a crash during a long recovery does not
//! begin again from the start, and so that memory holds the indexes of one segment. The first segment that does not end
//! well is the last: what follows it is removed, newest first, then its own tail is cut, so that stale bytes can never
//! be taken for batches. Unless it lies below the snapshot as a whole: then it is rotten, not torn, and stays as it is.

use bytes::Bytes;

use crate::base::limits::BLOCK;
use crate::base::time::Now;
use crate::port::disk::{DiskOp, DiskResult};

use super::append::note_producer;
use super::head::Head;
use super::index::{OffsetIndex, TimeIndex};
use super::lazy_index::IndexState;
use super::load::{After, Loader, Stage, data_of};
use super::names::{self, FileKind};
use super::ops::Op;
use super::producers::ProducerStates;
use super::scan::{Scan, ScanEnd, ScanRules, Step};
use super::seal::Writer;
use super::segment::{Indexes, MaxStamp, Segment, block_floor};
use super::types::{Durability, LogEvent, LogOut};
use super::{PartitionLog, Phase};

/// What the segment being scanned waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    Index,
    TimeIndex,
    File,
    Piece(u32),
}

/// One segment, or swap file, being scanned.
#[derive(Debug)]
pub(super) struct SegmentScan {
    base: i64,
    swap: bool,
    wait: Wait,
    index: Option<Bytes>,
    time_index: Option<Bytes>,
    scan: Option<Scan>,
    /// How it ended, once it did and before the next one begins.
    end: Option<ScanEnd>,
}

impl PartitionLog {
    /// Lists the snapshots a recovery may begin from.
    pub(super) fn list_candidates(&mut self, loader: &mut Loader, now: Now, out: &mut LogOut) -> Result<(), String> {
        loader.candidates = loader.usable_snapshots();
        self.try_snapshot(loader, now, out)
    }

    pub(super) fn try_snapshot(&mut self, loader: &mut Loader, now: Now, out: &mut LogOut) -> Result<(), String> {
        if let Some(&offset) = loader.candidates.last() {
            loader.stage = Stage::Snapshot(offset);
            let path = self.path(FileKind::Snapshot, offset);
            self.ask(Op::Load, DiskOp::ReadFile { path, len_max: names::SMALL_FILE_MAX }, out);
            return Ok(());
        }
        loader.snapshot = None;
        loader.producers = ProducerStates::new();
        self.begin_scan(loader, now, out)
    }

    pub(super) fn snapshot_read(
        &mut self,
        loader: &mut Loader,
        offset: i64,
        result: DiskResult,
        now: Now,
        out: &mut LogOut,
    ) -> Result<(), String> {
        let data = data_of("reading it", result);
        match data.and_then(|data| ProducerStates::decode_snapshot(&data).map_err(|error| error.to_string())) {
            Ok(mut producers) => {
                producers.expire(now.wall_ms, self.config.producer_expiration_ms);
                loader.snapshot = Some(offset);
                loader.producers = producers;
                self.begin_scan(loader, now, out)
            }
            Err(reason) => {
                loader.note(format!("the producer snapshot at {offset} was not used: {reason}"));
                self.discard_snapshot(loader, offset);
                self.try_snapshot(loader, now, out)
            }
        }
    }

    fn discard_snapshot(&mut self, loader: &mut Loader, offset: i64) {
        loader.remove_snapshot(&self.dir, offset);
    }

    /// Sets up the segments below the snapshot as they are and scans from the one that holds it.
    fn begin_scan(&mut self, loader: &mut Loader, now: Now, out: &mut LogOut) -> Result<(), String> {
        let Some(&first) = loader.logs.keys().next() else {
            let start = loader.hints.log_start.unwrap_or(0).max(0);
            return self.restart(loader, start, now, out);
        };
        let mut from = loader.snapshot.unwrap_or(first);
        self.epochs = match &loader.known_epochs {
            Some(known) => known.clone(),
            None => {
                // Made again from every batch there is.
                from = first;
                Default::default()
            }
        };
        self.epochs.truncate_from_end(from);
        loader.epochs_from = from;
        // A snapshot at a base may be a soft checkpoint that a roll happened to follow: then the segment before it may
        // not be final, so its tail is looked at as well.
        let upto = if loader.hints.clean { from } else { from - 1 };
        let base = loader.logs.range(..=upto).next_back().map_or(first, |(&base, _)| base);
        self.drop_scanned(out);
        let mut below = loader.logs.range(..base).peekable();
        while let Some((&lower, &len)) = below.next() {
            let end = below.peek().map_or(base, |(next, _)| **next);
            self.segments.insert(lower, Segment::found(lower, end, len, now.wall_ms, now.mono));
        }
        loader.report.snapshot_offset = loader.snapshot;
        self.scan_segment(loader, base, now, out)
    }

    /// Forgets the segments of an attempt that is begun again.
    pub(super) fn drop_scanned(&mut self, out: &mut LogOut) {
        let bases: Vec<i64> = self.segments.keys().copied().collect();
        for base in bases {
            self.close_file(base, out);
        }
        self.segments.clear();
    }

    /// Begins with a segment: its indexes first, when the scan may begin behind its start.
    fn scan_segment(&mut self, loader: &mut Loader, base: i64, now: Now, out: &mut LogOut) -> Result<(), String> {
        let len = loader.logs.get(&base).copied().unwrap_or(0);
        let next = loader.logs.range(base + 1..).next().map(|(&next, _)| next);
        let segment = match next {
            Some(next) => Segment::found(base, next, len, now.wall_ms, now.mono),
            None => {
                // Past the page cache: after a failed sync it may hold bytes that the device never got.
                let last = Segment::new(base, true, now.wall_ms, now.mono);
                Segment { durable: len, name_in_doubt: !loader.hints.clean, ..last }
            }
        };
        self.segments.insert(base, segment);
        let has = |kind| loader.others.contains_key(&(kind, base));
        let inside = loader.snapshot.is_some_and(|snapshot| snapshot > base) && loader.known_epochs.is_some();
        let indexed = inside && has(FileKind::Index) && has(FileKind::TimeIndex);
        let wait = if indexed { Wait::Index } else { Wait::File };
        let (index, time_index, scan, end) = (None, None, None, None);
        loader.scan = Some(Box::new(SegmentScan { base, swap: false, wait, index, time_index, scan, end }));
        loader.stage = Stage::Scan;
        if indexed {
            let path = self.path(FileKind::Index, base);
            self.ask(Op::Load, DiskOp::ReadFile { path, len_max: names::SMALL_FILE_MAX }, out);
            return Ok(());
        }
        if inside {
            loader.report.indexes_rebuilt += 1;
        }
        self.scan_file(loader, now, out)
    }

    /// An answer while a segment is being scanned.
    pub(super) fn scan_answer(
        &mut self,
        loader: &mut Loader,
        result: DiskResult,
        now: Now,
        out: &mut LogOut,
    ) -> Result<(), String> {
        let Some(current) = &mut loader.scan else { return Err("an answer without a scan".to_string()) };
        let data = match (data_of(&format!("reading segment {}", current.base), result), current.wait) {
            (Ok(data), _) => Some(data),
            (Err(_), Wait::Index | Wait::TimeIndex) => None,
            (Err(reason), _) => return Err(reason),
        };
        match current.wait {
            Wait::Index => {
                (current.index, current.wait) = (data, Wait::TimeIndex);
                let path = self.path(FileKind::TimeIndex, current.base);
                self.ask(Op::Load, DiskOp::ReadFile { path, len_max: names::SMALL_FILE_MAX }, out);
                Ok(())
            }
            Wait::TimeIndex => {
                (current.time_index, current.wait) = (data, Wait::File);
                self.scan_file(loader, now, out)
            }
            Wait::Piece(asked) => {
                if let (Some(scan), Some(data)) = (&mut current.scan, data) {
                    scan.feed(&data, asked);
                }
                self.scan_on(loader, now, out)
            }
            Wait::File => Err("an answer without a question".to_string()),
        }
    }

    /// Goes on as soon as the file is open; pumped until then.
    pub(super) fn pump_load(&mut self, now: Now, out: &mut LogOut, events: &mut Vec<LogEvent>) {
        let Some(mut loader) = self.loader.take() else { return };
        let waits = loader.scan.as_ref().is_some_and(|scan| scan.wait == Wait::File);
        let done = match loader.stage {
            Stage::Scan if waits => self.scan_file(&mut loader, now, out),
            Stage::TailFile => self.read_tail(&mut loader, now, out),
            Stage::Todo(after) if loader.again && self.retry_at.is_none() => {
                loader.again = false;
                self.run_todo(&mut loader, after, now, out)
            }
            _ => Ok(()),
        };
        self.after_step(loader, done, now, out, events);
    }

    pub(super) fn scan_file(&mut self, loader: &mut Loader, now: Now, out: &mut LogOut) -> Result<(), String> {
        let Some(current) = &mut loader.scan else { return Ok(()) };
        if self.ensure_open(current.base, now, out).is_none() {
            return Ok(());
        }
        let next_base = loader.logs.range(current.base + 1..).next().map(|(&next, _)| next).filter(|_| !current.swap);
        let rules = ScanRules {
            gaps_allowed: self.config.gaps_allowed || current.swap,
            known_epochs: loader.known_epochs.clone(),
            limit: loader.limit,
            // The snapshot at a base is written when everything below is on stable storage.
            whole: next_base.is_some_and(|next| loader.others.contains_key(&(FileKind::Snapshot, next))),
            next_base,
        };
        let segment = self.segments.get_mut(&current.base).ok_or("the segment being scanned is gone")?;
        let file_len = segment.filled;
        let upto = loader.snapshot.unwrap_or(current.base);
        (segment.size, segment.durable, segment.written, segment.end) = (0, file_len, file_len, segment.base);
        let entry = current.usable_indexes(upto, file_len).map(|(indexes, entry)| {
            segment.take_indexes(indexes);
            entry
        });
        if current.index.take().is_some() && entry.is_none() {
            loader.report.indexes_rebuilt += 1;
            loader.report.notes.push(format!("the indexes of segment {} were not usable", current.base));
        }
        current.scan = Some(match entry {
            Some((position, last_offset)) if position > 0 => {
                segment.size = position;
                Scan::from_entry(position, last_offset, file_len, rules)
            }
            _ => {
                segment.indexes = IndexState::Resident(Indexes::new());
                segment.max_stamp = Some(MaxStamp { timestamp: -1, offset: segment.base });
                Scan::new(segment.base, file_len, rules)
            }
        });
        self.scan_on(loader, now, out)
    }

    /// Judges what is at hand and asks for more.
    fn scan_on(&mut self, loader: &mut Loader, now: Now, out: &mut LogOut) -> Result<(), String> {
        loop {
            let Some(current) = &mut loader.scan else { return Ok(()) };
            let Some(scan) = &mut current.scan else { return Ok(()) };
            match scan.next() {
                Step::Batch { head, position, range } => {
                    let replay = !current.swap && head.base_offset >= loader.snapshot.unwrap_or(i64::MIN);
                    if replay {
                        note_producer(&mut loader.producers, scan.bytes(range));
                    }
                    loader.report.scanned_batches += 1;
                    loader.report.scanned_bytes += head.size as u64;
                    // Below, the epochs on record stand; to note them again would undo the later ones.
                    let new_epochs = !current.swap && head.base_offset >= loader.epochs_from;
                    self.note_scanned(current.base, position, &head, new_epochs)?;
                }
                Step::Read { position, len } => {
                    let file = self.segments.get(&current.base).and_then(|segment| segment.open_file());
                    let file = file.ok_or("the file of the segment being scanned is not open")?;
                    current.wait = Wait::Piece(len);
                    self.ask(Op::Load, DiskOp::Read { file, position, len }, out);
                    return Ok(());
                }
                Step::End(_) if scan.start_is_doubtful() => {
                    let note = format!("the index of segment {} points to no batch", current.base);
                    (current.scan, current.index, current.time_index) = (None, None, None);
                    loader.report.indexes_rebuilt += 1;
                    loader.note(note);
                    return self.scan_file(loader, now, out);
                }
                Step::End(end) => return self.segment_scanned(loader, end, now, out),
            }
        }
    }

    fn note_scanned(&mut self, base: i64, position: u64, head: &Head, new_epochs: bool) -> Result<(), String> {
        let interval = self.config.index_interval_bytes;
        let segment = self.segments.get_mut(&base).ok_or("the segment being scanned is gone")?;
        crate::invariant!(segment.size == position, "a scan skipped bytes");
        if head.last_offset - base > i64::from(i32::MAX) {
            return Err(format!("offset {} is out of the range of segment {base}", head.last_offset));
        }
        segment.note_batch(head, interval);
        if new_epochs {
            self.epochs.assign(head.leader_epoch, head.base_offset);
        }
        Ok(())
    }

    /// A segment is scanned to its end: is it the last?
    fn segment_scanned(&mut self, loader: &mut Loader, end: ScanEnd, now: Now, out: &mut LogOut) -> Result<(), String> {
        let Some(current) = &mut loader.scan else { return Ok(()) };
        let base = current.base;
        if end.old_format {
            return Err(format!("segment {base} holds records of message format 0 or 1, which are not supported"));
        }
        if current.swap {
            current.end = Some(end.clone());
            return self.swap_scanned(loader, end, now, out);
        }
        let next = loader.logs.range(base + 1..).next().map(|(&next, _)| next);
        if let (Some(next), Some(reason), Some(snapshot)) = (next, &end.reason, loader.snapshot)
            && snapshot >= next
            && loader.known_epochs.is_some()
        {
            loader
                .note(format!("segment {base} {reason}: left as it is, for it lies below the snapshot at {snapshot}"));
            return self.leave_damaged(loader, next, end.position + end.torn, now, out);
        }
        let segment = self.segment_mut(base);
        let file_len = segment.filled;
        (segment.durable, segment.synced, segment.end) = (end.position, end.position, end.next_offset);
        segment.written = end.position;
        loader.report.padding_bytes += end.padding;
        let well = end.reason.is_none() && !end.at_limit;
        let mut end = end;
        match next {
            Some(next) if well && end.meets_next => self.finish_scanned(loader, next, file_len, now, out),
            Some(next) if well => {
                // In page-cache mode a power cut may keep what was written later and lose what was written before.
                end.reason = Some(format!("at its end: the next segment begins at {next}, not {}", end.next_offset));
                self.log_scanned(loader, end, file_len, now, out)
            }
            _ => self.log_scanned(loader, end, file_len, now, out),
        }
    }

    /// A snapshot is written when everything below it is on stable storage, so this is bit rot and no torn write: to
    /// cut here would take good batches behind it. The segment ends at `len` and keeps its file as it is; a reader
    /// meets the damage as in any older segment, which no start looks at.
    fn leave_damaged(
        &mut self,
        loader: &mut Loader,
        next: i64,
        len: u64,
        now: Now,
        out: &mut LogOut,
    ) -> Result<(), String> {
        let base = loader.scan.as_ref().map_or(0, |scan| scan.base);
        let segment = self.segment_mut(base);
        let file = segment.file;
        *segment = Segment { file, direct: segment.direct, ..Segment::found(base, next, len, now.wall_ms, now.mono) };
        self.run_todo(loader, After::NextSegment, now, out)
    }

    /// Makes a rolled segment final before the next one is scanned.
    fn finish_scanned(
        &mut self,
        loader: &mut Loader,
        next: i64,
        file_len: u64,
        now: Now,
        out: &mut LogOut,
    ) -> Result<(), String> {
        let base = loader.scan.as_ref().map_or(0, |scan| scan.base);
        let segment = self.segment_mut(base);
        segment.end = next;
        segment.close_time_index();
        self.settle_scanned(loader, base, file_len);
        let segment = self.segment_mut(base);
        if let IndexState::Resident(indexes) = &mut segment.indexes {
            let files = [(FileKind::Index, indexes.offset.freeze()), (FileKind::TimeIndex, indexes.time.freeze())];
            for (kind, data) in files {
                loader.todo.push_back(DiskOp::WriteFile { path: self.path(kind, base), data });
            }
        }
        if loader.snapshot.is_none_or(|snapshot| snapshot <= next) {
            let data = loader.producers.encode_snapshot();
            loader.todo.push_back(DiskOp::WriteFile { path: self.path(FileKind::Snapshot, next), data });
            loader.others.insert((FileKind::Snapshot, next), 0);
        }
        self.run_todo(loader, After::NextSegment, now, out)
    }

    /// The segment before is final; scans the one after it.
    pub(super) fn next_segment_scan(&mut self, loader: &mut Loader, now: Now, out: &mut LogOut) -> Result<(), String> {
        let base = loader.scan.take().map_or(0, |scan| scan.base);
        self.close_file(base, out);
        self.segment_mut(base).indexes = IndexState::Absent;
        let next = loader.logs.range(base + 1..).next().map(|(&next, _)| next);
        let next = next.ok_or("the next segment is gone")?;
        self.scan_segment(loader, next, now, out)
    }

    /// The end of the log is found: removes and cuts what lies behind it.
    fn log_scanned(
        &mut self,
        loader: &mut Loader,
        end: ScanEnd,
        file_len: u64,
        now: Now,
        out: &mut LogOut,
    ) -> Result<(), String> {
        let base = loader.scan.as_ref().map_or(0, |scan| scan.base);
        let log_end = end.next_offset;
        if let Some(snapshot) = loader.snapshot
            && snapshot > log_end
        {
            loader.note(format!("the snapshot at {snapshot} lies behind the log end {log_end} and was dropped"));
            self.discard_snapshot(loader, snapshot);
            loader.report.padding_bytes = 0;
            return self.try_snapshot(loader, now, out);
        }
        loader.report.torn_bytes += end.torn;
        loader.report.torn_reason = end.reason.map(|reason| format!("segment {base} {reason}"));
        if let Some(start) = loader.hints.log_start
            && start > log_end
        {
            loader.note(format!("the log ended at {log_end}, before its start {start}: everything was dropped"));
            return self.restart(loader, start, now, out);
        }
        let dir = self.dir.clone();
        let later: Vec<i64> = loader.logs.range(base + 1..).rev().map(|(&later, _)| later).collect();
        loader.report.segments_removed += later.len() as u32;
        for later in later {
            loader.remove_segment(&dir, later);
        }
        loader.remove_snapshots_above(&dir, log_end);
        self.settle_scanned(loader, base, file_len);
        self.end_offset = log_end;
        self.run_todo(loader, After::Cut, now, out)
    }

    /// Puts down that a scanned segment gets its exact length and is synced. What a scan has read may lie in the page
    /// cache only (the process died, the power did not go): before anything says that it is durable, it must be.
    fn settle_scanned(&mut self, loader: &mut Loader, base: i64, file_len: u64) {
        let segment = self.segment_mut(base);
        let len = segment.size;
        segment.filled = len;
        let Some(file) = segment.open_file() else { return };
        if file_len != len {
            loader.todo.push_back(DiskOp::SetLen { file, len });
        } else if !loader.hints.clean {
            loader.todo.push_back(DiskOp::Sync { file });
        }
    }

    /// The last segment becomes the active one: its file open for writing, its first and last blocks known.
    pub(super) fn read_tail(&mut self, loader: &mut Loader, now: Now, out: &mut LogOut) -> Result<(), String> {
        let base = loader.scan.as_ref().map_or(0, |scan| scan.base);
        let direct = self.config.durability == Durability::Stable;
        if self.segment_mut(base).rolled || self.segment_mut(base).direct != direct {
            // It was not the last one before, or is open past the page cache for the scan.
            self.close_file(base, out);
            let segment = self.segment_mut(base);
            (segment.rolled, segment.direct) = (false, direct);
        }
        loader.stage = Stage::TailFile;
        let Some(file) = self.ensure_open(base, now, out) else { return Ok(()) };
        let segment = self.segment_mut(base);
        if segment.size > 0 && segment.first_timestamp.is_none() {
            loader.stage = Stage::FirstBlock;
            self.ask(Op::Load, DiskOp::Read { file, position: 0, len: BLOCK as u32 }, out);
            return Ok(());
        }
        let position = block_floor(segment.size);
        if position == segment.size {
            self.phase = Phase::Ready;
            return Ok(());
        }
        loader.stage = Stage::LastBlock;
        self.ask(Op::Load, DiskOp::Read { file, position, len: BLOCK as u32 }, out);
        Ok(())
    }

    pub(super) fn first_block_read(
        &mut self,
        loader: &mut Loader,
        result: DiskResult,
        now: Now,
        out: &mut LogOut,
    ) -> Result<(), String> {
        let data = data_of("reading the first block", result)?;
        // Below the recovery point nothing is judged: an unreadable head only leaves the age of the segment unknown.
        let head = match Head::find(&data, u64::MAX) {
            super::head::Found::Batch(head) => head.max_timestamp,
            _ => -1,
        };
        self.active_mut().first_timestamp = Some(head);
        self.read_tail(loader, now, out)
    }

    pub(super) fn last_block_read(&mut self, loader: &mut Loader, result: DiskResult) -> Result<(), String> {
        let data = data_of("reading the last block", result)?;
        let size = self.active().size;
        let carry = data.get(..(size - block_floor(size)) as usize);
        let carry = carry.ok_or("the last block is shorter than it was a moment ago")?;
        self.writer = Writer::new(carry.to_vec());
        loader.stage = Stage::TailFile;
        self.phase = Phase::Ready;
        Ok(())
    }

    /// Everything is known: the log is ready.
    pub(super) fn loaded(&mut self, loader: Loader, now: Now, out: &mut LogOut, events: &mut Vec<LogEvent>) {
        let first = self.segments.keys().next().copied().unwrap_or(0);
        let end = self.end_offset;
        (self.durable_offset, self.synced_offset, self.written_offset) = (end, end, end);
        self.start_offset = loader.hints.log_start.unwrap_or(first).clamp(first, end.max(first));
        self.snapshots = loader.snapshots().into_iter().collect();
        self.producers = loader.producers;
        self.checkpoints.bytes_since = loader.report.scanned_bytes;
        self.epochs.truncate_from_start(self.start_offset);
        self.epochs.truncate_from_end(end.max(self.start_offset));
        self.epochs_file.dirty |= loader.known_epochs.as_ref() != Some(&self.epochs);
        self.report = Some(super::RecoveryReport { log_start: self.start_offset, log_end: end, ..loader.report });
        self.space_seems_back(events);
        events.push(if loader.truncating { LogEvent::Truncated(end) } else { LogEvent::Ready });
        self.doom_below_start();
        self.pump(now, out, events);
    }
}

impl SegmentScan {
    /// A swap file is scanned from its start.
    pub fn of_swap(base: i64) -> SegmentScan {
        SegmentScan { base, swap: true, wait: Wait::File, index: None, time_index: None, scan: None, end: None }
    }

    pub fn base(&self) -> i64 {
        self.base
    }

    /// The indexes below `upto`, when both files can be true, and the entry to begin at: (position, last offset).
    fn usable_indexes(&self, upto: i64, file_len: u64) -> Option<(Indexes, (u64, i64))> {
        let mut offset = OffsetIndex::decode(self.index.clone()?, file_len)?;
        let mut time = TimeIndex::decode(self.time_index.clone()?)?;
        let relative = u32::try_from(upto - self.base).ok()?;
        offset.truncate(relative);
        let (last, position) = offset.last().unwrap_or((0, 0));
        // The entry itself comes again with its batch.
        offset.truncate(last);
        time.truncate(last);
        Some((Indexes { offset, time }, (u64::from(position), self.base + i64::from(last))))
    }
}

impl Segment {
    /// Takes over indexes that end before the place where a scan begins.
    fn take_indexes(&mut self, indexes: Indexes) {
        let (timestamp, offset) = indexes.time.last().unwrap_or((-1, 0));
        self.max_stamp = Some(MaxStamp { timestamp, offset: self.base + i64::from(offset) });
        self.indexes = IndexState::Resident(indexes);
    }
}
