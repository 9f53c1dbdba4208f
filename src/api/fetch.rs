//! 1 Fetch: sessions, limits, one ask for every owning core; the minimum-bytes rule spans cores, so it is added up
//! here.
//!
//! ```text
//!  Reading ──all owners replied, enough bytes, an error, or no time left──▶ answer
//!     ▲ │ not enough
//!     │ ▼
//!  Watching ──news from an owner: that owner is read again──▶ Reading;   deadline ──▶ answer with what is there
//! ```
//! Owners are looked up before each read and watch: an owner that gives a partition away wakes its watchers, and the
//! partition is read where it is now.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::base::ids::{CoreId, TopicPartition};
use crate::shard::message::{Ask, FetchAsk, FetchItem, Fetched, PartitionError, Reply, WatchItem};
use crate::wire::fetch::{
    EpochEndOffset, FetchPartitionResponse, FetchRequest, FetchResponse, FetchTopicResponse, decode_request,
    encode_response,
};
use crate::wire::{ErrorCode, TopicRef};

use super::answer_room::Lease;
use super::errors::partition_error;
use super::fetch_session::{Opened, SessionError, SessionRequest, Telling, Wanted};
use super::{Ctx, Gather, Handled, Step, unencodable};

/// Longest that a fetch waits, milliseconds. A client may get less than its minimum at any time; one that has vanished
/// unnoticed must not be waited for until the end of days.
const MAX_WAIT_MS: u64 = 600_000;

/// What a partition takes while it is waited for: here, and as a watch at its owner.
const ITEM_BYTES: usize = size_of::<Item>() + 32;

/// One partition of the request.
#[derive(Debug)]
struct Item {
    wanted: Wanted,
    target: Option<(TopicPartition, CoreId)>,
    /// The core that holds a watch for it.
    watched_at: Option<CoreId>,
    result: Result<Fetched, ErrorCode>,
}

#[derive(Debug)]
struct FetchGather {
    session: i32,
    incremental: bool,
    min_bytes: usize,
    max_bytes: u32,
    /// Memory for what is read.
    lease: Option<Lease>,
    items: Vec<Item>,
    /// The moves that the items' owners take into account.
    rerouted: u64,
    /// Owners that have not replied to a read.
    reading: Vec<CoreId>,
    /// No more waiting: the deadline has passed or the client did not want to wait.
    due: bool,
}

pub fn handle(ctx: &mut Ctx<'_>, body: Bytes) -> Handled {
    let request = match decode_request(ctx.head.api_version, &body) {
        Ok(request) => request,
        Err(error) => return Handled::Close(format!("Fetch: {error}")),
    };
    if request.replica_id >= 0 {
        return top_level(ctx, ErrorCode::NotLeaderOrFollower);
    }
    let (min_bytes, max_bytes) = (request.min_bytes.max(0) as usize, request.max_bytes.max(0) as u32);
    let max_bytes = max_bytes.min(u32::try_from(ctx.shard.settings().fetch_max_bytes).unwrap_or(u32::MAX));
    let max_wait = (request.max_wait_ms.max(0) as u64).min(MAX_WAIT_MS);
    let opened = match ctx.fetch_sessions.open(session_request(ctx.head.api_version, request), ctx.now, ctx.random) {
        Ok(opened) => opened,
        Err(error) => return top_level(ctx, session_error(error)),
    };
    let Opened { id, incremental, wanted } = opened;
    let items: Vec<Item> = wanted.into_iter().map(|wanted| resolve(ctx, wanted)).collect();
    let mut gather = FetchGather {
        session: id,
        incremental,
        min_bytes,
        max_bytes,
        lease: None,
        items,
        rerouted: ctx.shard.route.rerouted(),
        reading: Vec::new(),
        due: max_wait == 0,
    };
    gather.read(ctx, |_| true);
    if gather.reading.is_empty() {
        let response = gather.response(ctx);
        return respond(ctx, &response);
    }
    if max_wait > 0 {
        ctx.expire_in(max_wait);
    }
    Handled::Gather(Box::new(gather))
}

