//! Background work of a coordinator: expiry of committed offsets, deletion of groups, offsets of deleted topics.
//!
//! All of it goes in steps, because one outcome must fit into one batch. What a step has not reached is still in memory
//! and in the log, so a crash between two steps leaves a smaller job of the same kind, never a half-told story.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::answer::{GroupAnswer, GroupError, GroupState};
use super::group::Group;
use super::limits::GROUPS_PER_STEP_MAX;
use super::records::{Committed, CoordRecord, group_key};
use super::turn::Turn;
use super::{AskId, GroupSettings};
use crate::base::ids::{TopicId, Uuid};
use crate::base::time::{Mono, Now, WallMs};

pub(super) type Groups = BTreeMap<String, Group>;

/// Work that is not finished.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    /// Dead groups whose offsets still have to go, with the DeleteGroup that waits for it.
    doomed: BTreeMap<String, Option<AskId>>,
    /// Deleted topics, by name.
    purges: BTreeMap<String, Vec<Purge>>,
    /// The expiry scan has come this far (exclusive); `None`: it is not running.
    scan: Option<Cursor>,
    /// When the next scan begins.
    next_scan: Mono,
}

/// A deleted topic. Commits made after its deletion (to a topic of the same name) are spared.
#[derive(Debug)]
struct Purge {
    topic_id: TopicId,
    /// Offsets that do not name their topic's id are meant as well, if they are of that name.
    any_id: bool,
    sequence_max: u64,
    cursor: Cursor,
}

impl Purge {
    /// Whether an offset of the purge's name has to go.
    fn takes(&self, committed: &Committed) -> bool {
        let unnamed = committed.topic_id == Uuid::ZERO || self.topic_id == Uuid::ZERO;
        (committed.topic_id == self.topic_id || self.any_id && unnamed) && committed.sequence <= self.sequence_max
    }
}

/// How far a walk over all groups has come; survives groups that come and go.
#[derive(Debug, Default)]
struct Cursor {
    last: Option<String>,
}

impl Cursor {
    fn next(&mut self, groups: &Groups) -> Option<String> {
        let from = self.last.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let (id, _) = groups.range::<str, _>((from, Bound::Unbounded)).next()?;
        self.last = Some(id.clone());
        Some(id.clone())
    }

    /// The group just given out has to be looked at again.
    fn stay_at(&mut self, before: Option<String>) {
        self.last = before;
    }
}

impl Backlog {
    /// The first scan comes one interval after the load.
    pub fn start(&mut self, now: Now, settings: &GroupSettings) {
        self.next_scan = now.mono.plus_ms(settings.offsets_retention_check_interval_ms);
    }

    /// When the coordinator must be woken for the backlog; in the past when there is work at hand.
    pub fn next_wake(&self) -> Mono {
        let busy = !self.doomed.is_empty() || !self.purges.is_empty() || self.scan.is_some();
        if busy { Mono::default() } else { self.next_scan }
    }

    /// A group was declared Dead; `ask` waits for its end.
    pub fn doom(&mut self, group: &str, ask: AskId) {
        self.doomed.insert(group.to_owned(), Some(ask));
    }

    /// `any_id`: also offsets that name no id, or all of that name when `topic_id` is zero.
    pub fn purge_topic(&mut self, topic: &str, topic_id: TopicId, any_id: bool, sequence_max: u64) {
        let purge = Purge { topic_id, any_id, sequence_max, cursor: Cursor::default() };
        self.purges.entry(topic.to_owned()).or_default().push(purge);
    }

    /// Whether an offset is a deleted topic's, and only its tombstone is not written yet (on a full disk that takes
    /// long).
    pub fn is_purged(&self, topic: &str, committed: &Committed) -> bool {
        self.purges.get(topic).is_some_and(|purges| purges.iter().any(|purge| purge.takes(committed)))
    }

    /// Nobody waits for `ask` any more; the work goes on.
    pub fn forget(&mut self, ask: AskId) {
        for waiting in self.doomed.values_mut().filter(|waiting| **waiting == Some(ask)) {
            *waiting = None;
        }
    }

    /// The DeleteGroup requests that still wait.
    pub fn waiting(&self) -> impl Iterator<Item = AskId> {
        self.doomed.values().filter_map(|waiting| *waiting)
    }

    /// One step of everything that is due.
    pub fn step(&mut self, groups: &mut Groups, turn: &mut Turn<'_>) {
        self.step_doomed(groups, turn);
        self.step_purges(groups, turn);
        if self.scan.is_none() && self.next_scan <= turn.now.mono {
            self.scan = Some(Cursor::default());
            self.next_scan = turn.now.mono.plus_ms(turn.shared.settings.offsets_retention_check_interval_ms.max(1));
        }
        self.step_scan(groups, turn);
    }

    fn step_doomed(&mut self, groups: &mut Groups, turn: &mut Turn<'_>) {
        while turn.has_step_room()
            && let Some((id, ask)) = self.doomed.pop_first()
        {
            if !bury(groups, turn, &id) {
                self.doomed.insert(id, ask);
                return;
            }
            if let Some(ask) = ask {
                turn.answer(ask, GroupAnswer::DeleteGroup(None));
            }
        }
    }

