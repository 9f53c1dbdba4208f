//! Topics: create, list, describe, delete.

use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigEntry, ConfigSource, NewTopic, ResourceSpecifier, TopicReplication, TopicResult,
};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::{Metadata, MetadataPartition, MetadataTopic};
use serde_json::{Value, json};

use super::args::{ClientArgs, TopicArgs, TopicVerb};
use super::client::{self, Quiet};
use super::output::{Failure, Out, count_of};

type Admin = AdminClient<Quiet>;

/// Runs one verb.
pub fn run(client: &ClientArgs, args: &TopicArgs, out: &mut Out<'_>) -> Result<(), Failure> {
    let observer = client::observer(client)?;
    let metadata = client::metadata(&observer, client, None)?;
    let admin: Admin = client::finish(client::config(client), client)?;
    match &args.verb {
        TopicVerb::Create { topics, partitions, replication_factor, configs } => {
            let new = topics.iter().map(|topic| {
                let replication = TopicReplication::Fixed(i32::from(replication_factor.unwrap_or(-1)));
                let new = NewTopic::new(topic, partitions.unwrap_or(-1), replication);
                configs.iter().fold(new, |new, (key, value)| new.set(key, value))
            });
            let new: Vec<NewTopic<'_>> = new.collect();
            let results = client::wait(admin.create_topics(&new, &options(client)));
            report(results, "created", &admin, client, out)
        }
        TopicVerb::List { internal } => list(&metadata, *internal, out),
        TopicVerb::Describe { topics, all_configs } => {
            let mut missing = false;
            for topic in topics {
                match find(&metadata, topic) {
                    Some(found) => describe(&observer, &admin, client, found, *all_configs, out)?,
                    None => {
                        missing = true;
                        out.flush()?;
                        eprintln!("kataract: topic {topic} does not exist");
                    }
                }
            }
            if missing { Err(Failure::Reported) } else { Ok(()) }
        }
        TopicVerb::Delete { topics } => {
            let names: Vec<&str> = topics.iter().map(String::as_str).collect();
            let results = client::wait(admin.delete_topics(&names, &options(client)));
            report(results, "deleted", &admin, client, out)
        }
    }
}

fn options(client: &ClientArgs) -> AdminOptions {
    let timeout = client::answer_timeout(client);
    AdminOptions::new().request_timeout(Some(timeout)).operation_timeout(Some(timeout))
}

/// Prints what happened to each topic; fails when one failed.
fn report(
    results: Result<Vec<TopicResult>, KafkaError>,
    done: &str,
    admin: &Admin,
    client: &ClientArgs,
    out: &mut Out<'_>,
) -> Result<(), Failure> {
    let results =
        results.map_err(|error| client::broker_failure(&error, "the request", admin.inner().context(), client))?;
    let mut failed = false;
    for result in results {
        match result {
            Ok(topic) if out.is_json() => out.json(&json!({"topic": topic, "result": done}))?,
            Ok(topic) => out.line(format_args!("topic {topic} {done}"))?,
            Err((topic, code)) => {
                failed = true;
                let reason = topic_reason(&topic, code);
                if out.is_json() {
                    out.json(&json!({"topic": topic, "result": "failed", "error": reason}))?;
                } else {
                    out.flush()?;
                    eprintln!("kataract: topic {topic} not {done}: {reason}");
                }
            }
        }
    }
    if failed { Err(Failure::Reported) } else { Ok(()) }
}

fn topic_reason(topic: &str, code: RDKafkaErrorCode) -> String {
    match code {
        RDKafkaErrorCode::TopicAlreadyExists => "it exists already".to_owned(),
        RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownTopicOrPartition => "it does not exist".to_owned(),
        RDKafkaErrorCode::InvalidTopic => {
            format!("'{topic}' is no valid name (letters, digits, '.', '_' and '-', at most 249 of them)")
        }
        other => client::reason(other),
    }
}

fn find<'a>(metadata: &'a Metadata, topic: &str) -> Option<&'a MetadataTopic> {
    metadata.topics().iter().find(|found| found.name() == topic)
}

fn list(metadata: &Metadata, internal: bool, out: &mut Out<'_>) -> Result<(), Failure> {
    let mut topics: Vec<&MetadataTopic> =
        metadata.topics().iter().filter(|topic| internal || !topic.name().starts_with("__")).collect();
    topics.sort_by_key(|topic| topic.name());
    if out.is_json() {
        for topic in topics {
            let copies = topic.partitions().first().map_or(0, |partition| partition.replicas().len());
            let partitions = topic.partitions().len();
            out.json(&json!({"topic": topic.name(), "partitions": partitions, "replication_factor": copies}))?;
        }
        return Ok(());
    }
    let mut rows = vec![vec!["TOPIC".to_owned(), "PARTITIONS".to_owned(), "REPLICATION".to_owned()]];
    for topic in &topics {
        let copies = topic.partitions().first().map_or(0, |partition| partition.replicas().len());
        rows.push(vec![topic.name().to_owned(), topic.partitions().len().to_string(), copies.to_string()]);
    }
    if topics.is_empty() {
        return out.line(format_args!("no topics"));
    }
    out.table(&rows)
}

