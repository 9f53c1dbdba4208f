//! More partitions for topics that exist.

use std::collections::BTreeMap;

use crate::base::ids::NodeId;
use crate::base::limits::PARTITIONS_PER_REQUEST_MAX;
use crate::base::prng::Prng;

use super::super::image::{Image, TopicImage};
use super::super::placement::Placement;
use super::super::record::Record;
use super::super::settings::BrokerSettings;
use super::topics::check_room;
use super::{Answer, Decision, MetaError, NewPartitions, Refusal, assignment};

pub(super) fn create(
    image: &Image,
    broker: &BrokerSettings,
    topics: Vec<NewPartitions>,
    validate_only: bool,
    prng: &mut Prng,
) -> Decision {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for topic in &topics {
        *counts.entry(topic.name.clone()).or_default() += 1;
    }
    let placement = Placement::new(image, prng);
    let mut records = Vec::new();
    let mut answers = Vec::new();
    for topic in topics {
        let Some(count) = counts.remove(&topic.name) else { continue };
        let outcome = if count > 1 {
            Err(Refusal::new(MetaError::InvalidRequest, "Duplicate topic in request."))
        } else {
            // Every record so far is one new partition.
            create_one(image, broker, &placement, &topic, records.len())
        };
        answers.push((topic.name, outcome.map(|mut more| records.append(&mut more))));
    }
    if validate_only {
        records.clear();
    }
    Decision { records, answer: Answer::PartitionsCreated(answers) }
}

fn create_one(
    image: &Image,
    broker: &BrokerSettings,
    placement: &Placement<'_>,
    wanted: &NewPartitions,
    decided: usize,
) -> Result<Vec<Record>, Refusal> {
    let topic = image.topic_named(&wanted.name).ok_or_else(|| {
        let message = "This server does not host this topic-partition.";
        Refusal::new(MetaError::UnknownTopicOrPartition, message)
    })?;
    let existing = topic.partition_count();
    let more = additional(topic, wanted)?;
    if decided.saturating_add(more) > PARTITIONS_PER_REQUEST_MAX {
        let message = "Excessively large number of partitions per request.";
        return Err(Refusal::new(MetaError::PolicyViolation, message));
    }
    check_room(broker, image.partition_count().saturating_add(decided), more)?;
    let factor = topic.replication_factor();
    let replicas = match &wanted.assignments {
        Some(lists) => manual(image, lists, more, factor)?,
        None => {
            assignment::check_factor(image, placement, factor)?;
            (existing..existing + more).map(|partition| placement.replicas(partition, factor)).collect()
        }
    };
    // A log that Kafka wrote may have any partition numbers; new ones follow the highest.
    let first = topic.partitions.keys().next_back().map_or(0, |last| last.saturating_add(1));
    let place =
        |(partition, brokers): (i32, &Vec<NodeId>)| assignment::new_partition(image, topic.id, partition, brokers);
    (first..).zip(&replicas).map(place).collect()
}

/// How many partitions to add; at least one.
fn additional(topic: &TopicImage, wanted: &NewPartitions) -> Result<usize, Refusal> {
    let existing = topic.partition_count();
    match usize::try_from(wanted.count).ok().and_then(|count| count.checked_sub(existing)) {
        Some(0) => {
            let message = format!("Topic already has {existing} partition(s).");
            Err(Refusal::new(MetaError::InvalidPartitions, message))
        }
        Some(more) => Ok(more),
        None => {
            let (name, count) = (&wanted.name, wanted.count);
            let message =
                format!("The topic {name} currently has {existing} partition(s); {count} would not be an increase.");
            Err(Refusal::new(MetaError::InvalidPartitions, message))
        }
    }
}

fn manual(image: &Image, lists: &[Vec<i32>], more: usize, factor: usize) -> Result<Vec<Vec<NodeId>>, Refusal> {
    if lists.len() != more {
        let message = format!(
            "Attempted to add {more} additional partition(s), but only {} assignment(s) were specified.",
            lists.len()
        );
        return Err(Refusal::new(MetaError::InvalidReplicaAssignment, message));
    }
    lists.iter().map(|brokers| assignment::check_manual(image, brokers, Some(factor))).collect()
}
