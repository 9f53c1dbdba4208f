//! Parsing and judging single values, in Kafka's words where clients see them.

use std::fmt;

use super::super::image::{ConfigMap, ResourceKind};
use super::{Allowed, BrokerSettings, Kind, Setting, broker_setting, group_setting, topic_setting};

/// Why a value is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingError {
    pub name: String,
    /// `None`: the name itself is the trouble, or several values together.
    pub value: Option<String>,
    pub reason: String,
}

impl SettingError {
    pub(super) fn new(name: &str, value: &str, reason: impl Into<String>) -> SettingError {
        SettingError { name: name.to_owned(), value: Some(value.to_owned()), reason: reason.into() }
    }

    /// The sentence Kafka answers with.
    pub fn kafka_text(&self) -> String {
        match &self.value {
            Some(value) => format!("Invalid value {value} for configuration {}: {}", self.name, self.reason),
            None => self.reason.clone(),
        }
    }
}

/// For people who edit a file: `key: value: what is allowed`.
impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{}: {value}: {}", self.name, self.reason),
            None => write!(f, "{}: {}", self.name, self.reason),
        }
    }
}

impl std::error::Error for SettingError {}

/// A whole number, as Kafka reads it: blanks around it do not count.
pub(super) fn parse_long(text: &str) -> Option<i64> {
    text.trim().parse().ok()
}

/// true or false in any case, as Kafka reads it.
pub(super) fn parse_bool(text: &str) -> Option<bool> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("true") {
        Some(true)
    } else if text.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

/// The elements of a list value, blanks around them removed; empty text is the empty list.
pub(super) fn parse_list(text: &str) -> Vec<&str> {
    if text.trim().is_empty() { Vec::new() } else { text.split(',').map(str::trim).collect() }
}

/// The list value with the elements of `more` that it does not hold yet.
pub fn append_to_list(text: &str, more: &str) -> String {
    let mut list = parse_list(text);
    for element in parse_list(more) {
        if !list.contains(&element) {
            list.push(element);
        }
    }
    list.join(",")
}

/// The list value without the elements of `less`.
pub fn subtract_from_list(text: &str, less: &str) -> String {
    let less = parse_list(less);
    let rest: Vec<&str> = parse_list(text).into_iter().filter(|element| !less.contains(element)).collect();
    rest.join(",")
}

impl Setting {
    /// Judges one value of this setting.
    pub fn check(&self, value: &str) -> Result<(), SettingError> {
        let reason = match self.kind {
            Kind::Boolean => match parse_bool(value) {
                Some(_) => None,
                None => Some("Expected value to be either true or false".to_owned()),
            },
            Kind::Int => self.check_number(value, i64::from(i32::MIN), i64::from(i32::MAX), "INT"),
            Kind::Short => self.check_number(value, i64::from(i16::MIN), i64::from(i16::MAX), "SHORT"),
            Kind::Long => self.check_number(value, i64::MIN, i64::MAX, "LONG"),
            Kind::Double => self.check_double(value),
            Kind::List => self.check_list(value),
            Kind::String | Kind::Class | Kind::Password => self.check_text(value),
        };
        match reason {
            None => Ok(()),
            // A secret does not appear in an error.
            Some(reason) if self.kind == Kind::Password => Err(SettingError::new(self.name, "[hidden]", reason)),
            Some(reason) => Err(SettingError::new(self.name, value, reason)),
        }
    }

    fn check_number(&self, value: &str, kind_min: i64, kind_max: i64, kind: &str) -> Option<String> {
        let Some(number) = parse_long(value).filter(|number| (kind_min..=kind_max).contains(number)) else {
            return Some(format!("Not a number of type {kind}"));
        };
        match self.allowed {
            Allowed::Min(min) | Allowed::Range(min, _) if number < min => Some(format!("Value must be at least {min}")),
            Allowed::Range(_, max) if number > max => Some(format!("Value must be no more than {max}")),
            Allowed::RangeOrMinusOne(min, max) if number != -1 && !(min..=max).contains(&number) => {
                Some(format!("Value must be between {min} and {max} or equal to -1"))
            }
            _ => None,
        }
    }

    fn check_double(&self, value: &str) -> Option<String> {
        let Some(number) = value.trim().parse::<f64>().ok().filter(|number| !number.is_nan()) else {
            return Some("Not a number of type DOUBLE".to_owned());
        };
        match self.allowed {
            Allowed::Ratio if number < 0.0 => Some("Value must be at least 0".to_owned()),
            Allowed::Ratio if number > 1.0 => Some("Value must be no more than 1".to_owned()),
            _ => None,
        }
    }

    fn check_list(&self, value: &str) -> Option<String> {
        let list = parse_list(value);
        match self.allowed {
            Allowed::ListOf(words) if list.iter().any(|element| !words.contains(element)) => {
                Some(format!("String must be one of: {}", words.join(", ")))
            }
            Allowed::ThrottledReplicas if !throttled_replicas(&list) => Some(format!(
                "{} must be the literal '*' or a list of replicas in the following format: \
                 [partitionId]:[brokerId],[partitionId]:[brokerId],...",
                self.name
            )),
            Allowed::PartitionCores => super::pins::parse_pins(value).err(),
            _ => None,
        }
    }

