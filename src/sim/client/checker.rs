//! Reads everything and compares it with the model, while every other client holds still: topics, partitions, settings,
//! log starts and ends, every record, every committed offset.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::{
    DescribeConfigsRequest, DescribeConfigsResponse, FetchRequest, FetchResponse, GroupId, ListOffsetsRequest,
    ListOffsetsResponse, MetadataRequest, MetadataResponse, OffsetFetchRequest, OffsetFetchResponse, TopicName,
};

use super::committer::{coordinator_found, find_coordinator};
use super::records::{Reader, read};
use super::{Answer, Client, Cx, Line, Verdict, text, verdict};
use crate::sim::model::{RecordId, TopicState};
use crate::wire::ErrorCode;

/// One question; asked until it is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Topics,
    Start { topic: String, partition: i32 },
    End { topic: String, partition: i32, start: i64 },
    Read { topic: String, partition: i32, start: i64, end: i64, next: i64 },
    Configs { topic: String },
    Coordinator { group: String },
    Offsets { group: String },
}

/// The checker; done when it has no steps left.
#[derive(Debug, Default)]
pub struct Checker {
    line: Line,
    steps: VecDeque<Step>,
    records: Vec<(i64, RecordId)>,
    /// Retention took the record at this offset before it was read: the log must now start above.
    overtaken: Option<i64>,
}

impl Checker {
    /// Begins a round.
    pub fn begin(&mut self) {
        self.steps = VecDeque::from([Step::Topics]);
    }

    fn ask(&mut self, cx: &mut Cx<'_>) {
        let Some(step) = self.steps.front().cloned() else { return };
        match step {
            Step::Topics => {
                let version = cx.version(1, 12);
                self.line.send(&MetadataRequest::default().with_topics(None), version, 0, true, cx);
            }
            Step::Start { topic, partition } => self.ask_offset(&topic, partition, -2, cx),
            Step::End { topic, partition, .. } => self.ask_offset(&topic, partition, -1, cx),
            Step::Read { topic, partition, next, .. } => {
                let part = FetchPartition::default()
                    .with_partition(partition)
                    .with_current_leader_epoch(-1)
                    .with_fetch_offset(next)
                    .with_log_start_offset(-1)
                    .with_partition_max_bytes(1 << 20);
                let topic = FetchTopic::default().with_topic(TopicName(text(&topic))).with_partitions(vec![part]);
                let request = FetchRequest::default()
                    .with_max_wait_ms(0)
                    .with_max_bytes(1 << 20)
                    .with_session_epoch(-1)
                    .with_topics(vec![topic]);
                let version = cx.version(4, 12);
                self.line.send(&request, version, 0, true, cx);
            }
            Step::Configs { topic } => {
                let resource = DescribeConfigsResource::default()
                    .with_resource_type(2)
                    .with_resource_name(text(&topic))
                    .with_configuration_keys(None);
                let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
                let version = cx.version(1, 4);
                self.line.send(&request, version, 0, true, cx);
            }
            Step::Coordinator { group } => find_coordinator(&mut self.line, &group, 0, cx),
            Step::Offsets { group } => {
                let mut topics: BTreeMap<String, BTreeSet<i32>> = BTreeMap::new();
                for (_, topic, partition) in cx.model.commits.keys().filter(|key| key.0 == group) {
                    topics.entry(topic.clone()).or_default().insert(*partition);
                }
                let topics = topics.into_iter().map(|(name, partitions)| {
                    OffsetFetchRequestTopic::default()
                        .with_name(TopicName(text(&name)))
                        .with_partition_indexes(partitions.into_iter().collect())
                });
                let request = OffsetFetchRequest::default()
                    .with_group_id(GroupId(text(&group)))
                    .with_topics(Some(topics.collect()));
                let version = cx.version(1, 7);
                self.line.send(&request, version, 0, true, cx);
            }
        }
    }

    fn ask_offset(&mut self, topic: &str, partition: i32, timestamp: i64, cx: &mut Cx<'_>) {
        let part = ListOffsetsPartition::default()
            .with_partition_index(partition)
            .with_current_leader_epoch(-1)
            .with_timestamp(timestamp);
        let topic = ListOffsetsTopic::default().with_name(TopicName(text(topic))).with_partitions(vec![part]);
        let request = ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(vec![topic]);
        let version = cx.version(1, 10);
        self.line.send(&request, version, 0, true, cx);
    }

