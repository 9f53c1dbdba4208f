//! Creating and deleting topics.
//!
//! Cheap checks come first: the number of partitions a request asks for is judged before anything is built for it.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::ids::{NodeId, TopicId, Uuid};
use crate::base::limits::PARTITIONS_PER_REQUEST_MAX;
use crate::base::prng::Prng;

use super::super::image::{ConfigMap, Image, ResourceKind};
use super::super::placement::Placement;
use super::super::record::{ConfigRecord, Record, TopicRecord};
use super::super::settings::{BrokerSettings, describe_topic, validate_topic};
use super::names::{check_topic_name, collision, collision_key};
use super::{
    Answer, CreatedTopic, Decision, DeletedTopic, METADATA_TOPIC, MetaError, NewTopic, OFFSETS_TOPIC, PARTITIONS_MAX,
    Refusal, TopicRef, assignment,
};

type Outcome = Result<CreatedTopic, Refusal>;

/// What one request has decided so far.
struct Plan<'a> {
    image: &'a Image,
    broker: &'a BrokerSettings,
    placement: Placement<'a>,
    records: Vec<Record>,
    /// Topics this request creates, by what they could collide in.
    names: BTreeMap<String, String>,
    /// Partitions of the cluster with those of this request.
    partitions: usize,
}

pub(super) fn create(
    image: &Image,
    broker: &BrokerSettings,
    topics: Vec<NewTopic>,
    validate_only: bool,
    prng: &mut Prng,
) -> Decision {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for topic in &topics {
        *counts.entry(topic.name.clone()).or_default() += 1;
    }
    // The whole request is refused, so that no client gets round the limit by splitting one topic into many.
    let wanted: u64 = topics.iter().map(|topic| partitions_wanted(topic, broker)).sum();
    let excessive = wanted > PARTITIONS_PER_REQUEST_MAX as u64;
    let placement = Placement::new(image, prng);
    let partitions = image.partition_count();
    let mut plan = Plan { image, broker, placement, records: Vec::new(), names: BTreeMap::new(), partitions };
    let mut answers = Vec::new();
    for topic in topics {
        // `remove` gives each name one answer.
        let Some(count) = counts.remove(&topic.name) else { continue };
        let outcome = if count > 1 {
            Err(Refusal::new(MetaError::InvalidRequest, "Duplicate topic name."))
        } else if excessive {
            Err(Refusal::new(MetaError::PolicyViolation, "Excessively large number of partitions per request."))
        } else {
            plan.create_one(&topic, prng)
        };
        answers.push((topic.name, outcome));
    }
    let records = if validate_only { Vec::new() } else { plan.records };
    Decision { records, answer: Answer::TopicsCreated(answers) }
}

/// Partitions a topic asks for; 0 for a number that is refused anyway.
fn partitions_wanted(topic: &NewTopic, broker: &BrokerSettings) -> u64 {
    let wanted = match topic.partitions {
        _ if !topic.assignments.is_empty() => return topic.assignments.len() as u64,
        -1 => broker.num_partitions,
        count => count,
    };
    u64::try_from(wanted).unwrap_or(0)
}

