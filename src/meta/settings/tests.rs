//! What the tables hold, and where a value comes from.

use std::collections::{BTreeMap, BTreeSet};

use super::super::image::{ConfigMap, Image, ResourceKind};
use super::super::record::{ConfigRecord, Record};
use super::*;

fn broker(pairs: &[(&str, &str)]) -> BrokerSettings {
    let values = pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    BrokerSettings::from_values(values).expect("legal settings")
}

fn complaint(pairs: &[(&str, &str)]) -> String {
    let values: BTreeMap<String, String> = pairs.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
    let errors = BrokerSettings::from_values(values).expect_err("refused");
    errors.iter().map(SettingError::to_string).collect::<Vec<_>>().join("; ")
}

fn image(configs: &[(ResourceKind, &str, &str, &str)]) -> Image {
    let mut image = Image::new();
    for (kind, resource, name, value) in configs {
        let record = ConfigRecord {
            resource_type: kind.code(),
            resource_name: resource.to_string(),
            name: name.to_string(),
            value: Some(value.to_string()),
        };
        image.apply(&Record::Config(record)).expect("fits");
    }
    image
}

fn topic_error(name: &str, value: &str) -> String {
    validate(ResourceKind::Topic, name, value).expect_err("refused").kafka_text()
}

fn chain_of(found: &Effective) -> Vec<(&str, &str, i8)> {
    found.synonyms.iter().map(|s| (s.name.as_str(), s.value.as_str(), s.source.code())).collect()
}

#[test]
fn every_default_is_legal_every_name_unique_and_every_synonym_a_broker_setting() {
    let tables: [Vec<&Setting>; 3] =
        [topic_settings().collect(), group_settings().collect(), broker_settings().collect()];
    for table in &tables {
        let names: BTreeSet<&str> = table.iter().map(|setting| setting.name).collect();
        assert_eq!(names.len(), table.len(), "a name occurs twice");
        for setting in table {
            if let Some(default) = setting.default {
                setting.check(default).unwrap_or_else(|error| panic!("{error}"));
            }
            for (synonym, _) in setting.synonyms {
                assert!(broker_setting(synonym).is_some(), "{synonym} behind {}", setting.name);
            }
            assert!(setting.doc.ends_with('.') && setting.doc.len() > 20, "{}", setting.name);
        }
    }
    assert_eq!(tables.map(|table| table.len()), [33, 17, 264]);
}

#[test]
fn wrong_topic_values_are_refused_in_the_words_of_kafka() {
    let cases = [
        ("retention.ms", "abc", "Invalid value abc for configuration retention.ms: Not a number of type LONG"),
        ("retention.ms", "-2", "Invalid value -2 for configuration retention.ms: Value must be at least -1"),
        ("retention.ms", "", "Invalid value  for configuration retention.ms: Not a number of type LONG"),
        ("segment.bytes", "14", "Invalid value 14 for configuration segment.bytes: Value must be at least 1048576"),
        (
            "segment.bytes",
            "99999999999",
            "Invalid value 99999999999 for configuration segment.bytes: Not a number of type INT",
        ),
        (
            "cleanup.policy",
            "foo",
            "Invalid value foo for configuration cleanup.policy: String must be one of: compact, delete",
        ),
        (
            "compression.gzip.level",
            "0",
            "Invalid value 0 for configuration compression.gzip.level: Value must be between 1 and 9 or equal to -1",
        ),
        (
            "compression.zstd.level",
            "99",
            "Invalid value 99 for configuration compression.zstd.level: Value must be no more than 22",
        ),
        (
            "preallocate",
            "maybe",
            "Invalid value maybe for configuration preallocate: Expected value to be either true or false",
        ),
        (
            "message.timestamp.type",
            "Foo",
            "Invalid value Foo for configuration message.timestamp.type: String must be one of: CreateTime, \
             LogAppendTime",
        ),
        (
            "min.cleanable.dirty.ratio",
            "1.5",
            "Invalid value 1.5 for configuration min.cleanable.dirty.ratio: Value must be no more than 1",
        ),
        ("retention.mss", "1", "Unknown topic config name: retention.mss"),
        ("message.format.version", "3.0", "Unknown topic config name: message.format.version"),
    ];
    for (name, value, expected) in cases {
        assert_eq!(topic_error(name, value), expected);
    }
    assert!(topic_error("leader.replication.throttled.replicas", "abc").contains("[partitionId]:[brokerId]"));
}

