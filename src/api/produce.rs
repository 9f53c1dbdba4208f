//! 0 Produce: check batches, group them by owner, gather the acknowledgements.
//!
//! Stop 3 of the produce path. Batches are checked here, on the connection's core, so that the owner only appends. A
//! batch that fails is an error of its partition; the others go on.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::base::ids::{CoreId, TopicPartition};
use crate::batch::header::BatchHeader;
use crate::batch::patch;
use crate::batch::validate::{ClientRules, check_client_batch};
use crate::meta::settings::{TimestampType, TopicSettings};
use crate::port::range::Part;
use crate::shard::message::{Ask, ProduceItem, Reply};
use crate::wire::produce::{
    ProducePartitionResponse, ProduceRequest, ProduceResponse, ProduceTopicResponse, RecordError, decode_request,
    encode_response,
};
use crate::wire::{ErrorCode, TopicRef, WireError};

use super::errors::{partition_error, refusal};
use super::{Ctx, Gather, Handled, Step, metadata, unencodable};

/// zstd may be produced from this version on (KIP-110).
const ZSTD_VERSION: i16 = 7;

/// One partition of the request on its way.
#[derive(Debug)]
struct Item {
    topic: usize,
    response: ProducePartitionResponse,
    /// The ask that it waits for.
    waits_for: Option<CoreId>,
}

#[derive(Debug)]
struct ProduceGather {
    topics: Vec<TopicRef>,
    items: Vec<Item>,
    asks_left: u32,
}

pub fn handle(ctx: &mut Ctx<'_>, body: Bytes) -> Handled {
    let version = ctx.head.api_version;
    let request = match decode_request(version, &body) {
        Ok(request) => request,
        Err(error) => return Handled::Close(format!("Produce: {error}")),
    };
    let acks = request.acks;
    let timeout_ms = u64::try_from(request.timeout_ms).unwrap_or(0);
    let mut gather = ProduceGather { topics: Vec::new(), items: Vec::new(), asks_left: 0 };
    let by_owner = sort_out(ctx, request, &mut gather);
    let quiet = (acks == 0).then_some(ctx.conn);
    for (core, items) in by_owner {
        ctx.ask(u32::from(core.0), core, Ask::Produce { items, quiet });
        gather.asks_left += 1;
    }
    if acks == 0 {
        // The good ones are appended whatever becomes of the others.
        let failed = gather.items.iter().any(|item| item.response.error != ErrorCode::None);
        let why = "Produce with acks=0 failed; the client learns it by the closed connection";
        return if failed { Handled::Close(why.to_string()) } else { Handled::Silent };
    }
    if gather.asks_left == 0 {
        return match gather.encode(ctx) {
            Ok(parts) => Handled::Answer(parts),
            Err(error) => Handled::Close(unencodable(ctx, &error)),
        };
    }
    // Others are waited for with acks=all only; what the leader does by itself is never late.
    if acks == -1 {
        ctx.expire_in(timeout_ms);
    }
    Handled::Gather(Box::new(gather))
}

/// Checks every batch; the good ones by owner, the rest as errors in the gather.
fn sort_out(ctx: &Ctx<'_>, request: ProduceRequest, gather: &mut ProduceGather) -> BTreeMap<CoreId, Vec<ProduceItem>> {
    let mut by_owner: BTreeMap<CoreId, Vec<ProduceItem>> = BTreeMap::new();
    let acks_valid = matches!(request.acks, -1..=1);
    for asked in request.topics {
        let (topic, unknown) = super::topic_names::find(ctx, &asked.topic);
        let place = gather.topics.len();
        let id = topic.map(|t| t.id);
        let internal = topic.is_some_and(|topic| metadata::is_internal(&topic.name));
        let settings = id.and_then(|id| ctx.shard.topic_settings(id));
        gather.topics.push(asked.topic);
        for data in asked.partitions {
            let mut response = ProducePartitionResponse::failed(data.index, ErrorCode::None);
            let target = id.map(|topic| TopicPartition { topic, partition: data.index });
            let owner = target.and_then(|target| ctx.shard.route.owner(target));
            match (target, owner, settings) {
                _ if !acks_valid => response.error = ErrorCode::InvalidRequiredAcks,
                // What the broker keeps for itself is read by its own code, which trusts it.
                _ if internal => response.error = ErrorCode::InvalidTopicException,
                (None, ..) | (_, _, None) => response.error = unknown,
                (Some(_), None, _) => response.error = ErrorCode::UnknownTopicOrPartition,
                (Some(partition), Some(core), Some(settings)) => {
                    match check(ctx, data.records.unwrap_or_default(), settings) {
                        Ok(batch) => {
                            let slot = gather.items.len() as u32;
                            by_owner.entry(core).or_default().push(ProduceItem { slot, partition, batch });
                        }
                        Err((code, message, record_errors)) => {
                            response.error = code;
                            response.error_message = message;
                            response.record_errors = record_errors;
                        }
                    }
                }
            }
            let waits_for = owner.filter(|_| response.error == ErrorCode::None);
            gather.items.push(Item { topic: place, response, waits_for });
        }
    }
    by_owner
}