impl Plan<'_> {
    fn create_one(&mut self, topic: &NewTopic, prng: &mut Prng) -> Outcome {
        self.check_name(&topic.name)?;
        let configs = self.check_configs(topic)?;
        let replicas = if topic.assignments.is_empty() { self.place(topic)? } else { self.place_manually(topic)? };
        self.check_room(replicas.len())?;
        let id = self.fresh_id(prng);
        let factor = replicas.first().map_or(0, Vec::len);
        let mut records = vec![Record::Topic(TopicRecord { name: topic.name.clone(), id })];
        for (key, value) in &configs {
            records.push(Record::Config(ConfigRecord {
                resource_type: ResourceKind::Topic.code(),
                resource_name: topic.name.clone(),
                name: key.to_string(),
                value: Some(value.to_string()),
            }));
        }
        for (partition, brokers) in (0..).zip(&replicas) {
            records.push(assignment::new_partition(self.image, id, partition, brokers)?);
        }
        self.records.append(&mut records);
        self.partitions += replicas.len();
        self.names.insert(collision_key(&topic.name), topic.name.clone());
        Ok(CreatedTopic {
            id,
            // At most 10,000 partitions and as many replicas as there are brokers.
            partitions: replicas.len() as i32,
            replication_factor: i16::try_from(factor).unwrap_or(i16::MAX),
            configs: describe_topic(self.image, self.broker, &configs),
        })
    }

    fn check_name(&self, name: &str) -> Result<(), Refusal> {
        if name == METADATA_TOPIC {
            let message = format!("Creation of internal topic {METADATA_TOPIC} is prohibited.");
            return Err(Refusal::new(MetaError::InvalidRequest, message));
        }
        check_topic_name(name)?;
        if self.image.topic_named(name).is_some() {
            return Err(Refusal::new(MetaError::TopicAlreadyExists, format!("Topic '{name}' already exists.")));
        }
        let earlier = || self.names.get(&collision_key(name)).map(String::as_str);
        match collision(self.image, name).or_else(earlier) {
            Some(other) => Err(Refusal::new(
                MetaError::InvalidTopicException,
                format!("Topic '{name}' collides with existing topic: {other}"),
            )),
            None => Ok(()),
        }
    }

    fn check_configs(&self, topic: &NewTopic) -> Result<ConfigMap, Refusal> {
        let nulls: Vec<&str> =
            topic.configs.iter().filter(|(_, value)| value.is_none()).map(|(name, _)| name.as_str()).collect();
        if !nulls.is_empty() {
            let message = format!("Null value not supported for topic configs: {}", nulls.join(","));
            return Err(Refusal::new(MetaError::InvalidConfig, message));
        }
        let values: ConfigMap = topic
            .configs
            .iter()
            .filter_map(|(name, value)| Some((name.as_str().into(), value.as_deref()?.into())))
            .collect();
        validate_topic(&values, self.broker)
            .map_err(|error| Refusal::new(MetaError::InvalidConfig, error.kafka_text()))?;
        Ok(values)
    }

    fn place(&self, topic: &NewTopic) -> Result<Vec<Vec<NodeId>>, Refusal> {
        if topic.replication_factor == 0 || topic.replication_factor < -1 {
            let message = "Replication factor must be larger than 0, or -1 to use the default value.";
            return Err(Refusal::new(MetaError::InvalidReplicationFactor, message));
        }
        if topic.partitions == 0 || topic.partitions < -1 {
            let message = "Number of partitions was set to an invalid non-positive value.";
            return Err(Refusal::new(MetaError::InvalidPartitions, message));
        }
        let factor = match topic.replication_factor {
            -1 => self.broker.default_replication_factor,
            factor => factor,
        };
        let factor = usize::try_from(factor).unwrap_or(0);
        assignment::check_factor(self.image, &self.placement, factor)?;
        let count = partitions_wanted(topic, self.broker) as usize;
        self.check_room(count)?;
        Ok((0..count).map(|partition| self.placement.replicas(partition, factor)).collect())
    }

    fn place_manually(&self, topic: &NewTopic) -> Result<Vec<Vec<NodeId>>, Refusal> {
        let refuse = |message: &str| Err(Refusal::new(MetaError::InvalidRequest, message));
        if topic.replication_factor != -1 {
            return refuse("A manual partition assignment was specified, but replication factor was not set to -1.");
        }
        if topic.partitions != -1 {
            return refuse("A manual partition assignment was specified, but numPartitions was not set to -1.");
        }
        let mut chosen: BTreeMap<i32, Vec<NodeId>> = BTreeMap::new();
        let mut factor = None;
        for (partition, brokers) in &topic.assignments {
            let replicas = assignment::check_manual(self.image, brokers, factor)?;
            factor = Some(replicas.len());
            if chosen.insert(*partition, replicas).is_some() {
                let message = format!("Found multiple manual partition assignments for partition {partition}");
                return Err(Refusal::new(MetaError::InvalidReplicaAssignment, message));
            }
        }
        if (0..).zip(chosen.keys()).any(|(expected, &partition): (i32, &i32)| partition != expected) {
            let message = "partitions should be a consecutive 0-based integer sequence";
            return Err(Refusal::new(MetaError::InvalidReplicaAssignment, message));
        }
        Ok(chosen.into_values().collect())
    }

    fn check_room(&self, more: usize) -> Result<(), Refusal> {
        check_room(self.broker, self.partitions, more)
    }

    fn fresh_id(&self, prng: &mut Prng) -> TopicId {
        loop {
            let id = Uuid::from_random(prng.bytes16());
            if self.image.topic(&id).is_none() {
                return id;
            }
        }
    }
}

/// Refuses partitions beyond what the cluster may hold: each takes memory for as long as it is there.
pub(super) fn check_room(broker: &BrokerSettings, partitions: usize, more: usize) -> Result<(), Refusal> {
    let max = broker.partitions_max.map_or(PARTITIONS_MAX, |max| PARTITIONS_MAX.min(max as usize));
    if partitions.saturating_add(more) <= max {
        return Ok(());
    }
    let message = format!(
        "The cluster has {partitions} partitions and may hold {max}; {more} more would be too many. A larger \
         kataract.memory.bytes or kataract.partitions.max makes room."
    );
    Err(Refusal::new(MetaError::PolicyViolation, message))
}

