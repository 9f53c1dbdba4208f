//! The client library under load: producers and consumers of librdkafka, with whatever settings it knows.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};

use super::cluster::Offsets;
use super::meter::{Counts, Recorder};
use super::pacing::{self, Schedule};
use super::payload::Payload;
use super::raw::produce::stamp_in;
use super::workload::{STAMP_BYTES, Workload};
use crate::cli::args::ClientArgs;
use crate::cli::client::{self, Quiet};
use crate::cli::output::Failure;

/// How long a sender waits when the library's queue is full, and a waiting one until it looks again.
const FULL_NAP: Duration = Duration::from_millis(1);
const GATE_NAP: Duration = Duration::from_millis(20);
/// The library's own message.max.bytes, and what a record needs besides its value.
const REQUEST_BYTES: usize = 1_000_000;
const REQUEST_OVERHEAD: usize = 1024;
/// How long a consumer waits for a record before it looks whether the run is over.
const POLL: Duration = Duration::from_millis(50);

/// The properties of a producer or consumer of this workload.
fn config(client: &ClientArgs, workload: &Workload) -> ClientConfig {
    let mut config = client::config(client);
    for (key, value) in &workload.client_settings {
        config.set(key, value);
    }
    config
}

fn producer_config(client: &ClientArgs, workload: &Workload) -> ClientConfig {
    let mut config = config(client, workload);
    config.set("acks", &workload.acks);
    config.set("batch.size", workload.batch_size.to_string());
    // The library's limit for a request (1 MB) would cut larger batches down.
    let largest = workload.batch_size.max(workload.record_bytes + REQUEST_OVERHEAD).max(REQUEST_BYTES);
    if !workload.client_settings.contains_key("message.max.bytes") {
        config.set("message.max.bytes", largest.to_string());
    }
    config.set("linger.ms", workload.linger_ms.to_string());
    config.set("compression.type", &workload.compression);
    config.set("enable.idempotence", workload.idempotent.to_string());
    if !workload.client_settings.contains_key("message.timeout.ms") {
        config.set("message.timeout.ms", client::delivery_timeout(client).as_millis().to_string());
    }
    config
}

fn consumer_config(client: &ClientArgs, workload: &Workload, stops_at_end: bool) -> ClientConfig {
    let mut config = config(client, workload);
    // Partitions are assigned by hand; the library still wants a name.
    config.set("group.id", "kataract-bench").set("enable.auto.commit", "false");
    config.set("enable.partition.eof", stops_at_end.to_string());
    config
}

/// Lets the library judge the settings, before anything is made.
pub fn check(client: &ClientArgs, workload: &Workload) -> Result<(), Failure> {
    let _producer: Connection = client::finish(producer_config(client, workload), client)?;
    let _consumer: BaseConsumer<Quiet> = client::finish(consumer_config(client, workload, true), client)?;
    Ok(())
}

/// Counts what is in flight and wakes the sender when there is room.
#[derive(Debug, Default)]
struct Gate {
    in_flight: AtomicUsize,
    waits: AtomicBool,
    sender: OnceLock<Thread>,
}

impl Gate {
    /// Waits on the sender's thread until fewer than `limit` are in flight.
    fn enter(&self, limit: usize, is_over: impl Fn() -> bool) -> bool {
        let sender = self.sender.get_or_init(std::thread::current);
        debug_assert_eq!(sender.id(), std::thread::current().id());
        while self.in_flight.load(Ordering::SeqCst) >= limit {
            if is_over() {
                return false;
            }
            self.waits.store(true, Ordering::SeqCst);
            if self.in_flight.load(Ordering::SeqCst) >= limit {
                std::thread::park_timeout(GATE_NAP);
            }
            self.waits.store(false, Ordering::SeqCst);
        }
        true
    }

    fn sent(&self) {
        self.in_flight.fetch_add(1, Ordering::SeqCst);
    }

    fn done(&self) {
        self.in_flight.fetch_sub(1, Ordering::SeqCst);
        if self.waits.load(Ordering::SeqCst)
            && let Some(sender) = self.sender.get()
        {
            sender.unpark();
        }
    }
}

