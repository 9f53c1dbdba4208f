//! Fetch (key 1), versions 4 to 18, for consumers and for followers: read and written by hand, since record bytes must
//! not be copied.
//!
//! Steps: 5 log start offset; 7 fetch sessions (KIP-227); 9 current leader epoch; 11 rack and preferred read replica
//! (KIP-392); 12 flexible, last fetched epoch, diverging epoch; 13 topic ids; 15 the replica id moves into a tagged
//! field with its epoch; 16 node endpoints (KIP-951); 17 replica directory id (KIP-853); 18 the follower's high
//! watermark (KIP-1166). The structs are those of the highest version; fields that a lower version lacks have their
//! default when read and are left out when written.

use bytes::Bytes;
use kafka_protocol::protocol::StrBytes;

use super::reader::Reader;
use super::versions::{self, key};
use super::{TopicRef, WireError};
use crate::base::ids::Uuid;

mod response;
#[cfg(test)]
mod tests;

pub use response::{
    AbortedTransaction, EpochEndOffset, FetchPartitionResponse, FetchResponse, FetchTopicResponse, SnapshotId,
    encode_response,
};

/// Largest body of a fetch request that is read, bytes: the 100,000 elements a request may have take 63 bytes each at
/// most, tagged fields included, and names come on top.
pub const FETCH_REQUEST_BYTES_MAX: usize = 8 * 1024 * 1024;
/// First version with topic ids.
const TOPIC_IDS_FROM: i16 = 13;
/// First version with compact lengths and tagged fields.
const FLEXIBLE_FROM: i16 = 12;
/// First version that names the fetching replica in a tagged field.
const REPLICA_STATE_FROM: i16 = 15;

/// What a consumer or a follower asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchRequest {
    /// The cluster a KRaft voter believes to be in (from version 12).
    pub cluster_id: Option<StrBytes>,
    /// Node id of the fetching replica, -1 for a consumer.
    pub replica_id: i32,
    /// Broker epoch of the fetching replica, -1 when not told (before version 15).
    pub replica_epoch: i64,
    pub max_wait_ms: i32,
    pub min_bytes: i32,
    pub max_bytes: i32,
    /// 0 read_uncommitted, 1 read_committed; anything else is an error for the caller.
    pub isolation_level: i8,
    /// 0 when no session exists (also before version 7).
    pub session_id: i32,
    /// -1 for a fetch without session (also before version 7), 0 to make one.
    pub session_epoch: i32,
    pub topics: Vec<FetchTopic>,
    /// Partitions to drop from the session.
    pub forgotten_topics: Vec<ForgottenTopic>,
    /// Rack of the consumer, empty when not told.
    pub rack_id: StrBytes,
}

/// One topic of a fetch request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchTopic {
    /// A name below version 13, an id from it on.
    pub topic: TopicRef,
    pub partitions: Vec<FetchPartition>,
}

/// One partition of a fetch request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchPartition {
    pub index: i32,
    /// The leader epoch the client knows, -1 when unknown.
    pub current_leader_epoch: i32,
    pub fetch_offset: i64,
    /// Epoch of the follower's last record, -1 when none or not told.
    pub last_fetched_epoch: i32,
    /// Log start offset of a follower, -1 for a consumer.
    pub log_start_offset: i64,
    pub partition_max_bytes: i32,
    /// Zero when not told (before version 17).
    pub replica_directory_id: Uuid,
    /// The high watermark the follower knows; `i64::MAX` when not told (before version 18), which never wakes it early.
    pub high_watermark: i64,
}

/// Partitions of a topic to drop from the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForgottenTopic {
    pub topic: TopicRef,
    pub partitions: Vec<i32>,
}

