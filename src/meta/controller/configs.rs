//! Changing configs of topics, brokers, the cluster default and groups.
//!
//! Both requests end in the same place: the explicit values the resource has now and those it shall have are judged
//! as a whole, and the difference becomes records. So a value that was legal on its own cannot become illegal together
//! with an older one, and a value that does not change leaves no record.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::ids::NodeId;

use super::super::image::{ConfigMap, Image, ResourceKind};
use super::super::record::{ConfigRecord, Record};
use super::super::settings::{
    self, BrokerSettings, Kind, PARTITION_CORES, SettingError, Update, append_to_list, broker_setting, check_cores,
    check_lengths, subtract_from_list, validate, validate_topic,
};
use super::{AlteredConfig, Answer, ConfigChange, ConfigOp, ConfigReplacement, Decision, MetaError, OpKind, Refusal};

/// Longest group that has configs of its own, bytes: no group with a longer name is served.
const GROUP_NAME_BYTES_MAX: usize = 4096;

/// A key whose change invalidates the eligible leader replicas.
const MIN_ISR: &str = "min.insync.replicas";

pub(super) fn replace(
    image: &Image,
    broker: &BrokerSettings,
    resources: Vec<ConfigReplacement>,
    validate_only: bool,
) -> Decision {
    let keys = resources.iter().map(|resource| (resource.resource_type, resource.name.as_str()));
    let repeated = repeated(keys);
    let judge = |resource: &ConfigReplacement| {
        let kind = check_resource(image, resource.resource_type, &resource.name)?;
        check_keys(resource.values.iter().map(|(name, value)| (name.as_str(), value.is_none())))?;
        let values = resource.values.iter().filter_map(|(name, value)| Some((name.as_str(), value.as_deref()?)));
        let after: ConfigMap = values.map(|(name, value)| (name.into(), value.into())).collect();
        difference(image, broker, kind, &resource.name, after)
    };
    let judged = resources.iter().map(|resource| {
        let outcome = if repeated.contains(&(resource.resource_type, resource.name.clone())) {
            Err(each_once())
        } else {
            judge(resource)
        };
        (resource.resource_type, resource.name.clone(), outcome)
    });
    finish(judged, validate_only)
}

pub(super) fn change(
    image: &Image,
    broker: &BrokerSettings,
    resources: Vec<ConfigChange>,
    validate_only: bool,
) -> Decision {
    let keys = resources.iter().map(|resource| (resource.resource_type, resource.name.as_str()));
    let repeated = repeated(keys);
    let judge = |resource: &ConfigChange| {
        let kind = check_resource(image, resource.resource_type, &resource.name)?;
        let null = |op: &ConfigOp| op.value.is_none() && op.op != OpKind::Delete;
        check_keys(resource.changes.iter().map(|op| (op.name.as_str(), null(op))))?;
        let mut after = image.config(kind, &resource.name).clone();
        for op in &resource.changes {
            apply(image, broker, kind, &resource.name, op, &mut after)?;
        }
        difference(image, broker, kind, &resource.name, after)
    };
    let judged = resources.iter().map(|resource| {
        let outcome = if repeated.contains(&(resource.resource_type, resource.name.clone())) {
            Err(each_once())
        } else {
            judge(resource)
        };
        (resource.resource_type, resource.name.clone(), outcome)
    });
    finish(judged, validate_only)
}

/// The resources that a request names more than once.
fn repeated<'a>(resources: impl Iterator<Item = (i8, &'a str)>) -> BTreeSet<(i8, String)> {
    let mut counts: BTreeMap<(i8, &str), usize> = BTreeMap::new();
    for resource in resources {
        *counts.entry(resource).or_default() += 1;
    }
    let twice = counts.into_iter().filter(|&(_, count)| count > 1);
    twice.map(|((kind, name), _)| (kind, name.to_owned())).collect()
}

fn each_once() -> Refusal {
    Refusal::new(MetaError::InvalidRequest, "Each resource must appear at most once.")
}

fn finish(judged: impl Iterator<Item = (i8, String, Result<Vec<Record>, Refusal>)>, validate_only: bool) -> Decision {
    let mut records = Vec::new();
    let mut answers = Vec::new();
    for (resource_type, name, outcome) in judged {
        let result = outcome.map(|mut more| records.append(&mut more));
        answers.push(AlteredConfig { resource_type, name, result });
    }
    if validate_only {
        records.clear();
    }
    Decision { records, answer: Answer::ConfigsAltered(answers) }
}

