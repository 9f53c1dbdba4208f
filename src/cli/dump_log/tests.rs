//! What is sound is shown, what is not is named, and nothing that a file holds stops the dump.

use std::fs;
use std::path::Path;

use super::*;
use crate::batch::Codec;
use crate::batch::build::BatchBuilder;
use crate::meta::record::{ConfigRecord, Record};

/// The output of a dump of one file with these bytes, and how it ended.
fn dump_bytes(name: &str, bytes: &[u8], records: bool) -> (String, Result<(), Failure>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    dump_path(&path, records)
}

fn dump_path(path: &Path, records: bool) -> (String, Result<(), Failure>) {
    let mut sink = Vec::new();
    let args = DumpLogArgs { paths: vec![path.to_owned()], records };
    let result = run(&args, &mut Out::new(&mut sink, false));
    (String::from_utf8(sink).unwrap(), result)
}

const SEGMENT: &str = "00000000000000000010.log";

fn batches() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut first = BatchBuilder::new(10);
    first.push(1000, Some(b"k"), Some(b"one"));
    first.push(1001, None, None);
    bytes.extend_from_slice(&first.finish());
    let mut second = BatchBuilder::new(12).codec(Codec::Zstd, None);
    second.push(1002, Some(b"k"), Some(b"three"));
    bytes.extend_from_slice(&second.finish());
    bytes
}

#[test]
fn a_sound_segment_is_shown_with_its_records_and_its_padding() {
    let mut bytes = batches();
    let len = bytes.len();
    bytes.resize(8192, 0);
    let (text, result) = dump_bytes(SEGMENT, &bytes, true);
    assert_eq!(result, Ok(()), "{text}");
    let summary = format!("2 batches, 3 records, next offset 13, {len} bytes of data, {} bytes of padding", 8192 - len);
    for word in ["offsets 10 to 11 at position 0", "key=k: one", "(null)", "zstd", "key=k: three", &summary] {
        assert!(text.contains(word), "{word} in {text}");
    }
    let (text, _) = dump_bytes(SEGMENT, &bytes, false);
    assert!(text.contains("offsets 12 to 12") && !text.contains("three"), "{text}");
}

#[test]
fn a_flipped_bit_a_torn_tail_and_garbage_behind_zeros_are_named() {
    let sound = batches();
    let mut flipped = sound.clone();
    flipped[70] ^= 1;
    let torn = &sound[..sound.len() - 1];
    let short = [&sound[..], &[1, 2, 3]].concat();
    let late = [&sound[..], &[0; 100], &[7]].concat();
    let repeated = [&sound[..], &sound[..]].concat();
    for (bytes, word) in [
        (&flipped[..], "checksum"),
        (torn, "torn write"),
        (&short, "3 bytes too few for a batch"),
        (&late, "1 byte after them are not zero"),
        (&repeated, "offset 10 where 13 or more is due"),
    ] {
        let (text, result) = dump_bytes(SEGMENT, bytes, true);
        assert!(text.contains("CORRUPT") && text.contains(word), "{word} in {text}");
        assert!(matches!(result, Err(Failure::Message(_))), "{word}: {result:?}");
    }
}

#[test]
fn the_metadata_log_is_decoded_and_a_record_that_is_none_is_named() {
    let config = ConfigRecord {
        resource_type: 2,
        resource_name: "t".to_owned(),
        name: "retention.ms".to_owned(),
        value: Some("1".to_owned()),
    };
    let mut batch = BatchBuilder::new(10);
    batch.push(1000, None, Some(&Record::Config(config).encode()));
    batch.push(1000, None, Some(&Record::NoOp.encode()));
    let name = format!("__cluster_metadata-0/{SEGMENT}");
    let (text, result) = dump_bytes(&name, &batch.finish(), false);
    assert_eq!(result, Ok(()), "{text}");
    assert!(text.contains("Config v0") && text.contains("resource_name=t") && !text.contains("NoOp"), "{text}");
    let mut batch = BatchBuilder::new(10);
    batch.push(1000, None, Some(b"\x01\x63\x00"));
    let (text, result) = dump_bytes(&name, &batch.finish(), false);
    assert!(text.contains("unknown type 99") && result.is_err(), "{text}");
}

#[test]
fn indexes_are_checked_entry_by_entry_and_may_end_in_zeros() {
    let entries: [[u32; 2]; 2] = [[3, 100], [9, 200]];
    let bytes: Vec<u8> = entries.iter().flatten().flat_map(|number| number.to_be_bytes()).collect();
    let padded = [&bytes[..], &[0; 80]].concat();
    let (text, result) = dump_bytes("00000000000000000010.index", &padded, true);
    assert_eq!(result, Ok(()), "{text}");
    assert!(text.contains("offset 19 at position 200") && text.contains("2 entries, 80 bytes of padding"), "{text}");
    let backwards = [&bytes[8..], &bytes[..8], &[1]].concat();
    let (text, result) = dump_bytes("00000000000000000010.index", &backwards, false);
    assert!(text.contains("entry 2: ") && text.contains("1 byte after the last entry") && result.is_err(), "{text}");
    let times: Vec<u8> =
        [1000u64, 900].iter().flat_map(|time| [&time.to_be_bytes()[..], &[0, 0, 0, 5]].concat()).collect();
    let (text, result) = dump_bytes("00000000000000000010.timeindex", &times, true);
    assert!(text.contains("1970-01-01T00:00:01.000Z at offset 15") && result.is_err(), "{text}");
}

