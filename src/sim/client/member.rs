//! A member of a classic group: joins, takes what the leader assigns, sends heartbeats, commits, sometimes leaves.
//!
//! The leader deals partition numbers round robin. Two members that both believe to own a partition in one generation
//! are a finding; so is a committed offset that is lost.

use bytes::Bytes;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    GroupId, HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    OffsetCommitRequest, OffsetCommitResponse, SyncGroupRequest, SyncGroupResponse, TopicName,
};

use super::committer::{coordinator_found, find_coordinator};
use super::{Answer, Client, Cx, Line, Verdict, text, verdict};
use crate::sim::model::CommitKey;
use crate::wire::{ErrorCode, StrBytes};

const FIND: u64 = 0;
const JOIN: u64 = 1;
const SYNC: u64 = 2;
const BEAT: u64 = 3;
const COMMIT: u64 = 4;
const LEAVE: u64 = 5;

/// Partition numbers that a group divides among its members.
const SHARES: u8 = 4;

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Searching,
    Outside,
    /// What to send for the others, when this member leads.
    Joined(Vec<StrBytes>),
    Member(Vec<u8>),
}

/// One member.
#[derive(Debug)]
pub struct Member {
    group: String,
    topic: String,
    line: Line,
    id: StrBytes,
    generation: i32,
    state: State,
    value: i64,
    left: u32,
    waiting: Vec<(CommitKey, i64)>,
}

impl Member {
    /// `number` also makes the numbers it commits differ from those of the other members.
    pub fn new(group: u32, number: u32, topic: &str, left: u32) -> Member {
        Member {
            group: format!("group-{group}"),
            topic: topic.to_owned(),
            line: Line::default(),
            id: StrBytes::default(),
            generation: -1,
            state: State::Searching,
            value: i64::from(number) << 32,
            left,
            waiting: Vec::new(),
        }
    }

    fn group_id(&self) -> GroupId {
        GroupId(text(&self.group))
    }

    fn act(&mut self, cx: &mut Cx<'_>) {
        match self.state.clone() {
            State::Searching => find_coordinator(&mut self.line, &self.group, FIND, cx),
            State::Outside => self.join(cx),
            State::Joined(members) => self.sync(&members, cx),
            State::Member(_) if self.left == 0 => self.leave(cx),
            State::Member(shares) => match cx.below(10) {
                0..6 => {
                    self.commit(&shares, cx);
                    if cx.swarm.pipelines && cx.chance(1, 2) {
                        self.beat(cx);
                    }
                }
                6 if cx.chance(1, 4) => self.leave(cx),
                _ => self.beat(cx),
            },
        }
    }

