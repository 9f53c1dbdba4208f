//! Every setting of topics, groups and brokers: what it is called, what it may be, where its value comes from.
//!
//! Invariants: names are unique within a table; every default is a legal value of its own setting; every broker
//! synonym of a topic setting is a broker setting. (`tests.rs` checks all three.) Values travel as text, exactly as
//! the client wrote them, and are parsed where they are used: [`TopicSettings`] and [`BrokerSettings`] hold them typed.

mod broker;
mod effective;
mod listeners;
mod pins;
mod table;
#[cfg(test)]
mod tests;
mod topic;
mod value;

pub use broker::{BrokerSettings, Durability, Voter};
pub use effective::{ConfigSource, Effective, Synonym, describe_broker, describe_group, describe_topic, effective};
pub use listeners::Listener;
pub use pins::{PARTITION_CORES, Pin, check_cores, parse_partition, parse_pins};
pub use topic::{TimestampType, TopicSettings};
pub use value::{SettingError, append_to_list, check_lengths, subtract_from_list, validate, validate_topic};

/// Type of a value, with Kafka's numbers in DescribeConfigs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Boolean,
    String,
    Int,
    Short,
    Long,
    Double,
    List,
    Class,
    Password,
}

impl Kind {
    /// The number in DescribeConfigs (0 is "unknown").
    pub fn code(self) -> i8 {
        match self {
            Kind::Boolean => 1,
            Kind::String => 2,
            Kind::Int => 3,
            Kind::Short => 4,
            Kind::Long => 5,
            Kind::Double => 6,
            Kind::List => 7,
            Kind::Class => 8,
            Kind::Password => 9,
        }
    }
}

/// Which values of its kind a setting accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    Any,
    Min(i64),
    /// Both ends included.
    Range(i64, i64),
    /// As `Range`, and -1.
    RangeOrMinusOne(i64, i64),
    /// A double from 0 to 1.
    Ratio,
    OneOf(&'static [&'static str]),
    /// Every element of the list is one of these.
    ListOf(&'static [&'static str]),
    /// `*`, or a list of partition:broker.
    ThrottledReplicas,
    /// A list of topic-partition:core.
    PartitionCores,
    /// latest, earliest, or `by_duration:` and an ISO 8601 duration.
    OffsetReset,
}

/// When a new value takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Update {
    /// At the next start, from the file only.
    ReadOnly,
    /// At run time, for one broker.
    PerBroker,
    /// At run time, for one broker or all.
    ClusterWide,
}

/// Unit of a broker synonym, where it differs from the topic setting's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Same,
    Minutes,
    Hours,
}

/// One row of the tables.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    pub name: &'static str,
    pub kind: Kind,
    /// `None`: null.
    pub default: Option<&'static str>,
    pub allowed: Allowed,
    pub update: Update,
    /// Whether this version acts on it; if not, it is accepted, stored and shown, and the node says so at start.
    pub honoured: bool,
    /// The broker settings behind a topic or group setting, first the one that counts most.
    pub synonyms: &'static [(&'static str, Unit)],
    pub doc: &'static str,
}

/// Families of Kafka settings that are known by prefix only, because this version acts on none of them.
const FAMILIES: [&str; 13] = [
    "ssl.",
    "sasl.",
    "listener.name.",
    "remote.log.",
    "remote.list.",
    "rlmm.config.",
    "rsm.config.",
    "metrics.",
    "kafka.metrics.",
    "security.",
    "config.providers",
    // Settings of the standard authorizer, not of the broker.
    "allow.everyone.if.no.acl.found",
    "super.users",
];

/// What is known about a key of a broker's file.
#[derive(Clone, Copy, Debug)]
pub enum KeyKind {
    Known(&'static Setting),
    /// A setting of Kafka (TLS, SASL, tiered storage, metrics, plug-ins) that this version does not act on.
    Family(&'static str),
    /// `nearest`: a known name that differs in few letters.
    Unknown {
        nearest: Option<&'static str>,
    },
}

/// The topic setting of this name.
pub fn topic_setting(name: &str) -> Option<&'static Setting> {
    table::TOPIC.iter().find(|setting| setting.name == name)
}

/// The group setting of this name.
pub fn group_setting(name: &str) -> Option<&'static Setting> {
    table::GROUP.iter().find(|setting| setting.name == name)
}

/// The broker setting of this name.
pub fn broker_setting(name: &str) -> Option<&'static Setting> {
    broker_settings().find(|setting| setting.name == name)
}

/// All topic settings.
pub fn topic_settings() -> impl Iterator<Item = &'static Setting> {
    table::TOPIC.iter()
}

/// All group settings.
pub fn group_settings() -> impl Iterator<Item = &'static Setting> {
    table::GROUP.iter()
}

/// All broker settings, Kataract's own included.
pub fn broker_settings() -> impl Iterator<Item = &'static Setting> {
    table::BROKER.iter().flat_map(|rows| rows.iter())
}

/// What a key in a broker's file is.
pub fn broker_key(name: &str) -> KeyKind {
    if let Some(setting) = broker_setting(name) {
        return KeyKind::Known(setting);
    }
    match FAMILIES.iter().find(|family| name.starts_with(*family)) {
        Some(family) => KeyKind::Family(family),
        None => KeyKind::Unknown { nearest: nearest(name) },
    }
}

/// The known broker setting whose name is closest to an unknown one, if it is close enough to be a slip.
pub fn nearest(name: &str) -> Option<&'static str> {
    // Longer than any name: nothing can be near, and the distance costs length times length.
    if name.len() > 128 {
        return None;
    }
    let limit = (name.len() / 4).clamp(1, 4);
    broker_settings()
        .map(|setting| (edit_distance(name.as_bytes(), setting.name.as_bytes()), setting.name))
        .min()
        .filter(|&(distance, _)| distance <= limit)
        .map(|(_, name)| name)
}

/// Insertions, deletions and replacements of bytes that turn one text into the other (Levenshtein 1965).
fn edit_distance(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, byte_a) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, byte_b) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(byte_a != byte_b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