fn describe(
    observer: &BaseConsumer<Quiet>,
    admin: &Admin,
    client: &ClientArgs,
    topic: &MetadataTopic,
    all_configs: bool,
    out: &mut Out<'_>,
) -> Result<(), Failure> {
    let mut partitions: Vec<&MetadataPartition> = topic.partitions().iter().collect();
    partitions.sort_by_key(|partition| partition.id());
    let mut offsets = Vec::with_capacity(partitions.len());
    for partition in &partitions {
        // A partition without a leader has nobody to ask; its line says so instead.
        let known = if partition.leader() < 0 {
            None
        } else {
            let asked = observer.fetch_watermarks(topic.name(), partition.id(), client::answer_timeout(client));
            let what = format!("offsets of {}-{}", topic.name(), partition.id());
            Some(asked.map_err(|error| client::broker_failure(&error, &what, observer.context(), client))?)
        };
        offsets.push(known);
    }
    let configs = configs(admin, client, topic.name(), all_configs)?;
    if out.is_json() {
        return out.json(&describe_json(topic.name(), &partitions, &offsets, &configs));
    }
    out.line(format_args!("topic {}: {}", topic.name(), count_of(partitions.len() as u64, "partition")))?;
    let titles = ["PARTITION", "LEADER", "REPLICAS", "ISR", "EARLIEST", "LATEST"];
    let mut rows = vec![titles.map(str::to_owned).to_vec()];
    for (partition, offsets) in partitions.iter().zip(&offsets) {
        let leader = if partition.leader() < 0 { "none".to_owned() } else { partition.leader().to_string() };
        let (earliest, latest) =
            offsets.map_or(("-".to_owned(), "-".to_owned()), |(low, high)| (low.to_string(), high.to_string()));
        let (replicas, isr) = (ids(partition.replicas()), ids(partition.isr()));
        rows.push(vec![partition.id().to_string(), leader, replicas, isr, earliest, latest]);
    }
    out.table(&rows)?;
    if configs.is_empty() {
        return out.line(format_args!("all settings have their defaults"));
    }
    let mut rows = vec![["SETTING", "VALUE", "FROM"].map(str::to_owned).to_vec()];
    for entry in &configs {
        rows.push(vec![entry.name.clone(), entry.value.clone().unwrap_or_default(), source(&entry.source).to_owned()]);
    }
    out.table(&rows)
}

/// The topic's settings, sorted by name: those that differ from the built-in default, or all.
fn configs(admin: &Admin, client: &ClientArgs, topic: &str, all: bool) -> Result<Vec<ConfigEntry>, Failure> {
    let resources = [ResourceSpecifier::Topic(topic)];
    let answer = client::wait(admin.describe_configs(&resources, &options(client)));
    let what = format!("settings of {topic}");
    let answer = answer.map_err(|error| client::broker_failure(&error, &what, admin.inner().context(), client))?;
    let mut entries = Vec::new();
    for resource in answer {
        let resource =
            resource.map_err(|code| Failure::Message(format!("settings of {topic}: {}", client::reason(code))))?;
        entries.extend(resource.entries);
    }
    entries.retain(|entry| all || entry.source != ConfigSource::Default);
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

fn describe_json(
    topic: &str,
    partitions: &[&MetadataPartition],
    offsets: &[Option<(i64, i64)>],
    configs: &[ConfigEntry],
) -> Value {
    let partitions: Vec<Value> = partitions
        .iter()
        .zip(offsets)
        .map(|(partition, offsets)| {
            json!({
                "partition": partition.id(), "leader": partition.leader(), "replicas": partition.replicas(),
                "isr": partition.isr(), "earliest": offsets.map(|(low, _)| low),
                "latest": offsets.map(|(_, high)| high),
            })
        })
        .collect();
    let configs: Vec<Value> = configs
        .iter()
        .map(|entry| json!({"name": entry.name, "value": entry.value, "source": source(&entry.source)}))
        .collect();
    json!({"topic": topic, "partitions": partitions, "configs": configs})
}

fn ids(ids: &[i32]) -> String {
    let ids: Vec<String> = ids.iter().map(i32::to_string).collect();
    ids.join(",")
}

fn source(source: &ConfigSource) -> &'static str {
    match source {
        ConfigSource::DynamicTopic => "topic",
        ConfigSource::DynamicBroker => "broker",
        ConfigSource::DynamicDefaultBroker => "cluster",
        ConfigSource::StaticBroker => "file",
        ConfigSource::Default => "default",
        ConfigSource::Unknown => "unknown",
    }
}
