//! The metadata log, its snapshots and what they add up to.

use std::collections::BTreeSet;

use bytes::Bytes;
use kafka_protocol::records::RecordBatchDecoder;
use kataract::base::ids::{NodeId, Uuid};
use kataract::meta::image::{Image, ResourceKind};
use kataract::meta::record::Record;

use crate::{same, sample};

const LOG: &str = "disk/__cluster_metadata-0/00000000000000000000.log";
const SNAPSHOT: &str = "disk/__cluster_metadata-0/00000000000000000063-0000000001.checkpoint";
const BOOTSTRAP: &str = "disk/bootstrap.checkpoint";

/// Offset and value of each metadata record of a file; control records (leader changes, snapshot headers) left out.
fn values(path: &str) -> Vec<(i64, Bytes)> {
    let mut bytes = Bytes::from(sample(path));
    let sets = RecordBatchDecoder::decode_all(&mut bytes).unwrap_or_else(|error| panic!("{path}: {error}"));
    let records = sets.into_iter().flat_map(|set| set.records).filter(|record| !record.control);
    records.map(|record| (record.offset, record.value.expect("a metadata record has a value"))).collect()
}

fn records(path: &str) -> Vec<(i64, Record)> {
    let decode = |(offset, value): (i64, Bytes)| {
        let record = Record::decode(&value).unwrap_or_else(|error| panic!("{path} at {offset}: {error:?}"));
        (offset, record)
    };
    values(path).into_iter().map(decode).collect()
}

fn image<'a>(records: impl IntoIterator<Item = &'a Record>) -> Image {
    let mut image = Image::new();
    for record in records {
        image.apply(record).unwrap_or_else(|error| panic!("{record:?}: {error:?}"));
    }
    image
}

#[test]
fn every_metadata_record_of_kafka_is_written_again_byte_for_byte() {
    let mut kinds = BTreeSet::new();
    for path in [LOG, SNAPSHOT, BOOTSTRAP] {
        for ((offset, value), (_, record)) in values(path).iter().zip(records(path)) {
            same(&format!("{path} at {offset}: {record:?}"), &record.encode(), value);
            kinds.insert(record.key_and_version().0);
        }
    }
    // Topics, partitions, configs, partition changes, topics removed, features, brokers and controllers.
    for wanted in [2, 3, 4, 5, 9, 12, 17, 27] {
        assert!(kinds.contains(&wanted), "no record of kind {wanted} among {kinds:?}");
    }
}

#[test]
fn the_picture_of_the_metadata_log_is_what_the_cluster_was() {
    let log: Vec<Record> = records(LOG).into_iter().map(|(_, record)| record).collect();
    let image = image(&log);
    let names: Vec<&str> = image.topics().map(|topic| &*topic.name).collect();
    let wanted = ["__consumer_offsets", "__transaction_state", "grown", "gzip", "idempotent", "lz4", "plain", "snappy"];
    assert_eq!(names, [&wanted[..], &["transactions", "zstd"]].concat(), "the topic `gone` was deleted");
    assert_eq!(image.topic_named("grown").expect("created").partition_count(), 3, "two, then grown to three");
    assert!(image.topic_config("grown").is_empty(), "a setting that was set and removed");
    assert_eq!(image.topic_config("plain").get("segment.ms").map(|value| &**value), Some("500"));
    assert!(image.configured(ResourceKind::Topic).any(|name| name == "plain"));
    let broker = image.broker(NodeId(0)).expect("the one broker");
    assert!(broker.endpoint("PLAINTEXT").is_some_and(|endpoint| endpoint.port == 29392), "{broker:?}");
    assert!(image.feature("metadata.version") > 0 && image.feature("group.version") == 1);
    let text = String::from_utf8(sample("disk/plain-0/partition.metadata")).expect("text");
    let id = text.lines().find_map(|line| line.strip_prefix("topic_id: ")).and_then(Uuid::parse).expect("an id");
    assert_eq!(image.topic_named("plain").expect("created").id, id, "the folder and the log agree on the id");
}

#[test]
fn a_snapshot_and_the_log_behind_it_give_the_same_picture_as_the_whole_log() {
    let log = records(LOG);
    let whole = image(log.iter().map(|(_, record)| record));
    let head = image(log.iter().filter(|(offset, _)| *offset < 63).map(|(_, record)| record));
    let snapshot = records(SNAPSHOT);
    let from_snapshot = image(snapshot.iter().map(|(_, record)| record));
    assert_eq!(format!("{from_snapshot:?}"), format!("{head:?}"), "the snapshot covers the offsets below 63");
    let rest = log.iter().filter(|(offset, _)| *offset >= 63);
    let both = image(snapshot.iter().chain(rest).map(|(_, record)| record));
    assert_eq!(format!("{both:?}"), format!("{whole:?}"));
}
