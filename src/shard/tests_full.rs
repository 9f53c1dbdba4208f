//! A core on a disk that is full for a while: nothing is decided that the log does not take, nobody waits for room who
//! could be told, and everything goes on afterwards.

use std::collections::BTreeMap;

use super::folder::FolderEvent;
use super::message::{Ask, AskKey, DeleteQuery, Message, OffsetQuery, OffsetTarget, PartitionError, Reply};
use super::test_config::test_config;
use super::{Notice, Shard};
use crate::base::ids::{CoreId, TopicPartition, Uuid};
use crate::base::time::{Mono, Now};
use crate::coord::{CommitPartition, CommitTopic, GroupAnswer, GroupRequest, OffsetCommitRequest, OffsetFetchRequest};
use crate::meta::controller::{Answer, Command, NewTopic};
use crate::port::disk::{DiskError, DiskErrorKind, DiskOp, DiskOutput, DiskResult};

/// Core 0 with a disk that keeps nothing: no log here is read.
struct World {
    shard: Shard,
    now: Now,
    /// No room for bytes; no room for names.
    full: (bool, bool),
    replies: BTreeMap<AskKey, Reply>,
    notices: Vec<Notice>,
    /// What went to other cores.
    sent: Vec<Message>,
    next_ask: AskKey,
}

fn shard(cores: u16, now: Now) -> Shard {
    Shard::new(test_config(cores, &[("offsets.topic.num.partitions", "1")]), now)
}

impl World {
    /// A node of one core that serves, with an offsets topic.
    fn new() -> World {
        let now = Now { mono: Mono(1_000_000_000), wall_ms: 1_700_000_000_000 };
        let (replies, notices, sent) = (BTreeMap::new(), Vec::new(), Vec::new());
        let shard = shard(1, now);
        let mut world = World { shard, now, full: (false, false), replies, notices, sent, next_ask: 0 };
        world.turns();
        assert!(world.notices.contains(&Notice::Serving), "{:?}", world.notices);
        let created = world.ask(Ask::Control(Command::CreateOffsetsTopic));
        assert!(matches!(world.replies[&created], Reply::Control(Answer::TopicsCreated(_))), "{:?}", world.replies);
        world
    }

    fn answer(&self, op: &DiskOp) -> DiskResult {
        let (bytes, names) = self.full;
        let full = match op {
            DiskOp::Write { .. } | DiskOp::ZeroFill { .. } | DiskOp::WriteFile { .. } => bytes,
            DiskOp::MakeDir { .. } | DiskOp::Rename { .. } => names,
            DiskOp::Open { mode, .. } => names && mode.create,
            _ => false,
        };
        if full {
            return Err(DiskError { kind: DiskErrorKind::NoSpace, detail: "full".to_owned() });
        }
        match op {
            DiskOp::List { .. } => Ok(DiskOutput::Entries(Vec::new())),
            DiskOp::ReadFile { .. } => {
                Err(DiskError { kind: DiskErrorKind::NotFound, detail: "nothing is kept".to_owned() })
            }
            DiskOp::Open { .. } => Ok(DiskOutput::Opened { len: 0 }),
            DiskOp::Read { .. } => panic!("nothing is read: {op:?}"),
            _ => Ok(DiskOutput::Done),
        }
    }

    /// Until nothing moves.
    fn turns(&mut self) {
        for _ in 0..1000 {
            self.shard.wake(self.now);
            self.shard.flush(self.now);
            self.notices.extend(self.shard.take_notices());
            let (ops, messages) = (self.shard.take_disk(), self.shard.take_messages());
            if ops.is_empty() && messages.is_empty() {
                assert!(self.shard.next_wake().is_none_or(|at| at > self.now.mono), "due at once, for ever");
                return;
            }
            for (token, op) in ops {
                self.shard.disk_done(token, self.answer(&op), self.now);
            }
            for (to, message) in messages {
                match message {
                    Message::Reply { key, reply } if !matches!(reply, Reply::Kept) => {
                        assert!(self.replies.insert(key, reply).is_none(), "two replies to one ask");
                    }
                    message if to == CoreId(0) => self.shard.receive(to, message, self.now),
                    message => self.sent.push(message),
                }
            }
        }
        panic!("it never comes to rest");
    }

