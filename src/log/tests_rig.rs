//! A log on a disk in memory beside a model of what it must hold: the steps that the tests are made of.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::base::ids::Uuid;
use crate::base::prng::Prng;
use crate::base::time::{Mono, Now};
use crate::batch::build::BatchBuilder;

use super::tests_disk::{self, TestDisk};
use super::types::*;
use super::{AheadRoom, PartitionLog, RecoveryReport};

pub(super) const DIR: &str = "topic-0";
/// Few, so that reads have to wait for one another.
pub(super) const SLOTS: u32 = 3;
/// Room for two reads ahead of the smallest size.
const AHEAD_BYTES: u64 = 300 << 10;

/// One batch as it must be found again.
#[derive(Clone, Debug)]
pub(super) struct Expected {
    pub base: i64,
    pub last: i64,
    pub bytes: Bytes,
}

#[derive(Debug)]
pub(super) struct Rig {
    pub prng: Prng,
    pub disk: TestDisk,
    pub files: FileSlots,
    pub ahead: AheadRoom,
    pub log: PartitionLog,
    pub now: Now,
    pub config: LogConfig,
    /// Appended, in order, from the first that retention has left.
    pub model: Vec<Expected>,
    pub durable: i64,
    pub log_start: i64,
    pub epoch: i32,
    pub events: Vec<LogEvent>,
    /// Reads pending: what was asked for.
    reads: BTreeMap<ReadId, (i64, i64, u32, bool)>,
    /// Look-ups by time pending: what must be found.
    searches: BTreeMap<ReadId, Option<(i64, i64)>>,
    next_read: u64,
    /// Whoever reads sends it on.
    pub sends: bool,
    pub sequence: i32,
}

/// Small numbers, so that everything happens soon.
pub(super) fn small_config() -> LogConfig {
    LogConfig {
        segment_bytes: 96 << 10,
        index_interval_bytes: 512,
        room_ahead_max: 32 << 10,
        recovery_checkpoint_bytes: 24 << 10,
        pending_bytes_max: 64 << 10,
        delete_delay_ms: 50,
        retention_ms: -1,
        stage_bytes_min: 1_000,
        stage_distance: 8 << 10,
        ..LogConfig::default()
    }
}

pub(super) fn topic() -> Uuid {
    Uuid([7; 16])
}

/// A batch of records with about `bytes` bytes, not stamped.
pub(super) fn batch(prng: &mut Prng, records: usize, bytes: usize, timestamp: i64) -> BatchBuilder {
    let mut builder = BatchBuilder::new(0);
    for record in 0..records {
        let value: Vec<u8> = (0..bytes / records).map(|_| prng.next_u64() as u8 | 1).collect();
        builder.push(timestamp + record as i64, Some(b"k"), Some(&value));
    }
    builder
}

impl Rig {
    pub fn new(seed: u64, config: LogConfig) -> Rig {
        let mut rig = Rig::begun(seed, config);
        rig.settle();
        assert!(rig.log.is_ready());
        rig
    }

    /// The log is only being made.
    pub fn begun(seed: u64, config: LogConfig) -> Rig {
        let mut disk = TestDisk::default();
        let mut files = FileSlots::new(0, SLOTS);
        let ahead = AheadRoom::new(AHEAD_BYTES);
        let now = Now { mono: Mono(1), wall_ms: 1_700_000_000_000 };
        let mut ops = Vec::new();
        let mut out = LogOut { ops: &mut ops, files: &mut files, ahead: &ahead };
        let log = PartitionLog::create(DIR.to_string(), topic(), config.clone(), now, &mut out);
        disk.submit(ops);
        Rig {
            prng: Prng::new(seed),
            disk,
            files,
            ahead,
            log,
            now,
            config,
            model: Vec::new(),
            durable: 0,
            log_start: 0,
            epoch: 0,
            events: Vec::new(),
            reads: BTreeMap::new(),
            searches: BTreeMap::new(),
            next_read: 0,
            sends: false,
            sequence: 0,
        }
    }

    /// Calls the log with an output and hands what it asks for to the disk.
    pub fn with<T>(&mut self, call: impl FnOnce(&mut PartitionLog, Now, &mut LogOut, &mut Vec<LogEvent>) -> T) -> T {
        let mut ops = Vec::new();
        let mut events = Vec::new();
        let mut out = LogOut { ops: &mut ops, files: &mut self.files, ahead: &self.ahead };
        let answer = call(&mut self.log, self.now, &mut out, &mut events);
        self.disk.submit(ops);
        for event in events {
            self.note(event);
        }
        answer
    }

