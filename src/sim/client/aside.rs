//! Questions of other kinds that a client puts behind what it waits for, on the same connection, without waiting: what
//! is there, and where does a partition end. Their answers come in their turn, and what was acknowledged before the
//! question is in them.

use std::collections::VecDeque;

use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, ListOffsetsRequest, ListOffsetsResponse, MetadataRequest,
    MetadataResponse, TopicName,
};

use super::{Answer, Cx, Line, Verdict, text, verdict};

/// The tag of such a question.
pub const ASIDE: u64 = u64::MAX - 1;
/// Most questions in a row.
const IN_A_ROW: u64 = 3;

#[derive(Debug)]
enum Question {
    Versions,
    /// Topics that exist, and which of their name they are.
    Topics(Vec<(String, u32)>),
    /// Topic, incarnation, partition, and an offset that its end is not below.
    End(String, u32, i32, i64),
}

/// The questions of one connection that are not answered.
#[derive(Debug, Default)]
pub struct Aside {
    asked: VecDeque<Question>,
}

impl Aside {
    /// Asks one to three questions, when the run has any of this.
    pub fn ask_some(&mut self, line: &mut Line, cx: &mut Cx<'_>) {
        if cx.swarm.pipelines && !cx.draining {
            for _ in 0..1 + cx.below(IN_A_ROW) {
                self.ask(line, cx);
            }
        }
    }

    fn ask(&mut self, line: &mut Line, cx: &mut Cx<'_>) {
        let topics: Vec<(String, u32)> = (cx.model.topics.iter())
            .filter(|(name, _)| cx.model.usable(name).is_some())
            .map(|(name, topic)| (name.clone(), topic.incarnation))
            .collect();
        let question = match cx.below(4) {
            0 => {
                let version = cx.version(0, 3);
                let name = text("sim");
                let request = ApiVersionsRequest::default().with_client_software_name(name.clone());
                line.send(&request.with_client_software_version(name), version, ASIDE, true, cx);
                Question::Versions
            }
            1 => {
                let version = cx.version(1, 12);
                line.send(&MetadataRequest::default().with_topics(None), version, ASIDE, true, cx);
                Question::Topics(topics)
            }
            _ if topics.is_empty() => return,
            _ => {
                let (topic, incarnation) = topics[cx.below(topics.len() as u64) as usize].clone();
                let partitions = cx.model.usable(&topic).map_or(1, |topic| topic.partitions);
                let partition = cx.below(partitions as u64) as i32;
                let part = cx.model.part(&topic, incarnation, partition);
                let end = part.map_or(0, |part| part.known_end());
                let part = ListOffsetsPartition::default()
                    .with_partition_index(partition)
                    .with_current_leader_epoch(-1)
                    .with_timestamp(-1);
                let entry = ListOffsetsTopic::default().with_name(TopicName(text(&topic))).with_partitions(vec![part]);
                let request = ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(vec![entry]);
                let version = cx.version(1, 10);
                line.send(&request, version, ASIDE, true, cx);
                Question::End(topic, incarnation, partition, end)
            }
        };
        self.asked.push_back(question);
    }

    /// Takes the answer to the oldest question.
    pub fn take(&mut self, answer: &Answer, cx: &mut Cx<'_>) {
        match self.asked.pop_front() {
            Some(Question::Versions) => {
                if let Some(response) = answer.decode::<ApiVersionsResponse>(cx)
                    && response.error_code != 0
                {
                    cx.model.fail(|| format!("ApiVersions: {}", response.error_code));
                }
            }
            Some(Question::Topics(topics)) => {
                if let Some(response) = answer.decode::<MetadataResponse>(cx) {
                    topics_found(&topics, &response, cx);
                }
            }
            Some(Question::End(topic, incarnation, partition, at_least)) => {
                if let Some(response) = answer.decode::<ListOffsetsResponse>(cx) {
                    end_found((&topic, incarnation, partition, at_least), &response, cx);
                }
            }
            None => cx.model.fail(|| "an answer to a question that nobody asked".to_owned()),
        }
    }

    /// The connection is gone, and the answers with it.
    pub fn clear(&mut self) {
        self.asked.clear();
    }
}

fn topics_found(topics: &[(String, u32)], response: &MetadataResponse, cx: &mut Cx<'_>) {
    for (name, incarnation) in topics {
        if cx.model.usable(name).is_none_or(|topic| topic.incarnation != *incarnation) {
            continue;
        }
        let found = response.topics.iter().find(|topic| topic.name.as_ref().is_some_and(|n| n.0.as_str() == name));
        let code = found.map(|topic| topic.error_code);
        if code.is_none_or(|code| !matches!(verdict(code), Verdict::Done | Verdict::Later)) {
            cx.model.fail(|| format!("{name} exists and the answer to Metadata says {code:?}"));
        }
    }
}

fn end_found(
    (topic, incarnation, partition, at_least): (&str, u32, i32, i64),
    response: &ListOffsetsResponse,
    cx: &mut Cx<'_>,
) {
    let part = response.topics.first().and_then(|topic| topic.partitions.first());
    let Some((code, found)) = part.map(|part| (part.error_code, part.offset)) else {
        return cx.model.fail(|| format!("{topic}-{partition} is missing in the answer to ListOffsets"));
    };
    let Some(known) = cx.model.part(topic, incarnation, partition) else { return };
    let damaged = known.damaged_from.is_some();
    match verdict(code) {
        Verdict::Done if found < at_least && !damaged => {
            cx.model.fail(|| format!("{topic}-{partition} ends at {found}; records up to {at_least} were known"));
        }
        Verdict::Done | Verdict::Later => {}
        other if !damaged => cx.model.fail(|| format!("the end of {topic}-{partition}: {other:?}")),
        _ => {}
    }
}
