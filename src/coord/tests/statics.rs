//! Static members (KIP-345) and the skipped assignment (KIP-814).

use super::*;

/// A Stable group of static members "i0", "i1", …: their member ids, leader first, and the generation.
fn static_group(world: &mut World, count: usize) -> (Vec<(String, String)>, i32) {
    let asks: Vec<(String, AskId)> = (0..count)
        .map(|n| format!("i{n}"))
        .map(|instance| (instance.clone(), world.join(static_join(&instance))))
        .collect();
    world.pass_ms(10_000);
    let mut members = Vec::new();
    let (mut generation, mut leader) = (0, String::new());
    for (instance, ask) in asks {
        let answer = world.joined(ask);
        assert_eq!(answer.error, None);
        generation = answer.generation;
        leader = answer.leader.clone();
        members.push((instance, answer.member_id));
    }
    members.sort_by_key(|(_, id)| *id != leader);
    let ids: Vec<String> = members.iter().map(|(_, id)| id.clone()).collect();
    world.sync_all(&ids, generation);
    (members, generation)
}

#[test]
fn a_static_member_joins_without_the_handshake_and_is_named_after_its_instance() {
    let mut world = World::new();
    let (members, _) = static_group(&mut world, 1);
    assert!(members[0].1.starts_with("i0-"), "{}", members[0].1);
}

#[test]
fn a_returning_static_follower_keeps_its_assignment_without_a_rebalance() {
    let mut world = World::new();
    let (members, generation) = static_group(&mut world, 2);
    let (instance, old_id) = members[1].clone();
    let ask = world.join(static_join(&instance));
    let answer = world.joined(ask);
    assert_eq!((answer.error, answer.generation, answer.members.len()), (None, generation, 0));
    assert!(!answer.skip_assignment);
    assert_ne!(answer.member_id, old_id);
    assert_eq!(world.state(), GroupState::Stable);
    let sync = world.sync(&answer.member_id, generation, &[]);
    assert_eq!(world.synced(sync).assignment, format!("for {old_id}"));
    // The record of the replacement is in the log: a new coordinator knows the new id.
    world.fail_over();
    assert_eq!(world.heartbeat(&answer.member_id, generation), None);
}

#[test]
fn the_older_member_is_fenced_on_its_next_request() {
    let mut world = World::new();
    let (members, generation) = static_group(&mut world, 2);
    let (instance, old_id) = members[1].clone();
    let ask = world.join(static_join(&instance));
    let new_id = world.joined(ask).member_id;
    let old = HeartbeatRequest {
        generation,
        member_id: old_id.clone(),
        instance_id: Some(instance.clone()),
        ..heartbeat_request()
    };
    let fenced = Some(GroupError::FencedInstanceId);
    assert_eq!(world.call(GroupRequest::Heartbeat(old.clone())), GroupAnswer::Heartbeat(fenced));
    let new = HeartbeatRequest { member_id: new_id, ..old };
    assert_eq!(world.call(GroupRequest::Heartbeat(new)), GroupAnswer::Heartbeat(None));
    let mut commit = commit_request(&old_id, generation, "t", 0, 1);
    commit.instance_id = Some(instance.clone());
    assert_eq!(world.commit_to(commit), fenced);
    let sync = SyncRequest { instance_id: Some(instance.clone()), ..sync_request(&old_id, generation, &[]) };
    let ask = world.ask(GroupRequest::Sync(sync));
    assert_eq!(world.synced(ask).error, fenced);
    let ask = world.join(JoinRequest { member_id: old_id.clone(), ..static_join(&instance) });
    assert_eq!(world.joined(ask).error, fenced);
    assert_eq!(world.leave(&[(&old_id, Some(&instance))]), [fenced]);
    assert_eq!(world.heartbeat(&old_id, generation), Some(GroupError::UnknownMemberId), "without the instance id");
}

#[test]
fn a_waiting_older_member_is_fenced_at_once() {
    let mut world = World::new();
    let first = world.join(static_join("i0"));
    let second = world.join(static_join("i0"));
    assert_eq!(world.joined(first).error, Some(GroupError::FencedInstanceId));
    world.pass_ms(6_000);
    let answer = world.joined(second);
    assert_eq!((answer.error, answer.members.len()), (None, 1));
}

#[test]
fn a_returning_static_leader_skips_the_assignment_or_does_not_know_that_it_leads() {
    let mut world = World::new();
    let (members, generation) = static_group(&mut world, 2);
    let (instance, old_id) = members[0].clone();
    let ask = world.join(static_join(&instance));
    let answer = world.joined(ask);
    assert!(answer.skip_assignment);
    assert_eq!((answer.members.len(), &answer.leader, answer.generation), (2, &answer.member_id, generation));
    let ask = world.join(JoinRequest { skip_assignment_supported: false, ..static_join(&instance) });
    let again = world.joined(ask);
    assert!(!again.skip_assignment && again.members.is_empty());
    assert_eq!(again.leader, answer.member_id, "the id it had before");
    let sync = world.sync(&again.member_id, generation, &[]);
    assert_eq!(world.synced(sync).assignment, format!("for {old_id}"));
}

