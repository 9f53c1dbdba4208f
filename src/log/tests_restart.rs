//! Scenarios of a start after a crash, and of what a log has from another broker or from its settings.

use std::collections::BTreeSet;

use super::names::{self, FileKind};
use super::tests_rig::{DIR, Rig, batch, small_config};
use super::types::*;

/// A rig with some durable batches of one record each.
fn filled(seed: u64, batches: usize, bytes: usize) -> Rig {
    let mut rig = Rig::new(seed, small_config());
    for _ in 0..batches {
        let timestamp = rig.now.wall_ms;
        let builder = batch(&mut rig.prng, 1, bytes, timestamp);
        rig.append(builder).unwrap();
        rig.flush();
        rig.settle();
    }
    rig
}

#[test]
fn a_log_that_is_told_to_close_while_it_is_made_closes_in_order() {
    let mut closed_early = 0;
    for steps in 0..8 {
        let mut rig = Rig::begun(steps, small_config());
        for _ in 0..steps {
            rig.step();
        }
        closed_early += u64::from(rig.log.is_being_made());
        rig.close();
        rig.load(LoadHints { clean: true, recovery_point: Some(0), log_start: None });
        assert_eq!((rig.log.end_offset(), rig.log.is_ready()), (0, true));
        rig.append_some().unwrap();
        rig.flush();
        rig.settle();
        rig.check_all();
    }
    assert!(closed_early > 1, "most of these are not ready yet");
}

/// In page-cache mode, after a kill, the scan reads what only the page cache has. It must be synced before the recovery
/// calls it durable: a snapshot behind it would make the next start believe it unseen.
#[test]
fn what_a_recovery_has_read_survives_a_power_cut_after_a_kill() {
    for seed in 0..20 {
        let durability = Durability::PageCache { messages: u64::MAX, ms: u64::MAX };
        let config = LogConfig { durability, recovery_checkpoint_bytes: u32::MAX, ..small_config() };
        let mut rig = Rig::new(100 + seed, config);
        while rig.segment_bases().len() < 2 {
            rig.append_some().unwrap();
            rig.flush();
            // Written, while the files that make a rolled segment final may be on their way.
            while rig.durable < rig.log.end_offset() {
                rig.step();
            }
        }
        let end = rig.durable;
        rig.disk.process_dies(&mut rig.prng);
        rig.load(LoadHints { clean: false, recovery_point: None, log_start: None });
        rig.adopt_end(end);
        assert_eq!(rig.log.stable_storage_offset(), end);
        rig.disk.power_cut(&mut rig.prng);
        rig.load(LoadHints { clean: false, recovery_point: None, log_start: None });
        rig.adopt_end(end);
        rig.check_all();
    }
}

/// Compaction takes records out of the end of a segment as well. The segment before the newest snapshot is scanned
/// after a crash: that it does not touch the next one must not cost what lies behind.
#[test]
fn a_gap_that_compaction_left_between_segments_is_no_damage() {
    let cut = |gaps_allowed: bool, snapshot: bool, last_only: bool| {
        let mut rig = filled(60, 150, 900);
        rig.config.gaps_allowed = gaps_allowed;
        let (end, bases) = (rig.log.end_offset(), rig.segment_bases());
        rig.disk.power_cut(&mut rig.prng);
        let first: Vec<usize> = rig.model.iter().filter(|e| e.base < bases[1]).map(|e| e.bytes.len()).collect();
        let (total, last) = (first.iter().sum::<usize>(), *first.last().unwrap());
        let before = first[first.len() - 2];
        let file = rig.disk.file_mut(&names::path(DIR, FileKind::Log, 0));
        file.truncate(total);
        // Without its last batch, or with that one and without the one before it: then the last comes after a gap.
        match last_only {
            true => file.truncate(total - last),
            false => drop(file.drain(total - last - before..total - last)),
        }
        if !snapshot {
            rig.disk.remove_file(&names::path(DIR, FileKind::Snapshot, bases[1]));
        }
        for name in rig.disk.names() {
            // Only the scan of the first segment is of interest.
            let soft = !bases.iter().any(|&base| name == names::path(DIR, FileKind::Snapshot, base));
            if name.ends_with("index") || name.ends_with(".snapshot") && soft {
                rig.disk.remove_file(&name);
            }
        }
        rig.load(LoadHints { clean: false, recovery_point: Some(bases[1]), log_start: None });
        (rig.log.end_offset() == end, rig.log.take_report().unwrap().segments_removed)
    };
    for last_only in [true, false] {
        assert_eq!(cut(false, true, last_only), (true, 0));
        assert_eq!(cut(true, false, last_only), (true, 0));
    }
    // Page-cache mode without a snapshot: the power may have taken the end of the first segment.
    assert!(!cut(false, false, true).0);
}

/// A bad batch in a closed segment below the snapshot is bit rot. The tail of that segment is scanned after a crash;
/// what the scan finds there must not cost the good batches behind it.
#[test]
fn bit_rot_in_a_closed_segment_below_the_snapshot_costs_nothing_behind_it() {
    let end_after = |recovery_point: fn(&[i64]) -> Option<i64>| {
        let mut rig = filled(61, 150, 900);
        let (end, bases) = (rig.log.end_offset(), rig.segment_bases());
        rig.disk.power_cut(&mut rig.prng);
        let second = rig.model[0].bytes.len();
        rig.disk.file_mut(&names::path(DIR, FileKind::Log, 0))[second + 80] ^= 1;
        for name in rig.disk.names() {
            let soft = !bases.iter().any(|&base| name == names::path(DIR, FileKind::Snapshot, base));
            if name.ends_with("index") || name.ends_with(".snapshot") && soft {
                rig.disk.remove_file(&name);
            }
        }
        rig.load(LoadHints { clean: false, recovery_point: recovery_point(&bases), log_start: None });
        let report = rig.log.take_report().unwrap();
        (rig.log.end_offset(), end, report.notes.iter().any(|note| note.contains("left as it is")))
    };
    let (found, end, noted) = end_after(|bases| Some(bases[1]));
    assert_eq!((found, noted), (end, true));
    // Not known to have been on stable storage: a torn write, and everything behind it may be one.
    let (found, _, noted) = end_after(|_| Some(0));
    assert_eq!((found, noted), (1, false));
}

#[test]
fn jitter_rolls_a_segment_earlier_by_a_number_of_its_own() {
    let rolls = |segment_jitter_ms: i64| {
        let mut rig = Rig::new(70, LogConfig { segment_ms: 1000, segment_jitter_ms, ..small_config() });
        for _ in 0..400 {
            let timestamp = rig.now.wall_ms;
            let builder = batch(&mut rig.prng, 1, 30, timestamp);
            rig.append(builder).unwrap();
            rig.advance(100);
            rig.flush();
            rig.settle();
        }
        let bases = rig.segment_bases();
        bases.windows(2).map(|pair| pair[1] - pair[0]).collect::<Vec<_>>()
    };
    assert!(rolls(0).iter().all(|&records| records == 11), "{:?}", rolls(0));
    let spread = rolls(800);
    assert!(spread.iter().all(|&records| (3..=11).contains(&records)), "{spread:?}");
    assert!(spread.iter().collect::<BTreeSet<_>>().len() > 3, "{spread:?}");
}
