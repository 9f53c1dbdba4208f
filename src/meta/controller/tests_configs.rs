//! Config changes. The messages in quotes are what Apache Kafka 4.2 answered.

use super::tests::{create, plain, run, settings, started};
use super::*;
use crate::meta::record::FeatureLevelRecord;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const GROUP: i8 = 32;

fn with_topic() -> Controller {
    let mut controller = started();
    create(&mut controller, plain("t")).expect("created");
    controller
}

fn ops(ops: &[(&str, OpKind, Option<&str>)]) -> Vec<ConfigOp> {
    let one = |&(name, op, value): &(&str, OpKind, Option<&str>)| ConfigOp {
        name: name.to_owned(),
        op,
        value: value.map(str::to_owned),
    };
    ops.iter().map(one).collect()
}

fn results(decision: Decision) -> Vec<Result<(), (MetaError, String)>> {
    let Answer::ConfigsAltered(answers) = decision.answer else { panic!("wrong answer") };
    answers.into_iter().map(|answer| answer.result.map_err(|refusal| (refusal.error, refusal.message))).collect()
}

fn change(
    controller: &mut Controller,
    resource_type: i8,
    name: &str,
    changes: &[(&str, OpKind, Option<&str>)],
) -> Result<(), (MetaError, String)> {
    let resources = vec![ConfigChange { resource_type, name: name.to_owned(), changes: ops(changes) }];
    results(run(controller, Command::IncrementalAlterConfigs { resources, validate_only: false })).remove(0)
}

fn set(controller: &mut Controller, kind: i8, name: &str, key: &str, value: &str) -> Result<(), (MetaError, String)> {
    change(controller, kind, name, &[(key, OpKind::Set, Some(value))])
}

fn refused<T>(error: MetaError, message: &str) -> Result<T, (MetaError, String)> {
    Err((error, message.to_owned()))
}

fn value(controller: &Controller, key: &str) -> Option<String> {
    controller.image().topic_config("t").get(key).map(|value| value.to_string())
}

#[test]
fn single_values_are_set_and_deleted_and_the_rest_stays() {
    let mut controller = with_topic();
    set(&mut controller, TOPIC, "t", "retention.ms", "1000").expect("set");
    set(&mut controller, TOPIC, "t", "segment.ms", "604800000").expect("set to its default");
    change(&mut controller, TOPIC, "t", &[("retention.ms", OpKind::Delete, None)]).expect("deleted");
    change(&mut controller, TOPIC, "t", &[("retention.ms", OpKind::Delete, None)]).expect("deleting nothing is fine");
    change(&mut controller, TOPIC, "t", &[("nonsense", OpKind::Delete, None)]).expect("also by an unknown name");
    assert_eq!(value(&controller, "retention.ms"), None);
    assert_eq!(value(&controller, "segment.ms").as_deref(), Some("604800000"));
}

#[test]
fn a_value_that_does_not_change_leaves_no_record() {
    let mut controller = with_topic();
    set(&mut controller, TOPIC, "t", "retention.ms", "1000").expect("set");
    let resources = vec![ConfigChange {
        resource_type: TOPIC,
        name: "t".into(),
        changes: ops(&[("retention.ms", OpKind::Set, Some("1000"))]),
    }];
    let decision = run(&mut controller, Command::IncrementalAlterConfigs { resources, validate_only: false });
    assert!(decision.records.is_empty());
}

#[test]
fn a_question_only_is_judged_and_leaves_no_record() {
    let mut controller = with_topic();
    let ask = |controller: &mut Controller, value: &str| {
        let changes = ops(&[("retention.ms", OpKind::Set, Some(value))]);
        let resources = vec![ConfigChange { resource_type: TOPIC, name: "t".into(), changes }];
        let decision = run(controller, Command::IncrementalAlterConfigs { resources, validate_only: true });
        assert!(decision.records.is_empty());
        results(decision).remove(0).is_ok()
    };
    assert!(ask(&mut controller, "5"));
    assert!(!ask(&mut controller, "-5"));
}

