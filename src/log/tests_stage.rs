//! Reads that are sent from the page cache.

use super::tests_ahead::{cold, ended};
use super::tests_rig::Rig;
use super::types::*;
use crate::port::range::Part;

/// A reader in sequence reads all of a log; how many of its bytes came in files, and how many in all.
fn read_on(rig: &mut Rig, max_bytes: u32) -> (usize, usize) {
    let (mut from, mut in_files, mut all) = (0, 0, 0);
    while from < rig.log.durable_offset() {
        rig.events.clear();
        let ready = rig.read_now(from, max_bytes);
        rig.settle();
        let data = ready.or_else(|| {
            rig.events.iter().rev().find_map(|event| match event {
                LogEvent::ReadDone { result: Ok(data), .. } => Some(data.clone()),
                _ => None,
            })
        });
        let data = data.expect("an answer");
        assert!(data.next_offset > from, "the reader gets on");
        let files = data.parts.iter().filter(|part| matches!(part, Part::File(_)));
        in_files += files.map(Part::len).sum::<usize>();
        all += data.bytes as usize;
        from = data.next_offset;
    }
    (in_files, all)
}

#[test]
fn a_reader_in_sequence_that_sends_on_is_given_parts_of_files() {
    let mut rig = cold(1);
    rig.sends = true;
    let (in_files, all) = read_on(&mut rig, 8_000);
    assert_eq!(all, rig.model.iter().map(|batch| batch.bytes.len()).sum::<usize>());
    assert!(in_files > all / 4, "{in_files} of {all} bytes");
    assert!(rig.disk.counts["stage"] > 4, "{:?}", rig.disk.counts);
}

#[test]
fn a_reader_that_does_not_or_takes_little_at_a_time_is_given_memory() {
    let mut rig = cold(2);
    assert_eq!(read_on(&mut rig, 8_000).0, 0);
    rig.sends = true;
    let little = rig.config.stage_bytes_min - 1;
    assert_eq!(read_on(&mut rig, little).0, 0);
    assert_eq!(rig.disk.counts.get("stage"), None);
}

#[test]
fn the_end_of_a_segment_that_grows_is_read_directly() {
    let mut rig = cold(3);
    rig.sends = true;
    rig.config.stage_distance = 100 << 20;
    rig.log.set_config(rig.config.clone());
    let (in_files, all) = read_on(&mut rig, 8_000);
    assert_eq!(in_files, 0, "of {all}");
}

#[test]
fn a_reader_that_wants_less_than_was_staged_for_it_gets_what_it_wants() {
    let mut rig = cold(4);
    rig.sends = true;
    rig.read(0, 9_000, true);
    rig.settle();
    let next = ended(&rig).expect("an answer");
    rig.events.clear();
    // `read` compares what comes with what was appended, and with these limits.
    for max_bytes in [5_000, 300, 7_000] {
        rig.read(next, max_bytes, true);
        rig.settle();
    }
    rig.sends = false;
    rig.read(next, 9_000, true);
    rig.settle();
    rig.check_all();
}

#[test]
fn a_reader_does_not_wait_for_more_than_it_may_have() {
    for (max_bytes, sends) in [(1_500, true), (20_000, false)] {
        let mut rig = cold(5);
        rig.sends = true;
        rig.read(0, 9_000, true);
        while ended(&rig).is_none() {
            assert!(rig.step());
        }
        let next = ended(&rig).expect("an answer");
        assert!(!rig.disk.waiting.is_empty(), "the next piece is on its way");
        rig.sends = sends;
        rig.events.clear();
        // `read` wants one batch at least.
        rig.read(next, max_bytes, true);
        rig.settle();
        assert!(ended(&rig).is_some_and(|end| end > next));
    }
}

#[test]
fn what_is_sent_is_what_was_appended_whatever_the_disk_does() {
    for seed in 10..40 {
        let mut rig = cold(seed);
        rig.sends = true;
        let mut from = 0;
        while from < rig.durable {
            let max_bytes = [900, 1_500, 4_000, 20_000][rig.prng.below(4) as usize];
            rig.events.clear();
            let ready = rig.read_now(from, max_bytes);
            while rig.prng.chance(3, 4) && rig.step() {}
            if rig.prng.chance(1, 3) {
                let _ = rig.append_some();
                rig.flush();
            }
            rig.settle();
            let next = ready.map(|data| data.next_offset).or_else(|| ended(&rig));
            let Some(next) = next else { break };
            from = next;
        }
        rig.check_all();
    }
}
