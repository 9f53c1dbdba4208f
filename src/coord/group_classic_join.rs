//! JoinGroup: who may join a classic group, and whether that starts a rebalance.

use super::answer::{GroupError, GroupState, JoinAnswer};
use super::group_classic::ClassicGroup;
use super::limits::{MEMBERS_PER_GROUP_MAX, NAME_BYTES_MAX, PROTOCOLS_PER_MEMBER_MAX};
use super::member::{Member, Wait, cut, offered_bytes};
use super::request::JoinRequest;
use super::turn::Turn;
use super::{AskId, GroupSettings};

/// What can be said about a join without looking at the group.
pub(super) fn check_join(request: &JoinRequest, settings: &GroupSettings) -> Result<(), GroupError> {
    let session = settings.min_session_timeout_ms..=settings.max_session_timeout_ms;
    if !session.contains(&request.session_timeout_ms) {
        return Err(GroupError::InvalidSessionTimeout);
    }
    let instance = request.instance_id.as_deref();
    if instance == Some("") || request.protocols.len() > PROTOCOLS_PER_MEMBER_MAX {
        return Err(GroupError::InvalidRequest);
    }
    let names = request.protocols.iter().map(|(name, _)| name.as_str());
    let mut texts = names.chain([request.member_id.as_str(), &request.protocol_type]).chain(instance);
    if texts.any(|text| text.len() > NAME_BYTES_MAX) { Err(GroupError::InvalidRequest) } else { Ok(()) }
}

impl ClassicGroup {
    /// Answers the join now or parks it until the join phase ends.
    pub fn join(&mut self, turn: &mut Turn<'_>, ask: AskId, request: &JoinRequest) {
        if let Some(error) = self.no_room(turn, request) {
            turn.answer_join(ask, JoinAnswer::refused(error, ""));
            self.turn_away(turn, &request.member_id);
            return;
        }
        if !self.supports(&request.protocol_type, request.protocols.iter().map(|(name, _)| name.as_str())) {
            let answer = JoinAnswer::refused(GroupError::InconsistentGroupProtocol, request.member_id.as_str());
            return turn.answer_join(ask, answer);
        }
        let held = self.members.get(&request.member_id).map_or(0, Member::bytes);
        if self.bytes - held + offered_bytes(&request.protocols) > ClassicGroup::bytes_max(turn) {
            let answer = JoinAnswer::refused(GroupError::GroupMaxSizeReached, request.member_id.as_str());
            return turn.answer_join(ask, answer);
        }
        if request.member_id.is_empty() {
            self.join_unknown(turn, ask, request);
        } else {
            self.join_known(turn, ask, request);
        }
    }

    /// In the join phase the members that already wait are counted, not all of them: the group may be above its
    /// limit, and then the last ones to come back are turned away.
    fn no_room(&self, turn: &Turn<'_>, request: &JoinRequest) -> Option<GroupError> {
        let max = turn.shared.settings.group_max_size.min(MEMBERS_PER_GROUP_MAX);
        let member = self.members.get(&request.member_id);
        let instance = request.instance_id.as_ref();
        // A returning static member takes the place of its former self.
        let replaces = request.member_id.is_empty() && instance.is_some_and(|i| self.statics.contains_key(i));
        let full = match self.state {
            GroupState::Empty | GroupState::Dead => false,
            GroupState::PreparingRebalance => {
                !member.is_some_and(|m| m.join.is_waiting()) && !replaces && self.waiting() >= max
            }
            GroupState::CompletingRebalance | GroupState::Stable => {
                member.is_none() && !replaces && self.members.len() >= max
            }
        };
        let ids = self.members.len() + self.pending.len();
        let ids_full = request.member_id.is_empty() && !replaces && ids >= MEMBERS_PER_GROUP_MAX;
        (full || ids_full).then_some(GroupError::GroupMaxSizeReached)
    }

    /// Forgets a member for which there is no room; the others may have waited only for it.
    fn turn_away(&mut self, turn: &mut Turn<'_>, member: &str) {
        let known = self.pending.remove(member).is_some() || self.members.contains_key(member);
        if known {
            self.expel(turn, member, GroupError::GroupMaxSizeReached);
            self.complete_if_all_joined(turn);
        }
    }

    fn join_unknown(&mut self, turn: &mut Turn<'_>, ask: AskId, request: &JoinRequest) {
        let id = new_member_id(turn, request);
        match &request.instance_id {
            Some(instance) => match self.statics.get(instance).cloned() {
                Some(old_id) => self.replace_static(turn, ask, request, &old_id, id),
                None => self.add_member(turn, ask, request, id),
            },
            None if request.require_known_member_id => {
                let lapses = turn.now.mono.plus_ms(request.session_timeout_ms.max(0) as u64);
                self.pending.insert(id.clone(), lapses);
                self.arm(turn, lapses);
                turn.answer_join(ask, JoinAnswer::refused(GroupError::MemberIdRequired, id));
            }
            None => self.add_member(turn, ask, request, id),
        }
    }

