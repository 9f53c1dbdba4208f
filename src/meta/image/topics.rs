//! Topics and partitions in the image, and the rules of their epochs.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::ids::{NodeId, TopicId, Uuid};

use super::super::record::{
    LEADER_NONE, LEADER_UNCHANGED, PartitionChangeRecord, PartitionRecord, RECOVERY_UNCHANGED, TopicRecord,
};
use super::{ApplyError, Change, Image, ResourceKind, config_entry_bytes};

/// One topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicImage {
    pub id: TopicId,
    pub name: Arc<str>,
    /// By partition number.
    pub partitions: BTreeMap<i32, PartitionImage>,
}

/// The committed state of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionImage {
    /// Replicas in order of preference.
    pub replicas: Box<[i32]>,
    pub isr: Box<[i32]>,
    pub removing: Box<[i32]>,
    pub adding: Box<[i32]>,
    /// Eligible leader replicas and the last known ones (KIP-966).
    pub elr: Box<[i32]>,
    pub last_known_elr: Box<[i32]>,
    /// One log directory id per replica; empty when the record named none.
    pub directories: Box<[Uuid]>,
    /// -1: no leader.
    pub leader: i32,
    /// Grows by one whenever a change names a leader, be it the same.
    pub leader_epoch: i32,
    /// Grows by one with every change.
    pub partition_epoch: i32,
    /// Elected uncleanly and not yet recovered (KIP-704).
    pub recovering: bool,
}

impl PartitionImage {
    fn new(r: &PartitionRecord) -> PartitionImage {
        PartitionImage {
            replicas: r.replicas.as_slice().into(),
            isr: r.isr.as_slice().into(),
            removing: r.removing.as_slice().into(),
            adding: r.adding.as_slice().into(),
            elr: r.elr.as_deref().unwrap_or_default().into(),
            last_known_elr: r.last_known_elr.as_deref().unwrap_or_default().into(),
            directories: r.directories.as_slice().into(),
            leader: r.leader,
            leader_epoch: r.leader_epoch,
            partition_epoch: r.partition_epoch,
            recovering: r.recovery_state != 0,
        }
    }

    fn change(&mut self, r: &PartitionChangeRecord) {
        let set = |target: &mut Box<[i32]>, list: &Option<Vec<i32>>| {
            if let Some(list) = list {
                *target = list.as_slice().into();
            }
        };
        set(&mut self.isr, &r.isr);
        set(&mut self.replicas, &r.replicas);
        set(&mut self.removing, &r.removing);
        set(&mut self.adding, &r.adding);
        set(&mut self.elr, &r.elr);
        set(&mut self.last_known_elr, &r.last_known_elr);
        if let Some(directories) = &r.directories {
            self.directories = directories.as_slice().into();
        }
        if r.recovery_state != RECOVERY_UNCHANGED {
            self.recovering = r.recovery_state != 0;
        }
        if r.leader != LEADER_UNCHANGED {
            self.leader = r.leader;
            self.leader_epoch = self.leader_epoch.saturating_add(1);
        }
        self.partition_epoch = self.partition_epoch.saturating_add(1);
    }

    /// The broker that leads, if one does.
    pub fn leader(&self) -> Option<NodeId> {
        (self.leader != LEADER_NONE).then_some(NodeId(self.leader))
    }

    /// The log directory of `broker`'s replica, where the record named one.
    pub fn directory_of(&self, broker: NodeId) -> Option<Uuid> {
        let index = self.replicas.iter().position(|&replica| replica == broker.0)?;
        self.directories.get(index).copied()
    }
}

impl TopicImage {
    /// Replicas of partition 0, which is what Kafka reports as the topic's replication factor.
    pub fn replication_factor(&self) -> usize {
        self.partitions.values().next().map_or(0, |partition| partition.replicas.len())
    }

    pub fn partition_count(&self) -> usize {
        self.partitions.len()
    }
}

impl Image {
    pub fn topic(&self, id: &TopicId) -> Option<&TopicImage> {
        self.topics.get(id)
    }

    pub fn topic_named(&self, name: &str) -> Option<&TopicImage> {
        self.by_name.get(name).and_then(|id| self.topics.get(id))
    }

    /// All topics in order of their names.
    pub fn topics(&self) -> impl Iterator<Item = &TopicImage> {
        self.by_name.values().filter_map(|id| self.topics.get(id))
    }

