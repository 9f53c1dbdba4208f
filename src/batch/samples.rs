//! Bytes that Apache Kafka 4.2 wrote, as the oracle of the tests of this floor.

use bytes::Bytes;

use super::compress::Codec;
use super::control::{self, ControlRecord};
use super::header::BatchHeader;
use super::validate::{ClientRules, check_client_batch, crc_ok};
use super::{build, records, walk};
use crate::base::ids::NodeId;

/// Two records (keys key-a and key-b, headers h1 and h2) from the console producer, with each codec.
const PRODUCED: [(Codec, &str); 5] = [
    (
        Codec::None,
        concat!(
            "0000000000000000000000a10000000002e0282cd6000000000001000001a1fccac70d000001a1fccac74300000000000000",
            "0000000000000000000002700000000a6b65792d614276616c7565206f6e65206f6e65206f6e65206f6e65206f6e65206f6e",
            "65206f6e65040468310476310468320476326c006c020a6b65792d624a76616c75652074776f2074776f2074776f2074776f",
            "2074776f2074776f2074776f2074776f02046831047631"
        ),
    ),
    (
        Codec::Gzip,
        concat!(
            "0000000000000000000000780000000002335f1eda000100000001000001a1fccaddd6000001a1fccadde400000000000000",
            "01000000000000000000021f8b08000000000000ff2b606060e0ca4eadd44d742a4bcc294d55c8cfc3895958320c59ca0c59",
            "328c58ca8c72186498c01a93bc201a4bcaf3f16126886600ae3554db70000000"
        ),
    ),
    (
        Codec::Snappy,
        concat!(
            "00000000000000000000008600000000024e19c3c7000200000001000001a1fccaed7a000001a1fccaedc600000000000000",
            "020000000000000000000282534e41505059000000000100000001000000417148700000000a6b65792d614276616c756520",
            "6f6e62040044040468310476310468320476326e00980102053a04624a093a0874776f6e04001802046831047631"
        ),
    ),
    (
        Codec::Lz4,
        concat!(
            "0000000000000000000000810000000002594c127d000300000001000001a1fccafa5a000001a1fccafa8f00000000000000",
            "030000000000000000000204224d1860408241000000ff04700000000a6b65792d614276616c7565206f6e040006f1020404",
            "68310476310468320476326c006a02390022624a39003f74776f040009700204683104763100000000"
        ),
    ),
    (
        Codec::Zstd,
        concat!(
            "00000000000000000000007b0000000002cab16cd9000400000001000001a1fccb0619000001a1fccb063f00000000000000",
            "040000000000000000000228b52ffd0058f401000403700000000a6b65792d614276616c7565206f6e040468310476310468",
            "320476326c004c02624a74776f0204683104763104003b36c0e05c5deb8b0b03010000"
        ),
    ),
];

/// The first batch of a metadata snapshot: its header record.
const SNAPSHOT_HEADER: &str = concat!(
    "0000000000000000000000470000000002eebb7ee0002000000000000001a1fcc5fbdb000001a1fcc5fbdbffffffffffffff",
    "ffffffffffffff000000012a000000080000000316000000000000000000000000"
);

/// A leader change of a quorum of one.
const LEADER_CHANGE: &str = concat!(
    "00000000000000000000004f0000000102e660fbe6002000000000000001a1fcc6050e000001a1fcc6050effffffffffffff",
    "ffffffffffffff000000013a0000000800000002260000000000000200000000000200000000000000"
);

/// The last batch of a metadata snapshot: its footer record.
const SNAPSHOT_FOOTER: &str = concat!(
    "00000000000000070000003f000000000247be6064002000000000000001a1fcc5fbf5000001a1fcc5fbf5ffffffffffffff",
    "ffffffffffffff000000011a00000008000000040600000000"
);

/// A commit marker of transaction version 2.
const COMMIT_MARKER: &str = concat!(
    "00000000000000200000004200000000022e5898c8003000000000000001a1fccb1373000001a1fccb137300000000000000",
    "050001ffffffff000000012000000008000000010c00000000000000"
);

fn bytes(hex: &str) -> Bytes {
    let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex");
    (0..hex.len()).step_by(2).map(digit).collect()
}