#[test]
fn what_kafka_accepts_is_accepted_blanks_and_repeats_included() {
    let cases = [
        ("retention.ms", " 1000 "),
        ("cleanup.policy", " compact , delete "),
        ("cleanup.policy", "delete,delete"),
        ("cleanup.policy", ""),
        ("retention.bytes", "-7"),
        ("preallocate", "TRUE"),
        ("leader.replication.throttled.replicas", "*"),
        ("leader.replication.throttled.replicas", "1:0,0:0"),
        ("compression.gzip.level", "-1"),
    ];
    for (name, value) in cases {
        validate(ResourceKind::Topic, name, value).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn an_offset_reset_is_latest_earliest_or_an_iso_duration() {
    let legal = ["latest", "earliest", "by_duration:PT1H30M", "by_duration:P2DT3.5S", "by_duration:P1D"];
    let refused =
        ["none", "by_duration:", "by_duration:P", "by_duration:PT", "by_duration:PT1M1H", "by_duration:PT-1H"];
    for value in legal {
        assert_eq!(validate(ResourceKind::Group, "share.auto.offset.reset", value), Ok(()), "{value}");
    }
    for value in refused {
        assert!(validate(ResourceKind::Group, "share.auto.offset.reset", value).is_err(), "{value}");
    }
}

#[test]
fn values_that_contradict_each_other_or_need_tiered_storage_are_refused() {
    let broker = broker(&[]);
    let values = |pairs: &[(&str, &str)]| -> ConfigMap { pairs.iter().map(|&(n, v)| (n.into(), v.into())).collect() };
    let lag = values(&[("min.compaction.lag.ms", "100"), ("max.compaction.lag.ms", "50")]);
    assert_eq!(
        validate_topic(&lag, &broker).expect_err("refused").kafka_text(),
        "conflict topic config setting min.compaction.lag.ms (100) > max.compaction.lag.ms (50)"
    );
    let remote = values(&[("remote.storage.enable", "true")]);
    assert!(validate_topic(&remote, &broker).is_err());
}

#[test]
fn the_chain_goes_from_topic_over_dynamic_broker_and_default_to_static_and_built_in() {
    // The same values in Apache Kafka 4.2 gave this very list.
    let broker = broker(&[("log.retention.minutes", "500")]);
    let image = image(&[
        (ResourceKind::Topic, "cfg", "retention.ms", "604800000"),
        (ResourceKind::Broker, "0", "log.retention.ms", "7000"),
        (ResourceKind::Broker, "", "log.retention.ms", "8000"),
    ]);
    let found = effective(&image, &broker, "cfg", "retention.ms").expect("known");
    assert_eq!((found.value.as_deref(), found.source), (Some("604800000"), ConfigSource::DynamicTopic));
    assert_eq!(
        chain_of(&found),
        vec![
            ("retention.ms", "604800000", 1),
            ("log.retention.ms", "7000", 2),
            ("log.retention.ms", "8000", 3),
            ("log.retention.minutes", "500", 4),
            ("log.retention.hours", "168", 5),
        ]
    );
    let other = effective(&image, &broker, "other", "retention.ms").expect("known");
    assert_eq!((other.value.as_deref(), other.source.code()), (Some("7000"), 2));
}

#[test]
fn minutes_and_hours_of_the_broker_become_milliseconds_of_the_topic() {
    let value = |pairs: &[(&str, &str)], name: &str| {
        let found = effective(&Image::new(), &broker(pairs), "t", name).expect("known");
        (found.value.unwrap_or_default(), found.source.code())
    };
    assert_eq!(value(&[("log.retention.minutes", "500")], "retention.ms"), ("30000000".to_owned(), 4));
    assert_eq!(value(&[("log.retention.hours", "-1")], "retention.ms"), ("-1".to_owned(), 4));
    let both = [("log.retention.hours", "1"), ("log.retention.ms", "5")];
    assert_eq!(value(&both, "retention.ms"), ("5".to_owned(), 4), "ms before hours");
    assert_eq!(value(&[], "retention.ms"), ("604800000".to_owned(), 5));
    assert_eq!(value(&[], "segment.ms"), ("604800000".to_owned(), 5));
    assert_eq!(value(&[], "remote.storage.enable"), ("false".to_owned(), 5));
}

#[test]
fn a_value_set_to_its_default_still_counts_as_set_for_the_topic() {
    let image = image(&[(ResourceKind::Topic, "t", "segment.ms", "604800000")]);
    let found = effective(&image, &broker(&[]), "t", "segment.ms").expect("known");
    assert_eq!(found.source.code(), 1);
}

#[test]
fn a_topic_reads_typed_and_an_illegal_stored_value_gives_way_to_the_default_and_is_told() {
    let image = image(&[
        (ResourceKind::Topic, "t", "cleanup.policy", " compact , delete "),
        (ResourceKind::Topic, "t", "retention.ms", "-1"),
        (ResourceKind::Topic, "t", "segment.bytes", "7"),
        (ResourceKind::Topic, "t", "min.cleanable.dirty.ratio", "0.25"),
        (ResourceKind::Topic, "t", "message.timestamp.type", "LogAppendTime"),
    ]);
    let (settings, errors) = TopicSettings::of(&image, &broker(&[]), "t");
    assert!(settings.cleanup_compact && settings.cleanup_delete);
    assert_eq!((settings.retention_ms, settings.retention_bytes), (None, None));
    assert_eq!((settings.segment_bytes, settings.min_cleanable_dirty_ppm), (1_073_741_824, 250_000));
    assert_eq!(settings.timestamp_type, TimestampType::LogAppendTime);
    assert_eq!((settings.max_message_bytes, settings.timestamp_after_max_ms), (1_048_588, 3_600_000));
    assert_eq!(errors.len(), 1);
}

#[test]
fn records_are_durable_unless_broker_or_topic_asks_for_the_page_cache() {
    let durability = |static_values: &[(&str, &str)], topic: &[(&str, &str)]| {
        let configs: Vec<_> = topic.iter().map(|&(n, v)| (ResourceKind::Topic, "t", n, v)).collect();
        TopicSettings::of(&image(&configs), &broker(static_values), "t").0.durability
    };
    let page_cache = [("kataract.log.durability", "page-cache")];
    assert_eq!(durability(&[], &[]), Durability::Stable);
    assert_eq!(durability(&page_cache, &[]), Durability::PageCache);
    assert_eq!(durability(&page_cache, &[("flush.messages", "1")]), Durability::Stable);
    assert_eq!(durability(&page_cache, &[("flush.ms", "0")]), Durability::Stable);
    assert_eq!(durability(&[], &[("flush.ms", "1000")]), Durability::PageCache);
    assert_eq!(durability(&[("log.flush.interval.messages", "10000")], &[]), Durability::PageCache);
}

#[test]
fn a_broker_without_a_file_has_the_defaults_of_kafka() {
    let settings = broker(&[]);
    assert_eq!(settings.node_id.0, 0);
    let plaintext = Listener { name: "PLAINTEXT".into(), host: String::new(), port: 9092 };
    assert_eq!(settings.listeners, vec![plaintext.clone()]);
    assert_eq!(settings.advertised_listeners, vec![plaintext]);
    assert_eq!(settings.inter_broker_listener, "PLAINTEXT");
    assert_eq!(settings.log_dirs, vec!["/tmp/kafka-logs"]);
    assert_eq!((settings.num_partitions, settings.default_replication_factor), (1, 1));
    assert_eq!(settings.offsets_retention_ms, 604_800_000);
    assert_eq!(settings.connections_idle_max_ms, Some(600_000));
    assert_eq!((settings.cores, settings.memory_bytes), (None, None));
}

#[test]
fn the_file_of_a_combined_kafka_node_is_read() {
    let settings = broker(&[
        ("process.roles", "broker,controller"),
        ("node.id", "1"),
        ("controller.quorum.voters", "1@127.0.0.1:9093"),
        ("listeners", "PLAINTEXT://:9092,CONTROLLER://[::1]:9093"),
        ("advertised.listeners", "PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093"),
        ("controller.listener.names", "CONTROLLER"),
        ("inter.broker.listener.name", "PLAINTEXT"),
        ("log.dirs", "/a, /b"),
        ("offsets.topic.replication.factor", "1"),
        ("some.plugin.key", "anything"),
    ]);
    assert_eq!(settings.controller_listeners[0].host, "::1");
    assert_eq!(settings.advertised_listeners.len(), 1);
    assert_eq!(settings.advertised_listeners[0].host, "localhost");
    assert_eq!(settings.voters[0].port, 9093);
    assert_eq!(settings.log_dirs, vec!["/a", "/b"]);
    assert_eq!(settings.static_value("some.plugin.key"), Some("anything"));
}

#[test]
fn errors_of_a_file_name_the_key_the_value_and_what_is_allowed_all_at_once() {
    assert_eq!(
        complaint(&[("num.partitions", "0"), ("log.segment.bytes", "10k")]),
        "log.segment.bytes: 10k: Not a number of type INT; num.partitions: 0: Value must be at least 1"
    );
    assert!(complaint(&[("listeners", "9092")]).contains("must be NAME://host:port"));
    assert!(complaint(&[("listeners", "SSL://:9092")]).contains("only PLAINTEXT"));
    assert!(complaint(&[("listeners", "A://:9092")]).contains("listener.security.protocol.map"));
    assert!(complaint(&[("listeners", "PLAINTEXT://:1,PLAINTEXT://:2")]).contains("own name"));
    let ports = [("listeners", "A://:1,B://:1"), ("listener.security.protocol.map", "A:PLAINTEXT,B:PLAINTEXT")];
    assert!(complaint(&ports).contains("own port"));
    assert!(complaint(&[("advertised.listeners", "PLAINTEXT://0.0.0.0:1")]).contains("cannot connect"));
    assert!(complaint(&[("process.roles", "broker")]).contains("one node"));
    assert!(complaint(&[("controller.quorum.voters", "x")]).contains("id@host:port"));
    assert!(complaint(&[("kataract.driver", "magic")]).contains("auto, uring, posix, glommio"));
    assert!(complaint(&[("group.min.session.timeout.ms", "2000000")]).contains("group.max.session.timeout.ms"));
}

#[test]
fn an_unknown_key_gets_its_nearest_name_and_plug_in_families_are_known_by_prefix() {
    let nearest_of = |name| match broker_key(name) {
        KeyKind::Unknown { nearest } => nearest,
        other => panic!("{name}: {other:?}"),
    };
    assert_eq!(nearest_of("log.retention.hour"), Some("log.retention.hours"));
    assert_eq!(nearest_of("lisetners"), Some("listeners"));
    assert_eq!(nearest_of("broker.id"), None);
    assert_eq!(nearest_of("zookeeper.connect"), None);
    assert_eq!(nearest_of(&"x".repeat(10_000)), None);
    assert!(matches!(broker_key("ssl.keystore.location"), KeyKind::Family("ssl.")));
    assert!(matches!(broker_key("node.id"), KeyKind::Known(setting) if setting.honoured));
}

#[test]
fn dynamic_broker_values_come_on_top_where_the_setting_allows_it() {
    let settings = broker(&[("max.connections", "10")]);
    let image = image(&[
        (ResourceKind::Broker, "", "max.connections", "20"),
        (ResourceKind::Broker, "", "producer.id.expiration.ms", "30"),
        (ResourceKind::Broker, "0", "producer.id.expiration.ms", "5"),
        (ResourceKind::Broker, "0", "num.partitions", "9"),
        (ResourceKind::Broker, "7", "max.connections", "1"),
    ]);
    let (now, errors) = settings.with_dynamic(&image);
    assert!(errors.is_empty());
    assert_eq!((now.connections_max, now.producer_id_expiration_ms), (20, 5));
    let mut planned = settings.clone();
    (planned.connections_max, planned.partitions_max) = (7, Some(3));
    let (kept, _) = planned.with_dynamic(&Image::default());
    assert_eq!(kept, planned, "what the node has put in stays");
    assert_eq!(now.num_partitions, 1, "read-only");
    assert_eq!(now.static_value("max.connections"), Some("10"));
}

#[test]
fn a_broker_describes_itself_with_unknown_and_secret_values_hidden() {
    let settings = broker(&[("num.partitions", "4"), ("delegation.token.secret.key", "secret")]);
    let image = image(&[
        (ResourceKind::Broker, "0", "log.retention.ms", "7000"),
        (ResourceKind::Broker, "0", "wat", "4"),
        (ResourceKind::Broker, "", "log.retention.ms", "8000"),
    ]);
    let all = describe_broker(&image, &settings, Some(crate::base::ids::NodeId(0)));
    let find = |name: &str| all.iter().find(|one| one.name == name).expect("described");
    assert_eq!((find("num.partitions").value.as_deref(), find("num.partitions").source.code()), (Some("4"), 4));
    assert!(find("num.partitions").read_only && !find("log.retention.ms").read_only);
    assert_eq!(find("auto.create.topics.enable").value.as_deref(), Some("true"));
    assert_eq!(
        chain_of(find("log.retention.ms")),
        vec![("log.retention.ms", "7000", 2), ("log.retention.ms", "8000", 3)]
    );
    assert_eq!((find("wat").value.as_deref(), find("wat").kind), (None, None));
    assert_eq!(find("delegation.token.secret.key").value, None);
    assert!(find("delegation.token.secret.key").sensitive);
    assert_eq!(describe_broker(&image, &settings, None).len(), 1);
}

#[test]
fn a_group_shows_its_own_values_and_calls_the_rest_defaults() {
    let settings = broker(&[("group.share.session.timeout.ms", "50000")]);
    let image = image(&[(ResourceKind::Group, "g", "consumer.session.timeout.ms", "46000")]);
    let all = describe_group(&image, &settings, "g");
    let find = |name: &str| all.iter().find(|one| one.name == name).expect("described");
    let own = find("consumer.session.timeout.ms");
    assert_eq!((own.value.as_deref(), own.source.code()), (Some("46000"), 8));
    let behind = find("share.session.timeout.ms");
    assert_eq!((behind.value.as_deref(), behind.source.code()), (Some("50000"), 5));
}

#[test]
fn lists_grow_and_shrink_by_elements_without_repeats() {
    assert_eq!(append_to_list("delete", "compact"), "delete,compact");
    assert_eq!(append_to_list("delete,compact", "compact"), "delete,compact");
    assert_eq!(append_to_list("", "0:0"), "0:0");
    assert_eq!(subtract_from_list("delete, compact", "delete"), "compact");
    assert_eq!(subtract_from_list("compact", "compact"), "");
}
