//! 9 OffsetFetch: from the coordinators of one group or several.

use bytes::Bytes;

use crate::base::ids::Uuid;
use crate::coord::{
    FetchTopic, FetchedOffset, FetchedTopic, GroupAnswer, GroupError, GroupRequest, OffsetFetchAnswer,
    OffsetFetchRequest,
};
use crate::shard::message::{Ask, Reply};
use crate::wire::messages as m;
use crate::wire::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use crate::wire::{StrBytes, cold, to_message_uuid};

use super::coordinator::{Rounds, place, refused};
use super::group_membership::{code, decode};
use super::{Ctx, Gather, Handled, Step, answer};

/// From this version on a request names several groups.
const GROUPS_VERSION: i16 = 8;
/// From this version on topics are named by id.
const TOPIC_ID_VERSION: i16 = 10;
/// From this version on there is a top-level error; before, every partition carries it.
const TOP_LEVEL_ERROR_VERSION: i16 = 2;
/// From this version on leader epochs are answered.
const LEADER_EPOCH_VERSION: i16 = 5;

#[derive(Debug)]
struct OffsetFetchGather {
    /// What was asked, and the answer once it is there, in the order of the request.
    groups: Vec<Requested>,
    rounds: Rounds,
}

pub fn handle(ctx: &mut Ctx<'_>, body: Bytes) -> Handled {
    let request = decode!(ctx, body, m::OffsetFetchRequest, "OffsetFetch");
    let groups = requested(ctx, request);
    let mut gather = OffsetFetchGather { rounds: Rounds::new(groups.len()), groups };
    match gather.go_on(ctx) {
        Step::Wait => Handled::Gather(Box::new(gather)),
        Step::Answer(parts) => Handled::Answer(parts),
        Step::Close(reason) => Handled::Close(reason),
        Step::Silent => Handled::Silent,
    }
}

fn failed(group: &OffsetFetchRequest, error: GroupError) -> OffsetFetchAnswer {
    OffsetFetchAnswer { group: group.group.clone(), error: Some(error), topics: Vec::new() }
}

type Requested = (OffsetFetchRequest, Vec<FetchedTopic>, Option<OffsetFetchAnswer>);

/// The groups of a request, and the topics among them that do not exist (by id), already answered.
fn requested(ctx: &Ctx<'_>, request: m::OffsetFetchRequest) -> Vec<Requested> {
    let require_stable = request.require_stable;
    if ctx.head.api_version < GROUPS_VERSION {
        let topics = request.topics.map(|topics| {
            topics.into_iter().map(|topic| by_name(ctx, topic.name.to_string(), topic.partition_indexes)).collect()
        });
        let group = request.group_id.to_string();
        let fetch = OffsetFetchRequest { group, member_id: None, member_epoch: -1, topics, require_stable };
        return vec![(fetch, Vec::new(), None)];
    }
    let groups = request.groups.into_iter().map(|group| {
        let mut unknown = Vec::new();
        let topics = group.topics.map(|topics| {
            let mut known = Vec::new();
            for topic in topics {
                match named(ctx, topic) {
                    Ok(topic) => known.push(topic),
                    Err(topic) => unknown.push(topic),
                }
            }
            known
        });
        let fetch = OffsetFetchRequest {
            group: group.group_id.to_string(),
            member_id: group.member_id.map(|id| id.to_string()),
            member_epoch: group.member_epoch,
            topics,
            require_stable,
        };
        (fetch, unknown, None)
    });
    groups.collect()
}

/// A topic by the name it has now: what was committed to an earlier one of that name is not its own.
fn by_name(ctx: &Ctx<'_>, name: String, partitions: Vec<i32>) -> FetchTopic {
    let topic_id = ctx.shard.image.topic_named(&name).map_or(Uuid::ZERO, |topic| topic.id);
    FetchTopic { name, topic_id, partitions }
}

/// Leaves out what was committed to earlier topics of names that exist, and puts together what has one name.
fn of_present_topics(ctx: &Ctx<'_>, topics: Vec<FetchedTopic>) -> Vec<FetchedTopic> {
    let mut present: Vec<FetchedTopic> = Vec::with_capacity(topics.len());
    for topic in topics {
        let of_now = ctx.shard.image.topic_named(&topic.name).map(|topic| topic.id);
        if topic.topic_id != Uuid::ZERO && of_now.is_some_and(|id| id != topic.topic_id) {
            continue;
        }
        match present.last_mut() {
            Some(last) if last.name == topic.name && of_now.is_some() => {
                last.topic_id = topic.topic_id;
                last.partitions.extend(topic.partitions);
            }
            _ => present.push(topic),
        }
    }
    present
}

fn named(ctx: &Ctx<'_>, topic: m::offset_fetch_request::OffsetFetchRequestTopics) -> Result<FetchTopic, FetchedTopic> {
    if ctx.head.api_version < TOPIC_ID_VERSION {
        return Ok(by_name(ctx, topic.name.to_string(), topic.partition_indexes));
    }
    let topic_id = Uuid(topic.topic_id.into_bytes());
    match ctx.shard.image.topic(&topic_id) {
        Some(found) => Ok(FetchTopic { name: found.name.to_string(), topic_id, partitions: topic.partition_indexes }),
        None => Err(FetchedTopic {
            name: String::new(),
            topic_id,
            partitions: topic
                .partition_indexes
                .into_iter()
                .map(|partition| FetchedOffset {
                    partition,
                    offset: -1,
                    leader_epoch: -1,
                    metadata: String::new(),
                    error: Some(GroupError::UnknownTopicOrPartition),
                })
                .collect(),
        }),
    }
}