fn session_request(version: i16, request: FetchRequest) -> SessionRequest {
    let mut wanted = Vec::new();
    for topic in request.topics {
        // The request's frame must not live as long as the fetch or its session.
        let name = topic.topic.detached();
        for partition in topic.partitions {
            wanted.push(Wanted {
                topic: name.clone(),
                partition: partition.index,
                offset: partition.fetch_offset,
                max_bytes: partition.partition_max_bytes.max(0) as u32,
                leader_epoch: partition.current_leader_epoch,
                last_fetched_epoch: partition.last_fetched_epoch,
            });
        }
    }
    let mut forgotten = Vec::new();
    for topic in request.forgotten_topics {
        forgotten.extend(topic.partitions.into_iter().map(|partition| (topic.topic.clone(), partition)));
    }
    SessionRequest { id: request.session_id, epoch: request.session_epoch, by_id: version >= 13, wanted, forgotten }
}

fn resolve(ctx: &Ctx<'_>, wanted: Wanted) -> Item {
    let (topic, unknown) = super::topic_names::find(ctx, &wanted.topic);
    let (target, error) = match topic {
        None => (None, unknown),
        Some(topic) => {
            let partition = TopicPartition { topic: topic.id, partition: wanted.partition };
            match ctx.shard.route.owner(partition) {
                Some(core) => (Some((partition, core)), ErrorCode::UnknownServerError),
                None => (None, ErrorCode::UnknownTopicOrPartition),
            }
        }
    };
    Item { wanted, target, watched_at: None, result: Err(error) }
}

fn top_level(ctx: &Ctx<'_>, error: ErrorCode) -> Handled {
    let response =
        FetchResponse { throttle_time_ms: 0, error, session_id: 0, topics: Vec::new(), node_endpoints: Vec::new() };
    respond(ctx, &response)
}

fn respond(ctx: &Ctx<'_>, response: &FetchResponse) -> Handled {
    match encode_response(ctx.head.api_version, ctx.head.correlation_id, response) {
        Ok(parts) => Handled::Answer(parts),
        Err(error) => Handled::Close(unencodable(ctx, &error)),
    }
}

fn session_error(error: SessionError) -> ErrorCode {
    match error {
        SessionError::NotFound => ErrorCode::FetchSessionIdNotFound,
        SessionError::InvalidEpoch => ErrorCode::InvalidFetchSessionEpoch,
        SessionError::TopicIdMismatch => ErrorCode::FetchSessionTopicIdError,
    }
}

/// An owner's share of `bytes` that may be read, by how many of all partitions it has: together owners bring no more.
fn share(bytes: u32, partitions: usize, all: usize) -> u32 {
    let share = u64::from(bytes) * partitions as u64 / (all as u64).max(1);
    u32::try_from(share).unwrap_or(bytes)
}

impl FetchGather {
    /// Takes over where the partitions are now: one may have moved since it was asked for.
    fn find_owners(&mut self, ctx: &Ctx<'_>) {
        let rerouted = ctx.shard.route.rerouted();
        if std::mem::replace(&mut self.rerouted, rerouted) == rerouted {
            return;
        }
        for (partition, core) in self.items.iter_mut().filter_map(|item| item.target.as_mut()) {
            *core = ctx.shard.route.owner(*partition).unwrap_or(*core);
        }
    }

