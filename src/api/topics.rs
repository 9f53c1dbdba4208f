//! 19 CreateTopics, 20 DeleteTopics, 37 CreatePartitions: commands to the controller, answered once every core knows.

use bytes::Bytes;

use crate::base::ids::{TopicId, Uuid};
use crate::meta::controller::{
    Answer, Command, CreatedTopic, DeletedTopic, NewPartitions, NewTopic, Refusal, TopicRef,
};
use crate::shard::message::{PartitionError, Reply};
use crate::wire::messages as m;
use crate::wire::messages::create_partitions_response::CreatePartitionsTopicResult;
use crate::wire::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use crate::wire::messages::delete_topics_response::DeletableTopicResult;
use crate::wire::{ErrorCode, StrBytes, cold, to_message_uuid};

use super::errors::{meta_error, partition_error};
use super::group_membership::decode;
use super::{Ctx, Gather, Handled, Step, answer};

/// From this version on the answer describes the topic that was made.
const CREATE_DESCRIBES_VERSION: i16 = 5;
/// From this version on the answer has the topic's id.
const CREATE_ID_VERSION: i16 = 7;
/// From this version on a topic may be deleted by its id.
const DELETE_STATES_VERSION: i16 = 6;
/// From this version on a deletion has an error message.
const DELETE_MESSAGE_VERSION: i16 = 5;

/// What is kept of a request to be able to answer when the controller does not.
#[derive(Debug)]
enum Asked {
    Create(Vec<m::TopicName>),
    Delete(Vec<(Option<m::TopicName>, TopicId)>),
    Grow(Vec<m::TopicName>),
}

pub fn create(ctx: &mut Ctx<'_>, body: Bytes) -> Handled {
    let request = decode!(ctx, body, m::CreateTopicsRequest, "CreateTopics");
    let names = request.topics.iter().map(|topic| topic.name.clone()).collect();
    let validate_only = request.validate_only;
    let topics = request
        .topics
        .into_iter()
        .map(|topic| NewTopic {
            name: topic.name.to_string(),
            partitions: topic.num_partitions,
            replication_factor: topic.replication_factor,
            assignments: topic
                .assignments
                .into_iter()
                .map(|a| (a.partition_index, a.broker_ids.into_iter().map(|id| id.0).collect()))
                .collect(),
            configs: topic
                .configs
                .into_iter()
                .map(|config| (config.name.to_string(), config.value.map(|value| value.to_string())))
                .collect(),
        })
        .collect();
    command(ctx, Asked::Create(names), Command::CreateTopics { topics, validate_only }, request.timeout_ms)
}

pub fn delete(ctx: &mut Ctx<'_>, body: Bytes) -> Handled {
    let request = decode!(ctx, body, m::DeleteTopicsRequest, "DeleteTopics");
    let asked: Vec<(Option<m::TopicName>, TopicId)> = if ctx.head.api_version >= DELETE_STATES_VERSION {
        request.topics.into_iter().map(|topic| (topic.name, Uuid(topic.topic_id.into_bytes()))).collect()
    } else {
        request.topic_names.into_iter().map(|name| (Some(name), Uuid::ZERO)).collect()
    };
    let topics =
        asked.iter().map(|(name, id)| TopicRef { name: name.as_ref().map(|name| name.to_string()), id: *id }).collect();
    command(ctx, Asked::Delete(asked), Command::DeleteTopics { topics }, request.timeout_ms)
}

pub fn create_partitions(ctx: &mut Ctx<'_>, body: Bytes) -> Handled {
    let request = decode!(ctx, body, m::CreatePartitionsRequest, "CreatePartitions");
    let names = request.topics.iter().map(|topic| topic.name.clone()).collect();
    let validate_only = request.validate_only;
    let topics = request
        .topics
        .into_iter()
        .map(|topic| NewPartitions {
            name: topic.name.to_string(),
            count: topic.count,
            assignments: topic.assignments.map(|assignments| {
                assignments.into_iter().map(|a| a.broker_ids.into_iter().map(|id| id.0).collect()).collect()
            }),
        })
        .collect();
    command(ctx, Asked::Grow(names), Command::CreatePartitions { topics, validate_only }, request.timeout_ms)
}

fn command(ctx: &mut Ctx<'_>, asked: Asked, command: Command, timeout_ms: i32) -> Handled {
    ctx.ask_controller(0, command);
    ctx.expire_in(u64::try_from(timeout_ms).unwrap_or(0).max(1));
    Handled::Gather(Box::new(asked))
}

