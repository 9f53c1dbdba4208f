//! librdkafka, through the rdkafka crate: every codec, idempotence, and producing while the node is killed.

use std::collections::HashMap;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant, UNIX_EPOCH};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Headers, Message, OwnedHeaders, OwnedMessage};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};

use crate::librdkafka_group;
use crate::running::Shared;

pub const LIMIT: Duration = Duration::from_secs(60);
const PARTITIONS: i32 = 3;

/// Runs one scenario and returns what would be its last line.
pub fn run(bootstrap: &str, scenario: &str, shared: &Shared) -> Result<String, String> {
    match scenario {
        "roundtrip" => roundtrip(bootstrap),
        "idempotent" => idempotent(bootstrap),
        "group" => librdkafka_group::group(bootstrap),
        "survive" => {
            survive(bootstrap, shared, "survive", &[("enable.idempotence", "true"), ("retry.backoff.ms", "50")])
        }
        // Whatever a broker says but yes is an error to it.
        "brittle" => survive(bootstrap, shared, "brittle", &[("message.send.max.retries", "0")]),
        other => Err(format!("unknown scenario {other}")),
    }
}

pub fn say(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// `Err(message())` unless `condition`.
pub fn check(condition: bool, message: impl FnOnce() -> String) -> Result<(), String> {
    if condition { Ok(()) } else { Err(message()) }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The admin calls of the crate are futures; this thread has nothing else to do meanwhile.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return value;
        }
        thread::park();
    }
}

pub fn config(bootstrap: &str, settings: &[(&str, &str)]) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap);
    for (name, value) in settings {
        config.set(*name, *value);
    }
    config
}

/// A topic whose name no other run has used.
pub fn new_topic(bootstrap: &str, name: &str, partitions: i32) -> Result<String, String> {
    let stamp = UNIX_EPOCH.elapsed().map_err(say)?.as_millis();
    let name = format!("librdkafka-{name}-{stamp}");
    let admin: AdminClient<DefaultClientContext> = config(bootstrap, &[]).create().map_err(say)?;
    let topic = NewTopic::new(&name, partitions, TopicReplication::Fixed(1));
    let options = AdminOptions::new().request_timeout(Some(LIMIT)).operation_timeout(Some(LIMIT));
    let answer = block_on(admin.create_topics([&topic], &options)).map_err(say)?;
    for one in answer {
        one.map_err(|(topic, code)| format!("create {topic}: {code}"))?;
    }
    Ok(name)
}

/// What the broker said about each record: where it is, or why not.
#[derive(Default)]
pub struct Acks {
    done: Mutex<Done>,
}

#[derive(Default)]
struct Done {
    offsets: HashMap<Vec<u8>, (i32, i64)>,
    failed: Vec<String>,
}

impl ClientContext for Acks {}

impl ProducerContext for Acks {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let mut done = self.done.lock().expect("no panic under lock");
        match result {
            Ok(message) => {
                let value = message.payload().unwrap_or_default().to_vec();
                done.offsets.insert(value, (message.partition(), message.offset()));
            }
            Err((error, message)) => {
                let value = String::from_utf8_lossy(message.payload().unwrap_or_default()).into_owned();
                done.failed.push(format!("{value}: {error}"));
            }
        }
    }
}

/// A producer with acks=all and what was acknowledged to it.
pub struct Sender {
    producer: ThreadedProducer<Acks>,
    topic: String,
}

impl Sender {
    pub fn new(bootstrap: &str, topic: &str, settings: &[(&str, &str)]) -> Result<Sender, String> {
        let mut config = config(bootstrap, &[("acks", "all"), ("linger.ms", "5"), ("message.timeout.ms", "120000")]);
        for (name, value) in settings {
            config.set(*name, *value);
        }
        Ok(Sender { producer: config.create_with_context(Acks::default()).map_err(say)?, topic: topic.to_owned() })
    }

    pub fn send(&self, key: &str, value: &str, partition: Option<i32>) -> Result<(), String> {
        loop {
            let headers =
                OwnedHeaders::new()
                    .insert(Header { key: "value", value: Some(value) })
                    .insert(Header::<&str> { key: "none", value: None });
            let mut record = BaseRecord::to(&self.topic).key(key).payload(value).headers(headers);
            record.partition = partition;
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    thread::sleep(Duration::from_millis(10));
                }
                Err((error, _)) => return Err(format!("{value}: {error}")),
            }
        }
    }

    pub fn acked(&self) -> usize {
        self.producer.context().done.lock().expect("no panic under lock").offsets.len()
    }

    /// Waits for everything in flight; value → (partition, offset).
    pub fn finish(&self) -> Result<HashMap<Vec<u8>, (i32, i64)>, String> {
        self.producer.flush(2 * LIMIT).map_err(say)?;
        let mut done = self.producer.context().done.lock().expect("no panic under lock");
        check(done.failed.is_empty(), || format!("{} failed, first {}", done.failed.len(), done.failed[0]))?;
        Ok(std::mem::take(&mut done.offsets))
    }
}

