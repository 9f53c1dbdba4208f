//! A producer as Kafka's own: batches in flight, retries in order, with idempotence or without.
//!
//! Each lane (partition) sends its batches in order. After an error it waits until everything in flight is answered and
//! goes on with the first batch that is not acknowledged, which is what makes idempotence work. Questions of other
//! kinds go behind its batches; sometimes it sends nothing more until all of them are answered.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use kafka_protocol::messages::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse, ProduceResponse, TopicName};

use super::aside::{ASIDE, Aside};
use super::{Answer, Client, Cx, Line, Verdict, text, verdict};
use crate::batch::build::BatchBuilder;
use crate::batch::compress::Codec;
use crate::sim::model::RecordId;
use crate::wire::{ErrorCode, to_message_uuid};

const INIT: u64 = u64::MAX;
const VERSIONS: (i16, i16) = (3, 13);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    InFlight,
    Acked,
}

#[derive(Debug)]
struct Batch {
    ids: Vec<RecordId>,
    bytes: Bytes,
    state: State,
    attempts: u32,
}

#[derive(Debug)]
struct Lane {
    topic: String,
    incarnation: u32,
    partition: i32,
    sequence: i32,
    queue: VecDeque<Batch>,
    /// Number of the first batch in the queue.
    first: u64,
    /// An error came: nothing is sent until nothing is in flight.
    rewinding: bool,
}

#[derive(Debug)]
struct Sent {
    /// (topic, incarnation, partition, number of the batch), in the order of the request.
    batches: Vec<(String, u32, i32, u64)>,
}

/// What kind of producer this is.
#[derive(Clone, Copy, Debug)]
pub struct ProducerKind {
    pub idempotent: bool,
    pub acks: i16,
    pub depth: usize,
    /// After a lost connection it may sleep long before it tries again.
    pub sleepy: bool,
}

/// One producer.
#[derive(Debug)]
pub struct Producer {
    number: u32,
    kind: ProducerKind,
    line: Line,
    id: Option<(i64, i16)>,
    lanes: Vec<Lane>,
    sent: VecDeque<(u64, Sent)>,
    next_tag: u64,
    counter: u32,
    left: u32,
    aside: Aside,
    /// Nothing is sent until everything is answered.
    holding: bool,
    /// Topics this producer id has written to: a topic made anew under an old name needs a new id, since a late request
    /// may still carry old sequences into it.
    used: BTreeMap<String, u32>,
}

impl Producer {
    /// `left`: batches to make.
    pub fn new(number: u32, kind: ProducerKind, left: u32, slow_reader: bool) -> Producer {
        Producer {
            number,
            kind,
            line: Line { slow_reader, ..Line::default() },
            id: None,
            lanes: Vec::new(),
            sent: VecDeque::new(),
            next_tag: 0,
            counter: 0,
            left,
            aside: Aside::default(),
            holding: false,
            used: BTreeMap::new(),
        }
    }

    fn begin_id(&mut self, cx: &mut Cx<'_>) {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_transaction_timeout_ms(60_000)
            .with_producer_id((-1).into())
            .with_producer_epoch(-1);
        let version = cx.version(0, 5);
        self.line.send(&request, version, INIT, true, cx);
    }

    /// Drops what belongs to topics that are gone, and adds lanes and batches.
    fn fill(&mut self, cx: &mut Cx<'_>) {
        let model = &*cx.model;
        self.lanes.retain(|lane| {
            model.topics.get(&lane.topic).is_some_and(|topic| topic.incarnation == lane.incarnation)
                && (model.usable(&lane.topic).is_some() || lane.queue.iter().any(|b| b.state == State::InFlight))
        });
        if cx.draining {
            self.left = 0;
        }
        while self.left > 0 && self.unfinished() < 2 * self.kind.depth {
            let usable: Vec<(String, u32, i32)> = (cx.model.topics.iter())
                .filter(|(name, _)| cx.model.usable(name).is_some())
                .map(|(name, topic)| (name.clone(), topic.incarnation, topic.partitions))
                .collect();
            if usable.is_empty() {
                return;
            }
            let (topic, incarnation, partitions) = usable[cx.below(usable.len() as u64) as usize].clone();
            let partition = cx.below(partitions.max(1) as u64) as i32;
            if *self.used.entry(topic.clone()).or_insert(incarnation) != incarnation {
                if self.unfinished() == 0 {
                    self.lanes.clear();
                    self.used.clear();
                    self.id = None;
                }
                return;
            }
            let lane = self.lane(topic, incarnation, partition);
            self.add_batch(lane, cx);
            self.left -= 1;
        }
    }

