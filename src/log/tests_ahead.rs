//! Reading ahead: what is there before a reader asks for it, and when it is given up.

use super::tests_rig::{Rig, small_config};
use super::types::*;

/// A log whose batches are all on disk and no longer in memory.
pub(super) fn cold(seed: u64) -> Rig {
    let mut rig = Rig::new(seed, LogConfig { segment_bytes: 1 << 20, ..small_config() });
    while rig.durable < 400 {
        let _ = rig.append_some();
        rig.advance(1);
        rig.flush();
        rig.settle();
    }
    let hints = LoadHints { clean: false, recovery_point: Some(0), log_start: None };
    rig.disk.power_cut(&mut rig.prng);
    rig.load(hints);
    let cached = rig.log.cached_bytes();
    rig.log.evict(cached);
    rig.disk.counts.clear();
    rig.events.clear();
    rig
}

fn reads(rig: &Rig) -> usize {
    rig.disk.counts.get("read").copied().unwrap_or(0) as usize
}

/// Where the read that has just been answered ends; `None`: the answer was in memory.
pub(super) fn ended(rig: &Rig) -> Option<i64> {
    rig.events.iter().rev().find_map(|event| match event {
        LogEvent::ReadDone { result: Ok(data), .. } => Some(data.next_offset),
        _ => None,
    })
}

#[test]
fn a_reader_from_the_start_finds_its_next_piece_read_already() {
    let mut rig = cold(1);
    rig.read(0, 2_000, true);
    rig.settle();
    let next = ended(&rig).expect("the disk was asked");
    assert!(rig.ahead.used() > 0, "the next piece is there");
    let (before, events) = (reads(&rig), rig.events.len());
    rig.read(next, 2_000, true);
    assert_eq!((reads(&rig), rig.events.len()), (before, events), "answered at once, without the disk");
}

#[test]
fn a_reader_that_is_faster_than_the_disk_waits_for_the_read_in_flight() {
    let mut rig = cold(2);
    rig.read(0, 2_000, true);
    while ended(&rig).is_none() {
        assert!(rig.step());
    }
    let next = ended(&rig).expect("an answer");
    rig.events.clear();
    let before = rig.disk.waiting.len();
    rig.read(next, 2_000, true);
    rig.read(next, 2_000, true);
    assert!(rig.disk.waiting.len() <= before + 1, "one of two readers at the same place waits for what is coming");
    rig.settle();
    assert_eq!(rig.events.iter().filter(|event| matches!(event, LogEvent::ReadDone { .. })).count(), 2);
    rig.check_all();
}

#[test]
fn what_nobody_comes_for_is_given_back_and_the_log_sleeps() {
    let mut rig = cold(3);
    rig.read(0, 2_000, true);
    rig.settle();
    assert!(rig.ahead.used() > 0);
    let due = rig.log.next_wake().expect("a time to give it up");
    assert!(due > rig.now.mono && due <= rig.now.mono.plus_ms(2_000));
    rig.advance(2_000);
    rig.settle();
    assert_eq!(rig.ahead.used(), 0);
    // A reader that comes after all gets its bytes from the disk.
    rig.check_all();
}

#[test]
fn a_disk_that_takes_longer_than_the_patience_with_readers_does_not_keep_the_core_busy() {
    let mut rig = cold(4);
    rig.read(0, 2_000, true);
    while ended(&rig).is_none() {
        assert!(rig.step());
    }
    assert!(!rig.disk.waiting.is_empty(), "a read ahead is in flight");
    rig.advance(10_000);
    rig.with(|log, now, out, events| log.wake(now, out, events));
    assert!(rig.log.next_wake().is_none_or(|at| at > rig.now.mono), "nothing can be done before the disk answers");
    rig.check_all();
}

#[test]
fn a_read_somewhere_in_the_log_reads_nothing_ahead() {
    let mut rig = cold(5);
    rig.read(100, 2_000, true);
    rig.settle();
    assert_eq!(rig.ahead.used(), 0);
}

#[test]
fn a_log_that_is_cut_or_closed_forgets_what_was_read_ahead() {
    let mut rig = cold(6);
    rig.read(0, 2_000, true);
    rig.settle();
    let next = ended(&rig).expect("an answer");
    assert!(rig.ahead.used() > 0);
    rig.with(|log, now, out, _| log.truncate(next, now, out)).unwrap();
    rig.settle();
    assert_eq!(rig.ahead.used(), 0);
    rig.adopt_end(0);
    while rig.durable < next + 50 {
        let _ = rig.append_some();
        rig.flush();
        rig.settle();
    }
    rig.read(next, 2_000, true);
    rig.check_all();
    rig.close();
    assert_eq!(rig.ahead.used(), 0);
}
