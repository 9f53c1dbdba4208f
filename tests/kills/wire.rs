//! A connection that speaks the protocol by itself, so that what is asked, and how often, is known exactly.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    ApiVersionsRequest, FetchRequest, GroupId, InitProducerIdRequest, ListOffsetsRequest, MetadataRequest,
    OffsetFetchRequest, ProduceRequest, RequestHeader, ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};

/// No answer takes longer than this.
const LIMIT: Duration = Duration::from_secs(20);
/// Bytes one Fetch may bring.
const FETCH_BYTES: i32 = 8 << 20;
/// Asks ListOffsets for the high watermark.
pub const LATEST: i64 = -1;

/// One connection to a node.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    correlation: i32,
}

fn say(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn good(what: &str, code: i16) -> Result<(), String> {
    if code == 0 { Ok(()) } else { Err(format!("{what}: error code {code}")) }
}

fn name(text: &str) -> TopicName {
    TopicName(StrBytes::from_string(text.to_owned()))
}

/// A request with its header and length.
fn frame<R: Request>(correlation: i32, version: i16, request: &R) -> Result<Vec<u8>, String> {
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(correlation)
        .with_client_id(Some(StrBytes::from_static_str("kills")));
    let mut body = BytesMut::new();
    header.encode(&mut body, R::header_version(version)).map_err(say)?;
    request.encode(&mut body, version).map_err(say)?;
    let mut frame = i32::try_from(body.len()).map_err(say)?.to_be_bytes().to_vec();
    frame.extend_from_slice(&body);
    Ok(frame)
}

fn fetch_request(topic: &str, partition: i32, offset: i64) -> FetchRequest {
    let asked = FetchPartition::default()
        .with_partition(partition)
        .with_current_leader_epoch(-1)
        .with_fetch_offset(offset)
        .with_log_start_offset(-1)
        .with_partition_max_bytes(FETCH_BYTES);
    FetchRequest::default()
        .with_replica_id((-1).into())
        .with_max_wait_ms(0)
        .with_min_bytes(0)
        .with_max_bytes(FETCH_BYTES)
        .with_session_epoch(-1)
        .with_topics(vec![FetchTopic::default().with_topic(name(topic)).with_partitions(vec![asked])])
}

impl Wire {
    pub fn connect(address: &str) -> Result<Wire, String> {
        let address: SocketAddr = address.parse().map_err(say)?;
        let stream = TcpStream::connect_timeout(&address, LIMIT).map_err(say)?;
        stream.set_read_timeout(Some(LIMIT)).map_err(say)?;
        stream.set_write_timeout(Some(LIMIT)).map_err(say)?;
        stream.set_nodelay(true).map_err(say)?;
        Ok(Wire { stream, correlation: 0 })
    }

    pub fn call<R: Request>(&mut self, version: i16, request: &R) -> Result<R::Response, String> {
        self.correlation += 1;
        let frame = frame(self.correlation, version, request)?;
        self.stream.write_all(&frame).map_err(say)?;
        let mut len = [0; 4];
        self.stream.read_exact(&mut len).map_err(say)?;
        let mut answer = vec![0; usize::try_from(i32::from_be_bytes(len)).map_err(say)?];
        self.stream.read_exact(&mut answer).map_err(say)?;
        let mut answer = Bytes::from(answer);
        let header = ResponseHeader::decode(&mut answer, R::Response::header_version(version)).map_err(say)?;
        if header.correlation_id != self.correlation {
            return Err(format!("answer {} to request {}", header.correlation_id, self.correlation));
        }
        let response = R::Response::decode(&mut answer, version).map_err(say)?;
        if answer.has_remaining() { Err(format!("{} bytes too many", answer.remaining())) } else { Ok(response) }
    }

    pub fn api_versions(&mut self) -> Result<(), String> {
        let answer = self.call(0, &ApiVersionsRequest::default())?;
        good("ApiVersions", answer.error_code)
    }

    /// Partitions of a topic, all of which must have a leader.
    pub fn partitions(&mut self, topic: &str) -> Result<Vec<i32>, String> {
        let asked = MetadataRequestTopic::default().with_name(Some(name(topic)));
        let request = MetadataRequest::default().with_topics(Some(vec![asked])).with_allow_auto_topic_creation(false);
        let answer = self.call(9, &request)?;
        let found = answer.topics.first().ok_or("Metadata without the topic")?;
        good("Metadata", found.error_code)?;
        let mut partitions = Vec::new();
        for partition in &found.partitions {
            good(&format!("Metadata of {topic}-{}", partition.partition_index), partition.error_code)?;
            partitions.push(partition.partition_index);
        }
        partitions.sort_unstable();
        Ok(partitions)
    }

    /// Offset of each partition at `timestamp` ([`LATEST`], say).
    pub fn offsets(&mut self, topic: &str, partitions: &[i32], timestamp: i64) -> Result<Vec<i64>, String> {
        let ask = |&index: &i32| {
            ListOffsetsPartition::default()
                .with_partition_index(index)
                .with_current_leader_epoch(-1)
                .with_timestamp(timestamp)
        };
        let asked = partitions.iter().map(ask).collect();
        let topics = vec![ListOffsetsTopic::default().with_name(name(topic)).with_partitions(asked)];
        let request = ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(topics);
        let answer = self.call(5, &request)?;
        let found = &answer.topics.first().ok_or("ListOffsets without the topic")?.partitions;
        let mut offsets = Vec::new();
        for index in partitions {
            let one = found.iter().find(|one| one.partition_index == *index).ok_or("a partition is missing")?;
            good(&format!("ListOffsets of {topic}-{index}"), one.error_code)?;
            offsets.push(one.offset);
        }
        Ok(offsets)
    }

    /// Record bytes from an offset on, and the high watermark; waits for nothing.
    pub fn fetch(&mut self, topic: &str, partition: i32, offset: i64) -> Result<(Bytes, i64), String> {
        let answer = self.call(11, &fetch_request(topic, partition, offset))?;
        good("Fetch", answer.error_code)?;
        let found = answer.responses.first().and_then(|topic| topic.partitions.first()).ok_or("an empty Fetch")?;
        good(&format!("Fetch of {topic}-{partition} at {offset}"), found.error_code)?;
        Ok((found.records.clone().unwrap_or_default(), found.high_watermark))
    }

    /// A Fetch as bytes, for somebody who does not want the answer.
    pub fn fetch_frame(topic: &str, partition: i32, offset: i64) -> Vec<u8> {
        frame(1, 11, &fetch_request(topic, partition, offset)).expect("a request that can be encoded")
    }

    /// Appends a batch with acks=all: the error code and the base offset.
    pub fn produce(&mut self, topic: &str, partition: i32, batch: Bytes) -> Result<(i16, i64), String> {
        let data = PartitionProduceData::default().with_index(partition).with_records(Some(batch));
        let data = TopicProduceData::default().with_name(name(topic)).with_partition_data(vec![data]);
        let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(5000).with_topic_data(vec![data]);
        let answer = self.call(7, &request)?;
        let found = answer.responses.first().and_then(|topic| topic.partition_responses.first());
        let found = found.ok_or("an empty answer to Produce")?;
        Ok((found.error_code, found.base_offset))
    }

    /// Committed offset of each partition; -1 where there is none.
    pub fn committed(&mut self, group: &str, topic: &str, partitions: &[i32]) -> Result<Vec<i64>, String> {
        let asked =
            OffsetFetchRequestTopic::default().with_name(name(topic)).with_partition_indexes(partitions.to_vec());
        let request = OffsetFetchRequest::default()
            .with_group_id(GroupId(StrBytes::from_string(group.to_owned())))
            .with_topics(Some(vec![asked]));
        let answer = self.call(5, &request)?;
        good("OffsetFetch", answer.error_code)?;
        let found = &answer.topics.first().ok_or("OffsetFetch without the topic")?.partitions;
        let mut offsets = Vec::new();
        for index in partitions {
            let one = found.iter().find(|one| one.partition_index == *index).ok_or("a partition is missing")?;
            good(&format!("OffsetFetch of {topic}-{index}"), one.error_code)?;
            offsets.push(one.committed_offset);
        }
        Ok(offsets)
    }

    /// A producer id that nobody else has.
    pub fn producer_id(&mut self) -> Result<i64, String> {
        let request = InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(60_000);
        let answer = self.call(1, &request)?;
        good("InitProducerId", answer.error_code)?;
        Ok(answer.producer_id.0)
    }

    /// Metadata, and a Fetch of the last record of every partition: what a client needs before it can work.
    pub fn serves(&mut self, topics: &[(&str, i32)]) -> Result<(), String> {
        self.api_versions()?;
        for (topic, count) in topics {
            let partitions = self.partitions(topic)?;
            if partitions != (0..*count).collect::<Vec<i32>>() {
                return Err(format!("{topic} has the partitions {partitions:?}"));
            }
            let ends = self.offsets(topic, &partitions, LATEST)?;
            for (partition, end) in partitions.iter().zip(ends) {
                let (records, high_watermark) = self.fetch(topic, *partition, (end - 1).max(0))?;
                if high_watermark < end || (end > 0 && records.is_empty()) {
                    return Err(format!("{topic}-{partition} ends at {end}, the fetch brought nothing"));
                }
            }
        }
        Ok(())
    }
}