impl Gather for Asked {
    fn reply(&mut self, _part: u32, reply: Reply, ctx: &mut Ctx<'_>) -> Step {
        match reply {
            Reply::Control(Answer::TopicsCreated(results)) => create_answer(ctx, results),
            Reply::Control(Answer::TopicsDeleted(results)) => delete_answer(ctx, results),
            Reply::Control(Answer::PartitionsCreated(results)) => {
                let result = |(name, result): (String, Result<(), Refusal>)| {
                    let (code, message) = code_and_message(result.err());
                    CreatePartitionsTopicResult::default()
                        .with_name(StrBytes::from_string(name).into())
                        .with_error_code(code)
                        .with_error_message(message)
                };
                let results = results.into_iter().map(result).collect();
                answer(ctx, &m::CreatePartitionsResponse::default().with_results(results))
            }
            Reply::Refused(error) => self.failed(ctx, controller_error(&error)),
            other => Step::Close(format!("the controller answered {other:?}")),
        }
    }

    fn expired(&mut self, ctx: &mut Ctx<'_>) -> Step {
        self.failed(ctx, ErrorCode::RequestTimedOut)
    }
}

/// What the controller's core said instead of the controller.
pub fn controller_error(error: &PartitionError) -> ErrorCode {
    match error {
        PartitionError::Unknown | PartitionError::Stopping => ErrorCode::NotController,
        other => partition_error(other),
    }
}

impl Asked {
    /// Every item of the request has the same error.
    fn failed(&self, ctx: &Ctx<'_>, error: ErrorCode) -> Step {
        let code = error.code();
        match self {
            Asked::Create(names) => {
                let failed =
                    |name: &m::TopicName| CreatableTopicResult::default().with_name(name.clone()).with_error_code(code);
                answer(ctx, &m::CreateTopicsResponse::default().with_topics(names.iter().map(failed).collect()))
            }
            Asked::Delete(topics) => {
                let failed = |(name, id): &(Option<m::TopicName>, TopicId)| {
                    DeletableTopicResult::default()
                        .with_name(name.clone())
                        .with_topic_id(to_message_uuid(*id))
                        .with_error_code(code)
                };
                answer(ctx, &m::DeleteTopicsResponse::default().with_responses(topics.iter().map(failed).collect()))
            }
            Asked::Grow(names) => {
                let failed = |name: &m::TopicName| {
                    CreatePartitionsTopicResult::default().with_name(name.clone()).with_error_code(code)
                };
                answer(ctx, &m::CreatePartitionsResponse::default().with_results(names.iter().map(failed).collect()))
            }
        }
    }
}

/// The protocol's form of a refusal.
pub fn code_and_message(refusal: Option<Refusal>) -> (i16, Option<StrBytes>) {
    match refusal {
        None => (ErrorCode::None.code(), None),
        Some(refusal) => (meta_error(refusal.error).code(), Some(StrBytes::from_string(refusal.message))),
    }
}

fn create_answer(ctx: &Ctx<'_>, results: Vec<(String, Result<CreatedTopic, Refusal>)>) -> Step {
    let version = ctx.head.api_version;
    let mut response = m::CreateTopicsResponse::default();
    for (name, result) in results {
        let mut entry = CreatableTopicResult::default().with_name(StrBytes::from_string(name).into());
        match result {
            Ok(created) => {
                if version >= CREATE_ID_VERSION {
                    entry.topic_id = to_message_uuid(created.id);
                }
                if version >= CREATE_DESCRIBES_VERSION {
                    entry.num_partitions = created.partitions;
                    entry.replication_factor = created.replication_factor;
                    entry.configs = Some(created_configs(created));
                }
            }
            Err(refusal) => (entry.error_code, entry.error_message) = code_and_message(Some(refusal)),
        }
        response.topics.push(entry);
    }
    answer(ctx, &response)
}

fn created_configs(created: CreatedTopic) -> Vec<CreatableTopicConfigs> {
    created
        .configs
        .into_iter()
        .map(|config| {
            CreatableTopicConfigs::default()
                .with_name(StrBytes::from_string(config.name))
                .with_value(config.value.map(StrBytes::from_string))
                .with_read_only(config.read_only)
                .with_config_source(config.source.code())
                .with_is_sensitive(config.sensitive)
        })
        .collect()
}

fn delete_answer(ctx: &Ctx<'_>, results: Vec<DeletedTopic>) -> Step {
    let version = ctx.head.api_version;
    let mut response = m::DeleteTopicsResponse::default();
    for deleted in results {
        let (code, message) = code_and_message(deleted.result.err());
        let mut entry = DeletableTopicResult::default()
            .with_name(deleted.name.map(|name| StrBytes::from_string(name).into()))
            .with_error_code(code);
        if version >= DELETE_STATES_VERSION {
            entry.topic_id = to_message_uuid(deleted.id);
        }
        if version >= DELETE_MESSAGE_VERSION {
            entry.error_message = message;
        }
        response.responses.push(entry);
    }
    answer(ctx, &response)
}
