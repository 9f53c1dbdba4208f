//! The console consumer: from the beginning, an offset, a time or the end; alone or as a member of a group.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::{Map, Value, json};

use super::args::{ClientArgs, ConsumeArgs};
use super::client::{self, Quiet};
use super::output::{Failure, Out, insert_bytes, printable};
use super::time_text::format_time;

/// How long one poll waits: bounds the reaction to Ctrl-C and how long printed lines stay in our buffer.
const POLL: Duration = Duration::from_millis(100);

/// Reads and prints until the count, the end, Ctrl-C or an error.
pub fn run(client: &ClientArgs, args: &ConsumeArgs, out: &mut Out<'_>) -> Result<(), Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))
            .map_err(|error| Failure::Message(format!("cannot watch for signals: {error}")))?;
    }
    let mut config = client::config(client);
    config.set("enable.partition.eof", "true");
    // Only what was printed is committed: now and then by the library, and once at the end.
    config.set("enable.auto.commit", args.group.is_some().to_string()).set("enable.auto.offset.store", "false");
    config.set("auto.offset.reset", if args.from_beginning { "earliest" } else { "latest" });
    // The library wants a name also where no group is joined; it stays unused then.
    config.set("group.id", args.group.as_deref().unwrap_or("kataract-cli"));
    let consumer: BaseConsumer<Quiet> = client::finish(config, client)?;
    let partitions = partitions(&consumer, client, args)?;
    if args.group.is_some() {
        consumer
            .subscribe(&[&args.topic])
            .map_err(|error| client::broker_failure(&error, "joining the group", consumer.context(), client))?;
    } else {
        assign(&consumer, client, args, &partitions)?;
    }
    let printed = read(&consumer, client, args, &partitions, &stop, out);
    if args.group.is_some() {
        commit(&consumer, client)?;
    }
    printed
}

/// The partitions to read; an error when the topic or the partition does not exist.
fn partitions(consumer: &BaseConsumer<Quiet>, client: &ClientArgs, args: &ConsumeArgs) -> Result<Vec<i32>, Failure> {
    let metadata = client::metadata(consumer, client, Some(&args.topic))?;
    let all: Vec<i32> = metadata
        .topics()
        .iter()
        .filter(|topic| topic.name() == args.topic)
        .flat_map(|topic| topic.partitions().iter().map(|partition| partition.id()))
        .collect();
    if all.is_empty() {
        return Err(Failure::Message(format!("topic {} does not exist", args.topic)));
    }
    match args.partition {
        None => Ok(all),
        Some(partition) if all.contains(&partition) => Ok(vec![partition]),
        Some(partition) => {
            let last = all.iter().max().copied().unwrap_or(0);
            Err(Failure::Message(format!("topic {} has no partition {partition}; its last is {last}", args.topic)))
        }
    }
}

/// Assigns the partitions, each with the offset to start at.
fn assign(
    consumer: &BaseConsumer<Quiet>,
    client: &ClientArgs,
    args: &ConsumeArgs,
    partitions: &[i32],
) -> Result<(), Failure> {
    let start = match (args.offset, args.from_time) {
        (Some(offset), _) => Offset::Offset(offset),
        (None, Some(ms)) => Offset::Offset(ms),
        (None, None) if args.from_beginning => Offset::Beginning,
        (None, None) => Offset::End,
    };
    let mut list = TopicPartitionList::new();
    let failure = |error: KafkaError| client::broker_failure(&error, "finding the start", consumer.context(), client);
    for &partition in partitions {
        list.add_partition_offset(&args.topic, partition, start).map_err(failure)?;
    }
    if args.from_time.is_some() {
        list = consumer.offsets_for_times(list, client::answer_timeout(client)).map_err(failure)?;
        for element in list.elements() {
            element.error().map_err(failure)?;
        }
    }
    if let Some(offset) = args.offset {
        check_offset(consumer, client, args, partitions, offset)?;
    }
    consumer.assign(&list).map_err(failure)
}

/// An offset outside the log would silently become another one (`auto.offset.reset`): say so instead.
fn check_offset(
    consumer: &BaseConsumer<Quiet>,
    client: &ClientArgs,
    args: &ConsumeArgs,
    partitions: &[i32],
    offset: i64,
) -> Result<(), Failure> {
    for &partition in partitions {
        let (earliest, latest) = consumer
            .fetch_watermarks(&args.topic, partition, client::answer_timeout(client))
            .map_err(|error| client::broker_failure(&error, "finding the start", consumer.context(), client))?;
        if !(earliest..=latest).contains(&offset) {
            return Err(Failure::Message(format!(
                "offset {offset} is outside of {}-{partition}, which holds {earliest} to {latest} (the end)",
                args.topic
            )));
        }
    }
    Ok(())
}

