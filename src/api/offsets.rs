//! 2 ListOffsets, 23 OffsetForLeaderEpoch, 21 DeleteRecords: one question a partition, to the core that owns it.
//!
//! The three share a shape: resolve each partition, ask each owner once, put the answers where the request had the
//! questions. [`PartitionGather`] is that shape.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::base::ids::{CoreId, TopicPartition};
use crate::shard::message::{
    Ask, DeleteQuery, EpochQuery, OffsetFound, OffsetQuery, OffsetTarget, PartitionError, Reply,
};
use crate::wire::messages as m;
use crate::wire::messages::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use crate::wire::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use crate::wire::messages::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use crate::wire::{ErrorCode, cold};

use super::errors::partition_error;
use super::group_membership::decode;
use super::{Ctx, Gather, Handled, Step, answer, metadata};

/// Special timestamps of ListOffsets and the version each of them came with (KIP-734, KIP-405, KIP-1005, KIP-1023).
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: (i64, i16) = (-3, 7);
const EARLIEST_LOCAL: (i64, i16) = (-4, 8);
const LATEST_TIERED: (i64, i16) = (-5, 9);
const EARLIEST_PENDING_UPLOAD: (i64, i16) = (-6, 11);
/// From this version on ListOffsets answers leader epochs.
const LIST_EPOCH_VERSION: i16 = 4;

/// The answer to one question; what its fields mean is the API's business.
#[derive(Clone, Copy, Debug)]
struct Found {
    offset: i64,
    timestamp: i64,
    epoch: i32,
}

const NOTHING: Found = Found { offset: -1, timestamp: -1, epoch: -1 };

#[derive(Debug)]
struct Slot {
    topic: usize,
    partition: i32,
    owner: Option<CoreId>,
    result: Option<Result<Found, ErrorCode>>,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    ListOffsets,
    EpochEnds,
    DeleteRecords,
}

#[derive(Debug)]
struct PartitionGather {
    kind: Kind,
    topics: Vec<m::TopicName>,
    slots: Vec<Slot>,
    asks_left: u32,
}

impl PartitionGather {
    fn new(kind: Kind) -> PartitionGather {
        PartitionGather { kind, topics: Vec::new(), slots: Vec::new(), asks_left: 0 }
    }

    fn topic(&mut self, name: m::TopicName) -> usize {
        self.topics.push(name);
        self.topics.len() - 1
    }

    /// Adds a question; where it must be asked, unless it is answered already.
    fn add(
        &mut self,
        ctx: &Ctx<'_>,
        topic: usize,
        partition: i32,
        early: Option<Result<Found, ErrorCode>>,
    ) -> Option<(u32, TopicPartition, CoreId)> {
        let place = self.slots.len() as u32;
        let target = ctx.shard.image.topic_named(&self.topics[topic]).and_then(|found| {
            let target = TopicPartition { topic: found.id, partition };
            ctx.shard.route.owner(target).map(|core| (target, core))
        });
        let result = match (early, target) {
            (_, None) => Some(Err(ErrorCode::UnknownTopicOrPartition)),
            (early, Some(_)) => early,
        };
        let owner = target.map(|(_, core)| core).filter(|_| result.is_none());
        self.slots.push(Slot { topic, partition, owner, result });
        owner.and(target).map(|(target, core)| (place, target, core))
    }

    fn start<T>(
        mut self,
        ctx: &mut Ctx<'_>,
        asks: BTreeMap<CoreId, Vec<T>>,
        ask: fn(Vec<T>) -> Ask,
        timeout_ms: Option<u64>,
    ) -> Handled {
        for (core, queries) in asks {
            ctx.ask(u32::from(core.0), core, ask(queries));
            self.asks_left += 1;
        }
        if self.asks_left == 0 {
            return match self.encode(ctx) {
                Step::Answer(parts) => Handled::Answer(parts),
                Step::Close(reason) => Handled::Close(reason),
                Step::Silent | Step::Wait => Handled::Silent,
            };
        }
        if let Some(ms) = timeout_ms {
            ctx.expire_in(ms);
        }
        Handled::Gather(Box::new(self))
    }

    fn put(&mut self, slot: u32, result: Result<Found, PartitionError>) {
        if let Some(slot) = self.slots.get_mut(slot as usize) {
            slot.result = Some(result.map_err(|error| partition_error(&error)));
        }
    }

