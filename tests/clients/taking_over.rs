//! A data folder of Apache Kafka, started as it is: topics, records, committed offsets and settings are there, new
//! records find their place behind the old ones, and all of it survives a restart.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kataract::batch::records::{self, Record};
use kataract::batch::walk;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers, Message};
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};

use crate::broker::{Driver, Node};
use crate::librdkafka::{LIMIT, config};

/// The topics of `tests/golden/disk` that hold records, each with one partition, and where they start and end.
const TOPICS: [(&str, i64, i64); 7] = [
    ("plain", 10, 200),
    ("gzip", 0, 60),
    ("snappy", 0, 60),
    ("lz4", 0, 60),
    ("zstd", 0, 60),
    ("idempotent", 0, 130),
    ("transactions", 0, 44),
];

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/disk")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder").map(|entry| entry.expect("an entry")) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

/// What a crash of Kafka leaves: no mark of a clean stop, indexes that cannot be trusted.
fn as_after_a_crash(data: &Path) {
    fs::remove_file(data.join(".kafka_cleanshutdown")).expect("the mark");
    for (topic, _, _) in TOPICS {
        for entry in fs::read_dir(data.join(format!("{topic}-0"))).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.extension().is_some_and(|extension| extension == "index" || extension == "timeindex") {
                fs::write(path, [0xff; 7]).expect("an index");
            }
        }
    }
}

/// The records that a consumer should see, from the stored bytes.
fn stored(topic: &str, start: i64) -> Vec<Record> {
    let mut segments: Vec<PathBuf> = fs::read_dir(samples().join(format!("{topic}-0")))
        .expect("samples")
        .map(|e| e.expect("an entry").path())
        .collect();
    segments.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    segments.sort();
    let mut found = Vec::new();
    for segment in segments {
        let bytes = Bytes::from(fs::read(segment).expect("a segment"));
        for (place, _) in walk(&bytes).filter(|(_, header)| !header.is_control()) {
            found.extend(records::decode(&bytes.slice(place)).expect("a batch of Kafka"));
        }
    }
    found.retain(|record| record.offset >= start);
    found
}

fn seen(message: &impl Message) -> Record {
    let bytes = |field: Option<&[u8]>| field.map(Bytes::copy_from_slice);
    let headers = message.headers().map(|headers| {
        headers.iter().map(|header| (Bytes::copy_from_slice(header.key.as_bytes()), bytes(header.value))).collect()
    });
    Record {
        offset: message.offset(),
        timestamp: message.timestamp().to_millis().expect("a timestamp"),
        key: bytes(message.key()),
        value: bytes(message.payload()),
        headers: headers.unwrap_or_default(),
    }
}

/// Everything in partition 0 of a topic, aborted transactions included.
fn read(address: &str, topic: &str, start: i64, end: i64) -> Vec<Record> {
    let settings = [
        ("group.id", "none"),
        ("enable.auto.commit", "false"),
        ("isolation.level", "read_uncommitted"),
        ("enable.partition.eof", "true"),
    ];
    let consumer: BaseConsumer = config(address, &settings).create().expect("a consumer");
    let marks = consumer.fetch_watermarks(topic, 0, LIMIT).unwrap_or_else(|error| panic!("{topic}: {error}"));
    assert_eq!(marks, (start, end), "{topic}");
    let mut wanted = TopicPartitionList::new();
    wanted.add_partition_offset(topic, 0, Offset::Beginning).expect("a partition");
    consumer.assign(&wanted).expect("an assignment");
    let (mut found, deadline) = (Vec::new(), Instant::now() + LIMIT);
    loop {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => found.push(seen(&message)),
            Some(Err(KafkaError::PartitionEOF(_))) => return found,
            Some(Err(error)) => panic!("{topic}: {error}"),
            None => assert!(Instant::now() < deadline, "{topic}: no end after {} records", found.len()),
        }
    }
}

fn committed(address: &str, group: &str, topic: &str) -> Offset {
    let consumer: BaseConsumer = config(address, &[("group.id", group)]).create().expect("a consumer");
    let mut asked = TopicPartitionList::new();
    asked.add_partition(topic, 0);
    let answer = consumer.committed_offsets(asked, LIMIT).unwrap_or_else(|error| panic!("{group}: {error}"));
    answer.find_partition(topic, 0).expect("the partition asked for").offset()
}

fn check_groups(address: &str) {
    for group in ["classic-group", "static-group", "server-group"] {
        assert_eq!(committed(address, group, "plain"), Offset::Offset(180), "{group}");
        assert_eq!(committed(address, group, "gzip"), Offset::Offset(60), "{group}");
    }
    assert_eq!(committed(address, "empty-group", "plain"), Offset::Offset(42));
    assert_eq!(committed(address, "gone-group", "plain"), Offset::Invalid);
}

/// Adds one record to every topic.
fn write_on(address: &str) {
    let settings = [("acks", "all"), ("enable.idempotence", "true")];
    let producer: ThreadedProducer<_> = config(address, &settings).create().expect("a producer");
    for (topic, _, end) in TOPICS {
        let value = format!("{topic} goes on at {end}");
        producer.send(BaseRecord::to(topic).key("new").payload(&value).partition(0)).expect("room in the queue");
    }
    producer.flush(LIMIT).expect("all sent");
}

pub fn taking_over(clean: bool, driver: Driver) {
    // The samples grow old: their committed offsets must not expire.
    let settings = ["node.id=0", "offsets.retention.minutes=2147483647"];
    let fill = |data: &Path| {
        copy(&samples(), data);
        if !clean {
            as_after_a_crash(data);
        }
    };
    let Some(mut node) = Node::start_with(driver, &settings, fill) else { return };
    let consumer: BaseConsumer = config(&node.address, &[]).create().expect("a consumer");
    let metadata = consumer.fetch_metadata(None, LIMIT).expect("metadata");
    let mut topics: Vec<_> = metadata.topics().iter().map(|t| (t.name(), t.partitions().len())).collect();
    topics.retain(|(name, _)| !name.starts_with("__"));
    topics.sort_unstable();
    let mut wanted: Vec<_> = TOPICS.iter().map(|(name, _, _)| (*name, 1)).chain([("grown", 3)]).collect();
    wanted.sort_unstable();
    assert_eq!(topics, wanted);
    for (topic, start, end) in TOPICS {
        assert_eq!(read(&node.address, topic, start, end), stored(topic, start), "{topic}\n{}", node.log_tail());
    }
    check_groups(&node.address);
    write_on(&node.address);
    node.stop();
    node.start();
    for (topic, start, end) in TOPICS {
        let mut found = read(&node.address, topic, start, end + 1);
        let new = found.pop().expect("the new record");
        let value = new.value.as_deref().map(String::from_utf8_lossy);
        assert_eq!((new.offset, value.as_deref()), (end, Some(&*format!("{topic} goes on at {end}"))));
        assert_eq!(found, stored(topic, start), "{topic} after a restart");
    }
    check_groups(&node.address);
}