pub(super) fn auto_create(image: &Image, broker: &BrokerSettings, names: Vec<String>, prng: &mut Prng) -> Decision {
    if !broker.auto_create_topics {
        let refusal =
            Refusal::new(MetaError::UnknownTopicOrPartition, "This server does not host this topic-partition.");
        let answers = names.into_iter().map(|name| (name, Err(refusal.clone()))).collect();
        return Decision { records: Vec::new(), answer: Answer::TopicsCreated(answers) };
    }
    // A client may well ask for a name twice; that is no mistake here.
    let mut seen = BTreeSet::new();
    let wanted = names.into_iter().filter(|name| seen.insert(name.clone()));
    let topics = wanted.map(|name| automatic(image, broker, name)).collect();
    create(image, broker, topics, false, prng)
}

pub(super) fn create_offsets_topic(image: &Image, broker: &BrokerSettings, prng: &mut Prng) -> Decision {
    create(image, broker, vec![automatic(image, broker, OFFSETS_TOPIC.to_owned())], false, prng)
}

/// A topic that nobody described: the broker's defaults, or the coordinator's for its own topic.
fn automatic(image: &Image, broker: &BrokerSettings, name: String) -> NewTopic {
    if name != OFFSETS_TOPIC {
        return NewTopic { name, partitions: -1, replication_factor: -1, ..NewTopic::default() };
    }
    let config = |key: &str, value: String| (key.to_owned(), Some(value));
    NewTopic {
        name,
        partitions: broker.offsets_partitions,
        replication_factor: offsets_factor(image, broker),
        assignments: Vec::new(),
        configs: vec![
            config("cleanup.policy", "compact".to_owned()),
            config("compression.type", "producer".to_owned()),
            config("segment.bytes", broker.offsets_segment_bytes.to_string()),
        ],
    }
}

/// Kafka refuses to create the topic with fewer replicas than the setting says, so that a cluster that is just coming
/// up does not get an unsafe one (KIP-115). A node that is its own whole quorum will never have more brokers to wait
/// for, so there the default of 3 means "as many as there are".
fn offsets_factor(image: &Image, broker: &BrokerSettings) -> i16 {
    let wanted = broker.offsets_replication_factor;
    if broker.voters.len() > 1 {
        return wanted;
    }
    let active = image.brokers().filter(|broker| broker.active()).count();
    wanted.min(i16::try_from(active).unwrap_or(i16::MAX)).max(1)
}

pub(super) fn delete(image: &Image, broker: &BrokerSettings, topics: Vec<TopicRef>) -> Decision {
    let mut counts: BTreeMap<TopicId, usize> = BTreeMap::new();
    let found: Vec<(TopicRef, Result<TopicId, Refusal>)> =
        topics.into_iter().map(|topic| (find(image, broker, &topic), topic)).map(|(id, topic)| (topic, id)).collect();
    for id in found.iter().filter_map(|(_, id)| id.as_ref().ok()) {
        *counts.entry(*id).or_default() += 1;
    }
    let mut records = Vec::new();
    let mut answers = Vec::new();
    for (topic, id) in found {
        let result = match id {
            Ok(id) if counts.get(&id) == Some(&1) => {
                records.push(Record::RemoveTopic { id });
                Ok(id)
            }
            Ok(_) if topic.name.is_some() => Err(Refusal::new(MetaError::InvalidRequest, "Duplicate topic name.")),
            Ok(_) => Err(Refusal::new(MetaError::InvalidRequest, "Duplicate topic id.")),
            Err(refusal) => Err(refusal),
        };
        // The answer names what was found, also where the request gave the other half only.
        let known = result.as_ref().ok().and_then(|id| image.topic(id));
        answers.push(DeletedTopic {
            name: topic.name.or_else(|| known.map(|topic| topic.name.to_string())),
            id: known.map_or(topic.id, |topic| topic.id),
            result: result.map(|_| ()),
        });
    }
    Decision { records, answer: Answer::TopicsDeleted(answers) }
}

fn find(image: &Image, broker: &BrokerSettings, topic: &TopicRef) -> Result<TopicId, Refusal> {
    if !broker.delete_topics {
        return Err(Refusal::new(MetaError::TopicDeletionDisabled, "Topic deletion is disabled."));
    }
    match (&topic.name, topic.id) {
        (None, Uuid::ZERO) => Err(Refusal::new(MetaError::InvalidRequest, "Neither topic name nor id were specified.")),
        (Some(_), id) if id != Uuid::ZERO => {
            Err(Refusal::new(MetaError::InvalidRequest, "You may not specify both topic name and topic id."))
        }
        (Some(name), _) => image.topic_named(name).map(|topic| topic.id).ok_or_else(|| {
            let message = "This server does not host this topic-partition.";
            Refusal::new(MetaError::UnknownTopicOrPartition, message)
        }),
        (None, id) => image
            .topic(&id)
            .map(|topic| topic.id)
            .ok_or_else(|| Refusal::new(MetaError::UnknownTopicId, "This server does not host this topic ID.")),
    }
}