/// The library's callbacks: deliveries go to the recorder.
struct Deliveries {
    quiet: Quiet,
    gate: Gate,
    /// Set before the first record is sent.
    recorder: OnceLock<Arc<Recorder>>,
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.quiet.log(level, facility, message);
    }
    fn error(&self, error: KafkaError, reason: &str) {
        self.quiet.error(error, reason);
    }
}

impl ProducerContext for Deliveries {
    /// When the record was due.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, due_ns: usize) {
        if let Some(recorder) = self.recorder.get() {
            match result {
                Ok(message) => {
                    let bytes = (message.payload_len() + message.key_len()) as u64;
                    recorder.done(due_ns as u64, Counts { records: 1, bytes, requests: 0 });
                }
                Err((error, _)) => {
                    recorder.failed(1, || error.rdkafka_error_code().map_or_else(|| error.to_string(), client::reason))
                }
            }
        }
        self.gate.done();
    }
}

/// A producer as the shared set-up makes it.
struct Connection(ThreadedProducer<Deliveries>);

impl FromClientConfigAndContext<Quiet> for Connection {
    fn from_config_and_context(config: &ClientConfig, quiet: Quiet) -> Result<Connection, KafkaError> {
        let context = Deliveries { quiet, gate: Gate::default(), recorder: OnceLock::new() };
        ThreadedProducer::from_config_and_context(config, context).map(Connection)
    }
}

/// One producer.
#[derive(Debug)]
pub struct Producing {
    pub client: ClientArgs,
    pub workload: Workload,
    pub topic: String,
    pub payload: Payload,
    /// Open loop: when records are due.
    pub schedule: Option<Schedule>,
    /// Stop after this many records.
    pub records_max: u64,
    /// End to end: whose stamp the records get.
    pub run: Option<u64>,
    pub recorder: Arc<Recorder>,
}

impl Producing {
    /// Sends until the window is over, then waits for the deliveries.
    pub fn run(mut self) -> Result<(), Failure> {
        let connection: Connection = client::finish(producer_config(&self.client, &self.workload), &self.client)?;
        let producer = &connection.0;
        if producer.context().recorder.set(Arc::clone(&self.recorder)).is_err() {
            return Err(Failure::new("a producer was started twice"));
        }
        pacing::sharpen_sleep();
        let mut stamped = vec![0; self.workload.record_bytes];
        for _ in 0..self.records_max {
            let Some(due) = self.wait(&producer.context().gate) else { break };
            let (key, value) = self.payload.record();
            let value = match self.run {
                None => value,
                Some(run) => {
                    stamped.copy_from_slice(value);
                    stamped[..8].copy_from_slice(&run.to_be_bytes());
                    stamped[8..STAMP_BYTES].copy_from_slice(&due.to_be_bytes());
                    &stamped
                }
            };
            self.recorder.sent(due, 1, self.schedule.is_some());
            let record = BaseRecord::with_opaque_to(&self.topic, due as usize).payload(value);
            send(producer, key.into_iter().fold(record, BaseRecord::key), &self.client)?;
        }
        // What is not delivered by then is counted as unanswered by whoever compares.
        producer.flush(client::delivery_timeout(&self.client)).map_err(|error| {
            Failure::new(format!(
                "records left undelivered: {}",
                client::explain(&error, &producer.context().quiet, &self.client)
            ))
        })
    }

    /// Until the next record may be sent: when it is due; `None` at the end of the window.
    fn wait(&mut self, gate: &Gate) -> Option<u64> {
        let meter = Arc::clone(self.recorder.meter());
        match &mut self.schedule {
            None => {
                if !gate.enter(self.workload.in_flight, || meter.is_over(meter.now())) {
                    return None;
                }
                let now = meter.now();
                (!meter.is_over(now)).then_some(now)
            }
            Some(schedule) => {
                let due = schedule.due();
                schedule.advance();
                while !meter.is_over(due) {
                    if pacing::approach(due, meter.now()) {
                        return Some(due);
                    }
                }
                None
            }
        }
    }
}

