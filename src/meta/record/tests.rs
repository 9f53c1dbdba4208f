//! The constants are record values out of the metadata log of Apache Kafka 4.2.0 (one node, and three nodes of which
//! two were stopped).

use super::*;
use crate::base::ids::Uuid;
use crate::base::prng::Prng;

const BEGIN: &str = "01170001001212426f6f747374726170207265636f726473";
const END: &str = "01180000";
const NO_OP: &str = "01140000";
const FEATURE: &str = "010c00116d657461646174612e76657273696f6e001d00";
const CONFIG: &str = "0104000401146d696e2e696e73796e632e7265706c69636173023100";
const CONTROLLER: &str = "011b00000000004fe9099bb17d4c0ab0d9b74246de29e400020b434f4e54524f4c4c45520a3132372e302e\
    302e317209000000080e67726f75702e76657273696f6e00000001000e6b726166742e76657273696f6e0000000100116d65746164617461\
    2e76657273696f6e0007001d000e73686172652e76657273696f6e00000001001073747265616d732e76657273696f6e0000000100147472\
    616e73616374696f6e2e76657273696f6e000000020021656c696769626c652e6c65616465722e7265706c696361732e76657273696f6e00\
    0000010000";
const BROKER: &str = "0100030000000000f145fdfc856d45f19cc9d34836d1bef0000000000000000c020a504c41494e544558540a3132\
    372e302e302e317208000000080e67726f75702e76657273696f6e00000001000e6b726166742e76657273696f6e0000000100116d657461\
    646174612e76657273696f6e0007001d000e73686172652e76657273696f6e00000001001073747265616d732e76657273696f6e00000001\
    00147472616e73616374696f6e2e76657273696f6e000000020021656c696769626c652e6c65616465722e7265706c696361732e76657273\
    696f6e0000000100067261636b31010001001102e4e94694c9655f3c84505bec28ee437e";
const UNFENCE: &str = "01110000000000000000000000000c010001ff";
const SHUTDOWN: &str = "01110100000001000000000000000c01010101";
const TOPIC: &str = "01020006706c61696e7560ec29b09d431882cad00c0b279a7a00";
const PARTITION: &str = "010302000000007560ec29b09d431882cad00c0b279a7a020000000002000000000101000000000000000000\
    00000002e4e94694c9655f3c84505bec28ee437e00";
const CLEAR_ELR: &str = "011c00076366676d693200";
const REMOVE_TOPIC: &str = "0109006f116fa0f0c6430eb3f22686e303993500";
const SCRAM_REMOVAL: &str = "01160002750100";
const PRODUCER_IDS: &str = "010f0000000000000000000000000c00000000000003e800";
const CHANGE_OF_ISR: &str = "01050200000000cda2bb1fdcbd4b65a34888528f498b660100050200000000";
const CHANGE_OF_LEADER: &str = "01050200000001cda2bb1fdcbd4b65a34888528f498b660200050200000002010400000002";

const ALL: [&str; 17] = [
    BEGIN,
    END,
    NO_OP,
    FEATURE,
    CONFIG,
    CONTROLLER,
    BROKER,
    UNFENCE,
    SHUTDOWN,
    TOPIC,
    PARTITION,
    CLEAR_ELR,
    REMOVE_TOPIC,
    SCRAM_REMOVAL,
    PRODUCER_IDS,
    CHANGE_OF_ISR,
    CHANGE_OF_LEADER,
];

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).expect("hex")).collect()
}

fn decode(hex: &str) -> Record {
    Record::decode(&bytes(hex)).expect("a record that Kafka wrote")
}

#[test]
fn what_kafka_wrote_comes_out_byte_for_byte_after_decoding_and_encoding() {
    for hex in ALL {
        let record = decode(hex);
        assert_eq!(record.encode(), bytes(hex), "{record:?}");
    }
}

#[test]
fn a_broker_registration_of_kafka_reads_field_by_field() {
    let Record::RegisterBroker(broker) = decode(BROKER) else { panic!("not a broker") };
    assert_eq!((broker.version, broker.broker, broker.epoch), (3, 0, 12));
    assert_eq!(broker.endpoints.len(), 1);
    assert_eq!(broker.endpoints[0].name, "PLAINTEXT");
    assert_eq!((broker.endpoints[0].host.as_str(), broker.endpoints[0].port), ("127.0.0.1", 29192));
    assert_eq!(broker.rack.as_deref(), Some("rack1"));
    assert!(broker.fenced && !broker.in_controlled_shutdown);
    assert_eq!(broker.log_dirs, vec![Uuid::parse("5OlGlMllXzyEUFvsKO5Dfg").expect("uuid")]);
    assert!(broker.features.contains(&FeatureRange { name: "metadata.version".into(), min: 7, max: 29 }));
}

