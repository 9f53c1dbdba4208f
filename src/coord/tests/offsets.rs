//! Committed offsets: who may commit, what is read back, deletion and expiry.

use super::*;

const DAY_MS: u64 = 86_400_000;

#[test]
fn commits_of_members_need_the_current_generation() {
    let mut world = World::new();
    let (ids, generation) = world.stable_group(1);
    assert_eq!(world.commit(&ids[0], generation, 0, 5), None);
    assert_eq!(world.commit(&ids[0], generation - 1, 0, 6), Some(GroupError::IllegalGeneration));
    assert_eq!(world.commit("x", generation, 0, 6), Some(GroupError::UnknownMemberId));
    assert_eq!(world.commit("", -1, 0, 6), Some(GroupError::UnknownMemberId), "a group with members");
    assert_eq!(world.fetch_all("g"), [("t".to_owned(), 0, 5)]);
    // While a rebalance is prepared the old generation may still commit, before the sync nobody may.
    let extra = world.join_with_handshake(consumer_join());
    assert_eq!(world.commit(&ids[0], generation, 0, 7), None);
    let ask = world.join(rejoin(&ids[0]));
    let next = world.joined(ask).generation;
    assert_eq!(world.commit(&ids[0], next, 0, 8), Some(GroupError::RebalanceInProgress));
    assert_eq!(world.joined(extra).generation, next);
    assert_eq!(world.fetch_all("g"), [("t".to_owned(), 0, 7)]);
}

#[test]
fn simple_consumers_commit_to_empty_and_unknown_groups() {
    let mut world = World::new();
    assert_eq!(world.commit("", -1, 0, 5), None);
    assert_eq!(world.commit("x", 3, 0, 6), Some(GroupError::UnknownMemberId), "the group has no members");
    let mut elsewhere = commit_request("x", 3, "t", 0, 6);
    elsewhere.group = "unknown".into();
    assert_eq!(world.commit_to(elsewhere.clone()), Some(GroupError::IllegalGeneration));
    elsewhere.group_id_not_found_known = true;
    assert_eq!(world.commit_to(elsewhere), Some(GroupError::GroupIdNotFound));
    assert!(world.coordinator.group("unknown").is_none());
    let mut nameless = commit_request("", -1, "t", 0, 6);
    nameless.group = String::new();
    assert_eq!(world.commit_to(nameless), None, "Kafka allows the empty group id for offsets");
    assert_eq!(world.fetch_all(""), [("t".to_owned(), 0, 6)]);
}

#[test]
fn a_fetch_returns_epoch_and_metadata_and_minus_one_for_what_is_unknown() {
    let mut world = World::new();
    let mut request = commit_request("", -1, "t", 1, 42);
    request.topics[0].topic_id = Uuid([9; 16]);
    request.topics[0].partitions[0].metadata = Some("note".into());
    assert_eq!(world.commit_to(request), None);
    let topic = |name: &str| FetchTopic { name: name.into(), topic_id: Uuid([9; 16]), partitions: vec![0, 1] };
    for group in ["g", "unknown"] {
        let request = fetch_request(group, Some(vec![topic("t"), topic("u")]));
        let GroupAnswer::OffsetFetch(answer) = world.call(GroupRequest::OffsetFetch(request)) else { panic!() };
        assert_eq!((answer.error, answer.topics.len(), answer.topics[0].topic_id), (None, 2, Uuid([9; 16])));
        let none =
            |partition| FetchedOffset { partition, offset: -1, leader_epoch: -1, metadata: String::new(), error: None };
        let known = FetchedOffset { offset: 42, leader_epoch: 3, metadata: "note".into(), ..none(1) };
        assert_eq!(answer.topics[0].partitions, [none(0), if group == "g" { known } else { none(1) }]);
        assert_eq!(answer.topics[1].partitions, [none(0), none(1)]);
    }
}