fn read(
    consumer: &BaseConsumer<Quiet>,
    client: &ClientArgs,
    args: &ConsumeArgs,
    partitions: &[i32],
    stop: &AtomicBool,
    out: &mut Out<'_>,
) -> Result<(), Failure> {
    let mut printed: u64 = 0;
    let mut at_end: BTreeSet<i32> = BTreeSet::new();
    let mut trouble: Option<Instant> = None;
    while !stop.load(Ordering::Relaxed) {
        match consumer.poll(POLL) {
            None => out.flush()?,
            Some(Ok(message)) => {
                trouble = None;
                at_end.remove(&message.partition());
                print(&message, out)?;
                if args.group.is_some() {
                    consumer
                        .store_offset_from_message(&message)
                        .map_err(|error| Failure::Message(format!("noting the offset: {error}")))?;
                }
                printed += 1;
                if Some(printed) == args.count {
                    return Ok(());
                }
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                trouble = None;
                out.flush()?;
                at_end.insert(partition);
                if args.exit_at_end && is_all_read(consumer, args, partitions, &at_end) {
                    return Ok(());
                }
            }
            Some(Err(error)) => {
                let since = *trouble.get_or_insert_with(Instant::now);
                if is_final(&error) || since.elapsed() >= client::answer_timeout(client) {
                    return Err(client::broker_failure(&error, &args.topic, consumer.context(), client));
                }
            }
        }
    }
    Ok(())
}

/// Whether every partition that is ours to read has been read to its end.
fn is_all_read(consumer: &BaseConsumer<Quiet>, args: &ConsumeArgs, partitions: &[i32], at_end: &BTreeSet<i32>) -> bool {
    if args.group.is_none() {
        return partitions.iter().all(|partition| at_end.contains(partition));
    }
    // A member of a group answers for the partitions it was given, once it was given some.
    consumer.assignment().is_ok_and(|assigned| {
        assigned.count() > 0 && assigned.elements().iter().all(|element| at_end.contains(&element.partition()))
    })
}

/// Errors that waiting does not cure; the others (a broker restarts, a leader moves) the library retries by itself.
fn is_final(error: &KafkaError) -> bool {
    matches!(error, KafkaError::MessageConsumptionFatal(_))
        || matches!(
            error.rdkafka_error_code(),
            Some(
                RDKafkaErrorCode::UnknownTopicOrPartition
                    | RDKafkaErrorCode::UnknownTopic
                    | RDKafkaErrorCode::UnknownPartition
                    | RDKafkaErrorCode::TopicAuthorizationFailed
                    | RDKafkaErrorCode::GroupAuthorizationFailed
                    | RDKafkaErrorCode::Authentication
                    | RDKafkaErrorCode::InvalidGroupId
                    | RDKafkaErrorCode::BadMessage
                    | RDKafkaErrorCode::UnsupportedFeature
            )
        )
}

fn commit(consumer: &BaseConsumer<Quiet>, client: &ClientArgs) -> Result<(), Failure> {
    match consumer.commit_consumer_state(CommitMode::Sync) {
        // Nothing was printed since the last commit.
        Ok(()) | Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => Ok(()),
        Err(error) => Err(client::broker_failure(&error, "committing offsets", consumer.context(), client)),
    }
}

fn print(message: &BorrowedMessage<'_>, out: &mut Out<'_>) -> Result<(), Failure> {
    if out.is_json() {
        return out.json(&to_json(message));
    }
    // "0/12 key=k header.trace=1: value"
    let mut front = format!("{}/{}", message.partition(), message.offset());
    if let Some(key) = message.key() {
        front.push_str(&format!(" key={}", printable(key)));
    }
    if let Some(headers) = message.headers() {
        for header in headers.iter() {
            let value = header.value.map_or_else(|| "null".to_owned(), printable);
            front.push_str(&format!(" header.{}={value}", header.key));
        }
    }
    match message.payload() {
        Some(value) => out.line(format_args!("{front}: {}", printable(value))),
        None => out.line(format_args!("{front}: (null)")),
    }
}

fn to_json(message: &BorrowedMessage<'_>) -> Value {
    let mut object = Map::new();
    object.insert("topic".to_owned(), Value::from(message.topic()));
    object.insert("partition".to_owned(), Value::from(message.partition()));
    object.insert("offset".to_owned(), Value::from(message.offset()));
    if let Some(ms) = message.timestamp().to_millis() {
        object.insert("timestamp".to_owned(), Value::from(ms));
        object.insert("time".to_owned(), Value::from(format_time(ms)));
    }
    insert_bytes(&mut object, "key", message.key());
    insert_bytes(&mut object, "value", message.payload());
    let mut headers = Vec::new();
    for header in message.headers().into_iter().flat_map(|headers| headers.iter()) {
        let mut entry = Map::new();
        entry.insert("key".to_owned(), json!(header.key));
        insert_bytes(&mut entry, "value", header.value);
        headers.push(Value::from(entry));
    }
    object.insert("headers".to_owned(), Value::from(headers));
    Value::from(object)
}
