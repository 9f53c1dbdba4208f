//! What clients are answered, through a whole engine: partitions decided one by one, what belongs to the broker itself,
//! and requests without acknowledgements.

use bytes::{Bytes, BytesMut};
use kafka_protocol::protocol::{Decodable, Encodable};

use super::tests::{Rig, frame};
use crate::base::ids::{ConnId, CoreId};
use crate::batch::build::BatchBuilder;
use crate::shard::message::{Ask, Message, QUIET};
use crate::wire::messages as m;
use crate::wire::versions::key;
use crate::wire::{ErrorCode, StrBytes};

const OFFSETS_TOPIC: &str = "__consumer_offsets";

fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

fn encoded<T: Encodable>(api_key: i16, version: i16, request: &T) -> Vec<u8> {
    let mut body = BytesMut::new();
    request.encode(&mut body, version).expect("a request");
    frame(api_key, version, 1, &body)
}

/// The answer to the only request in work, in a version without flexible fields.
fn ask<T: Encodable, R: Decodable>(rig: &mut Rig, api_key: i16, version: i16, request: &T) -> R {
    rig.sent.clear();
    rig.receive(&encoded(api_key, version, request));
    let mut answer = Bytes::from(rig.sent.clone()).split_off(8);
    R::decode(&mut answer, version).expect("an answer")
}

fn create(rig: &mut Rig, name: &str, configs: &[(&str, &str)]) {
    use m::create_topics_request::{CreatableTopic, CreatableTopicConfig};
    let config = |(name, value): &(&str, &str)| {
        CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value)))
    };
    let topic = CreatableTopic::default()
        .with_name(text(name).into())
        .with_num_partitions(1)
        .with_replication_factor(1)
        .with_configs(configs.iter().map(config).collect());
    let request = m::CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(1000);
    let created: m::CreateTopicsResponse = ask(rig, key::CREATE_TOPICS, 4, &request);
    assert_eq!(created.topics[0].error_code, 0, "{name}");
}

/// Looks for a coordinator, which makes the topic of committed offsets.
fn find_coordinator(rig: &mut Rig) {
    let request = m::FindCoordinatorRequest::default().with_key(text("g"));
    let found: m::FindCoordinatorResponse = ask(rig, key::FIND_COORDINATOR, 2, &request);
    assert_eq!(found.error_code, 0);
}

fn batch(sequence: i32) -> Bytes {
    let mut builder = BatchBuilder::new(0).producer(7, 0, sequence);
    builder.push(1_750_000_000_000, Some(b"k"), Some(b"v"));
    builder.finish()
}

fn produce(acks: i16, timeout_ms: i32, topics: &[(&str, Bytes)]) -> m::ProduceRequest {
    use m::produce_request::{PartitionProduceData, TopicProduceData};
    let topic = |(name, batch): &(&str, Bytes)| {
        let data = PartitionProduceData::default().with_index(0).with_records(Some(batch.clone()));
        TopicProduceData::default().with_name(text(name).into()).with_partition_data(vec![data])
    };
    let request = m::ProduceRequest::default().with_acks(acks).with_timeout_ms(timeout_ms);
    request.with_topic_data(topics.iter().map(topic).collect())
}

fn produced(rig: &mut Rig, request: &m::ProduceRequest) -> Vec<(i16, i64)> {
    let answer: m::ProduceResponse = ask(rig, key::PRODUCE, 8, request);
    let partitions = answer.responses.iter().flat_map(|topic| &topic.partition_responses);
    partitions.map(|partition| (partition.error_code, partition.base_offset)).collect()
}

#[test]
fn good_partitions_of_a_commit_are_committed_whatever_their_neighbours_are() {
    use m::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
    let mut rig = Rig::new();
    create(&mut rig, "t", &[]);
    find_coordinator(&mut rig);
    let topic = |name: &str, partitions: &[i32]| {
        let partition =
            |index: &i32| OffsetCommitRequestPartition::default().with_partition_index(*index).with_committed_offset(5);
        OffsetCommitRequestTopic::default()
            .with_name(text(name).into())
            .with_partitions(partitions.iter().map(partition).collect())
    };
    let request = m::OffsetCommitRequest::default()
        .with_group_id(text("g").into())
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic("t", &[7, 0, -1]), topic("none", &[0])]);
    let answer: m::OffsetCommitResponse = ask(&mut rig, key::OFFSET_COMMIT, 7, &request);
    let topics: Vec<(String, Vec<(i32, i16)>)> = answer
        .topics
        .iter()
        .map(|topic| {
            let partitions = topic.partitions.iter().map(|p| (p.partition_index, p.error_code)).collect();
            (topic.name.to_string(), partitions)
        })
        .collect();
    assert_eq!(topics, [("t".to_owned(), vec![(0, 0), (7, 3), (-1, 3)]), ("none".to_owned(), vec![(0, 3)])]);
}

