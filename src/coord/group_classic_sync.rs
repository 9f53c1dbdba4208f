//! SyncGroup, Heartbeat, LeaveGroup, and what a classic group says about itself.

use bytes::Bytes;
use std::collections::BTreeMap;

use super::answer::{DescribeAnswer, DescribedMember, GroupError, GroupState, LeaveAnswer, LeftMember, SyncAnswer};
use super::group_classic::ClassicGroup;
use super::request::{HeartbeatRequest, LeaveRequest, LeavingMember, OffsetCommitRequest, SyncRequest};
use super::turn::Turn;
use super::{AskId, GroupAnswer};

impl ClassicGroup {
    /// Answers the sync now or parks it until the leader has sent the assignments.
    pub fn sync(&mut self, turn: &mut Turn<'_>, ask: AskId, request: &SyncRequest) {
        if let Err(error) = self.check_sync(request) {
            return turn.answer_sync(ask, SyncAnswer::refused(error));
        }
        let id = request.member_id.as_str();
        self.touch(turn, id);
        self.pending_sync.remove(id);
        if self.state == GroupState::Stable {
            return turn.answer_sync(ask, self.assignment_of(id));
        }
        self.park_sync(turn, id, ask);
        if self.is_leader(id) {
            self.assign(turn, &request.assignments);
        }
    }

    fn check_sync(&self, request: &SyncRequest) -> Result<(), GroupError> {
        self.check_member(&request.member_id, request.instance_id.as_deref())?;
        if request.generation != self.generation {
            return Err(GroupError::IllegalGeneration);
        }
        let differs = |asked: &Option<String>, own: &Option<String>| asked.is_some() && own.is_some() && asked != own;
        if differs(&request.protocol_type, &self.protocol_type) || differs(&request.protocol, &self.protocol) {
            return Err(GroupError::InconsistentGroupProtocol);
        }
        match self.state {
            GroupState::CompletingRebalance | GroupState::Stable => Ok(()),
            GroupState::PreparingRebalance => Err(GroupError::RebalanceInProgress),
            GroupState::Empty => Err(GroupError::UnknownMemberId),
            GroupState::Dead => Err(GroupError::CoordinatorNotAvailable),
        }
    }

    /// The leader has spoken: the generation is complete. Members it left out get empty assignments.
    fn assign(&mut self, turn: &mut Turn<'_>, assignments: &[(String, Bytes)]) {
        let by_member: BTreeMap<&str, &Bytes> = assignments.iter().map(|(id, bytes)| (id.as_str(), bytes)).collect();
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for id in &ids {
            let assignment = by_member.get(id.as_str()).map(|bytes| Bytes::copy_from_slice(bytes)).unwrap_or_default();
            self.alter_member(id, |member| member.assignment = assignment);
        }
        let before = (self.state, self.state_ms);
        self.set_state(GroupState::Stable, turn.now);
        if !self.persist(turn) {
            // The group cannot be stored: Kafka answers UNKNOWN_SERVER_ERROR, too, and lets the members try again.
            (self.state, self.state_ms) = before;
            self.cancel_syncs(turn, GroupError::UnknownServerError);
            return self.prepare(turn);
        }
        for id in ids {
            let answer = self.assignment_of(&id);
            self.answer_sync(turn, &id, answer);
        }
    }

    fn assignment_of(&self, member: &str) -> SyncAnswer {
        SyncAnswer {
            error: None,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            assignment: self.members.get(member).map(|member| member.assignment.clone()).unwrap_or_default(),
        }
    }

    /// Heartbeat: is the member still part of this generation?
    pub fn heartbeat(&mut self, turn: &mut Turn<'_>, request: &HeartbeatRequest) -> Result<(), GroupError> {
        self.check_member(&request.member_id, request.instance_id.as_deref())?;
        if request.generation != self.generation {
            return Err(GroupError::IllegalGeneration);
        }
        match self.state {
            GroupState::Empty => Err(GroupError::UnknownMemberId),
            GroupState::Dead => Err(GroupError::CoordinatorNotAvailable),
            GroupState::PreparingRebalance => {
                self.touch(turn, &request.member_id);
                Err(GroupError::RebalanceInProgress)
            }
            GroupState::CompletingRebalance | GroupState::Stable => {
                self.touch(turn, &request.member_id);
                Ok(())
            }
        }
    }

    /// LeaveGroup: one rebalance for all of them.
    pub fn leave(&mut self, turn: &mut Turn<'_>, ask: AskId, request: &LeaveRequest) {
        let mut members = Vec::with_capacity(request.members.len());
        let mut any_left = false;
        for leaving in &request.members {
            let result = self.leave_one(turn, leaving);
            any_left |= result == Ok(true);
            members.push(LeftMember {
                member_id: leaving.member_id.clone(),
                instance_id: leaving.instance_id.clone(),
                error: result.err(),
            });
        }
        turn.answer(ask, GroupAnswer::Leave(LeaveAnswer { error: None, members }));
        if any_left {
            self.advance(turn);
        } else {
            // A handed-out id that was given back may be what the others waited for.
            self.complete_if_all_joined(turn);
        }
    }

    /// True when a member went, false when only an unused id was given back.
    fn leave_one(&mut self, turn: &mut Turn<'_>, leaving: &LeavingMember) -> Result<bool, GroupError> {
        let id = if leaving.member_id.is_empty() {
            let instance = leaving.instance_id.as_ref().ok_or(GroupError::UnknownMemberId)?;
            self.statics.get(instance).cloned().ok_or(GroupError::UnknownMemberId)?
        } else if self.pending.remove(&leaving.member_id).is_some() {
            return Ok(false);
        } else {
            self.check_member(&leaving.member_id, leaving.instance_id.as_deref())?;
            leaving.member_id.clone()
        };
        self.expel(turn, &id, GroupError::UnknownMemberId);
        Ok(true)
    }

    /// May this request commit offsets? A commit of a member is a sign of life.
    pub fn check_commit(&mut self, turn: &mut Turn<'_>, request: &OffsetCommitRequest) -> Result<(), GroupError> {
        // Admin tools, and consumers that assign their partitions themselves. While there are members, only they may
        // commit: a request without member id is refused by the check below.
        if request.generation < 0 && self.state == GroupState::Empty {
            return Ok(());
        }
        self.check_member(&request.member_id, request.instance_id.as_deref())?;
        if request.generation != self.generation {
            return Err(GroupError::IllegalGeneration);
        }
        if self.state == GroupState::CompletingRebalance {
            return Err(GroupError::RebalanceInProgress);
        }
        self.touch(turn, &request.member_id);
        Ok(())
    }

    /// What tools see.
    pub fn describe(&self) -> DescribeAnswer {
        let stable = self.state == GroupState::Stable;
        let protocol = self.protocol.as_deref().filter(|_| stable).unwrap_or_default();
        let members = self.members.values().map(|member| DescribedMember {
            member_id: member.id.clone(),
            instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            metadata: member.metadata(protocol),
            assignment: if stable { member.assignment.clone() } else { Bytes::new() },
        });
        DescribeAnswer {
            error: None,
            group: self.id.clone(),
            state: self.state,
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            protocol: protocol.to_owned(),
            members: members.collect(),
        }
    }
}
