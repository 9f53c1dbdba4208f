//! Records of the metadata log, in words and as JSON. Field names are Kafka's, in snake case.

use serde_json::{Map, Value, json};

use crate::base::ids::Uuid;
use crate::meta::record::{EndpointRecord, FeatureRange, LEADER_UNCHANGED, RECOVERY_UNCHANGED, Record};

/// The record's type as Kafka names it, without the word "Record" behind it.
pub(super) fn name(record: &Record) -> String {
    let name = match record {
        Record::RegisterBroker(_) => "RegisterBroker",
        Record::UnregisterBroker(_) => "UnregisterBroker",
        Record::Topic(_) => "Topic",
        Record::Partition(_) => "Partition",
        Record::Config(_) => "Config",
        Record::PartitionChange(_) => "PartitionChange",
        Record::FenceBroker(_) => "FenceBroker",
        Record::UnfenceBroker(_) => "UnfenceBroker",
        Record::RemoveTopic { .. } => "RemoveTopic",
        Record::FeatureLevel(_) => "FeatureLevel",
        Record::ProducerIds(_) => "ProducerIds",
        Record::BrokerRegistrationChange(_) => "BrokerRegistrationChange",
        Record::NoOp => "NoOp",
        Record::BeginTransaction { .. } => "BeginTransaction",
        Record::EndTransaction => "EndTransaction",
        Record::AbortTransaction { .. } => "AbortTransaction",
        Record::RegisterController(_) => "RegisterController",
        Record::ClearElr { .. } => "ClearElr",
        Record::Other { api_key, .. } => return other_name(*api_key),
    };
    name.to_owned()
}

fn other_name(api_key: u16) -> String {
    let name = match api_key {
        10 => "DelegationToken",
        11 => "UserScramCredential",
        14 => "ClientQuota",
        18 => "AccessControlEntry",
        19 => "RemoveAccessControlEntry",
        21 => "ZkMigrationState",
        22 => "RemoveUserScramCredential",
        26 => "RemoveDelegationToken",
        29 => "UnregisterController",
        _ => return format!("type {api_key}"),
    };
    name.to_owned()
}

/// The record's fields; what means "as before" is left out.
pub(super) fn fields(record: &Record) -> Value {
    match record {
        Record::RegisterBroker(r) => json!({
            "broker_id": r.broker, "incarnation_id": r.incarnation.to_string(), "broker_epoch": r.epoch,
            "end_points": endpoints(&r.endpoints), "features": features(&r.features), "rack": r.rack,
            "fenced": r.fenced, "in_controlled_shutdown": r.in_controlled_shutdown, "log_dirs": ids(&r.log_dirs),
        }),
        Record::UnregisterBroker(r) | Record::FenceBroker(r) | Record::UnfenceBroker(r) => {
            json!({"broker_id": r.broker, "broker_epoch": r.epoch})
        }
        Record::Topic(r) => json!({"name": r.name, "topic_id": r.id.to_string()}),
        Record::Partition(r) => without_null(json!({
            "partition_id": r.partition, "topic_id": r.topic.to_string(), "replicas": r.replicas, "isr": r.isr,
            "removing_replicas": r.removing, "adding_replicas": r.adding, "leader": r.leader,
            "leader_recovery_state": r.recovery_state, "leader_epoch": r.leader_epoch,
            "partition_epoch": r.partition_epoch, "directories": ids(&r.directories),
            "eligible_leader_replicas": r.elr, "last_known_elr": r.last_known_elr,
        })),
        Record::Config(r) => json!({
            "resource_type": r.resource_type, "resource_name": r.resource_name, "name": r.name, "value": r.value,
        }),
        Record::PartitionChange(r) => without_null(json!({
            "partition_id": r.partition, "topic_id": r.topic.to_string(), "isr": r.isr,
            "leader": (r.leader != LEADER_UNCHANGED).then_some(r.leader), "replicas": r.replicas,
            "removing_replicas": r.removing, "adding_replicas": r.adding,
            "leader_recovery_state": (r.recovery_state != RECOVERY_UNCHANGED).then_some(r.recovery_state),
            "directories": r.directories.as_deref().map(ids), "eligible_leader_replicas": r.elr,
            "last_known_elr": r.last_known_elr,
        })),
        Record::RemoveTopic { id } => json!({"topic_id": id.to_string()}),
        Record::FeatureLevel(r) => json!({"name": r.name, "feature_level": r.level}),
        Record::ProducerIds(r) => json!({
            "broker_id": r.broker, "broker_epoch": r.broker_epoch, "next_producer_id": r.next_producer_id,
        }),
        Record::BrokerRegistrationChange(r) => json!({
            "broker_id": r.broker, "broker_epoch": r.epoch, "fenced": r.fenced,
            "in_controlled_shutdown": r.in_controlled_shutdown, "log_dirs": ids(&r.log_dirs),
        }),
        Record::NoOp | Record::EndTransaction => json!({}),
        Record::BeginTransaction { name } => json!({"name": name}),
        Record::AbortTransaction { reason } => json!({"reason": reason}),
        Record::RegisterController(r) => json!({
            "controller_id": r.controller, "incarnation_id": r.incarnation.to_string(),
            "zk_migration_ready": r.zk_migration_ready, "end_points": endpoints(&r.endpoints),
            "features": features(&r.features),
        }),
        Record::ClearElr { topic } => json!({"topic_name": topic}),
        // Tokens and SCRAM credentials are secrets: their size is told, not their bytes.
        Record::Other { body, .. } => json!({"body_bytes": body.len()}),
    }
}

fn endpoints(endpoints: &[EndpointRecord]) -> Vec<String> {
    endpoints.iter().map(|endpoint| format!("{}://{}:{}", endpoint.name, endpoint.host, endpoint.port)).collect()
}

fn features(features: &[FeatureRange]) -> Value {
    let map: Map<String, Value> = features
        .iter()
        .map(|feature| (feature.name.clone(), Value::from(format!("{}-{}", feature.min, feature.max))))
        .collect();
    Value::from(map)
}

fn ids(ids: &[Uuid]) -> Vec<String> {
    ids.iter().map(Uuid::to_string).collect()
}

fn without_null(value: Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(fields.into_iter().filter(|(_, value)| !value.is_null()).collect()),
        other => other,
    }
}

/// The fields for people: `name=value` pairs.
pub(super) fn text(record: &Record) -> String {
    let Value::Object(fields) = fields(record) else { return String::new() };
    let pairs: Vec<String> = fields
        .iter()
        .map(|(name, value)| match value {
            Value::String(text) => format!("{name}={}", super::super::output::printable(text.as_bytes())),
            other => format!("{name}={other}"),
        })
        .collect();
    pairs.join(" ")
}
