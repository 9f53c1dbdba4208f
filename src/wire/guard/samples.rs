//! A populated request of every served cold API and version, encoded by the generated codec as a client would.
//!
//! Shared with `tests/wire_memory.rs`, hence the imports through `super::wire`.

use bytes::{BufMut, Bytes, BytesMut};

use super::wire::cold::{self, ColdRequest};
use super::wire::messages::*;
use super::wire::versions::{self, Codec, key};
use super::wire::{MessageUuid, StrBytes, WireError};
use kafka_protocol::protocol::Encodable;

/// One encoded request.
#[derive(Debug)]
pub struct Sample {
    pub key: i16,
    pub version: i16,
    pub body: Bytes,
}

/// Samples of every served cold API and version, with `size` elements in each array.
pub fn all(size: usize) -> Vec<Sample> {
    let mut samples = Vec::new();
    for api in versions::APIS.iter().filter(|api| api.codec == Codec::Cold) {
        for version in api.min..=api.max {
            samples.push(Sample { key: api.key, version, body: encoded(api.key, version, size) });
        }
    }
    samples
}

/// Decodes as the type of `api_key`, dropping the result.
pub fn decode(api_key: i16, version: i16, body: Bytes) -> Result<(), WireError> {
    macro_rules! decode_as {
        ($($key:ident $request:ident,)*) => {
            match api_key {
                $(key::$key => cold::decode_request::<$request>(api_key, version, body).map(drop),)*
                other => panic!("no type for key {other}"),
            }
        };
    }
    decode_as! {
        LIST_OFFSETS ListOffsetsRequest,
        METADATA MetadataRequest,
        OFFSET_COMMIT OffsetCommitRequest,
        OFFSET_FETCH OffsetFetchRequest,
        FIND_COORDINATOR FindCoordinatorRequest,
        JOIN_GROUP JoinGroupRequest,
        HEARTBEAT HeartbeatRequest,
        LEAVE_GROUP LeaveGroupRequest,
        SYNC_GROUP SyncGroupRequest,
        DESCRIBE_GROUPS DescribeGroupsRequest,
        LIST_GROUPS ListGroupsRequest,
        API_VERSIONS ApiVersionsRequest,
        CREATE_TOPICS CreateTopicsRequest,
        DELETE_TOPICS DeleteTopicsRequest,
        DELETE_RECORDS DeleteRecordsRequest,
        INIT_PRODUCER_ID InitProducerIdRequest,
        OFFSET_FOR_LEADER_EPOCH OffsetForLeaderEpochRequest,
        DESCRIBE_CONFIGS DescribeConfigsRequest,
        ALTER_CONFIGS AlterConfigsRequest,
        CREATE_PARTITIONS CreatePartitionsRequest,
        DELETE_GROUPS DeleteGroupsRequest,
        INCREMENTAL_ALTER_CONFIGS IncrementalAlterConfigsRequest,
        OFFSET_DELETE OffsetDeleteRequest,
        DESCRIBE_CLUSTER DescribeClusterRequest,
        DESCRIBE_TOPIC_PARTITIONS DescribeTopicPartitionsRequest,
    }
}

/// Encodes, and checks that decoding gives the request back.
fn round_trip<T>(version: i16, request: T) -> Bytes
where
    T: ColdRequest + Encodable + PartialEq + std::fmt::Debug,
{
    let mut body = BytesMut::new();
    // The crate lacks ListOffsets 11, which is laid out as 10.
    let layout = if T::KEY == key::LIST_OFFSETS { version.min(10) } else { version };
    request.encode(&mut body, layout).expect("a sample fits its version");
    let body = body.freeze();
    let decoded = cold::decode_request::<T>(T::KEY, version, body.clone());
    assert_eq!(decoded.as_ref(), Ok(&request), "key {} version {version}", T::KEY);
    body
}

fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

fn topic(index: usize) -> TopicName {
    TopicName(text(&format!("orders-{index}")))
}

fn id(index: usize) -> MessageUuid {
    MessageUuid::from_bytes([index as u8 + 1; 16])
}

fn list<T>(size: usize, make: impl Fn(usize) -> T) -> Vec<T> {
    (0..size).map(make).collect()
}

