//! Produce (key 0), versions 3 to 13: read and written by hand, since record bytes must not be copied.
//!
//! Steps: 5 log start offset; 8 errors per record; 9 flexible; 10 current leader and node endpoints as tagged fields
//! (KIP-951); 13 topic ids in place of names (KIP-516). The structs are those of the highest version; fields that a
//! lower version lacks have their default when read and are left out when written.

use bytes::Bytes;
use kafka_protocol::protocol::StrBytes;

use super::reader::Reader;
use super::respond::{tagged_endpoints, tagged_pair};
use super::versions::{self, key};
use super::{CurrentLeader, ErrorCode, NodeEndpoint, ResponseParts, TopicRef, WireError};
use crate::port::range::Part;

#[cfg(test)]
mod tests;

/// First version with topic ids.
const TOPIC_IDS_FROM: i16 = 13;

/// What a producer asks to append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProduceRequest {
    pub transactional_id: Option<StrBytes>,
    /// 0 none (no response at all), 1 the leader, -1 every in-sync replica; anything else is an error for the caller.
    pub acks: i16,
    /// How long to wait for replicas, milliseconds.
    pub timeout_ms: i32,
    pub topics: Vec<ProduceTopic>,
}

/// One topic of a produce request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProduceTopic {
    /// A name below version 13, an id from it on.
    pub topic: TopicRef,
    pub partitions: Vec<ProducePartition>,
}

/// One partition of a produce request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducePartition {
    pub index: i32,
    /// The records, a slice of the frame. Null and empty are both possible here, and both an error for the caller.
    pub records: Option<Bytes>,
}

/// The answer to a produce request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProduceResponse {
    pub topics: Vec<ProduceTopicResponse>,
    /// Milliseconds the connection is muted after this response.
    pub throttle_time_ms: i32,
    /// Addresses of the leaders named in the partitions (from version 10).
    pub node_endpoints: Vec<NodeEndpoint>,
}

/// One topic of the answer, named as the request named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProduceTopicResponse {
    pub topic: TopicRef,
    pub partitions: Vec<ProducePartitionResponse>,
}

/// One partition of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducePartitionResponse {
    pub index: i32,
    pub error: ErrorCode,
    /// Offset given to the first record, -1 on error.
    pub base_offset: i64,
    /// Wall time of the append when the topic uses LogAppendTime, else -1, milliseconds.
    pub log_append_time_ms: i64,
    /// From version 5; -1 when unknown.
    pub log_start_offset: i64,
    /// Which records caused the batch to be dropped (from version 8).
    pub record_errors: Vec<RecordError>,
    /// The common cause (from version 8).
    pub error_message: Option<String>,
    /// With NOT_LEADER_OR_FOLLOWER, from version 10.
    pub current_leader: Option<CurrentLeader>,
}

/// A record that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordError {
    /// Index of the record in its batch.
    pub batch_index: i32,
    pub message: Option<String>,
}

impl ProducePartitionResponse {
    /// A partition that took nothing.
    pub fn failed(index: i32, error: ErrorCode) -> ProducePartitionResponse {
        ProducePartitionResponse {
            index,
            error,
            base_offset: -1,
            log_append_time_ms: -1,
            log_start_offset: -1,
            record_errors: Vec::new(),
            error_message: None,
            current_leader: None,
        }
    }
}

/// Reads the body of a produce request. Topic names and records are slices of `body`.
pub fn decode_request(version: i16, body: &Bytes) -> Result<ProduceRequest, WireError> {
    let flexible = versions::served(key::PRODUCE, version)?.is_flexible(version);
    let mut reader = Reader::new(body, flexible);
    let transactional_id = reader.nullable_string()?;
    let acks = reader.i16()?;
    let timeout_ms = reader.i32()?;
    let topic_bytes_min = if version >= TOPIC_IDS_FROM {
        18
    } else if flexible {
        3
    } else {
        6
    };
    let count = reader.count(topic_bytes_min)?;
    let mut topics = Vec::with_capacity(count);
    for _ in 0..count {
        topics.push(decode_topic(version, &mut reader)?);
    }
    reader.skip_tags()?;
    Ok(ProduceRequest { transactional_id, acks, timeout_ms, topics })
}

fn decode_topic(version: i16, reader: &mut Reader<'_>) -> Result<ProduceTopic, WireError> {
    let topic = if version >= TOPIC_IDS_FROM { TopicRef::Id(reader.uuid()?) } else { TopicRef::Name(reader.string()?) };
    let count = reader.count(if reader.is_flexible() { 6 } else { 8 })?;
    let mut partitions = Vec::with_capacity(count);
    for _ in 0..count {
        let index = reader.i32()?;
        let records = reader.nullable_bytes()?;
        reader.skip_tags()?;
        partitions.push(ProducePartition { index, records });
    }
    reader.skip_tags()?;
    Ok(ProduceTopic { topic, partitions })
}

/// Writes the whole response, length and header included.
///
/// Errors are programmer errors turned into values: a topic named the other way than the version wants, a string that
/// does not fit its length.
pub fn encode_response(version: i16, correlation_id: i32, response: &ProduceResponse) -> Result<Vec<Part>, WireError> {
    let partitions: usize = response.topics.iter().map(|topic| topic.partitions.len()).sum();
    let estimate = 64 + 64 * response.topics.len() + 48 * partitions;
    let mut parts = ResponseParts::with_capacity(key::PRODUCE, version, correlation_id, estimate)?;
    parts.count(response.topics.len());
    for topic in &response.topics {
        parts.topic(key::PRODUCE, version, TOPIC_IDS_FROM, &topic.topic)?;
        parts.count(topic.partitions.len());
        for partition in &topic.partitions {
            encode_partition(version, partition, &mut parts);
        }
        parts.no_tags();
    }
    parts.i32(response.throttle_time_ms);
    if version >= 10 && !response.node_endpoints.is_empty() {
        parts.tags(&[(0, tagged_endpoints(&response.node_endpoints))]);
    } else {
        parts.no_tags();
    }
    parts.finish()
}

fn encode_partition(version: i16, partition: &ProducePartitionResponse, parts: &mut ResponseParts) {
    parts.i32(partition.index);
    parts.i16(partition.error.code());
    parts.i64(partition.base_offset);
    parts.i64(partition.log_append_time_ms);
    if version >= 5 {
        parts.i64(partition.log_start_offset);
    }
    if version >= 8 {
        parts.count(partition.record_errors.len());
        for error in &partition.record_errors {
            parts.i32(error.batch_index);
            parts.nullable_string(error.message.as_deref());
            parts.no_tags();
        }
        parts.nullable_string(partition.error_message.as_deref());
    }
    match partition.current_leader {
        Some(CurrentLeader { leader_id, leader_epoch }) if version >= 10 => {
            parts.tags(&[(0, tagged_pair(&leader_id.to_be_bytes(), &leader_epoch.to_be_bytes()))]);
        }
        _ => parts.no_tags(),
    }
}
