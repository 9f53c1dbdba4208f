//! A log that was woken is not due at once again: its core would do nothing else any more.

use super::tests_rig::{Rig, batch, small_config};
use super::types::*;

fn write(rig: &mut Rig) {
    let timestamp = rig.now.wall_ms;
    let builder = batch(&mut rig.prng, 1, 9000, timestamp);
    rig.append(builder).unwrap();
}

#[test]
fn a_log_that_is_deleted_while_it_waits_for_room_forgets_that_it_waits() {
    let mut rig = Rig::new(1, small_config());
    rig.disk.capacity = Some(rig.disk.used() + 4096);
    for _ in 0..200 {
        let _ = rig.append_some();
        rig.flush();
        rig.settle();
    }
    assert!(rig.events.contains(&LogEvent::NoSpace));
    rig.with(|log, _, out, _| log.delete(out));
    rig.advance(5000);
    assert_eq!(rig.log.next_wake(), None);
    rig.settle();
    assert_eq!(rig.events.last(), Some(&LogEvent::Deleted));
}

#[test]
fn a_sync_that_is_due_waits_for_the_file_of_a_new_segment() {
    let durability = Durability::PageCache { messages: 1_000, ms: 100 };
    let mut rig = Rig::new(2, LogConfig { durability, ..small_config() });
    for _ in 0..10 {
        write(&mut rig);
        rig.flush();
        rig.settle();
    }
    assert_eq!(rig.segment_bases(), [0]);
    assert!(rig.log.next_wake().is_some_and(|at| at <= rig.now.mono.plus_ms(100)), "a sync is to follow");
    // Begins a segment whose file is not open yet.
    write(&mut rig);
    rig.advance(200);
    rig.with(|log, now, out, events| log.wake(now, out, events));
    assert!(rig.log.next_wake().is_none_or(|at| at > rig.now.mono), "due at once again");
    rig.check_all();
    assert_eq!(rig.segment_bases(), [0, 10]);
    rig.advance(200);
    rig.settle();
    assert_eq!(rig.log.stable_storage_offset(), rig.durable);
    rig.close();
}
