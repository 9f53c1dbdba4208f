//! 8 OffsetCommit: to the coordinator of the group; partitions that do not exist are answered here, each for itself.

use bytes::Bytes;

use crate::base::ids::{TopicId, Uuid};
use crate::coord::{CommitPartition, CommitTopic, GroupAnswer, GroupRequest, OffsetCommitRequest};
use crate::shard::message::Reply;
use crate::wire::messages as m;
use crate::wire::messages::offset_commit_request::OffsetCommitRequestTopic;
use crate::wire::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use crate::wire::{ErrorCode, StrBytes, TopicRef, cold, to_message_uuid};

use super::coordinator::{self, Shape};
use super::group_membership::{code, decode};
use super::{Ctx, Gather, Handled, Step, answer, topic_names};

/// From this version on topics are named by id.
const TOPIC_ID_VERSION: i16 = 10;

/// Keeps the errors of unknown partitions beside the coordinator's answer.
#[derive(Debug)]
struct CommitGather {
    unknown: Vec<OffsetCommitResponseTopic>,
    request: Shape,
}

pub fn handle(ctx: &mut Ctx<'_>, body: Bytes) -> Handled {
    let request = decode!(ctx, body, m::OffsetCommitRequest, "OffsetCommit");
    let version = ctx.head.api_version;
    let mut topics = Vec::with_capacity(request.topics.len());
    let mut unknown = Vec::new();
    for topic in request.topics {
        let (known, rest) = split(ctx, topic);
        topics.extend(known);
        unknown.extend(rest);
    }
    if topics.is_empty() && !unknown.is_empty() {
        return super::respond(ctx, &m::OffsetCommitResponse::default().with_topics(unknown));
    }
    let commit = OffsetCommitRequest {
        group: request.group_id.to_string(),
        generation: request.generation_id_or_member_epoch,
        member_id: request.member_id.to_string(),
        instance_id: request.group_instance_id.map(|id| id.to_string()),
        retention_ms: if version <= 4 { request.retention_time_ms } else { -1 },
        group_id_not_found_known: version >= 9,
        topics,
    };
    match coordinator::send(ctx, GroupRequest::OffsetCommit(commit)) {
        Ok(request) => Handled::Gather(Box::new(CommitGather { unknown, request })),
        Err(refused) => coordinator::handled(encode(ctx, *refused, unknown)),
    }
}

/// What the coordinator is asked of a topic, and what is answered without it.
fn split(ctx: &Ctx<'_>, asked: OffsetCommitRequestTopic) -> (Option<CommitTopic>, Option<OffsetCommitResponseTopic>) {
    let reference = if ctx.head.api_version >= TOPIC_ID_VERSION {
        TopicRef::Id(Uuid(asked.topic_id.into_bytes()))
    } else {
        TopicRef::Name(asked.name.0.clone())
    };
    let (topic, missing) = topic_names::find(ctx, &reference);
    let exists = |index: i32| topic.is_some_and(|topic| topic.partitions.contains_key(&index));
    let error = if topic.is_some() { ErrorCode::UnknownTopicOrPartition } else { missing };
    let mut known = Vec::with_capacity(asked.partitions.len());
    let mut unknown = Vec::new();
    let is_empty = asked.partitions.is_empty();
    for p in asked.partitions {
        if exists(p.partition_index) {
            known.push(CommitPartition {
                partition: p.partition_index,
                offset: p.committed_offset,
                leader_epoch: p.committed_leader_epoch,
                metadata: p.committed_metadata.map(|text| text.to_string()),
            });
        } else {
            let partition = OffsetCommitResponsePartition::default().with_partition_index(p.partition_index);
            unknown.push(partition.with_error_code(error.code()));
        }
    }
    let commit = topic.filter(|_| is_empty || !known.is_empty()).map(|topic| CommitTopic {
        name: topic.name.to_string(),
        topic_id: topic.id,
        partitions: known,
    });
    let answered = OffsetCommitResponseTopic::default().with_name(asked.name).with_topic_id(asked.topic_id);
    let rest = (!unknown.is_empty() || commit.is_none()).then(|| answered.with_partitions(unknown));
    (commit, rest)
}

/// The protocol's form of the coordinator's answer, and of what was answered without it.
fn encode(ctx: &Ctx<'_>, group_answer: GroupAnswer, unknown: Vec<OffsetCommitResponseTopic>) -> Step {
    let GroupAnswer::OffsetCommit(committed) = group_answer else {
        return Step::Close(format!("OffsetCommit was answered with {group_answer:?}"));
    };
    let by_id = ctx.head.api_version >= TOPIC_ID_VERSION;
    let mut response = m::OffsetCommitResponse::default();
    for topic in committed.topics {
        let partitions = topic
            .partitions
            .into_iter()
            .map(|(index, error)| {
                OffsetCommitResponsePartition::default().with_partition_index(index).with_error_code(code(error))
            })
            .collect();
        let mut entry = OffsetCommitResponseTopic::default().with_partitions(partitions);
        if by_id {
            entry.topic_id = to_message_uuid(topic.topic_id as TopicId);
        } else {
            entry.name = StrBytes::from_string(topic.name).into();
        }
        response.topics.push(entry);
    }
    for topic in unknown {
        // A topic has one entry, also when only some of its partitions exist.
        let same = |entry: &&mut OffsetCommitResponseTopic| {
            if by_id { entry.topic_id == topic.topic_id } else { entry.name == topic.name }
        };
        match response.topics.iter_mut().find(same) {
            Some(entry) => entry.partitions.extend(topic.partitions),
            None => response.topics.push(topic),
        }
    }
    answer(ctx, &response)
}

impl Gather for CommitGather {
    fn reply(&mut self, _part: u32, reply: Reply, ctx: &mut Ctx<'_>) -> Step {
        match self.request.group_answer(reply) {
            Ok(group_answer) => encode(ctx, group_answer, std::mem::take(&mut self.unknown)),
            Err(reason) => Step::Close(reason),
        }
    }

    fn expired(&mut self, _ctx: &mut Ctx<'_>) -> Step {
        Step::Wait
    }
}