#[test]
fn a_producer_snapshot_of_kafka_is_read_and_its_checksum_counts() {
    // Written by Kafka 4.2: one producer that is done.
    let mut bytes = vec![0, 1, 0, 0, 0, 0, 0, 0, 0, 1];
    for number in [5i64.to_be_bytes().to_vec(), vec![0, 4], vec![0xff; 4], vec![0xff; 8], vec![0; 4]] {
        bytes.extend(number);
    }
    bytes.extend([1000i64.to_be_bytes().to_vec(), vec![0; 4], vec![0xff; 8]].concat());
    let crc = crc32c::crc32c(&bytes[6..]);
    bytes[2..6].copy_from_slice(&crc.to_be_bytes());
    let (text, result) = dump_bytes("00000000000000000010.snapshot", &bytes, false);
    assert_eq!(result, Ok(()), "{text}");
    assert!(text.contains("producer 5 epoch 4: no batch in this epoch"), "{text}");
    bytes[12] ^= 1;
    let (text, result) = dump_bytes("00000000000000000010.snapshot", &bytes, false);
    assert!(text.contains("(CRC)") && result.is_err(), "{text}");
}

#[test]
fn text_files_are_checked_line_by_line() {
    for (name, good, bad) in [
        ("leader-epoch-checkpoint", "0\n2\n0 0\n3 17\n", "0\n2\n3 17\n2 18\n"),
        ("recovery-point-offset-checkpoint", "0\n1\nt 0 5\n", "0\n2\nt 0 5\n"),
        ("replication-offset-checkpoint", "", "0\n1\nt zero 5\n"),
        ("log-start-offset-checkpoint", "0\n0\n", "9\n0\n"),
        ("partition.metadata", "version: 0\ntopic_id: yrazyjUrTi6nFH4m7SpBKw", "version: 0\ntopic_id: ?"),
        ("meta.properties", "version=1\ncluster.id=c\nnode.id=1\n", "version=1\n"),
        ("quorum-state", "{\"leaderId\":1,\"leaderEpoch\":1,\"votedId\":-1,\"data_version\":0}", "[1]"),
        (".kafka_cleanshutdown", "", "{"),
    ] {
        let (text, result) = dump_bytes(name, good.as_bytes(), false);
        assert_eq!(result, Ok(()), "{name}: {text}");
        let (text, result) = dump_bytes(name, bad.as_bytes(), false);
        assert!(text.contains("CORRUPT") && result.is_err(), "{name}: {text}");
    }
}

#[test]
fn no_garbage_in_any_kind_of_file_stops_the_dump() {
    let names = [
        SEGMENT,
        "__cluster_metadata-0/00000000000000000010.log",
        "00000000000000000010-0000000001.checkpoint",
        "00000000000000000010.index",
        "00000000000000000010.timeindex",
        "00000000000000000010.txnindex",
        "00000000000000000010.snapshot",
        "leader-epoch-checkpoint",
        "replication-offset-checkpoint",
        "partition.metadata",
        "meta.properties",
        "quorum-state",
    ];
    let mut prng = crate::base::prng::Prng::new(7);
    let sound = batches();
    for name in names {
        for round in 0..60 {
            let mut bytes = if round % 2 == 0 { sound.clone() } else { Vec::new() };
            bytes.extend((0..prng.below(300)).map(|_| prng.next_u64() as u8));
            for _ in 0..prng.below(4) {
                let at = prng.below(bytes.len().max(1) as u64) as usize;
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = prng.next_u64() as u8;
                }
            }
            let (_, result) = dump_bytes(name, &bytes, true);
            assert!(!matches!(result, Err(Failure::OutputClosed | Failure::Reported)), "{name}: {result:?}");
        }
    }
}

#[test]
fn a_folder_is_walked_and_strangers_in_it_are_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let partition = folder.path().join("t-0");
    fs::create_dir(&partition).unwrap();
    fs::write(partition.join(SEGMENT), batches()).unwrap();
    fs::write(partition.join("holiday.jpg"), "x").unwrap();
    let (text, result) = dump_path(folder.path(), false);
    assert_eq!(result, Ok(()));
    assert!(text.contains("2 batches") && !text.contains("holiday"), "{text}");
    let (_, result) = dump_path(&partition.join("holiday.jpg"), false);
    assert!(matches!(result, Err(Failure::Message(message)) if message.contains("no file of a data folder")));
}
