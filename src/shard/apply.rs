//! Committed metadata becomes this core's picture, and the difference becomes logs made, loaded, changed and removed.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use crate::base::ids::{TopicId, TopicPartition};
use crate::base::slots::Key;
use crate::base::time::Now;
use crate::log::{Durability, LoadHints, LogConfig, PartitionLog};
use crate::meta::controller::OFFSETS_TOPIC;
use crate::meta::image::Change;
use crate::meta::record::Record;
use crate::meta::settings::{self, BrokerSettings, PARTITION_CORES, TopicSettings};

use super::coordinator_host::CoordinatorHost;
use super::message::Message;
use super::partition::{Partition, Role};
use super::{Notice, Shard};
use crate::base::ids::CoreId;

/// Partitions that were made and removed before the start: by the name of their folder, the last one and its core.
type Strays = BTreeMap<(String, i32), (TopicPartition, CoreId)>;

impl Shard {
    /// Applies committed records and tells the controller's core, once removed logs are out of the way.
    pub(super) fn apply_committed(&mut self, end: i64, records: &[Record], now: Now) {
        let mut changes = Vec::new();
        for record in records {
            match self.image.apply(record) {
                Ok(more) => changes.extend(more),
                // The controller has applied the same record to the same picture before it was written.
                Err(error) => crate::invariant!(false, "a committed record does not apply: {error}"),
            }
        }
        let is_pins =
            |change: &Change| matches!(change, Change::BrokerConfigChanged { key, .. } if key == PARTITION_CORES);
        let pins_changed = changes.iter().any(is_pins);
        if pins_changed {
            self.refresh_pins();
        }
        // A start applies the whole history at once: what was removed in the end is never opened, since its folder's
        // name may belong to a later topic.
        let removed = changes.iter().filter_map(|change| match change {
            Change::TopicRemoved { topic, .. } => Some(*topic),
            _ => None,
        });
        let doomed: BTreeSet<TopicId> = removed.collect();
        let mut strays = BTreeMap::new();
        let mut moving = 0;
        for change in changes {
            if let Change::PartitionAdded { topic, name, partition, .. } = &change
                && doomed.contains(topic)
            {
                let id = TopicPartition { topic: *topic, partition: *partition };
                strays.insert((name.to_string(), *partition), (id, self.route.add(id, name)));
                continue;
            }
            if let Change::TopicRemoved { topic, name, partitions } = &change {
                if strays.is_empty() {
                    self.forget_folders(name, partitions);
                } else if self.image.topic_named(name).is_some() {
                    // Everything that is kept under this name is the later topic's.
                    self.route.remove_topic(*topic);
                    self.topic_settings.remove(topic);
                    continue;
                }
            }
            moving += self.apply_change(change, end, now);
        }
        moving += self.remove_strays(strays, end, now);
        self.applied_end = end;
        if !self.serving && self.is_registered() {
            self.serving = true;
            self.notices.push(Notice::Serving);
        }
        if moving > 0 {
            self.removals.insert(end, moving);
        }
        self.tell_applied();
        if pins_changed {
            self.look_for_moves(now);
        }
        let (due, rest) = std::mem::take(&mut self.ahead).into_iter().partition(|(_, _, seen, _)| *seen <= end);
        self.ahead = rest;
        let due: Vec<_> = due;
        for (from, key, _, ask) in due {
            self.ask(from, key, ask, now);
        }
    }

    /// What the start found under these names is gone: a later topic of the name makes its folders, on whichever core.
    fn forget_folders(&mut self, name: &str, partitions: &[i32]) {
        let folders = &mut Arc::make_mut(&mut self.facts).folders;
        for partition in partitions {
            folders.remove(&format!("{name}-{partition}"));
        }
    }

    /// Moves folders away whose topic was removed before the node stopped, and which the removal did not get to.
    fn remove_strays(&mut self, strays: Strays, end: i64, now: Now) -> u32 {
        let mut moving = 0;
        for ((name, partition), (id, core)) in strays {
            let taken = self.image.topic_named(&name).is_some_and(|topic| topic.partitions.contains_key(&partition));
            let there = self.facts.folders.contains(&format!("{name}-{partition}"));
            if taken || !there {
                continue;
            }
            if core != self.config.core {
                self.forget_folders(&name, &[partition]);
                continue;
            }
            let key = self.open_log(id, &name, Role::Data, LogConfig::default(), 0, now);
            self.forget_folders(&name, &[partition]);
            self.by_id.remove(&id);
            self.removal_of.insert(key, end);
            self.with_log(key, now, |log, _, out, _| log.delete(out));
            moving += 1;
        }
        moving
    }

    /// The picture holds this start of this node: whoever reads metadata gets addresses that are true.
    fn is_registered(&self) -> bool {
        let node = &self.config.node;
        let broker = self.image.broker(node.node_id);
        broker.is_some_and(|broker| broker.incarnation == node.incarnation && !broker.fenced)
    }