#[test]
fn clients_neither_produce_to_the_brokers_own_topics_nor_delete_from_them() {
    use m::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
    let mut rig = Rig::new();
    find_coordinator(&mut rig);
    create(&mut rig, "kept", &[("cleanup.policy", "compact")]);
    create(&mut rig, "both", &[("cleanup.policy", "compact,delete")]);
    create(&mut rig, "plain", &[]);
    let request = produce(1, 1000, &[(OFFSETS_TOPIC, batch(0)), ("plain", batch(0))]);
    let invalid_topic = ErrorCode::InvalidTopicException.code();
    assert_eq!(produced(&mut rig, &request), [(invalid_topic, -1), (0, 0)]);
    let topic = |name: &str| {
        let partition = DeleteRecordsPartition::default().with_partition_index(0).with_offset(-1);
        DeleteRecordsTopic::default().with_name(text(name).into()).with_partitions(vec![partition])
    };
    let names = [OFFSETS_TOPIC, "kept", "both", "plain", "none"];
    let request = m::DeleteRecordsRequest::default().with_timeout_ms(1000).with_topics(names.map(topic).into());
    let answer: m::DeleteRecordsResponse = ask(&mut rig, key::DELETE_RECORDS, 1, &request);
    let codes: Vec<i16> = answer.topics.iter().map(|topic| topic.partitions[0].error_code).collect();
    assert_eq!(codes, [invalid_topic, ErrorCode::PolicyViolation.code(), 0, 0, 3]);
}

#[test]
fn the_time_out_of_a_produce_is_for_acks_of_all_only() {
    let mut rig = Rig::new();
    create(&mut rig, "t", &[]);
    assert_eq!(produced(&mut rig, &produce(1, 0, &[("t", batch(0))])), [(0, 0)]);
}

#[test]
fn without_acknowledgements_good_batches_are_appended_and_any_error_closes_the_connection() {
    let mut rig = Rig::new();
    create(&mut rig, "t", &[]);
    // An error that is found here: nobody has heard of the second topic.
    rig.sent.clear();
    rig.receive(&encoded(key::PRODUCE, 8, &produce(0, 1000, &[("t", batch(0)), ("none", batch(0))])));
    assert!(rig.closed && rig.sent.is_empty());
    rig.reconnect();
    assert_eq!(produced(&mut rig, &produce(1, 1000, &[("t", batch(1))])), [(0, 1)], "behind what was appended");
    // An error that the owner finds: a sequence that does not follow. What came before is answered.
    rig.sent.clear();
    let good = encoded(key::PRODUCE, 8, &produce(1, 1000, &[("t", batch(2))]));
    rig.receive(&[good, encoded(key::PRODUCE, 8, &produce(0, 1000, &[("t", batch(9))]))].concat());
    assert_eq!(rig.answered(), [1]);
    assert!(rig.closed);
    rig.reconnect();
    rig.receive(&encoded(key::PRODUCE, 8, &produce(0, 1000, &[("t", batch(3))])));
    assert!(!rig.closed, "nothing is wrong with it");
    assert_eq!(produced(&mut rig, &produce(1, 1000, &[("t", batch(4))])), [(0, 4)]);
}

#[test]
fn a_stopping_shard_replies_to_no_ask_that_wants_no_reply() {
    let mut rig = Rig::new();
    rig.stop();
    let ask = Ask::Produce { items: Vec::new(), quiet: Some(ConnId(3)) };
    let message = Message::Ask { key: QUIET, seen: 0, ask };
    rig.engine.shard.receive(CoreId(0), message, super::tests::at(1_000_000));
    let messages = rig.engine.shard.take_messages();
    assert!(matches!(messages[..], [(CoreId(0), Message::HangUp { conn: ConnId(3) })]), "{messages:?}");
}
