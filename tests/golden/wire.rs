//! Frames: each stored request is read by our code, each stored response is written again by it, byte for byte.
//!
//! Requests of the cold APIs are written back by the generated codec, which shows that reading lost nothing. Responses
//! are read by the generated codec (a broker never reads one) and written by ours.

use std::collections::BTreeSet;
use std::fs;

use bytes::{Bytes, BytesMut};
use kafka_protocol::protocol::{Decodable, Encodable, Request};
use kataract::port::range::Part;
use kataract::wire::cold::{self, ColdRequest, ColdResponse};
use kataract::wire::messages as m;
use kataract::wire::versions::{self, key};
use kataract::wire::{
    CurrentLeader, ErrorCode, NodeEndpoint, TopicRef, fetch, frame, from_message_uuid, header, produce,
};

use crate::{folder, same};

/// A request and its response, without their lengths, and what they are.
struct Pair {
    name: String,
    key: i16,
    version: i16,
    correlation_id: i32,
    request: Bytes,
    body: Bytes,
    response: Bytes,
}

fn pairs() -> Vec<Pair> {
    let mut files: Vec<_> =
        fs::read_dir(folder().join("wire")).expect("samples").map(|e| e.expect("a file").path()).collect();
    files.sort();
    let mut found = Vec::new();
    for file in files {
        let name = file.file_stem().expect("a name").to_string_lossy().into_owned();
        let mut pending = BytesMut::from(&fs::read(&file).expect("a sample")[..]);
        let mut index = 0;
        while !pending.is_empty() {
            let mut next = || match frame::cut(&mut pending, 1 << 20) {
                Ok(frame::Cut::Frame(frame)) => frame,
                other => panic!("{name}: {other:?} instead of a frame"),
            };
            let (request, response) = (next(), next());
            let (head, body) =
                header::parse_request(&request).unwrap_or_else(|error| panic!("{name} {index}: {error}"));
            let (key, version) = (head.api_key, head.api_version);
            let name = format!("{name} v{version}, pair {index}");
            found.push(Pair { name, key, version, correlation_id: head.correlation_id, request, body, response });
            index += 1;
        }
    }
    found
}

/// The body of a response, after its header.
fn response_body(pair: &Pair) -> Bytes {
    let mut bytes = pair.response.clone();
    let api = versions::find(pair.key).expect("served");
    // ApiVersions answers with header version 0 for ever, so that any client can read it (KIP-511).
    let version = i16::from(api.is_flexible(pair.version) && pair.key != key::API_VERSIONS);
    let head = m::ResponseHeader::decode(&mut bytes, version).expect("a response header");
    assert_eq!(head.correlation_id, pair.correlation_id, "{}", pair.name);
    bytes
}

/// Our parts of a response, joined, without the length in front.
fn joined(parts: &[Part]) -> Vec<u8> {
    let all = Part::join(parts).expect("memory");
    let length = u32::from_be_bytes(all[..4].try_into().expect("four bytes")) as usize;
    assert_eq!(length, all.len() - 4, "the length of our frame");
    all[4..].to_vec()
}

/// Whether the generated codec has this layout (see `wire/cold.rs` for the versions it lacks).
fn generated(pair: &Pair) -> Option<i16> {
    match (pair.key, pair.version) {
        (key::LIST_OFFSETS, 11) => Some(10),
        (key::OFFSET_COMMIT | key::OFFSET_FETCH, 10) => None,
        (_, version) => Some(version),
    }
}