/// Which resources can be changed, and whether this one exists.
fn check_resource(image: &Image, code: i8, name: &str) -> Result<ResourceKind, Refusal> {
    let refuse = |message: String| Err(Refusal::new(MetaError::InvalidRequest, message));
    let kind = match ResourceKind::from_code(code) {
        Some(kind) => kind,
        None => return refuse(format!("Unknown resource type {code}")),
    };
    match kind {
        ResourceKind::Topic if name.is_empty() => refuse("Default topic resources are not allowed.".to_owned()),
        ResourceKind::Topic if image.topic_named(name).is_none() => {
            Err(Refusal::new(MetaError::UnknownTopicOrPartition, format!("The topic '{name}' does not exist.")))
        }
        ResourceKind::Group if name.len() > GROUP_NAME_BYTES_MAX => {
            refuse(format!("Group names have at most {GROUP_NAME_BYTES_MAX} bytes."))
        }
        ResourceKind::Group if name.is_empty() => refuse("Default group resources are not allowed.".to_owned()),
        ResourceKind::Broker if !name.is_empty() => match name.parse::<i32>() {
            // `+1` and `01` parse too, and would be stored beside `1`.
            Ok(id) if id.to_string() != name => refuse(format!("Invalid broker id: {name}")),
            Ok(id) if image.broker(NodeId(id)).is_none() => refuse(format!("Broker {id} is not registered.")),
            Ok(_) => Ok(kind),
            Err(_) => refuse(format!("Invalid broker id: {name}")),
        },
        ResourceKind::BrokerLogger => refuse("Broker loggers cannot be changed on this broker.".to_owned()),
        ResourceKind::ClientMetrics => {
            refuse("Client metrics subscriptions are not supported by this broker.".to_owned())
        }
        ResourceKind::Topic | ResourceKind::Broker | ResourceKind::Group => Ok(kind),
    }
}

/// Each key once, and no null where a value is needed.
fn check_keys<'a>(keys: impl Iterator<Item = (&'a str, bool)>) -> Result<(), Refusal> {
    let mut seen = BTreeSet::new();
    let mut nulls = Vec::new();
    for (name, null) in keys {
        if !seen.insert(name) {
            return Err(Refusal::new(MetaError::InvalidRequest, "Error due to duplicate config keys"));
        }
        if null {
            nulls.push(name);
        }
    }
    if nulls.is_empty() {
        return Ok(());
    }
    let message = format!("Null value not supported for : {}", nulls.join(","));
    Err(Refusal::new(MetaError::InvalidRequest, message))
}

fn apply(
    image: &Image,
    broker: &BrokerSettings,
    kind: ResourceKind,
    resource: &str,
    op: &ConfigOp,
    after: &mut ConfigMap,
) -> Result<(), Refusal> {
    let value = op.value.as_deref().unwrap_or_default();
    let merge = match op.op {
        OpKind::Set => {
            after.insert(op.name.as_str().into(), value.into());
            return Ok(());
        }
        OpKind::Delete => {
            after.remove(op.name.as_str());
            return Ok(());
        }
        OpKind::Append => append_to_list,
        OpKind::Subtract => subtract_from_list,
    };
    let setting = match kind {
        ResourceKind::Topic => settings::topic_setting(&op.name),
        ResourceKind::Group => settings::group_setting(&op.name),
        ResourceKind::Broker | ResourceKind::BrokerLogger | ResourceKind::ClientMetrics => broker_setting(&op.name),
    };
    if setting.is_none_or(|setting| setting.kind != Kind::List) {
        let verb = if op.op == OpKind::Append { "APPEND" } else { "SUBTRACT" };
        let message = format!("Can't {verb} to key {} because its type is not LIST.", op.name);
        return Err(Refusal::new(MetaError::InvalidConfig, message));
    }
    // A list that is not set grows from the value that holds now, as in Kafka.
    let now = match after.get(op.name.as_str()) {
        Some(value) => value.to_string(),
        None if kind == ResourceKind::Topic => {
            settings::effective(image, broker, resource, &op.name).and_then(|found| found.value).unwrap_or_default()
        }
        // Kafka takes the default of a broker's list even where the file has a value; pins of the file are kept.
        None if op.name == PARTITION_CORES && resource == broker.node_id.0.to_string() => {
            broker.static_value(PARTITION_CORES).unwrap_or_default().to_owned()
        }
        None => setting.and_then(|setting| setting.default).unwrap_or_default().to_owned(),
    };
    after.insert(op.name.as_str().into(), merge(&now, value).into());
    Ok(())
}

