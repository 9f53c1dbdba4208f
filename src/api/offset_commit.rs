//! 8 OffsetCommit: to the coordinator of the group; topics that do not exist are answered here.

use bytes::Bytes;

use crate::base::ids::{TopicId, Uuid};
use crate::coord::{CommitPartition, CommitTopic, GroupAnswer, GroupRequest, OffsetCommitRequest};
use crate::wire::messages as m;
use crate::wire::messages::offset_commit_request::OffsetCommitRequestTopic;
use crate::wire::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use crate::wire::{ErrorCode, StrBytes, TopicRef, cold, to_message_uuid};

use super::coordinator::{self, GroupApi};
use super::group_membership::{code, decode};
use super::{Ctx, Gather, Handled, Step, answer, topic_names};

/// From this version on topics are named by id.
const TOPIC_ID_VERSION: i16 = 10;

/// Keeps the errors of unknown topics beside the coordinator's answer.
#[derive(Debug)]
struct CommitGather {
    unknown: Vec<OffsetCommitResponseTopic>,
    inner: Box<dyn Gather>,
}

pub fn handle(ctx: &mut Ctx<'_>, body: Bytes) -> Handled {
    let request = decode!(ctx, body, m::OffsetCommitRequest, "OffsetCommit");
    let version = ctx.head.api_version;
    let mut topics = Vec::with_capacity(request.topics.len());
    let mut unknown = Vec::new();
    for topic in request.topics {
        match known(ctx, topic) {
            Ok(topic) => topics.push(topic),
            Err(topic) => unknown.push(topic),
        }
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
    match coordinator::ask(ctx, GroupApi::OffsetCommit, GroupRequest::OffsetCommit(commit)) {
        Handled::Gather(inner) if !unknown.is_empty() => Handled::Gather(Box::new(CommitGather { unknown, inner })),
        other => other,
    }
}

fn known(ctx: &Ctx<'_>, asked: OffsetCommitRequestTopic) -> Result<CommitTopic, OffsetCommitResponseTopic> {
    let reference = if ctx.head.api_version >= TOPIC_ID_VERSION {
        TopicRef::Id(Uuid(asked.topic_id.into_bytes()))
    } else {
        TopicRef::Name(asked.name.0.clone())
    };
    let (topic, missing) = topic_names::find(ctx, &reference);
    let exists = |index: &i32| topic.is_some_and(|topic| topic.partitions.contains_key(index));
    let all_exist = asked.partitions.iter().all(|partition| exists(&partition.partition_index));
    match topic {
        Some(topic) if all_exist => Ok(CommitTopic {
            name: topic.name.to_string(),
            topic_id: topic.id,
            partitions: asked
                .partitions
                .into_iter()
                .map(|p| CommitPartition {
                    partition: p.partition_index,
                    offset: p.committed_offset,
                    leader_epoch: p.committed_leader_epoch,
                    metadata: p.committed_metadata.map(|text| text.to_string()),
                })
                .collect(),
        }),
        _ => {
            let error = if topic.is_some() { ErrorCode::UnknownTopicOrPartition } else { missing };
            let partitions = asked
                .partitions
                .iter()
                .map(|p| {
                    OffsetCommitResponsePartition::default()
                        .with_partition_index(p.partition_index)
                        .with_error_code(error.code())
                })
                .collect();
            Err(OffsetCommitResponseTopic::default()
                .with_name(asked.name)
                .with_topic_id(asked.topic_id)
                .with_partitions(partitions))
        }
    }
}

fn response(ctx: &Ctx<'_>, group_answer: GroupAnswer) -> Result<m::OffsetCommitResponse, String> {
    let GroupAnswer::OffsetCommit(committed) = group_answer else {
        return Err(format!("OffsetCommit was answered with {group_answer:?}"));
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
    Ok(response)
}

/// The protocol's form of the coordinator's answer.
pub fn encode(ctx: &Ctx<'_>, group_answer: GroupAnswer) -> Step {
    match response(ctx, group_answer) {
        Ok(response) => answer(ctx, &response),
        Err(reason) => Step::Close(reason),
    }
}

impl Gather for CommitGather {
    fn reply(&mut self, part: u32, reply: crate::shard::message::Reply, ctx: &mut Ctx<'_>) -> Step {
        let crate::shard::message::Reply::Group(group_answer) = reply else {
            return self.inner.reply(part, reply, ctx);
        };
        match response(ctx, group_answer) {
            Ok(mut response) => {
                response.topics.append(&mut self.unknown);
                answer(ctx, &response)
            }
            Err(reason) => Step::Close(reason),
        }
    }

    fn expired(&mut self, _ctx: &mut Ctx<'_>) -> Step {
        Step::Wait
    }
}
