//! Round trips against the generated codec at every version, and hostile bytes.

use bytes::{Buf, BytesMut};
use kafka_protocol::messages::{self, BrokerId, ResponseHeader, TopicName, fetch_request, fetch_response};
use kafka_protocol::protocol::{Decodable, Encodable};

use super::*;
use crate::base::prng::Prng;
use crate::port::range::Part;
use crate::wire::{CurrentLeader, ErrorCode, NodeEndpoint, to_message_uuid};

const ID: Uuid = Uuid([7; 16]);
const DIRECTORY: Uuid = Uuid([9; 16]);

fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

fn generated_partition(version: i16, index: i32) -> fetch_request::FetchPartition {
    let mut partition = fetch_request::FetchPartition::default()
        .with_partition(index)
        .with_current_leader_epoch(6)
        .with_fetch_offset(100)
        .with_log_start_offset(20)
        .with_partition_max_bytes(1_048_576);
    if version >= 12 {
        partition = partition.with_last_fetched_epoch(5).with_unknown_tagged_field(50, Bytes::from_static(b"?"));
    }
    if version >= 17 {
        partition.replica_directory_id = to_message_uuid(DIRECTORY);
    }
    if version >= 18 && index == 0 {
        partition.high_watermark = 90;
    }
    partition
}

/// A follower's request as the generated client codec writes it.
fn generated_request(version: i16) -> messages::FetchRequest {
    let mut topic = fetch_request::FetchTopic::default()
        .with_partitions(vec![generated_partition(version, 0), generated_partition(version, 1)]);
    let mut forgotten = fetch_request::ForgottenTopic::default().with_partitions(vec![3, 4]);
    if version >= 13 {
        topic.topic_id = to_message_uuid(ID);
        forgotten.topic_id = to_message_uuid(ID);
    } else {
        topic.topic = TopicName(text("orders"));
        forgotten.topic = TopicName(text("orders"));
    }
    let mut request = messages::FetchRequest::default()
        .with_max_wait_ms(500)
        .with_min_bytes(1)
        .with_max_bytes(52_428_800)
        .with_isolation_level(1)
        .with_topics(vec![topic]);
    if version >= 7 {
        request = request.with_session_id(77).with_session_epoch(3).with_forgotten_topics_data(vec![forgotten]);
    }
    if version >= 11 {
        request.rack_id = text("rack");
    }
    if version >= 12 {
        request.cluster_id = Some(text("cluster"));
    }
    if version >= 15 {
        request.replica_state =
            fetch_request::ReplicaState::default().with_replica_id(BrokerId(2)).with_replica_epoch(31);
    } else {
        request.replica_id = BrokerId(2);
    }
    request
}

fn encoded_request(version: i16) -> Bytes {
    let mut body = BytesMut::new();
    generated_request(version).encode(&mut body, version).expect("encodes");
    body.freeze()
}

fn expected_partition(version: i16, index: i32) -> FetchPartition {
    FetchPartition {
        index,
        current_leader_epoch: if version >= 9 { 6 } else { -1 },
        fetch_offset: 100,
        last_fetched_epoch: if version >= 12 { 5 } else { -1 },
        log_start_offset: if version >= 5 { 20 } else { -1 },
        partition_max_bytes: 1_048_576,
        replica_directory_id: if version >= 17 { DIRECTORY } else { Uuid::ZERO },
        high_watermark: if version >= 18 && index == 0 { 90 } else { i64::MAX },
    }
}

#[test]
fn requests_of_every_version_are_read_with_what_the_version_has() {
    for version in 4..=18 {
        let topic = if version >= 13 { TopicRef::Id(ID) } else { TopicRef::named("orders") };
        let forgotten = ForgottenTopic { topic: topic.clone(), partitions: vec![3, 4] };
        let expected = FetchRequest {
            cluster_id: (version >= 12).then(|| text("cluster")),
            replica_id: 2,
            replica_epoch: if version >= 15 { 31 } else { -1 },
            max_wait_ms: 500,
            min_bytes: 1,
            max_bytes: 52_428_800,
            isolation_level: 1,
            session_id: if version >= 7 { 77 } else { 0 },
            session_epoch: if version >= 7 { 3 } else { -1 },
            topics: vec![FetchTopic { topic, partitions: (0..2).map(|i| expected_partition(version, i)).collect() }],
            forgotten_topics: if version >= 7 { vec![forgotten] } else { vec![] },
            rack_id: text(if version >= 11 { "rack" } else { "" }),
        };
        assert_eq!(decode_request(version, &encoded_request(version)), Ok(expected), "{version}");
    }
}