fn cold_pair<Q: ColdRequest + Encodable, A: ColdResponse + Decodable>(pair: &Pair) {
    let request: Q = cold::decode_request(pair.key, pair.version, pair.body.clone())
        .unwrap_or_else(|error| panic!("{}: request: {error}", pair.name));
    if let Some(version) = generated(pair) {
        let mut again = BytesMut::new();
        request.encode(&mut again, version).unwrap_or_else(|error| panic!("{}: {error}", pair.name));
        same(&format!("{}: request", pair.name), &again, &pair.body);
    }
    let layout = if pair.key == key::LIST_OFFSETS { pair.version.min(10) } else { pair.version };
    let mut body = response_body(pair);
    let response = A::decode(&mut body, layout).unwrap_or_else(|error| panic!("{}: response: {error}", pair.name));
    assert!(body.is_empty(), "{}: the crate left {} bytes of the response", pair.name, body.len());
    let ours = cold::encode_response(pair.key, pair.version, pair.correlation_id, &response)
        .unwrap_or_else(|error| panic!("{}: response: {error}", pair.name));
    same(&format!("{}: response", pair.name), &joined(&[ours.into()]), &pair.response);
}

macro_rules! cold_pairs {
    ($pair:expr, $($request:ident $response:ident,)*) => {
        match $pair.key {
            $(<m::$request as Request>::KEY => cold_pair::<m::$request, m::$response>($pair),)*
            other => panic!("{}: no case for key {other}", $pair.name),
        }
    };
}

fn compare_cold(pair: &Pair) {
    cold_pairs! {
        pair,
        ListOffsetsRequest ListOffsetsResponse,
        MetadataRequest MetadataResponse,
        OffsetCommitRequest OffsetCommitResponse,
        OffsetFetchRequest OffsetFetchResponse,
        FindCoordinatorRequest FindCoordinatorResponse,
        JoinGroupRequest JoinGroupResponse,
        HeartbeatRequest HeartbeatResponse,
        LeaveGroupRequest LeaveGroupResponse,
        SyncGroupRequest SyncGroupResponse,
        DescribeGroupsRequest DescribeGroupsResponse,
        ListGroupsRequest ListGroupsResponse,
        ApiVersionsRequest ApiVersionsResponse,
        CreateTopicsRequest CreateTopicsResponse,
        DeleteTopicsRequest DeleteTopicsResponse,
        DeleteRecordsRequest DeleteRecordsResponse,
        InitProducerIdRequest InitProducerIdResponse,
        OffsetForLeaderEpochRequest OffsetForLeaderEpochResponse,
        DescribeConfigsRequest DescribeConfigsResponse,
        AlterConfigsRequest AlterConfigsResponse,
        CreatePartitionsRequest CreatePartitionsResponse,
        DeleteGroupsRequest DeleteGroupsResponse,
        IncrementalAlterConfigsRequest IncrementalAlterConfigsResponse,
        OffsetDeleteRequest OffsetDeleteResponse,
        DescribeClusterRequest DescribeClusterResponse,
        DescribeTopicPartitionsRequest DescribeTopicPartitionsResponse,
    }
}

fn topic_ref(version: i16, ids_from: i16, name: &m::TopicName, id: kataract::wire::MessageUuid) -> TopicRef {
    if version >= ids_from { TopicRef::Id(from_message_uuid(id)) } else { TopicRef::Name(name.0.clone()) }
}

/// -1 in both fields is how the generated message says "not told".
fn leader(leader_id: i32, leader_epoch: i32) -> Option<CurrentLeader> {
    (leader_id != -1 || leader_epoch != -1).then_some(CurrentLeader { leader_id, leader_epoch })
}

fn error(code: i16) -> ErrorCode {
    ErrorCode::from_code(code).unwrap_or_else(|| panic!("error code {code} has no name"))
}