    fn join_known(&mut self, turn: &mut Turn<'_>, ask: AskId, request: &JoinRequest) {
        let id = request.member_id.as_str();
        // Ids are handed out to dynamic members only.
        if request.instance_id.is_none() && self.pending.remove(id).is_some() {
            return self.add_member(turn, ask, request, id.to_owned());
        }
        if let Err(error) = self.check_member(id, request.instance_id.as_deref()) {
            return turn.answer_join(ask, JoinAnswer::refused(error, id));
        }
        self.touch(turn, id);
        let unchanged = self.members.get(id).is_some_and(|member| member.matches(&request.protocols));
        match self.state {
            GroupState::PreparingRebalance => self.update_and_rebalance(turn, ask, request),
            // The member has missed its answer: here it is again.
            GroupState::CompletingRebalance if unchanged => {
                turn.answer_join(ask, self.current(id, self.is_leader(id)));
            }
            // The leader may have seen a change that is not in its metadata, such as new partitions.
            GroupState::Stable if unchanged && !self.is_leader(id) => {
                turn.out.ordered = true;
                turn.answer_join(ask, self.current(id, false));
            }
            GroupState::CompletingRebalance | GroupState::Stable => self.update_and_rebalance(turn, ask, request),
            GroupState::Empty | GroupState::Dead => {
                turn.answer_join(ask, JoinAnswer::refused(GroupError::UnknownMemberId, id));
            }
        }
    }

    fn add_member(&mut self, turn: &mut Turn<'_>, ask: AskId, request: &JoinRequest, id: String) {
        if self.members.is_empty() {
            self.protocol_type = Some(request.protocol_type.clone());
        }
        // The delay of the very first rebalance grows with everybody who comes after the first.
        if self.state == GroupState::PreparingRebalance && self.generation == 0 {
            self.new_member_added = true;
        }
        let mut member = Member::new(id.clone(), request);
        member.deadline = turn.now.mono.plus_ms(turn.shared.settings.new_member_join_timeout_ms);
        let deadline = member.deadline;
        self.insert_member(member);
        self.arm(turn, deadline);
        self.park_join(turn, &id, ask);
        self.advance(turn);
    }

    fn update_and_rebalance(&mut self, turn: &mut Turn<'_>, ask: AskId, request: &JoinRequest) {
        self.alter_member(&request.member_id, |member| member.adopt(request));
        self.touch(turn, &request.member_id);
        self.park_join(turn, &request.member_id, ask);
        self.advance(turn);
    }

    /// A static member is back without its id (KIP-345): it gets a new one, and the old one is fenced.
    fn replace_static(&mut self, turn: &mut Turn<'_>, ask: AskId, request: &JoinRequest, old_id: &str, id: String) {
        let old_leader = self.leader.clone();
        let was_leader = self.is_leader(old_id);
        let was_pending_sync = self.pending_sync.contains(old_id);
        self.answer_join(turn, old_id, || JoinAnswer::refused(GroupError::FencedInstanceId, old_id));
        self.answer_sync(turn, old_id, super::SyncAnswer::refused(GroupError::FencedInstanceId));
        let Some(old) = self.take_member(old_id) else { return };
        let member = Member { id: id.clone(), join: Wait::No, sync: Wait::No, is_new: false, ..old };
        self.insert_member(member);
        self.alter_member(&id, |member| {
            member.adopt(request);
            member.client_id = cut(&request.client_id).to_owned();
            member.client_host = cut(&request.client_host).to_owned();
        });
        if was_leader {
            self.leader = Some(id.clone());
        }
        if was_pending_sync {
            self.pending_sync.insert(id.clone());
        }
        self.touch(turn, &id);
        self.subscribed = self.compute_subscribed();
        let same_protocol = self.choose_protocol() == self.protocol;
        if self.state == GroupState::Stable && same_protocol && self.persist(turn) {
            let mut answer = self.current(&id, request.skip_assignment_supported && self.is_leader(&id));
            if request.skip_assignment_supported {
                answer.skip_assignment = self.is_leader(&id);
            } else {
                // The old leader's name keeps a client that cannot skip from computing an assignment.
                answer.leader = old_leader.unwrap_or_default();
            }
            return turn.answer_join(ask, answer);
        }
        // In the other states the leader may hold the old id: everybody joins again.
        self.park_join(turn, &id, ask);
        self.advance(turn);
    }
}

/// `<client or instance id>-<uuid>`, as Kafka makes them.
fn new_member_id(turn: &mut Turn<'_>, request: &JoinRequest) -> String {
    let prefix = request.instance_id.as_deref().unwrap_or(&request.client_id);
    let mut bytes = turn.shared.prng.bytes16();
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex = format!("{:032x}", u128::from_be_bytes(bytes));
    let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    format!("{}-{}", cut(prefix), parts.join("-"))
}
