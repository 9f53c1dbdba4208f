//! The coordinator of one `__consumer_offsets` partition: takes requests and time to the right group.
//!
//! Life: `new` → `replay`* → `loaded` → (`ask` | `wake` | `forget` | `topic_deleted`)* → `resign`. Before `loaded`
//! every request is answered COORDINATOR_LOAD_IN_PROGRESS.

use std::collections::{BTreeMap, BTreeSet};

use super::answer::*;
use super::expire::{Backlog, Groups, condemn, drop_if_vacant};
use super::footprint::{Footprint, weight};
use super::group::Group;
use super::group_classic::ClassicGroup;
use super::group_classic_join::check_join;
use super::limits::{BATCH_BYTES_MIN, GROUP_ID_BYTES_MAX, GROUPS_MAX, GROUPS_PER_STEP_MAX, MEMBERS_PER_GROUP_MAX};
use super::offsets::fetch_from_nobody;
use super::records::{Committed, Key, ReplayError, read_group, read_key, read_offset};
use super::request::*;
use super::turn::{Outcome, ParkedKind, Shared, Turn};
use super::{AskId, GroupSettings};
use crate::base::ids::TopicId;
use crate::base::prng::Prng;
use crate::base::time::{Mono, Now};

/// The machine; see the floor's header for its rules.
#[derive(Debug)]
pub struct Coordinator {
    shared: Shared,
    groups: Groups,
    backlog: Backlog,
    footprint: Footprint,
    loaded: bool,
}

impl Coordinator {
    /// An empty coordinator that still has to be loaded. `seed` makes the member ids, so every life of a coordinator
    /// needs another one: a stale client must not find its old id in somebody else's hands.
    pub fn new(mut settings: GroupSettings, seed: u64) -> Coordinator {
        settings.batch_bytes_max = settings.batch_bytes_max.max(BATCH_BYTES_MIN);
        settings.group_max_size = settings.group_max_size.clamp(1, MEMBERS_PER_GROUP_MAX);
        let shared = Shared {
            settings,
            prng: Prng::new(seed),
            parked: BTreeMap::new(),
            due: BTreeSet::new(),
            sequence: 0,
            offsets: 0,
        };
        let footprint = Footprint { bytes: 0, room: usize::MAX };
        Coordinator { shared, groups: Groups::new(), backlog: Backlog::default(), footprint, loaded: false }
    }

    /// Loads one stored record, in log order. Key types of other machines are skipped.
    pub fn replay(&mut self, key: &[u8], value: Option<&[u8]>, now: Now) -> Result<(), ReplayError> {
        crate::invariant!(!self.loaded, "replay after the load");
        match (read_key(key)?, value) {
            (Key::Unknown, _) => {}
            (Key::Offset { group, topic, partition }, Some(value)) => {
                let committed = read_offset(value)?;
                let is_new = self.group_or_new(group).offsets.insert(topic, partition, committed);
                self.shared.offsets += usize::from(is_new);
            }
            (Key::Offset { group, topic, partition }, None) => {
                if let Some(known) = self.groups.get_mut(group) {
                    self.shared.offsets -= usize::from(known.offsets.remove(topic, partition));
                    self.drop_if_vacant(group);
                }
            }
            (Key::Group { group }, Some(value)) => {
                let stored = read_group(value)?;
                self.group_or_new(group).classic = ClassicGroup::restore(group, &stored, now);
            }
            (Key::Group { group }, None) => {
                if let Some(known) = self.groups.get_mut(group) {
                    known.classic = ClassicGroup::new(group);
                    self.drop_if_vacant(group);
                }
            }
        }
        Ok(())
    }

    fn group_or_new(&mut self, id: &str) -> &mut Group {
        self.groups.entry(id.to_owned()).or_insert_with(|| Group::new(id))
    }

    fn drop_if_vacant(&mut self, id: &str) {
        if self.groups.get(id).is_some_and(Group::is_vacant) {
            self.groups.remove(id);
        }
    }