    fn join(&mut self, cx: &mut Cx<'_>) {
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(text("deal"))
            .with_metadata(Bytes::from_static(b"\0\x01\0\0\0\0\xff\xff\xff\xff"));
        let request = JoinGroupRequest::default()
            .with_group_id(self.group_id())
            .with_session_timeout_ms(6_000)
            .with_rebalance_timeout_ms(6_000)
            .with_member_id(self.id.clone())
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![protocol]);
        let version = cx.version(1, 9);
        self.line.send(&request, version, JOIN, true, cx);
    }

    fn sync(&mut self, members: &[StrBytes], cx: &mut Cx<'_>) {
        let mut request = SyncGroupRequest::default()
            .with_group_id(self.group_id())
            .with_generation_id(self.generation)
            .with_member_id(self.id.clone())
            .with_protocol_type(Some(text("consumer")))
            .with_protocol_name(Some(text("deal")));
        for (index, member) in members.iter().enumerate() {
            let shares: Vec<u8> = (0..SHARES).filter(|share| usize::from(*share) % members.len() == index).collect();
            let assignment = SyncGroupRequestAssignment::default()
                .with_member_id(member.clone())
                .with_assignment(Bytes::from(shares));
            request.assignments.push(assignment);
        }
        let version = cx.version(0, 5);
        self.line.send(&request, version, SYNC, true, cx);
    }

    fn beat(&mut self, cx: &mut Cx<'_>) {
        let request = HeartbeatRequest::default()
            .with_group_id(self.group_id())
            .with_generation_id(self.generation)
            .with_member_id(self.id.clone());
        let version = cx.version(0, 4);
        self.line.send(&request, version, BEAT, true, cx);
    }

    fn leave(&mut self, cx: &mut Cx<'_>) {
        let version = cx.version(0, 5);
        let request = LeaveGroupRequest::default().with_group_id(self.group_id());
        let request = if version >= 3 {
            request.with_members(vec![MemberIdentity::default().with_member_id(self.id.clone())])
        } else {
            request.with_member_id(self.id.clone())
        };
        self.line.send(&request, version, LEAVE, true, cx);
        self.outside();
        self.id = StrBytes::default();
    }

    fn outside(&mut self) {
        self.state = State::Outside;
        self.generation = -1;
    }

    fn commit(&mut self, shares: &[u8], cx: &mut Cx<'_>) {
        let Some(partitions) = cx.model.usable(&self.topic).map(|topic| topic.partitions) else { return };
        let mut topic = OffsetCommitRequestTopic::default().with_name(TopicName(text(&self.topic)));
        for share in shares.iter().filter(|share| i32::from(**share) < partitions) {
            self.value += 1;
            let key = (self.group.clone(), self.topic.clone(), i32::from(*share));
            let now = cx.now();
            cx.model.commit_started(&key, self.value, now);
            self.waiting.push((key, self.value));
            let part = OffsetCommitRequestPartition::default()
                .with_partition_index(i32::from(*share))
                .with_committed_offset(self.value)
                .with_committed_metadata(Some(text("m")));
            topic.partitions.push(part);
        }
        if topic.partitions.is_empty() {
            return self.beat(cx);
        }
        self.left = self.left.saturating_sub(1);
        let request = OffsetCommitRequest::default()
            .with_group_id(self.group_id())
            .with_generation_id_or_member_epoch(self.generation)
            .with_member_id(self.id.clone())
            .with_topics(vec![topic]);
        let version = cx.version(2, 9);
        self.line.send(&request, version, COMMIT, true, cx);
    }

    fn committed(&mut self, response: OffsetCommitResponse, cx: &mut Cx<'_>) {
        let now = cx.now();
        for (key, value) in std::mem::take(&mut self.waiting) {
            let parts = response.topics.iter().flat_map(|topic| &topic.partitions);
            let Some(code) = parts.into_iter().find(|p| p.partition_index == key.2).map(|p| p.error_code) else {
                cx.model.fail(|| format!("{key:?} is missing in the answer to a commit"));
                return;
            };
            match ErrorCode::from_code(code) {
                Some(ErrorCode::None) => cx.model.commit_ended(&key, value, now, true),
                Some(ErrorCode::UnknownTopicOrPartition) => cx.model.commit_ended(&key, value, now, false),
                _ => {
                    if self.refused("commit", code, cx) {
                        cx.model.commit_ended(&key, value, now, false);
                    }
                }
            }
        }
    }

    /// What an error of the coordinator means. True: the request had no effect.
    fn refused(&mut self, what: &str, code: i16, cx: &mut Cx<'_>) -> bool {
        match (verdict(code), ErrorCode::from_code(code)) {
            (_, Some(ErrorCode::RebalanceInProgress)) => {
                self.state = State::Outside;
                true
            }
            (_, Some(ErrorCode::IllegalGeneration)) => {
                self.outside();
                true
            }
            (_, Some(ErrorCode::UnknownMemberId)) => {
                self.outside();
                self.id = StrBytes::default();
                true
            }
            (Verdict::Later, _) => {
                cx.wake_in_ms(50);
                false
            }
            (Verdict::Done | Verdict::Gone, _) => false,
            (Verdict::Wrong(error), _) => {
                cx.model.fail(|| format!("{what} in {}: {}", self.group, error.name()));
                false
            }
        }
    }

    fn joined(&mut self, response: JoinGroupResponse, cx: &mut Cx<'_>) {
        match ErrorCode::from_code(response.error_code) {
            Some(ErrorCode::None) => {
                self.id = response.member_id.clone();
                self.generation = response.generation_id;
                let leads = response.leader == response.member_id;
                let members = response.members.into_iter().map(|member| member.member_id).collect();
                self.state = State::Joined(if leads { members } else { Vec::new() });
                cx.wake_in_ns = Some(1_000);
            }
            Some(ErrorCode::MemberIdRequired) => self.id = response.member_id,
            _ => {
                self.refused("join", response.error_code, cx);
            }
        }
    }

    fn synced(&mut self, response: SyncGroupResponse, cx: &mut Cx<'_>) {
        if verdict(response.error_code) != Verdict::Done {
            self.refused("sync", response.error_code, cx);
            return;
        }
        let (group, generation) = (self.group.clone(), self.generation);
        let shares = response.assignment.to_vec();
        cx.model.owns(&group, generation, &self.id, &shares);
        self.state = State::Member(shares);
    }
}

impl Client for Member {
    fn wake(&mut self, cx: &mut Cx<'_>) {
        if cx.draining {
            self.left = 0;
        }
        cx.wake_in_ms(100);
        if self.line.waiting() == 0 && !self.is_idle() {
            self.act(cx);
        }
    }

    fn answer(&mut self, answer: Answer, cx: &mut Cx<'_>) {
        let think = cx.below(cx.swarm.think_ms * 4_000_000 + 1);
        cx.wake_in_ns = Some(think);
        match answer.tag {
            FIND if coordinator_found(&answer, cx) => self.state = State::Outside,
            FIND => {}
            JOIN => {
                if let Some(response) = answer.decode::<JoinGroupResponse>(cx) {
                    self.joined(response, cx);
                }
            }
            SYNC => {
                if let Some(response) = answer.decode::<SyncGroupResponse>(cx) {
                    self.synced(response, cx);
                }
            }
            BEAT => {
                if let Some(response) = answer.decode::<HeartbeatResponse>(cx)
                    && verdict(response.error_code) != Verdict::Done
                {
                    self.refused("heartbeat", response.error_code, cx);
                }
            }
            COMMIT => {
                if let Some(response) = answer.decode::<OffsetCommitResponse>(cx) {
                    self.committed(response, cx);
                }
            }
            _ => {}
        }
    }

    fn lost(&mut self, cx: &mut Cx<'_>) {
        self.waiting.clear();
        self.state = State::Searching;
        let ms = 1 + cx.below(100);
        cx.wake_in_ms(ms);
    }

    fn line(&mut self) -> &mut Line {
        &mut self.line
    }

    fn is_idle(&self) -> bool {
        let outside = matches!(self.state, State::Outside | State::Searching);
        self.left == 0 && outside && self.line.waiting() == 0
    }
}