fn encoded(api_key: i16, version: i16, size: usize) -> Bytes {
    match api_key {
        key::LIST_OFFSETS => list_offsets(version, size),
        key::METADATA => metadata(version, size),
        key::OFFSET_COMMIT => offset_commit(version, size),
        key::OFFSET_FETCH => offset_fetch(version, size),
        key::FIND_COORDINATOR => find_coordinator(version, size),
        key::JOIN_GROUP => join_group(version, size),
        key::HEARTBEAT => heartbeat(version),
        key::LEAVE_GROUP => leave_group(version, size),
        key::SYNC_GROUP => sync_group(version, size),
        key::DESCRIBE_GROUPS => describe_groups(version, size),
        key::LIST_GROUPS => list_groups(version, size),
        key::API_VERSIONS => api_versions(version),
        key::CREATE_TOPICS => create_topics(version, size),
        key::DELETE_TOPICS => delete_topics(version, size),
        key::DELETE_RECORDS => delete_records(version, size),
        key::INIT_PRODUCER_ID => init_producer_id(version),
        key::OFFSET_FOR_LEADER_EPOCH => offset_for_leader_epoch(version, size),
        key::DESCRIBE_CONFIGS => describe_configs(version, size),
        key::ALTER_CONFIGS => alter_configs(version, size),
        key::CREATE_PARTITIONS => create_partitions(version, size),
        key::DELETE_GROUPS => round_trip(
            version,
            DeleteGroupsRequest::default().with_groups_names(list(size, |_| GroupId(text("group")))),
        ),
        key::INCREMENTAL_ALTER_CONFIGS => incremental_alter_configs(version, size),
        key::OFFSET_DELETE => offset_delete(version, size),
        key::DESCRIBE_CLUSTER => describe_cluster(version),
        key::DESCRIBE_TOPIC_PARTITIONS => describe_topic_partitions(version, size),
        other => panic!("no sample for key {other}"),
    }
}

fn list_offsets(version: i16, size: usize) -> Bytes {
    use list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
    let partition = |index| {
        let partition = ListOffsetsPartition::default().with_partition_index(index as i32).with_timestamp(-2);
        if version >= 4 { partition.with_current_leader_epoch(7) } else { partition.with_current_leader_epoch(-1) }
    };
    let topics =
        list(size, |index| ListOffsetsTopic::default().with_name(topic(index)).with_partitions(list(size, partition)));
    let mut request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(topics);
    if version >= 2 {
        request.isolation_level = 1;
    }
    if version >= 10 {
        request.timeout_ms = 30_000;
    }
    round_trip(version, request)
}

fn metadata(version: i16, size: usize) -> Bytes {
    use metadata_request::MetadataRequestTopic;
    let topics = list(size, |index| {
        let topic = MetadataRequestTopic::default().with_name(Some(topic(index)));
        if version >= 10 { topic.with_topic_id(id(index)) } else { topic }
    });
    let mut request = MetadataRequest::default().with_topics(Some(topics));
    if version >= 4 {
        request.allow_auto_topic_creation = false;
    }
    if version >= 8 {
        request.include_topic_authorized_operations = true;
    }
    if version == 11 {
        // A client may ask for all topics.
        request.topics = None;
    }
    if version == 12 {
        // A client may ask by id alone.
        request.topics.iter_mut().flatten().for_each(|topic| topic.name = None);
    }
    round_trip(version, request)
}

fn offset_commit(version: i16, size: usize) -> Bytes {
    use offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
    if version >= 10 {
        return offset_commit_by_id(size);
    }
    let partition = |index| {
        let partition = OffsetCommitRequestPartition::default()
            .with_partition_index(index as i32)
            .with_committed_offset(99)
            .with_committed_metadata((index % 2 == 0).then(|| text("note")));
        if version >= 6 { partition.with_committed_leader_epoch(5) } else { partition }
    };
    let topics = list(size, |index| {
        OffsetCommitRequestTopic::default().with_name(topic(index)).with_partitions(list(size, partition))
    });
    let mut request = OffsetCommitRequest::default()
        .with_group_id(GroupId(text("group")))
        .with_generation_id_or_member_epoch(3)
        .with_member_id(text("member"))
        .with_topics(topics);
    if version <= 4 {
        request.retention_time_ms = 1000;
    }
    if version >= 7 {
        request.group_instance_id = Some(text("instance"));
    }
    round_trip(version, request)
}

