//! Turning "which brokers" into partition records, for new topics and for more partitions of old ones.

use std::collections::BTreeSet;

use crate::base::ids::{NodeId, TopicId};

use super::super::image::Image;
use super::super::placement::{Placement, directory_for};
use super::super::record::{PartitionRecord, Record};
use super::{MetaError, Refusal};

/// The record of a new partition. The ISR is the active replicas; the first of them leads.
pub(super) fn new_partition(
    image: &Image,
    topic: TopicId,
    partition: i32,
    replicas: &[NodeId],
) -> Result<Record, Refusal> {
    let active = |id: &&NodeId| image.broker(**id).is_some_and(|broker| broker.active());
    let isr: Vec<i32> = replicas.iter().filter(active).map(|id| id.0).collect();
    let Some(&leader) = isr.first() else {
        return Err(refuse(format!(
            "All brokers specified in the manual partition assignment for partition {partition} are fenced or in \
             controlled shutdown."
        )));
    };
    Ok(Record::Partition(PartitionRecord {
        version: PartitionRecord::VERSION,
        partition,
        topic,
        replicas: replicas.iter().map(|id| id.0).collect(),
        isr,
        removing: Vec::new(),
        adding: Vec::new(),
        leader,
        recovery_state: 0,
        leader_epoch: 0,
        partition_epoch: 0,
        directories: replicas.iter().map(|&id| directory_for(image, id)).collect(),
        elr: None,
        last_known_elr: None,
    }))
}

fn refuse(message: impl Into<String>) -> Refusal {
    Refusal::new(MetaError::InvalidReplicaAssignment, message)
}

/// Judges a client's choice of brokers for one partition. `factor` is the length earlier partitions had.
pub(super) fn check_manual(image: &Image, brokers: &[i32], factor: Option<usize>) -> Result<Vec<NodeId>, Refusal> {
    if brokers.is_empty() {
        return Err(refuse("The manual partition assignment includes an empty replica list."));
    }
    let mut seen = BTreeSet::new();
    for &broker in brokers {
        if image.broker(NodeId(broker)).is_none() {
            return Err(refuse(format!(
                "The manual partition assignment includes broker {broker}, but no such broker is registered."
            )));
        }
        if !seen.insert(broker) {
            return Err(refuse(format!(
                "The manual partition assignment includes the broker {broker} more than once."
            )));
        }
    }
    match factor {
        Some(factor) if factor != brokers.len() => Err(refuse(format!(
            "The manual partition assignment includes a partition with {} replica(s), but this is not consistent \
             with previous partitions, which have {factor} replica(s).",
            brokers.len()
        ))),
        _ => Ok(brokers.iter().map(|&id| NodeId(id)).collect()),
    }
}

/// Refuses a replication factor that the active brokers cannot reach.
pub(super) fn check_factor(image: &Image, placement: &Placement<'_>, factor: usize) -> Result<(), Refusal> {
    let active = placement.broker_count();
    if (1..=active).contains(&factor) {
        return Ok(());
    }
    let registered = image.brokers().count();
    let reason = if active == 0 {
        "All brokers are currently fenced.".to_owned()
    } else if registered < factor {
        format!(
            "The target replication factor of {factor} cannot be reached because only {registered} broker(s) are \
             registered."
        )
    } else {
        format!(
            "The target replication factor of {factor} cannot be reached because only {active} of {registered} \
             broker(s) are active."
        )
    };
    let message = format!("Unable to replicate the partition {factor} time(s): {reason}");
    Err(Refusal::new(MetaError::InvalidReplicationFactor, message))
}
