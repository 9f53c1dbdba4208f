//! Cold requests and responses by the crate's generated codecs, with the guard in front.
//!
//! The crate was generated from Kafka 4.1's definitions; two gaps are closed here:
//! - ListOffsets 11 is laid out as version 10 (only the meaning of timestamps grew), so it is read and written as that.
//! - OffsetCommit 10 and OffsetFetch 10 were unstable then, and the crate reads topic names where version 10 has topic ids.
//!   Their requests are read by hand ([`super::cold_ids`]); the responses are right in the crate.

use bytes::Bytes;
use kafka_protocol::messages as m;
use kafka_protocol::protocol::{Decodable, Encodable, Request};

use super::versions::{self, key};
use super::{ResponseParts, WireError, cold_ids, guard};

/// A request type of a cold API.
pub trait ColdRequest: Request {
    /// Reads a body that the guard has accepted.
    #[doc(hidden)]
    fn decode_guarded(version: i16, body: Bytes) -> Result<Self, WireError> {
        decode_generated(generated_version(Self::KEY, version), body)
    }
}

/// A response type of a cold API.
pub trait ColdResponse: Encodable {
    /// The API it belongs to.
    const KEY: i16;
}

macro_rules! cold_responses {
    ($($request:ident $response:ident,)*) => {
        $(
            impl ColdResponse for m::$response {
                const KEY: i16 = <m::$request as Request>::KEY;
            }
        )*
    };
}

macro_rules! cold_requests {
    ($($request:ident $response:ident,)*) => {
        $(impl ColdRequest for m::$request {})*
        cold_responses! { $($request $response,)* }
    };
}

cold_requests! {
    ListOffsetsRequest ListOffsetsResponse,
    MetadataRequest MetadataResponse,
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

cold_responses! {
    OffsetCommitRequest OffsetCommitResponse,
    OffsetFetchRequest OffsetFetchResponse,
}

impl ColdRequest for m::OffsetCommitRequest {
    fn decode_guarded(version: i16, body: Bytes) -> Result<Self, WireError> {
        if version >= cold_ids::FROM { cold_ids::decode_offset_commit(&body) } else { decode_generated(version, body) }
    }
}

impl ColdRequest for m::OffsetFetchRequest {
    fn decode_guarded(version: i16, body: Bytes) -> Result<Self, WireError> {
        if version >= cold_ids::FROM { cold_ids::decode_offset_fetch(&body) } else { decode_generated(version, body) }
    }
}

/// The version of the generated codec that has the layout of `version`.
fn generated_version(api_key: i16, version: i16) -> i16 {
    match (api_key, version) {
        (key::LIST_OFFSETS, 11) => 10,
        _ => version,
    }
}

fn decode_generated<T: Decodable>(version: i16, mut body: Bytes) -> Result<T, WireError> {
    let request = T::decode(&mut body, version).map_err(|error| WireError::Codec(error.to_string()))?;
    if body.is_empty() { Ok(request) } else { Err(WireError::TrailingBytes(body.len())) }
}

/// Reads the body of a cold request, after [`guard::check`]. Strings and bytes are slices of `body`.
///
/// Any error means: close the connection.
pub fn decode_request<T: ColdRequest>(api_key: i16, version: i16, body: Bytes) -> Result<T, WireError> {
    crate::invariant!(api_key == T::KEY, "a request of key {api_key} read as one of key {}", T::KEY);
    guard::check(api_key, version, &body)?;
    T::decode_guarded(version, body)
}

/// Writes the whole response, length and header included.
///
/// An error is a programmer error turned into a value: a field is set that this version does not have and whose default
/// is not what the client would assume.
pub fn encode_response<T: ColdResponse>(
    api_key: i16,
    version: i16,
    correlation_id: i32,
    response: &T,
) -> Result<Bytes, WireError> {
    crate::invariant!(api_key == T::KEY, "a response to key {} written as one of key {api_key}", T::KEY);
    versions::served(api_key, version)?;
    let layout = generated_version(api_key, version);
    let codec = |error: Box<dyn std::error::Error + Send + Sync>| WireError::Codec(error.to_string());
    let size = response.compute_size(layout).map_err(|error| codec(error.into()))?;
    let mut parts = ResponseParts::with_capacity(api_key, version, correlation_id, size)?;
    response.encode(parts.fields(), layout).map_err(|error| codec(error.into()))?;
    parts.finish_single()
}