    /// The load has ended: all members get fresh sessions, and groups above `group.max.size` rebalance.
    pub fn loaded(&mut self, now: Now) {
        self.loaded = true;
        self.backlog.start(now, &self.shared.settings);
        let mut out = Outcome::default();
        let mut turn = Turn { now, shared: &mut self.shared, out: &mut out, bytes: 0 };
        for group in self.groups.values_mut().map(|group| &mut group.classic) {
            let ids: Vec<String> = group.members.keys().cloned().collect();
            for id in &ids {
                group.touch(&mut turn, id);
            }
            if ids.len() > turn.shared.settings.group_max_size {
                group.prepare(&mut turn);
            }
        }
        crate::invariant!(out.records.is_empty() && out.answers.is_empty(), "the end of a load decided something");
        self.footprint.bytes = self.groups.values().map(|group| weight(Some(group))).sum();
    }

    /// Bytes that members make this coordinator hold: their metadata and assignments, and what keeping them takes.
    pub fn member_bytes(&self) -> usize {
        self.footprint.bytes
    }

    /// How many [`Coordinator::member_bytes`] there may be; what would go beyond is answered GROUP_MAX_SIZE_REACHED.
    pub fn set_member_room(&mut self, bytes: usize) {
        self.footprint.room = bytes;
    }

    /// Takes a request. Its answer is in this outcome, or parked and in a later one.
    pub fn ask(&mut self, now: Now, id: AskId, request: GroupRequest) -> Outcome {
        let mut out = Outcome::default();
        let mut turn = Turn { now, shared: &mut self.shared, out: &mut out, bytes: 0 };
        let checked = check_ask(self.loaded, &request, &self.groups, &turn.shared.settings)
            .and_then(|()| self.footprint.check(&request, &self.groups));
        if let Err(error) = checked {
            turn.answer(id, GroupAnswer::refused(&request, error));
            return out;
        }
        let before = weight(request.group().and_then(|group| self.groups.get(group)));
        match &request {
            GroupRequest::List(filter) => {
                let answer = ListAnswer { error: None, groups: list(&self.groups, filter) };
                turn.answer(id, GroupAnswer::List(answer));
            }
            GroupRequest::Join(r) => match group_for_join(&mut self.groups, r) {
                Ok(group) => group.classic.join(&mut turn, id, r),
                Err(error) => turn.answer_join(id, JoinAnswer::refused(error, r.member_id.as_str())),
            },
            GroupRequest::OffsetCommit(r) => commit(&mut self.groups, &mut turn, id, r),
            GroupRequest::DeleteGroup { group } => match self.groups.get_mut(group) {
                Some(known) => match condemn(known, now) {
                    Ok(()) => {
                        self.backlog.doom(group, id);
                        self.backlog.step(&mut self.groups, &mut turn);
                    }
                    Err(error) => turn.answer(id, GroupAnswer::DeleteGroup(Some(error))),
                },
                None => turn.answer(id, GroupAnswer::DeleteGroup(Some(GroupError::GroupIdNotFound))),
            },
            _ => ask_known(&mut self.groups, &self.backlog, &mut turn, id, &request),
        }
        if let Some(group) = request.group() {
            drop_if_vacant(&mut self.groups, &mut turn, group);
            self.footprint.changed(before, weight(self.groups.get(group)));
        }
        out
    }

    /// The time named by [`Coordinator::next_wake`] has come (earlier is harmless).
    pub fn wake(&mut self, now: Now) -> Outcome {
        let mut out = Outcome::default();
        if !self.loaded {
            return out;
        }
        let mut turn = Turn { now, shared: &mut self.shared, out: &mut out, bytes: 0 };
        for _ in 0..GROUPS_PER_STEP_MAX {
            let due = turn.shared.due.first().is_some_and(|(at, _)| *at <= now.mono);
            if !due || !turn.has_step_room() {
                break;
            }
            let Some((_, id)) = turn.shared.due.pop_first() else { break };
            let Some(group) = self.groups.get_mut(&id) else { continue };
            let before = weight(Some(group));
            group.classic.scheduled = None;
            group.classic.pass_time(&mut turn);
            if let Some(at) = group.classic.next_deadline() {
                group.classic.arm(&mut turn, at);
            }
            drop_if_vacant(&mut self.groups, &mut turn, &id);
            self.footprint.changed(before, weight(self.groups.get(&id)));
        }
        if turn.has_step_room() {
            self.backlog.step(&mut self.groups, &mut turn);
        }
        out
    }

    /// When to call [`Coordinator::wake`]; a time in the past means at once. `None` before the load.
    pub fn next_wake(&self) -> Option<Mono> {
        let group = self.shared.due.first().map(|(at, _)| *at);
        self.loaded.then(|| group.map_or(self.backlog.next_wake(), |at| at.min(self.backlog.next_wake())))
    }