    fn note(&mut self, event: LogEvent) {
        match &event {
            LogEvent::Durable(offset) => {
                assert!(*offset > self.durable && *offset <= self.log.end_offset());
                self.durable = *offset;
            }
            LogEvent::LogStartMoved(offset) => {
                assert!(*offset > self.log_start && *offset <= self.durable);
                self.log_start = *offset;
            }
            LogEvent::ReadDone { id, result } => {
                let asked = self.reads.remove(id).expect("a read that was asked for");
                match result {
                    Ok(data) => self.check_read(asked, data),
                    Err(ReadError::Gone) => {}
                    Err(error) => panic!("a read failed: {error:?}"),
                }
            }
            LogEvent::TimeFound { id, result } => {
                let expected = self.searches.remove(id).expect("a look-up that was asked for");
                match result {
                    Ok(point) => assert_eq!(point.map(|point| (point.offset, point.timestamp)), expected),
                    Err(ReadError::Gone) => {}
                    Err(error) => panic!("a look-up failed: {error:?}"),
                }
            }
            _ => {}
        }
        self.events.push(event);
    }

    /// One answer from the disk, or a due time.
    pub fn step(&mut self) -> bool {
        let due = self.log.next_wake().is_some_and(|at| at <= self.now.mono);
        if due && self.prng.chance(1, 3) || self.disk.waiting.is_empty() {
            if due {
                self.with(|log, now, out, events| log.wake(now, out, events));
                let next = self.log.next_wake();
                assert!(next.is_none_or(|at| at > self.now.mono), "a log that was woken is due at once again");
            }
            return due;
        }
        self.answer_one();
        true
    }

    fn answer_one(&mut self) {
        if let Some((tag, result)) = self.disk.run_one(&mut self.prng) {
            self.with(|log, now, out, events| log.complete(tag, result, now, out, events));
        }
    }

    /// Until nothing is in flight and nothing is due.
    pub fn settle(&mut self) {
        let mut steps = 0;
        while self.step() {
            steps += 1;
            assert!(steps < 100_000, "something is due for ever");
        }
    }

    pub fn advance(&mut self, ms: u64) {
        self.now.mono = self.now.mono.plus_ms(ms);
        self.now.wall_ms += ms as i64;
    }

    /// Appends a batch and remembers what must be found.
    pub fn append(&mut self, builder: BatchBuilder) -> Result<Appended, AppendError> {
        let bytes = builder.finish();
        let appended = self.log.append(&bytes, self.epoch, self.now)?;
        let mut stamped = bytes.to_vec();
        crate::batch::patch::stamp(&mut stamped, appended.base_offset, self.epoch);
        let header = crate::batch::BatchHeader::parse(&stamped).unwrap();
        assert_eq!(header.last_offset(), appended.last_offset);
        let next = self.model.last().map_or(self.log_start, |before| before.last + 1);
        assert!(appended.base_offset == next || self.model.is_empty(), "offsets are dense");
        self.model.push(Expected { base: appended.base_offset, last: appended.last_offset, bytes: stamped.into() });
        Ok(appended)
    }

    pub fn append_some(&mut self) -> Result<Appended, AppendError> {
        let records = 1 + self.prng.below(4) as usize;
        let bytes = match self.prng.below(20) {
            0 => 20_000 + self.prng.below(10_000) as usize,
            1..=4 => 2000 + self.prng.below(4000) as usize,
            _ => 30 + self.prng.below(600) as usize,
        };
        let timestamp = self.now.wall_ms + self.prng.below(100) as i64 - 50;
        let mut builder = batch(&mut self.prng, records, bytes, timestamp);
        if self.prng.chance(1, 2) {
            builder = builder.producer(42, 0, self.sequence);
            let appended = self.append(builder)?;
            self.sequence += records as i32;
            return Ok(appended);
        }
        self.append(builder)
    }

    pub fn flush(&mut self) {
        self.with(|log, now, out, _| log.flush(now, out));
    }

    pub fn read(&mut self, from: i64, max_bytes: u32, at_least_one: bool) {
        let _ = self.read_as(from, max_bytes, at_least_one);
    }