/// The layout of version 10, which the crate does not have: topic ids in place of names.
fn offset_commit_by_id(size: usize) -> Bytes {
    let mut body = BytesMut::new();
    compact(&mut body, "group");
    body.put_i32(3);
    compact(&mut body, "member");
    body.put_u8(0);
    count(&mut body, size);
    for index in 0..size {
        body.put_slice(id(index).as_bytes());
        count(&mut body, size);
        for partition in 0..size {
            body.put_i32(partition as i32);
            body.put_i64(99);
            body.put_i32(5);
            compact(&mut body, "note");
            body.put_u8(0);
        }
        body.put_u8(0);
    }
    body.put_u8(0);
    let body = body.freeze();
    let decoded: OffsetCommitRequest = cold::decode_request(key::OFFSET_COMMIT, 10, body.clone()).expect("by id");
    assert_eq!((&*decoded.group_id.0, decoded.generation_id_or_member_epoch), ("group", 3));
    assert_eq!((&*decoded.member_id, &decoded.group_instance_id), ("member", &None));
    assert_eq!(decoded.topics.len(), size);
    for (index, topic) in decoded.topics.iter().enumerate() {
        assert_eq!((topic.topic_id, topic.name.is_empty(), topic.partitions.len()), (id(index), true, size));
        let last = topic.partitions.last().expect("partitions");
        assert_eq!((last.partition_index, last.committed_offset), (size as i32 - 1, 99));
        assert_eq!((last.committed_leader_epoch, last.committed_metadata.as_deref()), (5, Some("note")));
    }
    body
}

fn offset_fetch(version: i16, size: usize) -> Bytes {
    use offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics};
    if version >= 10 {
        return offset_fetch_by_id(size);
    }
    let mut request = OffsetFetchRequest::default();
    let partitions = || list(size, |index| index as i32);
    if version <= 7 {
        let topics = list(size, |index| {
            OffsetFetchRequestTopic::default().with_name(topic(index)).with_partition_indexes(partitions())
        });
        // A client may ask for all topics from version 2 on.
        request = request.with_group_id(GroupId(text("group"))).with_topics((version != 5).then_some(topics));
    } else {
        let topics = list(size, |index| {
            OffsetFetchRequestTopics::default().with_name(topic(index)).with_partition_indexes(partitions())
        });
        let group = OffsetFetchRequestGroup::default().with_group_id(GroupId(text("group")));
        request.groups = list(size, |index| {
            let group = group.clone().with_topics((index % 2 == 0).then(|| topics.clone()));
            if version >= 9 { group.with_member_id(Some(text("member"))).with_member_epoch(4) } else { group }
        });
    }
    if version >= 7 {
        request.require_stable = true;
    }
    round_trip(version, request)
}

/// The layout of version 10, which the crate does not have: topic ids in place of names.
fn offset_fetch_by_id(size: usize) -> Bytes {
    let mut body = BytesMut::new();
    count(&mut body, size);
    for group in 0..size {
        compact(&mut body, "group");
        compact(&mut body, "member");
        body.put_i32(4);
        if group % 2 == 1 {
            body.put_u8(0);
        } else {
            count(&mut body, size);
            for index in 0..size {
                body.put_slice(id(index).as_bytes());
                count(&mut body, size);
                (0..size).for_each(|partition| body.put_i32(partition as i32));
                body.put_u8(0);
            }
        }
        body.put_u8(0);
    }
    body.put_u8(1);
    body.put_u8(0);
    let body = body.freeze();
    let decoded: OffsetFetchRequest = cold::decode_request(key::OFFSET_FETCH, 10, body.clone()).expect("by id");
    assert!(decoded.require_stable && decoded.groups.len() == size);
    for (index, group) in decoded.groups.iter().enumerate() {
        assert_eq!((&*group.group_id.0, group.member_id.as_deref()), ("group", Some("member")));
        assert_eq!((group.member_epoch, group.topics.is_none()), (4, index % 2 == 1));
        for (index, topic) in group.topics.iter().flatten().enumerate() {
            assert_eq!((topic.topic_id, topic.partition_indexes.len()), (id(index), size));
        }
    }
    body
}

fn compact(body: &mut BytesMut, value: &str) {
    body.put_u8(value.len() as u8 + 1);
    body.put_slice(value.as_bytes());
}

fn count(body: &mut BytesMut, size: usize) {
    body.put_u8(u8::try_from(size + 1).expect("one byte of varint"));
}

fn find_coordinator(version: i16, size: usize) -> Bytes {
    let mut request = FindCoordinatorRequest::default();
    if version >= 1 {
        request.key_type = 1;
    }
    if version >= 4 {
        request.coordinator_keys = list(size, |_| text("group"));
    } else {
        request.key = text("group");
    }
    round_trip(version, request)
}

fn join_group(version: i16, size: usize) -> Bytes {
    use join_group_request::JoinGroupRequestProtocol;
    let protocol = |_| {
        let metadata = Bytes::from_static(b"opaque");
        JoinGroupRequestProtocol::default().with_name(text("range")).with_metadata(metadata)
    };
    let mut request = JoinGroupRequest::default()
        .with_group_id(GroupId(text("group")))
        .with_session_timeout_ms(45_000)
        .with_member_id(text("member"))
        .with_protocol_type(text("consumer"))
        .with_protocols(list(size, protocol));
    if version >= 1 {
        request.rebalance_timeout_ms = 300_000;
    }
    if version >= 5 {
        request.group_instance_id = Some(text("instance"));
    }
    if version >= 8 {
        request.reason = Some(text("because"));
    }
    round_trip(version, request)
}

