//! Loading, and the end of a coordinator.

use super::*;

#[test]
fn before_the_load_ends_every_request_is_sent_away() {
    let mut coordinator = Coordinator::new(GroupSettings::default(), 1);
    let loading = GroupError::CoordinatorLoadInProgress;
    let outcome = coordinator.ask(Now::default(), AskId(1), GroupRequest::Join(consumer_join()));
    assert_eq!(outcome.answers, [(AskId(1), GroupAnswer::Join(JoinAnswer::refused(loading, "")))]);
    let outcome = coordinator.ask(Now::default(), AskId(2), GroupRequest::OffsetFetch(fetch_request("g", None)));
    let GroupAnswer::OffsetFetch(answer) = &outcome.answers[0].1 else { panic!() };
    assert_eq!(answer.error, Some(loading));
    assert_eq!(coordinator.next_wake(), None);
}

#[test]
fn members_survive_a_failover_with_a_fresh_session() {
    let mut world = World::new();
    let (ids, generation) = world.stable_group(2);
    world.commit(&ids[1], generation, 0, 5);
    world.pass_ms(9_000);
    world.fail_over();
    assert_eq!(world.state(), GroupState::Stable);
    world.pass_ms(9_000);
    assert_eq!(world.heartbeat(&ids[1], generation), None);
    let sync = world.sync(&ids[1], generation, &[]);
    assert_eq!(world.synced(sync).assignment, format!("for {}", ids[1]));
    world.pass_ms(1_000);
    assert_eq!(world.heartbeat(&ids[0], generation), Some(GroupError::UnknownMemberId), "it was silent for 10 s");
    assert_eq!(world.fetch_all("g"), [("t".to_owned(), 0, 5)]);
}

#[test]
fn parked_requests_are_told_that_the_coordinator_moved() {
    let mut world = World::new();
    let (ids, _) = world.stable_group(2);
    let join = world.join(rejoin(&ids[0]));
    assert_eq!(world.coordinator.parked_count(), 1);
    world.fail_over();
    assert_eq!(world.joined(join).error, Some(GroupError::NotCoordinator));
    assert_eq!(world.coordinator.parked_count(), 0);
    // The generation that was never completed is forgotten; the members carry on in the last one.
    assert_eq!(world.state(), GroupState::Stable);
}

#[test]
fn a_loaded_group_above_the_limit_rebalances_and_the_last_ones_are_turned_away() {
    let mut world = World::new();
    let (ids, generation) = world.stable_group(3);
    world.settings.group_max_size = 2;
    world.fail_over();
    assert_eq!(world.state(), GroupState::PreparingRebalance);
    let asks: Vec<AskId> = ids.iter().map(|id| world.join(rejoin(id))).collect();
    let refused = world.joined(asks[2]);
    assert_eq!(refused.error, Some(GroupError::GroupMaxSizeReached));
    let answer = world.joined(asks[0]);
    assert_eq!((answer.generation, answer.members.len()), (generation + 1, 2));
}

#[test]
fn tombstones_end_groups_and_offsets_while_loading() {
    let mut world = World::new();
    let (ids, generation) = world.stable_group(1);
    world.commit(&ids[0], generation, 0, 5);
    world.leave(&[(&ids[0], None)]);
    world.call(GroupRequest::DeleteGroup { group: "g".into() });
    world.fail_over();
    assert_eq!(world.coordinator.groups().count(), 0);
    assert_eq!(world.coordinator.offset_count(), 0);
}

#[test]
fn damaged_records_are_named_and_not_fatal_for_the_machine() {
    let mut coordinator = Coordinator::new(GroupSettings::default(), 1);
    let now = Now::default();
    assert_eq!(coordinator.replay(&[0], None, now), Err(ReplayError::KeyMalformed));
    let key = records::group_key("g");
    assert_eq!(coordinator.replay(&key, Some(&[0]), now), Err(ReplayError::ValueMalformed));
    let unknown = ReplayError::ValueVersionUnknown { key_type: 2, version: 9 };
    assert_eq!(coordinator.replay(&key, Some(&[0, 9]), now), Err(unknown));
    assert_eq!(unknown.to_string(), "coordinator record type 2 with unknown value version 9");
    assert_eq!(coordinator.replay(&[0x7f, 0xff], Some(&[1]), now), Ok(()), "an unknown key type");
}