    fn check_text(&self, value: &str) -> Option<String> {
        match self.allowed {
            Allowed::OneOf(words) if !words.contains(&value) => {
                Some(format!("String must be one of: {}", words.join(", ")))
            }
            Allowed::OffsetReset if !offset_reset(value) => {
                Some("must be latest, earliest or by_duration:<ISO 8601 duration>".to_owned())
            }
            _ => None,
        }
    }
}

fn throttled_replicas(list: &[&str]) -> bool {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    list == ["*"]
        || list.iter().all(|pair| pair.split_once(':').is_some_and(|(part, broker)| number(part) && number(broker)))
}

/// `P[nD]T[nH][nM][nS]` with at least one part, not negative.
fn offset_reset(value: &str) -> bool {
    let Some(duration) = value.strip_prefix("by_duration:") else { return matches!(value, "latest" | "earliest") };
    let Some(rest) = duration.strip_prefix(['P', 'p']) else { return false };
    let (days, time) = match rest.split_once(['T', 't']) {
        Some((_, "")) => return false,
        Some((days, time)) => (days, time),
        None => (rest, ""),
    };
    !rest.is_empty() && duration_parts(days, "D") && duration_parts(time, "HMS")
}

/// Numbers, each followed by one of `units` in their order; no unit twice. Seconds may have a fraction.
fn duration_parts(text: &str, units: &str) -> bool {
    let mut units_left = units.chars();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(end);
        let Some(unit) = tail.chars().next().map(|unit| unit.to_ascii_uppercase()) else { return false };
        let fraction = number.matches('.').count();
        let legal_number = number.starts_with(|c: char| c.is_ascii_digit()) && fraction <= usize::from(unit == 'S');
        if !legal_number || !units_left.any(|left| left == unit) {
            return false;
        }
        rest = &tail[1..];
    }
    true
}

/// Longest name of a setting that is stored, bytes: what brokers do not know may have any name.
const NAME_BYTES_MAX: usize = 255;
/// Longest value that is stored, bytes: as long as a string of the older requests can be.
const VALUE_BYTES_MAX: usize = 32_767;

/// Judges how long a name and its value are, whatever they mean.
pub fn check_lengths(name: &str, value: &str) -> Result<(), SettingError> {
    let error = |name: &str, reason: String| SettingError { name: name.to_owned(), value: None, reason };
    if name.len() > NAME_BYTES_MAX {
        return Err(error("", format!("Names of configs have at most {NAME_BYTES_MAX} bytes, one has {}", name.len())));
    }
    if value.len() > VALUE_BYTES_MAX {
        let reason = format!("The value of {name} has {} bytes, at most {VALUE_BYTES_MAX} are stored", value.len());
        return Err(error(name, reason));
    }
    Ok(())
}

/// Judges one value of one resource, by name. Values that depend on each other: [`validate_topic`].
pub fn validate(kind: ResourceKind, name: &str, value: &str) -> Result<(), SettingError> {
    let (setting, what) = match kind {
        ResourceKind::Topic => (topic_setting(name), "topic"),
        ResourceKind::Group => (group_setting(name), "group"),
        // Kafka stores what it does not know of a broker, for plug-ins; so does this node.
        ResourceKind::Broker => (broker_setting(name), "broker"),
        ResourceKind::BrokerLogger | ResourceKind::ClientMetrics => (None, "other"),
    };
    match setting {
        Some(setting) => setting.check(value),
        None if kind == ResourceKind::Broker => Ok(()),
        None => Err(SettingError {
            name: name.to_owned(),
            value: None,
            reason: format!("Unknown {what} config name: {name}"),
        }),
    }
}

/// Judges all explicit values of a topic: each alone, then those that depend on each other.
pub fn validate_topic(values: &ConfigMap, broker: &BrokerSettings) -> Result<(), SettingError> {
    for (name, value) in values {
        check_lengths(name, value)?;
        validate(ResourceKind::Topic, name, value)?;
    }
    let together = |name: &str, reason: String| SettingError { name: name.to_owned(), value: None, reason };
    if values.get("remote.storage.enable").and_then(|value| parse_bool(value)) == Some(true) {
        let reason = "Tiered Storage functionality is disabled in the broker. \
                      Topic cannot be configured with remote log storage.";
        return Err(together("remote.storage.enable", reason.to_owned()));
    }
    let lag = |name: &str, synonym: &str| {
        let explicit = values.get(name).and_then(|value| parse_long(value));
        explicit.or_else(|| broker.static_value(synonym).and_then(parse_long))
    };
    let min = lag("min.compaction.lag.ms", "log.cleaner.min.compaction.lag.ms").unwrap_or(0);
    let max = lag("max.compaction.lag.ms", "log.cleaner.max.compaction.lag.ms").unwrap_or(i64::MAX);
    if min > max {
        let reason =
            format!("conflict topic config setting min.compaction.lag.ms ({min}) > max.compaction.lag.ms ({max})");
        return Err(together("min.compaction.lag.ms", reason));
    }
    Ok(())
}
