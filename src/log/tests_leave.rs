//! A log that goes from core to core: whatever it is about when it is told to leave, nothing is in flight once it has,
//! no file is open, and at the new core it goes on as if nothing had been. Compared with a model, by seed.

use super::tests_rig::{Rig, SLOTS, batch, small_config};
use super::types::*;
use super::{AheadRoom, Durability};

/// To another core: other numbers of files, other room.
fn carry(rig: &mut Rig, core: u32) {
    assert_eq!(rig.events.last(), Some(&LogEvent::Left));
    assert_eq!((rig.disk.open_files(), rig.files.left()), (0, SLOTS as usize), "files belong to the old core");
    assert_eq!(rig.ahead.used(), 0, "and so does room for reading ahead");
    assert_eq!((rig.log.next_wake(), rig.log.writing_bytes()), (None, 0));
    assert!(!rig.log.is_ready() && rig.append_some() == Err(AppendError::NotReady));
    rig.files = FileSlots::new(core * SLOTS, SLOTS);
    rig.ahead = AheadRoom::new(300 << 10);
    rig.with(|log, now, out, events| log.arrive(now, out, events));
    assert!(rig.log.is_ready());
}

fn leave(rig: &mut Rig) {
    assert!(rig.log.may_leave());
    rig.with(|log, now, out, events| log.leave(now, out, events));
    rig.settle();
    assert_eq!(rig.log.written_offset(), rig.log.end_offset(), "all is in the segments");
    assert_eq!(rig.durable, rig.log.end_offset(), "and whoever waited for it knows");
}

fn work(rig: &mut Rig, steps: u64) {
    for _ in 0..steps {
        rig.advance(1);
        match rig.prng.below(12) {
            0..=4 => {
                // Full is an answer, too.
                if let Err(error) = rig.append_some() {
                    assert_eq!(error, AppendError::Full);
                }
            }
            5 | 6 => rig.flush(),
            7 => {
                let from = rig.log_start + rig.prng.below((rig.durable - rig.log_start) as u64 + 1) as i64;
                rig.read(from, 20_000, true);
            }
            8 => rig.find_time(rig.now.wall_ms - 20),
            _ => {
                rig.step();
            }
        }
    }
}

fn wander(seed: u64, config: LogConfig) {
    let mut rig = Rig::new(seed, config);
    for core in 1..8 {
        let steps = rig.prng.below(120);
        work(&mut rig, steps);
        leave(&mut rig);
        carry(&mut rig, core);
    }
    work(&mut rig, 50);
    rig.flush();
    rig.check_all();
    if rig.config.durability == Durability::Stable {
        rig.crash();
        rig.check_all();
    }
    rig.close();
    rig.load(LoadHints { clean: true, recovery_point: Some(rig.durable), log_start: Some(rig.log_start) });
    rig.check_all();
}

#[test]
fn a_log_that_wanders_from_core_to_core_keeps_everything_and_its_order() {
    for seed in 0..40 {
        wander(seed, small_config());
        wander(seed, LogConfig { writes_wait_for_flush: true, ..small_config() });
    }
}

#[test]
fn in_page_cache_mode_the_syncs_that_are_due_go_on_at_the_new_core() {
    let config = || LogConfig { durability: Durability::PageCache { messages: u64::MAX, ms: 100 }, ..small_config() };
    for seed in 0..10 {
        wander(seed, config());
    }
    let mut rig = Rig::new(1, config());
    rig.append_some().unwrap();
    rig.flush();
    leave(&mut rig);
    assert!(rig.log.stable_storage_offset() < rig.log.end_offset());
    carry(&mut rig, 1);
    rig.advance(100);
    rig.settle();
    assert_eq!(rig.log.stable_storage_offset(), rig.log.end_offset());
}

#[test]
fn what_only_the_journal_has_is_in_the_segments_before_the_log_leaves() {
    let config = LogConfig { journal: true, writes_wait_for_flush: true, ..small_config() };
    let mut rig = Rig::new(3, config);
    let small = |rig: &mut Rig| {
        let timestamp = rig.now.wall_ms;
        let builder = batch(&mut rig.prng, 1, 300, timestamp);
        rig.append(builder).unwrap();
    };
    small(&mut rig);
    for _ in 0..20 {
        rig.flush();
        rig.settle();
        rig.advance(200);
    }
    for _ in 0..3 {
        small(&mut rig);
        let offer = rig.log.journal_offer().expect("it has something to offer");
        rig.log.journal_piece(&offer);
        rig.with(|log, now, out, events| log.journaled(&offer, now, out, events));
    }
    assert!(rig.log.lagging_bytes() > 0 && rig.durable == rig.log.end_offset());
    // One more is in the hands of the old core's journal when the log leaves.
    small(&mut rig);
    let offer = rig.log.journal_offer().expect("it has something to offer");
    rig.log.journal_piece(&offer);
    leave(&mut rig);
    assert_eq!(rig.log.stable_storage_offset(), rig.log.end_offset());
    carry(&mut rig, 1);
    small(&mut rig);
    rig.flush();
    rig.check_all();
    rig.crash();
    rig.check_all();
}

#[test]
fn a_stop_or_a_deletion_overtakes_a_departure() {
    for seed in 0..10 {
        for deleted in [false, true] {
            let mut rig = Rig::new(seed, small_config());
            work(&mut rig, 60);
            rig.with(|log, now, out, events| log.leave(now, out, events));
            for _ in 0..rig.prng.below(4) {
                rig.step();
            }
            if rig.events.last() == Some(&LogEvent::Left) {
                continue;
            }
            if deleted {
                rig.with(|log, _, out, _| log.delete(out));
                rig.settle();
                assert_eq!(rig.events.last(), Some(&LogEvent::Deleted));
            } else {
                rig.close();
            }
        }
    }
}