#[test]
fn lists_grow_from_the_value_that_holds_and_shrink_to_an_explicit_empty_one() {
    let mut controller = with_topic();
    let op = |controller: &mut Controller, op, value: &str| {
        change(controller, TOPIC, "t", &[("cleanup.policy", op, Some(value))]).expect("changed");
    };
    op(&mut controller, OpKind::Append, "compact");
    assert_eq!(value(&controller, "cleanup.policy").as_deref(), Some("delete,compact"), "the default was delete");
    op(&mut controller, OpKind::Append, "compact");
    op(&mut controller, OpKind::Subtract, "delete");
    assert_eq!(value(&controller, "cleanup.policy").as_deref(), Some("compact"));
    op(&mut controller, OpKind::Subtract, "compact");
    assert_eq!(value(&controller, "cleanup.policy").as_deref(), Some(""));
    assert_eq!(
        change(&mut controller, TOPIC, "t", &[("retention.ms", OpKind::Append, Some("1"))]),
        refused(MetaError::InvalidConfig, "Can't APPEND to key retention.ms because its type is not LIST.")
    );
    assert_eq!(
        change(&mut controller, TOPIC, "t", &[("wat", OpKind::Append, Some("5"))]),
        refused(MetaError::InvalidConfig, "Can't APPEND to key wat because its type is not LIST.")
    );
}

#[test]
fn wrong_resources_are_refused_each_with_its_reason() {
    let mut controller = with_topic();
    let cases = [
        (TOPIC, "nope", MetaError::UnknownTopicOrPartition, "The topic 'nope' does not exist."),
        (TOPIC, "", MetaError::InvalidRequest, "Default topic resources are not allowed."),
        (GROUP, "", MetaError::InvalidRequest, "Default group resources are not allowed."),
        (0, "t", MetaError::InvalidRequest, "Unknown resource type 0"),
        (8, "0", MetaError::InvalidRequest, "Broker loggers cannot be changed on this broker."),
        (16, "cm", MetaError::InvalidRequest, "Client metrics subscriptions are not supported by this broker."),
        (BROKER, "x", MetaError::InvalidRequest, "Invalid broker id: x"),
        (BROKER, "+0", MetaError::InvalidRequest, "Invalid broker id: +0"),
        (BROKER, "5", MetaError::InvalidRequest, "Broker 5 is not registered."),
    ];
    for (kind, name, error, message) in cases {
        assert_eq!(set(&mut controller, kind, name, "retention.ms", "1"), refused(error, message));
    }
}

#[test]
fn wrong_values_of_topics_are_refused() {
    let mut controller = with_topic();
    let cases = [
        ("retention.ms", "-5", "Invalid value -5 for configuration retention.ms: Value must be at least -1"),
        ("foo", "1", "Unknown topic config name: foo"),
        ("retention.ms", "", "Invalid value  for configuration retention.ms: Not a number of type LONG"),
    ];
    for (key, value, message) in cases {
        let expected = refused(MetaError::InvalidConfig, message);
        assert_eq!(set(&mut controller, TOPIC, "t", key, value), expected);
    }
    assert_eq!(
        change(&mut controller, TOPIC, "t", &[("retention.ms", OpKind::Set, None)]),
        refused(MetaError::InvalidRequest, "Null value not supported for : retention.ms")
    );
    let twice = [("retention.ms", OpKind::Set, Some("1")), ("retention.ms", OpKind::Set, Some("2"))];
    assert_eq!(
        change(&mut controller, TOPIC, "t", &twice),
        refused(MetaError::InvalidRequest, "Error due to duplicate config keys")
    );
    set(&mut controller, TOPIC, "t", "max.compaction.lag.ms", "50").expect("set");
    assert_eq!(
        set(&mut controller, TOPIC, "t", "min.compaction.lag.ms", "100"),
        refused(
            MetaError::InvalidConfig,
            "conflict topic config setting min.compaction.lag.ms (100) > max.compaction.lag.ms (50)"
        )
    );
}