/// Hands one record over; waits while the library's queue is full.
fn send(
    producer: &ThreadedProducer<Deliveries>,
    record: BaseRecord<'_, [u8], [u8], usize>,
    client: &ClientArgs,
) -> Result<(), Failure> {
    let mut record = Some(record);
    producer.context().gate.sent();
    while let Some(one) = record.take() {
        match producer.send(one) {
            Ok(()) => {}
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                record = Some(back);
                std::thread::sleep(FULL_NAP);
            }
            Err((error, _)) => {
                let reason = client::explain(&error, &producer.context().quiet, client);
                return Err(Failure::new(format!("cannot send: {reason}")));
            }
        }
    }
    Ok(())
}

/// One consumer with partitions of its own.
#[derive(Debug)]
pub struct Consuming {
    pub client: ClientArgs,
    pub workload: Workload,
    pub topic: String,
    /// Where to begin: at `start` to read everything, at `end` to follow.
    pub partitions: Vec<Offsets>,
    /// End to end: whose stamps are looked for.
    pub run: Option<u64>,
    pub recorder: Arc<Recorder>,
}

impl Consuming {
    /// Reads until every partition is at its end (or, following, until `is_over`).
    pub fn run(self, is_over: impl Fn() -> bool) -> Result<(), Failure> {
        let follows = self.run.is_some();
        let config = consumer_config(&self.client, &self.workload, !follows);
        let consumer: BaseConsumer<Quiet> = client::finish(config, &self.client)?;
        let told = |error: &KafkaError| Failure::new(client::explain(error, consumer.context(), &self.client));
        let mut assignment = TopicPartitionList::new();
        for one in &self.partitions {
            let offset = Offset::Offset(if follows { one.end } else { one.start });
            assignment.add_partition_offset(&self.topic, one.partition, offset).map_err(|error| told(&error))?;
        }
        consumer.assign(&assignment).map_err(|error| told(&error))?;
        let mut at_end = std::collections::BTreeSet::new();
        while !is_over() && at_end.len() < self.partitions.len() {
            match consumer.poll(POLL) {
                None => {}
                Some(Ok(message)) => self.took(&message),
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    at_end.insert(partition);
                }
                // The library tries again by itself; it is seen in the figures and told with them.
                Some(Err(error)) => {
                    self.recorder.failed(0, || client::explain(&error, consumer.context(), &self.client))
                }
            }
        }
        Ok(())
    }

    fn took(&self, message: &impl Message) {
        let payload = message.payload().unwrap_or_default();
        let bytes = (payload.len() + message.key().map_or(0, <[u8]>::len)) as u64;
        let counts = Counts { records: 1, bytes, requests: 0 };
        match self.run.and_then(|run| stamp_in(payload, run)) {
            Some(due) => self.recorder.done(due, counts),
            None => self.recorder.count(self.recorder.meter().now(), counts),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::workload::tests::plain;

    #[test]
    fn a_setting_that_the_library_does_not_know_is_named() {
        let client = ClientArgs { bootstrap: "127.0.0.1:1".into(), timeout: 1, properties: Vec::new(), verbose: false };
        assert_eq!(check(&client, &plain()), Ok(()));
        let mut workload = plain();
        workload.set("no.such.setting", "1").unwrap();
        let Err(Failure::Message(message)) = check(&client, &workload) else { panic!("taken") };
        assert!(message.contains("no.such.setting"), "{message}");
    }

    #[test]
    fn a_full_gate_opens_when_something_is_done() {
        let gate = Arc::new(Gate::default());
        gate.sent();
        let theirs = Arc::clone(&gate);
        let sender = std::thread::spawn(move || theirs.enter(1, || false));
        while !gate.waits.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        gate.done();
        assert!(sender.join().unwrap());
        let shut = Gate::default();
        shut.sent();
        assert!(!shut.enter(1, || true), "the run is over while the gate is shut");
    }
}