#[test]
fn metadata_is_limited_in_utf_16_units_partition_by_partition() {
    let mut world = World::new();
    let mut request = commit_request("", -1, "t", 0, 1);
    let long = CommitPartition { partition: 1, offset: 1, leader_epoch: -1, metadata: Some("é".repeat(4097)) };
    let fits = CommitPartition { partition: 2, metadata: Some("é".repeat(4096)), ..long.clone() };
    request.topics[0].partitions.extend([long, fits]);
    let GroupAnswer::OffsetCommit(answer) = world.call(GroupRequest::OffsetCommit(request)) else { panic!() };
    let results: Vec<_> = answer.topics[0].partitions.clone();
    assert_eq!(results, [(0, None), (1, Some(GroupError::OffsetMetadataTooLarge)), (2, None)]);
    assert_eq!(world.fetch_all("g").len(), 2);
}

#[test]
fn deleting_a_group_takes_its_offsets_and_needs_it_to_be_empty() {
    let mut world = World::new();
    let (ids, generation) = world.stable_group(1);
    world.commit(&ids[0], generation, 0, 5);
    let delete = || GroupRequest::DeleteGroup { group: "g".into() };
    assert_eq!(world.call(delete()), GroupAnswer::DeleteGroup(Some(GroupError::NonEmptyGroup)));
    world.leave(&[(&ids[0], None)]);
    assert_eq!(world.call(delete()), GroupAnswer::DeleteGroup(None));
    assert!(world.log.iter().rev().take(2).all(|record| record.value.is_none()), "two tombstones");
    assert_eq!(world.call(delete()), GroupAnswer::DeleteGroup(Some(GroupError::GroupIdNotFound)));
    assert!(world.fetch_all("g").is_empty());
    assert_eq!(world.coordinator.offset_count(), 0);
}

#[test]
fn a_group_too_large_for_one_batch_is_deleted_in_steps_and_is_dead_meanwhile() {
    let mut world = World::new();
    for partition in 0..2_500 {
        assert_eq!(world.coordinator_commit(partition), None);
    }
    let ask = world.ask(GroupRequest::DeleteGroup { group: "g".into() });
    assert!(world.is_parked(ask));
    assert_eq!(world.coordinator.next_wake(), Some(Mono::default()), "work is at hand");
    assert_eq!(world.state(), GroupState::Dead);
    assert_eq!(world.commit("", -1, 0, 1), Some(GroupError::CoordinatorNotAvailable));
    let join = world.join(consumer_join());
    assert_eq!(world.joined(join).error, Some(GroupError::CoordinatorNotAvailable));
    assert!(world.fetch_all("g").is_empty(), "its offsets are gone for readers");
    world.pass_ms(0);
    assert_eq!(world.answers.remove(&ask), Some(GroupAnswer::DeleteGroup(None)));
    assert_eq!(world.coordinator.offset_count(), 0);
    assert_eq!(world.log.iter().filter(|record| record.value.is_none()).count(), 2_500);
}

impl World {
    /// A commit without the (quadratic) checks after it.
    fn coordinator_commit(&mut self, partition: i32) -> Option<GroupError> {
        self.last_ask += 1;
        let request = GroupRequest::OffsetCommit(commit_request("", -1, "t", partition, 1));
        let mut outcome = self.coordinator.ask(self.now, AskId(self.last_ask), request);
        self.log.append(&mut outcome.records);
        match outcome.answers.remove(0).1 {
            GroupAnswer::OffsetCommit(answer) => answer.topics[0].partitions[0].1,
            other => panic!("a commit answer expected, not {other:?}"),
        }
    }
}

#[test]
fn offsets_of_subscribed_topics_cannot_be_deleted_and_others_can() {
    let mut world = World::new();
    let (ids, generation) = world.stable_group(1);
    world.commit(&ids[0], generation, 0, 5);
    world.commit_to(commit_request(&ids[0], generation, "unread", 0, 5));
    let request =
        OffsetDeleteRequest { group: "g".into(), topics: vec![("t".into(), vec![0]), ("unread".into(), vec![0, 1])] };
    let GroupAnswer::OffsetDelete(answer) = world.call(GroupRequest::OffsetDelete(request.clone())) else { panic!() };
    assert_eq!(answer.error, None);
    assert_eq!(answer.topics[0].partitions, [(0, Some(GroupError::GroupSubscribedToTopic))]);
    assert_eq!(answer.topics[1].partitions, [(0, None), (1, None)]);
    assert_eq!(world.fetch_all("g"), [("t".to_owned(), 0, 5)]);
    world.leave(&[(&ids[0], None)]);
    let GroupAnswer::OffsetDelete(answer) = world.call(GroupRequest::OffsetDelete(request)) else { panic!() };
    assert_eq!(answer.topics[0].partitions, [(0, None)], "nobody reads it any more");
    let request = OffsetDeleteRequest { group: "unknown".into(), topics: Vec::new() };
    let GroupAnswer::OffsetDelete(answer) = world.call(GroupRequest::OffsetDelete(request)) else { panic!() };
    assert_eq!(answer.error, Some(GroupError::GroupIdNotFound));
}