#[test]
fn batches_of_the_java_producer_are_accepted_and_read_with_every_codec() {
    let rules = ClientRules {
        max_batch_bytes: 1000,
        compacted: true,
        timestamp_type_log_append: false,
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: i64::MAX,
        now_ms: 0,
        zstd_allowed: true,
    };
    for (codec, hex) in PRODUCED {
        let batch = bytes(hex);
        let header = check_client_batch(&batch, &rules).expect("accepted");
        assert_eq!(BatchHeader::parse(&batch), Some(header), "{codec}: the max timestamp is true");
        assert_eq!((header.codec(), header.record_count, header.last_sequence()), (Ok(codec), 2, 1));
        let all = records::decode(&batch).expect("records");
        assert_eq!(all[0].key.as_deref(), Some(&b"key-a"[..]));
        assert_eq!(all[0].value.as_deref(), Some(&b"value one one one one one one one"[..]));
        assert_eq!(all[0].headers[1], (Bytes::from_static(b"h2"), Some(Bytes::from_static(b"v2"))));
        assert_eq!(all[1].timestamp, header.max_timestamp);
        assert_eq!(records::max_timestamp_offset(&batch), Ok(Some((1, header.max_timestamp))));
        let again = build::recompress(&batch, Codec::Zstd, None).expect("recompressed");
        assert_eq!(records::decode(&again).as_ref(), Ok(&all));
    }
}

#[test]
fn an_uncompressed_batch_is_built_byte_for_byte_as_java_builds_it() {
    let batch = bytes(PRODUCED[0].1);
    let header = BatchHeader::parse(&batch).expect("header");
    let mut builder = build::BatchBuilder::new(0).producer(header.producer_id, header.producer_epoch, 0);
    for record in records::decode(&batch).expect("records") {
        builder.push_record(&record);
    }
    assert_eq!(builder.finish(), batch);
}

/// Offset and content of a control batch, and a batch made from them.
fn control_record(hex: &str) -> (Bytes, Bytes, ControlRecord) {
    let batch = bytes(hex);
    assert!(crc_ok(&batch));
    let header = BatchHeader::parse(&batch).expect("header");
    let mut all = control::parse(&batch).expect("control records");
    assert_eq!(all.len(), 1);
    let (offset, record) = all.remove(0);
    let made = control::quorum_batch(offset, header.leader_epoch, header.base_timestamp, std::slice::from_ref(&record));
    (batch, made, record)
}

#[test]
fn control_records_of_the_quorum_are_read_and_written_as_kafka_does() {
    let (batch, made, record) = control_record(LEADER_CHANGE);
    assert_eq!(made, batch);
    let ControlRecord::LeaderChange(change) = record else { panic!("{record:?}") };
    assert_eq!(change, control::LeaderChange::new(NodeId(0), &[NodeId(0)], &[NodeId(0)]));
    let (batch, made, record) = control_record(SNAPSHOT_HEADER);
    assert_eq!(made, batch);
    assert_eq!(record, ControlRecord::SnapshotHeader { last_contained_log_timestamp: 0 });
    let (batch, made, record) = control_record(SNAPSHOT_FOOTER);
    assert_eq!(made, batch);
    assert_eq!(record, ControlRecord::SnapshotFooter);
}

#[test]
fn transaction_markers_are_read_and_written_as_kafka_does() {
    let batch = bytes(COMMIT_MARKER);
    let header = BatchHeader::parse(&batch).expect("header");
    assert!(control::is_marker(&header));
    let marker = control::parse_end_txn(&batch).expect("control batch").expect("marker");
    assert!(marker.commit);
    let made = control::end_txn_marker(header.producer_id, header.producer_epoch, marker, header.base_timestamp);
    let mut made = made.to_vec();
    super::patch::stamp(&mut made, header.base_offset, header.leader_epoch);
    assert_eq!(made, batch);
}

#[test]
fn kafkas_batches_behind_each_other_are_walked_whole() {
    let mut log = Vec::new();
    for (_, hex) in PRODUCED {
        log.extend_from_slice(&bytes(hex));
    }
    assert_eq!(walk(&log).count(), 5);
    assert_eq!(walk(&log).finish(), (log.len(), walk::WalkEnd::Clean));
}