impl OffsetFetchGather {
    /// Asks for the next groups, and answers when all are there.
    fn go_on(&mut self, ctx: &mut Ctx<'_>) -> Step {
        let OffsetFetchGather { groups, rounds } = self;
        rounds.ask_on(|part| {
            let Some((group, _, answered)) = groups.get_mut(part) else { return false };
            let Some((partition, core)) = place(ctx, &group.group) else {
                *answered = Some(failed(group, GroupError::NotCoordinator));
                return false;
            };
            // Its topics are wanted once more only where an error is told for each of their partitions.
            let is_old = ctx.head.api_version < TOP_LEVEL_ERROR_VERSION;
            let topics = if is_old { group.topics.clone() } else { group.topics.take() };
            let request = OffsetFetchRequest { topics, ..group.clone() };
            ctx.ask(part as u32, core, Ask::Group { partition, request: GroupRequest::OffsetFetch(request) });
            true
        });
        if rounds.is_complete() { self.encode(ctx) } else { Step::Wait }
    }

    fn encode(&mut self, ctx: &Ctx<'_>) -> Step {
        let version = ctx.head.api_version;
        let mut response = m::OffsetFetchResponse::default();
        for (asked, unknown, answered) in self.groups.drain(..) {
            let Some(mut answered) = answered else { continue };
            if version >= GROUPS_VERSION {
                answered.topics.extend(unknown);
                response.groups.push(group_response(ctx, answered));
                continue;
            }
            if version >= TOP_LEVEL_ERROR_VERSION {
                response.error_code = code(answered.error);
            } else if let Some(error) = answered.error {
                answered.topics = every_partition(&asked, error);
            }
            response.topics = answered.topics.into_iter().map(|topic| old_topic(version, topic)).collect();
        }
        answer(ctx, &response)
    }
}

fn every_partition(asked: &OffsetFetchRequest, error: GroupError) -> Vec<FetchedTopic> {
    let offset = |partition: &i32| FetchedOffset {
        partition: *partition,
        offset: -1,
        leader_epoch: -1,
        metadata: String::new(),
        error: Some(error),
    };
    let topic = |topic: &FetchTopic| FetchedTopic {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partitions: topic.partitions.iter().map(offset).collect(),
    };
    asked.topics.iter().flatten().map(topic).collect()
}

fn old_topic(version: i16, topic: FetchedTopic) -> OffsetFetchResponseTopic {
    let partition = |offset: FetchedOffset| {
        OffsetFetchResponsePartition::default()
            .with_partition_index(offset.partition)
            .with_committed_offset(offset.offset)
            .with_committed_leader_epoch(if version >= LEADER_EPOCH_VERSION { offset.leader_epoch } else { -1 })
            .with_metadata(Some(StrBytes::from_string(offset.metadata)))
            .with_error_code(code(offset.error))
    };
    OffsetFetchResponseTopic::default()
        .with_name(StrBytes::from_string(topic.name).into())
        .with_partitions(topic.partitions.into_iter().map(partition).collect())
}

fn group_response(ctx: &Ctx<'_>, answered: OffsetFetchAnswer) -> OffsetFetchResponseGroup {
    let by_id = ctx.head.api_version >= TOPIC_ID_VERSION;
    let mut group = OffsetFetchResponseGroup::default()
        .with_group_id(StrBytes::from_string(answered.group).into())
        .with_error_code(code(answered.error));
    for topic in answered.topics {
        let partition = |offset: FetchedOffset| {
            OffsetFetchResponsePartitions::default()
                .with_partition_index(offset.partition)
                .with_committed_offset(offset.offset)
                .with_committed_leader_epoch(offset.leader_epoch)
                .with_metadata(Some(StrBytes::from_string(offset.metadata)))
                .with_error_code(code(offset.error))
        };
        let mut entry =
            OffsetFetchResponseTopics::default().with_partitions(topic.partitions.into_iter().map(partition).collect());
        if by_id {
            // "All topics" answers what was committed; a topic that is gone since has no id to be named by.
            let id = match ctx.shard.image.topic_named(&topic.name) {
                Some(found) if topic.topic_id == Uuid::ZERO => found.id,
                _ => topic.topic_id,
            };
            if id == Uuid::ZERO {
                continue;
            }
            entry.topic_id = to_message_uuid(id);
        } else {
            entry.name = StrBytes::from_string(topic.name).into();
        }
        group.topics.push(entry);
    }
    group
}

impl Gather for OffsetFetchGather {
    fn reply(&mut self, part: u32, reply: Reply, ctx: &mut Ctx<'_>) -> Step {
        let Some((asked, _, answered)) = self.groups.get_mut(part as usize) else { return Step::Wait };
        *answered = Some(match reply {
            Reply::Group(GroupAnswer::OffsetFetch(mut fetched)) => {
                if asked.topics.is_none() {
                    fetched.topics = of_present_topics(ctx, fetched.topics);
                }
                fetched
            }
            Reply::Refused(error) => failed(asked, refused(&error)),
            other => return Step::Close(format!("OffsetFetch was answered with {other:?}")),
        });
        self.rounds.answered();
        self.go_on(ctx)
    }

    fn expired(&mut self, _ctx: &mut Ctx<'_>) -> Step {
        Step::Wait
    }
}
