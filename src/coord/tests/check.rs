//! What must be true after every entry.

use std::collections::BTreeSet;

use super::super::group::Group;
use super::super::group_classic::ClassicGroup;
use super::super::member::Wait;
use super::super::{Coordinator, GroupState};
use super::World;

pub fn invariants(world: &mut World) {
    let ids: Vec<String> = world.coordinator.groups().map(|listed| listed.group).collect();
    for id in &ids {
        let group = world.coordinator.group(id).expect("listed");
        of_group(&group.classic, world);
        let generation = group.classic.generation;
        let seen = world.generations.entry(id.clone()).or_default();
        assert!(generation >= *seen, "the generation of {id} fell from {seen} to {generation}");
        *seen = generation;
    }
    assert_eq!(world.coordinator.parked_count(), waits(world), "every parked request waits in exactly one member");
    // A deleted group begins anew.
    world.generations.retain(|id, _| ids.contains(id));
    same_after_replay(world);
}

fn waits(world: &World) -> usize {
    let ids = world.coordinator.groups().map(|listed| listed.group);
    let groups = ids.map(|id| world.coordinator.group(&id).expect("listed"));
    let waits = groups.flat_map(|group| group.classic.members.values().flat_map(|m| [m.join, m.sync]));
    waits.filter(|wait| matches!(wait, Wait::Parked(_))).count()
}

fn of_group(group: &ClassicGroup, world: &World) {
    let members = &group.members;
    assert_eq!(group.leader.is_some(), !members.is_empty(), "a leader exactly when there are members");
    assert!(group.leader.iter().all(|leader| members.contains_key(leader)), "the leader is a member");
    let statics: BTreeSet<_> =
        members.values().filter_map(|m| m.instance_id.clone().map(|instance| (instance, m.id.clone()))).collect();
    assert_eq!(statics, group.statics.clone().into_iter().collect::<BTreeSet<_>>());
    assert_eq!(group.waiting(), members.values().filter(|m| m.join.is_waiting()).count());
    assert_eq!(group.bytes, members.values().map(|m| m.bytes()).sum::<usize>());
    assert!(group.pending_sync.iter().all(|id| members.contains_key(id)));
    match group.state {
        GroupState::Empty | GroupState::Dead => assert!(members.is_empty()),
        GroupState::PreparingRebalance => {
            assert!(!members.is_empty() && group.join_deadline.is_some(), "the join phase ends at some time");
        }
        GroupState::CompletingRebalance => {
            assert!(group.waiting() == 0 && group.sync_deadline.is_some(), "the sync phase ends at some time");
        }
        GroupState::Stable => assert!(members.values().all(|m| !m.join.is_waiting() && !m.sync.is_waiting())),
    }
    if matches!(group.state, GroupState::CompletingRebalance | GroupState::Stable) {
        let chosen = group.protocol.as_deref().expect("a protocol is chosen");
        assert!(members.values().all(|m| m.protocols.iter().any(|(name, _)| name == chosen)), "all offer {chosen}");
    }
    assert!(group.pending.keys().all(|id| !members.contains_key(id)));
    // Nobody waits for ever: the group is looked at no later than its earliest deadline.
    if let Some(deadline) = group.next_deadline() {
        assert!(group.scheduled.is_some_and(|at| at <= deadline), "{:?} is later than {deadline:?}", group.scheduled);
        assert!(world.coordinator.next_wake().is_some_and(|at| at <= deadline));
    }
}

pub fn reload(world: &World, seed: u64) -> Coordinator {
    let mut next = Coordinator::new(world.settings.clone(), seed);
    for record in &world.log {
        next.replay(&record.key, record.value.as_deref(), world.now).expect("own records");
    }
    next
}

/// The log tells of every committed offset, and of the members of the last complete generation.
fn same_after_replay(world: &World) {
    let next = reload(world, 8);
    for listed in world.coordinator.groups() {
        let group = world.coordinator.group(&listed.group).expect("listed");
        let empty = Group::new(&listed.group);
        let twin = next.group(&listed.group).unwrap_or(&empty);
        assert_eq!(offsets(twin), offsets(group), "offsets of {}", listed.group);
        if group.classic.state == GroupState::Stable {
            assert_eq!(members(&twin.classic), members(&group.classic));
            assert_eq!(twin.classic.generation, group.classic.generation);
            assert_eq!(twin.classic.leader, group.classic.leader);
            assert_eq!(twin.classic.subscribed, group.classic.subscribed);
        }
        if group.classic.state == GroupState::Empty {
            assert!(twin.classic.members.is_empty() && twin.classic.generation == group.classic.generation);
        }
    }
    assert_eq!(next.offset_count(), world.coordinator.offset_count());
    for listed in next.groups() {
        assert!(world.coordinator.group(&listed.group).is_some(), "the log remembers {} longer", listed.group);
    }
}

fn offsets(group: &Group) -> Vec<(String, i32, i64, i32, String, i64)> {
    let mut found = Vec::new();
    for (topic, partitions) in group.offsets.topics() {
        for (partition, c) in partitions {
            found.push((topic.to_owned(), *partition, c.offset, c.leader_epoch, c.metadata.to_string(), c.commit_ms));
        }
    }
    found
}

type Fields = (String, Option<String>, String, i32, i32, Vec<u8>, Vec<u8>);

fn members(group: &ClassicGroup) -> Vec<Fields> {
    let chosen = group.protocol.clone().unwrap_or_default();
    let fields = group.members.values().map(|m| {
        let (metadata, assignment) = (m.metadata(&chosen).to_vec(), m.assignment.to_vec());
        let timeouts = (m.session_timeout_ms, m.rebalance_timeout_ms);
        (m.id.clone(), m.instance_id.clone(), m.client_id.clone(), timeouts.0, timeouts.1, metadata, assignment)
    });
    fields.collect()
}
