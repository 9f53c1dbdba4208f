//! What the image does with each kind of record.

use super::super::record::{
    BrokerEpochRecord, BrokerRegistrationChangeRecord, PartitionChangeRecord, PartitionRecord, ProducerIdsRecord,
    RegisterBrokerRecord, TopicRecord,
};
use super::*;
use crate::base::ids::Uuid;

const T: TopicId = Uuid([1; 16]);

fn topic(name: &str, id: TopicId) -> Record {
    Record::Topic(TopicRecord { name: name.into(), id })
}

fn partition(id: TopicId, partition: i32, replicas: &[i32]) -> Record {
    Record::Partition(PartitionRecord {
        version: 2,
        partition,
        topic: id,
        replicas: replicas.to_vec(),
        isr: replicas.to_vec(),
        removing: vec![],
        adding: vec![],
        leader: replicas[0],
        recovery_state: 0,
        leader_epoch: 0,
        partition_epoch: 0,
        directories: vec![Uuid([9; 16]); replicas.len()],
        elr: None,
        last_known_elr: None,
    })
}

fn config(kind: ResourceKind, resource: &str, key: &str, value: Option<&str>) -> Record {
    Record::Config(ConfigRecord {
        resource_type: kind.code(),
        resource_name: resource.into(),
        name: key.into(),
        value: value.map(str::to_owned),
    })
}

fn broker(id: i32, epoch: i64) -> Record {
    Record::RegisterBroker(RegisterBrokerRecord {
        version: 3,
        broker: id,
        is_migrating_zk_broker: false,
        incarnation: Uuid([3; 16]),
        epoch,
        endpoints: vec![],
        features: vec![],
        rack: None,
        fenced: true,
        in_controlled_shutdown: false,
        log_dirs: vec![],
        cordoned_log_dirs: None,
    })
}

fn image(records: &[Record]) -> Image {
    let mut image = Image::new();
    for record in records {
        image.apply(record).expect("fits");
    }
    image
}

#[test]
fn a_topic_with_its_partitions_is_found_by_id_and_by_name() {
    let mut image = image(&[topic("a", T), partition(T, 0, &[1, 2])]);
    let changes = image.apply(&partition(T, 1, &[2, 1])).expect("fits");
    assert!(matches!(&changes[..], [Change::PartitionAdded { name, partition: 1, .. }] if &**name == "a"));
    let found = image.topic_named("a").expect("by name");
    assert_eq!((found.id, found.partition_count(), found.replication_factor()), (T, 2, 2));
    assert_eq!(image.partition(&T, 1).and_then(PartitionImage::leader), Some(NodeId(2)));
    assert_eq!(image.partition(&T, 1).and_then(|p| p.directory_of(NodeId(1))), Some(Uuid([9; 16])));
    assert_eq!((image.partition_count(), image.topic_count()), (2, 1));
}

#[test]
fn the_leader_epoch_grows_only_when_a_change_names_a_leader_and_the_partition_epoch_always() {
    let mut image = image(&[topic("a", T), partition(T, 0, &[1, 2])]);
    let isr = PartitionChangeRecord { isr: Some(vec![1]), ..PartitionChangeRecord::unchanged(T, 0) };
    let changes = image.apply(&Record::PartitionChange(isr)).expect("fits");
    let [Change::PartitionChanged { state, .. }] = &changes[..] else { panic!("{changes:?}") };
    assert_eq!((state.leader_epoch, state.partition_epoch, &*state.isr), (0, 1, &[1][..]));
    let same_leader = PartitionChangeRecord { leader: 1, ..PartitionChangeRecord::unchanged(T, 0) };
    image.apply(&Record::PartitionChange(same_leader)).expect("fits");
    let none = PartitionChangeRecord { leader: -1, ..PartitionChangeRecord::unchanged(T, 0) };
    image.apply(&Record::PartitionChange(none)).expect("fits");
    let state = image.partition(&T, 0).expect("there");
    assert_eq!((state.leader(), state.leader_epoch, state.partition_epoch), (None, 2, 3));
}

#[test]
fn removing_a_topic_removes_its_configs_and_frees_its_name() {
    let mut image =
        image(&[topic("a", T), partition(T, 0, &[1]), config(ResourceKind::Topic, "a", "retention.ms", Some("1"))]);
    let changes = image.apply(&Record::RemoveTopic { id: T }).expect("fits");
    assert_eq!(changes, vec![Change::TopicRemoved { topic: T, name: "a".into(), partitions: vec![0] }]);
    assert!(image.topic_named("a").is_none() && image.topic(&T).is_none());
    assert!(image.topic_config("a").is_empty());
    assert_eq!(image.partition_count(), 0);
    image.apply(&topic("a", Uuid([2; 16]))).expect("the name is free");
}

