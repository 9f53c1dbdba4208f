//! What is served: one row an API. The ApiVersions answer, the header rules and the codecs all read this table.
//!
//! Rules behind the rows (Kafka 4.3.1): Produce is advertised from 0 although 0-2 are not served, since librdkafka
//! otherwise switches compression off (KAFKA-18659); JoinGroup must start at 0 (KAFKA-19444); InitProducerId 6 is
//! marked unstable in Kafka and is not served.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::ApiVersionsResponse;
use kafka_protocol::messages::api_versions_response::ApiVersion;

use super::{ErrorCode, WireError};

/// API keys by name.
pub mod key {
    pub const PRODUCE: i16 = 0;
    pub const FETCH: i16 = 1;
    pub const LIST_OFFSETS: i16 = 2;
    pub const METADATA: i16 = 3;
    pub const OFFSET_COMMIT: i16 = 8;
    pub const OFFSET_FETCH: i16 = 9;
    pub const FIND_COORDINATOR: i16 = 10;
    pub const JOIN_GROUP: i16 = 11;
    pub const HEARTBEAT: i16 = 12;
    pub const LEAVE_GROUP: i16 = 13;
    pub const SYNC_GROUP: i16 = 14;
    pub const DESCRIBE_GROUPS: i16 = 15;
    pub const LIST_GROUPS: i16 = 16;
    pub const API_VERSIONS: i16 = 18;
    pub const CREATE_TOPICS: i16 = 19;
    pub const DELETE_TOPICS: i16 = 20;
    pub const DELETE_RECORDS: i16 = 21;
    pub const INIT_PRODUCER_ID: i16 = 22;
    pub const OFFSET_FOR_LEADER_EPOCH: i16 = 23;
    pub const DESCRIBE_CONFIGS: i16 = 32;
    pub const ALTER_CONFIGS: i16 = 33;
    pub const CREATE_PARTITIONS: i16 = 37;
    pub const DELETE_GROUPS: i16 = 42;
    pub const INCREMENTAL_ALTER_CONFIGS: i16 = 44;
    pub const OFFSET_DELETE: i16 = 47;
    pub const DESCRIBE_CLUSTER: i16 = 60;
    pub const DESCRIBE_TOPIC_PARTITIONS: i16 = 75;
}

/// Which codec reads and writes an API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// Hand-written: [`super::produce`], [`super::fetch`].
    Hot,
    /// The generated one behind the guard: [`super::cold`].
    Cold,
}

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Api {
    pub key: i16,
    /// Kafka's name of the API.
    pub name: &'static str,
    /// Lowest version told to clients; below `min` only for Produce.
    pub min_advertised: i16,
    /// Lowest version served.
    pub min: i16,
    /// Highest version told to clients and served.
    pub max: i16,
    /// From this version on: compact lengths, tagged fields, request header v2, response header v1. `i16::MAX`: never.
    pub flexible_from: i16,
    pub codec: Codec,
}

impl Api {
    /// Whether requests of this version are served.
    pub fn serves(&self, version: i16) -> bool {
        (self.min..=self.max).contains(&version)
    }

    /// Whether this version has compact lengths and tagged fields.
    pub fn is_flexible(&self, version: i16) -> bool {
        version >= self.flexible_from
    }
}

const fn hot(key: i16, name: &'static str, min_advertised: i16, min: i16, max: i16, flexible_from: i16) -> Api {
    Api { key, name, min_advertised, min, max, flexible_from, codec: Codec::Hot }
}

const fn cold(key: i16, name: &'static str, min: i16, max: i16, flexible_from: i16) -> Api {
    Api { key, name, min_advertised: min, min, max, flexible_from, codec: Codec::Cold }
}

const NEVER: i16 = i16::MAX;

/// Everything that is served, ordered by key.
pub const APIS: [Api; 27] = [
    hot(key::PRODUCE, "Produce", 0, 3, 13, 9),
    hot(key::FETCH, "Fetch", 4, 4, 18, 12),
    cold(key::LIST_OFFSETS, "ListOffsets", 1, 11, 6),
    cold(key::METADATA, "Metadata", 0, 13, 9),
    cold(key::OFFSET_COMMIT, "OffsetCommit", 2, 10, 8),
    cold(key::OFFSET_FETCH, "OffsetFetch", 1, 10, 6),
    cold(key::FIND_COORDINATOR, "FindCoordinator", 0, 6, 3),
    cold(key::JOIN_GROUP, "JoinGroup", 0, 9, 6),
    cold(key::HEARTBEAT, "Heartbeat", 0, 4, 4),
    cold(key::LEAVE_GROUP, "LeaveGroup", 0, 5, 4),
    cold(key::SYNC_GROUP, "SyncGroup", 0, 5, 4),
    cold(key::DESCRIBE_GROUPS, "DescribeGroups", 0, 6, 5),
    cold(key::LIST_GROUPS, "ListGroups", 0, 5, 3),
    cold(key::API_VERSIONS, "ApiVersions", 0, 4, 3),
    cold(key::CREATE_TOPICS, "CreateTopics", 2, 7, 5),
    cold(key::DELETE_TOPICS, "DeleteTopics", 1, 6, 4),
    cold(key::DELETE_RECORDS, "DeleteRecords", 0, 2, 2),
    cold(key::INIT_PRODUCER_ID, "InitProducerId", 0, 5, 2),
    cold(key::OFFSET_FOR_LEADER_EPOCH, "OffsetForLeaderEpoch", 2, 4, 4),
    cold(key::DESCRIBE_CONFIGS, "DescribeConfigs", 1, 4, 4),
    cold(key::ALTER_CONFIGS, "AlterConfigs", 0, 2, 2),
    cold(key::CREATE_PARTITIONS, "CreatePartitions", 0, 3, 2),
    cold(key::DELETE_GROUPS, "DeleteGroups", 0, 2, 2),
    cold(key::INCREMENTAL_ALTER_CONFIGS, "IncrementalAlterConfigs", 0, 1, 1),
    cold(key::OFFSET_DELETE, "OffsetDelete", 0, 0, NEVER),
    cold(key::DESCRIBE_CLUSTER, "DescribeCluster", 0, 2, 0),
    cold(key::DESCRIBE_TOPIC_PARTITIONS, "DescribeTopicPartitions", 0, 0, 0),
];

