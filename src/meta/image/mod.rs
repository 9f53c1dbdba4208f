//! The picture of the cluster that the committed metadata records build, record by record.
//!
//! Each core keeps its own image, fed with the same records in the same order, so all images of a process agree at
//! the same offset. Invariants: `by_name` and `topics` name the same topics; partition epochs and leader epochs never
//! fall while a topic lives; records between a begin and an end record show only when the end has come (KIP-868).
//! A record that contradicts the picture is an error: the log is not ours, or damaged, and the caller stops.

mod change;
mod nodes;
#[cfg(test)]
mod tests;
mod topics;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::base::ids::{NodeId, TopicId};

use super::record::{ConfigRecord, FeatureLevelRecord, Record};

pub use change::Change;
pub use nodes::{BrokerImage, ControllerImage};
pub use topics::{PartitionImage, TopicImage};

/// Records a metadata transaction may hold before its end record: Kafka's controller writes at most 10,000 partitions
/// per request, each one record, so this leaves room for several requests in one transaction.
const TRANSACTION_RECORDS_MAX: usize = 100_000;

/// The explicit config values of one resource, by key.
pub type ConfigMap = BTreeMap<Box<str>, Box<str>>;

/// What one value takes in the picture of a core, bytes: its texts, and its place in the maps.
pub fn config_entry_bytes(resource: &str, name: &str, value: &str) -> usize {
    const PLACE_BYTES: usize = 64;
    resource.len() + name.len() + value.len() + PLACE_BYTES
}

/// What a config belongs to, with Kafka's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ResourceKind {
    Topic,
    /// Name = broker id; empty name = the default of all brokers.
    Broker,
    BrokerLogger,
    ClientMetrics,
    Group,
}

impl ResourceKind {
    pub fn code(self) -> i8 {
        match self {
            ResourceKind::Topic => 2,
            ResourceKind::Broker => 4,
            ResourceKind::BrokerLogger => 8,
            ResourceKind::ClientMetrics => 16,
            ResourceKind::Group => 32,
        }
    }

    pub fn from_code(code: i8) -> Option<ResourceKind> {
        match code {
            2 => Some(ResourceKind::Topic),
            4 => Some(ResourceKind::Broker),
            8 => Some(ResourceKind::BrokerLogger),
            16 => Some(ResourceKind::ClientMetrics),
            32 => Some(ResourceKind::Group),
            _ => None,
        }
    }
}

/// Why a record does not fit the picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApplyError {
    UnknownTopic(TopicId),
    TopicExists {
        name: String,
    },
    TopicIdExists(TopicId),
    UnknownPartition {
        topic: TopicId,
        partition: i32,
    },
    UnknownBroker(i32),
    StaleBrokerEpoch {
        broker: i32,
        record: i64,
        image: i64,
    },
    UnknownResourceType(i8),
    /// A begin record inside a transaction, or an end or abort record outside of one.
    TransactionOrder,
    TransactionTooLong,
}

impl fmt::Display for ApplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ApplyError::UnknownTopic(id) => write!(f, "metadata: record for unknown topic id {id}"),
            ApplyError::TopicExists { name } => write!(f, "metadata: topic {name} created twice"),
            ApplyError::TopicIdExists(id) => write!(f, "metadata: topic id {id} used twice"),
            ApplyError::UnknownPartition { topic, partition } => {
                write!(f, "metadata: change of unknown partition {partition} of topic id {topic}")
            }
            ApplyError::UnknownBroker(broker) => write!(f, "metadata: record for unknown broker {broker}"),
            ApplyError::StaleBrokerEpoch { broker, record, image } => {
                write!(f, "metadata: broker {broker} has epoch {image}, a record says {record}")
            }
            ApplyError::UnknownResourceType(code) => write!(f, "metadata: config of unknown resource type {code}"),
            ApplyError::TransactionOrder => f.write_str("metadata: transaction records out of order"),
            ApplyError::TransactionTooLong => {
                write!(f, "metadata: more than {TRANSACTION_RECORDS_MAX} records in one transaction")
            }
        }
    }
}

impl std::error::Error for ApplyError {}

/// See the file's head. Exists once per core; sees the whole cluster.
#[derive(Clone, Debug, Default)]
pub struct Image {
    topics: BTreeMap<TopicId, TopicImage>,
    by_name: BTreeMap<Arc<str>, TopicId>,
    partition_count: usize,
    brokers: BTreeMap<NodeId, BrokerImage>,
    controllers: BTreeMap<NodeId, ControllerImage>,
    configs: BTreeMap<ResourceKind, BTreeMap<Box<str>, ConfigMap>>,
    /// What `configs` takes, as [`config_entry_bytes`] counts.
    config_bytes: usize,
    features: BTreeMap<String, i16>,
    next_producer_id: i64,
    /// Records of the open transaction, not yet visible.
    transaction: Option<Vec<Record>>,
}

static EMPTY: ConfigMap = ConfigMap::new();

impl Image {
    pub fn new() -> Image {
        Image::default()
    }

    /// Takes in one committed record and says what it changed: nothing while a transaction is open, everything at
    /// once when it ends. After an error the image is not to be used.
    pub fn apply(&mut self, record: &Record) -> Result<Vec<Change>, ApplyError> {
        match (record, self.transaction.take()) {
            (Record::BeginTransaction { .. }, None) => {
                self.transaction = Some(Vec::new());
                Ok(Vec::new())
            }
            (Record::EndTransaction, Some(records)) => {
                let mut changes = Vec::new();
                for record in &records {
                    self.apply_one(record, &mut changes)?;
                }
                Ok(changes)
            }
            (Record::AbortTransaction { .. }, Some(_)) => Ok(Vec::new()),
            (Record::BeginTransaction { .. }, Some(_))
            | (Record::EndTransaction | Record::AbortTransaction { .. }, None) => Err(ApplyError::TransactionOrder),
            (_, Some(records)) if records.len() >= TRANSACTION_RECORDS_MAX => Err(ApplyError::TransactionTooLong),
            (_, Some(mut records)) => {
                records.push(record.clone());
                self.transaction = Some(records);
                Ok(Vec::new())
            }
            (_, None) => {
                let mut changes = Vec::new();
                self.apply_one(record, &mut changes)?;
                Ok(changes)
            }
        }
    }

