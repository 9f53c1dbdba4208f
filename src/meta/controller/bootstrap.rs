//! A node's first words in the metadata log: features on the very first start, then who it is.
//!
//! Each start registers the broker anew with its own epoch (the offset of the registration) and makes it leader of
//! the partitions that nobody else in sync could lead. Naming the leader, even the same, grows the leader epoch: if
//! the crash took unsynced records with it, clients learn that from the epoch (KIP-320) instead of reading on.

use crate::base::ids::NodeId;

use super::super::image::{Image, PartitionImage};
use super::super::record::{
    BrokerRegistrationChangeRecord, FeatureLevelRecord, FeatureRange, PartitionChangeRecord, Record,
    RegisterBrokerRecord, RegisterControllerRecord,
};
use super::super::settings::BrokerSettings;
use super::{Answer, Bootstrap, Decision};

/// The metadata.version this node writes: 4.2-IV1, which Kafka 4.2 finalizes by default.
pub const METADATA_VERSION: i16 = 29;

/// A feature this node knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    pub name: &'static str,
    pub min: i16,
    pub max: i16,
    /// What a new cluster starts with; 0 leaves the feature off.
    pub initial: i16,
}

/// The features of this version. `group.version`, `transaction.version` and the like are absent until the protocols
/// they stand for are served: clients take a finalized level as a promise.
pub const FEATURES: [Feature; 1] =
    [Feature { name: "metadata.version", min: METADATA_VERSION, max: METADATA_VERSION, initial: METADATA_VERSION }];

pub(super) fn decide(image: &Image, broker: &BrokerSettings, bootstrap: Bootstrap) -> Decision {
    let id = broker.node_id;
    let mut records = Vec::new();
    if image.feature("metadata.version") == 0 {
        for feature in FEATURES.iter().filter(|feature| feature.initial > 0) {
            let record = FeatureLevelRecord { name: feature.name.to_owned(), level: feature.initial };
            records.push(Record::FeatureLevel(record));
        }
    }
    let features: Vec<FeatureRange> =
        FEATURES.iter().map(|f| FeatureRange { name: f.name.to_owned(), min: f.min, max: f.max }).collect();
    records.push(Record::RegisterController(RegisterControllerRecord {
        controller: id.0,
        incarnation: bootstrap.incarnation,
        zk_migration_ready: false,
        endpoints: bootstrap.controller_endpoints,
        features: features.clone(),
    }));
    let broker_epoch = bootstrap.next_offset.saturating_add(records.len() as i64);
    records.push(Record::RegisterBroker(RegisterBrokerRecord {
        version: RegisterBrokerRecord::VERSION,
        broker: id.0,
        is_migrating_zk_broker: false,
        incarnation: bootstrap.incarnation,
        epoch: broker_epoch,
        endpoints: bootstrap.endpoints,
        features,
        rack: broker.rack.clone(),
        fenced: true,
        in_controlled_shutdown: false,
        log_dirs: bootstrap.log_dirs,
        cordoned_log_dirs: None,
    }));
    records.push(Record::BrokerRegistrationChange(BrokerRegistrationChangeRecord {
        version: BrokerRegistrationChangeRecord::VERSION,
        broker: id.0,
        epoch: broker_epoch,
        fenced: -1,
        in_controlled_shutdown: 0,
        log_dirs: Vec::new(),
        cordoned_log_dirs: None,
    }));
    for topic in image.topics() {
        for (&partition, state) in &topic.partitions {
            records.extend(elect(image, id, state).map(|(isr, elr)| {
                let unchanged = PartitionChangeRecord::unchanged(topic.id, partition);
                Record::PartitionChange(PartitionChangeRecord { leader: id.0, isr, elr, ..unchanged })
            }));
        }
    }
    Decision { records, answer: Answer::Registered { broker_epoch } }
}

/// Whether the node that just came back is to lead the partition, and the ISR and ELR that change with it.
#[expect(clippy::type_complexity, reason = "two optional lists, named at the only place that takes them")]
fn elect(image: &Image, id: NodeId, state: &PartitionImage) -> Option<(Option<Vec<i32>>, Option<Vec<i32>>)> {
    let others_lead = state
        .isr
        .iter()
        .any(|&member| member != id.0 && image.broker(NodeId(member)).is_some_and(|broker| broker.active()));
    if others_lead {
        return None;
    }
    if state.isr.contains(&id.0) {
        return Some((None, None));
    }
    // An empty ISR and a replica that is known to hold every committed record (KIP-966).
    if state.isr.is_empty() && state.elr.contains(&id.0) {
        let rest = state.elr.iter().copied().filter(|&member| member != id.0).collect();
        return Some((Some(vec![id.0]), Some(rest)));
    }
    None
}