    fn ask(&mut self, ask: Ask) -> AskKey {
        self.next_ask += 1;
        let (key, seen) = (self.next_ask, self.shard.applied_end);
        self.shard.receive(CoreId(0), Message::Ask { key, seen, ask }, self.now);
        self.turns();
        key
    }

    fn create(&mut self, name: &str) -> AskKey {
        let topic = NewTopic { name: name.to_owned(), partitions: 1, replication_factor: 1, ..NewTopic::default() };
        self.ask(Ask::Control(Command::CreateTopics { topics: vec![topic], validate_only: false }))
    }

    fn commit(&mut self, offset: i64) -> AskKey {
        let partitions = vec![CommitPartition { partition: 0, offset, leader_epoch: -1, metadata: None }];
        let topics = vec![CommitTopic { name: "t".to_owned(), topic_id: Uuid::ZERO, partitions }];
        let request = OffsetCommitRequest {
            group: "g".to_owned(),
            generation: -1,
            member_id: String::new(),
            instance_id: None,
            retention_ms: -1,
            group_id_not_found_known: true,
            topics,
        };
        self.ask(Ask::Group { partition: 0, request: GroupRequest::OffsetCommit(request) })
    }

    fn fetch(&mut self) -> AskKey {
        let (group, member_id, topics) = ("g".to_owned(), None, None);
        let request = OffsetFetchRequest { group, member_id, member_epoch: -1, topics, require_stable: false };
        self.ask(Ask::Group { partition: 0, request: GroupRequest::OffsetFetch(request) })
    }

    fn committed(&self, ask: AskKey) -> i64 {
        match &self.replies[&ask] {
            Reply::Group(GroupAnswer::OffsetFetch(answer)) => answer.topics[0].partitions[0].offset,
            other => panic!("{other:?}"),
        }
    }

    fn is_refused(&self, ask: AskKey) -> bool {
        matches!(self.replies.get(&ask), Some(Reply::Refused(PartitionError::NoSpace)))
    }

    fn room_after(&mut self, ms: u64) {
        self.full = (false, false);
        self.pass(ms);
    }

    fn pass(&mut self, ms: u64) {
        self.now = Now { mono: self.now.mono.plus_ms(ms), wall_ms: self.now.wall_ms + ms as i64 };
        self.turns();
    }

    fn partition(&self, topic: &str) -> TopicPartition {
        TopicPartition { topic: self.shard.image.topic_named(topic).expect("it exists").id, partition: 0 }
    }

    fn is_online(&self) -> bool {
        !self.notices.iter().any(|notice| matches!(notice, Notice::FolderOffline { .. }))
    }
}

#[test]
fn a_command_that_the_metadata_log_cannot_take_is_refused_before_it_is_decided() {
    let mut world = World::new();
    world.full = (true, true);
    let first = world.create("a");
    assert!(!world.replies.contains_key(&first), "decided and not durable");
    let second = world.create("b");
    assert!(world.is_online(), "{:?}", world.notices);
    assert!(world.is_refused(second), "{:?}", world.replies);
    world.pass(2000);
    world.room_after(2000);
    assert!(matches!(world.replies[&first], Reply::Control(Answer::TopicsCreated(_))));
    let third = world.create("b");
    assert!(matches!(&world.replies[&third], Reply::Control(Answer::TopicsCreated(made)) if made[0].1.is_ok()));
    assert!(world.is_online());
}

