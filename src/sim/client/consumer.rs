//! A consumer by fetch, with a session (KIP-227) or without: reads every partition from its start and on, and tells the
//! model what it sees. On one connection the high watermark of a partition never goes back. Without a session it may
//! have several fetches in flight, of the same offsets or not: each is answered for what it asked.

use std::collections::{BTreeMap, VecDeque};

use kafka_protocol::messages::fetch_request::{FetchPartition, FetchRequest, FetchTopic, ForgottenTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{FetchResponse, ListOffsetsRequest, ListOffsetsResponse, TopicName};

use super::aside::{ASIDE, Aside};
use super::records::{Reader, read};
use super::{Answer, Client, Cx, Line, Verdict, text, verdict};
use crate::wire::{ErrorCode, from_message_uuid, to_message_uuid};

const FETCH: u64 = 0;
const OFFSETS: u64 = 1;
/// Fetches that may follow one another without waiting.
const IN_FLIGHT_MAX: u64 = 4;

type Place = (String, u32, i32);

#[derive(Clone, Copy, Debug, Default)]
struct Position {
    offset: i64,
    /// What the session believes; `None`: not in the session.
    in_session: Option<i64>,
    high_watermark: i64,
    lost_place: bool,
    /// Damage was noticed here: not read any more.
    given_up: bool,
}

/// One consumer.
#[derive(Debug)]
pub struct Consumer {
    line: Line,
    with_session: bool,
    positions: BTreeMap<Place, Position>,
    session_id: i32,
    session_epoch: i32,
    forgotten: Vec<Place>,
    asked: Option<Place>,
    /// Where each fetch in flight reads.
    fetching: VecDeque<BTreeMap<Place, i64>>,
    aside: Aside,
}

impl Consumer {
    pub fn new(with_session: bool, slow_reader: bool) -> Consumer {
        Consumer {
            line: Line { slow_reader, ..Line::default() },
            with_session,
            positions: BTreeMap::new(),
            session_id: 0,
            session_epoch: 0,
            forgotten: Vec::new(),
            asked: None,
            fetching: VecDeque::new(),
            aside: Aside::default(),
        }
    }

    /// Takes up new partitions and drops those of topics that are gone.
    fn refresh(&mut self, cx: &mut Cx<'_>) {
        let model = &*cx.model;
        let gone: Vec<Place> = (self.positions.keys())
            .filter(|(topic, incarnation, _)| model.usable(topic).is_none_or(|t| t.incarnation != *incarnation))
            .cloned()
            .collect();
        for place in gone {
            if self.positions.remove(&place).is_some_and(|position| position.in_session.is_some()) {
                self.forgotten.push(place);
            }
        }
        for (name, topic) in &cx.model.topics {
            if cx.model.usable(name).is_some() {
                for partition in 0..topic.partitions {
                    self.positions.entry((name.clone(), topic.incarnation, partition)).or_default();
                }
            }
        }
    }

    fn fetch(&mut self, cx: &mut Cx<'_>) {
        self.refresh(cx);
        if let Some((place, _)) = self.positions.iter().find(|(_, position)| position.lost_place) {
            let place = place.clone();
            if self.asked.is_none() {
                self.ask_start(place, cx);
            }
            return;
        }
        let (least, most) = if self.with_session { (7, 17) } else { (4, 17) };
        let version = cx.version(least, most);
        let ids = version >= 13;
        if ids && self.positions.keys().any(|(topic, _, _)| cx.model.usable(topic).is_none_or(|t| t.id.is_none())) {
            return cx.wake_in_ms(10);
        }
        let full = !self.with_session || self.session_epoch == 0;
        let mut request = FetchRequest::default()
            .with_max_wait_ms(cx.below(500) as i32)
            .with_min_bytes(1)
            .with_max_bytes(1 + cx.below(200_000) as i32)
            .with_session_id(self.session_id)
            .with_session_epoch(if self.with_session { self.session_epoch } else { -1 });
        let part_bytes = 1 + cx.below(50_000) as i32;
        for ((topic, _, partition), position) in &mut self.positions {
            if position.given_up || (!full && position.in_session == Some(position.offset)) {
                continue;
            }
            position.in_session = self.with_session.then_some(position.offset);
            let part = FetchPartition::default()
                .with_partition(*partition)
                .with_current_leader_epoch(-1)
                .with_fetch_offset(position.offset)
                .with_last_fetched_epoch(-1)
                .with_log_start_offset(-1)
                .with_partition_max_bytes(part_bytes);
            let mut entry = FetchTopic::default().with_partitions(vec![part]);
            match cx.model.topics.get(topic).and_then(|topic| topic.id).filter(|_| ids) {
                Some(id) => entry.topic_id = to_message_uuid(id),
                None => entry.topic = TopicName(text(topic)),
            }
            match request.topics.last_mut().filter(|t| t.topic == entry.topic && t.topic_id == entry.topic_id) {
                Some(known) => known.partitions.append(&mut entry.partitions),
                None => request.topics.push(entry),
            }
        }
        if !full && !self.forgotten.is_empty() {
            // Topic ids of removed topics are not kept: the simplest way to forget is a new session.
            self.forgotten.clear();
            self.end_session();
            return cx.wake_in_ms(1);
        }
        request.forgotten_topics_data = Vec::<ForgottenTopic>::new();
        self.forgotten.clear();
        let reads = self.positions.iter().map(|(place, position)| (place.clone(), position.offset)).collect();
        self.fetching.push_back(reads);
        self.line.send(&request, version, FETCH, true, cx);
    }

    /// Sends more behind a fetch.
    fn more(&mut self, cx: &mut Cx<'_>) {
        if !self.with_session && self.asked.is_none() {
            for _ in 0..cx.below(IN_FLIGHT_MAX) {
                self.fetch(cx);
            }
        }
        if cx.chance(1, 2) {
            self.aside.ask_some(&mut self.line, cx);
        }
    }

    fn end_session(&mut self) {
        self.session_id = 0;
        self.session_epoch = 0;
        for position in self.positions.values_mut() {
            position.in_session = None;
        }
    }

    fn ask_start(&mut self, place: Place, cx: &mut Cx<'_>) {
        let part = ListOffsetsPartition::default()
            .with_partition_index(place.2)
            .with_current_leader_epoch(-1)
            .with_timestamp(-2);
        let topic = ListOffsetsTopic::default().with_name(TopicName(text(&place.0))).with_partitions(vec![part]);
        let request = ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(vec![topic]);
        self.asked = Some(place);
        let version = cx.version(1, 10);
        self.line.send(&request, version, OFFSETS, true, cx);
    }

    fn start_found(&mut self, response: ListOffsetsResponse, cx: &mut Cx<'_>) {
        let part = response.topics.first().and_then(|topic| topic.partitions.first());
        let (Some(place), Some(part)) = (self.asked.take(), part) else { return };
        match verdict(part.error_code) {
            Verdict::Done => {
                if let Some(position) = self.positions.get_mut(&place) {
                    let before = position.offset;
                    position.offset = part.offset;
                    position.lost_place = false;
                    let known = cx.model.part(&place.0, place.1, place.2);
                    let known = known.filter(|part| part.damaged_from.is_none()).map(|part| part.known_end());
                    if known.is_some_and(|end| part.offset > end.max(before)) && !cx.model.retention {
                        cx.model
                            .fail(|| format!("{place:?}: the log starts at {}, behind all that is known", part.offset));
                    }
                }
            }
            Verdict::Later | Verdict::Gone => {
                cx.told_to_wait("ListOffsets", part.error_code);
                cx.wake_in_ms(20);
            }
            Verdict::Wrong(error) => cx.model.fail(|| format!("ListOffsets: {}", error.name())),
        }
    }

    fn fetched(&mut self, reads: &BTreeMap<Place, i64>, response: FetchResponse, cx: &mut Cx<'_>) {
        match verdict(response.error_code) {
            Verdict::Done => {}
            Verdict::Wrong(
                ErrorCode::FetchSessionIdNotFound
                | ErrorCode::InvalidFetchSessionEpoch
                | ErrorCode::FetchSessionTopicIdError
                | ErrorCode::InconsistentTopicId,
            ) => return self.end_session(),
            Verdict::Wrong(error) => return cx.model.fail(|| format!("Fetch: {}", error.name())),
            Verdict::Later | Verdict::Gone => {
                cx.told_to_wait("Fetch", response.error_code);
                return self.end_session();
            }
        }
        if self.with_session {
            if self.session_epoch == 0 {
                self.session_id = response.session_id;
            }
            self.session_epoch = if response.session_id == 0 { 0 } else { self.session_epoch + 1 };
        }
        for topic in response.responses {
            let name = match topic.topic.0.as_str() {
                "" => cx.model.topics.iter().find(|(_, t)| t.id == Some(from_message_uuid(topic.topic_id))),
                name => cx.model.topics.iter().find(|(known, _)| *known == name),
            };
            let Some((name, incarnation)) = name.map(|(name, topic)| (name.clone(), topic.incarnation)) else {
                continue;
            };
            for part in topic.partitions {
                let place = (name.clone(), incarnation, part.partition_index);
                // Not what it asked for: the topic has been made anew meanwhile.
                let Some(offset) = reads.get(&place) else { continue };
                self.part(&place, *offset, &part, cx);
            }
        }
    }

    fn part(&mut self, place: &Place, offset: i64, part: &PartitionData, cx: &mut Cx<'_>) {
        let Some(position) = self.positions.get_mut(place) else { return };
        let known = cx.model.part(&place.0, place.1, place.2).map(|part| part.damaged_from.is_some());
        let Some(damaged) = known else { return };
        match verdict(part.error_code) {
            Verdict::Done => {}
            Verdict::Wrong(ErrorCode::OffsetOutOfRange) => {
                position.lost_place = true;
                return;
            }
            Verdict::Wrong(_) if damaged => {
                cx.model.flips_noticed += 1;
                position.given_up = true;
                return;
            }
            Verdict::Wrong(ErrorCode::InconsistentTopicId) => return self.end_session(),
            Verdict::Wrong(error) => return cx.model.fail(|| format!("Fetch of {place:?}: {}", error.name())),
            Verdict::Later => {
                cx.told_to_wait("Fetch", part.error_code);
                return cx.wake_in_ms(20);
            }
            Verdict::Gone => {
                cx.model.fail(|| format!("{place:?} exists and the answer to a fetch denies it"));
                return;
            }
        }
        if part.high_watermark < position.high_watermark && !damaged {
            let before = position.high_watermark;
            cx.model.fail(|| format!("{place:?}: the high watermark went from {before} to {}", part.high_watermark));
        }
        position.high_watermark = part.high_watermark;
        if let Some(records) = &part.records {
            let reader = Reader { topic: &place.0, incarnation: place.1, partition: place.2, offset };
            let out = read(&reader, records, cx);
            position.given_up |= out.damaged;
            // A position that damage has left above the log stays there until records come.
            if out.next > part.high_watermark && !out.damaged && !records.is_empty() {
                cx.model.fail(|| format!("{place:?}: read up to {}, above {}", out.next, part.high_watermark));
            }
            position.offset = position.offset.max(out.next);
        }
    }
}

impl Client for Consumer {
    fn wake(&mut self, cx: &mut Cx<'_>) {
        if self.line.waiting() == 0 && !cx.draining {
            self.fetch(cx);
            if cx.swarm.pipelines && self.line.waiting() > 0 {
                self.more(cx);
            }
        }
        if cx.wake_in_ns.is_none() {
            cx.wake_in_ms(200);
        }
    }

    fn answer(&mut self, answer: Answer, cx: &mut Cx<'_>) {
        let think = cx.below(cx.swarm.think_ms * 1_000_000 + 1);
        cx.wake_in_ns = Some(think);
        if answer.tag == ASIDE {
            self.aside.take(&answer, cx);
        } else if answer.tag == FETCH {
            let reads = self.fetching.pop_front().unwrap_or_default();
            if let Some(response) = answer.decode::<FetchResponse>(cx) {
                self.fetched(&reads, response, cx);
            }
        } else if let Some(response) = answer.decode::<ListOffsetsResponse>(cx) {
            self.start_found(response, cx);
        }
    }

    fn lost(&mut self, cx: &mut Cx<'_>) {
        self.end_session();
        self.asked = None;
        self.fetching.clear();
        self.aside.clear();
        for position in self.positions.values_mut() {
            position.high_watermark = 0;
        }
        let ms = 1 + cx.below(50);
        cx.wake_in_ms(ms);
    }

    fn line(&mut self) -> &mut Line {
        &mut self.line
    }

    fn is_idle(&self) -> bool {
        self.line.waiting() == 0
    }
}
