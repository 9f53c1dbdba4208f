//! Cold requests and responses by the crate's generated codecs, with the guard in front.
//!
//! The crate was generated from Kafka 4.1's definitions; three gaps are closed here (found by comparing every served
//! layout with Kafka 4.2's own):
//! - ListOffsets 11 is laid out as version 10 (only the meaning of timestamps grew), so it is read and written as that.
//! - OffsetCommit 10 and OffsetFetch 10 were unstable then, and the crate reads topic names where version 10 has topic
//!   ids. Their requests are read by hand (`cold_ids`); the responses are right in the crate.
//! - JoinGroup answers below version 7 have no null protocol name; a missing one is written as an empty string.
//!
//! Left to the caller: topic names must be set in Metadata answers below version 12 and DeleteTopics answers below 6.

use bytes::Bytes;
use kafka_protocol::messages as m;
use kafka_protocol::protocol::{Decodable, Encodable, Request, StrBytes};

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

    /// The response with what the crate would write wrongly in this version put right; `None` when nothing is.
    #[doc(hidden)]
    fn corrected(&self, _version: i16) -> Option<Self> {
        None
    }
}

impl ColdResponse for m::JoinGroupResponse {
    const KEY: i16 = key::JOIN_GROUP;

    /// The crate writes null for a missing protocol name in every version; below 7 there is no null.
    fn corrected(&self, version: i16) -> Option<Self> {
        let missing = version < 7 && self.protocol_name.is_none();
        missing.then(|| self.clone().with_protocol_name(Some(StrBytes::new())))
    }
}

impl ColdRequest for m::JoinGroupRequest {}

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
    T::decode(&mut body, version).map_err(|error| WireError::Codec(error.to_string()))
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
    let corrected = response.corrected(version);
    let response = corrected.as_ref().unwrap_or(response);
    let codec = |error: Box<dyn std::error::Error + Send + Sync>| WireError::Codec(error.to_string());
    let size = response.compute_size(layout).map_err(|error| codec(error.into()))?;
    let mut parts = ResponseParts::with_capacity(api_key, version, correlation_id, size)?;
    response.encode(parts.fields(), layout).map_err(|error| codec(error.into()))?;
    parts.finish_single()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::{Buf, BytesMut};
    use kafka_protocol::messages::ResponseHeader;

    /// Takes length and header off an encoded response.
    fn opened(mut bytes: Bytes, header_version: i16) -> Bytes {
        assert_eq!(bytes.get_i32() as usize, bytes.len(), "the length counts what follows it");
        let header = ResponseHeader::decode(&mut bytes, header_version).expect("header");
        assert_eq!(header.correlation_id, 8);
        bytes
    }

    #[test]
    fn responses_of_every_cold_version_read_back_behind_the_right_header() {
        macro_rules! check_all {
            ($($response:ident,)*) => {
                $(
                    let key = <m::$response as ColdResponse>::KEY;
                    let api = versions::find(key).expect("served");
                    for version in api.min..=api.max {
                        let sent = m::$response::default();
                        let bytes = encode_response(key, version, 8, &sent).expect("encodes");
                        let flexible = api.is_flexible(version) && key != key::API_VERSIONS;
                        let mut body = opened(bytes, i16::from(flexible));
                        let layout = generated_version(key, version);
                        let read = m::$response::decode(&mut body, layout).expect("reads back");
                        assert!(body.is_empty(), "{} {version}", api.name);
                        assert_eq!(read, sent.corrected(version).unwrap_or(sent), "{} {version}", api.name);
                    }
                )*
            };
        }
        check_all! {
            ListOffsetsResponse, MetadataResponse, OffsetCommitResponse, OffsetFetchResponse, FindCoordinatorResponse,
            JoinGroupResponse, HeartbeatResponse, LeaveGroupResponse, SyncGroupResponse, DescribeGroupsResponse,
            ListGroupsResponse, ApiVersionsResponse, CreateTopicsResponse, DeleteTopicsResponse, DeleteRecordsResponse,
            InitProducerIdResponse, OffsetForLeaderEpochResponse, DescribeConfigsResponse, AlterConfigsResponse,
            CreatePartitionsResponse, DeleteGroupsResponse, IncrementalAlterConfigsResponse, OffsetDeleteResponse,
            DescribeClusterResponse, DescribeTopicPartitionsResponse,
        }
    }

    #[test]
    fn the_api_versions_answer_has_header_zero_in_flexible_versions_too() {
        let bytes = encode_response(key::API_VERSIONS, 3, 8, &versions::api_versions_response()).expect("encodes");
        // Length, correlation id, and at once the error code and the compact count of rows.
        assert_eq!(bytes[8..11], [0, 0, versions::APIS.len() as u8 + 1]);
    }

    #[test]
    fn list_offsets_eleven_is_written_and_read_as_ten() {
        let request = m::ListOffsetsRequest::default().with_timeout_ms(5);
        let mut body = BytesMut::new();
        request.encode(&mut body, 10).expect("encodes");
        assert_eq!(decode_request(key::LIST_OFFSETS, 11, body.clone().freeze()), Ok(request));
        let beyond: Result<m::ListOffsetsRequest, _> = decode_request(key::LIST_OFFSETS, 12, body.freeze());
        assert_eq!(beyond, Err(WireError::UnsupportedVersion { api_key: 2, version: 12 }));
    }

    #[test]
    fn a_missing_protocol_name_is_empty_before_null_was_allowed() {
        let answer = m::JoinGroupResponse::default().with_protocol_name(None);
        for version in 0..=9 {
            let bytes = encode_response(key::JOIN_GROUP, version, 8, &answer).expect("encodes");
            let mut body = opened(bytes, i16::from(version >= 6));
            let read = m::JoinGroupResponse::decode(&mut body, version).expect("reads back");
            assert_eq!(read.protocol_name.as_deref(), (version < 7).then_some(""), "{version}");
        }
    }

    #[test]
    fn a_field_the_version_lacks_is_an_error_and_not_a_panic() {
        let answer = m::ListGroupsResponse::default().with_throttle_time_ms(3);
        assert!(encode_response(key::LIST_GROUPS, 5, 8, &answer).is_ok());
        let metadata = m::DescribeClusterResponse::default().with_endpoint_type(2);
        assert!(matches!(encode_response(key::DESCRIBE_CLUSTER, 0, 8, &metadata), Err(WireError::Codec(_))));
    }
}