fn compare_produce(pair: &Pair) {
    let read = produce::decode_request(pair.version, &pair.body).unwrap_or_else(|e| panic!("{}: {e}", pair.name));
    let mut body = pair.body.clone();
    let wanted = m::ProduceRequest::decode(&mut body, pair.version).expect("the crate reads it");
    assert_eq!((read.acks, read.timeout_ms), (wanted.acks, wanted.timeout_ms), "{}", pair.name);
    assert_eq!(read.transactional_id, wanted.transactional_id.map(|id| id.0), "{}", pair.name);
    assert_eq!(read.topics.len(), wanted.topic_data.len(), "{}", pair.name);
    for (topic, wanted) in read.topics.iter().zip(&wanted.topic_data) {
        assert_eq!(topic.topic, topic_ref(pair.version, 13, &wanted.name, wanted.topic_id), "{}", pair.name);
        let read: Vec<_> = topic.partitions.iter().map(|p| (p.index, p.records.clone())).collect();
        let wanted: Vec<_> = wanted.partition_data.iter().map(|p| (p.index, p.records.clone())).collect();
        assert_eq!(read, wanted, "{}", pair.name);
        let frame = pair.request.as_ptr_range();
        for records in read.into_iter().filter_map(|(_, records)| records) {
            assert!(frame.contains(&records.as_ptr()), "{}: records were copied out of the frame", pair.name);
        }
    }
    let mut body = response_body(pair);
    let kafka = m::ProduceResponse::decode(&mut body, pair.version).expect("the crate reads it");
    let ours = produce::encode_response(pair.version, pair.correlation_id, &our_produce(pair.version, &kafka));
    let ours = ours.unwrap_or_else(|error| panic!("{}: {error}", pair.name));
    same(&format!("{}: response", pair.name), &joined(&ours), &pair.response);
}

fn our_produce(version: i16, kafka: &m::ProduceResponse) -> produce::ProduceResponse {
    let partition = |p: &m::produce_response::PartitionProduceResponse| produce::ProducePartitionResponse {
        index: p.index,
        error: error(p.error_code),
        base_offset: p.base_offset,
        log_append_time_ms: p.log_append_time_ms,
        log_start_offset: p.log_start_offset,
        record_errors: p
            .record_errors
            .iter()
            .map(|e| produce::RecordError {
                batch_index: e.batch_index,
                message: e.batch_index_error_message.as_ref().map(ToString::to_string),
            })
            .collect(),
        error_message: p.error_message.as_ref().map(ToString::to_string),
        current_leader: leader(p.current_leader.leader_id.0, p.current_leader.leader_epoch),
    };
    let topic = |t: &m::produce_response::TopicProduceResponse| produce::ProduceTopicResponse {
        topic: topic_ref(version, 13, &t.name, t.topic_id),
        partitions: t.partition_responses.iter().map(partition).collect(),
    };
    produce::ProduceResponse {
        topics: kafka.responses.iter().map(topic).collect(),
        throttle_time_ms: kafka.throttle_time_ms,
        node_endpoints: kafka
            .node_endpoints
            .iter()
            .map(|n| endpoint(n.node_id.0, &n.host, n.port, n.rack.as_ref().map(ToString::to_string)))
            .collect(),
    }
}

fn endpoint(node_id: i32, host: &str, port: i32, rack: Option<String>) -> NodeEndpoint {
    NodeEndpoint { node_id, host: host.to_owned(), port, rack }
}

