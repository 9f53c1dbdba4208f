//! A group of the classic protocol: its members, what they have in common, and its record.
//!
//! ```text
//!            join                  all joined / time is up            leader's sync
//!   Empty ─────────▶ Preparing ──────────────────────▶ Completing ──────────────────▶ Stable
//!     ▲              Rebalance ◀────────────────────── Rebalance                        │
//!     │                │  ▲        join, leave, death                                   │
//!     └────────────────┘  └─────────────────────────────────────────────────────────────┘
//!       nobody is left                  join that changes something, leave, death
//!   any of them ──▶ Dead: the group is being deleted, its offsets go in steps
//! ```
//!
//! Invariants
//! * `waiting` = members whose `join` waits; `support[p]` = members that offer `p`; `bytes` = sum of their bytes.
//! * `statics` holds exactly the members with an instance id.
//! * There is a leader, and it is a member, exactly when there are members.
//! * The generation never falls (until it wraps after 2^31 rounds).
//! * `scheduled` is never later than the earliest deadline of the group.

use std::collections::{BTreeMap, BTreeSet};

use super::answer::{GroupError, GroupState, JoinAnswer, JoinedMember, SyncAnswer};
use super::member::{Member, Wait};
use super::records::{CoordRecord, StoredGroup, StoredMember, group_record};
use super::subscription::{CONSUMER, subscribed_topics};
use super::turn::{ParkedKind, Turn};
use super::{AskId, limits};
use crate::base::time::{Mono, Now, WallMs};

/// How often the first rebalance of an empty group may still be put off.
#[derive(Clone, Copy, Debug)]
pub(super) struct InitialDelay {
    pub delay_ms: u64,
    pub remaining_ms: u64,
}

#[derive(Debug)]
pub(super) struct ClassicGroup {
    pub id: String,
    pub state: GroupState,
    /// When the state last changed; `None` for groups stored by old brokers, and for those that never had members.
    pub state_ms: Option<WallMs>,
    pub generation: i32,
    pub protocol_type: Option<String>,
    /// The protocol chosen for this generation.
    pub protocol: Option<String>,
    pub leader: Option<String>,
    pub members: BTreeMap<String, Member>,
    /// Instance id → member id.
    pub statics: BTreeMap<String, String>,
    /// Member ids that were handed out and not used yet, with the time at which they lapse.
    pub pending: BTreeMap<String, Mono>,
    /// Members that got a join answer in this generation and have not synced yet.
    pub pending_sync: BTreeSet<String>,
    support: BTreeMap<String, usize>,
    waiting: usize,
    pub bytes: usize,
    /// Topics the members subscribe to; `None`: unknown.
    pub subscribed: Option<BTreeSet<String>>,
    pub join_deadline: Option<Mono>,
    pub initial: Option<InitialDelay>,
    pub new_member_added: bool,
    pub sync_deadline: Option<Mono>,
    /// The group's entry in the table of due groups.
    pub scheduled: Option<Mono>,
    /// The log may hold a group record, so that dropping the group needs a tombstone.
    pub persisted: bool,
}

impl ClassicGroup {
    pub fn new(id: &str) -> ClassicGroup {
        ClassicGroup {
            id: id.to_owned(),
            state: GroupState::Empty,
            state_ms: None,
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            statics: BTreeMap::new(),
            pending: BTreeMap::new(),
            pending_sync: BTreeSet::new(),
            support: BTreeMap::new(),
            waiting: 0,
            bytes: 0,
            subscribed: None,
            join_deadline: None,
            initial: None,
            new_member_added: false,
            sync_deadline: None,
            scheduled: None,
            persisted: false,
        }
    }

    /// Rebuilds a group from its record; `now` starts the sessions, which [`ClassicGroup::loaded`] starts again.
    pub fn restore(id: &str, stored: &StoredGroup<'_>, now: Now) -> ClassicGroup {
        let mut group = ClassicGroup::new(id);
        group.persisted = true;
        group.generation = stored.generation;
        group.protocol_type = (!stored.protocol_type.is_empty()).then(|| stored.protocol_type.to_owned());
        group.protocol = stored.protocol.map(str::to_owned);
        group.state_ms = stored.state_ms;
        for stored_member in &stored.members {
            let mut member = stored_member.restore(stored.protocol);
            member.touch(now);
            // A damaged record may name a member or an instance twice; the last one counts.
            let same_instance = member.instance_id.as_ref().and_then(|instance| group.statics.get(instance)).cloned();
            for id in [same_instance, Some(member.id.clone())].into_iter().flatten() {
                group.take_member(&id);
            }
            group.insert_member(member);
        }
        if let Some(leader) = stored.leader.filter(|leader| group.members.contains_key(*leader)) {
            group.leader = Some(leader.to_owned());
        }
        group.state = if group.members.is_empty() { GroupState::Empty } else { GroupState::Stable };
        group.subscribed = group.compute_subscribed();
        group
    }

