//! A log beside a made-up journal: what only the journal has is read, kept through power cuts, rolls, deletions and a
//! full disk, and lies in the segments after a clean stop. Compared with a model, by seed.

use bytes::Bytes;

use super::names::{self, FileKind};
use super::tests_rig::{DIR, Rig, batch, small_config};
use super::types::*;
use super::{Durability, JournalOffer};

/// A log whose host has a journal of one log, without a limit: the ring has tests of its own.
struct Journaled {
    rig: Rig,
    in_flight: Option<(JournalOffer, Bytes)>,
    /// Entries that a recovery would find.
    entries: Vec<(JournalOffer, Bytes)>,
    /// Entries that ever were, and bytes that a replay brought back.
    offered: u64,
    replayed: u64,
}

fn config() -> LogConfig {
    LogConfig { journal: true, writes_wait_for_flush: true, ..small_config() }
}

impl Journaled {
    fn new(seed: u64, config: LogConfig) -> Journaled {
        Journaled { rig: Rig::new(seed, config), in_flight: None, entries: Vec::new(), offered: 0, replayed: 0 }
    }

    /// An entry is written, and will be on stable storage some time.
    fn offer(&mut self) -> bool {
        if self.in_flight.is_some() {
            return false;
        }
        let Some(offer) = self.rig.log.journal_offer() else { return false };
        assert!(offer.len > 0 && offer.end_offset == self.rig.log.end_offset() && offer.end_offset > self.rig.durable);
        let bytes = Bytes::copy_from_slice(self.rig.log.journal_piece(&offer).1);
        self.in_flight = Some((offer, bytes));
        self.offered += 1;
        true
    }

    /// It is.
    fn complete(&mut self) {
        let Some((offer, bytes)) = self.in_flight.take() else { return };
        self.rig.with(|log, now, out, events| log.journaled(&offer, now, out, events));
        self.entries.push((offer, bytes));
    }

    fn write_back(&mut self) {
        self.rig.with(|log, now, out, _| log.write_back(now, out));
    }

    /// The journal wants its space back.
    fn settle(&mut self) {
        self.rig.with(|log, now, out, _| log.settle(now, out));
    }

    fn count(&self, kind: &str) -> usize {
        self.rig.disk.counts.get(kind).copied().unwrap_or(0) as usize
    }

    /// The journal lets go of what is synced in a segment.
    fn release(&mut self) {
        let stable = self.rig.log.stable_storage_offset();
        self.entries.retain(|(offer, _)| offer.end_offset > stable);
    }

    /// Writes a batch that lies in one chunk with its predecessors, and takes it to the journal.
    fn journal_small(&mut self) {
        self.rig.advance(1);
        let timestamp = self.rig.now.wall_ms;
        let builder = batch(&mut self.rig.prng, 1, 300, timestamp);
        self.rig.append(builder).unwrap();
        assert!(self.offer(), "a small batch goes to the journal");
        self.complete();
    }

    /// A log whose active segment is open and filled ahead, so that it has something to offer.
    fn begun(seed: u64, config: LogConfig) -> Journaled {
        let mut journaled = Journaled::new(seed, config);
        let timestamp = journaled.rig.now.wall_ms;
        let builder = batch(&mut journaled.rig.prng, 1, 300, timestamp);
        journaled.rig.append(builder).unwrap();
        flush_all(&mut journaled.rig);
        journaled
    }

    /// What a start does with a journal before it loads the log; twice or in part does no harm.
    fn replay(&mut self) {
        let present = self.rig.disk.names();
        for (offer, bytes) in &self.entries {
            let path = names::path(DIR, FileKind::Log, offer.segment);
            if !present.contains(&path) {
                continue;
            }
            let (from, to) = (offer.position as usize, offer.position as usize + bytes.len());
            let file = self.rig.disk.file_mut(&path);
            assert!(from <= file.len(), "a replay would leave a hole in a file");
            file.resize(to.max(file.len()), 0);
            file[from..to].copy_from_slice(bytes);
            self.replayed += bytes.len() as u64;
        }
    }

