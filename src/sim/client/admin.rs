//! The administrator: makes and removes topics, adds partitions, changes settings, deletes records. The only one who
//! changes topics, one request at a time, so an answer that contradicts the model is a finding.

use std::collections::BTreeMap;

use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest, CreateTopicsResponse, DeleteRecordsRequest,
    DeleteRecordsResponse, DeleteTopicsRequest, DeleteTopicsResponse, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse, MetadataRequest, MetadataResponse, TopicName,
};

use super::{Answer, Client, Cx, Line, Verdict, text, verdict};
use crate::sim::model::{TopicModel, TopicState};
use crate::wire::{ErrorCode, from_message_uuid};

/// A change in progress; kept until its outcome is known.
#[derive(Clone, Debug)]
enum Change {
    Create {
        topic: String,
        partitions: i32,
        attempts: u32,
    },
    /// Created: asks for the id.
    Identify {
        topic: String,
        partitions: i32,
    },
    Delete {
        topic: String,
        attempts: u32,
    },
    Grow {
        topic: String,
        partitions: i32,
    },
    Configure {
        topic: String,
        name: &'static str,
        value: String,
    },
    DeleteRecords {
        topic: String,
        incarnation: u32,
        partition: i32,
        to: i64,
    },
}

/// The administrator.
#[derive(Debug)]
pub struct Admin {
    line: Line,
    change: Option<Change>,
    /// Topics to make first, with their partitions.
    setup: Vec<(String, i32)>,
    left: u32,
}

impl Admin {
    pub fn new(setup: Vec<(String, i32)>, left: u32) -> Admin {
        Admin { line: Line::default(), change: None, setup, left }
    }

    /// Decides what to do next.
    fn choose(&mut self, cx: &mut Cx<'_>) -> Option<Change> {
        if let Some((topic, partitions)) = self.setup.pop() {
            return Some(begin_create(topic, partitions, cx));
        }
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let names: Vec<String> = cx.model.topics.keys().cloned().collect();
        let name = names[cx.below(names.len() as u64) as usize].clone();
        let Some(topic) = cx.model.usable(&name).cloned() else {
            let partitions = 1 + cx.below(4) as i32;
            return Some(begin_create(name, partitions, cx));
        };
        match cx.below(10) {
            0 | 1 if cx.swarm.topic_removal => {
                cx.model.changing(&name);
                Some(Change::Delete { topic: name, attempts: 0 })
            }
            2 if topic.partitions < 6 => {
                let partitions = topic.partitions + 1 + cx.below(2) as i32;
                if let Some(topic) = cx.model.topics.get_mut(&name) {
                    topic.partitions_asked = partitions;
                }
                Some(Change::Grow { topic: name, partitions })
            }
            3..6 => {
                let values = [("segment.bytes", cx.swarm.segment_bytes), ("max.message.bytes", 1_000_000)];
                let (config, base) = values[cx.below(2) as usize];
                let value = (base + cx.below(1_000)).to_string();
                if let Some(topic) = cx.model.topics.get_mut(&name) {
                    topic.configs.insert(config.to_owned(), None);
                }
                Some(Change::Configure { topic: name, name: config, value })
            }
            _ if cx.swarm.delete_records => self.choose_records(name, &topic, cx),
            _ => None,
        }
    }

    fn choose_records(&self, name: String, topic: &TopicModel, cx: &mut Cx<'_>) -> Option<Change> {
        let partition = cx.below(topic.partitions as u64) as i32;
        let part = cx.model.part(&name, topic.incarnation, partition)?;
        let (known, deleted) = (part.known_end(), part.deleted_to);
        if known <= deleted || part.damaged_from.is_some() {
            return None;
        }
        let to = if cx.chance(1, 2) { known } else { deleted + cx.below((known - deleted) as u64 + 1) as i64 };
        let part = cx.model.part(&name, topic.incarnation, partition)?;
        part.delete_asked = part.delete_asked.max(to);
        Some(Change::DeleteRecords { topic: name, incarnation: topic.incarnation, partition, to })
    }

