//! Scenarios with a reason each: what the random runs meet by chance, or cannot judge.

use std::collections::BTreeSet;

use super::names::{self, FileKind, Leftover};
use super::tests_rig::{DIR, Rig, batch, small_config};
use super::types::*;

fn log_path(base: i64) -> String {
    names::path(DIR, FileKind::Log, base)
}

fn hints() -> LoadHints {
    LoadHints { clean: false, recovery_point: Some(0), log_start: None }
}

/// A rig with some durable batches of one record each.
fn filled(seed: u64, batches: usize, bytes: usize) -> Rig {
    let mut rig = Rig::new(seed, small_config());
    for _ in 0..batches {
        let timestamp = rig.now.wall_ms;
        let builder = batch(&mut rig.prng, 1, bytes, timestamp);
        rig.append(builder).unwrap();
        rig.advance(1);
        rig.flush();
        rig.settle();
    }
    assert_eq!(rig.durable, batches as i64);
    rig
}

#[test]
fn any_flipped_byte_in_the_scanned_region_is_found_and_nothing_from_there_on_is_believed() {
    let mut rig = filled(1, 6, 40);
    rig.disk.power_cut(&mut rig.prng);
    let image = rig.disk.clone();
    let mut end = 0;
    let ends: Vec<usize> = rig
        .model
        .iter()
        .map(|expected| {
            end += expected.bytes.len();
            end
        })
        .collect();
    for (at, bit) in (0..end * 8).map(|at| (at / 8, 1 << (at % 8))) {
        rig.disk = image.clone();
        rig.disk.file_mut(&log_path(0))[at] ^= bit;
        rig.load(hints());
        let report = rig.log.take_report().unwrap();
        let good = ends.iter().filter(|&&end| end <= at).count();
        assert_eq!(rig.log.end_offset(), good as i64, "byte {at} flipped by {bit}: {report}");
        assert!(report.torn_reason.is_some(), "byte {at}: {report}");
        let kept = if good == 0 { 0 } else { ends[good - 1] };
        assert_eq!(rig.disk.file(&log_path(0)).unwrap().len(), kept, "the rest is cut");
    }
}

#[test]
fn padding_is_told_from_a_torn_tail_and_both_are_cut() {
    let mut rig = filled(2, 3, 100);
    rig.disk.power_cut(&mut rig.prng);
    let size: usize = rig.model.iter().map(|expected| expected.bytes.len()).sum();
    rig.load(hints());
    let report = rig.log.take_report().unwrap();
    assert!(report.padding_bytes > 0 && report.torn_bytes == 0 && report.torn_reason.is_none(), "{report}");
    assert_eq!(rig.disk.file(&log_path(0)).unwrap().len(), size);
    rig.disk.power_cut(&mut rig.prng);
    rig.disk.file_mut(&log_path(0)).extend_from_slice(&[0; 700]);
    rig.disk.file_mut(&log_path(0)).extend_from_slice(b"not zero");
    rig.load(hints());
    let report = rig.log.take_report().unwrap();
    assert_eq!(report.torn_bytes, 708, "{report}");
    assert_eq!(rig.disk.file(&log_path(0)).unwrap().len(), size);
    assert_eq!(rig.log.end_offset(), 3);
}

#[test]
fn appends_of_a_turn_become_one_write_and_those_made_meanwhile_the_next() {
    let mut rig = Rig::new(3, small_config());
    let before = rig.disk.counts.get("write+sync").copied().unwrap_or(0);
    for _ in 0..20 {
        let builder = batch(&mut rig.prng, 1, 60, 5);
        rig.append(builder).unwrap();
    }
    rig.settle();
    assert_eq!(rig.durable, 0, "nothing is written before the flush");
    rig.flush();
    rig.flush();
    for _ in 0..20 {
        let builder = batch(&mut rig.prng, 1, 60, 5);
        rig.append(builder).unwrap();
        rig.flush();
    }
    rig.settle();
    assert_eq!(rig.durable, 40);
    // The first turn filled its one-block chunk and split it once, so it took two writes and a sync.
    let single = rig.disk.counts["write+sync"] - before;
    let several = rig.disk.counts.get("write").copied().unwrap_or(0);
    assert!(single + several <= 4, "{:?}", rig.disk.counts);
    assert!(rig.disk.counts["zero-fill"] >= 1);
}

