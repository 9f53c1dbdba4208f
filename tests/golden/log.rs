//! Logs that Kafka left are opened by ours; and the same batches, written through ours, make the same files.
//!
//! What may differ, and why: `.txnindex` (ours keeps none: aborted transactions are not served yet) and
//! `quorum-state` and `.checkpoint` of the metadata log, which are not a log's. Everything else must be equal to the
//! byte.

#[path = "log_rig.rs"]
mod log_rig;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use bytes::Bytes;
use kataract::batch::walk;
use kataract::log::checkpoint::{decode_offsets, decode_partition_metadata};
use kataract::log::epochs::{EpochCache, EpochEntry};
use kataract::log::producers::ProducerStates;
use kataract::log::{LoadHints, LogConfig};

use crate::{folder, same, sample};
use log_rig::Rig;

/// When the samples were made: 2026-11-21T06:16Z. What Kafka had forgotten by then, ours has to forget too.
const MADE_AT_MS: i64 = 1_795_241_760_000;
/// Before any producer of the samples could expire.
const EARLY_MS: i64 = 1_700_000_000_000;

/// The folders of partitions among the samples.
fn partitions() -> Vec<String> {
    let entries = fs::read_dir(folder().join("disk")).expect("samples").map(|entry| entry.expect("an entry"));
    let mut names: Vec<String> =
        entries.filter(|e| e.path().is_dir()).map(|e| e.file_name().into_string().expect("ASCII")).collect();
    names.sort();
    assert_eq!(names.len(), 10, "{names:?}");
    names
}

/// Name → content of the files of a log in a folder, without what is not compared.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry"));
    let named = entries.map(|e| (e.file_name().into_string().expect("ASCII"), fs::read(e.path()).expect("a file")));
    let left_out = |name: &str| name.ends_with(".txnindex") || name.ends_with(".checkpoint") || name == "quorum-state";
    named.filter(|(name, _)| !left_out(name)).collect()
}

/// Kafka's files of a partition.
fn kafkas(partition: &str) -> BTreeMap<String, Vec<u8>> {
    files(&folder().join("disk").join(partition))
}

/// Where Kafka was stopped and started in between, if it wrote on: every log then got a new leader epoch at its end.
fn restart(kafka: &BTreeMap<String, Vec<u8>>) -> Option<EpochEntry> {
    let known = epochs(kafka);
    known.entries().last().filter(|last| last.start_offset > 0 && known.entries().len() > 1).copied()
}

/// The base of the segment that Kafka went on writing after its restart, and where in it the restart was.
fn restarted_segment(kafka: &BTreeMap<String, Vec<u8>>) -> Option<(i64, u32)> {
    let at = restart(kafka)?.start_offset;
    let bases = kafka.keys().filter_map(|name| name.strip_suffix(".log")?.parse::<i64>().ok());
    let base = bases.filter(|&base| base <= at).max()?;
    let inside = base < at && batches(kafka).last().is_some_and(|(_, last, _)| *last >= at);
    inside.then(|| (base, u32::try_from(at - base).expect("an offset within a segment")))
}

/// A clean stop enters the largest timestamp so far into the time index, between two entries of the offset index. Kafka
/// keeps that entry when it writes on; ours goes back to the last entry of the offset index at every start.
fn without_entry_of_the_stop(kafka: &mut BTreeMap<String, Vec<u8>>) {
    let Some((base, restart)) = restarted_segment(kafka) else { return };
    let last = (restart - 1).to_be_bytes();
    let is_indexed = kafka[&format!("{base:020}.index")].chunks_exact(8).any(|entry| entry[..4] == last);
    if let Some(times) = kafka.get_mut(&format!("{base:020}.timeindex"))
        && !is_indexed
    {
        *times = times.chunks_exact(12).filter(|entry| entry[8..] != last).flatten().copied().collect();
    }
}

/// Kafka begins to count `index.interval.bytes` anew when it starts, ours goes on from the last entry: behind a restart
/// in the middle of a segment the entries lie elsewhere.
fn keep_indexes_up_to_restart(of: &mut BTreeMap<String, Vec<u8>>, segment: Option<(i64, u32)>) {
    let Some((base, restart)) = segment else { return };
    for (suffix, size, offset_at) in [("index", 8, 0), ("timeindex", 12, 8)] {
        let entries = of.get_mut(&format!("{base:020}.{suffix}")).expect("an index of each kind");
        let offset = |entry: &[u8]| u32::from_be_bytes([0, 1, 2, 3].map(|at| entry[offset_at + at]));
        *entries = entries.chunks_exact(size).filter(|entry| offset(entry) < restart).flatten().copied().collect();
    }
}

/// The settings that the generator gave its topics (`tests/golden/README.md`).
fn config(partition: &str) -> LogConfig {
    let internal = partition.starts_with("__") || partition == "transactions-0";
    LogConfig {
        index_interval_bytes: if internal { 4096 } else { 1024 },
        segment_ms: if partition == "plain-0" { 500 } else { 7 * 86_400_000 },
        retention_ms: -1,
        gaps_allowed: partition.starts_with("__c") || partition.starts_with("__t"),
        ..LogConfig::default()
    }
}

