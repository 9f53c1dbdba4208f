//! Node start, topics, partitions and producer ids. The messages in quotes are what Apache Kafka 4.2 answered.

use super::*;
use crate::meta::image::PartitionImage;
use crate::meta::record::{PartitionChangeRecord, PartitionRecord};
use crate::meta::settings::ConfigSource;

pub(super) fn settings(pairs: &[(&str, &str)]) -> BrokerSettings {
    let values = pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    BrokerSettings::from_values(values).expect("legal settings")
}

fn bootstrap(next_offset: i64) -> Command {
    let endpoint =
        |name: &str, port| EndpointRecord { name: name.into(), host: "h".into(), port, security_protocol: 0 };
    Command::Bootstrap(Bootstrap {
        next_offset,
        incarnation: Uuid([5; 16]),
        endpoints: vec![endpoint("PLAINTEXT", 9092)],
        controller_endpoints: vec![endpoint("CONTROLLER", 9093)],
        log_dirs: vec![Uuid([6; 16])],
    })
}

/// A single node, started.
pub(super) fn started() -> Controller {
    let mut controller = Controller::default();
    controller.decide(&settings(&[]), bootstrap(1), &mut Prng::new(1));
    controller
}

fn topic(name: &str, partitions: i32, replication_factor: i16) -> NewTopic {
    NewTopic { name: name.into(), partitions, replication_factor, ..NewTopic::default() }
}

fn with_configs(name: &str, configs: &[(&str, Option<&str>)]) -> NewTopic {
    let configs = configs.iter().map(|(key, value)| (key.to_string(), value.map(str::to_owned))).collect();
    NewTopic { configs, ..topic(name, 1, 1) }
}

fn assigned(name: &str, assignments: &[(i32, &[i32])]) -> NewTopic {
    let assignments = assignments.iter().map(|&(partition, brokers)| (partition, brokers.to_vec())).collect();
    NewTopic { assignments, ..topic(name, -1, -1) }
}

pub(super) fn run(controller: &mut Controller, command: Command) -> Decision {
    controller.decide(&settings(&[("num.partitions", "4")]), command, &mut Prng::new(7))
}

fn create_all(controller: &mut Controller, topics: Vec<NewTopic>) -> Vec<(String, Result<CreatedTopic, Refusal>)> {
    match run(controller, Command::CreateTopics { topics, validate_only: false }).answer {
        Answer::TopicsCreated(answers) => answers,
        other => panic!("{other:?}"),
    }
}

pub(super) fn create(controller: &mut Controller, topic: NewTopic) -> Result<CreatedTopic, Refusal> {
    create_all(controller, vec![topic]).remove(0).1
}

pub(super) fn plain(name: &str) -> NewTopic {
    topic(name, 1, 1)
}

fn refused(controller: &mut Controller, topic: NewTopic) -> (MetaError, String) {
    let refusal = create(controller, topic).expect_err("refused");
    (refusal.error, refusal.message)
}

