//! One shard over an empty disk that keeps nothing and takes no time: what a core does with its settings and timers.

use bytes::Bytes;

use super::message::{Ask, Message, ProduceItem, Reply};
use super::test_config::test_config;
use super::{Notice, Shard};
use crate::base::ids::{CoreId, TopicId, TopicPartition, Uuid};
use crate::base::time::{Mono, Now};
use crate::batch::build::BatchBuilder;
use crate::log::LogConfig;
use crate::meta::controller::{Answer, Command, ConfigChange, ConfigOp, NewTopic, OpKind};
use crate::meta::record::Record;
use crate::port::disk::{DiskError, DiskErrorKind, DiskOp, DiskOutput, DiskResult};

/// The resource type of brokers.
const BROKER: i8 = 4;

struct Rig {
    shard: Shard,
    now: Now,
    next_key: u64,
    replies: Vec<(u64, Reply)>,
    notices: Vec<Notice>,
}

impl Rig {
    fn new(values: &[(&str, &str)]) -> Rig {
        let now = Now { mono: Mono(10_000_000_000), wall_ms: 1_750_000_000_000 };
        let shard = Shard::new(test_config(1, values), now);
        let mut rig = Rig { shard, now, next_key: 0, replies: Vec::new(), notices: Vec::new() };
        rig.settle();
        assert!(rig.notices.contains(&Notice::Serving), "a shard over an empty folder serves at once");
        rig
    }

    /// Until nothing is left to bring in.
    fn settle(&mut self) {
        loop {
            self.shard.wake(self.now);
            self.shard.flush(self.now);
            let (disk, messages) = (self.shard.take_disk(), self.shard.take_messages());
            self.notices.extend(self.shard.take_notices());
            if disk.is_empty() && messages.is_empty() {
                return;
            }
            for (token, op) in disk {
                self.shard.disk_done(token, empty_disk(&op), self.now);
            }
            for (to, message) in messages {
                assert_eq!(to, CoreId(0));
                match message {
                    Message::Reply { key, reply } => self.replies.push((key, reply)),
                    message => self.shard.receive(CoreId(0), message, self.now),
                }
            }
        }
    }

    /// Time passes; the shard is woken when it wants to be.
    fn pass_ms(&mut self, ms: u64) {
        let end = self.now.mono.plus_ms(ms);
        while let Some(at) = self.shard.next_wake().filter(|at| *at <= end) {
            self.move_to(at.max(self.now.mono));
            self.settle();
        }
        self.move_to(end);
    }

    fn move_to(&mut self, at: Mono) {
        self.now.wall_ms += at.ms_since(self.now.mono) as i64;
        self.now.mono = at;
    }

    fn ask(&mut self, ask: Ask) -> Reply {
        self.next_key += 1;
        let (key, seen) = (self.next_key, 0);
        self.shard.receive(CoreId(0), Message::Ask { key, seen, ask }, self.now);
        self.settle();
        let place = self.replies.iter().position(|(answered, _)| *answered == key).expect("a reply");
        self.replies.remove(place).1
    }

    fn create_topic(&mut self, name: &str, configs: &[(&str, &str)]) -> TopicId {
        let configs = configs.iter().map(|(name, value)| (name.to_string(), Some(value.to_string()))).collect();
        let (partitions, replication_factor, assignments) = (1, 1, Vec::new());
        let topic = NewTopic { name: name.to_owned(), partitions, replication_factor, assignments, configs };
        let command = Command::CreateTopics { topics: vec![topic], validate_only: false };
        let reply = self.ask(Ask::Control(command));
        assert!(matches!(reply, Reply::Control(Answer::TopicsCreated(_))), "{reply:?}");
        self.shard.image.topic_named(name).expect("the topic").id
    }

    /// Sets a dynamic value of all brokers, or deletes it.
    fn set_broker_config(&mut self, name: &str, value: Option<&str>) {
        let op = if value.is_some() { OpKind::Set } else { OpKind::Delete };
        let changes = vec![ConfigOp { name: name.to_owned(), op, value: value.map(str::to_owned) }];
        let resources = vec![ConfigChange { resource_type: BROKER, name: String::new(), changes }];
        let command = Command::IncrementalAlterConfigs { resources, validate_only: false };
        let reply = self.ask(Ask::Control(command));
        assert!(matches!(reply, Reply::Control(Answer::ConfigsAltered(_))), "{reply:?}");
    }

    /// Appends a batch and answers where it is.
    fn produce(&mut self, topic: TopicId, batch: &Bytes) -> i64 {
        let partition = TopicPartition { topic, partition: 0 };
        let items = vec![ProduceItem { slot: 0, partition, batch: batch.clone() }];
        match self.ask(Ask::Produce { items, quiet: None }) {
            Reply::Produce(done) => done[0].result.as_ref().expect("appended").base_offset,
            other => panic!("{other:?}"),
        }
    }