#[test]
fn a_config_is_set_replaced_and_deleted_by_a_null_value() {
    let mut image = image(&[config(ResourceKind::Topic, "a", "k", Some("1"))]);
    image.apply(&config(ResourceKind::Topic, "a", "k", Some("2"))).expect("fits");
    assert_eq!(image.topic_config("a").get("k").map(|v| &**v), Some("2"));
    let changes = image.apply(&config(ResourceKind::Topic, "a", "k", None)).expect("fits");
    assert_eq!(changes, vec![Change::TopicConfigChanged { name: "a".into(), key: "k".into() }]);
    assert_eq!(image.configured(ResourceKind::Topic).count(), 0);
    let changes = image.apply(&config(ResourceKind::Broker, "", "k", Some("2"))).expect("fits");
    assert_eq!(changes, vec![Change::BrokerConfigChanged { broker: None, key: "k".into() }]);
    assert_eq!(image.broker_default_config().len(), 1);
    image.apply(&config(ResourceKind::Broker, "3", "k", Some("2"))).expect("fits");
    assert_eq!(image.broker_config(NodeId(3)).len(), 1);
}

#[test]
fn records_of_a_transaction_show_when_it_ends_and_never_when_it_aborts() {
    let mut image = image(&[Record::BeginTransaction { name: None }, topic("a", T), partition(T, 0, &[1])]);
    assert!(image.in_transaction() && image.topic_named("a").is_none());
    assert_eq!(image.apply(&Record::EndTransaction).expect("fits").len(), 2);
    assert!(image.topic_named("a").is_some());
    image.apply(&Record::BeginTransaction { name: None }).expect("fits");
    image.apply(&Record::RemoveTopic { id: T }).expect("held back");
    image.apply(&Record::AbortTransaction { reason: None }).expect("fits");
    assert!(image.topic_named("a").is_some() && !image.in_transaction());
    assert_eq!(image.apply(&Record::EndTransaction), Err(ApplyError::TransactionOrder));
}

#[test]
fn a_broker_is_fenced_and_unfenced_in_its_own_epoch_only() {
    let mut image = image(&[broker(1, 5)]);
    assert_eq!(image.alive_brokers().count(), 0, "registered fenced");
    let change = BrokerRegistrationChangeRecord {
        version: 0,
        broker: 1,
        epoch: 5,
        fenced: -1,
        in_controlled_shutdown: 0,
        log_dirs: vec![],
        cordoned_log_dirs: None,
    };
    image.apply(&Record::BrokerRegistrationChange(change)).expect("fits");
    assert!(image.broker(NodeId(1)).is_some_and(BrokerImage::active));
    assert_eq!(
        image.apply(&Record::FenceBroker(BrokerEpochRecord { broker: 1, epoch: 4 })),
        Err(ApplyError::StaleBrokerEpoch { broker: 1, record: 4, image: 5 })
    );
    image.apply(&Record::FenceBroker(BrokerEpochRecord { broker: 1, epoch: 5 })).expect("fits");
    assert_eq!(image.alive_brokers().count(), 0);
    assert_eq!(image.apply(&broker(1, 4)), Err(ApplyError::StaleBrokerEpoch { broker: 1, record: 4, image: 5 }));
    image.apply(&Record::UnregisterBroker(BrokerEpochRecord { broker: 1, epoch: 5 })).expect("fits");
    assert_eq!(image.brokers().count(), 0);
}

#[test]
fn records_that_contradict_the_picture_are_refused() {
    let mut image = image(&[topic("a", T)]);
    assert_eq!(image.apply(&topic("a", Uuid([2; 16]))), Err(ApplyError::TopicExists { name: "a".into() }));
    assert_eq!(image.apply(&topic("b", T)), Err(ApplyError::TopicIdExists(T)));
    let stranger = Uuid([8; 16]);
    assert_eq!(image.apply(&partition(stranger, 0, &[1])), Err(ApplyError::UnknownTopic(stranger)));
    let change = Record::PartitionChange(PartitionChangeRecord::unchanged(T, 4));
    assert_eq!(image.apply(&change), Err(ApplyError::UnknownPartition { topic: T, partition: 4 }));
    let odd = ConfigRecord { resource_type: 3, resource_name: "x".into(), name: "k".into(), value: None };
    assert_eq!(image.apply(&Record::Config(odd)), Err(ApplyError::UnknownResourceType(3)));
}

#[test]
fn features_and_producer_ids_follow_the_last_record() {
    let feature = |level| Record::FeatureLevel(FeatureLevelRecord { name: "metadata.version".into(), level });
    let mut image = image(&[feature(29)]);
    assert_eq!(image.feature("metadata.version"), 29);
    image.apply(&feature(0)).expect("fits");
    assert_eq!((image.feature("metadata.version"), image.features().count()), (0, 0));
    let ids = ProducerIdsRecord { broker: 0, broker_epoch: 1, next_producer_id: 1000 };
    assert_eq!(image.apply(&Record::ProducerIds(ids)), Ok(vec![Change::ProducerIdsAllocated { next: 1000 }]));
    assert_eq!(image.next_producer_id(), 1000);
}

#[test]
fn clearing_the_eligible_leader_replicas_moves_no_epoch() {
    let mut image = image(&[topic("a", T), partition(T, 0, &[1, 2])]);
    let change = PartitionChangeRecord { elr: Some(vec![2]), ..PartitionChangeRecord::unchanged(T, 0) };
    image.apply(&Record::PartitionChange(change)).expect("fits");
    let changes = image.apply(&Record::ClearElr { topic: String::new() }).expect("fits");
    let [Change::PartitionChanged { state, .. }] = &changes[..] else { panic!("{changes:?}") };
    assert!(state.elr.is_empty());
    assert_eq!((state.leader_epoch, state.partition_epoch), (0, 1));
}