/// The line of a partition in a checkpoint file of the samples.
fn checkpoint(file: &str, partition: &str) -> Option<i64> {
    let (topic, number) = partition.rsplit_once('-').expect("topic-partition");
    let text = String::from_utf8(sample(&format!("disk/{file}"))).expect("text");
    let offsets = decode_offsets(&text).unwrap_or_else(|error| panic!("{file}: {error}"));
    offsets.get(&(topic.to_owned(), number.parse().expect("a number"))).copied()
}

/// Every batch of a partition, in order: leader epoch, base offset, bytes.
fn batches(kafka: &BTreeMap<String, Vec<u8>>) -> Vec<(i32, i64, Bytes)> {
    let mut found = Vec::new();
    for (_, content) in kafka.iter().filter(|(name, _)| name.ends_with(".log")) {
        let content = Bytes::copy_from_slice(content);
        found.extend(walk(&content).map(|(at, header)| (header.leader_epoch, header.base_offset, content.slice(at))));
    }
    found
}

fn epochs(kafka: &BTreeMap<String, Vec<u8>>) -> EpochCache {
    let text = String::from_utf8(kafka["leader-epoch-checkpoint"].clone()).expect("text");
    EpochCache::decode(&text).expect("epochs of Kafka")
}

fn compare(what: &str, ours: &BTreeMap<String, Vec<u8>>, kafka: &BTreeMap<String, Vec<u8>>) {
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(ours), names(kafka), "{what}: files of ours, files of Kafka's");
    for (name, content) in kafka {
        if name.ends_with(".snapshot") {
            same_producers(&format!("{what}/{name}"), &ours[name], content);
        } else {
            same(&format!("{what}/{name}"), &ours[name], content);
        }
    }
}

/// Kafka keeps the last batch of each producer in a snapshot, we keep every batch that is remembered, as entries of the
/// same form; each producer's last word must be the same.
fn same_producers(what: &str, ours: &[u8], kafka: &[u8]) {
    let last = |bytes: &[u8]| -> Vec<_> {
        let states = ProducerStates::decode_snapshot(bytes).unwrap_or_else(|error| panic!("{what}: {error}"));
        states.iter().map(|(id, state)| (id, state.last_batch().copied(), state.last_sequence())).collect()
    };
    assert_eq!(last(ours), last(kafka), "{what}");
}

/// A log of ours on a copy of Kafka's folder, ready.
fn opened(partition: &str, hints: LoadHints, wall_ms: i64, change: impl FnOnce(&Path)) -> Rig {
    let kafka = kafkas(partition);
    let topic_id = String::from_utf8(kafka["partition.metadata"].clone()).expect("text");
    let topic_id = decode_partition_metadata(&topic_id).expect("a topic id");
    let mut rig = Rig::new(partition, topic_id, config(partition), wall_ms);
    rig.copy_in(&folder().join("disk").join(partition));
    change(&rig.folder());
    rig.load(hints);
    rig
}

/// Contents, offsets and epochs as Kafka knew them.
fn check_contents(partition: &str, rig: &mut Rig) {
    let kafka = kafkas(partition);
    let batches = batches(&kafka);
    let start = checkpoint("log-start-offset-checkpoint", partition).unwrap_or(0);
    assert_eq!(rig.log().start_offset(), start, "{partition}");
    // Kafka keeps the metadata log's recovery point elsewhere: nowhere.
    if let Some(end) = checkpoint("recovery-point-offset-checkpoint", partition) {
        assert_eq!(rig.log().end_offset(), end, "{partition}");
    }
    // The batch that holds the first offset comes whole.
    let first = batches.iter().rposition(|(_, base, _)| *base <= start).expect("a batch at the start");
    let wanted: Vec<u8> = batches[first..].iter().flat_map(|(_, _, bytes)| bytes.to_vec()).collect();
    same(partition, &rig.read_everything(), &wanted);
    for (epoch, base, _) in &batches[first..] {
        assert_eq!(rig.log().epoch_for(start.max(*base)), *epoch, "{partition} at offset {base}");
    }
}

fn clean(partition: &str) -> LoadHints {
    LoadHints {
        clean: true,
        recovery_point: checkpoint("recovery-point-offset-checkpoint", partition),
        log_start: checkpoint("log-start-offset-checkpoint", partition),
    }
}

/// Kafka's `leader-epoch-checkpoint` names the epoch of its last start even when nothing was written in it. Kafka drops
/// such an entry when it loads a log and makes it again when it leads; here nobody leads.
fn without_empty_epoch(kafka: &mut BTreeMap<String, Vec<u8>>, end: i64) {
    let mut known = epochs(kafka);
    known.truncate_from_end(end);
    kafka.insert("leader-epoch-checkpoint".to_owned(), known.encode().into_bytes());
}