type BatchError = (ErrorCode, Option<String>, Vec<RecordError>);

/// The batch as it is to be appended: as sent, unless the client was wrong about its largest timestamp.
fn check(ctx: &Ctx<'_>, batch: Bytes, settings: &TopicSettings) -> Result<Bytes, BatchError> {
    let rules = ClientRules {
        max_batch_bytes: settings.max_message_bytes as usize,
        compacted: settings.cleanup_compact,
        timestamp_type_log_append: settings.timestamp_type == TimestampType::LogAppendTime,
        timestamp_before_max_ms: i64::try_from(settings.timestamp_before_max_ms).unwrap_or(i64::MAX),
        timestamp_after_max_ms: i64::try_from(settings.timestamp_after_max_ms).unwrap_or(i64::MAX),
        now_ms: ctx.now.wall_ms,
        zstd_allowed: ctx.head.api_version >= ZSTD_VERSION,
    };
    let header: BatchHeader = check_client_batch(&batch, &rules).map_err(refusal)?;
    if header.is_transactional() {
        let message = "this version has no transaction coordinator".to_string();
        return Err((ErrorCode::InvalidTxnState, Some(message), Vec::new()));
    }
    let sent = BatchHeader::parse(&batch);
    if sent.is_some_and(|sent| sent.max_timestamp == header.max_timestamp) {
        return Ok(batch);
    }
    let mut corrected = batch.to_vec();
    patch::correct_max_timestamp(&mut corrected, &header);
    Ok(Bytes::from(corrected))
}

impl ProduceGather {
    fn encode(&mut self, ctx: &Ctx<'_>) -> Result<Vec<Part>, WireError> {
        let mut topics: Vec<ProduceTopicResponse> =
            self.topics.drain(..).map(|topic| ProduceTopicResponse { topic, partitions: Vec::new() }).collect();
        for item in self.items.drain(..) {
            topics[item.topic].partitions.push(item.response);
        }
        let response = ProduceResponse { topics, throttle_time_ms: 0, node_endpoints: Vec::new() };
        encode_response(ctx.head.api_version, ctx.head.correlation_id, &response)
    }

    fn answer(&mut self, ctx: &Ctx<'_>) -> Step {
        match self.encode(ctx) {
            Ok(parts) => Step::Answer(parts),
            Err(error) => Step::Close(unencodable(ctx, &error)),
        }
    }
}

impl Gather for ProduceGather {
    fn reply(&mut self, part: u32, reply: Reply, ctx: &mut Ctx<'_>) -> Step {
        match reply {
            Reply::Produce(done) => {
                for done in done {
                    let item = &mut self.items[done.slot as usize];
                    item.waits_for = None;
                    match done.result {
                        Ok(produced) => {
                            item.response.base_offset = produced.base_offset;
                            item.response.log_append_time_ms = produced.log_append_time;
                            item.response.log_start_offset = produced.log_start;
                        }
                        Err(error) => item.response.error = partition_error(&error),
                    }
                }
            }
            Reply::Refused(error) => {
                for item in self.items.iter_mut().filter(|item| item.waits_for == Some(CoreId(part as u16))) {
                    item.waits_for = None;
                    item.response.error = partition_error(&error);
                }
            }
            other => return Step::Close(format!("Produce was answered with {other:?}")),
        }
        self.asks_left -= 1;
        if self.asks_left == 0 { self.answer(ctx) } else { Step::Wait }
    }

    fn expired(&mut self, ctx: &mut Ctx<'_>) -> Step {
        for item in self.items.iter_mut().filter(|item| item.waits_for.is_some()) {
            item.response.error = ErrorCode::RequestTimedOut;
        }
        self.answer(ctx)
    }
}