#[test]
fn an_idle_log_holds_next_to_nothing_and_a_busy_one_gets_large_chunks() {
    let mut rig = Rig::new(4, LogConfig { pending_bytes_max: 32 << 20, segment_bytes: 1 << 30, ..small_config() });
    assert_eq!(rig.log.cached_bytes(), 0);
    let builder = batch(&mut rig.prng, 1, 100, 5);
    rig.append(builder).unwrap();
    rig.flush();
    rig.settle();
    assert_eq!(rig.log.cached_bytes(), 4096, "one block");
    for _ in 0..5 {
        let builder = batch(&mut rig.prng, 1, 100, 5);
        rig.append(builder).unwrap();
        rig.flush();
        rig.settle();
    }
    assert_eq!(rig.log.cached_bytes(), 4096, "the chunk before is dropped when the next one holds all of it");
    for _ in 0..100 {
        for _ in 0..40 {
            let builder = batch(&mut rig.prng, 1, 30_000, 5);
            rig.append(builder).unwrap();
        }
        rig.flush();
        rig.settle();
    }
    let writes = rig.disk.counts["write"] + rig.disk.counts["write+sync"];
    assert!(writes < 400, "about two writes of up to 1 MiB for each turn, not {writes}");
    let cached = rig.log.cached_bytes();
    assert!(rig.log.oldest_cached().is_some());
    assert!(rig.log.evict(cached / 2) >= cached / 2);
    assert!(rig.log.cached_bytes() <= cached / 2 + (1 << 20));
    rig.check_all();
}

#[test]
fn a_full_disk_refuses_appends_keeps_what_is_pending_and_goes_on_when_there_is_room() {
    full_disk(false);
    // A write that found no room is tried again by itself: no append, and so no flush, comes before it got through.
    full_disk(true);
}

fn full_disk(writes_wait_for_flush: bool) {
    let mut rig = filled(5, 10, 1000);
    rig.log.set_config(LogConfig { writes_wait_for_flush, ..rig.log.config().clone() });
    rig.disk.capacity = Some(rig.disk.used() + 4096);
    let mut refused = false;
    for _ in 0..200 {
        refused |= rig.append_some() == Err(AppendError::NoSpace);
        rig.flush();
        rig.settle();
    }
    assert!(refused && rig.events.contains(&LogEvent::NoSpace));
    let (durable, end) = (rig.durable, rig.log.end_offset());
    assert!(durable < end, "something is pending");
    rig.read(0, 5000, true);
    rig.advance(5000);
    rig.settle();
    assert_eq!((rig.durable, rig.log.end_offset()), (durable, end), "still full");
    rig.disk.capacity = None;
    rig.advance(5000);
    rig.settle();
    assert_eq!(rig.durable, end);
    assert_eq!(rig.events.iter().filter(|event| **event == LogEvent::SpaceBack).count(), 1);
    rig.append_some().unwrap();
    rig.flush();
    rig.check_all();
    rig.close();
}

#[test]
fn after_a_failed_write_nothing_more_is_called_durable_and_the_log_is_offline_for_good() {
    for healthy in 0..3 {
        let mut rig = filled(6, 5, 300);
        let builder = batch(&mut rig.prng, 1, 9000, 5);
        rig.append(builder).unwrap();
        rig.disk.fail_write_in = Some(healthy);
        rig.flush();
        for _ in 0..10 {
            let _ = rig.append_some();
            rig.flush();
        }
        rig.settle();
        assert!(rig.events.iter().any(|event| matches!(event, LogEvent::Failed(_))), "{healthy}");
        let durable = rig.durable;
        assert_eq!(rig.append_some(), Err(AppendError::Offline));
        rig.disk.fail_write_in = None;
        rig.advance(100_000);
        rig.settle();
        assert_eq!(rig.durable, durable);
        rig.with(|log, now, out, _| log.close(now, out));
        rig.settle();
        assert_eq!(rig.events.last(), Some(&LogEvent::Closed));
        assert_eq!(rig.disk.open_files(), 0);
        rig.disk.power_cut(&mut rig.prng);
        rig.load(hints());
        rig.adopt_end(durable);
        rig.check_all();
    }
}

