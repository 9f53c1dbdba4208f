//! OffsetCommit 10 and OffsetFetch 10 requests, read by hand: topic ids stand where the crate expects names.
//!
//! Runs after the guard, so every count fits its bytes; the results are the crate's own types with `topic_id` set and
//! an empty name.

use bytes::Bytes;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::{GroupId, OffsetCommitRequest, OffsetFetchRequest};

use super::reader::Reader;
use super::{WireError, to_message_uuid};

/// The version from which on both requests carry topic ids.
pub(super) const FROM: i16 = 10;

/// Fewest bytes of a topic: its id, a count, its tags.
const TOPIC_BYTES_MIN: usize = 18;

pub(super) fn decode_offset_commit(body: &Bytes) -> Result<OffsetCommitRequest, WireError> {
    let mut reader = Reader::new(body, true);
    let mut request = OffsetCommitRequest::default()
        .with_group_id(GroupId(reader.string()?))
        .with_generation_id_or_member_epoch(reader.i32()?)
        .with_member_id(reader.string()?)
        .with_group_instance_id(reader.nullable_string()?);
    let count = reader.count(TOPIC_BYTES_MIN)?;
    request.topics.reserve_exact(count);
    for _ in 0..count {
        request.topics.push(commit_topic(&mut reader)?);
    }
    reader.skip_tags()?;
    Ok(request)
}

fn commit_topic(reader: &mut Reader<'_>) -> Result<OffsetCommitRequestTopic, WireError> {
    let mut topic = OffsetCommitRequestTopic::default().with_topic_id(to_message_uuid(reader.uuid()?));
    let count = reader.count(18)?;
    topic.partitions.reserve_exact(count);
    for _ in 0..count {
        let partition = OffsetCommitRequestPartition::default()
            .with_partition_index(reader.i32()?)
            .with_committed_offset(reader.i64()?)
            .with_committed_leader_epoch(reader.i32()?)
            .with_committed_metadata(reader.nullable_string()?);
        reader.skip_tags()?;
        topic.partitions.push(partition);
    }
    reader.skip_tags()?;
    Ok(topic)
}

pub(super) fn decode_offset_fetch(body: &Bytes) -> Result<OffsetFetchRequest, WireError> {
    let mut reader = Reader::new(body, true);
    let mut request = OffsetFetchRequest::default();
    let count = reader.count(8)?;
    request.groups.reserve_exact(count);
    for _ in 0..count {
        request.groups.push(fetch_group(&mut reader)?);
    }
    request.require_stable = reader.i8()? != 0;
    reader.skip_tags()?;
    Ok(request)
}

fn fetch_group(reader: &mut Reader<'_>) -> Result<OffsetFetchRequestGroup, WireError> {
    let group = OffsetFetchRequestGroup::default()
        .with_group_id(GroupId(reader.string()?))
        .with_member_id(reader.nullable_string()?)
        .with_member_epoch(reader.i32()?);
    let topics = match reader.nullable_count(TOPIC_BYTES_MIN)? {
        None => None,
        Some(count) => {
            let mut topics = Vec::with_capacity(count);
            for _ in 0..count {
                topics.push(fetch_topic(reader)?);
            }
            Some(topics)
        }
    };
    reader.skip_tags()?;
    Ok(group.with_topics(topics))
}

fn fetch_topic(reader: &mut Reader<'_>) -> Result<OffsetFetchRequestTopics, WireError> {
    let topic = OffsetFetchRequestTopics::default().with_topic_id(to_message_uuid(reader.uuid()?));
    let count = reader.count(4)?;
    let mut partitions = Vec::with_capacity(count);
    for _ in 0..count {
        partitions.push(reader.i32()?);
    }
    reader.skip_tags()?;
    Ok(topic.with_partition_indexes(partitions))
}