    /// The client of a parked request is gone. What it asked for still happens; a member stays until its session ends.
    pub fn forget(&mut self, id: AskId) {
        self.backlog.forget(id);
        if let Some(parked) = self.shared.parked.remove(&id)
            && let Some(group) = self.groups.get_mut(&parked.group)
        {
            group.classic.abandon(&parked.member, parked.kind);
        }
    }

    /// A topic is gone: so are the offsets committed to it, from the next wake on (which is due at once).
    pub fn topic_deleted(&mut self, topic: &str, topic_id: TopicId) {
        self.backlog.purge_topic(topic, topic_id, true, self.shared.sequence);
    }

    /// The most that the records of one outcome take in the log, bytes.
    pub fn batch_bytes_max(&self) -> u64 {
        self.shared.settings.batch_bytes_max as u64
    }

    /// After the load: offsets of topics that are not there (any more) are to go, since their deletion may have come
    /// when nobody heard of it. `is_there` takes a name and an id, zero where a commit did not name one. The work is
    /// done at the next wakes.
    pub fn forget_absent_topics(&mut self, is_there: impl Fn(&str, TopicId) -> bool) {
        let named: BTreeSet<(&str, TopicId)> =
            self.groups.values().flat_map(|group| group.offsets.topic_ids()).collect();
        for (topic, topic_id) in named.into_iter().filter(|(topic, topic_id)| !is_there(topic, *topic_id)) {
            self.backlog.purge_topic(topic, topic_id, false, self.shared.sequence);
        }
    }

    /// The partition is led elsewhere now: every parked request is told so. The coordinator is to be dropped. Waits for
    /// the second node; the tests run it.
    pub fn resign(&mut self) -> Vec<(AskId, GroupAnswer)> {
        let error = GroupError::NotCoordinator;
        let doomed: Vec<AskId> = self.backlog.waiting().collect();
        let doomed = doomed.into_iter().map(|id| (id, GroupAnswer::DeleteGroup(Some(error))));
        let parked = std::mem::take(&mut self.shared.parked).into_iter().map(|(id, parked)| match parked.kind {
            ParkedKind::Join => (id, GroupAnswer::Join(JoinAnswer::refused(error, parked.member))),
            ParkedKind::Sync => (id, GroupAnswer::Sync(SyncAnswer::refused(error))),
        });
        let answers = parked.chain(doomed).collect();
        self.backlog = Backlog::default();
        self.loaded = false;
        answers
    }

    /// The groups, for metrics and tools.
    pub fn groups(&self) -> impl Iterator<Item = ListedGroup> {
        self.groups.values().map(Group::listed)
    }

    /// How many offsets are committed.
    #[cfg(test)]
    pub fn offset_count(&self) -> usize {
        self.shared.offsets
    }

    /// How many requests are parked.
    #[cfg(test)]
    pub fn parked_count(&self) -> usize {
        self.shared.parked.len()
    }

    #[cfg(test)]
    pub(super) fn group(&self, id: &str) -> Option<&Group> {
        self.groups.get(id)
    }
}

/// What can be said before the group is touched.
fn check_ask(
    loaded: bool,
    request: &GroupRequest,
    groups: &Groups,
    settings: &GroupSettings,
) -> Result<(), GroupError> {
    if !loaded {
        return Err(GroupError::CoordinatorLoadInProgress);
    }
    let Some(id) = request.group() else { return Ok(()) };
    use GroupRequest::*;
    let membership = matches!(request, Join(_) | Sync(_) | Heartbeat(_) | Leave(_));
    if id.len() > GROUP_ID_BYTES_MAX || (membership && id.is_empty()) {
        return Err(GroupError::InvalidGroupId);
    }
    if let Join(join) = request {
        check_join(join, settings)?;
    }
    let known = groups.get(id);
    let creates = matches!(request, Join(_) | OffsetCommit(_)) && known.is_none();
    let dead = known.is_some_and(|group| group.classic.state == GroupState::Dead);
    if (dead && (membership || matches!(request, OffsetCommit(_)))) || (creates && groups.len() >= GROUPS_MAX) {
        return Err(GroupError::CoordinatorNotAvailable);
    }
    Ok(())
}