    /// Asks every owner that `wanted` names for its partitions.
    fn read(&mut self, ctx: &mut Ctx<'_>, wanted: impl Fn(CoreId) -> bool) {
        let mut by_owner: BTreeMap<CoreId, Vec<FetchItem>> = BTreeMap::new();
        for (slot, item) in self.items.iter().enumerate() {
            let Some((partition, core)) = item.target else { continue };
            if !wanted(core) {
                continue;
            }
            by_owner.entry(core).or_default().push(FetchItem {
                slot: slot as u32,
                partition,
                offset: item.wanted.offset,
                max_bytes: item.wanted.max_bytes,
                leader_epoch: item.wanted.leader_epoch,
                last_fetched_epoch: item.wanted.last_fetched_epoch,
            });
        }
        if by_owner.is_empty() {
            return;
        }
        // What was read before is read again or kept; a new lease covers both.
        self.lease = None;
        let lease = ctx.answer_room.lease(self.max_bytes as usize);
        let kept = self.items.iter().filter(|item| item.target.is_some_and(|(_, core)| !by_owner.contains_key(&core)));
        let kept: usize = kept.filter_map(|item| item.result.as_ref().ok()).map(|fetched| fetched.bytes).sum();
        let free = self.max_bytes.min(u32::try_from(lease.bytes().saturating_sub(kept)).unwrap_or(u32::MAX));
        self.lease = Some(lease);
        let all = by_owner.values().map(Vec::len).sum();
        for (core, items) in by_owner {
            self.reading.push(core);
            let max_bytes = share(free, items.len(), all);
            ctx.ask(u32::from(core.0), core, Ask::Fetch(FetchAsk { items, max_bytes }));
        }
    }

    fn read_done(&mut self, core: CoreId, ctx: &mut Ctx<'_>) -> Step {
        self.reading.retain(|reading| *reading != core);
        if !self.reading.is_empty() {
            return Step::Wait;
        }
        if self.due || self.is_enough() {
            return self.answer(ctx);
        }
        let held = self.items.iter().filter_map(|item| item.result.as_ref().ok()).map(|fetched| fetched.bytes).sum();
        if let Some(lease) = &mut self.lease {
            lease.shrink(held);
        }
        self.watch(ctx);
        Step::Wait
    }

    fn is_enough(&self) -> bool {
        let mut bytes = 0;
        for item in &self.items {
            match &item.result {
                Ok(fetched) if fetched.diverging.is_none() => bytes += fetched.bytes,
                _ => return true,
            }
        }
        bytes >= self.min_bytes
    }

    /// Leaves a watch with every owner, for what nobody watches yet.
    fn watch(&mut self, ctx: &mut Ctx<'_>) {
        self.find_owners(ctx);
        let mut by_owner: BTreeMap<CoreId, Vec<WatchItem>> = BTreeMap::new();
        for item in &mut self.items {
            if let (Some((partition, core)), Ok(fetched), None) = (item.target, &item.result, item.watched_at) {
                let above = fetched.high_watermark;
                item.watched_at = Some(core);
                by_owner.entry(core).or_default().push(WatchItem { partition, above });
            }
        }
        for (core, items) in by_owner {
            ctx.ask(u32::from(core.0), core, Ask::Watch(items));
        }
    }

    /// A watch is used up: what it was for is read again, by whoever has it now.
    fn news(&mut self, core: CoreId, ctx: &mut Ctx<'_>) {
        self.find_owners(ctx);
        let mut owners = Vec::new();
        for item in self.items.iter_mut().filter(|item| item.watched_at == Some(core)) {
            item.watched_at = None;
            owners.extend(item.target.map(|(_, owner)| owner));
        }
        let reading = self.reading.clone();
        self.read(ctx, |owner| owners.contains(&owner) && !reading.contains(&owner));
    }

    /// Keeps within the limit of the whole answer: the first partition with data keeps it, later ones as far as it
    /// goes.
    fn fit(&mut self) {
        let mut left = self.max_bytes as usize;
        let mut found = false;
        for fetched in self.items.iter_mut().filter_map(|item| item.result.as_mut().ok()) {
            if fetched.bytes > left && found {
                fetched.parts.clear();
                fetched.bytes = 0;
            }
            found |= fetched.bytes > 0;
            left = left.saturating_sub(fetched.bytes);
        }
    }

    fn answer(&mut self, ctx: &mut Ctx<'_>) -> Step {
        let response = self.response(ctx);
        match encode_response(ctx.head.api_version, ctx.head.correlation_id, &response) {
            Ok(parts) => Step::Answer(parts),
            Err(error) => Step::Close(unencodable(ctx, &error)),
        }
    }