fn heartbeat(version: i16) -> Bytes {
    let request = HeartbeatRequest::default()
        .with_group_id(GroupId(text("group")))
        .with_generation_id(4)
        .with_member_id(text("member"));
    let instance = (version >= 3).then(|| text("instance"));
    round_trip(version, request.with_group_instance_id(instance))
}

fn leave_group(version: i16, size: usize) -> Bytes {
    use leave_group_request::MemberIdentity;
    let mut request = LeaveGroupRequest::default().with_group_id(GroupId(text("group")));
    if version <= 2 {
        request.member_id = text("member");
    } else {
        request.members = list(size, |index| {
            let member = MemberIdentity::default().with_member_id(text("member"));
            let member = member.with_group_instance_id((index == 0).then(|| text("instance")));
            if version >= 5 { member.with_reason(Some(text("because"))) } else { member }
        });
    }
    round_trip(version, request)
}

fn sync_group(version: i16, size: usize) -> Bytes {
    use sync_group_request::SyncGroupRequestAssignment;
    let assignment = |_| {
        let assignment = Bytes::from_static(b"opaque");
        SyncGroupRequestAssignment::default().with_member_id(text("member")).with_assignment(assignment)
    };
    let mut request = SyncGroupRequest::default()
        .with_group_id(GroupId(text("group")))
        .with_generation_id(4)
        .with_member_id(text("member"))
        .with_assignments(list(size, assignment));
    if version >= 3 {
        request.group_instance_id = Some(text("instance"));
    }
    if version >= 5 {
        request.protocol_type = Some(text("consumer"));
        request.protocol_name = Some(text("range"));
    }
    round_trip(version, request)
}

fn describe_groups(version: i16, size: usize) -> Bytes {
    let request = DescribeGroupsRequest::default().with_groups(list(size, |_| GroupId(text("group"))));
    round_trip(version, request.with_include_authorized_operations(version >= 3))
}

fn list_groups(version: i16, size: usize) -> Bytes {
    let mut request = ListGroupsRequest::default();
    if version >= 4 {
        request.states_filter = list(size, |_| text("Stable"));
    }
    if version >= 5 {
        request.types_filter = list(size, |_| text("classic"));
    }
    round_trip(version, request)
}

fn api_versions(version: i16) -> Bytes {
    let mut request = ApiVersionsRequest::default();
    if version >= 3 {
        request.client_software_name = text("client");
        request.client_software_version = text("1.2.3");
    }
    round_trip(version, request)
}

fn create_topics(version: i16, size: usize) -> Bytes {
    use create_topics_request::{CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig};
    let assignment = |index| {
        CreatableReplicaAssignment::default()
            .with_partition_index(index as i32)
            .with_broker_ids(list(size, |index| BrokerId(index as i32)))
    };
    let config = |index: usize| {
        CreatableTopicConfig::default().with_name(text("retention.ms")).with_value((index > 0).then(|| text("60000")))
    };
    let topics = list(size, |index| {
        CreatableTopic::default()
            .with_name(topic(index))
            .with_num_partitions(-1)
            .with_replication_factor(-1)
            .with_assignments(list(size, assignment))
            .with_configs(list(size, config))
    });
    let request = CreateTopicsRequest::default().with_topics(topics).with_timeout_ms(1000).with_validate_only(true);
    round_trip(version, request)
}

fn delete_topics(version: i16, size: usize) -> Bytes {
    use delete_topics_request::DeleteTopicState;
    let mut request = DeleteTopicsRequest::default().with_timeout_ms(1000);
    if version >= 6 {
        request.topics = list(size, |index| {
            let state = DeleteTopicState::default().with_name((index % 2 == 0).then(|| topic(index)));
            if index % 2 == 1 { state.with_topic_id(id(index)) } else { state }
        });
    } else {
        request.topic_names = list(size, topic);
    }
    round_trip(version, request)
}

fn delete_records(version: i16, size: usize) -> Bytes {
    use delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
    let partition = |index| DeleteRecordsPartition::default().with_partition_index(index as i32).with_offset(-1);
    let topics = list(size, |index| {
        DeleteRecordsTopic::default().with_name(topic(index)).with_partitions(list(size, partition))
    });
    round_trip(version, DeleteRecordsRequest::default().with_topics(topics).with_timeout_ms(1000))
}

