//! Cores: which of them owns which partition, pins, and moves.
//!
//! Pins are the broker setting `partition.cores`; Kafka's own `kafka-configs` can set it as well. A change of pins
//! reads the list, changes it and sets it: of two people who do so at the same time the later one wins.

mod ask;

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use kafka_protocol::messages::IncrementalAlterConfigsRequest;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::protocol::StrBytes;
use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, ResourceSpecifier};
use rdkafka::consumer::BaseConsumer;
use rdkafka::metadata::Metadata;
use serde_json::json;

use super::args::{ClientArgs, CoreArgs, CoreVerb};
use super::client::{self, Quiet};
use super::output::{Failure, Out, count_of};
use crate::meta::settings::{PARTITION_CORES, Pin, parse_partition, parse_pins};
use crate::wire::ErrorCode;

/// How often a move is looked after.
const POLL: Duration = Duration::from_millis(20);
/// How long a move may take before people are told that it is being waited for.
const PATIENCE: Duration = Duration::from_secs(1);
/// A broker, in the protocol's count of resources; setting a value, in its count of operations.
const BROKER: i8 = 4;
const SET: i8 = 0;

/// The cluster, reached.
struct Cluster<'a> {
    client: &'a ClientArgs,
    admin: AdminClient<Quiet>,
    metadata: Metadata,
    /// Kept because the metadata was asked through it.
    _observer: BaseConsumer<Quiet>,
}

/// Partition → core.
type Owners = BTreeMap<i32, u16>;

/// Runs one verb.
pub fn run(client: &ClientArgs, args: &CoreArgs, out: &mut Out<'_>) -> Result<(), Failure> {
    let observer = client::observer(client)?;
    let metadata = client::metadata(&observer, client, None)?;
    let admin = client::finish(client::config(client), client)?;
    let cluster = Cluster { client, admin, metadata, _observer: observer };
    let broker = cluster.broker(args.broker)?;
    match &args.verb {
        CoreVerb::List { topics, internal } => list(&cluster, broker, topics, *internal, out),
        CoreVerb::Pin { pins, unpin: false } => pin(&cluster, broker, pins, out),
        CoreVerb::Pin { pins, unpin: true } => unpin(&cluster, broker, pins, out),
        CoreVerb::Move { partition, core } => move_one(&cluster, broker, partition, *core, out),
    }
}