    fn encode(&mut self, ctx: &Ctx<'_>) -> Step {
        match self.kind {
            Kind::ListOffsets => self.encode_list_offsets(ctx),
            Kind::EpochEnds => self.encode_epoch_ends(ctx),
            Kind::DeleteRecords => self.encode_delete_records(ctx),
        }
    }

    /// (topic, partition, error, what was found) in the order of the request.
    fn take(&mut self) -> impl Iterator<Item = (usize, i32, i16, Found)> + use<'_> {
        self.slots.drain(..).map(|slot| {
            let result = slot.result.unwrap_or(Err(ErrorCode::RequestTimedOut));
            let code = result.err().unwrap_or(ErrorCode::None).code();
            (slot.topic, slot.partition, code, result.unwrap_or(NOTHING))
        })
    }

    fn encode_list_offsets(&mut self, ctx: &Ctx<'_>) -> Step {
        let names = std::mem::take(&mut self.topics);
        let mut topics: Vec<ListOffsetsTopicResponse> =
            names.into_iter().map(|name| ListOffsetsTopicResponse::default().with_name(name)).collect();
        for (topic, partition, code, found) in self.take() {
            let epoch = if ctx.head.api_version >= LIST_EPOCH_VERSION { found.epoch } else { -1 };
            topics[topic].partitions.push(
                ListOffsetsPartitionResponse::default()
                    .with_partition_index(partition)
                    .with_error_code(code)
                    .with_timestamp(found.timestamp)
                    .with_offset(found.offset)
                    .with_leader_epoch(epoch),
            );
        }
        answer(ctx, &m::ListOffsetsResponse::default().with_topics(topics))
    }

    fn encode_epoch_ends(&mut self, ctx: &Ctx<'_>) -> Step {
        let names = std::mem::take(&mut self.topics);
        let mut topics: Vec<OffsetForLeaderTopicResult> =
            names.into_iter().map(|name| OffsetForLeaderTopicResult::default().with_topic(name)).collect();
        for (topic, partition, code, found) in self.take() {
            topics[topic].partitions.push(
                EpochEndOffset::default()
                    .with_partition(partition)
                    .with_error_code(code)
                    .with_leader_epoch(found.epoch)
                    .with_end_offset(found.offset),
            );
        }
        answer(ctx, &m::OffsetForLeaderEpochResponse::default().with_topics(topics))
    }

    fn encode_delete_records(&mut self, ctx: &Ctx<'_>) -> Step {
        let names = std::mem::take(&mut self.topics);
        let mut topics: Vec<DeleteRecordsTopicResult> =
            names.into_iter().map(|name| DeleteRecordsTopicResult::default().with_name(name)).collect();
        for (topic, partition, code, found) in self.take() {
            topics[topic].partitions.push(
                DeleteRecordsPartitionResult::default()
                    .with_partition_index(partition)
                    .with_error_code(code)
                    .with_low_watermark(found.offset),
            );
        }
        answer(ctx, &m::DeleteRecordsResponse::default().with_topics(topics))
    }
}

impl Gather for PartitionGather {
    fn reply(&mut self, part: u32, reply: Reply, ctx: &mut Ctx<'_>) -> Step {
        match reply {
            Reply::ListOffsets(done) => {
                let found = |f: OffsetFound| Found { offset: f.offset, timestamp: f.timestamp, epoch: f.leader_epoch };
                done.into_iter().for_each(|done| self.put(done.slot, done.result.map(found)));
            }
            Reply::EpochEnds(done) => {
                let found = |(epoch, offset)| Found { offset, timestamp: -1, epoch };
                done.into_iter().for_each(|done| self.put(done.slot, done.result.map(found)));
            }
            Reply::DeleteRecords(done) => {
                let found = |offset| Found { offset, timestamp: -1, epoch: -1 };
                done.into_iter().for_each(|done| self.put(done.slot, done.result.map(found)));
            }
            Reply::Refused(error) => {
                for slot in self.slots.iter_mut().filter(|slot| slot.owner == Some(CoreId(part as u16))) {
                    slot.result = Some(Err(partition_error(&error)));
                }
            }
            other => return Step::Close(format!("{:?} was answered with {other:?}", self.kind)),
        }
        self.asks_left -= 1;
        if self.asks_left == 0 { self.encode(ctx) } else { Step::Wait }
    }

    fn expired(&mut self, ctx: &mut Ctx<'_>) -> Step {
        self.encode(ctx)
    }
}