fn init_producer_id(version: i16) -> Bytes {
    let id = (version % 2 == 0).then(|| TransactionalId(text("transactional")));
    let mut request = InitProducerIdRequest::default().with_transactional_id(id).with_transaction_timeout_ms(60_000);
    if version >= 3 {
        request.producer_id = ProducerId(9);
        request.producer_epoch = 2;
    }
    round_trip(version, request)
}

fn offset_for_leader_epoch(version: i16, size: usize) -> Bytes {
    use offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
    let partition = |index| {
        let partition = OffsetForLeaderPartition::default().with_partition(index as i32);
        partition.with_current_leader_epoch(6).with_leader_epoch(5)
    };
    let topics = list(size, |index| {
        OffsetForLeaderTopic::default().with_topic(topic(index)).with_partitions(list(size, partition))
    });
    let replica = BrokerId(if version >= 3 { -1 } else { -2 });
    round_trip(version, OffsetForLeaderEpochRequest::default().with_replica_id(replica).with_topics(topics))
}

fn describe_configs(version: i16, size: usize) -> Bytes {
    use describe_configs_request::DescribeConfigsResource;
    let resources = list(size, |index| {
        DescribeConfigsResource::default()
            .with_resource_type(2)
            .with_resource_name(text("orders"))
            .with_configuration_keys((index > 0).then(|| list(size, |_| text("cleanup.policy"))))
    });
    let request = DescribeConfigsRequest::default().with_resources(resources).with_include_synonyms(true);
    round_trip(version, request.with_include_documentation(version >= 3))
}

fn alter_configs(version: i16, size: usize) -> Bytes {
    use alter_configs_request::{AlterConfigsResource, AlterableConfig};
    let config = |index: usize| {
        AlterableConfig::default().with_name(text("cleanup.policy")).with_value((index > 0).then(|| text("compact")))
    };
    let resources = list(size, |_| {
        let resource = AlterConfigsResource::default().with_resource_type(2).with_resource_name(text("orders"));
        resource.with_configs(list(size, config))
    });
    round_trip(version, AlterConfigsRequest::default().with_resources(resources).with_validate_only(true))
}

fn incremental_alter_configs(version: i16, size: usize) -> Bytes {
    use incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
    let config = |index: usize| {
        let config = AlterableConfig::default().with_name(text("cleanup.policy")).with_config_operation(2);
        config.with_value((index > 0).then(|| text("compact")))
    };
    let resources = list(size, |_| {
        let resource = AlterConfigsResource::default().with_resource_type(2).with_resource_name(text("orders"));
        resource.with_configs(list(size, config))
    });
    round_trip(version, IncrementalAlterConfigsRequest::default().with_resources(resources).with_validate_only(true))
}

fn create_partitions(version: i16, size: usize) -> Bytes {
    use create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsTopic};
    let assignment = |_| CreatePartitionsAssignment::default().with_broker_ids(list(size, |_| BrokerId(1)));
    let topics = list(size, |index| {
        let topic = CreatePartitionsTopic::default().with_name(topic(index)).with_count(8);
        topic.with_assignments((index > 0).then(|| list(size, assignment)))
    });
    let request = CreatePartitionsRequest::default().with_topics(topics).with_timeout_ms(1000);
    round_trip(version, request.with_validate_only(true))
}

fn offset_delete(version: i16, size: usize) -> Bytes {
    use offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
    let partition = |index| OffsetDeleteRequestPartition::default().with_partition_index(index as i32);
    let topics = list(size, |index| {
        OffsetDeleteRequestTopic::default().with_name(topic(index)).with_partitions(list(size, partition))
    });
    round_trip(version, OffsetDeleteRequest::default().with_group_id(GroupId(text("group"))).with_topics(topics))
}

fn describe_cluster(version: i16) -> Bytes {
    let mut request = DescribeClusterRequest::default().with_include_cluster_authorized_operations(true);
    if version >= 1 {
        request.endpoint_type = 2;
    }
    if version >= 2 {
        request.include_fenced_brokers = true;
    }
    round_trip(version, request)
}

fn describe_topic_partitions(version: i16, size: usize) -> Bytes {
    use describe_topic_partitions_request::{Cursor, TopicRequest};
    let topics = list(size, |index| TopicRequest::default().with_name(topic(index)));
    let cursor = Cursor::default().with_topic_name(topic(1)).with_partition_index(3);
    let request = DescribeTopicPartitionsRequest::default().with_topics(topics).with_response_partition_limit(2000);
    round_trip(version, request.with_cursor((size > 1).then_some(cursor)))
}