    /// Topic names from `first` on, in order: for paged answers.
    pub fn topics_from<'a>(&'a self, first: &str) -> impl Iterator<Item = &'a TopicImage> + use<'a> {
        let range = (std::ops::Bound::Included(first), std::ops::Bound::Unbounded);
        self.by_name.range::<str, _>(range).filter_map(|(_, id)| self.topics.get(id))
    }

    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    pub fn partition(&self, topic: &TopicId, partition: i32) -> Option<&PartitionImage> {
        self.topics.get(topic)?.partitions.get(&partition)
    }

    pub(super) fn apply_topic(&mut self, r: &TopicRecord, changes: &mut Vec<Change>) -> Result<(), ApplyError> {
        if self.by_name.contains_key(r.name.as_str()) {
            return Err(ApplyError::TopicExists { name: r.name.clone() });
        }
        if self.topics.contains_key(&r.id) {
            return Err(ApplyError::TopicIdExists(r.id));
        }
        let name: Arc<str> = r.name.as_str().into();
        self.by_name.insert(name.clone(), r.id);
        self.topics.insert(r.id, TopicImage { id: r.id, name: name.clone(), partitions: BTreeMap::new() });
        changes.push(Change::TopicAdded { topic: r.id, name });
        Ok(())
    }

    /// A partition record creates the partition, or replaces its whole state.
    pub(super) fn apply_partition(&mut self, r: &PartitionRecord, changes: &mut Vec<Change>) -> Result<(), ApplyError> {
        let topic = self.topics.get_mut(&r.topic).ok_or(ApplyError::UnknownTopic(r.topic))?;
        let state = PartitionImage::new(r);
        let replaced = topic.partitions.insert(r.partition, state.clone()).is_some();
        let (id, name, partition) = (r.topic, topic.name.clone(), r.partition);
        changes.push(if replaced {
            Change::PartitionChanged { topic: id, name, partition, state }
        } else {
            self.partition_count += 1;
            Change::PartitionAdded { topic: id, name, partition, state }
        });
        Ok(())
    }

    pub(super) fn apply_partition_change(
        &mut self,
        r: &PartitionChangeRecord,
        changes: &mut Vec<Change>,
    ) -> Result<(), ApplyError> {
        let topic = self.topics.get_mut(&r.topic).ok_or(ApplyError::UnknownTopic(r.topic))?;
        let unknown = ApplyError::UnknownPartition { topic: r.topic, partition: r.partition };
        let state = topic.partitions.get_mut(&r.partition).ok_or(unknown)?;
        let before = (state.leader_epoch, state.partition_epoch);
        state.change(r);
        crate::invariant!(before <= (state.leader_epoch, state.partition_epoch), "epochs fell from {before:?}");
        let (name, state) = (topic.name.clone(), state.clone());
        changes.push(Change::PartitionChanged { topic: r.topic, name, partition: r.partition, state });
        Ok(())
    }

    /// A topic takes its configs with it.
    pub(super) fn apply_remove_topic(&mut self, id: TopicId, changes: &mut Vec<Change>) -> Result<(), ApplyError> {
        let topic = self.topics.remove(&id).ok_or(ApplyError::UnknownTopic(id))?;
        self.by_name.remove(&topic.name);
        self.partition_count -= topic.partitions.len();
        if let Some(configs) = self.configs.get_mut(&ResourceKind::Topic) {
            let gone = configs.remove(&*topic.name).unwrap_or_default();
            self.config_bytes -=
                gone.iter().map(|(name, value)| config_entry_bytes(&topic.name, name, value)).sum::<usize>();
        }
        let partitions = topic.partitions.into_keys().collect();
        changes.push(Change::TopicRemoved { topic: id, name: topic.name, partitions });
        Ok(())
    }

    /// Kafka moves no epoch here: the record repeats what a change of `min.insync.replicas` implies.
    pub(super) fn apply_clear_elr(&mut self, name: &str, changes: &mut Vec<Change>) -> Result<(), ApplyError> {
        let ids: Vec<TopicId> = if name.is_empty() {
            self.topics.keys().copied().collect()
        } else {
            self.by_name.get(name).copied().into_iter().collect()
        };
        for id in ids {
            let Some(topic) = self.topics.get_mut(&id) else { continue };
            for (&partition, state) in &mut topic.partitions {
                if state.elr.is_empty() && state.last_known_elr.is_empty() {
                    continue;
                }
                state.elr = Box::default();
                state.last_known_elr = Box::default();
                let (name, state) = (topic.name.clone(), state.clone());
                changes.push(Change::PartitionChanged { topic: id, name, partition, state });
            }
        }
        Ok(())
    }
}
