//! JoinGroup: the handshake, the rounds, the choice of protocol and leader.

use super::*;

#[test]
fn a_new_dynamic_member_is_told_its_id_first_and_old_clients_join_at_once() {
    let mut world = World::new();
    let ask = world.join(consumer_join());
    let answer = world.joined(ask);
    assert_eq!(answer.error, Some(GroupError::MemberIdRequired));
    assert!(answer.member_id.starts_with("cli-") && answer.member_id.len() == 4 + 36, "{}", answer.member_id);
    assert_eq!(world.state(), GroupState::Empty);
    let old = world.join(JoinRequest { require_known_member_id: false, ..consumer_join() });
    assert!(world.is_parked(old));
    let made_up = world.join(rejoin("nobody"));
    assert_eq!(world.joined(made_up).error, Some(GroupError::UnknownMemberId));
    let mut elsewhere = rejoin("nobody");
    elsewhere.group = "unknown".into();
    let ask = world.join(elsewhere);
    assert_eq!(world.joined(ask).error, Some(GroupError::UnknownMemberId), "a group is not made for a known id");
}

#[test]
fn a_member_id_that_is_never_used_lapses_with_the_session_timeout() {
    let mut world = World::new();
    let ask = world.join(consumer_join());
    let id = world.joined(ask).member_id;
    world.pass_ms(9_999);
    assert!(world.coordinator.group("g").is_some());
    world.pass_ms(1);
    assert!(world.coordinator.group("g").is_none(), "nothing is left of the group");
    let late = world.join(rejoin(&id));
    assert_eq!(world.joined(late).error, Some(GroupError::UnknownMemberId));
}

#[test]
fn the_first_round_waits_the_initial_delay_and_longer_while_others_come() {
    let mut world = World::new();
    let first = world.join_with_handshake(consumer_join());
    world.pass_ms(2_999);
    assert!(world.is_parked(first));
    let second = world.join_with_handshake(consumer_join());
    world.pass_ms(3_000);
    assert!(world.is_parked(first), "the second one has earned another delay");
    world.pass_ms(1);
    let (first, second) = (world.joined(first), world.joined(second));
    assert_eq!((first.error, first.generation, first.protocol.as_deref()), (None, 1, Some("range")));
    assert_eq!(first.protocol_type.as_deref(), Some("consumer"));
    assert_eq!((first.leader.as_str(), second.leader.as_str()), (first.member_id.as_str(), first.member_id.as_str()));
    assert_eq!((first.members.len(), second.members.len()), (2, 0), "only the leader learns who the members are");
    assert_eq!(first.members[0].metadata, subscription(&["t"]));
}

#[test]
fn the_initial_delay_does_not_grow_beyond_the_rebalance_timeout() {
    let mut world = World::new();
    let join = JoinRequest { rebalance_timeout_ms: 7_000, ..consumer_join() };
    let first = world.join_with_handshake(join.clone());
    for _ in 0..6 {
        world.pass_ms(1_000);
        world.join_with_handshake(join.clone());
    }
    world.pass_ms(999);
    assert!(world.is_parked(first));
    world.pass_ms(1);
    assert_eq!(world.joined(first).members.len(), 7);
}

#[test]
fn a_rebalance_ends_as_soon_as_everybody_has_rejoined() {
    let mut world = World::new();
    let (ids, generation) = world.stable_group(2);
    let third = world.join_with_handshake(consumer_join());
    assert_eq!(world.state(), GroupState::PreparingRebalance);
    assert_eq!(world.heartbeat(&ids[0], generation), Some(GroupError::RebalanceInProgress));
    let follower = world.join(rejoin(&ids[1]));
    assert!(world.is_parked(follower));
    let leader = world.join(rejoin(&ids[0]));
    let leader = world.joined(leader);
    assert_eq!((leader.generation, leader.members.len()), (generation + 1, 3));
    assert_eq!(leader.leader, ids[0], "a leader that comes back stays");
    assert_eq!(world.joined(follower).leader, ids[0]);
    assert_eq!(world.joined(third).generation, generation + 1);
}