    fn crash(&mut self) {
        self.rig.disk.power_cut(&mut self.rig.prng);
        if let Some(entry) = self.in_flight.take()
            && self.rig.prng.chance(1, 2)
        {
            // It was whole on the disk when the power went, though nobody had been told.
            self.entries.push(entry);
        }
        let hints = LoadHints { clean: false, recovery_point: None, log_start: Some(self.rig.log_start) };
        self.replay();
        while self.rig.prng.chance(1, 3) {
            // The power goes again while the log is loaded. What was replayed is on stable storage, or again in work.
            self.rig.begin_load(hints);
            for _ in 0..self.rig.prng.below(25) {
                self.rig.step();
            }
            self.rig.disk.power_cut(&mut self.rig.prng);
            self.replay();
        }
        self.entries.clear();
        self.rig.load(hints);
        let durable = self.rig.durable;
        self.rig.adopt_end(durable);
    }

    /// A clean stop and start without a look at the journal, as Apache Kafka would.
    fn restart(&mut self) {
        self.complete();
        self.rig.close();
        self.entries.clear();
        let log_start = Some(self.rig.log_start);
        self.rig.load(LoadHints { clean: true, recovery_point: None, log_start });
        let end = self.rig.durable;
        self.rig.adopt_end(end);
    }
}

fn random_run(seed: u64, config: LogConfig) -> (u64, u64) {
    let mut journaled = Journaled::new(seed, config);
    for _ in 0..400 {
        let pick = journaled.rig.prng.below(100);
        if journaled.rig.disk.capacity.is_some() && (pick >= 92 || journaled.rig.prng.chance(1, 20)) {
            make_room(&mut journaled);
        } else if pick < 92 && journaled.rig.prng.chance(1, 150) {
            let room = journaled.rig.prng.below(60_000);
            journaled.rig.disk.capacity = Some(journaled.rig.disk.used() + room);
        }
        step(&mut journaled, pick);
        let log = &journaled.rig.log;
        assert!(log.stable_storage_offset() <= log.written_offset() && log.written_offset() <= log.durable_offset());
    }
    make_room(&mut journaled);
    journaled.rig.check_all();
    let figures = (journaled.offered, journaled.replayed);
    journaled.restart();
    journaled.rig.check_all();
    figures
}

fn make_room(journaled: &mut Journaled) {
    let rig = &mut journaled.rig;
    rig.disk.capacity = None;
    flush_all(rig);
    assert_eq!(rig.durable, rig.log.end_offset(), "what was pending is written");
}

/// As often as a host would that sees something pending: the first time may only open a file.
fn flush_all(rig: &mut Rig) {
    for _ in 0..20 {
        rig.flush();
        rig.settle();
        rig.advance(200);
    }
    rig.settle();
}

fn step(journaled: &mut Journaled, pick: u64) {
    match pick {
        0..=24 => drop(journaled.rig.append_some()),
        25..=44 => {
            if !journaled.offer() && journaled.rig.prng.chance(1, 2) {
                // As a host does with what the journal does not take.
                journaled.rig.flush();
                for _ in 0..journaled.rig.prng.below(6) {
                    journaled.rig.step();
                }
            }
        }
        45..=59 => journaled.complete(),
        60..=62 => journaled.rig.flush(),
        63..=72 => {
            for _ in 0..1 + journaled.rig.prng.below(8) {
                journaled.rig.step();
            }
        }
        73 => journaled.write_back(),
        74 => journaled.settle(),
        75..=77 => journaled.release(),
        78..=86 => {
            let rig = &mut journaled.rig;
            let span = (rig.log.end_offset() - rig.log_start + 2) as u64;
            let from = rig.log_start - 1 + rig.prng.below(span) as i64;
            let max_bytes = rig.prng.below(40_000) as u32;
            let at_least_one = rig.prng.chance(2, 3);
            rig.read(from, max_bytes, at_least_one);
        }
        87 => {
            let rig = &mut journaled.rig;
            let timestamp = rig.now.wall_ms - rig.prng.below(20_000) as i64;
            rig.find_time(timestamp);
        }
        88 => {
            let bytes = journaled.rig.prng.below(100_000) as usize;
            journaled.rig.log.evict(bytes);
            journaled.rig.log.evict_indexes(bytes, -1);
        }
        89 | 90 => {
            let ms = journaled.rig.prng.below(2000);
            journaled.rig.advance(ms);
        }
        91 => journaled.rig.epoch += journaled.rig.prng.below(2) as i32,
        92 | 93 => {
            let rig = &mut journaled.rig;
            let span = (rig.durable - rig.log_start + 1) as u64;
            let before = rig.log_start + (rig.prng.below(span) as i64).min(20);
            rig.log_start = rig.with(|log, now, out, _| log.delete_records(before, now, out)).unwrap();
        }
        94 => {
            let rig = &mut journaled.rig;
            rig.config.retention_bytes = rig.prng.below(400 << 10) as i64;
            rig.log.set_config(rig.config.clone());
            let high = rig.durable;
            rig.with(|log, now, out, events| log.retain(now, high, out, events));
        }
        95 => journaled.restart(),
        _ => journaled.crash(),
    }
}

