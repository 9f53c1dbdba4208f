//! Tests of the coordinator: a world with virtual time and a log in memory. After every entry the invariants hold, and
//! replaying the log into a new coordinator gives the same committed offsets and the same members.

mod check;
mod golden;
mod join;
mod limits;
mod load;
mod offsets;
mod random;
mod statics;
mod sync;

use std::collections::BTreeMap;

use bytes::Bytes;

use super::*;
use crate::base::ids::Uuid;
use crate::base::time::{Mono, Now};

/// A coordinator, its log and its clients' mail.
struct World {
    coordinator: Coordinator,
    settings: GroupSettings,
    now: Now,
    last_ask: u64,
    log: Vec<CoordRecord>,
    answers: BTreeMap<AskId, GroupAnswer>,
    /// Largest generation seen, by group.
    generations: BTreeMap<String, i32>,
}

const RANGE: &[&str] = &["range"];

impl World {
    fn new() -> World {
        World::with(GroupSettings::default())
    }

    fn with(settings: GroupSettings) -> World {
        let now = Now { mono: Mono(1_000_000_000), wall_ms: 1_700_000_000_000 };
        let mut coordinator = Coordinator::new(settings.clone(), 7);
        coordinator.loaded(now);
        let (log, answers, generations) = Default::default();
        World { coordinator, settings, now, last_ask: 0, log, answers, generations }
    }

    fn ask(&mut self, request: GroupRequest) -> AskId {
        self.last_ask += 1;
        let id = AskId(self.last_ask);
        let outcome = self.coordinator.ask(self.now, id, request);
        self.take(outcome);
        id
    }

    fn take(&mut self, outcome: Outcome) {
        let bytes: usize = outcome.records.iter().map(|r| r.bytes() + turn::RECORD_OVERHEAD).sum();
        assert!(bytes + turn::BATCH_OVERHEAD <= self.settings.batch_bytes_max.max(limits_of::BATCH_BYTES_MIN));
        self.log.extend(outcome.records);
        for (id, answer) in outcome.answers {
            assert!(self.answers.insert(id, answer).is_none(), "{id:?} was answered twice");
        }
        check::invariants(self);
    }

    /// Asks and expects the answer at once.
    fn call(&mut self, request: GroupRequest) -> GroupAnswer {
        let id = self.ask(request);
        self.answers.remove(&id).expect("an answer at once")
    }

    /// Lets virtual time pass, with every wake the coordinator asks for on the way.
    fn pass_ms(&mut self, ms: u64) {
        let end = self.now.mono.plus_ms(ms);
        let mut wakes = 0;
        while let Some(at) = self.coordinator.next_wake().filter(|at| *at <= end) {
            self.move_to(at.max(self.now.mono));
            let outcome = self.coordinator.wake(self.now);
            self.take(outcome);
            wakes += 1;
            assert!(wakes < 100_000, "the coordinator never comes to rest");
        }
        self.move_to(end);
    }

    fn move_to(&mut self, at: Mono) {
        self.now.wall_ms += at.ms_since(self.now.mono) as i64;
        self.now.mono = at;
    }

    fn is_parked(&self, id: AskId) -> bool {
        !self.answers.contains_key(&id)
    }

    fn joined(&mut self, id: AskId) -> JoinAnswer {
        match self.answers.remove(&id) {
            Some(GroupAnswer::Join(answer)) => answer,
            other => panic!("a join answer expected, not {other:?}"),
        }
    }

    fn synced(&mut self, id: AskId) -> SyncAnswer {
        match self.answers.remove(&id) {
            Some(GroupAnswer::Sync(answer)) => answer,
            other => panic!("a sync answer expected, not {other:?}"),
        }
    }

    fn join(&mut self, request: JoinRequest) -> AskId {
        self.ask(GroupRequest::Join(request))
    }

    fn sync(&mut self, member: &str, generation: i32, assignments: &[(&str, &str)]) -> AskId {
        self.ask(GroupRequest::Sync(sync_request(member, generation, assignments)))
    }

    fn heartbeat(&mut self, member: &str, generation: i32) -> Option<GroupError> {
        let request = HeartbeatRequest { member_id: member.into(), generation, ..heartbeat_request() };
        match self.call(GroupRequest::Heartbeat(request)) {
            GroupAnswer::Heartbeat(error) => error,
            other => panic!("a heartbeat answer expected, not {other:?}"),
        }
    }

    fn leave(&mut self, members: &[(&str, Option<&str>)]) -> Vec<Option<GroupError>> {
        let leaving = members.iter().map(|(id, instance)| LeavingMember {
            member_id: (*id).into(),
            instance_id: instance.map(str::to_owned),
            reason: None,
        });
        match self.call(GroupRequest::Leave(LeaveRequest { group: "g".into(), members: leaving.collect() })) {
            GroupAnswer::Leave(answer) => answer.members.into_iter().map(|member| member.error).collect(),
            other => panic!("a leave answer expected, not {other:?}"),
        }
    }

    fn describe(&mut self) -> DescribeAnswer {
        match self.call(GroupRequest::Describe { group: "g".into() }) {
            GroupAnswer::Describe(answer) => answer,
            other => panic!("a describe answer expected, not {other:?}"),
        }
    }

    fn state(&mut self) -> GroupState {
        self.describe().state
    }

    fn commit(&mut self, member: &str, generation: i32, partition: i32, offset: i64) -> Option<GroupError> {
        self.commit_to(commit_request(member, generation, "t", partition, offset))
    }

    fn commit_to(&mut self, request: OffsetCommitRequest) -> Option<GroupError> {
        match self.call(GroupRequest::OffsetCommit(request)) {
            GroupAnswer::OffsetCommit(answer) => answer.topics[0].partitions[0].1,
            other => panic!("a commit answer expected, not {other:?}"),
        }
    }