#[test]
fn brokers_and_their_default_change_what_may_change_at_run_time() {
    let mut controller = started();
    set(&mut controller, BROKER, "0", "log.retention.ms", "7000").expect("set");
    set(&mut controller, BROKER, "", "log.retention.ms", "8000").expect("set");
    set(&mut controller, BROKER, "0", "wat", "4").expect("unknown keys are kept");
    assert_eq!(controller.image().broker_config(NodeId(0)).len(), 2);
    assert_eq!(controller.image().broker_default_config().len(), 1);
    let invalid = |message: &str| refused(MetaError::InvalidRequest, message);
    assert_eq!(
        set(&mut controller, BROKER, "0", "num.partitions", "4"),
        invalid("Cannot update these configs dynamically: Set(num.partitions)")
    );
    assert_eq!(
        set(&mut controller, BROKER, "", "ssl.protocol", "TLSv1.3"),
        invalid("Cannot update these configs at default cluster level, broker id must be specified: Set(ssl.protocol)")
    );
    assert_eq!(
        set(&mut controller, BROKER, "0", "message.max.bytes", "abc"),
        invalid("Invalid value abc for configuration message.max.bytes: Not a number of type INT")
    );
    assert_eq!(
        set(&mut controller, BROKER, "", "message.max.bytes", "-1"),
        invalid("Invalid value -1 for configuration message.max.bytes: Value must be at least 0")
    );
}

#[test]
fn group_values_stay_within_the_bounds_of_the_broker() {
    let mut controller = started();
    set(&mut controller, GROUP, "g", "consumer.session.timeout.ms", "46000").expect("set");
    let invalid = |message: &str| refused(MetaError::InvalidConfig, message);
    assert_eq!(
        set(&mut controller, GROUP, "g", "consumer.session.timeout.ms", "4"),
        invalid("consumer.session.timeout.ms must be greater than or equal to group.consumer.min.session.timeout.ms")
    );
    assert_eq!(
        set(&mut controller, GROUP, "g", "consumer.session.timeout.ms", "70000"),
        invalid("consumer.session.timeout.ms must be less than or equal to group.consumer.max.session.timeout.ms")
    );
    assert_eq!(set(&mut controller, GROUP, "g", "wat", "4"), invalid("Unknown group config name: wat"));
}

#[test]
fn the_older_request_replaces_all_values_of_a_resource() {
    let mut controller = with_topic();
    set(&mut controller, TOPIC, "t", "retention.ms", "1000").expect("set");
    set(&mut controller, TOPIC, "t", "segment.ms", "2000").expect("set");
    let mut replace = |values: &[(&str, Option<&str>)]| {
        let values = values.iter().map(|(name, value)| (name.to_string(), value.map(str::to_owned))).collect();
        let resources = vec![ConfigReplacement { resource_type: TOPIC, name: "t".into(), values }];
        let decision = run(&mut controller, Command::AlterConfigs { resources, validate_only: false });
        let records = decision.records.len();
        results(decision).remove(0).map(|()| records)
    };
    assert_eq!(replace(&[("segment.ms", Some("2000")), ("flush.ms", Some("5"))]), Ok(2), "one set, one deleted");
    assert!(replace(&[("flush.ms", None)]).is_err());
    assert!(replace(&[("nope", Some("1"))]).is_err());
    let keys: Vec<&str> = controller.image().topic_config("t").keys().map(|key| &**key).collect();
    assert_eq!(keys, vec!["flush.ms", "segment.ms"]);
}