#[test]
fn indexes_that_are_missing_or_lie_are_made_again() {
    let mut rig = filled(7, 400, 500);
    rig.close();
    let bases = rig.segment_bases();
    assert!(bases.len() >= 3);
    let good: Vec<Vec<u8>> = [FileKind::Index, FileKind::TimeIndex]
        .iter()
        .map(|&kind| rig.disk.file(&names::path(DIR, kind, 0)).unwrap().to_vec())
        .collect();
    for damage in 0..4 {
        let index = names::path(DIR, FileKind::Index, 0);
        match damage {
            0 => rig.disk.remove_file(&index),
            1 => rig.disk.file_mut(&names::path(DIR, FileKind::TimeIndex, 0)).truncate(5),
            2 => rig.disk.file_mut(&index).fill(0),
            // Still sorted, but no batch begins where the second entry points.
            _ => rig.disk.file_mut(&index)[15] ^= 1,
        }
        rig.load(LoadHints { clean: true, recovery_point: None, log_start: None });
        rig.read(1, 2000, true);
        rig.read(2, 2000, true);
        rig.read(3, 2000, true);
        rig.settle();
        rig.check_all();
        for (kind, good) in [FileKind::Index, FileKind::TimeIndex].iter().zip(&good) {
            assert!(rig.disk.file(&names::path(DIR, *kind, 0)).unwrap() == good, "damage {damage}");
        }
        rig.close();
    }
}

#[test]
fn small_files_that_cannot_be_read_are_made_again_from_the_batches() {
    let mut rig = filled(8, 100, 500);
    rig.epoch = 3;
    for _ in 0..40 {
        rig.append_some().unwrap();
        rig.flush();
        rig.settle();
    }
    let producers = rig.log.producers().clone();
    let epochs = rig.log.epochs.clone();
    assert_eq!(epochs.entries().len(), 2);
    rig.close();
    for clean in [true, false] {
        let names = rig.disk.names();
        for name in names.iter().filter(|name| name.ends_with(".snapshot")) {
            let content = rig.disk.file_mut(name);
            let middle = content.len() / 2;
            content[middle] ^= 1;
        }
        let path = format!("{DIR}/{}", names::EPOCHS);
        *rig.disk.file_mut(&path) = b"0\n1\nnonsense".to_vec();
        rig.load(LoadHints { clean, recovery_point: None, log_start: None });
        let report = rig.log.take_report().unwrap();
        assert!(report.notes.len() >= 2, "{report}");
        assert_eq!(rig.log.epochs, epochs);
        assert_eq!(rig.log.producers().len(), producers.len());
        assert_eq!(
            rig.log.producers().get(42).map(|state| state.last_sequence()),
            producers.get(42).map(|state| state.last_sequence())
        );
        rig.check_all();
        rig.close();
    }
}

#[test]
fn a_clean_start_reads_no_more_than_the_tail() {
    let mut rig = filled(9, 400, 500);
    rig.close();
    rig.disk.counts.clear();
    rig.load(LoadHints { clean: true, recovery_point: None, log_start: None });
    let report = rig.log.take_report().unwrap();
    assert!(report.scanned_bytes <= 4096, "{report}");
    assert!(rig.disk.counts["read"] <= 3, "{:?}", rig.disk.counts);
    assert_eq!(rig.log.index_bytes(), rig.log.segments.values().next_back().unwrap().index_bytes());
}

#[test]
fn a_start_after_a_crash_reads_about_one_checkpoint_distance() {
    let mut rig = filled(10, 400, 500);
    rig.disk.power_cut(&mut rig.prng);
    rig.load(LoadHints { clean: false, recovery_point: None, log_start: None });
    let report = rig.log.take_report().unwrap();
    assert!(report.scanned_bytes <= (24 << 10) + 8192, "{report}");
    rig.adopt_end(400);
    rig.check_all();
}

