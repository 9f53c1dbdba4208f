//! The answer to a fetch: encoded headers, and between them the record slices as the log gave them.

use super::super::respond::{tagged_endpoints, tagged_pair};
use super::super::versions::key;
use super::super::{CurrentLeader, ErrorCode, NodeEndpoint, ResponseParts, TopicRef, WireError};
use super::TOPIC_IDS_FROM;
use crate::port::range::Part;

/// The answer to a fetch request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FetchResponse {
    /// Milliseconds the connection is muted after this response.
    pub throttle_time_ms: i32,
    /// An error of the whole request: session errors, mostly (from version 7).
    pub error: ErrorCode,
    /// 0 means "no session".
    pub session_id: i32,
    pub topics: Vec<FetchTopicResponse>,
    /// Addresses of the leaders named in the partitions (from version 16).
    pub node_endpoints: Vec<NodeEndpoint>,
}

/// One topic of the answer, named as the request named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchTopicResponse {
    pub topic: TopicRef,
    pub partitions: Vec<FetchPartitionResponse>,
}

/// One partition of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchPartitionResponse {
    pub index: i32,
    pub error: ErrorCode,
    pub high_watermark: i64,
    pub last_stable_offset: i64,
    pub log_start_offset: i64,
    /// `None` for read_uncommitted, a list (empty too) for read_committed.
    pub aborted_transactions: Option<Vec<AbortedTransaction>>,
    /// Where the consumer should rather read, -1 for here (from version 11).
    pub preferred_read_replica: i32,
    /// Whole batches, in order; they are sent as they are. None at all is written as length 0.
    pub records: Vec<Part>,
    /// Where the follower's log leaves the leader's (from version 12).
    pub diverging_epoch: Option<EpochEndOffset>,
    /// With NOT_LEADER_OR_FOLLOWER or FENCED_LEADER_EPOCH, from version 12.
    pub current_leader: Option<CurrentLeader>,
    /// The snapshot a KRaft follower must take first (from version 12).
    pub snapshot_id: Option<SnapshotId>,
}

/// A transaction whose records a read_committed consumer skips from `first_offset` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    pub producer_id: i64,
    pub first_offset: i64,
}

/// The end of the largest epoch both logs share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEndOffset {
    pub epoch: i32,
    pub end_offset: i64,
}

/// A snapshot of the metadata log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotId {
    pub end_offset: i64,
    pub epoch: i32,
}

impl FetchPartitionResponse {
    /// A partition that gives nothing; all offsets -1, as Kafka answers errors.
    pub fn failed(index: i32, error: ErrorCode) -> FetchPartitionResponse {
        FetchPartitionResponse {
            index,
            error,
            high_watermark: -1,
            last_stable_offset: -1,
            log_start_offset: -1,
            aborted_transactions: None,
            preferred_read_replica: -1,
            records: Vec::new(),
            diverging_epoch: None,
            current_leader: None,
            snapshot_id: None,
        }
    }
}

/// Writes the whole response, length and header included; the record slices are among the parts, not copied.
///
/// Errors are programmer errors turned into values: a topic named the other way than the version wants, a response
/// above 2 GiB.
pub fn encode_response(version: i16, correlation_id: i32, response: &FetchResponse) -> Result<Vec<Part>, WireError> {
    let partitions: usize = response.topics.iter().map(|topic| topic.partitions.len()).sum();
    let estimate = 64 + 64 * response.topics.len() + 64 * partitions;
    let mut parts = ResponseParts::with_capacity(key::FETCH, version, correlation_id, estimate)?;
    parts.i32(response.throttle_time_ms);
    if version >= 7 {
        parts.i16(response.error.code());
        parts.i32(response.session_id);
    }
    parts.count(response.topics.len());
    for topic in &response.topics {
        parts.topic(key::FETCH, version, TOPIC_IDS_FROM, &topic.topic)?;
        parts.count(topic.partitions.len());
        for partition in &topic.partitions {
            encode_partition(version, partition, &mut parts);
        }
        parts.no_tags();
    }
    if version >= 16 && !response.node_endpoints.is_empty() {
        parts.tags(&[(0, tagged_endpoints(&response.node_endpoints))]);
    } else {
        parts.no_tags();
    }
    parts.finish()
}

fn encode_partition(version: i16, partition: &FetchPartitionResponse, parts: &mut ResponseParts) {
    parts.i32(partition.index);
    parts.i16(partition.error.code());
    parts.i64(partition.high_watermark);
    parts.i64(partition.last_stable_offset);
    if version >= 5 {
        parts.i64(partition.log_start_offset);
    }
    match &partition.aborted_transactions {
        None => parts.null_array(),
        Some(aborted) => {
            parts.count(aborted.len());
            for transaction in aborted {
                parts.i64(transaction.producer_id);
                parts.i64(transaction.first_offset);
                parts.no_tags();
            }
        }
    }
    if version >= 11 {
        parts.i32(partition.preferred_read_replica);
    }
    parts.records(&partition.records);
    parts.tags(&partition_tags(partition));
}

/// The tagged fields of a partition; an empty list (the usual case) allocates nothing.
fn partition_tags(partition: &FetchPartitionResponse) -> Vec<(u32, Vec<u8>)> {
    let mut tags = Vec::new();
    if let Some(EpochEndOffset { epoch, end_offset }) = partition.diverging_epoch {
        tags.push((0, tagged_pair(&epoch.to_be_bytes(), &end_offset.to_be_bytes())));
    }
    if let Some(CurrentLeader { leader_id, leader_epoch }) = partition.current_leader {
        tags.push((1, tagged_pair(&leader_id.to_be_bytes(), &leader_epoch.to_be_bytes())));
    }
    if let Some(SnapshotId { end_offset, epoch }) = partition.snapshot_id {
        tags.push((2, tagged_pair(&end_offset.to_be_bytes(), &epoch.to_be_bytes())));
    }
    tags
}