    fn send(&mut self, cx: &mut Cx<'_>) {
        let Some(change) = &mut self.change else { return };
        match change {
            Change::Create { topic, partitions, attempts } => {
                *attempts += 1;
                let configs = cx.swarm.topic_configs.iter().map(|(name, value)| {
                    CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value)))
                });
                let topic = CreatableTopic::default()
                    .with_name(TopicName(text(topic)))
                    .with_num_partitions(*partitions)
                    .with_replication_factor(1)
                    .with_configs(configs.collect());
                let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
                let version = cx.version(2, 7);
                self.line.send(&request, version, 0, true, cx);
            }
            Change::Identify { topic, .. } => {
                let topic = MetadataRequestTopic::default().with_name(Some(TopicName(text(topic))));
                let request = MetadataRequest::default().with_topics(Some(vec![topic]));
                self.line.send(&request.with_allow_auto_topic_creation(false), 12, 0, true, cx);
            }
            Change::Delete { topic, attempts } => {
                *attempts += 1;
                let name = TopicName(text(topic));
                let version = cx.version(1, 6);
                let request = DeleteTopicsRequest::default().with_timeout_ms(10_000);
                let request = if version >= 6 {
                    request.with_topics(vec![DeleteTopicState::default().with_name(Some(name))])
                } else {
                    request.with_topic_names(vec![name])
                };
                self.line.send(&request, version, 0, true, cx);
            }
            Change::Grow { topic, partitions } => {
                let topic = CreatePartitionsTopic::default()
                    .with_name(TopicName(text(topic)))
                    .with_count(*partitions)
                    .with_assignments(None);
                let request = CreatePartitionsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
                let version = cx.version(0, 3);
                self.line.send(&request, version, 0, true, cx);
            }
            Change::Configure { topic, name, value } => {
                let config = AlterableConfig::default()
                    .with_name(text(name))
                    .with_config_operation(0)
                    .with_value(Some(text(value)));
                let resource = AlterConfigsResource::default()
                    .with_resource_type(2)
                    .with_resource_name(text(topic))
                    .with_configs(vec![config]);
                let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
                let version = cx.version(0, 1);
                self.line.send(&request, version, 0, true, cx);
            }
            Change::DeleteRecords { topic, partition, to, .. } => {
                let part = DeleteRecordsPartition::default().with_partition_index(*partition).with_offset(*to);
                let topic = DeleteRecordsTopic::default().with_name(TopicName(text(topic))).with_partitions(vec![part]);
                let request = DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
                let version = cx.version(0, 2);
                self.line.send(&request, version, 0, true, cx);
            }
        }
    }

    /// What the answer means for the change; `None`: try again.
    fn outcome(&mut self, change: &Change, answer: &Answer, cx: &mut Cx<'_>) -> Option<Option<Change>> {
        match change {
            Change::Create { topic, partitions, attempts } => {
                let response = answer.decode::<CreateTopicsResponse>(cx)?;
                let code = response.topics.first()?.error_code;
                match (verdict(code), attempts) {
                    (Verdict::Done, _) => {}
                    (Verdict::Wrong(ErrorCode::TopicAlreadyExists), 2..) => {}
                    (Verdict::Later, _) => return None,
                    _ => cx
                        .model
                        .fail(|| format!("create {topic}: {:?} at attempt {attempts}", ErrorCode::from_code(code))),
                }
                Some(Some(Change::Identify { topic: topic.clone(), partitions: *partitions }))
            }
            Change::Identify { topic, partitions } => identified(topic, *partitions, answer, cx),
            Change::Delete { topic, attempts } => {
                let response = answer.decode::<DeleteTopicsResponse>(cx)?;
                let code = response.responses.first()?.error_code;
                match (verdict(code), attempts) {
                    (Verdict::Done, _) | (Verdict::Gone, 2..) => {}
                    (Verdict::Later, _) => return None,
                    _ => cx
                        .model
                        .fail(|| format!("delete {topic}: {:?} at attempt {attempts}", ErrorCode::from_code(code))),
                }
                cx.model.removed(topic);
                Some(None)
            }
            Change::Grow { topic, partitions } => {
                let response = answer.decode::<CreatePartitionsResponse>(cx)?;
                let code = response.results.first()?.error_code;
                match verdict(code) {
                    // An attempt with a lost answer has done it already.
                    Verdict::Done | Verdict::Wrong(ErrorCode::InvalidPartitions) => {}
                    Verdict::Later => return None,
                    _ => cx.model.fail(|| format!("grow {topic}: {:?}", ErrorCode::from_code(code))),
                }
                if let Some(topic) = cx.model.topics.get_mut(topic) {
                    topic.partitions = *partitions;
                }
                Some(None)
            }
            Change::Configure { topic, name, value } => {
                let response = answer.decode::<IncrementalAlterConfigsResponse>(cx)?;
                let code = response.responses.first()?.error_code;
                match verdict(code) {
                    Verdict::Done => {}
                    Verdict::Later => return None,
                    _ => cx.model.fail(|| format!("set {name}={value} of {topic}: {:?}", ErrorCode::from_code(code))),
                }
                if let Some(topic) = cx.model.topics.get_mut(topic) {
                    topic.configs.insert((*name).to_owned(), Some(value.clone()));
                }
                Some(None)
            }
            Change::DeleteRecords { topic, incarnation, partition, to } => {
                records_deleted((topic, *incarnation, *partition, *to), answer, cx)
            }
        }
    }
}