/// The records that lead from what the resource has to `after`, if `after` is legal.
fn difference(
    image: &Image,
    broker: &BrokerSettings,
    kind: ResourceKind,
    resource: &str,
    after: ConfigMap,
) -> Result<Vec<Record>, Refusal> {
    let before = image.config(kind, resource);
    let changed: Vec<(&str, Option<&str>)> = after
        .iter()
        .filter(|&(name, value)| before.get(name) != Some(value))
        .map(|(name, value)| (&**name, Some(&**value)))
        .chain(before.keys().filter(|name| !after.contains_key(*name)).map(|name| (&**name, None)))
        .collect();
    for (name, value) in changed.iter().filter_map(|&(name, value)| Some((name, value?))) {
        check_lengths(name, value).map_err(invalid_config)?;
    }
    match kind {
        ResourceKind::Topic => validate_topic(&after, broker).map_err(invalid_config)?,
        ResourceKind::Group => validate_group(&after, broker)?,
        _ => validate_broker(&changed, resource, broker)?,
    }
    let mut records: Vec<Record> = changed
        .iter()
        .map(|(name, value)| {
            Record::Config(ConfigRecord {
                resource_type: kind.code(),
                resource_name: resource.to_owned(),
                name: name.to_string(),
                value: value.map(str::to_owned),
            })
        })
        .collect();
    let min_isr = changed.iter().any(|&(name, _)| name == MIN_ISR);
    if min_isr && image.feature("eligible.leader.replicas.version") > 0 {
        // A topic's own name, or the empty one: all topics.
        let topic = if kind == ResourceKind::Topic { resource } else { "" };
        records.push(Record::ClearElr { topic: topic.to_owned() });
    }
    Ok(records)
}

fn invalid_config(error: SettingError) -> Refusal {
    Refusal::new(MetaError::InvalidConfig, error.kafka_text())
}

/// Brokers: what cannot change at run time is refused; unknown keys are kept for plug-ins, as Kafka does.
fn validate_broker(changed: &[(&str, Option<&str>)], resource: &str, broker: &BrokerSettings) -> Result<(), Refusal> {
    let refuse = |message: String| Err(Refusal::new(MetaError::InvalidRequest, message));
    let with_update = |update: Update| -> Vec<&str> {
        let is = |name: &&str| broker_setting(name).is_some_and(|setting| setting.update == update);
        changed.iter().map(|&(name, _)| name).filter(is).collect()
    };
    let fixed = with_update(Update::ReadOnly);
    if !fixed.is_empty() {
        return refuse(format!("Cannot update these configs dynamically: Set({})", fixed.join(", ")));
    }
    let single = with_update(Update::PerBroker);
    if resource.is_empty() && !single.is_empty() {
        return refuse(format!(
            "Cannot update these configs at default cluster level, broker id must be specified: Set({})",
            single.join(", ")
        ));
    }
    for &(name, value) in changed {
        let Some(value) = value else { continue };
        if let Err(error) = validate(ResourceKind::Broker, name, value) {
            return refuse(error.kafka_text());
        }
        // How many cores another broker has is not known here.
        if name == PARTITION_CORES
            && resource == broker.node_id.0.to_string()
            && let Some(cores) = broker.cores
        {
            check_cores(value, cores).or_else(|reason| refuse(format!("Invalid value for {name}: {reason}")))?;
        }
    }
    Ok(())
}

/// Groups: each value alone, then within the bounds the broker sets (`group.<type>.min.*` and `max.*`).
fn validate_group(after: &ConfigMap, broker: &BrokerSettings) -> Result<(), Refusal> {
    for (name, value) in after {
        validate(ResourceKind::Group, name, value).map_err(invalid_config)?;
        let Some((group_type, rest)) = name.split_once('.') else { continue };
        let Ok(number) = value.trim().parse::<i64>() else { continue };
        let bound = |end: &str| -> Option<(String, i64)> {
            let bound = format!("group.{group_type}.{end}.{rest}");
            let default = broker_setting(&bound)?.default;
            let value = broker.static_value(&bound).or(default)?.trim().parse().ok()?;
            Some((bound, value))
        };
        let refuse = |relation: &str, bound: String| {
            let message = format!("{name} must be {relation} {bound}");
            Err(Refusal::new(MetaError::InvalidConfig, message))
        };
        match (bound("min"), bound("max")) {
            (Some((min, least)), _) if number < least => return refuse("greater than or equal to", min),
            (_, Some((max, most))) if number > most => return refuse("less than or equal to", max),
            _ => {}
        }
    }
    Ok(())
}