pub fn list(ctx: &mut Ctx<'_>, body: Bytes) -> Handled {
    let request = decode!(ctx, body, m::ListOffsetsRequest, "ListOffsets");
    let mut gather = PartitionGather::new(Kind::ListOffsets);
    let mut asks: BTreeMap<CoreId, Vec<OffsetQuery>> = BTreeMap::new();
    for topic in request.topics {
        let place = gather.topic(topic.name);
        for asked in topic.partitions {
            let (target, early) = match target(asked.timestamp, ctx.head.api_version) {
                Ok(Some(target)) => (target, None),
                Ok(None) => (OffsetTarget::Latest, Some(Ok(NOTHING))),
                Err(error) => (OffsetTarget::Latest, Some(Err(error))),
            };
            if let Some((slot, partition, core)) = gather.add(ctx, place, asked.partition_index, early) {
                let leader_epoch = asked.current_leader_epoch;
                asks.entry(core).or_default().push(OffsetQuery { slot, partition, leader_epoch, target });
            }
        }
    }
    gather.start(ctx, asks, Ask::ListOffsets, None)
}

/// What a timestamp stands for; `None`: nothing can be found (tiered storage is not there).
fn target(timestamp: i64, version: i16) -> Result<Option<OffsetTarget>, ErrorCode> {
    let since = |(_, first): (i64, i16), target| {
        if version >= first { Ok(target) } else { Err(ErrorCode::UnsupportedVersion) }
    };
    match timestamp {
        LATEST => Ok(Some(OffsetTarget::Latest)),
        EARLIEST => Ok(Some(OffsetTarget::Earliest)),
        t if t == MAX_TIMESTAMP.0 => since(MAX_TIMESTAMP, Some(OffsetTarget::MaxTimestamp)),
        t if t == EARLIEST_LOCAL.0 => since(EARLIEST_LOCAL, Some(OffsetTarget::Earliest)),
        t if t == LATEST_TIERED.0 => since(LATEST_TIERED, None),
        t if t == EARLIEST_PENDING_UPLOAD.0 => since(EARLIEST_PENDING_UPLOAD, None),
        t if t < 0 => Err(ErrorCode::UnsupportedVersion),
        t => Ok(Some(OffsetTarget::AtOrAfter(t))),
    }
}

pub fn epoch_ends(ctx: &mut Ctx<'_>, body: Bytes) -> Handled {
    let request = decode!(ctx, body, m::OffsetForLeaderEpochRequest, "OffsetForLeaderEpoch");
    let mut gather = PartitionGather::new(Kind::EpochEnds);
    let mut asks: BTreeMap<CoreId, Vec<EpochQuery>> = BTreeMap::new();
    for topic in request.topics {
        let place = gather.topic(topic.topic);
        for asked in topic.partitions {
            if let Some((slot, partition, core)) = gather.add(ctx, place, asked.partition, None) {
                asks.entry(core).or_default().push(EpochQuery {
                    slot,
                    partition,
                    current_epoch: asked.current_leader_epoch,
                    epoch: asked.leader_epoch,
                });
            }
        }
    }
    gather.start(ctx, asks, Ask::EpochEnds, None)
}

pub fn delete_records(ctx: &mut Ctx<'_>, body: Bytes) -> Handled {
    let request = decode!(ctx, body, m::DeleteRecordsRequest, "DeleteRecords");
    let timeout_ms = u64::try_from(request.timeout_ms).unwrap_or(0);
    let mut gather = PartitionGather::new(Kind::DeleteRecords);
    let mut asks: BTreeMap<CoreId, Vec<DeleteQuery>> = BTreeMap::new();
    for topic in request.topics {
        let refused = undeletable(ctx, &topic.name);
        let place = gather.topic(topic.name);
        for asked in topic.partitions {
            let early = refused.map(Err);
            if let Some((slot, partition, core)) = gather.add(ctx, place, asked.partition_index, early) {
                asks.entry(core).or_default().push(DeleteQuery { slot, partition, before: asked.offset });
            }
        }
    }
    gather.start(ctx, asks, Ask::DeleteRecords, Some(timeout_ms))
}

/// Why no records of a topic may be deleted by a client, if so.
fn undeletable(ctx: &Ctx<'_>, name: &str) -> Option<ErrorCode> {
    if metadata::is_internal(name) {
        return Some(ErrorCode::InvalidTopicException);
    }
    let id = ctx.shard.image.topic_named(name)?.id;
    let settings = ctx.shard.topic_settings(id)?;
    (!settings.cleanup_delete).then_some(ErrorCode::PolicyViolation)
}
