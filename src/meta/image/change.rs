//! What a record changed in the image, so that a shard need not compare pictures.

use std::sync::Arc;

use crate::base::ids::{NodeId, TopicId};

use super::{PartitionImage, ResourceKind};

/// One difference between the image before and after a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    TopicAdded {
        topic: TopicId,
        name: Arc<str>,
    },
    PartitionAdded {
        topic: TopicId,
        name: Arc<str>,
        partition: i32,
        state: PartitionImage,
    },
    /// Leader, ISR, replicas, directories or epochs moved; `state` is the new state.
    PartitionChanged {
        topic: TopicId,
        name: Arc<str>,
        partition: i32,
        state: PartitionImage,
    },
    TopicRemoved {
        topic: TopicId,
        name: Arc<str>,
        partitions: Vec<i32>,
    },
    TopicConfigChanged {
        name: String,
        key: String,
    },
    /// `broker` is `None` for the cluster-wide default.
    BrokerConfigChanged {
        broker: Option<NodeId>,
        key: String,
    },
    GroupConfigChanged {
        group: String,
        key: String,
    },
    /// A config of loggers or client metrics.
    OtherConfigChanged {
        kind: ResourceKind,
        name: String,
        key: String,
    },
    /// Registered, fenced, unfenced, or entered shutdown.
    BrokerChanged {
        broker: NodeId,
    },
    BrokerRemoved {
        broker: NodeId,
    },
    ControllerChanged {
        controller: NodeId,
    },
    /// Level 0: no longer finalized.
    FeatureChanged {
        name: String,
        level: i16,
    },
    ProducerIdsAllocated {
        next: i64,
    },
}

impl Change {
    pub(super) fn config(kind: ResourceKind, name: &str, key: &str) -> Change {
        let key = key.to_owned();
        match (kind, name.parse()) {
            (ResourceKind::Topic, _) => Change::TopicConfigChanged { name: name.to_owned(), key },
            (ResourceKind::Group, _) => Change::GroupConfigChanged { group: name.to_owned(), key },
            (ResourceKind::Broker, _) if name.is_empty() => Change::BrokerConfigChanged { broker: None, key },
            (ResourceKind::Broker, Ok(id)) => Change::BrokerConfigChanged { broker: Some(NodeId(id)), key },
            _ => Change::OtherConfigChanged { kind, name: name.to_owned(), key },
        }
    }
}