#[test]
fn a_resource_named_twice_is_refused_both_times_and_the_others_go_through() {
    let mut controller = with_topic();
    create(&mut controller, plain("u")).expect("created");
    let one = |name: &str| ConfigChange {
        resource_type: TOPIC,
        name: name.into(),
        changes: ops(&[("retention.ms", OpKind::Set, Some("1"))]),
    };
    let resources = vec![one("t"), one("u"), one("t")];
    let decision = run(&mut controller, Command::IncrementalAlterConfigs { resources, validate_only: false });
    assert_eq!(decision.records.len(), 1);
    let twice = refused(MetaError::InvalidRequest, "Each resource must appear at most once.");
    assert_eq!(results(decision), vec![twice.clone(), Ok(()), twice]);
}

#[test]
fn a_new_min_isr_clears_the_eligible_leader_replicas_where_the_feature_is_on() {
    let mut controller = with_topic();
    let decide = |controller: &mut Controller, value: &str| {
        let changes = ops(&[("min.insync.replicas", OpKind::Set, Some(value))]);
        let resources = vec![ConfigChange { resource_type: TOPIC, name: "t".into(), changes }];
        run(controller, Command::IncrementalAlterConfigs { resources, validate_only: false }).records
    };
    assert_eq!(decide(&mut controller, "2").len(), 1);
    let feature = FeatureLevelRecord { name: "eligible.leader.replicas.version".into(), level: 1 };
    controller.replay(&Record::FeatureLevel(feature)).expect("fits");
    let records = decide(&mut controller, "1");
    assert_eq!(records[1..], [Record::ClearElr { topic: "t".into() }]);
}

#[test]
fn names_and_values_are_bounded_whether_the_name_is_known_or_not() {
    let mut controller = with_topic();
    let long = "v".repeat(32_767);
    set(&mut controller, BROKER, "", "plugin.setting", &long).expect("as long as may be");
    let (error, _) = set(&mut controller, BROKER, "", "plugin.setting", &format!("{long}v")).unwrap_err();
    assert_eq!(error, MetaError::InvalidConfig);
    let (error, message) = set(&mut controller, BROKER, "", &"n".repeat(256), "v").unwrap_err();
    assert_eq!(error, MetaError::InvalidConfig);
    assert!(message.len() < 100, "it is not repeated: {message}");
    let (error, _) = set(&mut controller, TOPIC, "t", "retention.ms", &"9".repeat(40_000)).unwrap_err();
    assert_eq!(error, MetaError::InvalidConfig);
    let group = "g".repeat(4_097);
    let (error, _) = set(&mut controller, GROUP, &group, "consumer.session.timeout.ms", "45000").unwrap_err();
    assert_eq!(error, MetaError::InvalidRequest);
    let mut topic = plain("long");
    topic.configs = vec![("leader.replication.throttled.replicas".to_owned(), Some("0:1,".repeat(10_000)))];
    assert_eq!(create(&mut controller, topic).unwrap_err().error, MetaError::InvalidConfig);
}