#[test]
fn a_checkpoint_that_the_host_asks_for_spares_a_recovery_what_lies_before_it() {
    let own = LogConfig { recovery_checkpoint_bytes: u32::MAX, segment_bytes: 64 << 20, ..LogConfig::default() };
    let mut rig = Rig::new(12, LogConfig { pending_bytes_max: 1 << 20, ..own });
    assert!(!rig.with(|log, _, out, _| log.checkpoint_soon(out)), "there is nothing to spare");
    for _ in 0..84 {
        let timestamp = rig.now.wall_ms;
        let builder = batch(&mut rig.prng, 1, 50_000, timestamp);
        rig.append(builder).unwrap();
        rig.flush();
        rig.settle();
    }
    assert!(rig.log.recovery_bytes() > 4 << 20);
    // Nothing is being written and nothing may follow: it is made at once.
    assert!(rig.with(|log, _, out, _| log.checkpoint_soon(out)));
    rig.settle();
    assert_eq!(rig.log.recovery_bytes(), 0);
    rig.disk.power_cut(&mut rig.prng);
    rig.load(LoadHints { clean: false, recovery_point: None, log_start: None });
    let report = rig.log.take_report().unwrap();
    assert!(report.scanned_bytes <= 2 * 50_100, "{report}");
    rig.adopt_end(84);
    rig.check_all();
}

#[test]
fn files_left_behind_by_interrupted_changes_are_cleaned_up() {
    let mut rig = filled(11, 100, 500);
    rig.close();
    let junk = [
        format!("{}.deleted", log_path(7)),
        format!("{}.cleaned", log_path(0)),
        names::leftover_path(DIR, FileKind::Index, 0, Leftover::Swap),
        names::path(DIR, FileKind::Index, 9),
        names::path(DIR, FileKind::Snapshot, 5000),
        format!("{DIR}/leader-epoch-checkpoint.0.tmp"),
    ];
    for name in &junk {
        rig.disk.add_file(name, b"junk");
    }
    rig.disk.add_file(&format!("{DIR}/somebody.elses"), b"stays");
    rig.load(LoadHints { clean: true, recovery_point: None, log_start: None });
    let names: BTreeSet<String> = rig.disk.names().into_iter().collect();
    for name in &junk {
        assert!(!names.contains(name), "{name} is still there");
    }
    assert!(names.contains(&format!("{DIR}/somebody.elses")));
    assert_eq!(rig.log.end_offset(), 100);
    rig.check_all();
}

#[test]
fn a_compacted_segment_that_was_taking_its_place_takes_it() {
    let mut rig = filled(12, 400, 500);
    rig.close();
    let bases = rig.segment_bases();
    let (first, third) = (bases[0], bases[2]);
    // As Apache Kafka's cleaner leaves it: one segment made of the first two, here without any record missing.
    let mut both = rig.disk.file(&log_path(first)).unwrap().to_vec();
    both.extend_from_slice(rig.disk.file(&log_path(bases[1])).unwrap());
    rig.disk.add_file(&names::leftover_path(DIR, FileKind::Log, first, Leftover::Swap), &both);
    // The swap was interrupted after the second original went.
    rig.disk.remove_file(&log_path(bases[1]));
    rig.load(LoadHints { clean: false, recovery_point: None, log_start: None });
    assert_eq!(rig.log.end_offset(), 400, "{:?}", rig.log.report);
    assert_eq!(rig.segment_bases()[..2], [first, third]);
    assert_eq!(rig.disk.file(&log_path(first)).unwrap(), both);
    rig.check_all();
}