    /// At least one batch; what comes at once.
    pub fn read_now(&mut self, from: i64, max_bytes: u32) -> Option<ReadData> {
        self.read_as(from, max_bytes, true)
    }

    fn read_as(&mut self, from: i64, max_bytes: u32, at_least_one: bool) -> Option<ReadData> {
        let id = ReadId(self.next_read);
        self.next_read += 1;
        let (upper, to_send) = (self.durable, self.sends);
        let outcome = self.with(|log, _, out, _| {
            let wanted = Wanted { from, upper: i64::MAX, max_bytes, at_least_one, to_send };
            log.read(id, wanted, out)
        });
        let asked = (from, upper, max_bytes, at_least_one);
        match outcome {
            ReadOutcome::Ready(data) => {
                self.check_read(asked, &data);
                return Some(data);
            }
            ReadOutcome::Pending => {
                self.reads.insert(id, asked);
            }
            ReadOutcome::OutOfRange => assert!(from < self.log.start_offset() || from > self.log.end_offset()),
            ReadOutcome::Unavailable => assert!(!self.log.is_ready()),
        }
        None
    }

    /// What came must be the model's bytes from the batch that holds `from` on, and not less than promised.
    fn check_read(&self, (from, upper, max_bytes, at_least_one): (i64, i64, u32, bool), data: &ReadData) {
        let bytes: Vec<u8> = data.parts.iter().flat_map(tests_disk::sent_bytes).collect();
        assert_eq!(bytes.len(), data.bytes as usize);
        let mut at = 0;
        let mut next = from;
        let first = self.model.partition_point(|expected| expected.last < from);
        for expected in &self.model[first..] {
            if at == bytes.len() {
                break;
            }
            let len = expected.bytes.len();
            assert!(bytes[at..].starts_with(&expected.bytes), "other bytes than appended at offset {}", expected.base);
            at += len;
            next = expected.last + 1;
        }
        assert_eq!(at, bytes.len(), "more than was appended");
        assert_eq!(data.next_offset, next);
        assert!(next <= self.durable.max(from), "read what is not durable");
        assert!(bytes.len() <= max_bytes as usize || at_least_one, "more than max_bytes");
        if let Some(expected) = self.model.get(first)
            && expected.last < upper
            && (at_least_one || expected.bytes.len() <= max_bytes as usize)
        {
            assert!(!bytes.is_empty(), "nothing came from {from} although a batch is there");
        }
    }

    /// Looks for the first durable record at or after a timestamp and compares with the model.
    pub fn find_time(&mut self, timestamp: i64) {
        let id = ReadId(self.next_read);
        self.next_read += 1;
        let (start, upper) = (self.log.start_offset(), self.durable);
        let held = self.model.iter().filter(|expected| expected.last >= start && expected.base < upper);
        let records = held.flat_map(|expected| crate::batch::records::decode(&expected.bytes).unwrap());
        let first = records.filter(|record| record.offset >= start).find(|record| record.timestamp >= timestamp);
        let expected = first.map(|record| (record.offset, record.timestamp));
        let target = TimeTarget::AtOrAfter(timestamp);
        match self.with(|log, _, out, _| log.find_time(id, target, i64::MAX, out)) {
            TimeOutcome::Ready(point) => assert_eq!(point.map(|point| (point.offset, point.timestamp)), expected),
            TimeOutcome::Pending => {
                self.searches.insert(id, expected);
            }
            TimeOutcome::Unavailable => assert!(!self.log.is_ready()),
        }
    }

    /// Reads everything from the log start and compares it with the model.
    pub fn check_all(&mut self) {
        self.settle();
        let mut from = self.log.start_offset();
        let end = self.log.durable_offset();
        while from < end {
            let max_bytes = 1 + self.prng.below(30_000) as u32;
            self.events.clear();
            self.read(from, max_bytes, true);
            self.settle();
            let index = self.model.partition_point(|expected| expected.last < from);
            assert!(index < self.model.len(), "{from} of {end} is not in the model");
            from = match self.events.iter().rev().find_map(|event| match event {
                LogEvent::ReadDone { result: Ok(data), .. } => Some(data.next_offset),
                _ => None,
            }) {
                Some(next) => {
                    assert!(next > from, "no progress at {from}");
                    next
                }
                // It came out of memory and was checked there.
                None => self.model[index].last + 1,
            };
        }
        assert!(self.reads.is_empty(), "reads without an answer");
    }

