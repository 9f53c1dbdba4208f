//! Record batches: every batch that Kafka's broker stored is read, judged, and built again.
//!
//! Uncompressed batches come back byte for byte; compressed ones with the same records, since compressors may differ.

use std::fs;

use bytes::Bytes;
use kataract::batch::build::{self, BatchBuilder};
use kataract::batch::control::{self, ControlRecord, EndTxn};
use kataract::batch::records::{self, Record};
use kataract::batch::validate::{self, ClientRules};
use kataract::batch::{BatchHeader, Codec, WalkEnd, patch, walk};

use crate::{folder, same, sample};

/// Name, header and bytes of every batch in a file.
fn batches(path: &str) -> Vec<(String, BatchHeader, Bytes)> {
    let bytes = Bytes::from(sample(path));
    let mut found = Vec::new();
    let mut walker = walk(&bytes);
    for (place, header) in walker.by_ref() {
        found.push((format!("{path} at byte {}", place.start), header, bytes.slice(place)));
    }
    assert_eq!((walker.position(), walker.end()), (bytes.len(), Some(WalkEnd::Clean)), "{path}");
    found
}

/// Every file of the data folder that holds batches.
fn files() -> Vec<String> {
    let mut found = vec!["disk/bootstrap.checkpoint".to_owned()];
    for entry in fs::read_dir(folder().join("disk")).expect("samples") {
        let path = entry.expect("an entry").path();
        if !path.is_dir() {
            continue;
        }
        for file in fs::read_dir(&path).expect("a partition").map(|file| file.expect("an entry").path()) {
            let name = file.strip_prefix(folder()).expect("below").to_string_lossy().into_owned();
            if name.ends_with(".log") || name.ends_with(".checkpoint") {
                found.push(name);
            }
        }
    }
    found.sort();
    found
}

fn everything() -> Vec<(String, BatchHeader, Bytes)> {
    let all: Vec<_> = files().iter().flat_map(|path| batches(path)).collect();
    assert!(all.len() > 100, "only {} batches", all.len());
    all
}

#[test]
fn headers_of_stored_batches_are_written_again_and_their_crc_is_right() {
    for (name, header, batch) in everything() {
        same(&name, &header.encode(), &batch[..header.encode().len()]);
        assert!(validate::crc_ok(&batch), "{name}: our CRC is another");
        let mut broken = batch.to_vec();
        let last = broken.len() - 1;
        broken[last] ^= 1;
        assert!(!validate::crc_ok(&broken), "{name}: a flipped bit went unseen");
    }
}

#[test]
fn stored_batches_are_built_again_from_their_records() {
    for (name, header, batch) in everything() {
        let before = records::decode(&batch).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut builder = BatchBuilder::like(&header);
        for record in &before {
            builder.push_record(record);
        }
        let ours = builder.finish();
        if header.codec() == Ok(Codec::None) {
            same(&name, &ours, &batch);
            continue;
        }
        assert!(validate::crc_ok(&ours), "{name}");
        let built = BatchHeader::parse(&ours).expect("a header");
        let wanted = BatchHeader { batch_length: built.batch_length, crc: built.crc, ..header };
        assert_eq!(built, wanted, "{name}");
        assert_eq!(records::decode(&ours).as_ref(), Ok(&before), "{name}");
    }
}

/// What the generator sent as number `n` (`tests/golden/README.md`).
fn generated(n: i64, offset: i64) -> Record {
    let bytes = |text: String| Some(Bytes::from(text));
    let repeat = "abcdefghij".repeat(usize::try_from(n % 7).expect("small"));
    let headers = vec![(Bytes::from("n"), bytes(n.to_string())), (Bytes::from("none"), None)];
    Record {
        offset,
        timestamp: 1_700_000_000_000 + 10 * n,
        key: if n % 5 == 4 { None } else { bytes(format!("key-{n}")) },
        value: if n % 11 == 10 { None } else { bytes(format!("value {n} {repeat}")) },
        headers: if n % 3 == 0 { headers } else { Vec::new() },
    }
}