    fn fetch_all(&mut self, group: &str) -> Vec<(String, i32, i64)> {
        let request = fetch_request(group, None);
        let GroupAnswer::OffsetFetch(answer) = self.call(GroupRequest::OffsetFetch(request)) else { panic!() };
        assert_eq!(answer.error, None);
        let mut found = Vec::new();
        for topic in answer.topics {
            found.extend(topic.partitions.into_iter().map(|p| (topic.name.clone(), p.partition, p.offset)));
        }
        found
    }

    /// `count` members through the whole handshake into a Stable group: their ids, leader first, and the generation.
    fn stable_group(&mut self, count: usize) -> (Vec<String>, i32) {
        let asks: Vec<AskId> = (0..count).map(|_| self.join_with_handshake(consumer_join())).collect();
        self.pass_ms(10_000);
        let answers: Vec<JoinAnswer> = asks.into_iter().map(|ask| self.joined(ask)).collect();
        let generation = answers[0].generation;
        let mut ids: Vec<String> = answers.iter().map(|answer| answer.member_id.clone()).collect();
        ids.sort_by_key(|id| *id != answers[0].leader);
        self.sync_all(&ids, generation);
        assert_eq!(self.state(), GroupState::Stable);
        (ids, generation)
    }

    /// Everybody syncs, the leader (the first) last; each gets "for <id>".
    fn sync_all(&mut self, ids: &[String], generation: i32) {
        let texts: Vec<(String, String)> = ids.iter().map(|id| (id.clone(), format!("for {id}"))).collect();
        let assignments: Vec<(&str, &str)> = texts.iter().map(|(id, text)| (id.as_str(), text.as_str())).collect();
        let mut asks = Vec::new();
        for id in ids.iter().skip(1) {
            asks.push(self.sync(id, generation, &[]));
        }
        asks.insert(0, self.sync(&ids[0], generation, &assignments));
        for (ask, (_, text)) in asks.into_iter().zip(&texts) {
            let answer = self.synced(ask);
            assert_eq!((answer.error, &answer.assignment[..]), (None, text.as_bytes()));
        }
    }

    /// Joins as a dynamic member of version 4 or later.
    fn join_with_handshake(&mut self, request: JoinRequest) -> AskId {
        let first = self.join(request.clone());
        let answer = self.joined(first);
        assert_eq!(answer.error, Some(GroupError::MemberIdRequired));
        self.join(JoinRequest { member_id: answer.member_id, ..request })
    }

    /// Ends this coordinator and loads its log into the next one.
    fn fail_over(&mut self) {
        for (id, answer) in self.coordinator.resign() {
            self.answers.insert(id, answer);
        }
        self.coordinator = check::reload(self, self.now.mono.0 ^ self.last_ask << 40);
        self.coordinator.loaded(self.now);
        // A generation whose assignments were never stored is forgotten, and its number comes again.
        self.generations.clear();
        check::invariants(self);
    }
}

/// The limits under a name that the test file of the same name does not hide.
use super::limits as limits_of;

fn consumer_join() -> JoinRequest {
    JoinRequest {
        group: "g".into(),
        client_id: "cli".into(),
        client_host: "/127.0.0.1".into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        protocol_type: "consumer".into(),
        protocols: protocols(RANGE, &["t"]),
        require_known_member_id: true,
        skip_assignment_supported: true,
        ..JoinRequest::default()
    }
}

/// A static member asks with its instance id and, on its first join, without member id.
fn static_join(instance: &str) -> JoinRequest {
    JoinRequest { instance_id: Some(instance.into()), ..consumer_join() }
}

fn rejoin(member: &str) -> JoinRequest {
    JoinRequest { member_id: member.into(), ..consumer_join() }
}

fn protocols(names: &[&str], topics: &[&str]) -> Vec<(String, Bytes)> {
    names.iter().map(|name| ((*name).to_owned(), subscription(topics))).collect()
}

/// A ConsumerProtocolSubscription of version 0.
fn subscription(topics: &[&str]) -> Bytes {
    let mut bytes = vec![0, 0];
    bytes.extend((topics.len() as i32).to_be_bytes());
    for topic in topics {
        bytes.extend((topic.len() as i16).to_be_bytes());
        bytes.extend(topic.as_bytes());
    }
    bytes.extend((-1i32).to_be_bytes());
    bytes.into()
}

fn heartbeat_request() -> HeartbeatRequest {
    HeartbeatRequest { group: "g".into(), ..HeartbeatRequest::default() }
}

fn sync_request(member: &str, generation: i32, assignments: &[(&str, &str)]) -> SyncRequest {
    let assignments = assignments.iter().map(|(id, text)| ((*id).to_owned(), Bytes::copy_from_slice(text.as_bytes())));
    SyncRequest {
        group: "g".into(),
        generation,
        member_id: member.into(),
        assignments: assignments.collect(),
        ..SyncRequest::default()
    }
}

fn commit_request(member: &str, generation: i32, topic: &str, partition: i32, offset: i64) -> OffsetCommitRequest {
    OffsetCommitRequest {
        group: "g".into(),
        generation,
        member_id: member.into(),
        instance_id: None,
        retention_ms: -1,
        group_id_not_found_known: false,
        topics: vec![CommitTopic {
            name: topic.into(),
            topic_id: Uuid::ZERO,
            partitions: vec![CommitPartition { partition, offset, leader_epoch: 3, metadata: None }],
        }],
    }
}

fn fetch_request(group: &str, topics: Option<Vec<FetchTopic>>) -> OffsetFetchRequest {
    OffsetFetchRequest { group: group.into(), member_id: None, member_epoch: -1, topics, require_stable: true }
}
