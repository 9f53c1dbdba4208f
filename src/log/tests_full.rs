//! A full disk refuses names as well as bytes. Nothing is wrong with it then: whoever needs room waits, and goes on
//! when there is some.

use super::PartitionLog;
use super::tests_disk::TestDisk;
use super::tests_rig::{DIR, Rig, SLOTS, batch, small_config, topic};
use super::types::*;

fn never_failed(rig: &Rig) {
    assert!(!rig.events.iter().any(|event| matches!(event, LogEvent::Failed(_))), "{:?}", rig.events);
}

fn count(rig: &Rig, wanted: &LogEvent) -> usize {
    rig.events.iter().filter(|event| *event == wanted).count()
}

/// Lets time pass, in which nothing may happen more than a few times.
fn wait(rig: &mut Rig, ms: u64) {
    let before: u64 = rig.disk.counts.values().sum();
    rig.advance(ms);
    rig.settle();
    let asked = rig.disk.counts.values().sum::<u64>() - before;
    assert!(asked <= 4 * (1 + ms / 1000), "{asked} operations in {ms} ms");
}

/// Begins again with a log that is made on an empty disk.
fn create(rig: &mut Rig, no_names: bool, capacity: Option<u64>) {
    rig.disk = TestDisk::default();
    (rig.disk.no_names, rig.disk.capacity) = (no_names, capacity);
    rig.files = FileSlots::new(0, SLOTS);
    rig.events.clear();
    let mut ops = Vec::new();
    let mut out = LogOut { ops: &mut ops, files: &mut rig.files, ahead: &rig.ahead };
    rig.log = PartitionLog::create(DIR.to_string(), topic(), rig.config.clone(), rig.now, &mut out);
    rig.disk.submit(ops);
    rig.settle();
}

#[test]
fn a_log_made_on_a_full_disk_is_ready_when_there_is_room() {
    // No room for the folder; for the metadata; for the file of the segment as well.
    for (no_names, capacity) in [(true, None), (false, Some(0)), (true, Some(0))] {
        let mut rig = Rig::new(1, small_config());
        create(&mut rig, no_names, capacity);
        assert!(!rig.log.is_ready());
        assert_eq!(rig.log.has_room_for(1), Err(AppendError::NotReady));
        assert_eq!(count(&rig, &LogEvent::NoSpace), 1);
        wait(&mut rig, 1000);
        rig.disk.no_names = false;
        wait(&mut rig, 1000);
        assert_eq!(rig.log.is_ready(), capacity.is_none());
        rig.disk.capacity = None;
        wait(&mut rig, 1000);
        never_failed(&rig);
        assert!(rig.log.is_ready());
        assert_eq!((count(&rig, &LogEvent::Ready), rig.events.last()), (1, Some(&LogEvent::Ready)));
        assert_eq!(rig.log.has_room_for(1), Ok(()));
        rig.append_some().unwrap();
        rig.flush();
        rig.check_all();
        rig.close();
    }
}

#[test]
fn a_start_on_a_full_disk_waits_for_room() {
    let mut rig = Rig::new(2, small_config());
    rig.append_some().unwrap();
    rig.flush();
    rig.settle();
    rig.disk.crash(&mut rig.prng);
    rig.disk.remove_file("topic-0/partition.metadata");
    rig.disk.capacity = Some(0);
    rig.begin_load(LoadHints { clean: false, recovery_point: Some(0), log_start: None });
    rig.settle();
    wait(&mut rig, 3000);
    assert!(!rig.log.is_ready());
    assert_eq!(rig.events, [LogEvent::NoSpace]);
    rig.disk.capacity = None;
    wait(&mut rig, 1000);
    assert_eq!(rig.events, [LogEvent::NoSpace, LogEvent::SpaceBack, LogEvent::Ready]);
    rig.check_all();
}

/// A log of some segments, in order on the disk.
fn segments(seed: u64) -> Rig {
    let mut rig = Rig::new(seed, small_config());
    for _ in 0..40 {
        let timestamp = rig.now.wall_ms;
        let builder = batch(&mut rig.prng, 1, 9000, timestamp);
        rig.append(builder).unwrap();
        rig.flush();
        rig.settle();
    }
    assert!(rig.segment_bases().len() > 3);
    rig
}