#[test]
fn random_runs_lose_nothing_that_the_journal_has() {
    let (mut offered, mut replayed) = (0, 0);
    for seed in 0..100 {
        println!("seed {seed}");
        let config = LogConfig { writes_wait_for_flush: seed % 4 != 3, ..config() };
        let (entries, bytes) = random_run(seed, config);
        (offered, replayed) = (offered + entries, replayed + bytes);
    }
    assert!(offered > 500 && replayed > 1_000_000, "{offered} entries, {replayed} bytes replayed: too few to tell");
}

#[test]
fn what_only_the_journal_has_is_read_though_no_cache_and_no_file_has_it() {
    let mut journaled = Journaled::begun(1, config());
    for _ in 0..20 {
        journaled.journal_small();
    }
    let rig = &mut journaled.rig;
    assert_eq!((rig.durable, rig.log.written_offset()), (21, 1));
    assert!(rig.log.lagging_bytes() > 20 * 300 && rig.log.lagging_memory() as u64 >= rig.log.lagging_bytes());
    rig.log.evict(usize::MAX);
    let reads = rig.disk.counts.get("read").copied();
    for from in 1..21 {
        rig.read(from, 1_000, true);
    }
    assert_eq!(rig.disk.counts.get("read").copied(), reads, "they are in memory");
    // The first batch is in the segment only; the read goes on to where memory begins.
    rig.check_all();
    rig.find_time(rig.now.wall_ms);
    rig.settle();
    assert_eq!(rig.log.written_offset(), 21, "a look-up that walks to the end has the segment written");
    assert_eq!(rig.log.lagging_bytes(), 0);
    rig.close();
}

#[test]
fn many_entries_reach_the_segment_in_one_write_with_the_next_direct_one() {
    let mut journaled = Journaled::begun(2, config());
    let before = journaled.rig.disk.counts.get("write+sync").copied().unwrap_or(0);
    for _ in 0..30 {
        journaled.journal_small();
        journaled.rig.flush();
        journaled.rig.settle();
    }
    let rig = &mut journaled.rig;
    assert_eq!(rig.disk.counts["write+sync"], before, "the segment is left alone");
    let timestamp = rig.now.wall_ms;
    let builder = batch(&mut rig.prng, 1, 300, timestamp);
    rig.append(builder).unwrap();
    rig.flush();
    rig.settle();
    assert_eq!(rig.disk.counts["write+sync"], before + 1);
    assert_eq!((rig.log.written_offset(), rig.log.stable_storage_offset(), rig.durable), (32, 32, 32));
    rig.close();
}

#[test]
fn a_write_back_lets_go_of_memory_and_only_a_sync_behind_it_of_the_entries() {
    let mut journaled = Journaled::begun(9, config());
    for _ in 0..5 {
        journaled.journal_small();
    }
    let syncs = journaled.count("sync") + journaled.count("write+sync");
    journaled.write_back();
    journaled.rig.settle();
    journaled.release();
    let log = &journaled.rig.log;
    assert_eq!((log.written_offset(), log.stable_storage_offset(), log.lagging_memory()), (6, 1, 0));
    assert_eq!(journaled.count("sync") + journaled.count("write+sync"), syncs, "nobody waits for one");
    assert_eq!(journaled.entries.len(), 5);
    journaled.settle();
    assert_eq!(journaled.rig.log.writing_back(), Some(0), "only the sync is left");
    journaled.rig.settle();
    journaled.release();
    assert_eq!((journaled.rig.log.stable_storage_offset(), journaled.rig.log.writing_back()), (6, None));
    assert_eq!((journaled.count("sync") + journaled.count("write+sync"), journaled.entries.len()), (syncs + 1, 0));
    journaled.settle();
    assert_eq!(journaled.rig.log.writing_back(), None, "there is nothing left to sync");
    journaled.crash();
    journaled.rig.check_all();
}