    fn lane(&mut self, topic: String, incarnation: u32, partition: i32) -> usize {
        let found = self.lanes.iter().position(|lane| lane.topic == topic && lane.partition == partition);
        found.unwrap_or_else(|| {
            let (queue, first) = (VecDeque::new(), 0);
            self.lanes.push(Lane { topic, incarnation, partition, sequence: 0, queue, first, rewinding: false });
            self.lanes.len() - 1
        })
    }

    fn add_batch(&mut self, lane: usize, cx: &mut Cx<'_>) {
        let count = 1 + cx.below(cx.swarm.records_per_batch_max) as u32;
        let codec = [Codec::None, Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];
        let codec = codec[cx.below(if cx.swarm.compression { 6 } else { 1 }) as usize];
        let mut builder = BatchBuilder::new(0).codec(codec, None);
        let lane = &mut self.lanes[lane];
        if let (true, Some((id, epoch))) = (self.kind.idempotent, self.id) {
            builder = builder.producer(id, epoch, lane.sequence);
            lane.sequence += count as i32;
        }
        let mut ids = Vec::new();
        for _ in 0..count {
            self.counter += 1;
            let id = u64::from(self.number) << 32 | u64::from(self.counter);
            builder.push(cx.world.clock().wall_ms, None, Some(&cx.model.value(id)));
            ids.push(id);
        }
        lane.queue.push_back(Batch { ids, bytes: builder.finish(), state: State::Waiting, attempts: 0 });
    }

    fn unfinished(&self) -> usize {
        self.lanes.iter().map(|lane| lane.queue.len()).sum()
    }

    fn work(&mut self, cx: &mut Cx<'_>) {
        self.holding &= self.line.waiting() > 0;
        if self.holding {
            return;
        }
        if self.kind.idempotent && self.id.is_none() {
            if self.line.waiting() == 0 {
                self.begin_id(cx);
            }
            return;
        }
        self.fill(cx);
        if self.kind.idempotent && self.id.is_none() {
            return;
        }
        while self.sent.len() < self.kind.depth
            && let Some(request) = self.gather(cx)
        {
            self.send(request, cx);
        }
        if cx.swarm.pipelines && self.line.waiting() > 0 && cx.chance(1, 4) {
            self.aside.ask_some(&mut self.line, cx);
            self.holding = cx.chance(1, 2);
        }
    }

    /// The next batch of up to three lanes.
    fn gather(&mut self, cx: &mut Cx<'_>) -> Option<Vec<(usize, usize)>> {
        let mut parts: Vec<(usize, usize)> = Vec::new();
        let start = if self.lanes.is_empty() { 0 } else { cx.below(self.lanes.len() as u64) as usize };
        for step in 0..self.lanes.len() {
            let at = (start + step) % self.lanes.len();
            let lane = &mut self.lanes[at];
            if lane.rewinding {
                if lane.queue.iter().any(|batch| batch.state == State::InFlight) {
                    continue;
                }
                lane.rewinding = false;
            }
            if let Some(batch) = lane.queue.iter().position(|batch| batch.state == State::Waiting) {
                parts.push((at, batch));
            }
            if parts.len() == 3 {
                break;
            }
        }
        if parts.is_empty() { None } else { Some(parts) }
    }