fn grow(controller: &mut Controller, name: &str, count: i32, lists: Option<&[&[i32]]>) -> Result<(), Refusal> {
    let assignments = lists.map(|lists| lists.iter().map(|list| list.to_vec()).collect());
    let topics = vec![NewPartitions { name: name.into(), count, assignments }];
    match run(controller, Command::CreatePartitions { topics, validate_only: false }).answer {
        Answer::PartitionsCreated(mut answers) => answers.remove(0).1,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_first_start_finalizes_features_and_registers_an_unfenced_broker_whose_epoch_is_an_offset() {
    let mut controller = Controller::default();
    let decision = controller.decide(&settings(&[("broker.rack", "r")]), bootstrap(1), &mut Prng::new(1));
    let keys: Vec<u16> = decision.records.iter().map(|record| record.key_and_version().0).collect();
    assert_eq!(keys, vec![12, 27, 0, 17]);
    assert_eq!(decision.answer, Answer::Registered { broker_epoch: 3 }, "offset 1 + two records before");
    let broker = controller.image().broker(NodeId(0)).expect("registered");
    assert!(broker.active());
    assert_eq!((broker.epoch, broker.rack.as_deref()), (3, Some("r")));
    assert_eq!(broker.endpoint("PLAINTEXT").map(|endpoint| endpoint.port), Some(9092));
    assert_eq!(controller.image().feature("metadata.version"), 29);
    assert_eq!(controller.image().controllers().count(), 1);
}

#[test]
fn a_later_start_registers_anew_and_grows_the_leader_epoch_of_what_it_leads() {
    let mut controller = started();
    create(&mut controller, topic("t", 2, 1)).expect("created");
    let decision = run(&mut controller, bootstrap(50));
    assert_eq!(decision.answer, Answer::Registered { broker_epoch: 51 }, "no feature records any more");
    let id = controller.image().topic_named("t").expect("there").id;
    let state = controller.image().partition(&id, 1).expect("there");
    assert_eq!((state.leader, state.leader_epoch, state.partition_epoch), (0, 1, 1));
}

#[test]
fn a_start_takes_over_partitions_without_leader_but_none_that_another_replica_can_lead() {
    let mut controller = started();
    create(&mut controller, plain("t")).expect("created");
    let id = controller.image().topic_named("t").expect("there").id;
    let orphan = PartitionChangeRecord { leader: -1, ..PartitionChangeRecord::unchanged(id, 0) };
    controller.replay(&Record::PartitionChange(orphan)).expect("fits");
    // Partition 1: only an unregistered broker is in sync. Partition 2: nobody is, but this broker is eligible.
    for (partition, isr, elr) in [(1, vec![7], None), (2, vec![], Some(vec![0, 7]))] {
        let record = PartitionRecord {
            version: 2,
            partition,
            topic: id,
            replicas: vec![0, 7],
            isr,
            removing: vec![],
            adding: vec![],
            leader: -1,
            recovery_state: 0,
            leader_epoch: 4,
            partition_epoch: 4,
            directories: vec![],
            elr,
            last_known_elr: None,
        };
        controller.replay(&Record::Partition(record)).expect("fits");
    }
    run(&mut controller, bootstrap(60));
    let leader = |partition| controller.image().partition(&id, partition).and_then(PartitionImage::leader);
    assert_eq!((leader(0), leader(1), leader(2)), (Some(NodeId(0)), None, Some(NodeId(0))));
    let eligible = controller.image().partition(&id, 2).expect("there");
    assert_eq!((&*eligible.isr, &*eligible.elr, eligible.leader_epoch), (&[0][..], &[7][..], 5));
}

#[test]
fn a_created_topic_answers_with_its_id_counts_and_all_effective_configs() {
    let mut controller = started();
    let created = create(
        &mut controller,
        NewTopic { partitions: 3, ..with_configs("t", &[("retention.ms", Some("604800000"))]) },
    )
    .expect("created");
    assert_eq!((created.partitions, created.replication_factor), (3, 1));
    let topic = controller.image().topic_named("t").expect("there");
    assert_eq!(topic.id, created.id);
    assert_ne!(created.id, Uuid::ZERO);
    let state = &topic.partitions[&2];
    assert_eq!((&*state.replicas, &*state.isr, state.leader), (&[0][..], &[0][..], 0));
    assert_eq!((state.leader_epoch, state.partition_epoch, &*state.directories), (0, 0, &[Uuid([6; 16])][..]));
    let config = |name: &str| created.configs.iter().find(|config| config.name == name).expect("described");
    assert_eq!(config("retention.ms").source, ConfigSource::DynamicTopic);
    assert_eq!(config("segment.ms").source, ConfigSource::Default);
    assert_eq!(created.configs.len(), 33);
}

#[test]
fn minus_one_means_the_defaults_of_the_broker() {
    let created = create(&mut started(), topic("t", -1, -1)).expect("created");
    assert_eq!((created.partitions, created.replication_factor), (4, 1));
}

#[test]
fn a_question_only_leaves_no_record() {
    let mut controller = started();
    let command = Command::CreateTopics { topics: vec![topic("t", 2, 1)], validate_only: true };
    let decision = run(&mut controller, command);
    assert!(decision.records.is_empty());
    let Answer::TopicsCreated(answers) = decision.answer else { panic!("wrong answer") };
    assert_eq!(answers[0].1.as_ref().map(|created| created.partitions), Ok(2));
    assert!(controller.image().topic_named("t").is_none());
}

#[test]
fn names_that_are_no_topic_names_are_refused() {
    let mut controller = started();
    let long = "x".repeat(250);
    let cases = [
        ("", "Topic name is invalid: the empty string is not allowed"),
        (".", "Topic name is invalid: '.' is not allowed"),
        ("..", "Topic name is invalid: '..' is not allowed"),
        (
            "a b",
            "Topic name is invalid: 'a b' contains one or more characters other than ASCII alphanumerics, '.', '_' \
             and '-'",
        ),
    ];
    for (name, message) in cases {
        assert_eq!(refused(&mut controller, plain(name)), (MetaError::InvalidTopicException, message.to_owned()));
    }
    let (error, message) = refused(&mut controller, plain(&long));
    assert_eq!(error, MetaError::InvalidTopicException);
    assert!(message.ends_with("is longer than the max allowed length 249"));
    create(&mut controller, plain(&long[..249])).expect("the longest name");
    assert_eq!(
        refused(&mut controller, plain("__cluster_metadata")),
        (MetaError::InvalidRequest, "Creation of internal topic __cluster_metadata is prohibited.".to_owned())
    );
}

#[test]
fn an_existing_name_and_names_that_differ_only_in_dots_and_underscores_are_refused() {
    let mut controller = started();
    create(&mut controller, plain("a.b-c_d")).expect("created");
    create(&mut controller, plain("a.c")).expect("created");
    assert_eq!(
        refused(&mut controller, plain("a.c")),
        (MetaError::TopicAlreadyExists, "Topic 'a.c' already exists.".to_owned())
    );
    assert_eq!(
        refused(&mut controller, plain("a_b-c.d")),
        (MetaError::InvalidTopicException, "Topic 'a_b-c.d' collides with existing topic: a.b-c_d".to_owned())
    );
    let answers = create_all(&mut controller, vec![plain("x.y"), plain("x_y"), plain("x-y")]);
    let results: Vec<bool> = answers.iter().map(|(_, result)| result.is_ok()).collect();
    assert_eq!(results, vec![true, false, true], "the second collides with the first of the same request");
}

#[test]
fn a_name_given_twice_is_refused_once_and_does_not_spoil_the_others() {
    let mut controller = started();
    let answers = create_all(&mut controller, vec![plain("d"), plain("e"), plain("d")]);
    assert_eq!(answers.len(), 2);
    assert_eq!(answers[0].1.as_ref().map_err(|refusal| refusal.error), Err(MetaError::InvalidRequest));
    assert!(answers[1].1.is_ok() && controller.image().topic_named("d").is_none());
}

#[test]
fn counts_and_factors_out_of_range_are_refused() {
    let mut controller = started();
    let partitions = "Number of partitions was set to an invalid non-positive value.";
    let factor = "Replication factor must be larger than 0, or -1 to use the default value.";
    for count in [0, -2] {
        let expected = (MetaError::InvalidPartitions, partitions.to_owned());
        assert_eq!(refused(&mut controller, topic("t", count, 1)), expected);
        let expected = (MetaError::InvalidReplicationFactor, factor.to_owned());
        assert_eq!(refused(&mut controller, topic("t", 1, count as i16)), expected);
    }
    let message = "Unable to replicate the partition 3 time(s): The target replication factor of 3 cannot be reached \
                   because only 1 broker(s) are registered.";
    let expected = (MetaError::InvalidReplicationFactor, message.to_owned());
    assert_eq!(refused(&mut controller, topic("t", 1, 3)), expected);
}

#[test]
fn more_than_ten_thousand_partitions_in_a_request_are_refused_before_anything_is_built() {
    let mut controller = started();
    let expected = (MetaError::PolicyViolation, "Excessively large number of partitions per request.".to_owned());
    assert_eq!(refused(&mut controller, topic("t", i32::MAX, 1)), expected);
    assert_eq!(refused(&mut controller, topic("t", 10_001, i16::MAX)), expected);
    let answers = create_all(&mut controller, vec![topic("a", 6000, 1), topic("b", 6000, 1)]);
    assert!(answers.iter().all(|(_, result)| result.is_err()), "the sum counts");
    assert_eq!(create(&mut controller, topic("t", 10_000, 1)).map(|created| created.partitions), Ok(10_000));
    let message = grow(&mut controller, "t", i32::MAX, None).expect_err("refused").message;
    assert_eq!(message, expected.1);
}

#[test]
fn the_cluster_holds_no_more_partitions_than_its_limit() {
    let mut controller = started();
    for index in 0..PARTITIONS_MAX / 10_000 {
        create(&mut controller, topic(&format!("t{index}"), 10_000, 1)).expect("room");
    }
    assert_eq!(controller.image().partition_count(), PARTITIONS_MAX);
    assert_eq!(refused(&mut controller, plain("u")).0, MetaError::PolicyViolation);
    let refusal = grow(&mut controller, "t0", 10_001, None).expect_err("refused");
    assert_eq!(refusal.error, MetaError::PolicyViolation);
}

#[test]
fn a_node_may_say_how_many_partitions_it_has_room_for() {
    let mut controller = started();
    let few = settings(&[("kataract.partitions.max", "5")]);
    let mut make = |name: &str, partitions: i32| {
        let command = Command::CreateTopics { topics: vec![topic(name, partitions, 1)], validate_only: false };
        match controller.decide(&few, command, &mut Prng::new(7)).answer {
            Answer::TopicsCreated(mut answers) => answers.remove(0).1.map(|created| created.partitions),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(make("a", 4), Ok(4));
    let refusal = make("b", 2).expect_err("too many");
    assert_eq!(refusal.error, MetaError::PolicyViolation);
    assert!(refusal.message.contains("kataract.partitions.max"), "{}", refusal.message);
    assert_eq!(make("c", 1), Ok(1));
}

#[test]
fn a_manual_assignment_is_taken_or_refused_with_the_reason() {
    let mut controller = started();
    assert_eq!(create(&mut controller, assigned("t", &[(1, &[0]), (0, &[0])])).map(|c| c.partitions), Ok(2));
    type Assignment = (i32, &'static [i32]);
    let cases: [(&[Assignment], &str); 6] = [
        (&[(0, &[0]), (2, &[0])], "partitions should be a consecutive 0-based integer sequence"),
        (&[(0, &[7])], "The manual partition assignment includes broker 7, but no such broker is registered."),
        (&[(0, &[0, 0])], "The manual partition assignment includes the broker 0 more than once."),
        (&[(0, &[])], "The manual partition assignment includes an empty replica list."),
        (&[(0, &[0]), (0, &[0])], "Found multiple manual partition assignments for partition 0"),
        (
            &[(0, &[0]), (1, &[0, 1])],
            "The manual partition assignment includes broker 1, but no such broker is registered.",
        ),
    ];
    for (assignments, message) in cases {
        let expected = (MetaError::InvalidReplicaAssignment, message.to_owned());
        assert_eq!(refused(&mut controller, assigned("u", assignments)), expected);
    }
    let both = NewTopic { partitions: 1, ..assigned("u", &[(0, &[0])]) };
    assert_eq!(refused(&mut controller, both).0, MetaError::InvalidRequest);
    let both = NewTopic { replication_factor: 1, ..assigned("u", &[(0, &[0])]) };
    assert_eq!(refused(&mut controller, both).0, MetaError::InvalidRequest);
}

#[test]
fn wrong_configs_of_a_new_topic_are_refused_in_the_words_of_kafka() {
    let mut controller = started();
    let cases = [
        ("retention.mss", Some("1"), "Unknown topic config name: retention.mss"),
        ("retention.ms", Some("abc"), "Invalid value abc for configuration retention.ms: Not a number of type LONG"),
        ("retention.ms", None, "Null value not supported for topic configs: retention.ms"),
        (
            "remote.storage.enable",
            Some("true"),
            "Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log \
             storage.",
        ),
    ];
    for (key, value, message) in cases {
        let expected = (MetaError::InvalidConfig, message.to_owned());
        assert_eq!(refused(&mut controller, with_configs("t", &[(key, value)])), expected);
    }
    assert!(controller.image().topic_named("t").is_none());
}

#[test]
fn unknown_topics_are_created_by_themselves_if_the_broker_allows_it() {
    let mut controller = started();
    let names = vec!["auto".to_owned(), "auto".to_owned(), "b@d".to_owned()];
    let Answer::TopicsCreated(answers) =
        run(&mut controller, Command::AutoCreateTopics { names: names.clone() }).answer
    else {
        panic!("wrong answer")
    };
    assert_eq!(answers.len(), 2);
    assert_eq!(answers[0].1.as_ref().map(|created| created.partitions), Ok(4));
    assert_eq!(answers[1].1.as_ref().map_err(|refusal| refusal.error), Err(MetaError::InvalidTopicException));
    let closed = settings(&[("auto.create.topics.enable", "false")]);
    let decision = controller.decide(&closed, Command::AutoCreateTopics { names }, &mut Prng::new(1));
    let Answer::TopicsCreated(answers) = decision.answer else { panic!("wrong answer") };
    assert!(answers.iter().all(|(_, r)| r.as_ref().is_err_and(|r| r.error == MetaError::UnknownTopicOrPartition)));
}

#[test]
fn the_offsets_topic_has_the_configs_kafka_gives_it_even_without_auto_creation() {
    let mut controller = started();
    let closed = settings(&[("auto.create.topics.enable", "false")]);
    let decision = controller.decide(&closed, Command::CreateOffsetsTopic, &mut Prng::new(1));
    assert_eq!(decision.records.len(), 1 + 3 + 50);
    let configs = controller.image().topic_config(OFFSETS_TOPIC);
    let pairs: Vec<(&str, &str)> = configs.iter().map(|(name, value)| (&**name, &**value)).collect();
    let expected = [("cleanup.policy", "compact"), ("compression.type", "producer"), ("segment.bytes", "104857600")];
    assert_eq!(pairs, expected);
    assert_eq!(controller.image().topic_named(OFFSETS_TOPIC).map(|topic| topic.replication_factor()), Some(1));
}

#[test]
fn in_a_quorum_of_several_nodes_the_offsets_topic_waits_for_enough_brokers() {
    let mut controller = started();
    let quorum = settings(&[("controller.quorum.voters", "0@a:1,1@b:1,2@c:1")]);
    let decision = controller.decide(&quorum, Command::CreateOffsetsTopic, &mut Prng::new(1));
    let Answer::TopicsCreated(answers) = decision.answer else { panic!("wrong answer") };
    let error = answers[0].1.as_ref().map_err(|refusal| refusal.error);
    assert_eq!(error, Err(MetaError::InvalidReplicationFactor));
}

#[test]
fn topics_are_deleted_by_name_or_by_id_and_the_answer_knows_both() {
    let mut controller = started();
    let one = create(&mut controller, plain("one")).expect("created").id;
    let two = create(&mut controller, plain("two")).expect("created").id;
    let by = |name: Option<&str>, id| TopicRef { name: name.map(str::to_owned), id };
    let stranger = Uuid([9; 16]);
    let topics = vec![
        by(Some("one"), Uuid::ZERO),
        by(None, two),
        by(Some("three"), Uuid::ZERO),
        by(None, stranger),
        by(None, Uuid::ZERO),
        by(Some("one"), one),
    ];
    let Answer::TopicsDeleted(answers) = run(&mut controller, Command::DeleteTopics { topics }).answer else {
        panic!("wrong answer")
    };
    assert_eq!((answers[0].id, answers[0].result.is_ok()), (one, true));
    assert_eq!((answers[1].name.as_deref(), answers[1].result.is_ok()), (Some("two"), true));
    let refusals: Vec<(MetaError, &str)> = answers[2..]
        .iter()
        .filter_map(|answer| answer.result.as_ref().err())
        .map(|refusal| (refusal.error, refusal.message.as_str()))
        .collect();
    let expected = [
        (MetaError::UnknownTopicOrPartition, "This server does not host this topic-partition."),
        (MetaError::UnknownTopicId, "This server does not host this topic ID."),
        (MetaError::InvalidRequest, "Neither topic name nor id were specified."),
        (MetaError::InvalidRequest, "You may not specify both topic name and topic id."),
    ];
    assert_eq!(refusals, expected);
    assert_eq!(controller.image().topic_count(), 0);
    let again = Command::CreateTopics { topics: vec![plain("one")], validate_only: false };
    controller.decide(&settings(&[]), again, &mut Prng::new(8));
    assert_ne!(controller.image().topic_named("one").expect("the name is free").id, one);
}

#[test]
fn a_topic_named_twice_in_a_deletion_and_any_deletion_when_switched_off_are_refused() {
    let mut controller = started();
    let id = create(&mut controller, plain("one")).expect("created").id;
    let topics = vec![TopicRef { name: Some("one".into()), id: Uuid::ZERO }, TopicRef { name: None, id }];
    let decision = run(&mut controller, Command::DeleteTopics { topics: topics.clone() });
    assert!(decision.records.is_empty());
    let off = settings(&[("delete.topic.enable", "false")]);
    let decision = controller.decide(&off, Command::DeleteTopics { topics }, &mut Prng::new(1));
    let Answer::TopicsDeleted(answers) = decision.answer else { panic!("wrong answer") };
    assert!(answers.iter().all(|a| a.result.as_ref().is_err_and(|r| r.error == MetaError::TopicDeletionDisabled)));
}

#[test]
fn partitions_are_added_and_never_taken_away() {
    let mut controller = started();
    create(&mut controller, topic("t", 3, 1)).expect("created");
    assert_eq!(grow(&mut controller, "t", 5, None), Ok(()));
    assert_eq!(grow(&mut controller, "t", 6, Some(&[&[0]])), Ok(()));
    let partitions = &controller.image().topic_named("t").expect("there").partitions;
    assert_eq!(partitions.keys().copied().collect::<Vec<_>>(), vec![0, 1, 2, 3, 4, 5]);
    type Lists = Option<&'static [&'static [i32]]>;
    let cases: [(&str, i32, Lists, MetaError, &str); 6] = [
        ("t", 6, None, MetaError::InvalidPartitions, "Topic already has 6 partition(s)."),
        (
            "t",
            2,
            None,
            MetaError::InvalidPartitions,
            "The topic t currently has 6 partition(s); 2 would not be an increase.",
        ),
        (
            "t",
            -1,
            None,
            MetaError::InvalidPartitions,
            "The topic t currently has 6 partition(s); -1 would not be an increase.",
        ),
        ("u", 2, None, MetaError::UnknownTopicOrPartition, "This server does not host this topic-partition."),
        (
            "t",
            8,
            Some(&[&[0]]),
            MetaError::InvalidReplicaAssignment,
            "Attempted to add 2 additional partition(s), but only 1 assignment(s) were specified.",
        ),
        (
            "t",
            7,
            Some(&[&[9]]),
            MetaError::InvalidReplicaAssignment,
            "The manual partition assignment includes broker 9, but no such broker is registered.",
        ),
    ];
    for (name, count, lists, error, message) in cases {
        let refusal = grow(&mut controller, name, count, lists).expect_err("refused");
        assert_eq!((refusal.error, refusal.message.as_str()), (error, message));
    }
}

#[test]
fn producer_ids_come_in_blocks_of_a_thousand_for_the_broker_that_is_registered_now() {
    let mut controller = started();
    let mut ask = |broker, broker_epoch| match run(
        &mut controller,
        Command::AllocateProducerIds { broker: NodeId(broker), broker_epoch },
    )
    .answer
    {
        Answer::ProducerIds(result) => result.map_err(|refusal| refusal.error),
        other => panic!("{other:?}"),
    };
    assert_eq!(ask(0, 3), Ok(ProducerIdBlock { first: 0, count: 1000 }));
    assert_eq!(ask(0, 3), Ok(ProducerIdBlock { first: 1000, count: 1000 }));
    assert_eq!(ask(0, 2), Err(MetaError::StaleBrokerEpoch));
    assert_eq!(ask(1, 3), Err(MetaError::BrokerIdNotRegistered));
}

#[test]
fn the_same_seed_decides_the_same() {
    let decide = || {
        let mut controller = started();
        create(&mut controller, topic("t", 5, 1)).expect("created");
        controller.image().topic_named("t").map(|topic| topic.id)
    };
    assert_eq!(decide(), decide());
}