/// A group comes into being with its first member that has no id yet.
fn group_for_join<'a>(groups: &'a mut Groups, request: &JoinRequest) -> Result<&'a mut Group, GroupError> {
    if request.member_id.is_empty() {
        return Ok(groups.entry(request.group.clone()).or_insert_with(|| Group::new(&request.group)));
    }
    groups.get_mut(&request.group).ok_or(GroupError::UnknownMemberId)
}

/// Requests about groups that must exist.
fn ask_known(groups: &mut Groups, backlog: &Backlog, turn: &mut Turn<'_>, id: AskId, request: &GroupRequest) {
    let known = request.group().and_then(|group| groups.get_mut(group));
    // A Dead group is answered for in `check_ask`, or it does not exist for the others.
    let Some(group) = known.filter(|group| group.classic.state != GroupState::Dead) else {
        return turn.answer(id, answer_without_group(request));
    };
    match request {
        GroupRequest::Sync(r) => group.classic.sync(turn, id, r),
        GroupRequest::Heartbeat(r) => {
            let result = group.classic.heartbeat(turn, r);
            turn.answer(id, GroupAnswer::Heartbeat(result.err()));
        }
        GroupRequest::Leave(r) => group.classic.leave(turn, id, r),
        GroupRequest::OffsetFetch(r) => {
            turn.out.ordered = true;
            let gone = |topic: &str, committed: &Committed| backlog.is_purged(topic, committed);
            turn.answer(id, GroupAnswer::OffsetFetch(group.fetch(r, gone)));
        }
        GroupRequest::OffsetDelete(r) => {
            let answer = group.delete_offsets(turn, r);
            turn.answer(id, GroupAnswer::OffsetDelete(answer));
        }
        GroupRequest::Describe { .. } => turn.answer(id, GroupAnswer::Describe(group.classic.describe())),
        GroupRequest::Join(_)
        | GroupRequest::OffsetCommit(_)
        | GroupRequest::List(_)
        | GroupRequest::DeleteGroup { .. } => turn.answer(id, answer_without_group(request)),
    }
}

/// Each request has its own word for "there is no such group".
fn answer_without_group(request: &GroupRequest) -> GroupAnswer {
    match request {
        GroupRequest::OffsetFetch(r) => GroupAnswer::OffsetFetch(fetch_from_nobody(r)),
        GroupRequest::Leave(r) => {
            let members = r.members.iter().map(|leaving| LeftMember {
                member_id: leaving.member_id.clone(),
                instance_id: leaving.instance_id.clone(),
                error: Some(GroupError::UnknownMemberId),
            });
            GroupAnswer::Leave(LeaveAnswer { error: None, members: members.collect() })
        }
        GroupRequest::Join(_) | GroupRequest::Sync(_) | GroupRequest::Heartbeat(_) => {
            GroupAnswer::refused(request, GroupError::UnknownMemberId)
        }
        _ => GroupAnswer::refused(request, GroupError::GroupIdNotFound),
    }
}

fn commit(groups: &mut Groups, turn: &mut Turn<'_>, id: AskId, request: &OffsetCommitRequest) {
    let outside = request.generation < 0;
    let group = match groups.get_mut(&request.group) {
        Some(group) => group,
        // A simple consumer: it uses the group for its offsets only.
        None if outside => groups.entry(request.group.clone()).or_insert_with(|| Group::new(&request.group)),
        None => {
            let known = request.group_id_not_found_known;
            let error = if known { GroupError::GroupIdNotFound } else { GroupError::IllegalGeneration };
            return turn.answer(id, GroupAnswer::refused(&GroupRequest::OffsetCommit(request.clone()), error));
        }
    };
    let answer = match group.classic.check_commit(turn, request) {
        Ok(()) => GroupAnswer::OffsetCommit(group.commit(turn, request)),
        Err(error) => GroupAnswer::refused(&GroupRequest::OffsetCommit(request.clone()), error),
    };
    turn.answer(id, answer);
}

fn list(groups: &Groups, filter: &ListRequest) -> Vec<ListedGroup> {
    let matches =
        |wanted: &[String], name: &str| wanted.is_empty() || wanted.iter().any(|w| w.eq_ignore_ascii_case(name));
    let alive = groups.values().map(Group::listed).filter(|group| group.state != GroupState::Dead);
    alive.filter(|g| matches(&filter.states, g.state.name()) && matches(&filter.types, g.group_type)).collect()
}