    /// Returns how many logs of this core must move out of the way before the change is done.
    fn apply_change(&mut self, change: Change, end: i64, now: Now) -> u32 {
        match change {
            Change::TopicAdded { topic, name } => self.refresh_topic_settings(topic, &name),
            Change::PartitionAdded { topic, name, partition, state } => {
                let id = TopicPartition { topic, partition };
                if self.route.add(id, &name) == self.config.core {
                    self.open_partition(id, &name, state.leader_epoch, now);
                }
            }
            Change::PartitionChanged { topic, partition, state, .. } => {
                if let Some(key) = self.by_id.get(&TopicPartition { topic, partition })
                    && let Some(partition) = self.partitions.get_mut(*key)
                {
                    partition.leader.begin_epoch(state.leader_epoch);
                }
            }
            Change::TopicRemoved { topic, name, .. } => return self.remove_topic(topic, &name, end, now),
            Change::TopicConfigChanged { name, .. } => {
                if let Some(topic) = self.image.topic_named(&name) {
                    self.refresh_topic_settings(topic.id, &name);
                }
            }
            // It has been taken over before the first change.
            Change::BrokerConfigChanged { key, .. } if key == PARTITION_CORES => {}
            Change::BrokerConfigChanged { key, .. } => {
                let honoured = settings::broker_setting(&key).is_some_and(|setting| setting.honoured);
                if self.config.core == CoreId(0) && !honoured {
                    tracing::warn!("{key} was set for this broker or for all; this version does not act on it");
                }
                self.take_dynamic_settings();
                let topics: Vec<_> = self.image.topics().map(|topic| (topic.id, topic.name.clone())).collect();
                for (id, name) in topics {
                    self.refresh_topic_settings(id, &name);
                }
            }
            Change::GroupConfigChanged { .. }
            | Change::OtherConfigChanged { .. }
            | Change::BrokerChanged { .. }
            | Change::BrokerRemoved { .. }
            | Change::ControllerChanged { .. }
            | Change::FeatureChanged { .. }
            | Change::ProducerIdsAllocated { .. } => {}
        }
        0
    }

    /// What the picture says of this broker counts from now on, where a running node can follow.
    fn take_dynamic_settings(&mut self) {
        let (settings, passed_over) = self.start_settings.with_dynamic(&self.image);
        let connections_max = settings.connections_max;
        if self.config.core == CoreId(0) && connections_max != self.config.settings.connections_max {
            self.notices.push(Notice::ConnectionsMax(connections_max));
        }
        for error in passed_over.into_iter().filter(|_| self.config.core == CoreId(0)) {
            tracing::warn!("this broker's settings: {error}; the value is passed over");
        }
        self.config.settings = Rc::new(settings);
    }

    fn refresh_topic_settings(&mut self, id: TopicId, name: &str) {
        let settings = self.effective_settings(name);
        if settings.cleanup_compact && name != OFFSETS_TOPIC && self.config.core == CoreId(0) {
            tracing::warn!("topic {name}: cleanup.policy says compact, and this version does not compact");
        }
        let config = log_config(&settings, &self.config.settings);
        self.topic_settings.insert(id, settings);
        let first = TopicPartition { topic: id, partition: 0 };
        let last = TopicPartition { topic: id, partition: i32::MAX };
        let keys: Vec<Key> = self.by_id.range(first..=last).map(|(_, key)| *key).collect();
        for key in keys {
            if let Some(partition) = self.partitions.get_mut(key) {
                partition.log.set_config(config.clone());
            }
            self.mark_dirty(key);
        }
    }

    fn effective_settings(&self, name: &str) -> TopicSettings {
        let (settings, passed_over) = TopicSettings::of(&self.image, &self.config.settings, name);
        for error in passed_over {
            tracing::warn!("topic {name}: {error}; the default is used");
        }
        settings
    }

    fn open_partition(&mut self, id: TopicPartition, name: &str, leader_epoch: i32, now: Now) {
        let settings = match self.topic_settings.get(&id.topic) {
            Some(settings) => settings.clone(),
            None => self.effective_settings(name),
        };
        let config = log_config(&settings, &self.config.settings);
        let role = if name == OFFSETS_TOPIC { Role::Offsets } else { Role::Data };
        let key = self.open_log(id, name, role, config, leader_epoch, now);
        if role == Role::Offsets {
            let host = CoordinatorHost::new(key, self.new_coordinator(id.partition));
            self.coordinators.insert(id.partition, host);
        }
    }

