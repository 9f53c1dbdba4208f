//! The guard accepts what clients send, for every cold API and version, and its estimates hold.

use std::mem::size_of;

use bytes::{BufMut, Bytes, BytesMut};

use super::super::versions::{APIS, key};
use super::super::{WireError, messages};
use super::*;

#[test]
fn every_cold_api_and_no_other_has_a_schema() {
    for api in APIS {
        assert_eq!(schema::of(api.key).is_some(), api.codec == Codec::Cold, "{}", api.name);
    }
}

#[test]
fn populated_requests_of_every_cold_api_and_version_pass_and_decode_to_what_was_encoded() {
    for size in [1, 3] {
        let samples = samples::all(size);
        let versions: i16 = APIS.iter().filter(|a| a.codec == Codec::Cold).map(|a| a.max - a.min + 1).sum();
        assert_eq!(samples.len(), versions as usize);
        for sample in samples {
            assert_eq!(check(sample.key, sample.version, &sample.body), Ok(()), "{sample:?}");
        }
    }
}

#[test]
fn every_truncation_of_a_request_is_refused_and_bytes_after_it_are_ignored() {
    for sample in samples::all(2) {
        for length in 0..sample.body.len() {
            assert!(check(sample.key, sample.version, &sample.body.slice(..length)).is_err(), "{length} of {sample:?}");
        }
        let mut longer = BytesMut::from(&sample.body[..]);
        longer.put_u8(0);
        assert_eq!(check(sample.key, sample.version, &longer.freeze()), Ok(()), "{sample:?}");
    }
}

#[test]
fn unknown_tagged_fields_are_skipped_by_their_size() {
    // ApiVersions 3: two strings, then two tags the schema does not know.
    let body = Bytes::from_static(b"\x02a\x021\x02\x05\x03abc\xff\x01\x00");
    let request: messages::ApiVersionsRequest =
        super::super::cold::decode_request(key::API_VERSIONS, 3, body).expect("tolerated");
    assert_eq!(&*request.client_software_name, "a");
}

#[test]
fn a_tagged_field_beyond_the_end_is_refused() {
    let body = Bytes::from_static(b"\x02a\x021\x01\x05\x04abc");
    assert_eq!(check(key::API_VERSIONS, 3, &body), Err(WireError::Truncated { needed: 4, remaining: 3 }));
    let many = Bytes::from_static(b"\x02a\x021\xff\xff\xff\xff\x0f\x00\x00");
    assert!(matches!(check(key::API_VERSIONS, 3, &many), Err(WireError::CountBeyondBytes { .. })));
}

#[test]
fn the_limits_on_bytes_elements_and_memory_hold() {
    let large = Bytes::from(vec![0; COLD_REQUEST_BYTES_MAX + 1]);
    assert!(matches!(check(key::METADATA, 1, &large), Err(WireError::ColdRequestSize { .. })));

    // Topics of one empty name each: two bytes an element.
    let elements = |count: u32| {
        let mut body = BytesMut::new();
        body.put_u32(count);
        body.put_bytes(0, 2 * count as usize);
        body.freeze()
    };
    assert_eq!(check(key::METADATA, 1, &elements(100_000)), Ok(()));
    assert_eq!(check(key::METADATA, 1, &elements(100_001)), Err(WireError::TooManyElements { limit: 100_000 }));

    // Each topic with a tagged field of its own: six bytes an element that decode into a map each.
    let tagged = |count: u32| {
        let mut body = BytesMut::new();
        crate::wire::respond::put_uvarint(&mut body, count + 1);
        (0..count).for_each(|_| body.put_slice(b"\x02a\x01\x07\x00"));
        body.put_slice(&[1, 0, 0, 0]);
        body.freeze()
    };
    assert_eq!(check(key::METADATA, 9, &tagged(10)), Ok(()), "a few are free");
    assert!(matches!(check(key::METADATA, 9, &tagged(10_000)), Err(WireError::MemoryBeyondBytes { .. })));
}

#[test]
fn a_version_without_null_topics_refuses_null_and_one_with_them_takes_it() {
    let null = Bytes::from_static(b"\xff\xff\xff\xff");
    assert_eq!(check(key::METADATA, 0, &null), Err(WireError::NegativeLength(-1)));
    assert_eq!(check(key::METADATA, 1, &null), Ok(()));
    let below = Bytes::from_static(b"\xff\xff\xff\xfe");
    assert_eq!(check(key::METADATA, 1, &below), Err(WireError::NegativeLength(-2)));
}

#[test]
fn a_string_that_is_not_utf8_is_refused() {
    let body = Bytes::from_static(b"\x00\x00\x00\x01\x00\x02\xc3\x28");
    assert_eq!(check(key::METADATA, 1, &body), Err(WireError::NotUtf8));
}

#[test]
fn no_decoded_array_element_is_larger_than_the_guard_assumes() {
    macro_rules! largest {
        ($($module:ident :: $name:ident,)*) => { [$((size_of::<messages::$module::$name>(), stringify!($name)),)*] };
    }
    let sizes = largest! {
        list_offsets_request::ListOffsetsTopic, list_offsets_request::ListOffsetsPartition,
        metadata_request::MetadataRequestTopic,
        offset_commit_request::OffsetCommitRequestTopic, offset_commit_request::OffsetCommitRequestPartition,
        offset_fetch_request::OffsetFetchRequestTopic, offset_fetch_request::OffsetFetchRequestGroup,
        offset_fetch_request::OffsetFetchRequestTopics, join_group_request::JoinGroupRequestProtocol,
        leave_group_request::MemberIdentity, sync_group_request::SyncGroupRequestAssignment,
        create_topics_request::CreatableTopic, create_topics_request::CreatableReplicaAssignment,
        create_topics_request::CreatableTopicConfig, delete_topics_request::DeleteTopicState,
        delete_records_request::DeleteRecordsTopic, delete_records_request::DeleteRecordsPartition,
        offset_for_leader_epoch_request::OffsetForLeaderTopic,
        offset_for_leader_epoch_request::OffsetForLeaderPartition,
        describe_configs_request::DescribeConfigsResource, alter_configs_request::AlterConfigsResource,
        alter_configs_request::AlterableConfig, create_partitions_request::CreatePartitionsTopic,
        create_partitions_request::CreatePartitionsAssignment, incremental_alter_configs_request::AlterConfigsResource,
        incremental_alter_configs_request::AlterableConfig, offset_delete_request::OffsetDeleteRequestTopic,
        offset_delete_request::OffsetDeleteRequestPartition, describe_topic_partitions_request::TopicRequest,
    };
    for (size, name) in sizes {
        assert!(size <= STRUCT_BYTES, "{name} takes {size} bytes");
    }
    assert!(size_of::<messages::GroupId>() <= STRING_BYTES);
}