#[test]
fn offsets_of_a_group_that_is_no_consumer_group_are_deleted_only_when_it_is_empty() {
    let mut world = World::new();
    let ask = world.join_with_handshake(JoinRequest { protocol_type: "connect".into(), ..consumer_join() });
    world.pass_ms(3_000);
    let id = world.joined(ask).member_id;
    world.sync_all(&[id], 1);
    let request = OffsetDeleteRequest { group: "g".into(), topics: vec![("t".into(), vec![0])] };
    let GroupAnswer::OffsetDelete(answer) = world.call(GroupRequest::OffsetDelete(request)) else { panic!() };
    assert_eq!((answer.error, answer.topics.len()), (Some(GroupError::NonEmptyGroup), 0));
}

#[test]
fn offsets_live_seven_days_after_the_last_member_left_not_after_the_commit() {
    let mut world = World::new();
    let (ids, generation) = world.stable_group(1);
    world.commit(&ids[0], generation, 0, 5);
    for _ in 0..300 {
        world.pass_ms(8_000);
        assert_eq!(world.heartbeat(&ids[0], generation), None);
    }
    world.leave(&[(&ids[0], None)]);
    world.pass_ms(7 * DAY_MS - 1);
    assert_eq!(world.fetch_all("g").len(), 1);
    world.pass_ms(600_001);
    assert!(world.fetch_all("g").is_empty());
    assert!(world.coordinator.group("g").is_none(), "the group goes with its last offset");
    assert_eq!(world.log.iter().rev().take(2).filter(|r| r.value.is_none()).count(), 2);
}

#[test]
fn members_keep_the_offsets_of_what_they_read_and_only_those() {
    let mut world = World::new();
    let join = JoinRequest { session_timeout_ms: 1_800_000, ..consumer_join() };
    let ask = world.join_with_handshake(join);
    world.pass_ms(3_000);
    let id = world.joined(ask).member_id;
    world.sync_all(std::slice::from_ref(&id), 1);
    world.commit(&id, 1, 0, 5);
    world.commit_to(commit_request(&id, 1, "unread", 0, 5));
    for _ in 0..(8 * 24 * 3) {
        world.pass_ms(1_200_000);
        assert_eq!(world.heartbeat(&id, 1), None);
    }
    assert_eq!(world.fetch_all("g"), [("t".to_owned(), 0, 5)]);
}

#[test]
fn simple_offsets_expire_after_their_commit_or_when_the_client_said_so() {
    let mut world = World::new();
    world.commit("", -1, 0, 5);
    let mut short = commit_request("", -1, "t", 1, 5);
    short.retention_ms = 3_600_000;
    world.commit_to(short);
    world.pass_ms(2 * 3_600_000);
    assert_eq!(world.fetch_all("g"), [("t".to_owned(), 0, 5)]);
    world.pass_ms(6 * DAY_MS);
    world.commit("", -1, 2, 5);
    world.pass_ms(DAY_MS);
    assert_eq!(world.fetch_all("g"), [("t".to_owned(), 2, 5)]);
    world.pass_ms(7 * DAY_MS);
    assert_eq!(world.coordinator.groups().count(), 0);
}

#[test]
fn an_empty_group_without_offsets_is_forgotten_at_the_next_check() {
    let mut world = World::new();
    let (ids, _) = world.stable_group(1);
    world.leave(&[(&ids[0], None)]);
    assert_eq!(world.state(), GroupState::Empty);
    world.pass_ms(600_000);
    assert!(world.coordinator.group("g").is_none());
    assert_eq!(world.log.last().unwrap().value, None);
}