/// Reads the body of a fetch request. Names are slices of `body`.
pub fn decode_request(version: i16, body: &Bytes) -> Result<FetchRequest, WireError> {
    let flexible = versions::served(key::FETCH, version)?.is_flexible(version);
    let mut reader = Reader::new(body, flexible);
    let mut request = FetchRequest {
        cluster_id: None,
        replica_id: if version < REPLICA_STATE_FROM { reader.i32()? } else { -1 },
        replica_epoch: -1,
        max_wait_ms: reader.i32()?,
        min_bytes: reader.i32()?,
        max_bytes: reader.i32()?,
        isolation_level: reader.i8()?,
        session_id: if version >= 7 { reader.i32()? } else { 0 },
        session_epoch: if version >= 7 { reader.i32()? } else { -1 },
        topics: decode_topics(version, &mut reader)?,
        forgotten_topics: if version >= 7 { decode_forgotten(version, &mut reader)? } else { Vec::new() },
        rack_id: if version >= 11 { reader.string()? } else { StrBytes::new() },
    };
    reader.tags(|tag, field| {
        match tag {
            0 => request.cluster_id = field.nullable_string()?,
            1 if version >= REPLICA_STATE_FROM => {
                request.replica_id = field.i32()?;
                request.replica_epoch = field.i64()?;
                field.skip_tags()?;
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok(request)
}

/// Fewest bytes of a topic in the request: its name or id, a count, its tags.
fn topic_bytes_min(version: i16) -> usize {
    match version {
        TOPIC_IDS_FROM.. => 18,
        FLEXIBLE_FROM => 3,
        _ => 6,
    }
}

fn decode_topic_ref(version: i16, reader: &mut Reader<'_>) -> Result<TopicRef, WireError> {
    if version >= TOPIC_IDS_FROM { reader.uuid().map(TopicRef::Id) } else { reader.string().map(TopicRef::Name) }
}

fn decode_topics(version: i16, reader: &mut Reader<'_>) -> Result<Vec<FetchTopic>, WireError> {
    let count = reader.count(topic_bytes_min(version))?;
    let mut topics = Vec::with_capacity(count);
    for _ in 0..count {
        let topic = decode_topic_ref(version, reader)?;
        let partitions = decode_partitions(version, reader)?;
        reader.skip_tags()?;
        topics.push(FetchTopic { topic, partitions });
    }
    Ok(topics)
}

fn decode_partitions(version: i16, reader: &mut Reader<'_>) -> Result<Vec<FetchPartition>, WireError> {
    // Index, offset and byte limit are there in every version.
    let count = reader.count(16)?;
    let mut partitions = Vec::with_capacity(count);
    for _ in 0..count {
        let mut partition = FetchPartition {
            index: reader.i32()?,
            current_leader_epoch: if version >= 9 { reader.i32()? } else { -1 },
            fetch_offset: reader.i64()?,
            last_fetched_epoch: if version >= FLEXIBLE_FROM { reader.i32()? } else { -1 },
            log_start_offset: if version >= 5 { reader.i64()? } else { -1 },
            partition_max_bytes: reader.i32()?,
            replica_directory_id: Uuid::ZERO,
            high_watermark: i64::MAX,
        };
        reader.tags(|tag, field| {
            match tag {
                0 if version >= 17 => partition.replica_directory_id = field.uuid()?,
                1 if version >= 18 => partition.high_watermark = field.i64()?,
                _ => {}
            }
            Ok(())
        })?;
        partitions.push(partition);
    }
    Ok(partitions)
}

fn decode_forgotten(version: i16, reader: &mut Reader<'_>) -> Result<Vec<ForgottenTopic>, WireError> {
    let count = reader.count(topic_bytes_min(version))?;
    let mut topics = Vec::with_capacity(count);
    for _ in 0..count {
        let topic = decode_topic_ref(version, reader)?;
        let partition_count = reader.count(4)?;
        let mut partitions = Vec::with_capacity(partition_count);
        for _ in 0..partition_count {
            partitions.push(reader.i32()?);
        }
        reader.skip_tags()?;
        topics.push(ForgottenTopic { topic, partitions });
    }
    Ok(topics)
}