    pub fn is_leader(&self, member: &str) -> bool {
        self.leader.as_deref() == Some(member)
    }

    pub fn is_consumer_type(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER)
    }

    /// True when a member or a handed-out member id keeps the group alive.
    pub fn is_inhabited(&self) -> bool {
        !self.members.is_empty() || !self.pending.is_empty()
    }

    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Everybody known has joined this round, and no handed-out id is still expected.
    pub fn all_joined(&self) -> bool {
        self.members.is_empty() || (self.waiting == self.members.len() && self.pending.is_empty())
    }

    /// The rebalance timeout of the group: the longest of its members, milliseconds.
    pub fn rebalance_timeout_ms(&self) -> u64 {
        self.members.values().map(|m| m.rebalance_timeout_ms.max(0) as u64).max().unwrap_or(0)
    }

    pub fn set_state(&mut self, state: GroupState, now: Now) {
        self.state = state;
        self.state_ms = Some(now.wall_ms);
    }

    /// Makes sure the group is looked at by `at`.
    pub fn arm(&mut self, turn: &mut Turn<'_>, at: Mono) {
        if self.scheduled.is_some_and(|scheduled| scheduled <= at) {
            return;
        }
        if let Some(scheduled) = self.scheduled.replace(at) {
            turn.shared.due.remove(&(scheduled, self.id.clone()));
        }
        turn.shared.due.insert((at, self.id.clone()));
    }

    /// Takes the group out of the table of due groups, because it is dropped.
    pub fn disarm(&mut self, turn: &mut Turn<'_>) {
        if let Some(scheduled) = self.scheduled.take() {
            turn.shared.due.remove(&(scheduled, self.id.clone()));
        }
    }

    /// Is `member` (with that instance id) part of the group?
    pub fn check_member(&self, member: &str, instance: Option<&str>) -> Result<(), GroupError> {
        if let Some(instance) = instance {
            match self.statics.get(instance) {
                None => return Err(GroupError::UnknownMemberId),
                Some(current) if current != member => return Err(GroupError::FencedInstanceId),
                Some(_) => {}
            }
        }
        if self.members.contains_key(member) { Ok(()) } else { Err(GroupError::UnknownMemberId) }
    }

    /// True when a member offering `protocols` under `protocol_type` can live with all the others.
    pub fn supports<'a>(&self, protocol_type: &str, mut protocols: impl Iterator<Item = &'a str>) -> bool {
        if self.members.is_empty() {
            return !protocol_type.is_empty() && protocols.next().is_some();
        }
        self.protocol_type.as_deref() == Some(protocol_type)
            && protocols.any(|name| self.support.get(name) == Some(&self.members.len()))
    }

    /// Adds a member; the first one decides about protocol type and leadership.
    pub fn insert_member(&mut self, member: Member) {
        crate::invariant!(!member.join.is_waiting(), "member {} waits before it is added", member.id);
        self.leader.get_or_insert_with(|| member.id.clone());
        if let Some(instance) = &member.instance_id {
            self.statics.insert(instance.clone(), member.id.clone());
        }
        self.count_in(&member);
        let before = self.members.insert(member.id.clone(), member);
        crate::invariant!(before.is_none(), "member added twice to group {}", self.id);
    }

    /// Removes a member without a word to it; see [`ClassicGroup::expel`] for one that may be waiting.
    pub fn take_member(&mut self, id: &str) -> Option<Member> {
        let member = self.members.remove(id)?;
        self.count_out(&member);
        self.waiting -= usize::from(member.join.is_waiting());
        if let Some(instance) = &member.instance_id
            && self.statics.get(instance).is_some_and(|current| current == id)
        {
            self.statics.remove(instance);
        }
        self.pending_sync.remove(id);
        if self.is_leader(id) {
            self.leader = self.members.keys().next().cloned();
        }
        Some(member)
    }

    /// Removes a member and tells it so, with `error`, where it waits.
    pub fn expel(&mut self, turn: &mut Turn<'_>, id: &str, error: GroupError) {
        self.answer_join(turn, id, || JoinAnswer::refused(error, ""));
        self.answer_sync(turn, id, SyncAnswer::refused(error));
        self.take_member(id);
    }

    /// Lets `change` alter what is counted of a member.
    pub fn alter_member(&mut self, id: &str, change: impl FnOnce(&mut Member)) {
        let Some(mut member) = self.members.remove(id) else { return };
        self.count_out(&member);
        change(&mut member);
        self.count_in(&member);
        self.members.insert(id.to_owned(), member);
    }

    fn count_in(&mut self, member: &Member) {
        self.bytes += member.bytes();
        for (name, _) in &member.protocols {
            match self.support.get_mut(name) {
                Some(count) => *count += 1,
                None => {
                    self.support.insert(name.clone(), 1);
                }
            }
        }
    }

    fn count_out(&mut self, member: &Member) {
        self.bytes -= member.bytes();
        for (name, _) in &member.protocols {
            if let Some(count) = self.support.get_mut(name) {
                *count -= 1;
                if *count == 0 {
                    self.support.remove(name);
                }
            }
        }
    }

    /// The member waits for the end of the join phase; an older request of it is sent to ask again.
    pub fn park_join(&mut self, turn: &mut Turn<'_>, id: &str, ask: AskId) {
        self.answer_join(turn, id, || JoinAnswer::refused(GroupError::RebalanceInProgress, id));
        if let Some(member) = self.members.get_mut(id) {
            member.join = Wait::Parked(ask);
            self.waiting += 1;
            turn.park(ask, &self.id, id, ParkedKind::Join);
        }
    }

    /// Ends the wait for a join, if there is one.
    pub fn answer_join(&mut self, turn: &mut Turn<'_>, id: &str, answer: impl FnOnce() -> JoinAnswer) {
        let Some(member) = self.members.get_mut(id) else { return };
        let wait = std::mem::take(&mut member.join);
        self.waiting -= usize::from(wait.is_waiting());
        if let Wait::Parked(ask) = wait {
            turn.answer_join(ask, answer());
        }
    }

    /// The member waits for the leader's assignments; an older request of it is sent to ask again.
    pub fn park_sync(&mut self, turn: &mut Turn<'_>, id: &str, ask: AskId) {
        self.answer_sync(turn, id, SyncAnswer::refused(GroupError::RebalanceInProgress));
        if let Some(member) = self.members.get_mut(id) {
            member.sync = Wait::Parked(ask);
            turn.park(ask, &self.id, id, ParkedKind::Sync);
        }
    }

    /// Ends the wait for a sync, if there is one; its session starts anew.
    pub fn answer_sync(&mut self, turn: &mut Turn<'_>, id: &str, answer: SyncAnswer) {
        let Some(member) = self.members.get_mut(id) else { return };
        let wait = std::mem::take(&mut member.sync);
        if wait.is_waiting() {
            self.touch(turn, id);
        }
        if let Wait::Parked(ask) = wait {
            turn.answer_sync(ask, answer);
        }
    }

    /// A sign of life of `member`.
    pub fn touch(&mut self, turn: &mut Turn<'_>, member: &str) {
        if let Some(member) = self.members.get_mut(member) {
            member.touch(turn.now);
            let deadline = member.deadline;
            self.arm(turn, deadline);
        }
    }

    /// The client of a parked request is gone. The member counts as having asked.
    pub fn abandon(&mut self, member: &str, kind: ParkedKind) {
        if let Some(member) = self.members.get_mut(member) {
            match kind {
                ParkedKind::Join => member.join = Wait::Abandoned,
                ParkedKind::Sync => member.sync = Wait::Abandoned,
            }
        }
    }

    /// The protocol all members offer that most of them prefer; on a tie, the one the leader likes better.
    pub fn choose_protocol(&self) -> Option<String> {
        let common = |name: &str| self.support.get(name) == Some(&self.members.len());
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.members.values() {
            let (favourite, _) = member.protocols.iter().find(|(name, _)| common(name))?;
            *votes.entry(favourite).or_default() += 1;
        }
        let leader = self.leader.as_ref().and_then(|id| self.members.get(id))?;
        let mut best: Option<(&str, usize)> = None;
        for (name, _) in leader.protocols.iter().filter(|(name, _)| common(name)) {
            let count = votes.get(name.as_str()).copied().unwrap_or(0);
            if best.is_none_or(|(_, most)| count > most) {
                best = Some((name, count));
            }
        }
        best.map(|(name, _)| name.to_owned())
    }

    /// What the members subscribe to; `None` when it cannot be known.
    pub fn compute_subscribed(&self) -> Option<BTreeSet<String>> {
        if !self.is_consumer_type() {
            return None;
        }
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            let metadata = member.metadata(self.protocol.as_deref()?);
            subscribed_topics(&metadata, &mut topics).ok()?;
        }
        Some(topics)
    }

    /// Do the members read `topic`? Unknown subscriptions of consumers count as yes.
    pub fn is_subscribed(&self, topic: &str) -> bool {
        match &self.subscribed {
            Some(topics) => topics.contains(topic),
            None => self.is_consumer_type(),
        }
    }

    /// The list that only the leader gets.
    pub fn joined_members(&self) -> Vec<JoinedMember> {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let members = self.members.values().map(|member| JoinedMember {
            member_id: member.id.clone(),
            instance_id: member.instance_id.clone(),
            metadata: member.metadata(protocol),
        });
        members.collect()
    }

    /// The current generation, as the answer to a join of `member`.
    pub fn current(&self, member: &str, with_members: bool) -> JoinAnswer {
        JoinAnswer {
            error: None,
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone().unwrap_or_default(),
            skip_assignment: false,
            member_id: member.to_owned(),
            members: if with_members { self.joined_members() } else { Vec::new() },
        }
    }

    /// The group as a record.
    pub fn record(&self) -> CoordRecord {
        let protocol = self.protocol.as_deref();
        let metadata: Vec<_> = self.members.values().map(|m| m.metadata(protocol.unwrap_or_default())).collect();
        let members = self.members.values().zip(&metadata).map(|(member, subscription)| StoredMember {
            member_id: &member.id,
            instance_id: member.instance_id.as_deref(),
            client_id: &member.client_id,
            client_host: &member.client_host,
            rebalance_timeout_ms: member.rebalance_timeout_ms,
            session_timeout_ms: member.session_timeout_ms,
            subscription,
            assignment: &member.assignment,
        });
        let stored = StoredGroup {
            protocol_type: self.protocol_type.as_deref().unwrap_or_default(),
            generation: self.generation,
            protocol,
            leader: self.leader.as_deref(),
            state_ms: self.state_ms,
            members: members.collect(),
        };
        group_record(&self.id, &stored)
    }

    /// Writes the group's record, if it fits into one batch.
    pub fn persist(&mut self, turn: &mut Turn<'_>) -> bool {
        let record = self.record();
        let fits = turn.fits(&record);
        if fits {
            turn.push(record);
            self.persisted = true;
        }
        fits
    }

    /// What the assignments of the members take, bytes.
    pub fn assigned_bytes(&self) -> usize {
        self.members.values().map(|member| member.assignment.len()).sum()
    }

    /// What the group's members may hold in memory, bytes.
    pub fn bytes_max(turn: &Turn<'_>) -> usize {
        turn.shared.settings.batch_bytes_max.saturating_mul(limits::GROUP_BATCHES_MAX)
    }
}

impl StoredMember<'_> {
    /// A member as it was stored. Only the metadata of the chosen protocol is, so it offers nothing else.
    fn restore(&self, protocol: Option<&str>) -> Member {
        use bytes::Bytes;
        let subscription = Bytes::copy_from_slice(self.subscription);
        Member {
            id: self.member_id.to_owned(),
            instance_id: self.instance_id.map(str::to_owned),
            client_id: self.client_id.to_owned(),
            client_host: self.client_host.to_owned(),
            session_timeout_ms: self.session_timeout_ms,
            rebalance_timeout_ms: match self.rebalance_timeout_ms {
                -1 => self.session_timeout_ms,
                ms => ms,
            },
            protocols: protocol.map(|name| (name.to_owned(), subscription)).into_iter().collect(),
            assignment: Bytes::copy_from_slice(self.assignment),
            join: Wait::No,
            sync: Wait::No,
            is_new: false,
            deadline: Mono::default(),
        }
    }
}