    /// Takes an answer; false: ask again later.
    fn take(&mut self, step: Step, answer: &Answer, cx: &mut Cx<'_>) -> bool {
        let next = match step {
            Step::Topics => answer.decode(cx).map(|response| {
                self.topics(&response, cx);
                None
            }),
            Step::Start { topic, partition } => {
                offset_of(answer, cx).map(|start| Some(Step::End { topic, partition, start }))
            }
            Step::End { topic, partition, start } => offset_of(answer, cx).map(|end| {
                self.bounds(&topic, partition, start, end, cx);
                if let Some(lost) = self.overtaken.take().filter(|lost| start <= *lost) {
                    cx.model.fail(|| format!("{topic}-{partition} starts at {start}, but refused {lost}"));
                }
                self.records.clear();
                if start < end {
                    return Some(Step::Read { topic, partition, start, end, next: start });
                }
                self.compare(&topic, partition, start, end, end, cx);
                None
            }),
            Step::Read { topic, partition, start, end, next } => {
                return self.read_on((topic, partition, start, end, next), answer, cx);
            }
            Step::Configs { topic } => {
                answer.decode(cx).and_then(|response| configs(&topic, &response, cx)).map(|()| None)
            }
            Step::Coordinator { .. } => coordinator_found(answer, cx).then_some(None),
            Step::Offsets { group } => {
                answer.decode(cx).and_then(|response| offsets(&group, &response, cx)).map(|()| None)
            }
        };
        let Some(next) = next else { return false };
        self.steps.pop_front();
        if let Some(next) = next {
            self.steps.push_front(next);
        }
        true
    }

    fn topics(&mut self, response: &MetadataResponse, cx: &mut Cx<'_>) {
        let mut found: BTreeMap<&str, usize> = BTreeMap::new();
        for topic in &response.topics {
            if let Some(name) = &topic.name {
                found.insert(name.0.as_str(), topic.partitions.len());
            }
        }
        let mut problems = Vec::new();
        for (name, topic) in &cx.model.topics {
            match (topic.state, found.remove(name.as_str())) {
                (TopicState::Exists, None) => problems.push(format!("topic {name} is gone")),
                (TopicState::Exists, Some(count)) => {
                    let (least, most) = (topic.partitions, topic.partitions_asked);
                    if !(least as usize..=most as usize).contains(&count) {
                        problems.push(format!("topic {name} has {count} partitions, not {least} to {most}"));
                    }
                    let partitions = 0..topic.partitions;
                    self.steps.push_back(Step::Configs { topic: name.clone() });
                    self.steps.extend(partitions.map(|partition| Step::Start { topic: name.clone(), partition }));
                }
                (TopicState::Absent, Some(_)) => problems.push(format!("topic {name} is back")),
                _ => {}
            }
        }
        found.retain(|name, _| !name.starts_with("__"));
        if let Some((name, _)) = found.first_key_value() {
            problems.push(format!("topic {name} was never made"));
        }
        if let Some(problem) = problems.pop() {
            cx.model.fail(|| problem);
        }
        let groups: BTreeSet<String> = cx.model.commits.keys().map(|key| key.0.clone()).collect();
        for group in groups {
            self.steps.push_back(Step::Coordinator { group: group.clone() });
            self.steps.push_back(Step::Offsets { group });
        }
    }

    fn bounds(&self, topic: &str, partition: i32, start: i64, end: i64, cx: &mut Cx<'_>) {
        let Some(incarnation) = cx.model.usable(topic).map(|topic| topic.incarnation) else { return };
        let retention = cx.model.retention;
        let Some(part) = cx.model.part(topic, incarnation, partition) else { return };
        let (known, deleted, asked) = (part.known_end(), part.deleted_to, part.delete_asked);
        let damaged = part.damaged_from.is_some();
        if end < known {
            cx.model.fail(|| format!("{topic}-{partition} ends at {end}; records up to {known} were acknowledged"));
        }
        if start < deleted && !damaged {
            cx.model.fail(|| format!("{topic}-{partition} starts at {start}; deleted up to {deleted}"));
        }
        if start > asked && !retention && !damaged {
            cx.model.fail(|| format!("{topic}-{partition} starts at {start}; nobody deleted more than {asked}"));
        }
    }

    fn read_on(&mut self, step: (String, i32, i64, i64, i64), answer: &Answer, cx: &mut Cx<'_>) -> bool {
        let (topic, partition, start, end, next) = step;
        let Some(incarnation) = cx.model.usable(&topic).map(|topic| topic.incarnation) else { return false };
        let damaged = cx.model.part(&topic, incarnation, partition).is_some_and(|part| part.damaged_from.is_some());
        let Some(response) = answer.decode::<FetchResponse>(cx) else { return false };
        let part = response.responses.first().and_then(|topic| topic.partitions.first());
        let Some(part) = part.filter(|_| response.error_code == 0) else { return false };
        match verdict(part.error_code) {
            Verdict::Done => {}
            Verdict::Later => return false,
            _ if damaged => {
                cx.model.flips_noticed += 1;
                self.compare(&topic, partition, start, end, next, cx);
                self.steps.pop_front();
                return true;
            }
            Verdict::Wrong(ErrorCode::OffsetOutOfRange) if cx.model.retention => {
                self.overtaken = Some(next);
                self.steps[0] = Step::Start { topic, partition };
                return true;
            }
            other => {
                cx.model.fail(|| format!("{topic}-{partition} at {next} of {start}..{end}: {other:?}"));
                return false;
            }
        }
        let records = part.records.clone().unwrap_or_default();
        let reader = Reader { topic: &topic, incarnation, partition, offset: next };
        let out = read(&reader, &records, cx);
        self.records.extend(out.records);
        if out.damaged || out.next >= end {
            self.compare(&topic, partition, start, end, out.next, cx);
            self.steps.pop_front();
        } else if out.next == next && damaged {
            // Neither data nor an error: the damage is not served, but not told either.
            cx.model.flips_hushed += 1;
            self.compare(&topic, partition, start, end, next, cx);
            self.steps.pop_front();
        } else if out.next == next {
            cx.model.fail(|| format!("{topic}-{partition}: nothing to read at {next} of {start}..{end}"));
        } else if let Some(Step::Read { next, .. }) = self.steps.front_mut() {
            *next = out.next;
        }
        true
    }