#[test]
fn a_static_member_that_changes_the_protocol_starts_a_rebalance() {
    let mut world = World::new();
    let both = |names: &[&str]| JoinRequest { protocols: protocols(names, &["t"]), ..static_join("i0") };
    let ask = world.join(both(&["range", "sticky"]));
    world.pass_ms(3_000);
    let answer = world.joined(ask);
    world.sync_all(std::slice::from_ref(&answer.member_id), 1);
    let ask = world.join(both(&["sticky", "range"]));
    assert_eq!(world.joined(ask).generation, 2, "alone, the new round ends at once");
}

#[test]
fn a_static_member_that_returns_before_the_sync_starts_a_rebalance() {
    let mut world = World::new();
    let asks = [world.join(static_join("i0")), world.join(static_join("i1"))];
    world.pass_ms(10_000);
    let [a, b] = asks.map(|ask| world.joined(ask));
    let parked =
        if a.leader == a.member_id { world.sync(&b.member_id, 1, &[]) } else { world.sync(&a.member_id, 1, &[]) };
    let instance = if a.leader == a.member_id { "i0" } else { "i1" };
    let back = world.join(static_join(instance));
    assert!(world.is_parked(back));
    assert_eq!(world.synced(parked).error, Some(GroupError::RebalanceInProgress));
    assert_eq!(world.state(), GroupState::PreparingRebalance);
}

#[test]
fn an_absent_static_member_stays_through_a_rebalance_until_its_session_ends() {
    let mut world = World::new();
    let join = |instance| JoinRequest { session_timeout_ms: 120_000, ..static_join(instance) };
    let asks = [world.join(join("i0")), world.join(join("i1"))];
    world.pass_ms(6_000);
    let [a, b] = asks.map(|ask| world.joined(ask));
    let (leader, absent) = if a.leader == a.member_id { (a, b) } else { (b, a) };
    world.sync_all(&[leader.member_id.clone(), absent.member_id.clone()], 1);
    let instance = if leader.member_id.starts_with("i0") { "i0" } else { "i1" };
    let ask = world.join(JoinRequest { member_id: leader.member_id.clone(), ..join(instance) });
    world.pass_ms(60_000);
    let answer = world.joined(ask);
    assert_eq!((answer.generation, answer.members.len()), (2, 2), "the absent one is still a member");
    world.sync_all(std::slice::from_ref(&leader.member_id), 2);
    assert_eq!(world.describe().members.len(), 2);
    for _ in 0..60 {
        world.heartbeat(&leader.member_id, 2);
        world.pass_ms(1_000);
    }
    assert_eq!(world.describe().members.len(), 1, "its session was counted from its own last sign of life");
}

#[test]
fn when_only_absent_static_members_are_left_the_round_waits_for_them_without_spinning() {
    let mut world = World::new();
    let join = |session| JoinRequest { session_timeout_ms: session, rebalance_timeout_ms: 0, ..static_join("i0") };
    let ask = world.join(join(600_000));
    world.pass_ms(3_000);
    let answer = world.joined(ask);
    // A rebalance timeout of 0 would end the sync phase at once; the leader is faster.
    world.sync_all(std::slice::from_ref(&answer.member_id), 1);
    let extra = world.join_with_handshake(JoinRequest { rebalance_timeout_ms: 0, ..consumer_join() });
    let extra = if world.is_parked(extra) { None } else { Some(world.joined(extra)) };
    assert!(extra.is_none());
    assert_eq!(world.state(), GroupState::PreparingRebalance);
    let dynamic = world.describe().members.iter().find(|m| m.instance_id.is_none()).unwrap().member_id.clone();
    world.leave(&[(&dynamic, None)]);
    world.pass_ms(50_000);
    assert_eq!(world.state(), GroupState::PreparingRebalance, "nobody came back, and nobody is thrown out");
    let back = world.join(join(600_000));
    assert_eq!(world.joined(back).error, None);
}

#[test]
fn tools_remove_static_members_by_instance_id() {
    let mut world = World::new();
    let (_, generation) = static_group(&mut world, 2);
    assert_eq!(
        world.leave(&[("", Some("i1")), ("", Some("nobody")), ("", None)]),
        [None, Some(GroupError::UnknownMemberId), Some(GroupError::UnknownMemberId)]
    );
    assert_eq!(world.describe().members.len(), 1);
    assert_eq!(world.leave(&[("", Some("i0"))]), [None]);
    assert_eq!(world.state(), GroupState::Empty);
    assert_eq!(world.coordinator.group("g").unwrap().classic.generation, generation + 1);
}
