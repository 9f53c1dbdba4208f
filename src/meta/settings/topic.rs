//! The values of one topic, typed, for whoever acts on them.

use super::super::image::Image;
use super::value::{parse_bool, parse_list, parse_long};
use super::{BrokerSettings, ConfigSource, Durability, SettingError, effective, topic_setting};

/// Whose clock a record's timestamp is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    CreateTime,
    LogAppendTime,
}

/// The settings of a topic after the whole chain of precedence. Sizes in bytes, times in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSettings {
    pub segment_bytes: u64,
    pub segment_ms: u64,
    pub segment_jitter_ms: u64,
    pub segment_index_bytes: u64,
    pub index_interval_bytes: u64,
    /// `None`: kept for ever.
    pub retention_ms: Option<u64>,
    /// Per partition; `None`: no limit.
    pub retention_bytes: Option<u64>,
    pub max_message_bytes: u64,
    pub timestamp_type: TimestampType,
    pub timestamp_before_max_ms: u64,
    pub timestamp_after_max_ms: u64,
    /// `producer` keeps the codec the batch came in.
    pub compression_type: String,
    pub cleanup_delete: bool,
    pub cleanup_compact: bool,
    /// Records after which the log is synced; only under [`Durability::PageCache`].
    pub flush_messages: u64,
    /// Time after which the log is synced; only under [`Durability::PageCache`].
    pub flush_ms: u64,
    /// Stable unless the broker says page cache, or somebody set `flush.messages` or `flush.ms` for the topic or the
    /// broker to something that allows a delay.
    pub durability: Durability,
    pub file_delete_delay_ms: u64,
    pub min_insync_replicas: u32,
    pub preallocate: bool,
    pub delete_retention_ms: u64,
    pub min_compaction_lag_ms: u64,
    pub max_compaction_lag_ms: u64,
    /// Share of uncompacted bytes that starts a compaction, in parts per million.
    pub min_cleanable_dirty_ppm: u32,
    pub unclean_leader_election: bool,
}

struct Values<'a> {
    image: &'a Image,
    broker: &'a BrokerSettings,
    topic: &'a str,
    errors: Vec<SettingError>,
}

impl Values<'_> {
    /// The effective text and its source. A value that is not legal (an older Kafka may have written it) gives way to
    /// the built-in default, and the error is told.
    fn text(&mut self, name: &str) -> (String, ConfigSource) {
        let found = effective(self.image, self.broker, self.topic, name);
        let setting = topic_setting(name);
        crate::invariant!(found.is_some() && setting.is_some(), "{name} is not a topic setting");
        let (value, source) = found.map_or((None, ConfigSource::Default), |found| (found.value, found.source));
        let value = value.unwrap_or_default();
        match setting.map_or(Ok(()), |setting| setting.check(&value)) {
            Ok(()) => (value, source),
            Err(error) => {
                self.errors.push(error);
                let default = setting.and_then(|setting| setting.default).unwrap_or_default();
                (default.to_owned(), ConfigSource::Default)
            }
        }
    }

    fn signed(&mut self, name: &str) -> i64 {
        parse_long(&self.text(name).0).unwrap_or_default()
    }

    /// A number that its setting keeps at 0 or above.
    fn number(&mut self, name: &str) -> u64 {
        u64::try_from(self.signed(name)).unwrap_or(0)
    }

    fn limit(&mut self, name: &str) -> Option<u64> {
        u64::try_from(self.signed(name)).ok()
    }

    fn flag(&mut self, name: &str) -> bool {
        parse_bool(&self.text(name).0).unwrap_or_default()
    }

    fn ppm(&mut self, name: &str) -> u32 {
        // The value was checked to be a decimal from 0 to 1; the product fits and the cast only cuts digits.
        let ratio: f64 = self.text(name).0.trim().parse().unwrap_or_default();
        (ratio * 1_000_000.0) as u32
    }

    fn durability(&mut self) -> Durability {
        let (messages, messages_source) = self.text("flush.messages");
        let (ms, ms_source) = self.text("flush.ms");
        let messages_set = messages_source != ConfigSource::Default;
        let ms_set = ms_source != ConfigSource::Default;
        let each_record = messages_set && parse_long(&messages) == Some(1);
        let at_once = ms_set && parse_long(&ms) == Some(0);
        match (each_record || at_once, messages_set || ms_set) {
            (true, _) => Durability::Stable,
            (false, true) => Durability::PageCache,
            (false, false) => self.broker.durability,
        }
    }
}

impl TopicSettings {
    /// The settings of `topic`, and the values that had to be passed over because they are not legal.
    pub fn of(image: &Image, broker: &BrokerSettings, topic: &str) -> (TopicSettings, Vec<SettingError>) {
        let mut v = Values { image, broker, topic, errors: Vec::new() };
        let policy = v.text("cleanup.policy").0;
        let policy = parse_list(&policy);
        let timestamp_type = match v.text("message.timestamp.type").0.as_str() {
            "LogAppendTime" => TimestampType::LogAppendTime,
            _ => TimestampType::CreateTime,
        };
        let settings = TopicSettings {
            segment_bytes: v.number("segment.bytes"),
            segment_ms: v.number("segment.ms"),
            segment_jitter_ms: v.number("segment.jitter.ms"),
            segment_index_bytes: v.number("segment.index.bytes"),
            index_interval_bytes: v.number("index.interval.bytes"),
            retention_ms: v.limit("retention.ms"),
            retention_bytes: v.limit("retention.bytes"),
            max_message_bytes: v.number("max.message.bytes"),
            timestamp_type,
            timestamp_before_max_ms: v.number("message.timestamp.before.max.ms"),
            timestamp_after_max_ms: v.number("message.timestamp.after.max.ms"),
            compression_type: v.text("compression.type").0,
            cleanup_delete: policy.contains(&"delete"),
            cleanup_compact: policy.contains(&"compact"),
            flush_messages: v.number("flush.messages"),
            flush_ms: v.number("flush.ms"),
            durability: v.durability(),
            file_delete_delay_ms: v.number("file.delete.delay.ms"),
            min_insync_replicas: u32::try_from(v.number("min.insync.replicas")).unwrap_or(u32::MAX),
            preallocate: v.flag("preallocate"),
            delete_retention_ms: v.number("delete.retention.ms"),
            min_compaction_lag_ms: v.number("min.compaction.lag.ms"),
            max_compaction_lag_ms: v.number("max.compaction.lag.ms"),
            min_cleanable_dirty_ppm: v.ppm("min.cleanable.dirty.ratio"),
            unclean_leader_election: v.flag("unclean.leader.election.enable"),
        };
        (settings, v.errors)
    }
}
