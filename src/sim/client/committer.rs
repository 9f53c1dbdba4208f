//! Commits offsets outside any group membership, as tools and hand-made consumers do; numbers only go up.

use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::{
    FindCoordinatorRequest, FindCoordinatorResponse, GroupId, OffsetCommitRequest, OffsetCommitResponse,
    OffsetFetchRequest, OffsetFetchResponse, TopicName,
};

use super::{Answer, Client, Cx, Line, Verdict, text, verdict};
use crate::sim::model::CommitKey;

const FIND: u64 = 0;
const COMMIT: u64 = 1;
const FETCH: u64 = 2;

/// One committer with a group of its own.
#[derive(Debug)]
pub struct Committer {
    group: String,
    line: Line,
    found: bool,
    value: i64,
    left: u32,
    waiting: Vec<(CommitKey, i64)>,
}

impl Committer {
    pub fn new(number: u32, left: u32) -> Committer {
        let group = format!("tool-{number}");
        Committer { group, line: Line::default(), found: false, value: 0, left, waiting: Vec::new() }
    }

    fn commit(&mut self, cx: &mut Cx<'_>) {
        let topics: Vec<(String, i32)> = (cx.model.topics.iter())
            .filter(|(name, _)| cx.model.usable(name).is_some())
            .map(|(name, topic)| (name.clone(), topic.partitions))
            .collect();
        if topics.is_empty() {
            return;
        }
        self.left -= 1;
        let (topic, partitions) = topics[cx.below(topics.len() as u64) as usize].clone();
        let mut entry = OffsetCommitRequestTopic::default().with_name(TopicName(text(&topic)));
        for partition in 0..partitions {
            self.value += 1;
            let key = (self.group.clone(), topic.clone(), partition);
            let now = cx.now();
            cx.model.commit_started(&key, self.value, now);
            self.waiting.push((key, self.value));
            let part = OffsetCommitRequestPartition::default()
                .with_partition_index(partition)
                .with_committed_offset(self.value)
                .with_committed_metadata(Some(text("")));
            entry.partitions.push(part);
        }
        let request = OffsetCommitRequest::default()
            .with_group_id(GroupId(text(&self.group)))
            .with_generation_id_or_member_epoch(-1)
            .with_topics(vec![entry]);
        let version = cx.version(2, 9);
        self.line.send(&request, version, COMMIT, true, cx);
    }

    fn committed(&mut self, response: OffsetCommitResponse, cx: &mut Cx<'_>) {
        let now = cx.now();
        for (key, value) in std::mem::take(&mut self.waiting) {
            let parts = response.topics.iter().filter(|t| t.name.0.as_str() == key.1).flat_map(|t| &t.partitions);
            let Some(part) = parts.into_iter().find(|part| part.partition_index == key.2) else {
                cx.model.fail(|| format!("{key:?} is missing in the answer to a commit"));
                return;
            };
            match verdict(part.error_code) {
                Verdict::Done => cx.model.commit_ended(&key, value, now, true),
                // It may have been written: the outcome stays unknown.
                Verdict::Later => {
                    cx.told_to_wait("OffsetCommit", part.error_code);
                    self.left += 1;
                    cx.wake_in_ms(20);
                }
                Verdict::Gone => cx.model.commit_ended(&key, value, now, false),
                Verdict::Wrong(error) => cx.model.fail(|| format!("commit of {key:?}: {}", error.name())),
            }
        }
    }
}

impl Committer {
    /// Asks for everything it has committed.
    fn fetch(&mut self, cx: &mut Cx<'_>) {
        let request = OffsetFetchRequest::default().with_group_id(GroupId(text(&self.group))).with_topics(None);
        let version = cx.version(2, 7);
        self.line.send(&request, version, FETCH, true, cx);
    }

    /// What can be read must survive, whatever was answered when it was committed.
    fn fetched(&mut self, response: &OffsetFetchResponse, cx: &mut Cx<'_>) {
        let now = cx.now();
        for topic in &response.topics {
            for part in topic.partitions.iter().filter(|part| part.error_code == 0) {
                let key = (self.group.clone(), topic.name.0.to_string(), part.partition_index);
                cx.model.commit_seen(&key, part.committed_offset, now);
            }
        }
    }
}

/// Asks for the coordinator of a group.
pub fn find_coordinator(line: &mut Line, group: &str, tag: u64, cx: &mut Cx<'_>) {
    let version = cx.version(0, 6);
    let request = if version >= 4 {
        FindCoordinatorRequest::default().with_coordinator_keys(vec![text(group)])
    } else {
        FindCoordinatorRequest::default().with_key(text(group))
    };
    line.send(&request, version, tag, true, cx);
}

/// Whether the answer names a coordinator.
pub fn coordinator_found(answer: &Answer, cx: &mut Cx<'_>) -> bool {
    let Some(response) = answer.decode::<FindCoordinatorResponse>(cx) else { return false };
    let code = if answer.version >= 4 {
        response.coordinators.first().map_or(0, |coordinator| coordinator.error_code)
    } else {
        response.error_code
    };
    match verdict(code) {
        Verdict::Done => return true,
        Verdict::Later => cx.wake_in_ms(50),
        Verdict::Gone => {}
        Verdict::Wrong(error) => cx.model.fail(|| format!("FindCoordinator: {}", error.name())),
    }
    false
}

impl Client for Committer {
    fn wake(&mut self, cx: &mut Cx<'_>) {
        if cx.draining {
            self.left = 0;
        }
        cx.wake_in_ms(50);
        if self.line.waiting() > 0 || self.left == 0 {
            return;
        }
        if self.found && cx.swarm.full_disk && cx.chance(1, 3) {
            self.fetch(cx);
        } else if self.found {
            self.commit(cx);
        } else {
            find_coordinator(&mut self.line, &self.group, FIND, cx);
        }
    }

    fn answer(&mut self, answer: Answer, cx: &mut Cx<'_>) {
        let think = cx.below(cx.swarm.think_ms * 4_000_000 + 1);
        cx.wake_in_ns = Some(think);
        if answer.tag == FIND {
            self.found = coordinator_found(&answer, cx);
        } else if answer.tag == FETCH {
            if let Some(response) = answer.decode::<OffsetFetchResponse>(cx) {
                self.fetched(&response, cx);
            }
        } else if let Some(response) = answer.decode::<OffsetCommitResponse>(cx) {
            self.committed(response, cx);
        }
    }

    fn lost(&mut self, cx: &mut Cx<'_>) {
        self.waiting.clear();
        self.found = false;
        let ms = 1 + cx.below(100);
        cx.wake_in_ms(ms);
    }

    fn line(&mut self) -> &mut Line {
        &mut self.line
    }

    fn is_idle(&self) -> bool {
        self.left == 0 && self.line.waiting() == 0
    }
}