#[test]
fn a_consumer_request_has_no_replica_and_no_tags() {
    let mut request = generated_request(18);
    request.replica_state = Default::default();
    request.cluster_id = None;
    let mut body = BytesMut::new();
    request.encode(&mut body, 18).expect("encodes");
    let request = decode_request(18, &body.freeze()).expect("decodes");
    assert_eq!((request.replica_id, request.replica_epoch, request.cluster_id), (-1, -1, None));
}

#[test]
fn a_tagged_field_of_another_size_than_its_type_is_refused() {
    let body = encoded_request(17);
    // Tag 0 of 16 bytes: the directory id. Announce 17.
    let at = body.windows(3).position(|window| window == [0, 16, 9]).expect("the tag");
    let mut wrong = body.to_vec();
    wrong[at + 1] = 17;
    let refused = decode_request(17, &Bytes::from(wrong));
    assert_eq!(refused, Err(WireError::TaggedFieldSize { tag: 0, size: 17 }));
}

fn response(version: i16) -> FetchResponse {
    let topic = if version >= 13 { TopicRef::Id(ID) } else { TopicRef::named("orders") };
    let full = FetchPartitionResponse {
        high_watermark: 200,
        last_stable_offset: 150,
        log_start_offset: 20,
        aborted_transactions: Some(vec![
            AbortedTransaction { producer_id: 5, first_offset: 110 },
            AbortedTransaction { producer_id: 6, first_offset: 120 },
        ]),
        preferred_read_replica: if version >= 11 { 3 } else { -1 },
        records: ["first batch ", "", "second batch"].map(|text| Bytes::from(text).into()).into(),
        ..FetchPartitionResponse::failed(0, ErrorCode::None)
    };
    let empty = FetchPartitionResponse {
        high_watermark: 10,
        last_stable_offset: 10,
        log_start_offset: 0,
        aborted_transactions: Some(vec![]),
        ..FetchPartitionResponse::failed(1, ErrorCode::None)
    };
    let tagged = FetchPartitionResponse {
        diverging_epoch: Some(EpochEndOffset { epoch: 4, end_offset: 99 }),
        current_leader: Some(CurrentLeader { leader_id: 3, leader_epoch: 7 }),
        snapshot_id: Some(SnapshotId { end_offset: 1000, epoch: 2 }),
        ..FetchPartitionResponse::failed(2, ErrorCode::NotLeaderOrFollower)
    };
    FetchResponse {
        throttle_time_ms: 12,
        error: ErrorCode::None,
        session_id: if version >= 7 { 77 } else { 0 },
        topics: vec![FetchTopicResponse { topic, partitions: vec![full, empty, tagged] }],
        node_endpoints: vec![NodeEndpoint { node_id: 3, host: "c.example".to_owned(), port: 9093, rack: None }],
    }
}

/// The same answer in the generated type.
fn generated_response(version: i16) -> messages::FetchResponse {
    use fetch_response::{
        AbortedTransaction, EpochEndOffset, LeaderIdAndEpoch, NodeEndpoint, PartitionData, SnapshotId,
    };
    let aborted = |producer: i64, offset| {
        AbortedTransaction::default().with_producer_id(messages::ProducerId(producer)).with_first_offset(offset)
    };
    let full = PartitionData::default()
        .with_partition_index(0)
        .with_high_watermark(200)
        .with_last_stable_offset(150)
        .with_log_start_offset(20)
        .with_aborted_transactions(Some(vec![aborted(5, 110), aborted(6, 120)]))
        .with_preferred_read_replica(BrokerId(if version >= 11 { 3 } else { -1 }))
        .with_records(Some(Bytes::from_static(b"first batch second batch")));
    let empty = PartitionData::default()
        .with_partition_index(1)
        .with_high_watermark(10)
        .with_last_stable_offset(10)
        .with_log_start_offset(0)
        .with_aborted_transactions(Some(vec![]))
        .with_preferred_read_replica(BrokerId(-1))
        .with_records(Some(Bytes::new()));
    let mut tagged = PartitionData::default()
        .with_partition_index(2)
        .with_error_code(6)
        .with_high_watermark(-1)
        .with_last_stable_offset(-1)
        .with_log_start_offset(-1)
        .with_aborted_transactions(None)
        .with_preferred_read_replica(BrokerId(-1))
        .with_records(Some(Bytes::new()));
    if version >= 12 {
        tagged = tagged
            .with_diverging_epoch(EpochEndOffset::default().with_epoch(4).with_end_offset(99))
            .with_current_leader(LeaderIdAndEpoch::default().with_leader_id(BrokerId(3)).with_leader_epoch(7))
            .with_snapshot_id(SnapshotId::default().with_end_offset(1000).with_epoch(2));
    }
    let mut topic = fetch_response::FetchableTopicResponse::default().with_partitions(vec![full, empty, tagged]);
    if version >= 13 {
        topic.topic_id = to_message_uuid(ID);
    } else {
        topic.topic = TopicName(text("orders"));
    }
    let mut response = messages::FetchResponse::default().with_throttle_time_ms(12).with_responses(vec![topic]);
    if version >= 7 {
        response.session_id = 77;
    }
    if version >= 16 {
        let node = NodeEndpoint::default().with_node_id(BrokerId(3)).with_host(text("c.example")).with_port(9093);
        response.node_endpoints = vec![node];
    }
    response
}