#[test]
fn laggards_are_removed_when_the_rebalance_timeout_is_over_and_the_leader_is_replaced() {
    let mut world = World::new();
    let join = JoinRequest { session_timeout_ms: 100_000, ..consumer_join() };
    let asks = [world.join_with_handshake(join.clone()), world.join_with_handshake(join.clone())];
    world.pass_ms(6_000);
    let [first, second] = asks.map(|ask| world.joined(ask));
    let (leader, follower) = if first.leader == first.member_id { (first, second) } else { (second, first) };
    world.sync_all(&[leader.member_id.clone(), follower.member_id.clone()], 1);
    let mut changed = JoinRequest { member_id: follower.member_id.clone(), ..join };
    changed.protocols = protocols(RANGE, &["other"]);
    let ask = world.join(changed);
    world.pass_ms(59_999);
    assert!(world.is_parked(ask));
    world.pass_ms(1);
    let answer = world.joined(ask);
    assert_eq!((answer.generation, answer.members.len()), (2, 1));
    assert_eq!(answer.leader, follower.member_id);
    assert_eq!(world.heartbeat(&leader.member_id, 1), Some(GroupError::UnknownMemberId));
}

#[test]
fn a_handed_out_id_holds_the_round_open_until_it_is_used_or_lapses() {
    let mut world = World::new();
    let (ids, _) = world.stable_group(1);
    let expected = world.join(consumer_join());
    world.joined(expected);
    let leader = world.join(rejoin(&ids[0]));
    assert!(world.is_parked(leader), "somebody may still come");
    world.pass_ms(10_000);
    assert_eq!(world.joined(leader).members.len(), 1);
}

#[test]
fn an_unchanged_follower_gets_the_current_generation_and_the_leader_a_new_one() {
    let mut world = World::new();
    let (ids, generation) = world.stable_group(2);
    let ask = world.join(rejoin(&ids[1]));
    let answer = world.joined(ask);
    assert_eq!((answer.error, answer.generation, answer.members.len()), (None, generation, 0));
    assert_eq!(world.state(), GroupState::Stable);
    let ask = world.join(rejoin(&ids[0]));
    assert!(world.is_parked(ask));
    assert_eq!(world.state(), GroupState::PreparingRebalance);
}

#[test]
fn a_changed_follower_starts_a_rebalance() {
    let mut world = World::new();
    let (ids, _) = world.stable_group(2);
    let mut changed = rejoin(&ids[1]);
    changed.protocols = protocols(RANGE, &["other"]);
    let ask = world.join(changed);
    assert!(world.is_parked(ask));
    assert_eq!(world.state(), GroupState::PreparingRebalance);
}

#[test]
fn a_member_that_missed_its_join_answer_gets_it_again_before_the_sync() {
    let mut world = World::new();
    let ask = world.join_with_handshake(consumer_join());
    world.pass_ms(3_000);
    let answer = world.joined(ask);
    let again = world.join(rejoin(&answer.member_id));
    assert_eq!(world.joined(again), answer);
    let mut changed = rejoin(&answer.member_id);
    changed.protocols = protocols(RANGE, &["other"]);
    let ask = world.join(changed);
    assert_eq!(world.joined(ask).generation, answer.generation + 1, "alone, it rebalances with itself");
}

#[test]
fn a_second_join_of_a_waiting_member_replaces_the_first_one() {
    let mut world = World::new();
    let ask = world.join(consumer_join());
    let id = world.joined(ask).member_id;
    let first = world.join(rejoin(&id));
    let second = world.join(rejoin(&id));
    assert_eq!(world.joined(first).error, Some(GroupError::RebalanceInProgress));
    world.pass_ms(3_000);
    assert_eq!(world.joined(second).error, None);
}

#[test]
fn the_protocol_is_the_one_most_members_prefer_among_those_all_offer() {
    let mut world = World::new();
    let offers: [&[&str]; 3] = [&["only", "range", "sticky"], &["sticky", "range"], &["sticky", "range", "other"]];
    let asks: Vec<AskId> = offers
        .iter()
        .map(|names| world.join_with_handshake(JoinRequest { protocols: protocols(names, &["t"]), ..consumer_join() }))
        .collect();
    world.pass_ms(10_000);
    for ask in asks {
        assert_eq!(world.joined(ask).protocol.as_deref(), Some("sticky"));
    }
}