    /// Loads the log when its folder is there, makes it otherwise.
    pub(super) fn open_log(
        &mut self,
        id: TopicPartition,
        name: &str,
        role: Role,
        config: LogConfig,
        epoch: i32,
        now: Now,
    ) -> Key {
        let dir = format!("{name}-{}", id.partition);
        let key = self.partitions.next_key();
        let place = (name.to_string(), id.partition);
        let log = if self.facts.folders.contains(&dir) {
            let hints = LoadHints {
                clean: self.facts.clean,
                recovery_point: self.facts.recovery_points.get(&place).copied().filter(|_| self.facts.clean),
                log_start: self.facts.log_starts.get(&place).copied(),
            };
            self.desk.with_log(key, |out| PartitionLog::load(dir, id.topic, config, hints, now, out))
        } else {
            self.desk.with_log(key, |out| PartitionLog::create(dir, id.topic, config, now, out))
        };
        let inserted = self.partitions.insert(Partition::new(place.0, id, role, log, epoch));
        crate::invariant!(inserted == key, "partition key {key} became {inserted}");
        self.by_id.insert(id, key);
        if self.is_stopping() && self.partitions.get(key).is_some_and(|partition| partition.log.is_being_made()) {
            self.close_late(key, now);
        }
        key
    }

    fn remove_topic(&mut self, id: TopicId, name: &str, end: i64, now: Now) -> u32 {
        self.route.remove_topic(id);
        self.topic_settings.remove(&id);
        let first = TopicPartition { topic: id, partition: 0 };
        let last = TopicPartition { topic: id, partition: i32::MAX };
        let coming = self.end_moves_of(id, name, end);
        let gone: Vec<_> = self.by_id.range(first..=last).map(|(id, key)| (*id, *key)).collect();
        for (id, key) in &gone {
            self.by_id.remove(id);
            self.fail_partition(*key, &super::message::PartitionError::Unknown, now);
            if name == OFFSETS_TOPIC {
                self.coordinators.remove(&id.partition);
            }
            self.removal_of.insert(*key, end);
            self.with_log(*key, now, |log, _, out, _| log.delete(out));
        }
        let starts_kept = self.folder.as_mut().is_some_and(|folder| folder.forget_topic(name, end, &mut self.desk));
        self.coordinators_forget_topic(name, id, now);
        self.ask_all_early(now);
        gone.len() as u32 + coming + u32::from(starts_kept)
    }

    /// The folder of a removed partition has another name now: its own is free.
    pub(super) fn log_moved_away(&mut self, key: Key, _now: Now) {
        if let Some(end) = self.removal_of.remove(&key) {
            self.removal_step(end);
        }
        self.log_not_to_close(key);
    }

    /// One more thing that the removals up to `end` waited for is done.
    pub(super) fn removal_step(&mut self, end: i64) {
        if let Some(left) = self.removals.get_mut(&end) {
            *left -= 1;
            if *left == 0 {
                self.removals.remove(&end);
                self.tell_applied();
            }
        }
    }

    /// Says how far this core has come; not while a removal is under way, for what came after it counts no more.
    fn tell_applied(&mut self) {
        if self.removals.is_empty() {
            self.send(CoreId(0), Message::Applied { end: self.applied_end });
        }
    }
}

/// What a log needs of a topic's settings.
pub(super) fn log_config(topic: &TopicSettings, broker: &BrokerSettings) -> LogConfig {
    let bytes = |bytes: u64| u32::try_from(bytes).unwrap_or(u32::MAX);
    let limit = |limit: Option<u64>| limit.map_or(-1, |limit| i64::try_from(limit).unwrap_or(i64::MAX));
    LogConfig {
        segment_bytes: bytes(topic.segment_bytes),
        segment_ms: i64::try_from(topic.segment_ms).unwrap_or(i64::MAX),
        segment_jitter_ms: i64::try_from(topic.segment_jitter_ms).unwrap_or(i64::MAX),
        index_interval_bytes: bytes(topic.index_interval_bytes),
        index_bytes_max: bytes(topic.segment_index_bytes),
        retention_ms: if topic.cleanup_delete { limit(topic.retention_ms) } else { -1 },
        retention_bytes: if topic.cleanup_delete { limit(topic.retention_bytes) } else { -1 },
        delete_delay_ms: topic.file_delete_delay_ms,
        producer_expiration_ms: i64::try_from(broker.producer_id_expiration_ms).unwrap_or(i64::MAX),
        durability: match topic.durability {
            settings::Durability::Stable => Durability::Stable,
            settings::Durability::PageCache => {
                Durability::PageCache { messages: topic.flush_messages, ms: topic.flush_ms }
            }
        },
        gaps_allowed: topic.cleanup_compact,
        writes_wait_for_flush: true,
        stage_bytes_min: bytes(broker.fetch_cache_bytes_min),
        stage_distance: broker.fetch_cache_distance,
        journal: super::journal_host::is_used(broker.journal_bytes),
        ..LogConfig::default()
    }
}
