//! Where a value comes from: the chain from the explicit value down to the built-in default.
//!
//! Order for a topic setting: topic config, dynamic value of this broker, dynamic default of all brokers, static value
//! of this broker, built-in default; within each of the broker steps the synonyms in order, ms before minutes before
//! hours. A value set explicitly to its default still counts as set.

use super::super::image::{ConfigMap, Image, ResourceKind};
use super::{
    BrokerSettings, Kind, Setting, Unit, Update, broker_setting, broker_settings, group_settings, topic_settings,
};
use crate::base::ids::NodeId;

/// Who gave a value, with Kafka's numbers in DescribeConfigs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    DynamicTopic,
    DynamicBroker,
    DynamicDefaultBroker,
    StaticBroker,
    Default,
    DynamicBrokerLogger,
    ClientMetrics,
    Group,
}

impl ConfigSource {
    /// The number in DescribeConfigs (0 is "unknown").
    pub fn code(self) -> i8 {
        match self {
            ConfigSource::DynamicTopic => 1,
            ConfigSource::DynamicBroker => 2,
            ConfigSource::DynamicDefaultBroker => 3,
            ConfigSource::StaticBroker => 4,
            ConfigSource::Default => 5,
            ConfigSource::DynamicBrokerLogger => 6,
            ConfigSource::ClientMetrics => 7,
            ConfigSource::Group => 8,
        }
    }
}

/// One step of the chain, in the words and units of the setting it was found under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synonym {
    pub name: String,
    pub value: String,
    pub source: ConfigSource,
}

/// A setting with its value and where that comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    pub name: String,
    /// In the units of `name`; `None` is null, or a secret that is not shown.
    pub value: Option<String>,
    pub source: ConfigSource,
    pub read_only: bool,
    pub sensitive: bool,
    /// `None`: a key this broker does not know.
    pub kind: Option<Kind>,
    /// The whole chain, highest first.
    pub synonyms: Vec<Synonym>,
    pub doc: &'static str,
}

fn step(name: &str, value: &str, source: ConfigSource) -> Synonym {
    Synonym { name: name.to_owned(), value: value.to_owned(), source }
}

/// A broker's value in the unit of the topic setting; negative means "no limit" in every unit.
fn convert(value: &str, unit: Unit) -> String {
    let factor = match unit {
        Unit::Same => return value.to_owned(),
        Unit::Minutes => 60_000,
        Unit::Hours => 3_600_000,
    };
    match value.trim().parse::<i64>() {
        Ok(number) if number < 0 => "-1".to_owned(),
        Ok(number) => number.saturating_mul(factor).to_string(),
        Err(_) => value.to_owned(),
    }
}