/// The row of an API, `None` when it is not served.
pub fn find(key: i16) -> Option<&'static Api> {
    APIS.binary_search_by_key(&key, |api| api.key).ok().map(|index| &APIS[index])
}

/// The row of an API, after checking that `version` is served.
pub fn served(key: i16, version: i16) -> Result<&'static Api, WireError> {
    let api = find(key).ok_or(WireError::UnknownApi(key))?;
    if api.serves(version) { Ok(api) } else { Err(WireError::UnsupportedVersion { api_key: key, version }) }
}

/// The ApiVersions answer with every row of the table; features are left for the caller to add.
pub fn api_versions_response() -> ApiVersionsResponse {
    let ranges = APIS.iter().map(|api| {
        ApiVersion::default().with_api_key(api.key).with_min_version(api.min_advertised).with_max_version(api.max)
    });
    ApiVersionsResponse::default().with_api_keys(ranges.collect())
}

/// The whole answer, length and header included, to an ApiVersions request of an unknown version: version 0 layout,
/// error 35, and the supported range of ApiVersions itself, from which the client picks a version for its next try
/// (KIP-511).
pub fn unsupported_api_versions_response(correlation_id: i32) -> Bytes {
    let mut bytes = BytesMut::with_capacity(20);
    bytes.put_i32(16);
    bytes.put_i32(correlation_id);
    bytes.put_i16(ErrorCode::UnsupportedVersion.code());
    bytes.put_i32(1);
    bytes.put_i16(key::API_VERSIONS);
    let own = find(key::API_VERSIONS);
    bytes.put_i16(own.map_or(0, |api| api.min_advertised));
    bytes.put_i16(own.map_or(0, |api| api.max));
    bytes.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::messages::{ApiKey, ResponseHeader};
    use kafka_protocol::protocol::Decodable;

    #[test]
    fn the_table_is_sorted_and_every_range_is_sensible() {
        assert!(APIS.windows(2).all(|pair| pair[0].key < pair[1].key));
        for api in APIS {
            assert!(0 <= api.min_advertised && api.min_advertised <= api.min && api.min <= api.max, "{}", api.name);
            assert_eq!(find(api.key), Some(&api));
            assert!(served(api.key, api.min).is_ok() && served(api.key, api.max).is_ok());
            assert!(served(api.key, api.max + 1).is_err() && served(api.key, -1).is_err());
        }
        assert_eq!(served(71, 0), Err(WireError::UnknownApi(71)));
        assert_eq!(served(0, 2), Err(WireError::UnsupportedVersion { api_key: 0, version: 2 }), "advertised only");
    }

    #[test]
    fn names_flexible_versions_and_header_versions_agree_with_the_generated_ones() {
        for api in APIS {
            let theirs = ApiKey::try_from(api.key).expect("known key");
            assert_eq!(format!("{theirs:?}"), api.name);
            for version in api.min..=api.max {
                let flexible = api.is_flexible(version);
                assert_eq!(theirs.request_header_version(version), 1 + i16::from(flexible), "{} {version}", api.name);
                let response = i16::from(flexible && api.key != key::API_VERSIONS);
                assert_eq!(theirs.response_header_version(version), response, "{} {version}", api.name);
            }
        }
    }

    #[test]
    fn the_answer_advertises_every_row_with_produce_from_zero() {
        let answer = api_versions_response();
        assert_eq!(answer.api_keys.len(), APIS.len());
        let produce = &answer.api_keys[0];
        assert_eq!((produce.api_key, produce.min_version, produce.max_version), (0, 0, 13));
    }

    #[test]
    fn an_unknown_version_is_answered_in_layout_zero_with_the_range_of_key_eighteen() {
        let mut bytes = unsupported_api_versions_response(77);
        assert_eq!(bytes.split_to(4).as_ref(), (bytes.len() as i32).to_be_bytes());
        let header = ResponseHeader::decode(&mut bytes, 0).expect("header");
        assert_eq!(header.correlation_id, 77);
        let answer = ApiVersionsResponse::decode(&mut bytes, 0).expect("body");
        assert!(bytes.is_empty());
        assert_eq!(answer.error_code, 35);
        let ranges: Vec<_> = answer.api_keys.iter().map(|r| (r.api_key, r.min_version, r.max_version)).collect();
        assert_eq!(ranges, [(18, 0, 4)]);
    }
}
