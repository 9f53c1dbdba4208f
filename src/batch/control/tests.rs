//! Tests of control records; `samples.rs` compares them with Kafka's own.

use super::*;
use crate::base::prng::Prng;

fn all_kinds() -> Vec<ControlRecord> {
    let voter = |id: i32| Voter {
        id: NodeId(id),
        directory_id: Uuid([id as u8; 16]),
        endpoints: vec![("CONTROLLER".to_owned(), "host-name".to_owned(), 9093), ("B".to_owned(), String::new(), 0)],
        kraft_versions: (0, 1),
    };
    let ids = |version: i16| -> Vec<_> {
        (1..200).map(|id| (NodeId(id), if version == 0 { Uuid::ZERO } else { Uuid([id as u8; 16]) })).collect()
    };
    let change = |version| {
        let (voters, granting_voters) = (ids(version), ids(version)[..2].to_vec());
        ControlRecord::LeaderChange(LeaderChange { version, leader: NodeId(3), voters, granting_voters })
    };
    vec![
        ControlRecord::EndTxn(EndTxn { commit: true, coordinator_epoch: 4 }),
        ControlRecord::EndTxn(EndTxn { commit: false, coordinator_epoch: -1 }),
        change(0),
        change(1),
        ControlRecord::SnapshotHeader { last_contained_log_timestamp: 1_700_000_000_000 },
        ControlRecord::SnapshotFooter,
        ControlRecord::KRaftVersion { kraft_version: 1 },
        ControlRecord::Voters(vec![voter(1), voter(2), voter(3)]),
    ]
}

#[test]
fn every_control_record_reads_back_and_shares_a_batch_with_others() {
    let records = all_kinds();
    for record in &records {
        let (key, value) = encode(record);
        assert_eq!(decode(&key, &value).as_ref(), Ok(record));
    }
    let batch = quorum_batch(10, 3, 1000, &records);
    let parsed = parse(&batch).expect("control batch");
    assert_eq!(parsed.iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), (10..18).collect::<Vec<_>>());
    assert!(parsed.into_iter().map(|(_, record)| record).eq(records));
    assert!(!is_marker(&BatchHeader::parse(&batch).expect("header")), "no producer, so no marker");
}

#[test]
fn a_marker_carries_its_producer_and_takes_one_offset() {
    let marker = EndTxn { commit: false, coordinator_epoch: 9 };
    let batch = end_txn_marker(77, 3, marker, 5);
    let header = BatchHeader::parse(&batch).expect("header");
    assert!(header.is_control() && header.is_transactional() && is_marker(&header));
    assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (77, 3, -1));
    assert_eq!((header.record_count, header.last_offset_delta), (1, 0));
    assert_eq!(parse_end_txn(&batch), Ok(Some(marker)));
}

#[test]
fn unknown_kinds_are_stepped_over_and_unknown_versions_are_not() {
    assert_eq!(decode(&[0, 0, 0, 99], &[]), Ok(ControlRecord::Unknown { kind: 99 }));
    let (key, mut value) = encode(&ControlRecord::SnapshotFooter);
    value[1] = 1;
    let expected = Err(ControlError::Version { kind: TYPE_SNAPSHOT_FOOTER, version: 1 });
    assert_eq!(decode(&key, &value), expected);
    assert_eq!(decode(&[0, 0, 0], &[]), Err(ControlError::Malformed { kind: -1 }));
    let plain = BatchBuilder::new(0).finish();
    assert_eq!(parse(&plain), Err(ControlError::NotControl));
    let empty = BatchBuilder::new(0).control(true).producer(1, 0, -1).finish();
    assert_eq!(parse_end_txn(&empty), Ok(None), "compaction may leave an empty control batch");
}

#[test]
fn broken_control_values_never_panic_and_claim_no_memory() {
    let mut prng = Prng::new(2);
    for record in all_kinds() {
        let (key, good) = encode(&record);
        for cut in 0..good.len() {
            assert!(decode(&key, &good[..cut]).is_err(), "{record:?} cut at {cut}");
        }
        for _ in 0..500 {
            let mut bad = good.clone();
            let at = prng.below(bad.len() as u64) as usize;
            bad[at] = prng.next_u64() as u8;
            let _ = decode(&key, &bad);
        }
    }
    // A voter list that claims 2^32 − 2 elements.
    let claim = [0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f];
    assert!(decode(&[0, 0, 0, TYPE_KRAFT_VOTERS as u8], &claim).is_err());
}