#[test]
fn records_of_every_codec_are_those_that_the_producer_sent() {
    let plain = ["00000000000000000000", "00000000000000000060", "00000000000000000120", "00000000000000000180"];
    let plain: Vec<String> = plain.iter().map(|base| format!("disk/plain-0/{base}.log")).collect();
    let one = |topic: &str| vec![format!("disk/{topic}-0/00000000000000000000.log")];
    let topics = [
        (plain, Codec::None, 200),
        (one("gzip"), Codec::Gzip, 60),
        (one("snappy"), Codec::Snappy, 60),
        (one("lz4"), Codec::Lz4, 60),
        (one("zstd"), Codec::Zstd, 60),
        (one("idempotent"), Codec::None, 130),
    ];
    for (files, codec, count) in topics {
        let mut next = 0;
        for (name, header, batch) in files.iter().flat_map(|path| batches(path)) {
            assert_eq!(header.codec(), Ok(codec), "{name}");
            for record in records::decode(&batch).unwrap_or_else(|error| panic!("{name}: {error}")) {
                assert_eq!(record, generated(next, next), "{name}");
                next += 1;
            }
        }
        assert_eq!(next, count, "{files:?}");
    }
}

#[test]
fn batches_of_a_java_producer_are_accepted_as_they_came() {
    let rules = ClientRules {
        max_batch_bytes: 1_048_588,
        compacted: false,
        timestamp_type_log_append: false,
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: 3_600_000,
        now_ms: 1_800_000_000_000,
        zstd_allowed: true,
    };
    for topic in ["plain", "gzip", "snappy", "lz4", "zstd", "idempotent"] {
        for (name, header, batch) in batches(&format!("disk/{topic}-0/00000000000000000000.log")) {
            let mut sent = batch.to_vec();
            // Base offset and leader epoch are the broker's; a Java client sends 0 and -1.
            patch::stamp(&mut sent, 0, -1);
            let accepted = validate::check_client_batch(&sent, &rules).unwrap_or_else(|why| panic!("{name}: {why:?}"));
            assert_eq!(accepted.max_timestamp, header.max_timestamp, "{name}");
            patch::stamp(&mut sent, header.base_offset, header.leader_epoch);
            same(&name, &sent, &batch);
        }
    }
}

#[test]
fn recompressed_batches_keep_their_records() {
    for topic in ["plain", "gzip", "snappy", "lz4", "zstd"] {
        for (name, _, batch) in batches(&format!("disk/{topic}-0/00000000000000000000.log")) {
            let before = records::decode(&batch).expect("read above");
            for codec in Codec::ALL {
                let other = build::recompress(&batch, codec, None).unwrap_or_else(|error| panic!("{name}: {error}"));
                assert!(validate::crc_ok(&other), "{name} in {codec:?}");
                assert_eq!(records::decode(&other).as_ref(), Ok(&before), "{name} in {codec:?}");
            }
        }
    }
}

#[test]
fn control_batches_are_understood_and_written_again() {
    let (mut commits, mut aborts, mut leaders, mut edges) = (0, 0, 0, 0);
    for (name, header, batch) in everything().into_iter().filter(|(_, header, _)| header.is_control()) {
        let parsed = control::parse(&batch).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        let list: Vec<ControlRecord> = parsed.into_iter().map(|(_, record)| record).collect();
        let ours = match list[..] {
            [ControlRecord::EndTxn(marker)] => {
                *if marker.commit { &mut commits } else { &mut aborts } += 1;
                let mut ours = marker_like(&header, marker).to_vec();
                patch::stamp(&mut ours, header.base_offset, header.leader_epoch);
                Bytes::from(ours)
            }
            _ => {
                leaders += list.iter().filter(|record| matches!(record, ControlRecord::LeaderChange(_))).count();
                edges += list.iter().filter(|r| matches!(r, ControlRecord::SnapshotHeader { .. })).count();
                control::quorum_batch(header.base_offset, header.leader_epoch, header.base_timestamp, &list)
            }
        };
        same(&format!("{name}: {list:?}"), &ours, &batch);
    }
    assert!(commits >= 2 && aborts >= 2 && leaders >= 2 && edges >= 2, "{commits} {aborts} {leaders} {edges}");
}

fn marker_like(header: &BatchHeader, marker: EndTxn) -> Bytes {
    control::end_txn_marker(header.producer_id, header.producer_epoch, marker, header.base_timestamp)
}