fn compare_fetch(pair: &Pair) {
    let read = fetch::decode_request(pair.version, &pair.body).unwrap_or_else(|e| panic!("{}: {e}", pair.name));
    let mut body = pair.body.clone();
    let wanted = m::FetchRequest::decode(&mut body, pair.version).expect("the crate reads it");
    assert_eq!(
        (read.max_wait_ms, read.min_bytes, read.max_bytes, read.isolation_level),
        (wanted.max_wait_ms, wanted.min_bytes, wanted.max_bytes, wanted.isolation_level),
        "{}",
        pair.name
    );
    assert_eq!((read.session_id, read.session_epoch), (wanted.session_id, wanted.session_epoch), "{}", pair.name);
    assert_eq!(read.rack_id, wanted.rack_id, "{}", pair.name);
    assert_eq!(read.topics.len(), wanted.topics.len(), "{}", pair.name);
    for (topic, wanted) in read.topics.iter().zip(&wanted.topics) {
        assert_eq!(topic.topic, topic_ref(pair.version, 13, &wanted.topic, wanted.topic_id), "{}", pair.name);
        let read: Vec<_> = topic
            .partitions
            .iter()
            .map(|p| (p.index, p.current_leader_epoch, p.fetch_offset, p.last_fetched_epoch, p.partition_max_bytes))
            .collect();
        let wanted: Vec<_> = wanted
            .partitions
            .iter()
            .map(|p| (p.partition, p.current_leader_epoch, p.fetch_offset, p.last_fetched_epoch, p.partition_max_bytes))
            .collect();
        assert_eq!(read, wanted, "{}", pair.name);
    }
    assert_eq!(read.forgotten_topics.len(), wanted.forgotten_topics_data.len(), "{}", pair.name);
    for (topic, wanted) in read.forgotten_topics.iter().zip(&wanted.forgotten_topics_data) {
        assert_eq!(topic.topic, topic_ref(pair.version, 13, &wanted.topic, wanted.topic_id), "{}", pair.name);
        assert_eq!(topic.partitions, wanted.partitions, "{}", pair.name);
    }
    let mut body = response_body(pair);
    let kafka = m::FetchResponse::decode(&mut body, pair.version).expect("the crate reads it");
    let ours = fetch::encode_response(pair.version, pair.correlation_id, &our_fetch(pair.version, &kafka));
    let ours = ours.unwrap_or_else(|error| panic!("{}: {error}", pair.name));
    same(&format!("{}: response", pair.name), &joined(&ours), &pair.response);
}

fn our_fetch(version: i16, kafka: &m::FetchResponse) -> fetch::FetchResponse {
    let partition = |p: &m::fetch_response::PartitionData| fetch::FetchPartitionResponse {
        index: p.partition_index,
        error: error(p.error_code),
        high_watermark: p.high_watermark,
        last_stable_offset: p.last_stable_offset,
        log_start_offset: p.log_start_offset,
        aborted_transactions: p.aborted_transactions.as_ref().map(|list| {
            let one = |a: &m::fetch_response::AbortedTransaction| fetch::AbortedTransaction {
                producer_id: a.producer_id.0,
                first_offset: a.first_offset,
            };
            list.iter().map(one).collect()
        }),
        preferred_read_replica: p.preferred_read_replica.0,
        records: p.records.iter().filter(|records| !records.is_empty()).cloned().map(Part::from).collect(),
        diverging_epoch: None,
        current_leader: leader(p.current_leader.leader_id.0, p.current_leader.leader_epoch),
        snapshot_id: None,
    };
    let topic = |t: &m::fetch_response::FetchableTopicResponse| fetch::FetchTopicResponse {
        topic: topic_ref(version, 13, &t.topic, t.topic_id),
        partitions: t.partitions.iter().map(partition).collect(),
    };
    fetch::FetchResponse {
        throttle_time_ms: kafka.throttle_time_ms,
        error: error(kafka.error_code),
        session_id: kafka.session_id,
        topics: kafka.responses.iter().map(topic).collect(),
        node_endpoints: kafka
            .node_endpoints
            .iter()
            .map(|n| endpoint(n.node_id.0, &n.host, n.port, n.rack.as_ref().map(ToString::to_string)))
            .collect(),
    }
}

#[test]
fn every_stored_pair_of_frames_is_read_and_written_as_kafka_does() {
    for pair in pairs() {
        match pair.key {
            key::PRODUCE => compare_produce(&pair),
            key::FETCH => compare_fetch(&pair),
            _ => compare_cold(&pair),
        }
    }
}

#[test]
fn a_sample_of_every_api_in_the_table_exists_and_of_every_version_of_the_hot_ones() {
    let have: BTreeSet<(i16, i16)> = pairs().iter().map(|pair| (pair.key, pair.version)).collect();
    for api in &versions::APIS {
        assert!(have.iter().any(|(key, _)| *key == api.key), "no sample of {}", api.name);
        if matches!(api.key, key::PRODUCE | key::FETCH | key::METADATA | key::API_VERSIONS) {
            for version in api.min..=api.max {
                assert!(have.contains(&(api.key, version)), "no sample of {} {version}", api.name);
            }
        }
    }
}