/// What the answer to Metadata says of a topic just created.
fn identified(topic: &str, partitions: i32, answer: &Answer, cx: &mut Cx<'_>) -> Option<Option<Change>> {
    let response = answer.decode::<MetadataResponse>(cx)?;
    let found = response.topics.first()?;
    if verdict(found.error_code) == Verdict::Later {
        return None;
    }
    if found.error_code != 0 || found.partitions.len() != partitions as usize {
        let code = found.error_code;
        cx.model.fail(|| {
            let count = found.partitions.len();
            format!("{topic} was created with {partitions} partitions; the answer: {code}, {count}")
        });
    }
    cx.model.created(topic, partitions, from_message_uuid(found.topic_id));
    Some(None)
}

/// What the answer to DeleteRecords means.
fn records_deleted(
    (topic, incarnation, partition, to): (&str, u32, i32, i64),
    answer: &Answer,
    cx: &mut Cx<'_>,
) -> Option<Option<Change>> {
    let response = answer.decode::<DeleteRecordsResponse>(cx)?;
    let part = response.topics.first()?.partitions.first()?;
    let damaged = cx.model.part(topic, incarnation, partition)?.damaged_from.is_some();
    match verdict(part.error_code) {
        Verdict::Done => {}
        Verdict::Later => return None,
        _ if damaged => return Some(None),
        _ => cx.model.fail(|| {
            let code = ErrorCode::from_code(part.error_code);
            format!("delete records of {topic}-{partition} to {to}: {code:?}")
        }),
    }
    if part.low_watermark < to && part.error_code == 0 {
        let found = part.low_watermark;
        cx.model.fail(|| format!("{topic}-{partition}: deleted to {to}, the answer says {found}"));
    }
    let part = cx.model.part(topic, incarnation, partition)?;
    part.deleted_to = part.deleted_to.max(to);
    Some(None)
}

fn begin_create(topic: String, partitions: i32, cx: &mut Cx<'_>) -> Change {
    let entry = cx.model.topics.entry(topic.clone()).or_insert_with(|| TopicModel {
        state: TopicState::Absent,
        incarnation: 0,
        id: None,
        partitions,
        partitions_asked: partitions,
        configs: BTreeMap::new(),
        parts: BTreeMap::new(),
    });
    entry.state = TopicState::Changing;
    Change::Create { topic, partitions, attempts: 0 }
}

impl Client for Admin {
    fn wake(&mut self, cx: &mut Cx<'_>) {
        if cx.draining {
            self.left = 0;
        }
        cx.wake_in_ms(100);
        if self.line.waiting() > 0 {
            return;
        }
        if self.change.is_none() {
            self.change = self.choose(cx);
        }
        self.send(cx);
    }

    fn answer(&mut self, answer: Answer, cx: &mut Cx<'_>) {
        let Some(change) = self.change.clone() else { return };
        match self.outcome(&change, &answer, cx) {
            Some(next) => {
                let settled = next.is_none() && self.setup.is_empty();
                self.change = next;
                let think = if settled { cx.below(cx.swarm.think_ms * 10_000_000 + 1) } else { 1_000 };
                cx.wake_in_ns = Some(think);
            }
            None => cx.wake_in_ms(50),
        }
    }

    fn lost(&mut self, cx: &mut Cx<'_>) {
        let ms = 1 + cx.below(100);
        cx.wake_in_ms(ms);
    }

    fn line(&mut self) -> &mut Line {
        &mut self.line
    }

    fn is_idle(&self) -> bool {
        self.left == 0 && self.change.is_none() && self.setup.is_empty()
    }
}
