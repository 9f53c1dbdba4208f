//! Round trips against the generated codec at every version, and hostile bytes.

use bytes::{Buf, BytesMut};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{self, ResponseHeader, TopicName, TransactionalId};
use kafka_protocol::protocol::{Decodable, Encodable};

use super::*;
use crate::base::ids::Uuid;
use crate::base::prng::Prng;
use crate::wire::{from_message_uuid, to_message_uuid};

const ID: Uuid = Uuid([7; 16]);

fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

/// A request as the generated client codec writes it: three partitions, one of them null, one empty.
fn encoded_request(version: i16) -> Bytes {
    let records = [Some(Bytes::from_static(b"batch bytes")), None, Some(Bytes::new())];
    let partitions = records.into_iter().enumerate().map(|(index, records)| {
        let data = PartitionProduceData::default().with_index(index as i32).with_records(records);
        // A newer client's tag.
        if version >= 9 { data.with_unknown_tagged_field(9, Bytes::from_static(b"?")) } else { data }
    });
    let mut topic = TopicProduceData::default().with_partition_data(partitions.collect());
    if version >= 13 {
        topic.topic_id = to_message_uuid(ID);
    } else {
        topic.name = TopicName(text("orders"));
    }
    let request = messages::ProduceRequest::default()
        .with_transactional_id((version % 2 == 0).then(|| TransactionalId(text("tx"))))
        .with_acks(-1)
        .with_timeout_ms(1500)
        .with_topic_data(vec![topic]);
    let mut body = BytesMut::new();
    request.encode(&mut body, version).expect("encodes");
    body.freeze()
}

#[test]
fn requests_of_every_version_are_read_and_their_records_are_slices_of_the_frame() {
    for version in 3..=13 {
        let body = encoded_request(version);
        let request = decode_request(version, &body).expect("decodes");
        assert_eq!(request.transactional_id.as_deref(), (version % 2 == 0).then_some("tx"), "{version}");
        assert_eq!((request.acks, request.timeout_ms), (-1, 1500));
        let [topic] = &request.topics[..] else { panic!("one topic") };
        let named = if version >= 13 { TopicRef::Id(ID) } else { TopicRef::named("orders") };
        assert_eq!(topic.topic, named);
        let [full, null, empty] = &topic.partitions[..] else { panic!("three partitions") };
        assert_eq!((full.index, null.index, empty.index), (0, 1, 2));
        assert_eq!((&null.records, &empty.records), (&None, &Some(Bytes::new())));
        let records = full.records.as_ref().expect("records");
        assert_eq!(records, "batch bytes");
        assert!(body.as_ptr_range().contains(&records.as_ptr()), "not copied");
    }
}

fn response(version: i16) -> ProduceResponse {
    let topic = if version >= 13 { TopicRef::Id(ID) } else { TopicRef::named("orders") };
    let fine = ProducePartitionResponse {
        base_offset: 42,
        log_append_time_ms: 1_700_000_000_000,
        log_start_offset: 3,
        ..ProducePartitionResponse::failed(0, ErrorCode::None)
    };
    let refused = ProducePartitionResponse {
        record_errors: vec![
            RecordError { batch_index: 1, message: Some("no key".to_owned()) },
            RecordError { batch_index: 2, message: None },
        ],
        error_message: Some("bad records".to_owned()),
        ..ProducePartitionResponse::failed(1, ErrorCode::InvalidRecord)
    };
    let elsewhere = ProducePartitionResponse {
        current_leader: Some(CurrentLeader { leader_id: 2, leader_epoch: 9 }),
        ..ProducePartitionResponse::failed(2, ErrorCode::NotLeaderOrFollower)
    };
    ProduceResponse {
        topics: vec![ProduceTopicResponse { topic, partitions: vec![fine, refused, elsewhere] }],
        throttle_time_ms: 12,
        node_endpoints: vec![
            NodeEndpoint { node_id: 2, host: "b.example".to_owned(), port: 9092, rack: Some("r".to_owned()) },
            NodeEndpoint { node_id: 3, host: "c.example".to_owned(), port: 9093, rack: None },
        ],
    }
}

/// Takes length and header off, reads the body with the generated codec.
fn decoded(version: i16, parts: Vec<Part>) -> messages::ProduceResponse {
    let mut bytes = BytesMut::from(Part::join(&parts).expect("memory"));
    assert_eq!(bytes.get_i32() as usize, bytes.len(), "the length counts what follows it");
    let header = ResponseHeader::decode(&mut bytes, i16::from(version >= 9)).expect("header");
    assert_eq!(header.correlation_id, 5);
    let response = messages::ProduceResponse::decode(&mut bytes, version).expect("body");
    assert!(bytes.is_empty(), "nothing left over");
    response
}