#[test]
fn a_topic_made_on_a_full_disk_answers_so_and_serves_when_there_is_room() {
    let mut world = World::new();
    world.full = (false, true);
    let made = world.create("a");
    assert!(matches!(&world.replies[&made], Reply::Control(Answer::TopicsCreated(made)) if made[0].1.is_ok()));
    let partition = world.partition("a");
    let query = || OffsetQuery { slot: 0, partition, leader_epoch: -1, target: OffsetTarget::Latest };
    let found = |world: &mut World| {
        let ask = world.ask(Ask::ListOffsets(vec![query()]));
        match world.replies.remove(&ask) {
            Some(Reply::ListOffsets(mut done)) => done.remove(0).result.map(|found| found.offset),
            other => panic!("nobody waits for room: {other:?}"),
        }
    };
    assert_eq!(found(&mut world), Err(PartitionError::NoSpace));
    world.pass(5000);
    assert_eq!(found(&mut world), Err(PartitionError::NoSpace));
    world.room_after(1000);
    assert_eq!(found(&mut world), Ok(0));
    assert!(world.is_online());
}

#[test]
fn an_offset_that_was_refused_is_not_committed() {
    let mut world = World::new();
    world.commit(5);
    world.full = (true, true);
    let pending = world.commit(6);
    let refused = world.commit(7);
    let delete = world.ask(Ask::Group { partition: 0, request: GroupRequest::DeleteGroup { group: "g".to_owned() } });
    assert!(world.is_refused(refused) && world.is_refused(delete), "{:?}", world.replies);
    let fetch = world.fetch();
    world.room_after(2000);
    assert!(matches!(world.replies[&pending], Reply::Group(GroupAnswer::OffsetCommit(_))));
    assert_eq!(world.committed(fetch), 6);
    world.commit(8);
    let fetch = world.fetch();
    assert_eq!(world.committed(fetch), 8);
    assert!(world.is_online());
}

#[test]
fn groups_wait_for_room_without_keeping_the_core_busy() {
    let mut world = World::new();
    world.commit(5);
    world.full = (true, true);
    world.commit(6);
    // The offsets expire, which nobody can write down: `turns` sees that the core is not due for ever.
    world.pass(30 * 86_400_000);
    world.room_after(2000);
    let fetch = world.fetch();
    assert!(
        matches!(&world.replies[&fetch], Reply::Group(GroupAnswer::OffsetFetch(answer)) if answer.topics.is_empty())
    );
    assert!(world.is_online());
}

#[test]
fn deleting_records_on_a_full_disk_is_answered_when_it_is_kept() {
    let mut world = World::new();
    world.create("a");
    world.full = (true, true);
    let partition = world.partition("a");
    let ask = world.ask(Ask::DeleteRecords(vec![DeleteQuery { slot: 0, partition, before: 0 }]));
    world.pass(3000);
    assert!(!world.replies.contains_key(&ask), "a restart would not know it");
    assert!(world.is_online(), "{:?}", world.notices);
    world.room_after(1000);
    assert!(matches!(&world.replies[&ask], Reply::DeleteRecords(done) if done[0].result == Ok(0)));
    // And when the folder fails, nobody waits for ever.
    world.full = (true, true);
    let ask = world.ask(Ask::DeleteRecords(vec![DeleteQuery { slot: 0, partition, before: 0 }]));
    world.shard.folder_event(FolderEvent::Failed("the disk is broken".to_owned()), world.now);
    world.turns();
    assert!(matches!(world.replies[&ask], Reply::Refused(PartitionError::Storage)), "{:?}", world.replies);
    assert!(!world.is_online());
}

#[test]
fn every_core_hears_that_the_folder_failed() {
    let now = Now { mono: Mono(1), wall_ms: 1 };
    let mut shard = shard(3, now);
    shard.applied_end = 1;
    shard.folder_event(FolderEvent::Failed("the disk is broken".to_owned()), now);
    let told = shard.take_messages().into_iter().filter(|(_, m)| matches!(m, Message::FolderOffline { .. }));
    let told: Vec<CoreId> = told.map(|(core, _)| core).collect();
    assert_eq!(told, [CoreId(1), CoreId(2)]);
}
