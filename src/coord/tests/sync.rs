//! SyncGroup, Heartbeat, LeaveGroup, sessions, DescribeGroups and ListGroups.

use super::*;

#[test]
fn followers_wait_for_the_leader_and_who_is_left_out_gets_nothing() {
    let mut world = World::new();
    let asks = [world.join_with_handshake(consumer_join()), world.join_with_handshake(consumer_join())];
    world.pass_ms(10_000);
    let [a, b] = asks.map(|ask| world.joined(ask));
    let (leader, follower) = if a.leader == a.member_id { (a, b) } else { (b, a) };
    let records = world.log.len();
    let parked = world.sync(&follower.member_id, 1, &[]);
    assert!(world.is_parked(parked));
    let first = world.sync(&leader.member_id, 1, &[(&leader.member_id, "all"), ("a stranger", "none")]);
    let answer = world.synced(first);
    assert_eq!((answer.error, &answer.assignment[..]), (None, &b"all"[..]));
    assert_eq!((answer.protocol_type.as_deref(), answer.protocol.as_deref()), (Some("consumer"), Some("range")));
    assert_eq!(world.synced(parked).assignment, "");
    assert_eq!(world.log.len(), records + 1, "one record for the whole generation");
    let again = world.sync(&leader.member_id, 1, &[]);
    assert_eq!(world.synced(again).assignment, "all", "a Stable group answers at once");
}

#[test]
fn a_sync_of_another_generation_member_or_protocol_is_refused() {
    let mut world = World::new();
    let (ids, generation) = world.stable_group(1);
    let mut sync = |request: SyncRequest| {
        let ask = world.ask(GroupRequest::Sync(request));
        world.synced(ask).error
    };
    let good = sync_request(&ids[0], generation, &[]);
    assert_eq!(sync(SyncRequest { generation: generation - 1, ..good.clone() }), Some(GroupError::IllegalGeneration));
    assert_eq!(sync(SyncRequest { member_id: "x".into(), ..good.clone() }), Some(GroupError::UnknownMemberId));
    let inconsistent = Some(GroupError::InconsistentGroupProtocol);
    assert_eq!(sync(SyncRequest { protocol: Some("sticky".into()), ..good.clone() }), inconsistent);
    assert_eq!(sync(SyncRequest { protocol_type: Some("connect".into()), ..good.clone() }), inconsistent);
    let named = SyncRequest { protocol: Some("range".into()), protocol_type: Some("consumer".into()), ..good.clone() };
    assert_eq!(sync(named), None);
    assert_eq!(sync(SyncRequest { group: "unknown".into(), ..good.clone() }), Some(GroupError::UnknownMemberId));
    let ask = world.join_with_handshake(consumer_join());
    let refused = world.sync(&ids[0], generation, &[]);
    assert_eq!(world.synced(refused).error, Some(GroupError::RebalanceInProgress));
    assert!(world.is_parked(ask));
}

#[test]
fn a_rebalance_sends_waiting_syncs_back_to_join() {
    let mut world = World::new();
    let asks = [world.join_with_handshake(consumer_join()), world.join_with_handshake(consumer_join())];
    world.pass_ms(10_000);
    let [a, b] = asks.map(|ask| world.joined(ask));
    let follower = if a.leader == a.member_id { b } else { a };
    let parked = world.sync(&follower.member_id, 1, &[]);
    world.join_with_handshake(consumer_join());
    assert_eq!(world.synced(parked).error, Some(GroupError::RebalanceInProgress));
}

#[test]
fn members_that_never_sync_are_removed_after_the_rebalance_timeout() {
    let mut world = World::new();
    let asks = [world.join_with_handshake(consumer_join()), world.join_with_handshake(consumer_join())];
    world.pass_ms(10_000);
    let [a, b] = asks.map(|ask| world.joined(ask));
    let (leader, follower) = if a.leader == a.member_id { (a, b) } else { (b, a) };
    let parked = world.sync(&follower.member_id, 1, &[]);
    // The leader heartbeats and never assigns.
    let sixty_s_since_the_generation = 60 - (10 - 6);
    for _ in 0..sixty_s_since_the_generation {
        assert_eq!(world.heartbeat(&leader.member_id, 1), None);
        assert!(world.is_parked(parked));
        world.pass_ms(1_000);
    }
    assert_eq!(world.synced(parked).error, Some(GroupError::RebalanceInProgress));
    assert_eq!(world.heartbeat(&leader.member_id, 1), Some(GroupError::UnknownMemberId));
    let ask = world.join(rejoin(&follower.member_id));
    assert_eq!(world.joined(ask).leader, follower.member_id);
}

#[test]
fn a_silent_member_is_removed_when_its_session_ends_and_commits_count_as_life() {
    let mut world = World::new();
    let (ids, generation) = world.stable_group(2);
    for second in 0..20 {
        assert_eq!(world.commit(&ids[0], generation, 0, second), None, "at second {second}");
        world.pass_ms(1_000);
        if world.state() == GroupState::PreparingRebalance {
            assert_eq!(second, 9);
            break;
        }
    }
    assert_eq!(world.heartbeat(&ids[1], generation), Some(GroupError::UnknownMemberId));
    let ask = world.join(rejoin(&ids[0]));
    assert_eq!(world.joined(ask).members.len(), 1);
}

#[test]
fn the_last_silent_member_leaves_an_empty_group_and_a_record_of_it() {
    let mut world = World::new();
    let (_, generation) = world.stable_group(1);
    world.pass_ms(10_000);
    assert_eq!(world.state(), GroupState::Empty);
    let group = &world.coordinator.group("g").unwrap().classic;
    assert_eq!((group.generation, group.protocol.clone(), group.leader.clone()), (generation + 1, None, None));
    assert_eq!(world.log.len(), 2);
}