    fn send(&mut self, parts: Vec<(usize, usize)>, cx: &mut Cx<'_>) {
        let ids_known = parts
            .iter()
            .all(|(lane, _)| cx.model.topics.get(&self.lanes[*lane].topic).is_some_and(|topic| topic.id.is_some()));
        let (least, most) = VERSIONS;
        let version = cx.version(least.max(7), if ids_known { most } else { most - 1 });
        let mut request = ProduceRequest::default().with_acks(self.kind.acks).with_timeout_ms(10_000);
        let mut batches = Vec::new();
        for (lane, index) in parts {
            let lane = &mut self.lanes[lane];
            let batch = &mut lane.queue[index];
            batch.attempts += 1;
            batch.state = State::InFlight;
            for id in &batch.ids {
                cx.model.sent(*id, self.kind.idempotent);
            }
            batches.push((lane.topic.clone(), lane.incarnation, lane.partition, lane.first + index as u64));
            let data =
                PartitionProduceData::default().with_index(lane.partition).with_records(Some(batch.bytes.clone()));
            let mut topic = TopicProduceData::default().with_partition_data(vec![data]);
            match cx.model.topics.get(&lane.topic).and_then(|topic| topic.id).filter(|_| version >= 13) {
                Some(id) => topic.topic_id = to_message_uuid(id),
                None => topic.name = TopicName(text(&lane.topic)),
            }
            match request.topic_data.iter_mut().find(|t| t.name == topic.name && t.topic_id == topic.topic_id) {
                Some(known) => known.partition_data.append(&mut topic.partition_data),
                None => request.topic_data.push(topic),
            }
        }
        let tag = self.next_tag;
        self.next_tag += 1;
        let answered = self.kind.acks != 0;
        self.line.send(&request, version, tag, answered, cx);
        if answered {
            self.sent.push_back((tag, Sent { batches }));
        } else {
            for (topic, incarnation, partition, number) in batches {
                self.settle(&topic, incarnation, partition, number, State::Acked);
            }
            // Without answers nothing slows this producer down but itself.
            cx.wake_in_ms(1);
        }
    }

    /// Sets the state of a batch and drops what is done at the front of the lane.
    fn settle(&mut self, topic: &str, incarnation: u32, partition: i32, number: u64, state: State) -> Option<Vec<u64>> {
        let lane = self
            .lanes
            .iter_mut()
            .find(|lane| lane.topic == topic && lane.incarnation == incarnation && lane.partition == partition)?;
        let batch = lane.queue.get_mut(number.checked_sub(lane.first)? as usize)?;
        batch.state = state;
        let ids = batch.ids.clone();
        if state == State::Waiting {
            lane.rewinding = true;
        }
        while lane.queue.front().is_some_and(|batch| batch.state == State::Acked) {
            lane.queue.pop_front();
            lane.first += 1;
        }
        Some(ids)
    }

    fn produced(&mut self, sent: Sent, response: ProduceResponse, cx: &mut Cx<'_>) {
        for (topic, incarnation, partition, number) in sent.batches {
            let id = cx.model.topics.get(&topic).and_then(|topic| topic.id).map(to_message_uuid);
            let found = response.responses.iter().filter(|t| t.name.0.as_str() == topic || Some(t.topic_id) == id);
            let part = found.flat_map(|t| t.partition_responses.iter()).find(|p| p.index == partition);
            let Some(part) = part else {
                if cx.model.usable(&topic).is_some_and(|topic| topic.incarnation == incarnation) {
                    cx.model.fail(|| format!("{topic}-{partition}: missing in the answer to a produce"));
                }
                // The topic is on its way out, and its id is not known here any more.
                self.lanes.retain(|lane| lane.topic != topic || lane.incarnation != incarnation);
                continue;
            };
            match verdict(part.error_code) {
                Verdict::Done => self.acked((topic, incarnation, partition, number), part.base_offset, cx),
                Verdict::Later => {
                    cx.told_to_wait("Produce", part.error_code);
                    self.settle(&topic, incarnation, partition, number, State::Waiting);
                    cx.wake_in_ms(20);
                }
                Verdict::Gone => self.gone(&topic, incarnation, partition, cx),
                Verdict::Wrong(error) => self.refused((topic, incarnation, partition, number), error, cx),
            }
        }
    }

    fn acked(&mut self, batch: (String, u32, i32, u64), base: i64, cx: &mut Cx<'_>) {
        let (topic, incarnation, partition, number) = batch;
        let Some(ids) = self.settle(&topic, incarnation, partition, number, State::Acked) else { return };
        cx.model.acked += ids.len() as u64;
        for (offset, id) in (base..).zip(ids) {
            // A duplicate whose offset the node no longer knows is acknowledged without one.
            if base >= 0 {
                cx.model.place(&topic, incarnation, partition, offset, id);
            }
        }
    }