#[test]
fn deleting_a_log_renames_its_folder_first_and_leaves_nothing() {
    let mut rig = filled(13, 50, 500);
    rig.log.evict(usize::MAX);
    rig.append_some().unwrap();
    rig.flush();
    rig.read(0, 1000, true);
    rig.with(|log, _, out, _| log.delete(out));
    rig.settle();
    assert_eq!(rig.events.last(), Some(&LogEvent::Deleted));
    assert!(rig.disk.names().is_empty() && rig.disk.dirs().is_empty(), "{:?}", rig.disk.names());
    assert_eq!((rig.disk.open_files(), rig.files.left()), (0, 3));
    assert!(rig.disk.counts["rename"] >= 1);
    assert_eq!(rig.append_some(), Err(AppendError::Offline));
}

#[test]
fn retention_by_time_rolls_the_active_segment_and_removes_files_after_their_delay() {
    let mut rig = Rig::new(14, LogConfig { retention_ms: 10_000, ..small_config() });
    for _ in 0..300 {
        let timestamp = rig.now.wall_ms;
        let builder = batch(&mut rig.prng, 1, 900, timestamp);
        rig.append(builder).unwrap();
        rig.advance(20);
        rig.flush();
        rig.settle();
    }
    let bases = rig.segment_bases();
    let retain = |rig: &mut Rig| {
        let high = rig.durable;
        rig.with(|log, now, out, events| log.retain(now, high, out, events));
        rig.settle();
    };
    retain(&mut rig);
    assert_eq!(rig.log.start_offset(), 0, "nothing is old enough");
    rig.advance(7000);
    retain(&mut rig);
    assert_eq!(rig.log.start_offset(), bases[1], "the first segment is");
    assert!(rig.disk.names().iter().any(|name| name.ends_with(".log.deleted")));
    rig.advance(100);
    rig.settle();
    assert!(!rig.disk.names().iter().any(|name| name.ends_with(".deleted")));
    rig.advance(10_000);
    retain(&mut rig);
    assert_eq!((rig.log.start_offset(), rig.log.end_offset(), rig.log.segment_count()), (300, 300, 1));
    rig.append_some().unwrap();
    rig.flush();
    rig.check_all();
    rig.crash();
    rig.check_all();
}

#[test]
fn the_largest_timestamp_is_found_in_whatever_segment_it_lies() {
    let mut rig = Rig::new(15, small_config());
    for at in 0..200 {
        let timestamp = if at == 77 { 9_000 } else { 1_000 + at };
        let builder = batch(&mut rig.prng, 3, 900, timestamp);
        rig.append(builder).unwrap();
        rig.flush();
        rig.settle();
    }
    rig.close();
    rig.load(LoadHints { clean: true, recovery_point: None, log_start: None });
    let outcome = rig.with(|log, _, out, _| log.find_time(ReadId(900), TimeTarget::MaxTimestamp, i64::MAX, out));
    assert_eq!(outcome, TimeOutcome::Pending);
    let mut found = None;
    while found.is_none() {
        let (tag, result) = rig.disk.run_one(&mut rig.prng).unwrap();
        let mut events = Vec::new();
        let mut ops = Vec::new();
        let mut out = LogOut { ops: &mut ops, files: &mut rig.files, ahead: &rig.ahead };
        rig.log.complete(tag, result, rig.now, &mut out, &mut events);
        rig.disk.submit(ops);
        found = events.into_iter().find_map(|event| match event {
            LogEvent::TimeFound { result, .. } => Some(result),
            _ => None,
        });
    }
    let point = TimePoint { offset: 77 * 3 + 2, timestamp: 9_002, leader_epoch: 0 };
    assert_eq!(found, Some(Ok(Some(point))));
}