#[test]
fn responses_of_every_version_have_the_bytes_of_the_generated_codec() {
    for version in 4..=18 {
        let parts = encode_response(version, 5, &response(version)).expect("encodes");
        let mut bytes = BytesMut::from(Part::join(&parts).expect("memory"));
        assert_eq!(bytes.get_i32() as usize, bytes.len(), "the length counts what follows it");
        let header = ResponseHeader::decode(&mut bytes, i16::from(version >= 12)).expect("header");
        assert_eq!(header.correlation_id, 5);
        let mut theirs = BytesMut::new();
        generated_response(version).encode(&mut theirs, version).expect("encodes");
        assert_eq!(bytes, theirs, "{version}");
        let again = messages::FetchResponse::decode(&mut bytes, version).expect("reads back");
        assert!(bytes.is_empty() && again.responses.len() == 1);
    }
}

#[test]
fn record_slices_are_sent_as_they_are_between_encoded_parts() {
    for version in 4..=18 {
        let answer = response(version);
        let parts = encode_response(version, 5, &answer).expect("encodes");
        assert_eq!(parts.len(), 4, "fields, two slices, fields");
        let records = &answer.topics[0].partitions[0].records;
        let start = |part: &Part| part.memory().expect("memory").as_ptr();
        assert_eq!(start(&parts[1]), start(&records[0]));
        assert_eq!(start(&parts[2]), start(&records[2]));
    }
}

#[test]
fn an_empty_partition_has_records_of_length_zero_and_null_aborted_transactions_when_uncommitted() {
    let fetched = FetchPartitionResponse::failed(0, ErrorCode::None);
    let topic = FetchTopicResponse { topic: TopicRef::named("t"), partitions: vec![fetched] };
    let answer = FetchResponse { topics: vec![topic], ..FetchResponse::default() };
    for version in 4..=12 {
        let parts = encode_response(version, 5, &answer).expect("encodes");
        let mut body = Part::join(&parts).expect("memory").slice(if version >= 12 { 9.. } else { 8.. });
        let theirs = messages::FetchResponse::decode(&mut body, version).expect("reads back");
        let partition = &theirs.responses[0].partitions[0];
        assert_eq!(partition.records, Some(Bytes::new()));
        assert_eq!(partition.aborted_transactions, None);
    }
}

#[test]
fn a_topic_named_the_wrong_way_for_its_version_is_an_error() {
    let mismatch = |version| Err(WireError::TopicRefMismatch { api_key: 1, version });
    assert_eq!(encode_response(13, 5, &response(12)), mismatch(13));
    assert_eq!(encode_response(12, 5, &response(13)), mismatch(12));
}

#[test]
fn counts_that_cannot_fit_are_refused_before_anything_is_allocated() {
    // Replica, wait, least bytes, most bytes, isolation level, then a topic count.
    for count in [i32::MAX, -1, -2, i32::MIN, 1] {
        let body = [&[0; 17][..], &count.to_be_bytes()].concat();
        assert!(decode_request(4, &Bytes::from(body)).is_err(), "{count}");
    }
    let compact = [&[0; 25][..], b"\xff\xff\xff\xff\x0f"].concat();
    assert!(matches!(decode_request(12, &Bytes::from(compact)), Err(WireError::CountBeyondBytes { .. })));
}

#[test]
fn truncated_prolonged_and_changed_requests_never_panic() {
    let mut prng = Prng::new(13);
    for version in 4..=18 {
        let body = encoded_request(version);
        for length in 0..body.len() {
            assert!(decode_request(version, &body.slice(..length)).is_err(), "{length} bytes of version {version}");
        }
        let longer = [&body[..], b"\x00"].concat();
        assert!(decode_request(version, &Bytes::from(longer)).is_ok(), "librdkafka sends more than some versions have");
        for _ in 0..2000 {
            let mut changed = body.to_vec();
            for _ in 0..=prng.below(3) {
                let at = prng.below(changed.len() as u64) as usize;
                changed[at] = prng.next_u64() as u8;
            }
            if let Ok(request) = decode_request(version, &Bytes::from(changed)) {
                assert!(request.topics.len() <= body.len());
            }
        }
    }
}