impl Cluster<'_> {
    /// The broker whose cores are meant.
    fn broker(&self, wanted: Option<i32>) -> Result<i32, Failure> {
        let ids: Vec<i32> = self.metadata.brokers().iter().map(|broker| broker.id()).collect();
        match (wanted, ids.as_slice()) {
            (Some(id), _) if ids.contains(&id) => Ok(id),
            (Some(id), _) => Err(Failure::new(format!("there is no broker {id}"))),
            (None, [one]) => Ok(*one),
            (None, _) => Err(Failure::new("the cluster has several brokers: say which with --broker")),
        }
    }

    fn describe(&self, resources: &[ResourceSpecifier<'_>], what: &str) -> Result<Vec<ConfigResource>, Failure> {
        let timeout = client::answer_timeout(self.client);
        let options = AdminOptions::new().request_timeout(Some(timeout)).operation_timeout(Some(timeout));
        let answer = client::wait(self.admin.describe_configs(resources, &options));
        let context = self.admin.inner().context();
        let answer = answer.map_err(|error| client::broker_failure(&error, what, context, self.client))?;
        let failed = |code| Failure::new(format!("{what}: {}", client::reason(code)));
        answer.into_iter().map(|resource| resource.map_err(failed)).collect()
    }

    /// The pins that hold.
    fn pins(&self, broker: i32) -> Result<Vec<Pin>, Failure> {
        let described = self.describe(&[ResourceSpecifier::Broker(broker)], "the broker's settings")?;
        let mut entries = described.into_iter().flat_map(|resource| resource.entries);
        let Some(entry) = entries.find(|entry| entry.name == PARTITION_CORES) else { return Err(self.no_cores()) };
        let text = entry.value.unwrap_or_default();
        parse_pins(&text).map_err(|reason| Failure::new(format!("{PARTITION_CORES}: {reason}")))
    }

    fn no_cores(&self) -> Failure {
        Failure::new(format!("the broker at {} knows no {PARTITION_CORES}: it is no Kataract", self.client.bootstrap))
    }

    /// The owners of all partitions of some topics.
    fn owners(&self, topics: &[&str]) -> Result<BTreeMap<String, Owners>, Failure> {
        let mut owners = BTreeMap::new();
        if topics.is_empty() {
            return Ok(owners);
        }
        let resources: Vec<ResourceSpecifier<'_>> =
            topics.iter().map(|topic| ResourceSpecifier::Topic(topic)).collect();
        let described = self.describe(&resources, "the topics' settings")?;
        for (topic, resource) in topics.iter().zip(described) {
            let entry = resource.entries.into_iter().find(|entry| entry.name == PARTITION_CORES);
            let text = entry.and_then(|entry| entry.value).ok_or_else(|| self.no_cores())?;
            let pair = |pair: &str| {
                let (partition, core) = pair.split_once(':')?;
                Some((partition.parse().ok()?, core.parse().ok()?))
            };
            let of_topic: Option<Owners> = text.split(',').filter(|pair| !pair.is_empty()).map(pair).collect();
            let of_topic = of_topic.ok_or_else(|| Failure::new(format!("{topic}: the broker answered '{text}'")))?;
            owners.insert((*topic).to_owned(), of_topic);
        }
        Ok(owners)
    }

    /// Makes these the pins of a broker.
    fn set_pins(&self, broker: i32, pins: &[Pin]) -> Result<(), Failure> {
        let text = pins.iter().map(Pin::to_string).collect::<Vec<_>>().join(",");
        let config = AlterableConfig::default()
            .with_name(StrBytes::from_static_str(PARTITION_CORES))
            .with_config_operation(SET)
            .with_value(Some(StrBytes::from_string(text)));
        let resource = AlterConfigsResource::default()
            .with_resource_type(BROKER)
            .with_resource_name(StrBytes::from_string(broker.to_string()))
            .with_configs(vec![config]);
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        let place = self.metadata.brokers().iter().find(|found| found.id() == broker);
        let place = place.and_then(|place| Some((place.host(), u16::try_from(place.port()).ok()?)));
        let (host, port) = place.ok_or_else(|| Failure::new(format!("broker {broker} has no address")))?;
        let answer = ask::ask((host, port), &request, 0, client::answer_timeout(self.client));
        let answer = answer.map_err(|reason| Failure::new(format!("{host}:{port}: {reason}")))?;
        match answer.responses.first() {
            Some(done) if done.error_code == ErrorCode::None.code() => Ok(()),
            Some(refused) => {
                let code = refused.error_code;
                let name =
                    || ErrorCode::from_code(code).map_or_else(|| format!("error {code}"), |c| c.name().to_owned());
                let reason = refused.error_message.as_ref().map(ToString::to_string).filter(|text| !text.is_empty());
                Err(Failure::new(format!("the pins are refused: {}", reason.unwrap_or_else(name))))
            }
            None => Err(Failure::new(format!("{host}:{port}: an answer without a result"))),
        }
    }
}

fn list(
    cluster: &Cluster<'_>,
    broker: i32,
    wanted: &[String],
    internal: bool,
    out: &mut Out<'_>,
) -> Result<(), Failure> {
    let known = cluster.metadata.topics().iter().map(|topic| topic.name());
    let mut topics: Vec<&str> = match wanted {
        [] => known.filter(|name| internal || !name.starts_with("__")).collect(),
        _ => {
            let known: Vec<&str> = known.collect();
            if let Some(missing) = wanted.iter().find(|topic| !known.contains(&topic.as_str())) {
                return Err(Failure::new(format!("topic {missing} does not exist")));
            }
            wanted.iter().map(String::as_str).collect()
        }
    };
    topics.sort_unstable();
    topics.dedup();
    let pins = cluster.pins(broker)?;
    let owners = cluster.owners(&topics)?;
    let mut rows = vec![["TOPIC", "PARTITION", "CORE", "PINNED TO"].map(str::to_owned).to_vec()];
    for (topic, owners) in &owners {
        for (partition, core) in owners {
            let pin = pins.iter().find(|pin| pin.topic == *topic && pin.partition == *partition).map(|pin| pin.core);
            if out.is_json() {
                out.json(&json!({"topic": topic, "partition": partition, "core": core, "pin": pin}))?;
            }
            let pin = pin.map_or_else(|| "-".to_owned(), |core| core.to_string());
            rows.push(vec![topic.clone(), partition.to_string(), core.to_string(), pin]);
        }
    }
    match (out.is_json(), rows.len()) {
        (true, _) => Ok(()),
        (false, 1) => out.line(format_args!("no partitions")),
        (false, _) => out.table(&rows),
    }
}

/// A pin for one partition in place of the one it may have.
fn put(pins: &mut Vec<Pin>, pin: Pin) {
    pins.retain(|other| other.topic != pin.topic || other.partition != pin.partition);
    pins.push(pin);
}