#[test]
fn a_followers_batches_keep_their_offsets_and_epochs_gaps_included() {
    let mut rig = Rig::new(16, LogConfig { gaps_allowed: true, ..small_config() });
    let mut copies = Vec::new();
    let mut at = 10;
    for epoch in 0..60 {
        let mut bytes = batch(&mut rig.prng, 2, 3000, 5).finish().to_vec();
        crate::batch::patch::stamp(&mut bytes, at, epoch / 7);
        assert_eq!(rig.log.append_replicated(&bytes, rig.now).unwrap().base_offset, at);
        assert_eq!(rig.log.append_replicated(&bytes, rig.now), Err(AppendError::OutOfOrder));
        at += 2 + epoch as i64 % 3;
        copies.push(bytes);
        rig.flush();
        rig.settle();
    }
    let end = rig.log.end_offset();
    assert_eq!(rig.log.durable_offset(), end);
    assert_eq!((rig.log.latest_epoch(), rig.log.epoch_for(end - 1)), (8, 8));
    let stored: Vec<u8> = rig
        .segment_bases()
        .iter()
        .flat_map(|&base| {
            let file = rig.disk.file(&log_path(base)).unwrap();
            let used = rig.log.segments[&base].size as usize;
            file[..used].to_vec()
        })
        .collect();
    assert_eq!(stored, copies.concat());
    rig.disk.power_cut(&mut rig.prng);
    rig.load(LoadHints::default());
    assert_eq!((rig.log.end_offset(), rig.log.latest_epoch()), (end, 8));
}

#[test]
fn records_of_an_older_message_format_are_refused_and_not_cut() {
    let mut rig = filled(17, 2, 100);
    rig.close();
    // Offset 2, size, CRC-32, magic 1, no codec, timestamp, null key, empty value.
    let mut body = vec![1u8, 0];
    body.extend_from_slice(&5i64.to_be_bytes());
    body.extend_from_slice(&(-1i32).to_be_bytes());
    body.extend_from_slice(&[0; 4]);
    body.extend_from_slice(&[0; 60]);
    let mut crc = flate2::Crc::new();
    crc.update(&body);
    let mut record = 2i64.to_be_bytes().to_vec();
    record.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
    record.extend_from_slice(&crc.sum().to_be_bytes());
    record.extend_from_slice(&body);
    rig.disk.file_mut(&log_path(0)).extend_from_slice(&record);
    let before = rig.disk.file(&log_path(0)).unwrap().to_vec();
    rig.begin_load(hints());
    rig.settle();
    assert!(matches!(rig.events.last(), Some(LogEvent::Failed(reason)) if reason.contains("format 0 or 1")));
    assert_eq!(rig.disk.file(&log_path(0)).unwrap(), before);
}

#[test]
fn a_folder_of_another_topic_is_refused() {
    let mut rig = filled(18, 2, 100);
    rig.close();
    *rig.disk.file_mut(&format!("{DIR}/{}", names::METADATA)) =
        b"version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ".to_vec();
    rig.begin_load(hints());
    rig.settle();
    assert!(matches!(rig.events.last(), Some(LogEvent::Failed(reason)) if reason.contains("AAAAAAAAAAAAAAAAAAAAAQ")));
}

#[test]
fn too_much_at_once_is_full_and_a_batch_beyond_the_segment_is_too_large() {
    let mut rig = Rig::new(19, small_config());
    let builder = batch(&mut rig.prng, 1, 97 << 10, 5);
    assert_eq!(rig.append(builder), Err(AppendError::TooLargeForSegment));
    let mut full = false;
    for _ in 0..10 {
        let builder = batch(&mut rig.prng, 1, 20_000, 5);
        full |= rig.append(builder) == Err(AppendError::Full);
    }
    assert!(full && rig.log.pending_bytes() <= 64 << 10);
    rig.flush();
    rig.settle();
    rig.append_some().unwrap();
    assert_eq!(rig.log.append(b"no batch", 0, rig.now), Err(AppendError::Invalid));
}

#[test]
fn log_append_time_is_stamped_into_the_copy_with_a_good_checksum() {
    let mut rig = Rig::new(20, small_config());
    let bytes = batch(&mut rig.prng, 3, 300, 5).finish();
    let appended = rig.log.append_log_append_time(&bytes, 0, rig.now).unwrap();
    assert_eq!(appended.log_append_time_ms, rig.now.wall_ms);
    rig.flush();
    rig.settle();
    rig.disk.power_cut(&mut rig.prng);
    rig.load(hints());
    assert_eq!(rig.log.end_offset(), 3, "the checksum is right");
    let header = crate::batch::BatchHeader::parse(rig.disk.file(&log_path(0)).unwrap()).unwrap();
    assert!(header.is_log_append_time() && header.max_timestamp == rig.now.wall_ms);
}