#[test]
fn heartbeats_tell_members_where_they_stand() {
    let mut world = World::new();
    let (ids, generation) = world.stable_group(1);
    assert_eq!(world.heartbeat(&ids[0], generation), None);
    assert_eq!(world.heartbeat(&ids[0], generation + 1), Some(GroupError::IllegalGeneration));
    assert_eq!(world.heartbeat("x", generation), Some(GroupError::UnknownMemberId));
    let elsewhere = HeartbeatRequest { group: "unknown".into(), ..heartbeat_request() };
    let unknown = GroupAnswer::Heartbeat(Some(GroupError::UnknownMemberId));
    assert_eq!(world.call(GroupRequest::Heartbeat(elsewhere)), unknown);
    let nameless = HeartbeatRequest { group: String::new(), ..heartbeat_request() };
    let invalid = GroupAnswer::Heartbeat(Some(GroupError::InvalidGroupId));
    assert_eq!(world.call(GroupRequest::Heartbeat(nameless)), invalid);
    let ask = world.join(rejoin(&ids[0]));
    let next = world.joined(ask).generation;
    assert_eq!(world.heartbeat(&ids[0], next), None, "before the sync a heartbeat is fine");
}

#[test]
fn members_leave_together_and_each_gets_its_own_result() {
    let mut world = World::new();
    let (ids, _) = world.stable_group(3);
    let results = world.leave(&[(&ids[1], None), ("x", None), (&ids[2], None)]);
    assert_eq!(results, [None, Some(GroupError::UnknownMemberId), None]);
    assert_eq!(world.state(), GroupState::PreparingRebalance);
    let ask = world.join(rejoin(&ids[0]));
    assert_eq!(world.joined(ask).members.len(), 1);
    assert_eq!(world.leave(&[(&ids[0], None)]), [None]);
    assert_eq!(world.state(), GroupState::Empty);
    let answer = world.call(GroupRequest::Leave(LeaveRequest {
        group: "unknown".into(),
        members: vec![LeavingMember { member_id: "x".into(), ..LeavingMember::default() }],
    }));
    let GroupAnswer::Leave(answer) = answer else { panic!() };
    assert_eq!((answer.error, answer.members[0].error), (None, Some(GroupError::UnknownMemberId)));
}

#[test]
fn leaving_ends_the_wait_of_the_one_who_leaves_and_of_those_who_waited_for_it() {
    let mut world = World::new();
    let (ids, _) = world.stable_group(2);
    let leader = world.join(rejoin(&ids[0]));
    assert!(world.is_parked(leader));
    assert_eq!(world.leave(&[(&ids[1], None)]), [None]);
    assert_eq!(world.joined(leader).members.len(), 1);
    let third = world.join_with_handshake(consumer_join());
    let id = world.describe().members.iter().find(|m| m.member_id != ids[0]).unwrap().member_id.clone();
    assert_eq!(world.leave(&[(&id, None)]), [None]);
    assert_eq!(world.joined(third).error, Some(GroupError::UnknownMemberId));
}

#[test]
fn giving_back_an_unused_id_does_not_disturb_a_stable_group() {
    let mut world = World::new();
    world.stable_group(1);
    let ask = world.join(consumer_join());
    let id = world.joined(ask).member_id;
    assert_eq!(world.leave(&[(&id, None)]), [None]);
    assert_eq!(world.state(), GroupState::Stable);
}

#[test]
fn describe_shows_metadata_of_stable_groups_only_and_unknown_groups_as_dead() {
    let mut world = World::new();
    let (ids, _) = world.stable_group(1);
    let answer = world.describe();
    assert_eq!((answer.protocol_type.as_str(), answer.protocol.as_str()), ("consumer", "range"));
    let member = &answer.members[0];
    assert_eq!((member.client_id.as_str(), member.client_host.as_str()), ("cli", "/127.0.0.1"));
    assert_eq!(
        (&member.metadata, &member.assignment[..]),
        (&subscription(&["t"]), format!("for {}", ids[0]).as_bytes())
    );
    world.join_with_handshake(consumer_join());
    let answer = world.describe();
    assert!(answer.protocol.is_empty() && answer.members.iter().all(|m| m.metadata.is_empty()));
    assert_eq!(answer.protocol_type, "consumer");
    let GroupAnswer::Describe(answer) = world.call(GroupRequest::Describe { group: "unknown".into() }) else {
        panic!()
    };
    assert_eq!((answer.state, answer.error), (GroupState::Dead, Some(GroupError::GroupIdNotFound)));
}

#[test]
fn list_filters_by_state_and_type_without_case() {
    let mut world = World::new();
    world.stable_group(1);
    let mut simple = commit_request("", -1, "t", 0, 1);
    simple.group = "simple".into();
    assert_eq!(world.commit_to(simple), None);
    let mut names = |states: &[&str], types: &[&str]| {
        let owned = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
        let request = ListRequest { states: owned(states), types: owned(types) };
        let GroupAnswer::List(answer) = world.call(GroupRequest::List(request)) else { panic!() };
        answer.groups.into_iter().map(|group| group.group).collect::<Vec<_>>()
    };
    assert_eq!(names(&[], &[]), ["g", "simple"]);
    assert_eq!(names(&["stable"], &[]), ["g"]);
    assert_eq!(names(&["EMPTY", "Dead"], &["Classic"]), ["simple"]);
    assert!(names(&[], &["consumer"]).is_empty());
}