#[test]
fn on_a_tie_the_leaders_preference_decides() {
    for names in [["range", "sticky"], ["sticky", "range"]] {
        let mut world = World::new();
        let mut reversed = names;
        reversed.reverse();
        let offer = |names: &[&str]| JoinRequest { protocols: protocols(names, &["t"]), ..consumer_join() };
        let first = world.join_with_handshake(offer(&names));
        world.join_with_handshake(offer(&reversed));
        world.pass_ms(10_000);
        let answer = world.joined(first);
        assert_eq!(answer.leader, answer.member_id);
        assert_eq!(answer.protocol.as_deref(), Some(names[0]));
    }
}

#[test]
fn members_that_have_no_protocol_in_common_are_refused() {
    let mut world = World::new();
    let none = world.join(JoinRequest { protocols: Vec::new(), ..consumer_join() });
    assert_eq!(world.joined(none).error, Some(GroupError::InconsistentGroupProtocol));
    let untyped = world.join(JoinRequest { protocol_type: String::new(), ..consumer_join() });
    assert_eq!(world.joined(untyped).error, Some(GroupError::InconsistentGroupProtocol));
    assert!(world.coordinator.group("g").is_none(), "no group is left behind");
    world.stable_group(1);
    let other = world.join(JoinRequest { protocols: protocols(&["other"], &["t"]), ..consumer_join() });
    assert_eq!(world.joined(other).error, Some(GroupError::InconsistentGroupProtocol));
    let connect = world.join(JoinRequest { protocol_type: "connect".into(), ..consumer_join() });
    assert_eq!(world.joined(connect).error, Some(GroupError::InconsistentGroupProtocol));
}

#[test]
fn impossible_session_timeouts_and_group_ids_are_refused() {
    let mut world = World::new();
    for ms in [5_999, 1_800_001, -1] {
        let ask = world.join(JoinRequest { session_timeout_ms: ms, ..consumer_join() });
        assert_eq!(world.joined(ask).error, Some(GroupError::InvalidSessionTimeout), "{ms} ms");
    }
    let ask = world.join(JoinRequest { group: String::new(), ..consumer_join() });
    assert_eq!(world.joined(ask).error, Some(GroupError::InvalidGroupId));
}

#[test]
fn a_new_member_whose_client_vanished_goes_after_its_join_timeout() {
    let mut world = World::new();
    let (ids, generation) = world.stable_group(1);
    let old_client = JoinRequest { require_known_member_id: false, rebalance_timeout_ms: 900_000, ..consumer_join() };
    let ask = world.join(old_client);
    world.coordinator.forget(ask);
    assert_eq!(world.describe().members.len(), 2);
    // The other member keeps its session but does not rejoin, so the round stays open.
    for _ in 0..100 {
        assert_eq!(world.heartbeat(&ids[0], generation), Some(GroupError::RebalanceInProgress));
        world.pass_ms(3_000);
    }
    assert_eq!(world.describe().members.len(), 1, "five minutes are over");
    let leader = world.join(rejoin(&ids[0]));
    assert_eq!(world.joined(leader).members.len(), 1);
}

#[test]
fn a_forgotten_join_still_counts_and_the_member_goes_when_its_session_ends() {
    let mut world = World::new();
    let first = world.join_with_handshake(consumer_join());
    let second = world.join_with_handshake(consumer_join());
    world.coordinator.forget(second);
    world.pass_ms(6_000);
    let answer = world.joined(first);
    assert_eq!(answer.members.len(), 2);
    assert!(world.is_parked(second));
    for _ in 0..4 {
        world.heartbeat(&answer.member_id, answer.generation);
        world.pass_ms(2_500);
    }
    assert_eq!(world.state(), GroupState::PreparingRebalance, "its session has ended");
    assert_eq!(world.describe().members.len(), 1);
}