/// The chain of a setting that has `own` as its first step and the broker settings `synonyms` behind it.
fn chain(
    image: &Image,
    broker: &BrokerSettings,
    own: Option<Synonym>,
    synonyms: &[(&'static str, Unit)],
) -> Vec<(Synonym, Unit)> {
    let mut steps: Vec<(Synonym, Unit)> = own.into_iter().map(|own| (own, Unit::Same)).collect();
    let mut dynamic = |values: &ConfigMap, source: ConfigSource| {
        for &(name, unit) in synonyms {
            if let Some(value) = values.get(name) {
                steps.push((step(name, value, source), unit));
            }
        }
    };
    dynamic(image.broker_config(broker.node_id), ConfigSource::DynamicBroker);
    dynamic(image.broker_default_config(), ConfigSource::DynamicDefaultBroker);
    for &(name, unit) in synonyms {
        if let Some(value) = broker.static_value(name) {
            steps.push((step(name, value, ConfigSource::StaticBroker), unit));
        }
    }
    for &(name, unit) in synonyms {
        if let Some(value) = broker_setting(name).and_then(|setting| setting.default) {
            steps.push((step(name, value, ConfigSource::Default), unit));
        }
    }
    steps
}

fn resolve(setting: &Setting, steps: Vec<(Synonym, Unit)>) -> Effective {
    let sensitive = setting.kind == Kind::Password;
    let (value, source) = match steps.first() {
        Some((first, unit)) => (Some(convert(&first.value, *unit)), first.source),
        None => (setting.default.map(str::to_owned), ConfigSource::Default),
    };
    Effective {
        name: setting.name.to_owned(),
        value: value.filter(|_| !sensitive),
        source,
        read_only: setting.update == Update::ReadOnly,
        sensitive,
        kind: Some(setting.kind),
        synonyms: if sensitive { Vec::new() } else { steps.into_iter().map(|(step, _)| step).collect() },
        doc: setting.doc,
    }
}

fn of_topic(image: &Image, broker: &BrokerSettings, values: &ConfigMap, setting: &Setting) -> Effective {
    let own = values.get(setting.name).map(|value| step(setting.name, value, ConfigSource::DynamicTopic));
    resolve(setting, chain(image, broker, own, setting.synonyms))
}

/// The value of one topic setting with its chain; `None` when there is no setting of that name. The topic need not
/// exist: then it is what a topic without configs would have.
pub fn effective(image: &Image, broker: &BrokerSettings, topic: &str, setting: &str) -> Option<Effective> {
    let setting = super::topic_setting(setting)?;
    Some(of_topic(image, broker, image.topic_config(topic), setting))
}

/// All settings of a topic with the explicit `values`, in order of the table.
pub fn describe_topic(image: &Image, broker: &BrokerSettings, values: &ConfigMap) -> Vec<Effective> {
    topic_settings().map(|setting| of_topic(image, broker, values, setting)).collect()
}

/// All settings of a group.
pub fn describe_group(image: &Image, broker: &BrokerSettings, group: &str) -> Vec<Effective> {
    let values = image.config(ResourceKind::Group, group);
    let describe = |setting: &'static Setting| {
        let own = values.get(setting.name).map(|value| step(setting.name, value, ConfigSource::Group));
        let mut described = resolve(setting, chain(image, broker, own, setting.synonyms));
        // Kafka shows a group only its own values and calls everything behind them a default.
        if described.source != ConfigSource::Group {
            described.source = ConfigSource::Default;
        }
        described.synonyms.retain(|synonym| synonym.source == ConfigSource::Group);
        let default = described.value.as_deref().filter(|_| described.synonyms.is_empty());
        described.synonyms.extend(default.map(|value| step(setting.name, value, ConfigSource::Default)));
        described
    };
    group_settings().map(describe).collect()
}

/// All settings of this broker; for `None` the explicit values of the cluster-wide default. Keys that are set but not
/// known are shown without their value, as Kafka does, because they may be a secret of a plug-in.
pub fn describe_broker(image: &Image, broker: &BrokerSettings, which: Option<NodeId>) -> Vec<Effective> {
    let Some(id) = which else {
        let values = image.broker_default_config();
        let shown = |(name, value): (&str, &str)| {
            let own = step(name, value, ConfigSource::DynamicDefaultBroker);
            match broker_setting(name) {
                Some(setting) => resolve(setting, vec![(own, Unit::Same)]),
                None => unknown(name, ConfigSource::DynamicDefaultBroker),
            }
        };
        return values.iter().map(|(name, value)| shown((name, value))).collect();
    };
    let known = |setting: &'static Setting| resolve(setting, chain(image, broker, None, &[(setting.name, Unit::Same)]));
    let mut all: Vec<Effective> = broker_settings().map(known).collect();
    let values = image.broker_config(id);
    let strange = values.keys().filter(|name| broker_setting(name).is_none());
    all.extend(strange.map(|name| unknown(name, ConfigSource::DynamicBroker)));
    all
}

fn unknown(name: &str, source: ConfigSource) -> Effective {
    Effective {
        name: name.to_owned(),
        value: None,
        source,
        read_only: true,
        sensitive: true,
        kind: None,
        synonyms: Vec::new(),
        doc: "",
    }
}