    pub fn load(&mut self, hints: LoadHints) {
        self.begin_load(hints);
        self.settle();
        assert!(self.log.is_ready(), "{:?}", self.events.last());
    }

    pub fn begin_load(&mut self, hints: LoadHints) {
        self.files = FileSlots::new(0, SLOTS);
        self.reads.clear();
        self.searches.clear();
        self.events.clear();
        let mut ops = Vec::new();
        let mut out = LogOut { ops: &mut ops, files: &mut self.files, ahead: &self.ahead };
        self.log = PartitionLog::load(DIR.to_string(), topic(), self.config.clone(), hints, self.now, &mut out);
        self.disk.submit(ops);
    }

    /// Cuts the power, or kills the process, and starts again, perhaps after more of both during the start; the model
    /// follows the log if that kept everything durable.
    pub fn crash(&mut self) -> RecoveryReport {
        let synced = self.log.stable_storage_offset();
        let recovery_point = self.prng.chance(1, 3).then(|| synced - self.prng.below(30) as i64);
        let hints = LoadHints { clean: false, recovery_point, log_start: Some(self.log_start) };
        self.disk.crash(&mut self.prng);
        while self.prng.chance(1, 3) {
            self.begin_load(hints);
            for _ in 0..self.prng.below(25) {
                self.step();
            }
            self.disk.crash(&mut self.prng);
        }
        self.load(hints);
        self.adopt_end(self.durable);
        self.log.take_report().expect("a report after a start")
    }

    /// The log was cut: everything below `at_least` must be there, and the end must be the end of a batch.
    pub fn adopt_end(&mut self, at_least: i64) {
        let end = self.log.end_offset();
        assert!(end >= at_least, "durable up to {at_least}, found up to {end}: {:?}", self.log.report);
        self.model.retain(|expected| expected.last < end);
        let known = self.model.last().map_or(self.log_start, |expected| expected.last + 1);
        if known < self.log_start {
            // The start lay inside a batch that is cut: the log began anew there.
            self.model.clear();
        }
        assert_eq!(known.max(self.log_start), end, "the end of a batch");
        assert_eq!(self.log.durable_offset(), end);
        self.durable = end;
        assert_eq!(self.log.start_offset(), self.log_start);
        let mut sequence = 0;
        for expected in &self.model {
            let header = crate::batch::BatchHeader::parse(&expected.bytes).unwrap();
            if header.producer_id == 42 {
                sequence = header.last_sequence() + 1;
            }
        }
        // Records that retention took may have been the producer's last.
        if let Some(state) = self.log.producers().get(42) {
            sequence = sequence.max(state.last_sequence() + 1);
        }
        self.sequence = sequence;
    }

    /// Stops cleanly and checks that every file is exact.
    pub fn close(&mut self) {
        self.with(|log, now, out, _| log.close(now, out));
        self.settle();
        assert_eq!(self.events.last(), Some(&LogEvent::Closed));
        assert_eq!(self.disk.open_files(), 0);
        assert_eq!(self.files.left(), SLOTS as usize);
        self.durable = self.log.end_offset();
        self.check_files();
    }

    /// Every segment file holds its batches and nothing else; every index is the one Apache Kafka would write.
    pub fn check_files(&self) {
        let bases: Vec<i64> = self.segment_bases();
        for (at, &base) in bases.iter().enumerate() {
            let end = bases.get(at + 1).copied().unwrap_or(i64::MAX);
            let held: Vec<&Expected> = self.model.iter().filter(|e| e.base >= base && e.base < end).collect();
            let mut bytes = Vec::new();
            for expected in &held {
                bytes.extend_from_slice(&expected.bytes);
            }
            if base < self.log_start {
                // Retention or a request has taken the first records out of the model.
                continue;
            }
            let found = self.disk.file(&super::names::path(DIR, super::names::FileKind::Log, base)).unwrap();
            assert_eq!(found.len(), bytes.len(), "bytes of segment {base}");
            assert!(found == bytes, "other bytes in segment {base}");
        }
    }

    pub fn segment_bases(&self) -> Vec<i64> {
        let names = self.disk.names();
        let kinds = names.iter().filter_map(|name| match super::names::parse(name.strip_prefix("topic-0/")?) {
            super::names::Name::Segment(super::names::FileKind::Log, base) => Some(base),
            _ => None,
        });
        kinds.collect()
    }
}