    fn response(&mut self, ctx: &mut Ctx<'_>) -> FetchResponse {
        self.fit();
        let mut topics: Vec<FetchTopicResponse> = Vec::new();
        let mut last: Option<TopicRef> = None;
        for item in self.items.drain(..) {
            let (partition, telling) = partition_response(&item.wanted, item.result);
            let news = ctx.fetch_sessions.is_news(self.session, &item.wanted.topic, item.wanted.partition, telling);
            if self.incremental && !news {
                continue;
            }
            if last.as_ref() != Some(&item.wanted.topic) {
                topics.push(FetchTopicResponse { topic: item.wanted.topic.clone(), partitions: Vec::new() });
                last = Some(item.wanted.topic);
            }
            if let Some(topic) = topics.last_mut() {
                topic.partitions.push(partition);
            }
        }
        FetchResponse {
            throttle_time_ms: 0,
            error: ErrorCode::None,
            session_id: self.session,
            topics,
            node_endpoints: Vec::new(),
        }
    }
}

fn partition_response(wanted: &Wanted, result: Result<Fetched, ErrorCode>) -> (FetchPartitionResponse, Telling) {
    let mut response = FetchPartitionResponse::failed(wanted.partition, ErrorCode::None);
    let mut telling = Telling { high_watermark: -1, log_start: -1, bytes: 0, is_error: false, is_diverging: false };
    match result {
        Ok(fetched) => {
            telling.high_watermark = fetched.high_watermark;
            telling.log_start = fetched.log_start;
            telling.bytes = fetched.bytes;
            telling.is_diverging = fetched.diverging.is_some();
            response.high_watermark = fetched.high_watermark;
            response.last_stable_offset = fetched.high_watermark;
            response.log_start_offset = fetched.log_start;
            response.diverging_epoch =
                fetched.diverging.map(|(epoch, end_offset)| EpochEndOffset { epoch, end_offset });
            response.records = fetched.parts;
        }
        Err(error) => {
            telling.is_error = true;
            response.error = error;
        }
    }
    (response, telling)
}

impl Gather for FetchGather {
    fn reply(&mut self, part: u32, reply: Reply, ctx: &mut Ctx<'_>) -> Step {
        let core = CoreId(part as u16);
        match reply {
            Reply::Fetch(done) => {
                for done in done {
                    self.items[done.slot as usize].result = done.result.map_err(|error| partition_error(&error));
                }
                self.read_done(core, ctx)
            }
            Reply::News => {
                self.news(core, ctx);
                Step::Wait
            }
            Reply::Refused(error) => {
                self.refused(core, &error);
                self.due = true;
                self.read_done(core, ctx)
            }
            other => Step::Close(format!("Fetch was answered with {other:?}")),
        }
    }

    fn expired(&mut self, ctx: &mut Ctx<'_>) -> Step {
        self.due = true;
        if self.reading.is_empty() { self.answer(ctx) } else { Step::Wait }
    }

    fn is_long_poll(&self) -> bool {
        self.reading.is_empty()
    }

    fn held_bytes(&self) -> Option<usize> {
        let mut names = 0;
        let mut last: Option<&TopicRef> = None;
        for topic in self.items.iter().map(|item| &item.wanted.topic) {
            if last != Some(topic) {
                names += topic.name().map_or(0, str::len);
                last = Some(topic);
            }
        }
        Some(size_of::<FetchGather>() + self.items.len() * ITEM_BYTES + names)
    }

    fn may_end_early(&self) -> bool {
        true
    }
}

impl FetchGather {
    fn refused(&mut self, core: CoreId, error: &PartitionError) {
        for item in self.items.iter_mut().filter(|item| item.target.is_some_and(|(_, owner)| owner == core)) {
            item.result = Err(partition_error(error));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_share_what_a_fetch_may_bring_by_their_partitions() {
        assert_eq!(share(1000, 5, 5), 1000, "alone it may have all");
        let shares = [1, 2, 7].map(|partitions| share(1000, partitions, 10));
        assert_eq!(shares, [100, 200, 700]);
        assert_eq!([share(u32::MAX, 1, 3), share(u32::MAX, 2, 3)].iter().sum::<u32>(), u32::MAX);
        assert_eq!(share(1, 1, 2), 0, "its first batch comes all the same");
    }
}
