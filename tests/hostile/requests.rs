//! Well-formed requests, as a client would send them.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::{Decodable, Encodable};
use kataract::batch::Codec;
use kataract::batch::build::BatchBuilder;
use kataract::wire::messages as m;
use kataract::wire::versions::{self, key};
use kataract::wire::{MessageUuid, StrBytes};

/// The correlation id of every request: answers are told apart by their order.
pub const CORRELATION: i32 = 77;

pub fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

/// A frame with a header that fits API and version.
pub fn frame(api_key: i16, version: i16, body: &[u8]) -> Vec<u8> {
    let flexible = versions::find(api_key).is_some_and(|api| api.is_flexible(version));
    let mut payload = Vec::with_capacity(body.len() + 32);
    payload.put_i16(api_key);
    payload.put_i16(version);
    payload.put_i32(CORRELATION);
    payload.put_i16(7);
    payload.put_slice(b"hostile");
    if flexible {
        payload.put_u8(0);
    }
    payload.put_slice(body);
    framed(&payload)
}

/// `payload` with its length in front.
pub fn framed(payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(payload.len() + 4);
    frame.put_i32(i32::try_from(payload.len()).expect("a frame below 2 GiB"));
    frame.put_slice(payload);
    frame
}

pub fn request<T: Encodable>(api_key: i16, version: i16, request: &T) -> Vec<u8> {
    frame(api_key, version, &encoded(version, request))
}

pub fn encoded<T: Encodable>(version: i16, request: &T) -> Bytes {
    let mut body = BytesMut::new();
    request.encode(&mut body, version).unwrap_or_else(|error| panic!("version {version}: {error}"));
    body.freeze()
}

/// Reads an answer, its header included.
pub fn decoded<T: Decodable>(api_key: i16, version: i16, answer: Vec<u8>) -> Result<T, String> {
    let mut bytes = Bytes::from(answer);
    let api = versions::find(api_key).expect("a served API");
    let header = i16::from(api.is_flexible(version) && api_key != key::API_VERSIONS);
    m::ResponseHeader::decode(&mut bytes, header).map_err(|error| error.to_string())?;
    T::decode(&mut bytes, version).map_err(|error| error.to_string())
}

pub fn api_versions() -> Vec<u8> {
    request(key::API_VERSIONS, 0, &m::ApiVersionsRequest::default())
}

/// Metadata of one topic.
pub fn metadata(version: i16, topic: &str, create: bool) -> Vec<u8> {
    use m::metadata_request::MetadataRequestTopic;
    let topic = MetadataRequestTopic::default().with_name(Some(text(topic).into()));
    let mut body = m::MetadataRequest::default().with_topics(Some(vec![topic]));
    if version >= 4 {
        body.allow_auto_topic_creation = create;
    }
    request(key::METADATA, version, &body)
}

pub fn create_topic(topic: &str, partitions: i32) -> Vec<u8> {
    use m::create_topics_request::CreatableTopic;
    let topic = CreatableTopic::default()
        .with_name(text(topic).into())
        .with_num_partitions(partitions)
        .with_replication_factor(1);
    let body = m::CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(30_000);
    request(key::CREATE_TOPICS, 4, &body)
}

/// A batch of `count` records under `codec`.
pub fn batch(codec: Codec, count: usize) -> Bytes {
    let mut builder = BatchBuilder::new(0).codec(codec, None);
    for index in 0..count {
        let value = format!("value {index} {}", "abcdefghij".repeat(index % 5));
        builder.push_with_headers(
            now_ms(),
            Some(format!("key-{index}").as_bytes()),
            Some(value.as_bytes()),
            &[(b"n", Some(b"1")), (b"none", None)],
        );
    }
    builder.finish()
}

pub fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock after 1970");
    since.as_millis() as i64
}

/// Names and, for versions that want one, the id of a topic.
#[derive(Clone, Debug)]
pub struct Topic {
    pub name: String,
    pub id: MessageUuid,
}

/// The body of a Produce request with one batch.
pub fn produce_body(version: i16, topic: &Topic, partition: i32, acks: i16, batch: &Bytes) -> Bytes {
    use m::produce_request::{PartitionProduceData, TopicProduceData};
    let data = PartitionProduceData::default().with_index(partition).with_records(Some(batch.clone()));
    let mut topic_data = TopicProduceData::default().with_partition_data(vec![data]);
    if version >= 13 {
        topic_data.topic_id = topic.id;
    } else {
        topic_data.name = text(&topic.name).into();
    }
    let body = m::ProduceRequest::default().with_acks(acks).with_timeout_ms(5_000).with_topic_data(vec![topic_data]);
    encoded(version, &body)
}

pub fn produce(topic: &str, acks: i16, batch: &Bytes) -> Vec<u8> {
    let topic = Topic { name: topic.to_owned(), id: MessageUuid::nil() };
    frame(key::PRODUCE, 9, &produce_body(9, &topic, 0, acks, batch))
}

/// How a fetch asks.
#[derive(Clone, Copy, Debug)]
pub struct FetchShape {
    pub offset: i64,
    pub max_wait_ms: i32,
    pub min_bytes: i32,
    pub max_bytes: i32,
}

/// The body of a Fetch request for one partition.
pub fn fetch_body(version: i16, topic: &Topic, partition: i32, shape: FetchShape) -> Bytes {
    use m::fetch_request::{FetchPartition, FetchTopic};
    let mut asked = FetchPartition::default()
        .with_partition(partition)
        .with_fetch_offset(shape.offset)
        .with_partition_max_bytes(shape.max_bytes)
        .with_log_start_offset(-1);
    if version >= 9 {
        asked.current_leader_epoch = -1;
    }
    let mut of_topic = FetchTopic::default().with_partitions(vec![asked]);
    if version >= 13 {
        of_topic.topic_id = topic.id;
    } else {
        of_topic.topic = text(&topic.name).into();
    }
    let mut body = m::FetchRequest::default()
        .with_max_wait_ms(shape.max_wait_ms)
        .with_min_bytes(shape.min_bytes)
        .with_max_bytes(shape.max_bytes)
        .with_topics(vec![of_topic]);
    if version < 15 {
        body.replica_id = m::BrokerId(-1);
    }
    encoded(version, &body)
}

pub fn fetch(topic: &str, shape: FetchShape) -> Vec<u8> {
    let topic = Topic { name: topic.to_owned(), id: MessageUuid::nil() };
    frame(key::FETCH, 12, &fetch_body(12, &topic, 0, shape))
}