#[test]
fn partition_changes_of_kafka_carry_only_what_changed() {
    let Record::PartitionChange(change) = decode(CHANGE_OF_ISR) else { panic!("not a change") };
    assert_eq!(change.isr, Some(vec![0]));
    assert_eq!((change.leader, change.recovery_state), (LEADER_UNCHANGED, RECOVERY_UNCHANGED));
    let Record::PartitionChange(change) = decode(CHANGE_OF_LEADER) else { panic!("not a change") };
    assert_eq!((change.isr, change.leader, change.replicas), (Some(vec![2]), 2, None));
}

#[test]
fn a_record_that_is_not_acted_upon_keeps_its_body() {
    assert_eq!(
        decode(SCRAM_REMOVAL),
        Record::Other { api_key: 22, version: 0, body: Bytes::copy_from_slice(&[2, b'u', 1, 0]) }
    );
}

#[test]
fn every_optional_field_survives_the_round_trip() {
    let topic = Uuid([7; 16]);
    let change = PartitionChangeRecord {
        isr: Some(vec![]),
        leader: LEADER_NONE,
        replicas: Some(vec![1, 2]),
        removing: Some(vec![1]),
        adding: Some(vec![2]),
        recovery_state: 1,
        elr: Some(vec![2]),
        last_known_elr: Some(vec![1]),
        directories: Some(vec![Uuid([1; 16])]),
        ..PartitionChangeRecord::unchanged(topic, 3)
    };
    let records = [
        Record::PartitionChange(change),
        Record::AbortTransaction { reason: Some("why".into()) },
        Record::BeginTransaction { name: None },
        Record::Config(ConfigRecord { resource_type: 2, resource_name: "t".into(), name: "k".into(), value: None }),
        Record::BrokerRegistrationChange(BrokerRegistrationChangeRecord {
            version: 3,
            broker: 1,
            epoch: 2,
            fenced: 1,
            in_controlled_shutdown: 1,
            log_dirs: vec![Uuid([2; 16])],
            cordoned_log_dirs: Some(vec![]),
        }),
        Record::FenceBroker(BrokerEpochRecord { broker: 1, epoch: 5 }),
    ];
    for record in records {
        assert_eq!(Record::decode(&record.encode()), Ok(record));
    }
}

#[test]
fn an_unknown_tag_is_skipped() {
    // RemoveTopic with one unknown tag 9 of two bytes.
    let mut hostile = bytes(REMOVE_TOPIC);
    hostile.pop();
    hostile.extend_from_slice(&[1, 9, 2, 0xaa, 0xbb]);
    assert_eq!(Record::decode(&hostile), Ok(decode(REMOVE_TOPIC)));
}

#[test]
fn a_record_cut_at_any_byte_is_refused() {
    for hex in ALL {
        let whole = bytes(hex);
        for len in 0..whole.len() {
            let cut = Record::decode(&whole[..len]);
            if let Ok(Record::Other { .. }) = cut {
                continue;
            }
            assert!(cut.is_err(), "{hex} cut to {len} bytes: {cut:?}");
        }
    }
}

#[test]
fn a_count_that_promises_more_than_the_bytes_hold_is_refused_without_allocating_for_it() {
    // A partition record whose replica list claims 2^32 - 2 elements.
    let mut hostile = bytes("01030200000000");
    hostile.extend_from_slice(&[0; 16]);
    hostile.extend_from_slice(&[0xff, 0xff, 0xff, 0xff, 0x0f]);
    assert_eq!(Record::decode(&hostile), Err(RecordError::Truncated));
}

#[test]
fn foreign_frames_types_versions_and_trailing_bytes_are_named() {
    assert_eq!(Record::decode(&[2, 20, 0, 0]), Err(RecordError::FrameVersion(2)));
    assert_eq!(Record::decode(&[1, 6, 0, 0]), Err(RecordError::UnknownType(6)));
    assert_eq!(Record::decode(&[1, 3, 3, 0]), Err(RecordError::UnsupportedVersion { api_key: 3, version: 3 }));
    assert_eq!(Record::decode(&[1, 20, 0, 0, 0]), Err(RecordError::TrailingBytes(1)));
    assert_eq!(
        Record::decode(&[1, 0xff, 0xff, 0xff, 0xff, 0x7f]),
        Err(RecordError::Malformed("varint longer than 32 bits"))
    );
}

#[test]
fn random_damage_never_panics() {
    let mut prng = Prng::new(4);
    for round in 0..20_000 {
        let mut damaged = bytes(ALL[round % ALL.len()]);
        for _ in 0..=prng.below(3) {
            let at = prng.below(damaged.len() as u64) as usize;
            damaged[at] = prng.next_u64() as u8;
        }
        if let Ok(record) = Record::decode(&damaged) {
            let again = Record::decode(&record.encode());
            assert_eq!(again, Ok(record));
        }
    }
}