#[test]
fn responses_of_every_version_read_back_with_what_the_version_has() {
    for version in 3..=13 {
        let parts = encode_response(version, 5, &response(version)).expect("encodes");
        assert_eq!(parts.len(), 1, "no foreign bytes, one part");
        let theirs = decoded(version, parts);
        assert_eq!(theirs.throttle_time_ms, 12);
        let [topic] = &theirs.responses[..] else { panic!("one topic") };
        if version >= 13 {
            assert_eq!(from_message_uuid(topic.topic_id), ID);
        } else {
            assert_eq!(&**topic.name, "orders");
        }
        let [fine, refused, elsewhere] = &topic.partition_responses[..] else { panic!("three partitions") };
        assert_eq!((fine.index, fine.error_code, fine.base_offset), (0, 0, 42));
        assert_eq!(fine.log_append_time_ms, 1_700_000_000_000);
        assert_eq!(fine.log_start_offset, if version >= 5 { 3 } else { -1 });
        assert_eq!((refused.index, refused.error_code, refused.base_offset), (1, 87, -1));
        let errors: Vec<_> =
            refused.record_errors.iter().map(|e| (e.batch_index, e.batch_index_error_message.as_deref())).collect();
        let expected: &[_] = if version >= 8 { &[(1, Some("no key")), (2, None)] } else { &[] };
        assert_eq!(errors, expected);
        assert_eq!(refused.error_message.as_deref(), (version >= 8).then_some("bad records"));
        assert_eq!((elsewhere.index, elsewhere.error_code), (2, 6));
        let leader = (*elsewhere.current_leader.leader_id, elsewhere.current_leader.leader_epoch);
        assert_eq!(leader, if version >= 10 { (2, 9) } else { (-1, -1) });
        let nodes: Vec<_> =
            theirs.node_endpoints.iter().map(|n| (*n.node_id, &*n.host, n.port, n.rack.as_deref())).collect();
        let expected: &[_] =
            if version >= 10 { &[(2, "b.example", 9092, Some("r")), (3, "c.example", 9093, None)] } else { &[] };
        assert_eq!(nodes, expected);
    }
}

#[test]
fn a_response_has_the_very_bytes_of_the_generated_codec() {
    for version in 3..=13 {
        let parts = encode_response(version, 5, &response(version)).expect("encodes");
        let theirs = decoded(version, parts.clone());
        let mut again = BytesMut::new();
        theirs.encode(&mut again, version).expect("encodes");
        assert!(parts[0].memory().expect("memory").ends_with(&again), "{version}");
    }
}

#[test]
fn a_topic_named_the_wrong_way_for_its_version_is_an_error() {
    let mismatch = |version| Err(WireError::TopicRefMismatch { api_key: 0, version });
    assert_eq!(encode_response(13, 5, &response(12)), mismatch(13));
    assert_eq!(encode_response(12, 5, &response(13)), mismatch(12));
}

#[test]
fn a_string_too_long_for_its_length_field_is_an_error() {
    let mut long = response(8);
    long.topics[0].partitions[0].error_message = Some("x".repeat(40_000));
    assert_eq!(encode_response(8, 5, &long), Err(WireError::ResponseSize(40_000)));
    long.topics[0].topic = TopicRef::named("orders");
    assert!(encode_response(9, 5, &long).is_ok(), "compact strings may be long");
}

#[test]
fn versions_not_served_are_refused() {
    let body = encoded_request(3);
    for version in [-1, 0, 2, 14] {
        assert_eq!(decode_request(version, &body), Err(WireError::UnsupportedVersion { api_key: 0, version }));
        assert!(encode_response(version, 5, &ProduceResponse::default()).is_err());
    }
}

#[test]
fn counts_that_cannot_fit_are_refused_before_anything_is_allocated() {
    // No transactional id, acks, timeout, then a topic count.
    let head = b"\xff\xff\xff\xff\x00\x00\x00\x01";
    for count in [i32::MAX, -1, -2, i32::MIN, 1] {
        let body = [&head[..], &count.to_be_bytes()].concat();
        assert!(decode_request(3, &Bytes::from(body)).is_err(), "{count}");
    }
    let compact = [&b"\x00\xff\xff\x00\x00\x00\x01"[..], b"\xff\xff\xff\xff\x0f"].concat();
    assert!(matches!(decode_request(9, &Bytes::from(compact)), Err(WireError::CountBeyondBytes { .. })));
}

#[test]
fn a_hundred_mebibytes_of_tiny_topics_hit_the_element_limit() {
    let mut body = b"\x00\xff\xff\x00\x00\x00\x01".to_vec();
    crate::wire::respond::put_uvarint(&mut body, 1_000_001);
    body.resize(body.len() + 3_000_001, 1);
    assert!(matches!(decode_request(9, &Bytes::from(body)), Err(WireError::TooManyElements { .. })));
}

#[test]
fn truncated_prolonged_and_changed_requests_never_panic() {
    let mut prng = Prng::new(11);
    for version in 3..=13 {
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