    fn log_config(&self, topic: TopicId) -> LogConfig {
        let key = self.shard.by_id[&TopicPartition { topic, partition: 0 }];
        self.shard.partitions.get(key).expect("the partition").log.config().clone()
    }
}

/// The answer of a disk that is empty.
fn empty_disk(op: &DiskOp) -> DiskResult {
    match op {
        DiskOp::Open { .. } => Ok(DiskOutput::Opened { len: 0 }),
        DiskOp::Read { .. } => Ok(DiskOutput::Data(Bytes::new())),
        DiskOp::List { .. } => Ok(DiskOutput::Entries(Vec::new())),
        DiskOp::ReadFile { path, .. } => {
            Err(DiskError { kind: DiskErrorKind::NotFound, detail: format!("{path}: not found") })
        }
        _ => Ok(DiskOutput::Done),
    }
}

fn idempotent_batch(now: Now) -> Bytes {
    let mut builder = BatchBuilder::new(0).producer(42, 0, 0);
    builder.push(now.wall_ms, None, Some(b"value"));
    builder.finish()
}

#[test]
fn a_producer_that_is_silent_for_its_expiration_is_forgotten_while_the_node_runs() {
    let values = [("producer.id.expiration.ms", "1000"), ("producer.id.expiration.check.interval.ms", "10000")];
    let mut rig = Rig::new(&values);
    let topic = rig.create_topic("t", &[]);
    let batch = idempotent_batch(rig.now);
    assert_eq!(rig.produce(topic, &batch), 0);
    rig.pass_ms(5_000);
    assert_eq!(rig.produce(topic, &batch), 0, "a retry, as nobody has looked yet");
    rig.pass_ms(6_000);
    assert_eq!(rig.produce(topic, &batch), 1, "nothing is known of the producer any more");
    rig.set_broker_config("producer.id.expiration.ms", Some("86400000"));
    rig.pass_ms(50_000);
    assert_eq!(rig.produce(topic, &batch), 1, "the new value counts at once");
}

/// At a start the registration follows the removals that the last life did not get to: that it is applied must not let
/// commands go on while a folder still has its old name.
#[test]
fn what_comes_after_a_removal_is_not_called_applied_before_the_folder_has_moved() {
    let mut rig = Rig::new(&[]);
    let topic = rig.create_topic("t", &[]);
    let end = rig.shard.applied_end;
    rig.shard.apply_committed(end + 1, &[Record::RemoveTopic { id: topic }], rig.now);
    rig.shard.apply_committed(end + 2, &[], rig.now);
    let mut told = Vec::new();
    while told.is_empty() {
        let disk = rig.shard.take_disk();
        told.extend(rig.shard.take_messages().into_iter().filter_map(|(_, message)| match message {
            Message::Applied { end } => Some(end),
            _ => None,
        }));
        let moves = disk.iter().any(|(_, op)| matches!(op, DiskOp::Rename { .. }));
        assert!(!moves || told.is_empty(), "{told:?} before the folder has moved");
        for (token, op) in disk {
            rig.shard.disk_done(token, empty_disk(&op), rig.now);
        }
        rig.shard.flush(rig.now);
    }
    assert_eq!(told, [end + 2]);
}

#[test]
fn dynamic_values_of_the_broker_count_at_once_and_the_old_ones_again_when_they_are_deleted() {
    let mut rig = Rig::new(&[("max.connections", "100")]);
    let topic = rig.create_topic("t", &[]);
    rig.notices.clear();
    rig.set_broker_config("max.connections", Some("7"));
    rig.set_broker_config("log.index.interval.bytes", Some("512"));
    assert_eq!(rig.shard.settings().connections_max, 7);
    assert_eq!(rig.log_config(topic).index_interval_bytes, 512);
    rig.set_broker_config("max.connections", None);
    assert_eq!(rig.notices, [Notice::ConnectionsMax(7), Notice::ConnectionsMax(100)]);
}

#[test]
fn logs_get_what_their_topic_and_their_broker_say() {
    let mut rig = Rig::new(&[("metadata.log.segment.bytes", "9000000"), ("metadata.log.segment.ms", "77")]);
    let metadata = rig.log_config(Uuid::METADATA);
    assert_eq!((metadata.segment_bytes, metadata.segment_ms), (9_000_000, 77));
    let plain = rig.create_topic("plain", &[("segment.jitter.ms", "55")]);
    let compacted = rig.create_topic("compacted", &[("cleanup.policy", "compact,delete")]);
    assert_eq!((rig.log_config(plain).gaps_allowed, rig.log_config(plain).segment_jitter_ms), (false, 55));
    assert!(rig.log_config(compacted).gaps_allowed, "compaction leaves gaps");
}