    fn gone(&mut self, topic: &str, incarnation: u32, partition: i32, cx: &mut Cx<'_>) {
        if cx.model.usable(topic).is_some_and(|t| t.incarnation == incarnation && partition < t.partitions) {
            cx.model.fail(|| format!("{topic}-{partition} exists and the answer to a produce denies it"));
        }
        self.lanes.retain(|lane| lane.topic != topic || lane.incarnation != incarnation);
    }

    fn refused(&mut self, batch: (String, u32, i32, u64), error: ErrorCode, cx: &mut Cx<'_>) {
        let (topic, incarnation, partition, number) = batch;
        if error == ErrorCode::DuplicateSequenceNumber {
            self.settle(&topic, incarnation, partition, number, State::Acked);
            return;
        }
        let known = self.lanes.iter().any(|lane| lane.topic == topic && lane.partition == partition);
        if !known {
            // Begun anew after the answer before this one.
            return;
        }
        let damaged = cx.model.part(&topic, incarnation, partition).is_none_or(|part| part.damaged_from.is_some());
        let lane = self.lanes.iter().find(|lane| lane.topic == topic && lane.partition == partition);
        let follows_an_error = lane.is_some_and(|lane| lane.rewinding || lane.first < number);
        if error == ErrorCode::OutOfOrderSequenceNumber && follows_an_error && !damaged {
            // Its predecessor did not make it.
            self.settle(&topic, incarnation, partition, number, State::Waiting);
            return;
        }
        // A producer snapshot (Kafka's format) keeps the last batch only: after a restart a retry of the one before it
        // is refused, though it is in the log.
        let overtaken = lane.is_some_and(|lane| {
            let later = number.saturating_sub(lane.first) as usize;
            let tried = |batch: &Batch| batch.attempts > 0;
            lane.queue.get(later).is_some_and(|b| b.attempts > 1) && lane.queue.iter().skip(later + 1).any(tried)
        });
        if error == ErrorCode::OutOfOrderSequenceNumber && overtaken {
            cx.model.snapshot_gaps += 1;
        } else if !damaged {
            cx.model.fail(|| format!("{topic}-{partition}: batch {number} was refused with {}", error.name()));
        }
        // What the node knew of this producer is lost with the damage: start anew under another id.
        self.lanes.clear();
        self.id = None;
    }
}

impl Client for Producer {
    fn wake(&mut self, cx: &mut Cx<'_>) {
        cx.wake_in_ms(5 + cx.swarm.think_ms);
        self.work(cx);
    }

    fn answer(&mut self, answer: Answer, cx: &mut Cx<'_>) {
        let think = cx.below(cx.swarm.think_ms * 1_000_000 + 1);
        cx.wake_in_ns = Some(think);
        if answer.tag == INIT {
            let Some(response) = answer.decode::<InitProducerIdResponse>(cx) else { return };
            match verdict(response.error_code) {
                Verdict::Done => self.id = Some((response.producer_id.0, response.producer_epoch)),
                Verdict::Later => cx.wake_in_ms(50),
                Verdict::Gone => {}
                Verdict::Wrong(error) => cx.model.fail(|| format!("InitProducerId: {}", error.name())),
            }
            return;
        }
        if answer.tag == ASIDE {
            return self.aside.take(&answer, cx);
        }
        let Some((_, sent)) = self.sent.pop_front() else { return };
        let Some(response) = answer.decode::<ProduceResponse>(cx) else { return };
        self.produced(sent, response, cx);
    }

    fn lost(&mut self, cx: &mut Cx<'_>) {
        self.sent.clear();
        self.aside.clear();
        for lane in &mut self.lanes {
            for batch in lane.queue.iter_mut().filter(|batch| batch.state == State::InFlight) {
                batch.state = State::Waiting;
            }
            lane.rewinding = false;
        }
        let sleeps = self.kind.sleepy && !cx.draining && cx.chance(1, 2);
        let ms = if sleeps { 200 + cx.below(4_000) } else { 1 + cx.below(50) };
        cx.wake_in_ms(ms);
    }

    fn line(&mut self) -> &mut Line {
        &mut self.line
    }

    fn is_idle(&self) -> bool {
        self.left == 0 && self.unfinished() == 0 && self.line.waiting() == 0
    }
}