#[test]
fn a_write_back_leaves_what_is_pending_to_the_journal() {
    let mut journaled = Journaled::begun(12, config());
    for _ in 0..5 {
        journaled.journal_small();
    }
    let timestamp = journaled.rig.now.wall_ms;
    let builder = batch(&mut journaled.rig.prng, 1, 300, timestamp);
    journaled.rig.append(builder).unwrap();
    let syncs = journaled.count("sync") + journaled.count("write+sync");
    journaled.write_back();
    journaled.rig.settle();
    assert_eq!((journaled.rig.log.written_offset(), journaled.rig.durable, journaled.rig.log.end_offset()), (6, 6, 7));
    assert_eq!(journaled.count("sync") + journaled.count("write+sync"), syncs, "nobody waits for it");
    assert!(journaled.offer(), "it lies in a chunk of its own now");
    journaled.complete();
    assert_eq!(journaled.rig.durable, 7);
    journaled.rig.check_all();
    journaled.crash();
    assert_eq!(journaled.rig.durable, 7);
    journaled.rig.check_all();
}

#[test]
fn a_direct_write_behind_unsynced_ones_is_answered_after_a_sync_of_all_of_them() {
    let mut journaled = Journaled::begun(10, config());
    for _ in 0..5 {
        journaled.journal_small();
    }
    journaled.write_back();
    journaled.rig.settle();
    let (syncs, synced_writes) = (journaled.count("sync"), journaled.count("write+sync"));
    let timestamp = journaled.rig.now.wall_ms;
    let builder = batch(&mut journaled.rig.prng, 1, 300, timestamp);
    journaled.rig.append(builder).unwrap();
    journaled.rig.flush();
    journaled.rig.settle();
    assert_eq!((journaled.rig.durable, journaled.rig.log.stable_storage_offset()), (7, 7));
    assert_eq!((journaled.count("sync"), journaled.count("write+sync")), (syncs + 1, synced_writes));
    // The journal may forget: the segment has all of it through a power cut.
    journaled.entries.clear();
    journaled.crash();
    assert_eq!(journaled.rig.durable, 7);
    journaled.rig.check_all();
}

#[test]
fn a_log_leaves_its_core_only_with_everything_synced() {
    let mut journaled = Journaled::begun(11, config());
    for _ in 0..5 {
        journaled.journal_small();
    }
    journaled.write_back();
    journaled.rig.settle();
    assert_eq!(journaled.rig.log.stable_storage_offset(), 1);
    let syncs = journaled.count("sync");
    journaled.rig.with(|log, now, out, events| log.leave(now, out, events));
    assert_ne!(journaled.rig.events.last(), Some(&LogEvent::Left));
    journaled.rig.settle();
    assert_eq!(journaled.rig.events.last(), Some(&LogEvent::Left));
    assert_eq!((journaled.rig.log.stable_storage_offset(), journaled.count("sync")), (6, syncs + 1));
}

#[test]
fn what_page_cache_mode_left_unsynced_is_synced_before_the_journal_is_used_again() {
    let mut journaled = Journaled::begun(13, config());
    journaled.journal_small();
    let durability = Durability::PageCache { messages: u64::MAX, ms: u64::MAX };
    let small = |rig: &mut Rig| {
        let timestamp = rig.now.wall_ms;
        let builder = batch(&mut rig.prng, 1, 300, timestamp);
        rig.append(builder).unwrap();
    };
    journaled.rig.log.set_config(LogConfig { durability, ..config() });
    small(&mut journaled.rig);
    flush_all(&mut journaled.rig);
    assert_eq!((journaled.rig.durable, journaled.rig.log.stable_storage_offset()), (3, 1));
    journaled.rig.log.set_config(config());
    small(&mut journaled.rig);
    assert!(!journaled.offer(), "it would lie on bytes that nothing holds");
    flush_all(&mut journaled.rig);
    assert_eq!((journaled.rig.durable, journaled.rig.log.stable_storage_offset()), (4, 4));
    journaled.release();
    journaled.journal_small();
    journaled.crash();
    assert_eq!(journaled.rig.durable, 5);
    journaled.rig.check_all();
}