#[test]
fn all_configs_together_are_bounded_and_deleting_some_makes_room() {
    let mut controller = with_topic();
    let decide = |controller: &mut Controller, command: Command| {
        controller.decide(&settings(&[("kataract.partitions.max", "1000")]), command, &mut Prng::new(7))
    };
    let change = |controller: &mut Controller, changes: &[(&str, OpKind, Option<&str>)]| {
        let resources = vec![ConfigChange { resource_type: BROKER, name: String::new(), changes: ops(changes) }];
        results(decide(controller, Command::IncrementalAlterConfigs { resources, validate_only: false })).remove(0)
    };
    let value = "v".repeat(30_000);
    let sets = |controller: &mut Controller, number: u32| {
        change(controller, &[(&format!("key-{number}"), OpKind::Set, Some(&value))])
    };
    let taken = (0..1_000).take_while(|number| sets(&mut controller, *number).is_ok()).count() as u32;
    let bytes = controller.image().config_bytes();
    assert!((1 << 20..2 << 20).contains(&bytes), "{taken} values of {bytes} bytes");
    assert_eq!(sets(&mut controller, taken).unwrap_err().0, MetaError::PolicyViolation);
    change(&mut controller, &[("small", OpKind::Set, Some("v"))]).expect("something small still fits");
    let mut topic = plain("configured");
    let replicas = format!("{}0:1", "0:1,".repeat(7_000));
    topic.configs = vec![("leader.replication.throttled.replicas".to_owned(), Some(replicas))];
    let created = decide(&mut controller, Command::CreateTopics { topics: vec![topic], validate_only: false });
    let Answer::TopicsCreated(mut created) = created.answer else { panic!("wrong answer") };
    assert_eq!(created.remove(0).1.unwrap_err().error, MetaError::PolicyViolation);
    assert!(controller.image().topic_named("configured").is_none());
    let deleted: Vec<String> = (0..taken).map(|number| format!("key-{number}")).collect();
    let deleted: Vec<_> = deleted.iter().map(|name| (name.as_str(), OpKind::Delete, None)).collect();
    change(&mut controller, &deleted).expect("deleted");
    sets(&mut controller, 0).expect("there is room again");
    change(&mut controller, &[("key-0", OpKind::Delete, None), ("small", OpKind::Delete, None)]).expect("deleted");
    assert_eq!(controller.image().config_bytes(), 0, "what was counted is given back");
}

#[test]
fn a_decision_beyond_one_batch_of_records_is_refused_as_a_whole() {
    let mut controller = with_topic();
    let value = "v".repeat(30_000);
    let names: Vec<String> = (0..300).map(|number| format!("key-{number}")).collect();
    let sets: Vec<_> = names.iter().map(|name| (name.as_str(), OpKind::Set, Some(value.as_str()))).collect();
    let resources = vec![
        ConfigChange { resource_type: BROKER, name: String::new(), changes: ops(&sets) },
        ConfigChange { resource_type: BROKER, name: "99".to_owned(), changes: ops(&sets[..1]) },
    ];
    let before = controller.image().config_bytes();
    let answers = results(run(&mut controller, Command::IncrementalAlterConfigs { resources, validate_only: false }));
    let errors: Vec<MetaError> = answers.into_iter().map(|answer| answer.unwrap_err().0).collect();
    assert_eq!(errors, [MetaError::PolicyViolation, MetaError::InvalidRequest]);
    assert_eq!(controller.image().config_bytes(), before);
}

#[test]
fn pins_need_a_core_that_is_there_and_grow_from_those_of_the_file() {
    let mut controller = started();
    let mut broker = settings(&[("partition.cores", "a-b-0:1")]);
    broker.cores = Some(2);
    let mut change = |op, value: &str| {
        let changes = ops(&[("partition.cores", op, Some(value))]);
        let resources = vec![ConfigChange { resource_type: BROKER, name: "0".into(), changes }];
        let command = Command::IncrementalAlterConfigs { resources, validate_only: false };
        let result = results(controller.decide(&broker, command, &mut Prng::new(7))).remove(0);
        result.map(|()| broker.partition_cores(controller.image()).to_owned())
    };
    assert_eq!(change(OpKind::Append, "c-1:0").as_deref(), Ok("a-b-0:1,c-1:0"));
    assert_eq!(change(OpKind::Subtract, "a-b-0:1").as_deref(), Ok("c-1:0"));
    let (error, message) = change(OpKind::Set, "c-1:2").unwrap_err();
    assert_eq!(error, MetaError::InvalidRequest);
    assert!(message.contains("c-1:2: the node has cores 0 to 1"), "{message}");
    assert!(change(OpKind::Set, "c-1:1,c-1:0").unwrap_err().1.contains("c-1 is named twice"));
    assert!(change(OpKind::Set, "__cluster_metadata-0:1").is_err());
    assert_eq!(change(OpKind::Set, "").as_deref(), Ok(""), "none, whatever the file says");
}