fn pin(cluster: &Cluster<'_>, broker: i32, words: &[String], out: &mut Out<'_>) -> Result<(), Failure> {
    let mut new = Vec::new();
    for pair in words.chunks(2) {
        let [partition, core] = pair else {
            return Err(Failure::new(format!("{}: to which core?", pair.concat())));
        };
        let core = core.parse().map_err(|_| Failure::new(format!("{partition}: '{core}' is no core")))?;
        let (topic, partition) = parse_partition(partition)?;
        new.push(Pin { topic: topic.to_owned(), partition, core });
    }
    let mut pins = cluster.pins(broker)?;
    new.iter().for_each(|pin| put(&mut pins, pin.clone()));
    cluster.set_pins(broker, &pins)?;
    for pin in new {
        let Pin { topic, partition, core } = pin;
        if out.is_json() {
            out.json(&json!({"topic": topic, "partition": partition, "pin": core}))?;
        } else {
            out.line(format_args!("partition {topic}-{partition} is pinned to core {core}"))?;
        }
    }
    Ok(())
}

fn unpin(cluster: &Cluster<'_>, broker: i32, words: &[String], out: &mut Out<'_>) -> Result<(), Failure> {
    let mut pins = cluster.pins(broker)?;
    let mut gone = Vec::new();
    for word in words {
        let (topic, partition) = parse_partition(word)?;
        let before = pins.len();
        pins.retain(|pin| pin.topic != topic || pin.partition != partition);
        if pins.len() == before {
            return Err(Failure::new(format!("partition {topic}-{partition} is not pinned")));
        }
        gone.push((topic, partition));
    }
    cluster.set_pins(broker, &pins)?;
    for (topic, partition) in gone {
        if out.is_json() {
            out.json(&json!({"topic": topic, "partition": partition, "pin": null}))?;
        } else {
            out.line(format_args!("partition {topic}-{partition} is not pinned any more"))?;
        }
    }
    Ok(())
}

fn move_one(cluster: &Cluster<'_>, broker: i32, word: &str, core: u16, out: &mut Out<'_>) -> Result<(), Failure> {
    let (topic, partition) = parse_partition(word)?;
    if !cluster.metadata.topics().iter().any(|found| found.name() == topic) {
        return Err(Failure::new(format!("topic {topic} does not exist")));
    }
    let Some(from) = owner(cluster, topic, partition)? else {
        return Err(Failure::new(format!("topic {topic} has no partition {partition}")));
    };
    let mut pins = cluster.pins(broker)?;
    put(&mut pins, Pin { topic: topic.to_owned(), partition, core });
    let begun = Instant::now();
    cluster.set_pins(broker, &pins)?;
    let limit = client::answer_timeout(cluster.client);
    let mut told = false;
    while owner(cluster, topic, partition)? != Some(core) {
        if begun.elapsed() > limit {
            let waited = count_of(limit.as_secs(), "second");
            return Err(Failure::new(format!(
                "partition {topic}-{partition} is still on core {from} after {waited}; it stays pinned to core {core} \
                 and moves when it can: a full disk, a log that is being read at a start or a move before it keep it"
            )));
        }
        if begun.elapsed() > PATIENCE && !told && !out.is_json() {
            out.line(format_args!("partition {topic}-{partition} is still on core {from}, waiting"))?;
            out.flush()?;
            told = true;
        }
        thread::sleep(POLL);
    }
    let ms = begun.elapsed().as_millis();
    if out.is_json() {
        return out.json(&json!({"topic": topic, "partition": partition, "from": from, "core": core, "ms": ms as u64}));
    }
    if from == core {
        return out
            .line(format_args!("partition {topic}-{partition} is on core {core} already; it is pinned there now"));
    }
    out.line(format_args!("partition {topic}-{partition} moved from core {from} to core {core} in {ms} ms"))
}

fn owner(cluster: &Cluster<'_>, topic: &str, partition: i32) -> Result<Option<u16>, Failure> {
    let owners = cluster.owners(&[topic])?;
    Ok(owners.get(topic).and_then(|owners| owners.get(&partition)).copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_has_one_pin_the_last_one() {
        let mut pins = parse_pins("a-0:1,b-0:0").unwrap();
        put(&mut pins, Pin { topic: "a".to_owned(), partition: 0, core: 0 });
        put(&mut pins, Pin { topic: "a".to_owned(), partition: 1, core: 1 });
        assert_eq!(pins, parse_pins("b-0:0,a-0:0,a-1:1").unwrap());
    }
}