#[test]
fn a_log_that_found_no_room_ahead_uses_the_journal_again_when_there_is_some() {
    let mut journaled = Journaled::begun(14, config());
    journaled.rig.disk.capacity = Some(journaled.rig.disk.used());
    let mut small = 0;
    loop {
        let timestamp = journaled.rig.now.wall_ms;
        let builder = batch(&mut journaled.rig.prng, 1, 300, timestamp);
        journaled.rig.append(builder).unwrap();
        journaled.rig.settle();
        if !journaled.offer() {
            break;
        }
        journaled.complete();
        small += 1;
        assert!(small < 2_000, "the room ahead has an end");
    }
    assert!(!journaled.rig.events.contains(&LogEvent::NoSpace), "nothing that was written found no room");
    journaled.rig.disk.capacity = None;
    flush_all(&mut journaled.rig);
    journaled.journal_small();
    journaled.rig.check_all();
}

#[test]
fn a_direct_write_that_overtakes_an_entry_in_flight_is_not_counted_twice() {
    let mut journaled = Journaled::begun(3, config());
    let timestamp = journaled.rig.now.wall_ms;
    let builder = batch(&mut journaled.rig.prng, 1, 300, timestamp);
    journaled.rig.append(builder).unwrap();
    assert!(journaled.offer());
    journaled.rig.flush();
    journaled.rig.settle();
    assert_eq!(journaled.rig.durable, 2);
    journaled.complete();
    assert_eq!((journaled.rig.durable, journaled.rig.log.lagging_bytes()), (2, 0));
    journaled.crash();
    assert_eq!(journaled.rig.durable, 2);
    journaled.rig.check_all();
}

#[test]
fn page_cache_mode_a_full_disk_and_an_epoch_that_is_not_written_offer_nothing() {
    let durability = Durability::PageCache { messages: 50, ms: 500 };
    let mut cached = Journaled::begun(4, LogConfig { durability, ..config() });
    let _ = cached.rig.append_some();
    assert!(!cached.offer(), "page-cache mode waits for no sync");

    let mut full = Journaled::begun(5, config());
    full.rig.disk.capacity = Some(full.rig.disk.used());
    let timestamp = full.rig.now.wall_ms;
    for _ in 0..20 {
        let builder = batch(&mut full.rig.prng, 1, 9_000, timestamp);
        if full.rig.append(builder).is_err() {
            break;
        }
        full.rig.flush();
        full.rig.settle();
    }
    assert!(full.rig.events.contains(&LogEvent::NoSpace));
    assert!(!full.offer(), "a log without room answers so, and the journal does not hide it");

    let mut epoch = Journaled::begun(6, config());
    epoch.rig.epoch += 1;
    let builder = batch(&mut epoch.rig.prng, 1, 300, timestamp);
    epoch.rig.append(builder).unwrap();
    assert!(!epoch.offer(), "a recovery would take the batch for a flipped epoch");
}

#[test]
fn a_log_that_the_journal_may_hold_is_not_cut() {
    let mut journaled = Journaled::begun(7, config());
    let timestamp = journaled.rig.now.wall_ms;
    let builder = batch(&mut journaled.rig.prng, 1, 300, timestamp);
    journaled.rig.append(builder).unwrap();
    assert!(journaled.offer());
    let cut = |rig: &mut Rig| rig.with(|log, now, out, _| log.truncate(1, now, out));
    assert!(cut(&mut journaled.rig).is_err(), "the entry in flight may be whole after a power cut");
    journaled.complete();
    assert!(cut(&mut journaled.rig).is_err());
    journaled.write_back();
    journaled.rig.settle();
    assert!(cut(&mut journaled.rig).is_err(), "the tail on disk may still lie before the entry");
    journaled.restart();
    assert!(cut(&mut journaled.rig).is_ok(), "a start leaves nothing in the journal");
}

#[test]
fn a_deleted_log_takes_no_word_from_the_journal() {
    let mut journaled = Journaled::begun(8, config());
    journaled.journal_small();
    let timestamp = journaled.rig.now.wall_ms;
    let builder = batch(&mut journaled.rig.prng, 1, 300, timestamp);
    journaled.rig.append(builder).unwrap();
    assert!(journaled.offer());
    journaled.rig.with(|log, _, out, _| log.delete(out));
    journaled.complete();
    journaled.rig.settle();
    assert_eq!(journaled.rig.events.last(), Some(&LogEvent::Deleted));
    assert_eq!(journaled.rig.disk.open_files(), 0);
}
