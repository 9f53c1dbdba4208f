//! 22 InitProducerId: an id for an idempotent producer, from this core's block.

use bytes::Bytes;

use crate::meta::controller::{Answer, Command};
use crate::shard::message::Reply;
use crate::wire::messages as m;
use crate::wire::{ErrorCode, cold};

use super::group_membership::decode;
use super::{Ctx, Gather, Handled, Step, answer, respond};

/// How long a request waits for a block, milliseconds.
const TIMEOUT_MS: u64 = 10_000;

#[derive(Debug)]
struct WaitForBlock {
    /// This request asked for the block; the others only wait for it.
    asks: bool,
}

pub fn handle(ctx: &mut Ctx<'_>, body: Bytes) -> Handled {
    let request = decode!(ctx, body, m::InitProducerIdRequest, "InitProducerId");
    if request.transactional_id.is_some() {
        // Not retriable: FindCoordinator has told the client already that there is no transaction coordinator.
        return respond(ctx, &failed(ErrorCode::InvalidRequest));
    }
    if let Some(id) = ctx.producer_ids.take() {
        return respond(ctx, &given(id));
    }
    let asks = park(ctx);
    ctx.expire_in(TIMEOUT_MS);
    Handled::Gather(Box::new(WaitForBlock { asks }))
}

/// Waits for the next block. True: this request has asked for it.
fn park(ctx: &mut Ctx<'_>) -> bool {
    let asks = ctx.producer_ids.park(ctx.request);
    if asks {
        let broker = ctx.shard.settings().node_id;
        let broker_epoch = ctx.shard.image.broker(broker).map_or(-1, |broker| broker.epoch);
        ctx.ask_controller(0, Command::AllocateProducerIds { broker, broker_epoch });
    }
    asks
}

fn given(id: i64) -> m::InitProducerIdResponse {
    m::InitProducerIdResponse::default().with_producer_id(id.into()).with_producer_epoch(0)
}

fn failed(error: ErrorCode) -> m::InitProducerIdResponse {
    m::InitProducerIdResponse::default()
        .with_error_code(error.code())
        .with_producer_id((-1).into())
        .with_producer_epoch(-1)
}

impl Gather for WaitForBlock {
    fn reply(&mut self, _part: u32, reply: Reply, ctx: &mut Ctx<'_>) -> Step {
        match reply {
            Reply::Control(Answer::ProducerIds(Ok(block))) => {
                ctx.producer_ids.block(block.first..block.first + i64::from(block.count));
            }
            other => {
                tracing::warn!("no producer ids: {other:?}");
                ctx.producer_ids.block(0..0);
            }
        }
        self.asks = false;
        self.expired(ctx)
    }

    fn woken(&mut self, ctx: &mut Ctx<'_>) -> Step {
        match ctx.producer_ids.take() {
            Some(id) => answer(ctx, &given(id)),
            // Whoever asked is gone, or the block was too small for all who waited.
            None => {
                self.asks = park(ctx);
                Step::Wait
            }
        }
    }

    fn expired(&mut self, ctx: &mut Ctx<'_>) -> Step {
        if self.asks {
            // The controller is slow; the others that wait ask again by their clients' retries.
            ctx.producer_ids.block(0..0);
        }
        match ctx.producer_ids.take() {
            Some(id) => answer(ctx, &given(id)),
            None => answer(ctx, &failed(ErrorCode::CoordinatorNotAvailable)),
        }
    }
}
