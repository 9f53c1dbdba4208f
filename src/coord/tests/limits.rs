//! Bounds: what happens when something is full.

use super::*;

#[test]
fn a_full_group_refuses_new_members_and_keeps_the_old_ones() {
    let mut world = World::with(GroupSettings { group_max_size: 2, ..GroupSettings::default() });
    let (ids, generation) = world.stable_group(2);
    let ask = world.join(consumer_join());
    assert_eq!(world.joined(ask).error, Some(GroupError::GroupMaxSizeReached));
    assert_eq!(world.heartbeat(&ids[0], generation), None);
    let leader = world.join(rejoin(&ids[0]));
    assert!(world.is_parked(leader));
    // In the join phase those who wait are counted: the second place is still free.
    let third = world.join_with_handshake(consumer_join());
    assert!(world.is_parked(third));
    let late = world.join(rejoin(&ids[1]));
    assert_eq!(world.joined(late).error, Some(GroupError::GroupMaxSizeReached));
    assert_eq!(world.joined(leader).members.len(), 2);
}

#[test]
fn a_static_member_returns_into_a_full_group() {
    let mut world = World::with(GroupSettings { group_max_size: 1, ..GroupSettings::default() });
    let ask = world.join(static_join("i0"));
    world.pass_ms(3_000);
    let id = world.joined(ask).member_id;
    world.sync_all(&[id], 1);
    let ask = world.join(static_join("i0"));
    assert_eq!(world.joined(ask).error, None);
    let other = world.join(static_join("i1"));
    assert_eq!(world.joined(other).error, Some(GroupError::GroupMaxSizeReached));
}

#[test]
fn too_long_names_and_too_many_protocols_are_refused() {
    let mut world = World::new();
    let long = "x".repeat(limits_of::NAME_BYTES_MAX + 1);
    let mut refused = |request: JoinRequest| {
        let ask = world.join(request);
        world.joined(ask).error
    };
    let invalid = Some(GroupError::InvalidRequest);
    assert_eq!(refused(JoinRequest { protocol_type: long.clone(), ..consumer_join() }), invalid);
    assert_eq!(refused(JoinRequest { protocols: protocols(&[&long], &["t"]), ..consumer_join() }), invalid);
    assert_eq!(refused(static_join(&long)), invalid);
    assert_eq!(refused(static_join("")), invalid);
    let many: Vec<String> = (0..=limits_of::PROTOCOLS_PER_MEMBER_MAX).map(|n| format!("p{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(refused(JoinRequest { protocols: protocols(&many, &["t"]), ..consumer_join() }), invalid);
    let group = "g".repeat(limits_of::GROUP_ID_BYTES_MAX + 1);
    assert_eq!(refused(JoinRequest { group, ..consumer_join() }), Some(GroupError::InvalidGroupId));
}

#[test]
fn a_long_client_id_is_cut_at_a_character() {
    let mut world = World::new();
    let ask = world.join(JoinRequest { client_id: "é".repeat(20_000), ..consumer_join() });
    assert_eq!(world.joined(ask).member_id.len(), 254 + 1 + 36);
}

#[test]
fn metadata_beyond_the_bound_of_the_group_is_refused() {
    let settings = GroupSettings { batch_bytes_max: limits_of::BATCH_BYTES_MIN, ..GroupSettings::default() };
    let mut world = World::with(settings);
    let bytes = limits_of::BATCH_BYTES_MIN * limits_of::GROUP_BATCHES_MAX;
    let request = JoinRequest { protocols: vec![("range".into(), vec![0; bytes].into())], ..consumer_join() };
    let ask = world.join(request);
    assert_eq!(world.joined(ask).error, Some(GroupError::GroupMaxSizeReached));
}

#[test]
fn a_generation_that_does_not_fit_into_a_record_fails_for_all_and_starts_again() {
    let settings = GroupSettings { batch_bytes_max: limits_of::BATCH_BYTES_MIN, ..GroupSettings::default() };
    let mut world = World::with(settings);
    let asks = [world.join_with_handshake(consumer_join()), world.join_with_handshake(consumer_join())];
    world.pass_ms(10_000);
    let [a, b] = asks.map(|ask| world.joined(ask));
    let (leader, follower) = if a.leader == a.member_id { (a, b) } else { (b, a) };
    let parked = world.sync(&follower.member_id, 1, &[]);
    let huge = "x".repeat(limits_of::BATCH_BYTES_MIN);
    let ask = world.sync(&leader.member_id, 1, &[(&leader.member_id, &huge)]);
    assert_eq!(world.synced(ask).error, Some(GroupError::UnknownServerError));
    assert_eq!(world.synced(parked).error, Some(GroupError::UnknownServerError));
    assert_eq!(world.state(), GroupState::PreparingRebalance);
    assert!(world.log.is_empty());
}

#[test]
fn commits_beyond_one_batch_fail_one_by_one() {
    let settings = GroupSettings { batch_bytes_max: limits_of::BATCH_BYTES_MIN, ..GroupSettings::default() };
    let mut world = World::with(settings);
    let mut request = commit_request("", -1, "t", 0, 1);
    let template = request.topics[0].partitions[0].clone();
    request.topics[0].partitions = (0..3_000).map(|n| CommitPartition { partition: n, ..template.clone() }).collect();
    let GroupAnswer::OffsetCommit(answer) = world.call(GroupRequest::OffsetCommit(request)) else { panic!() };
    let stored = answer.topics[0].partitions.iter().filter(|(_, error)| error.is_none()).count();
    assert!(stored > 1_000 && stored < 3_000, "{stored}");
    assert_eq!(answer.topics[0].partitions[2_999].1, Some(GroupError::InvalidCommitOffsetSize));
    assert_eq!(world.fetch_all("g").len(), stored);
}

#[test]
fn members_beyond_the_room_of_the_host_are_refused_until_others_have_left() {
    let mut world = World::with(GroupSettings { initial_rebalance_delay_ms: 0, ..GroupSettings::default() });
    world.coordinator.set_member_room(10_000);
    let join = |group: usize, bytes: usize| {
        let protocols = vec![("range".to_owned(), Bytes::from(vec![7; bytes]))];
        JoinRequest { group: format!("g{group}"), protocols, require_known_member_id: false, ..consumer_join() }
    };
    let mut ids = Vec::new();
    for group in 0..3 {
        let ask = world.join(join(group, 2_500));
        world.pass_ms(1);
        let joined = world.joined(ask);
        assert_eq!(joined.error, None, "group {group}");
        ids.push(joined.member_id);
    }
    let held = world.coordinator.member_bytes();
    assert!((7_500..10_000).contains(&held), "{held} bytes held");
    let ask = world.join(join(3, 2_500));
    assert_eq!(world.joined(ask).error, Some(GroupError::GroupMaxSizeReached));
    assert_eq!(world.coordinator.member_bytes(), held, "who was refused holds nothing");
    // Who is in already may come back with what it had.
    let ask = world.join(JoinRequest { member_id: ids[0].clone(), ..join(0, 2_500) });
    assert_eq!(world.joined(ask).error, None);
    world.pass_ms(3_600_000);
    assert_eq!(world.coordinator.member_bytes(), 0, "sessions have ended");
    let ask = world.join(join(3, 2_500));
    world.pass_ms(1);
    assert_eq!(world.joined(ask).error, None);
}