#[test]
fn what_is_deleted_on_a_full_disk_goes_when_its_files_can_be_renamed() {
    let mut rig = segments(3);
    let before = rig.segment_bases();
    rig.disk.no_names = true;
    let start = before[2];
    assert_eq!(rig.with(|log, now, out, _| log.delete_records(start, now, out)), Ok(start));
    rig.settle();
    wait(&mut rig, 3000);
    never_failed(&rig);
    assert_eq!(rig.segment_bases(), before, "not even the name of the first one could be changed");
    rig.append_some().expect("what needs no new name goes on");
    rig.flush();
    rig.settle();
    rig.disk.no_names = false;
    rig.advance(1000);
    rig.settle();
    assert_eq!(rig.segment_bases(), before[2..]);
    rig.advance(1000);
    rig.settle();
    never_failed(&rig);
    assert!(rig.disk.names().iter().all(|name| !name.ends_with(".deleted")), "{:?}", rig.disk.names());
}

#[test]
fn a_segment_that_cannot_be_finished_for_lack_of_room_does_not_keep_the_disk_busy() {
    let mut rig = Rig::new(4, small_config());
    rig.disk.capacity = Some(rig.disk.used() + (100 << 10));
    for _ in 0..20 {
        let timestamp = rig.now.wall_ms;
        let builder = batch(&mut rig.prng, 1, 9000, timestamp);
        let _ = rig.append(builder);
        rig.flush();
        rig.settle();
    }
    assert!(count(&rig, &LogEvent::NoSpace) > 0);
    wait(&mut rig, 5000);
    never_failed(&rig);
}

#[test]
fn a_segment_that_cannot_be_made_for_lack_of_room_does_not_keep_the_disk_busy() {
    let mut rig = segments(7);
    rig.disk.no_names = true;
    for _ in 0..20 {
        let timestamp = rig.now.wall_ms;
        let builder = batch(&mut rig.prng, 1, 9000, timestamp);
        let _ = rig.append(builder);
        rig.flush();
        rig.settle();
    }
    assert_eq!(count(&rig, &LogEvent::NoSpace), 1);
    wait(&mut rig, 5000);
    never_failed(&rig);
    rig.disk.no_names = false;
    wait(&mut rig, 1000);
    assert_eq!(rig.durable, rig.log.end_offset());
    rig.check_all();
}

/// The active segment was rolled on a full disk: its successor has a batch in memory, and no file. There is room for
/// names again, but it has not tried again yet.
fn without_active_file(seed: u64) -> Rig {
    let mut rig = segments(seed);
    let end = rig.durable;
    rig.disk.no_names = true;
    let config = LogConfig { segment_ms: 1, ..rig.config.clone() };
    rig.with(|log, _, _, _| log.set_config(config));
    rig.advance(1000);
    rig.append_some().unwrap();
    rig.flush();
    rig.settle();
    assert_eq!(rig.durable, end);
    rig.disk.no_names = false;
    rig
}

/// All that is left of a log is deleted while the file of its new active segment cannot be made and batches wait for
/// it in memory: the old files must stay until it is there, or nothing tells a start after a crash where the log ended.
#[test]
fn the_last_segment_stays_until_the_file_behind_it_is_there() {
    let mut rig = without_active_file(8);
    let end = rig.durable;
    assert_eq!(rig.with(|log, now, out, _| log.delete_records(end, now, out)), Ok(end));
    rig.settle();
    rig.disk.power_cut(&mut rig.prng);
    rig.load(LoadHints { clean: false, recovery_point: None, log_start: None });
    assert!(rig.log.end_offset() >= end, "offsets below {end} were given out before");
    never_failed(&rig);
}

/// The same with older segments before it: those go, which is what makes room.
#[test]
fn older_segments_go_while_the_active_one_cannot_be_made() {
    let mut rig = without_active_file(9);
    let before = rig.segment_bases();
    let start = before[2];
    assert_eq!(rig.with(|log, now, out, _| log.delete_records(start, now, out)), Ok(start));
    rig.settle();
    assert!(!rig.disk.names().iter().any(|name| name.ends_with("00000000000000000000.log")), "{:?}", rig.disk.names());
    never_failed(&rig);
}

#[test]
fn a_log_that_is_deleted_before_there_was_room_for_it_waits_no_more() {
    let mut rig = Rig::new(6, small_config());
    create(&mut rig, true, None);
    assert!(rig.log.next_wake().is_some());
    rig.with(|log, _, out, _| log.delete(out));
    assert_eq!(rig.log.next_wake(), None);
    rig.settle();
    never_failed(&rig);
    assert_eq!(rig.events.last(), Some(&LogEvent::Deleted));
}

#[test]
fn a_log_deleted_on_a_full_disk_is_removed_under_its_own_name() {
    let mut rig = segments(5);
    rig.disk.no_names = true;
    rig.with(|log, _, out, _| log.delete(out));
    rig.settle();
    never_failed(&rig);
    assert_eq!(rig.events.last(), Some(&LogEvent::Deleted));
    assert!(rig.disk.names().is_empty());
}