#[test]
fn a_log_that_kafka_closed_is_opened_as_it_is_and_closed_without_a_change() {
    for partition in partitions() {
        let mut rig = opened(&partition, clean(&partition), EARLY_MS, |_| {});
        let report = rig.report();
        assert_eq!((report.torn_bytes, report.indexes_rebuilt, &report.notes[..]), (0, 0, &[][..]), "{partition}");
        assert_eq!(report.snapshot_offset, Some(rig.log().end_offset()), "{partition}");
        check_contents(&partition, &mut rig);
        let (mut kafka, end) = (kafkas(&partition), rig.log().end_offset());
        let snapshot = &kafka[&format!("{end:020}.snapshot")];
        let known = ProducerStates::decode_snapshot(&Bytes::copy_from_slice(snapshot)).expect("Kafka's snapshot");
        assert_eq!(rig.log().producers().encode_snapshot(), known.encode_snapshot(), "{partition}");
        rig.close();
        without_empty_epoch(&mut kafka, end);
        without_entry_of_the_stop(&mut kafka);
        compare(&partition, &files(&rig.folder()), &kafka);
    }
}

/// What a crash may leave at the end of a log: space that was never written, and half a batch.
fn damage_tail(folder: &Path, torn: bool) {
    let mut logs: Vec<_> =
        fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    logs.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    let last = logs.iter().max().expect("a segment");
    let mut bytes = fs::read(last).expect("a segment");
    if torn {
        let half = bytes[..bytes.len().min(90)].to_vec();
        bytes.extend(half);
    }
    bytes.resize(bytes.len().next_multiple_of(4096) + 8192, 0);
    fs::write(last, bytes).expect("a segment");
}

#[test]
fn a_log_that_kafka_did_not_close_is_recovered_to_the_same_bytes() {
    type Damage = (&'static str, fn(&Path));
    let damages: [Damage; 4] = [
        ("as it was", |_| {}),
        ("without indexes", |folder| {
            for name in files(folder).keys().filter(|name| name.ends_with("index")) {
                fs::remove_file(folder.join(name)).expect("an index");
            }
        }),
        ("with space filled ahead", |folder| damage_tail(folder, false)),
        ("with half a batch", |folder| damage_tail(folder, true)),
    ];
    for partition in partitions() {
        for (what, damage) in damages {
            let hints = LoadHints { clean: false, recovery_point: Some(0), ..clean(&partition) };
            let mut rig = opened(&partition, hints, EARLY_MS, damage);
            let what = format!("{partition} {what}");
            check_contents(&partition, &mut rig);
            rig.close();
            let (mut ours, mut kafka, end) = (files(&rig.folder()), kafkas(&partition), rig.log().end_offset());
            without_empty_epoch(&mut kafka, end);
            // Kafka took snapshots at its clean stops too, where a recovery from the batches has no reason for one; and
            // it had expired producers by the wall clock, which a recovery finds again.
            let bases: Vec<String> = kafka.keys().filter_map(|n| n.strip_suffix(".log")).map(str::to_owned).collect();
            let keep = |name: &str| name.strip_suffix(".snapshot").is_none_or(|at| bases.iter().any(|base| base == at));
            let segment = restarted_segment(&kafka);
            keep_indexes_up_to_restart(&mut ours, segment);
            without_entry_of_the_stop(&mut kafka);
            keep_indexes_up_to_restart(&mut kafka, segment);
            ours.retain(|name, _| keep(name));
            kafka.retain(|name, _| keep(name));
            compare(&what, &ours, &kafka);
        }
    }
}

#[test]
fn the_same_batches_written_through_our_log_make_kafkas_files() {
    for partition in partitions() {
        let kafka = kafkas(&partition);
        let topic_id = String::from_utf8(kafka["partition.metadata"].clone()).expect("text");
        let topic_id = decode_partition_metadata(&topic_id).expect("a topic id");
        let mut rig = Rig::new(&partition, topic_id, config(&partition), MADE_AT_MS);
        rig.create();
        let mut restart = restart(&kafka);
        let start = checkpoint("log-start-offset-checkpoint", &partition);
        for (epoch, base, batch) in batches(&kafka) {
            if restart.is_some_and(|restart| restart.start_offset == base) {
                rig.lead_anew(restart.take().expect("just seen").epoch);
            }
            let appended = rig.append(&batch, epoch);
            assert_eq!(appended.base_offset, base, "{partition}");
        }
        if let Some(restart) = restart {
            assert_eq!(restart.start_offset, rig.log().end_offset(), "{partition}");
            rig.lead_anew(restart.epoch);
        }
        if let Some(start) = start {
            rig.delete_records(start);
        }
        rig.close();
        let (mut ours, mut kafka, segment) = (files(&rig.folder()), kafka.clone(), restarted_segment(&kafka));
        keep_indexes_up_to_restart(&mut ours, segment);
        without_entry_of_the_stop(&mut kafka);
        keep_indexes_up_to_restart(&mut kafka, segment);
        compare(&partition, &ours, &kafka);
    }
}