    /// Everything from `start` to `read_to` was read.
    fn compare(&mut self, topic: &str, partition: i32, start: i64, end: i64, read_to: i64, cx: &mut Cx<'_>) {
        let records = std::mem::take(&mut self.records);
        let Some(incarnation) = cx.model.usable(topic).map(|topic| topic.incarnation) else { return };
        let mut last: BTreeMap<u64, RecordId> = BTreeMap::new();
        let mut expected = start;
        for (offset, id) in &records {
            if *offset != expected {
                cx.model.fail(|| format!("{topic}-{partition}: offset {expected} is missing"));
            }
            expected = offset + 1;
            if cx.model.is_idempotent(*id)
                && let Some(before) = last.insert(id >> 32, *id)
                && before >= *id
            {
                cx.model.fail(|| format!("{topic}-{partition}: record {id:x} at {offset} comes after {before:x}"));
            }
        }
        if read_to >= end && expected < end {
            cx.model.fail(|| format!("{topic}-{partition}: ends at {end}, the last record is before {expected}"));
        }
        let Some(part) = cx.model.part(topic, incarnation, partition) else { return };
        let found: BTreeMap<i64, RecordId> = records.into_iter().collect();
        let lost = part.records.range(start..).find(|(offset, id)| found.get(offset) != Some(id));
        if let Some((offset, id)) = lost.map(|(offset, id)| (*offset, *id))
            && offset < read_to
        {
            cx.model.fail(|| format!("{topic}-{partition}: record {id:x} at {offset} was acknowledged and is lost"));
        }
    }
}

fn offset_of(answer: &Answer, cx: &mut Cx<'_>) -> Option<i64> {
    let response = answer.decode::<ListOffsetsResponse>(cx)?;
    let part = response.topics.first()?.partitions.first()?;
    match verdict(part.error_code) {
        Verdict::Done => Some(part.offset),
        Verdict::Later => None,
        other => {
            let topic = response.topics.first()?.name.0.clone();
            cx.model.fail(|| format!("ListOffsets of {}-{}: {other:?}", topic.as_str(), part.partition_index));
            None
        }
    }
}

fn configs(topic: &str, response: &DescribeConfigsResponse, cx: &mut Cx<'_>) -> Option<()> {
    let result = response.results.first()?;
    if result.error_code != 0 {
        cx.model.fail(|| format!("DescribeConfigs of {topic}: {}", result.error_code));
        return None;
    }
    let known = cx.model.usable(topic)?.configs.clone();
    for (name, value) in known {
        let found = result.configs.iter().find(|config| config.name.as_str() == name);
        let found = found.and_then(|config| config.value.as_ref()).map(|value| value.to_string());
        if value.is_some() && found != value {
            cx.model.fail(|| format!("{topic}: {name} is {found:?} and was set to {value:?}"));
        }
    }
    Some(())
}

fn offsets(group: &str, response: &OffsetFetchResponse, cx: &mut Cx<'_>) -> Option<()> {
    if verdict(response.error_code) == Verdict::Later {
        return None;
    }
    if response.error_code != 0 {
        cx.model.fail(|| format!("OffsetFetch of {group}: {}", response.error_code));
        return None;
    }
    for topic in &response.topics {
        for part in &topic.partitions {
            if verdict(part.error_code) == Verdict::Later {
                return None;
            }
            let key = (group.to_owned(), topic.name.0.to_string(), part.partition_index);
            cx.model.check_commit(&key, part.committed_offset);
        }
    }
    Some(())
}

impl Client for Checker {
    fn wake(&mut self, cx: &mut Cx<'_>) {
        cx.wake_in_ms(100);
        if self.line.waiting() == 0 {
            self.ask(cx);
        }
    }

    fn answer(&mut self, answer: Answer, cx: &mut Cx<'_>) {
        let Some(step) = self.steps.front().cloned() else { return };
        if self.take(step, &answer, cx) {
            cx.wake_in_ns = Some(1_000);
        } else {
            cx.wake_in_ms(50);
        }
    }

    fn lost(&mut self, cx: &mut Cx<'_>) {
        cx.wake_in_ms(20);
    }

    fn line(&mut self) -> &mut Line {
        &mut self.line
    }

    fn is_idle(&self) -> bool {
        self.steps.is_empty()
    }
}