    fn step_purges(&mut self, groups: &mut Groups, turn: &mut Turn<'_>) {
        let Some(mut entry) = self.purges.first_entry() else { return };
        let topic = entry.key().clone();
        let Some(purge) = entry.get_mut().first_mut() else { return drop(entry.remove()) };
        for _ in 0..GROUPS_PER_STEP_MAX {
            let before = purge.cursor.last.clone();
            let Some(id) = purge.cursor.next(groups) else {
                entry.get_mut().remove(0);
                if entry.get().is_empty() {
                    entry.remove();
                }
                return;
            };
            let Some(group) = groups.get_mut(&id) else { continue };
            let taken = group.offsets.topic(&topic).filter(|(_, committed)| purge.takes(committed));
            let partitions: Vec<i32> = taken.map(|(partition, _)| partition).collect();
            for partition in partitions {
                if !turn.has_step_room() {
                    return purge.cursor.stay_at(before);
                }
                group.erase(turn, &topic, partition);
            }
            drop_if_vacant(groups, turn, &id);
        }
    }

    fn step_scan(&mut self, groups: &mut Groups, turn: &mut Turn<'_>) {
        let Some(cursor) = &mut self.scan else { return };
        for _ in 0..GROUPS_PER_STEP_MAX {
            let before = cursor.last.clone();
            let Some(id) = cursor.next(groups) else {
                self.scan = None;
                return;
            };
            if !expire(groups, turn, &id) {
                return cursor.stay_at(before);
            }
        }
    }
}

/// Removes what is left of a Dead group, offsets first. False: there is more than this step may write.
fn bury(groups: &mut Groups, turn: &mut Turn<'_>, id: &str) -> bool {
    let Some(group) = groups.get_mut(id) else { return true };
    crate::invariant!(group.classic.state == GroupState::Dead, "group {id} buried in state {:?}", group.classic.state);
    let all = offsets_where(group, |_, _| true);
    erase_all(group, turn, all) && dissolve(groups, turn, id)
}

/// Writes the tombstone of a group without members and offsets, and forgets it. False: no room in this step.
fn dissolve(groups: &mut Groups, turn: &mut Turn<'_>, id: &str) -> bool {
    let Some(group) = groups.get_mut(id) else { return true };
    if group.classic.persisted {
        if !turn.has_step_room() {
            return false;
        }
        turn.push(CoordRecord { key: group_key(id), value: None });
        group.classic.persisted = false;
    }
    group.classic.disarm(turn);
    groups.remove(id);
    true
}

/// Expires what is old enough in one group, and the group itself when it is empty. False: no room in this step.
fn expire(groups: &mut Groups, turn: &mut Turn<'_>, id: &str) -> bool {
    let Some(group) = groups.get_mut(id) else { return true };
    let (now_ms, retention_ms) = (turn.now.wall_ms, turn.shared.settings.offsets_retention_ms);
    let old = expired_offsets(group, now_ms, retention_ms);
    if !erase_all(group, turn, old) {
        return false;
    }
    let gone = group.offsets.is_empty() && group.classic.state == GroupState::Empty && !group.classic.is_inhabited();
    !gone || dissolve(groups, turn, id)
}

/// Which offsets of a group are past their retention (KIP-211).
fn expired_offsets(group: &Group, now_ms: WallMs, retention_ms: i64) -> Vec<(String, i32)> {
    let classic = &group.classic;
    // From when the retention counts: since the group is empty; for simple and for subscribed groups since the commit.
    let since_empty = match (&classic.protocol_type, classic.state) {
        (None, GroupState::Empty) => None,
        (Some(_), GroupState::Empty) => classic.state_ms,
        (Some(_), GroupState::Stable) if classic.subscribed.is_some() => None,
        _ => return Vec::new(),
    };
    let is_read = |topic: &str| classic.state != GroupState::Empty && classic.is_subscribed(topic);
    offsets_where(group, |topic, committed| {
        let expired = match committed.expire_ms {
            Some(expire_ms) => now_ms >= expire_ms,
            None => now_ms.saturating_sub(since_empty.unwrap_or(committed.commit_ms)) >= retention_ms,
        };
        expired && !is_read(topic)
    })
}

fn offsets_where(group: &Group, mut wanted: impl FnMut(&str, &Committed) -> bool) -> Vec<(String, i32)> {
    let mut found = Vec::new();
    for (topic, partitions) in group.offsets.topics() {
        for (partition, committed) in partitions {
            if wanted(topic, committed) {
                found.push((topic.to_owned(), *partition));
            }
        }
    }
    found
}

/// False: no room for all of them in this step.
fn erase_all(group: &mut Group, turn: &mut Turn<'_>, offsets: Vec<(String, i32)>) -> bool {
    for (topic, partition) in offsets {
        if !turn.has_step_room() {
            return false;
        }
        group.erase(turn, &topic, partition);
    }
    true
}

/// Forgets a group that neither memory nor log needs.
pub(super) fn drop_if_vacant(groups: &mut Groups, turn: &mut Turn<'_>, id: &str) {
    if let Some(group) = groups.get_mut(id)
        && group.is_vacant()
    {
        group.classic.disarm(turn);
        groups.remove(id);
    }
}

/// Declares a group Dead, if it may be deleted.
pub(super) fn condemn(group: &mut Group, now: Now) -> Result<(), GroupError> {
    match group.classic.state {
        GroupState::Dead => Err(GroupError::GroupIdNotFound),
        GroupState::Empty => {
            group.classic.pending.clear();
            group.classic.set_state(GroupState::Dead, now);
            Ok(())
        }
        _ => Err(GroupError::NonEmptyGroup),
    }
}