    /// True while records are held back until their transaction ends.
    pub fn in_transaction(&self) -> bool {
        self.transaction.is_some()
    }

    fn apply_one(&mut self, record: &Record, changes: &mut Vec<Change>) -> Result<(), ApplyError> {
        match record {
            Record::Topic(r) => self.apply_topic(r, changes),
            Record::Partition(r) => self.apply_partition(r, changes),
            Record::PartitionChange(r) => self.apply_partition_change(r, changes),
            Record::RemoveTopic { id } => self.apply_remove_topic(*id, changes),
            Record::ClearElr { topic } => self.apply_clear_elr(topic, changes),
            Record::Config(r) => self.apply_config(r, changes),
            Record::RegisterBroker(r) => self.apply_register_broker(r, changes),
            Record::UnregisterBroker(r) => self.apply_unregister_broker(r, changes),
            Record::FenceBroker(r) => self.apply_fenced(r.broker, r.epoch, true, changes),
            Record::UnfenceBroker(r) => self.apply_fenced(r.broker, r.epoch, false, changes),
            Record::BrokerRegistrationChange(r) => self.apply_broker_change(r, changes),
            Record::RegisterController(r) => self.apply_register_controller(r, changes),
            Record::FeatureLevel(r) => self.apply_feature(r, changes),
            Record::ProducerIds(r) => {
                self.next_producer_id = r.next_producer_id;
                changes.push(Change::ProducerIdsAllocated { next: r.next_producer_id });
                Ok(())
            }
            Record::NoOp | Record::Other { .. } => Ok(()),
            Record::BeginTransaction { .. } | Record::EndTransaction | Record::AbortTransaction { .. } => {
                Err(ApplyError::TransactionOrder)
            }
        }
    }

    fn apply_config(&mut self, r: &ConfigRecord, changes: &mut Vec<Change>) -> Result<(), ApplyError> {
        let kind = ResourceKind::from_code(r.resource_type).ok_or(ApplyError::UnknownResourceType(r.resource_type))?;
        let resources = self.configs.entry(kind).or_default();
        match &r.value {
            Some(value) => {
                let values = resources.entry(r.resource_name.as_str().into()).or_default();
                let before = values.insert(r.name.as_str().into(), value.as_str().into());
                let freed = before.map_or(0, |before| config_entry_bytes(&r.resource_name, &r.name, &before));
                self.config_bytes += config_entry_bytes(&r.resource_name, &r.name, value);
                self.config_bytes -= freed;
            }
            None => {
                if let Some(values) = resources.get_mut(r.resource_name.as_str()) {
                    let before = values.remove(r.name.as_str());
                    self.config_bytes -=
                        before.map_or(0, |before| config_entry_bytes(&r.resource_name, &r.name, &before));
                    if values.is_empty() {
                        resources.remove(r.resource_name.as_str());
                    }
                }
            }
        }
        changes.push(Change::config(kind, &r.resource_name, &r.name));
        Ok(())
    }

    fn apply_feature(&mut self, r: &FeatureLevelRecord, changes: &mut Vec<Change>) -> Result<(), ApplyError> {
        if r.level == 0 {
            self.features.remove(&r.name);
        } else {
            self.features.insert(r.name.clone(), r.level);
        }
        changes.push(Change::FeatureChanged { name: r.name.clone(), level: r.level });
        Ok(())
    }

    /// What the explicit values of all resources take, as [`config_entry_bytes`] counts.
    pub fn config_bytes(&self) -> usize {
        self.config_bytes
    }

    /// Partitions of all topics together.
    pub fn partition_count(&self) -> usize {
        self.partition_count
    }

    /// The explicit values of a resource; empty when there are none.
    pub fn config(&self, kind: ResourceKind, name: &str) -> &ConfigMap {
        self.configs.get(&kind).and_then(|resources| resources.get(name)).unwrap_or(&EMPTY)
    }

    /// The names of all resources of a kind that have explicit values, in order.
    pub fn configured(&self, kind: ResourceKind) -> impl Iterator<Item = &str> {
        self.configs.get(&kind).into_iter().flat_map(|resources| resources.keys().map(|name| &**name))
    }

    /// The explicit values of a topic.
    pub fn topic_config(&self, topic: &str) -> &ConfigMap {
        self.config(ResourceKind::Topic, topic)
    }

    /// The dynamic values of one broker.
    pub fn broker_config(&self, broker: NodeId) -> &ConfigMap {
        self.config(ResourceKind::Broker, &broker.0.to_string())
    }

    /// The dynamic values that hold for every broker without its own.
    pub fn broker_default_config(&self) -> &ConfigMap {
        self.config(ResourceKind::Broker, "")
    }

    /// Finalized features and their levels, in order of their names.
    pub fn features(&self) -> impl Iterator<Item = (&str, i16)> {
        self.features.iter().map(|(name, &level)| (name.as_str(), level))
    }

    /// The finalized level of a feature; 0 when it is not finalized.
    pub fn feature(&self, name: &str) -> i16 {
        self.features.get(name).copied().unwrap_or(0)
    }

    /// The first producer id that no broker has been given.
    pub fn next_producer_id(&self) -> i64 {
        self.next_producer_id
    }
}
