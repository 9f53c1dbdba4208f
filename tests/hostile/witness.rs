//! An honest client beside the hostile ones: each of its steps must be answered in time.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use kataract::batch::Codec;
use kataract::wire::messages as m;
use kataract::wire::versions::key;

use crate::client::Client;
use crate::requests::{self, FetchShape, decoded};

const POLICY_VIOLATION: i16 = 44;
/// How long removing thousands of partitions may take.
const ROOM_LIMIT: Duration = Duration::from_secs(60);

/// One honest connection and its topic.
#[derive(Debug)]
pub struct Witness {
    client: Client,
    topic: String,
    offset: i64,
    rounds: u32,
    /// The longest that one answer took.
    pub slowest: Duration,
}

impl Witness {
    pub fn new(address: SocketAddr, topic: &str) -> Witness {
        let topic = format!("witness-{topic}");
        let mut client = Client::connect(address);
        client.patience(Duration::from_secs(30));
        // It may be there already.
        client.ask(&requests::create_topic(&topic, 1)).unwrap_or_else(|why| panic!("CreateTopics: {why}"));
        Witness { client, topic, offset: 0, rounds: 0, slowest: Duration::ZERO }
    }

    /// A topic made and removed again, within `limit` each.
    pub fn administers(&mut self, limit: Duration) -> Result<(), String> {
        self.rounds += 1;
        let name = format!("{}-{}", self.topic, self.rounds);
        let create = requests::create_topic(&name, 1);
        let created: m::CreateTopicsResponse = self.step("CreateTopics", key::CREATE_TOPICS, 4, &create, limit)?;
        if created.topics[0].error_code == POLICY_VIOLATION {
            // Others have made as many partitions as the node has room for, and full is an answer.
            return self.makes_room();
        }
        if created.topics[0].error_code != 0 {
            return Err(format!("CreateTopics: {:?}", created.topics));
        }
        let body = m::DeleteTopicsRequest::default()
            .with_topic_names(vec![requests::text(&name).into()])
            .with_timeout_ms(30_000);
        let delete = requests::request(key::DELETE_TOPICS, 3, &body);
        let deleted: m::DeleteTopicsResponse = self.step("DeleteTopics", key::DELETE_TOPICS, 3, &delete, limit)?;
        match deleted.responses[0].error_code {
            0 => Ok(()),
            error => Err(format!("DeleteTopics: error {error}")),
        }
    }

    /// Removes every topic that is neither a witness's nor the one that requests are made about.
    fn makes_room(&mut self) -> Result<(), String> {
        let every = requests::frame(key::METADATA, 1, &(-1_i32).to_be_bytes());
        let known: m::MetadataResponse = self.step("Metadata", key::METADATA, 1, &every, ROOM_LIMIT)?;
        let names = known.topics.into_iter().filter(|topic| !topic.is_internal).filter_map(|topic| topic.name);
        let foreign = names.filter(|name| !name.starts_with("witness-") && !name.starts_with("orders-"));
        let body = m::DeleteTopicsRequest::default().with_topic_names(foreign.collect()).with_timeout_ms(30_000);
        println!("{} topics are removed to make room", body.topic_names.len());
        let delete = requests::request(key::DELETE_TOPICS, 3, &body);
        // Some may be gone by now.
        self.step::<m::DeleteTopicsResponse>("DeleteTopics", key::DELETE_TOPICS, 3, &delete, ROOM_LIMIT).map(|_| ())
    }

    /// Metadata, Produce, Fetch of what was produced; each answered within `limit`.
    pub fn works(&mut self, limit: Duration) -> Result<(), String> {
        let metadata: m::MetadataResponse =
            self.step("Metadata", key::METADATA, 8, &requests::metadata(8, &self.topic, false), limit)?;
        if metadata.topics.iter().any(|topic| topic.error_code != 0) {
            return Err(format!("Metadata: {:?}", metadata.topics));
        }
        let produce = requests::produce(&self.topic, -1, &requests::batch(Codec::None, 1));
        let produced: m::ProduceResponse = self.step("Produce", key::PRODUCE, 9, &produce, limit)?;
        let partition = &produced.responses[0].partition_responses[0];
        if partition.error_code != 0 {
            return Err(format!("Produce: error {}", partition.error_code));
        }
        self.offset = partition.base_offset;
        let shape = FetchShape { offset: self.offset, max_wait_ms: 500, min_bytes: 1, max_bytes: 1 << 20 };
        let fetched: m::FetchResponse =
            self.step("Fetch", key::FETCH, 12, &requests::fetch(&self.topic, shape), limit)?;
        let partition = &fetched.responses[0].partitions[0];
        match (&partition.records, partition.error_code) {
            (Some(records), 0) if !records.is_empty() => Ok(()),
            (records, error) => {
                let bytes = records.as_ref().map_or(0, |records| records.len());
                Err(format!("Fetch: error {error}, {bytes} bytes at offset {}", self.offset))
            }
        }
    }

    fn step<T: kafka_protocol::protocol::Decodable>(
        &mut self,
        name: &str,
        api_key: i16,
        version: i16,
        frame: &[u8],
        limit: Duration,
    ) -> Result<T, String> {
        let started = Instant::now();
        let answer = self.client.ask(frame).map_err(|why| format!("{name}: {why}"))?;
        let took = started.elapsed();
        self.slowest = self.slowest.max(took);
        if took > limit {
            return Err(format!("{name}: answered after {took:?}, allowed are {limit:?}"));
        }
        decoded(api_key, version, answer).map_err(|why| format!("{name}: {why}"))
    }
}