#[test]
fn the_offsets_of_a_deleted_topic_go_but_not_those_of_its_successor() {
    let mut world = World::new();
    let old = Uuid([1; 16]);
    for (topic, partition) in [("t", 0), ("t", 1), ("u", 0)] {
        let mut request = commit_request("", -1, topic, partition, 5);
        request.topics[0].topic_id = if topic == "t" { old } else { Uuid([2; 16]) };
        world.commit_to(request);
    }
    for partition in 2..2_100 {
        world.coordinator_commit(partition);
    }
    world.coordinator.topic_deleted("t", old);
    assert_eq!(world.fetch_all("g"), [("u".to_owned(), 0, 5)], "gone at once, whenever the tombstones come");
    assert!(world.coordinator.next_wake().is_some_and(|at| at <= world.now.mono), "the job is due");
    let outcome = world.coordinator.wake(world.now);
    assert!(outcome.records.len() <= limits_of::RECORDS_PER_STEP_MAX);
    world.take(outcome);
    // A topic of the same name comes at once, before the first job is done.
    let mut request = commit_request("", -1, "t", 2_099, 77);
    request.topics[0].topic_id = Uuid::ZERO;
    world.commit_to(request);
    world.pass_ms(0);
    assert_eq!(world.fetch_all("g"), [("t".to_owned(), 2_099, 77), ("u".to_owned(), 0, 5)]);
}

/// A topic is made anew under its name while the tombstones of the old one are not written: its offsets must not become
/// those of its namesake.
#[test]
fn what_was_committed_to_a_topic_that_is_gone_is_not_its_namesakes() {
    let mut world = World::new();
    let (old, new) = (Uuid([8; 16]), Uuid([9; 16]));
    let commit = |world: &mut World, partition: i32, topic_id: Uuid| {
        let mut request = commit_request("", -1, "t", partition, 40 + i64::from(partition));
        request.topics[0].topic_id = topic_id;
        assert_eq!(world.commit_to(request), None);
    };
    commit(&mut world, 0, old);
    commit(&mut world, 1, new);
    commit(&mut world, 2, Uuid::ZERO);
    let fetched = |world: &mut World, topic_id: Uuid| {
        let topic = FetchTopic { name: "t".into(), topic_id, partitions: vec![0, 1, 2] };
        let request = GroupRequest::OffsetFetch(fetch_request("g", Some(vec![topic])));
        let GroupAnswer::OffsetFetch(answer) = world.call(request) else { panic!() };
        answer.topics[0].partitions.iter().map(|partition| partition.offset).collect::<Vec<_>>()
    };
    assert_eq!(fetched(&mut world, new), [-1, 41, 42]);
    assert_eq!(fetched(&mut world, old), [40, -1, 42]);
    assert_eq!(fetched(&mut world, Uuid::ZERO), [40, 41, 42]);
    let all = GroupRequest::OffsetFetch(fetch_request("g", None));
    let GroupAnswer::OffsetFetch(answer) = world.call(all) else { panic!() };
    let ids: Vec<_> = answer.topics.iter().map(|topic| (topic.topic_id, topic.partitions.len())).collect();
    assert_eq!(ids, [(Uuid::ZERO, 1), (old, 1), (new, 1)]);
}

/// The deletion of a topic came when the coordinator was not loaded: what it missed goes after the load, in the log
/// too.
#[test]
fn offsets_of_topics_that_are_not_there_go_after_the_load() {
    let mut world = World::new();
    for (partition, topic, id) in [(0, "t", 8), (1, "t", 9), (2, "t", 0), (0, "gone", 0)] {
        let mut request = commit_request("", -1, topic, partition, 7);
        request.topics[0].topic_id = Uuid([id; 16]);
        assert_eq!(world.commit_to(request), None);
    }
    world.coordinator.forget_absent_topics(|name, id| match id {
        Uuid::ZERO => name == "t",
        id => id == Uuid([9; 16]),
    });
    world.pass_ms(1);
    // By id: the zero one comes first.
    assert_eq!(world.fetch_all("g"), [("t".to_owned(), 2, 7), ("t".to_owned(), 1, 7)]);
    assert_eq!(world.log.iter().filter(|record| record.value.is_none()).count(), 2);
}