/// Each partition's records, from its start to its end as of now.
fn read_all(bootstrap: &str, topic: &str) -> Result<Vec<Vec<OwnedMessage>>, String> {
    let settings = [("group.id", "unused"), ("enable.auto.commit", "false"), ("check.crcs", "true")];
    let consumer: BaseConsumer = config(bootstrap, &settings).create().map_err(say)?;
    let (mut parts, mut ends, mut missing) = (TopicPartitionList::new(), Vec::new(), 0);
    for partition in 0..PARTITIONS {
        parts.add_partition_offset(topic, partition, Offset::Beginning).map_err(say)?;
        ends.push(consumer.fetch_watermarks(topic, partition, LIMIT).map_err(say)?.1);
        missing += usize::from(ends.last() != Some(&0));
    }
    consumer.assign(&parts).map_err(say)?;
    let mut held = vec![Vec::new(); ends.len()];
    let deadline = Instant::now() + LIMIT;
    while missing > 0 {
        check(Instant::now() < deadline, || format!("reading {topic} took too long; ends are {ends:?}"))?;
        let Some(record) = consumer.poll(Duration::from_millis(200)) else { continue };
        let record = record.map_err(say)?.detach();
        let partition = usize::try_from(record.partition()).map_err(say)?;
        missing -= usize::from(record.offset() + 1 == ends[partition]);
        held[partition].push(record);
    }
    Ok(held)
}

fn text(bytes: Option<&[u8]>) -> String {
    String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned()
}

fn roundtrip(bootstrap: &str) -> Result<String, String> {
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let topic = new_topic(bootstrap, &format!("roundtrip-{codec}"), PARTITIONS)?;
        let sender = Sender::new(bootstrap, &topic, &[("compression.type", codec)])?;
        for n in 0..600 {
            sender.send(&format!("key-{}", n % 20), &format!("{n}/{}", "x".repeat(100)), None)?;
        }
        sender.finish()?;
        let (mut last, mut count) = (HashMap::new(), 0);
        for record in read_all(bootstrap, &topic)?.iter().flatten() {
            let (key, value) = (text(record.key()), text(record.payload()));
            let n: i32 = value.split('/').next().unwrap_or_default().parse().map_err(say)?;
            check(key == format!("key-{}", n % 20), || format!("{codec}: record {n} has key {key}"))?;
            let headers = record.headers().ok_or_else(|| format!("{codec}: record {n} lost its headers"))?;
            let wanted = headers.count() == 2
                && headers.get(0) == Header { key: "value", value: Some(value.as_bytes()) }
                && headers.get(1) == Header { key: "none", value: None };
            check(wanted, || format!("{codec}: record {n} has headers {headers:?}"))?;
            let (before, home) = last.insert(key.clone(), (n, record.partition())).unwrap_or((-1, record.partition()));
            check(before < n, || format!("{codec}: {n} after {before} for {key}"))?;
            check(home == record.partition(), || format!("{codec}: {key} moved"))?;
            count += 1;
        }
        check(count == 600, || format!("{codec}: {count} records instead of 600"))?;
    }
    Ok("OK 3000 records in 5 codecs".to_owned())
}

/// The partitions hold exactly what was sent, in order, where the acknowledgements said.
fn verify_exact(bootstrap: &str, sender: &Sender, sent: &[usize; 3]) -> Result<usize, String> {
    let acked = sender.finish()?;
    for (partition, rows) in read_all(bootstrap, &sender.topic)?.iter().enumerate() {
        let wanted = sent[partition];
        check(rows.len() == wanted, || format!("partition {partition} holds {} of {wanted} records", rows.len()))?;
        for (n, record) in rows.iter().enumerate() {
            let value = text(record.payload());
            check(value == format!("{partition}/{n}"), || format!("{value} stands where {partition}/{n} should"))?;
            let place = acked.get(value.as_bytes());
            check(place == Some(&(record.partition(), record.offset())), || {
                format!("{value} is at {}, acknowledged at {place:?}", record.offset())
            })?;
        }
    }
    Ok(sent.iter().sum())
}

fn idempotent(bootstrap: &str) -> Result<String, String> {
    let topic = new_topic(bootstrap, "idempotent", PARTITIONS)?;
    let sender = Sender::new(bootstrap, &topic, &[("enable.idempotence", "true"), ("batch.num.messages", "50")])?;
    let mut sent = [0; 3];
    for n in 0..6000 {
        send_next(&sender, &mut sent, n % 3)?;
    }
    verify_exact(bootstrap, &sender, &sent).map(|count| format!("OK {count} records exactly once"))
}

fn send_next(sender: &Sender, sent: &mut [usize; 3], partition: usize) -> Result<(), String> {
    let value = format!("{partition}/{}", sent[partition]);
    sent[partition] += 1;
    sender.send("", &value, Some(i32::try_from(partition).map_err(say)?))
}

fn survive(bootstrap: &str, shared: &Shared, name: &str, settings: &[(&str, &str)]) -> Result<String, String> {
    let topic = new_topic(bootstrap, name, PARTITIONS)?;
    let settings = [settings, &[("reconnect.backoff.max.ms", "500")]].concat();
    let sender = Sender::new(bootstrap, &topic, &settings)?;
    let mut sent = [0; 3];
    while !shared.ended.load(Ordering::Relaxed) {
        // A node that is away must not make the backlog grow without end.
        if sent.iter().sum::<usize>() < sender.acked() + 5000 {
            for n in 0..30 {
                send_next(&sender, &mut sent, n % 3)?;
            }
        }
        thread::sleep(Duration::from_millis(20));
        shared.acked.store(sender.acked() as u64, Ordering::Relaxed);
    }
    let count = verify_exact(bootstrap, &sender, &sent)?;
    Ok(format!("OK {count} acknowledged records are there once and in order"))
}
