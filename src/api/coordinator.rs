//! 10 FindCoordinator, and the way of every group request to the coordinator of its group.
//!
//! A group's coordinator lives on partition `hash(group) mod n` of `__consumer_offsets`; the topic is made when
//! somebody looks for a coordinator first.

use bytes::Bytes;

use crate::base::ids::{CoreId, TopicPartition};
use crate::coord::{self, GroupAnswer, GroupError, GroupRequest};
use crate::meta::controller::OFFSETS_TOPIC;
use crate::shard::message::{Ask, PartitionError, Reply};
use crate::wire::messages as m;
use crate::wire::messages::find_coordinator_response::Coordinator;
use crate::wire::{ErrorCode, StrBytes, cold};

use super::{AUTO_CREATE_TIMEOUT_MS, respond, topic_names};
use super::{Ctx, Gather, Handled, Step, answer, group_admin, group_membership, metadata};

/// Groups of one request whose coordinators are asked at the same time: what a request of many groups has in flight.
const GROUPS_AT_ONCE: usize = 256;

/// What a member that waits for its group takes on its connection's core, bytes.
const MEMBER_WAIT_BYTES: usize = 512;

/// From this version on FindCoordinator asks for several keys at once.
const BATCH_VERSION: i16 = 4;
const KEY_TYPE_GROUP: i8 = 0;

/// Which API a group request came by, so that its answer finds the encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupApi {
    Join,
    Sync,
    Heartbeat,
    Leave,
    OffsetDelete,
}

/// The partition of `__consumer_offsets` that a group belongs to, and its core; `None` while there is no such topic.
pub fn place(ctx: &Ctx<'_>, group: &str) -> Option<(i32, CoreId)> {
    let topic = ctx.shard.image.topic_named(OFFSETS_TOPIC)?;
    let partition = coord::partition_for(group, topic.partition_count() as i32);
    let core = ctx.shard.route.owner(TopicPartition { topic: topic.id, partition })?;
    Some((partition, core))
}

/// How far a request of many groups has come. They are asked some at a time, so that neither the asks in flight nor the
/// work a reply makes grow with the request.
#[derive(Debug)]
pub struct Rounds {
    groups: usize,
    next: usize,
    in_flight: usize,
}

impl Rounds {
    pub fn new(groups: usize) -> Rounds {
        Rounds { groups, next: 0, in_flight: 0 }
    }

    /// Calls `ask` for the next groups, by their place in the request, once few enough are in flight. It says whether
    /// it asked anybody; otherwise it has the answer already.
    pub fn ask_on(&mut self, mut ask: impl FnMut(usize) -> bool) {
        if self.in_flight > GROUPS_AT_ONCE / 2 {
            return;
        }
        while self.next < self.groups && self.in_flight < GROUPS_AT_ONCE {
            self.in_flight += usize::from(ask(self.next));
            self.next += 1;
        }
    }

    /// One of those in flight is answered.
    pub fn answered(&mut self) {
        self.in_flight -= 1;
    }

    pub fn is_complete(&self) -> bool {
        self.in_flight == 0 && self.next == self.groups
    }
}

/// Sends a request to the coordinator of its group; the answer is encoded as `api` has it.
pub fn ask(ctx: &mut Ctx<'_>, api: GroupApi, request: GroupRequest) -> Handled {
    match send(ctx, request) {
        Ok(request) => Handled::Gather(Box::new(GroupGather { api, request })),
        Err(refused) => handled(encode(ctx, api, *refused)),
    }
}

/// A first step that is the last one, too.
pub fn handled(step: Step) -> Handled {
    match step {
        Step::Answer(parts) => Handled::Answer(parts),
        Step::Close(reason) => Handled::Close(reason),
        Step::Silent | Step::Wait => Handled::Silent,
    }
}

/// Sends a request to the coordinator of its group. The error is the answer of a group that cannot have one: without
/// the topic no group can exist, and the client shall look for its coordinator, which makes it.
pub fn send(ctx: &mut Ctx<'_>, request: GroupRequest) -> Result<Shape, Box<GroupAnswer>> {
    let group = request.group().unwrap_or_default().to_string();
    let Some((partition, core)) = place(ctx, &group) else {
        return Err(Box::new(GroupAnswer::refused(&request, GroupError::NotCoordinator)));
    };
    let shape = Shape(shape_of(&request));
    ctx.ask(0, core, Ask::Group { partition, request });
    Ok(shape)
}

/// What is left here of a request that was sent, to know what is refused when it is.
#[derive(Debug)]
pub struct Shape(GroupRequest);

impl Shape {
    /// The coordinator's answer, or what its core said in its place.
    pub fn group_answer(&self, reply: Reply) -> Result<GroupAnswer, String> {
        match reply {
            Reply::Group(group_answer) => Ok(group_answer),
            Reply::Refused(error) => Ok(GroupAnswer::refused(&self.0, refused(&error))),
            other => Err(format!("a group request was answered with {other:?}")),
        }
    }
}

/// What is kept of a request to be able to refuse it: its items, without their payload.
fn shape_of(request: &GroupRequest) -> GroupRequest {
    match request {
        GroupRequest::Join(join) => {
            let mut join = join.clone();
            join.protocols.clear();
            join.client_id.clear();
            join.reason = None;
            GroupRequest::Join(join)
        }
        GroupRequest::Sync(sync) => {
            let mut sync = sync.clone();
            sync.assignments.clear();
            GroupRequest::Sync(sync)
        }
        other => other.clone(),
    }
}

#[derive(Debug)]
struct GroupGather {
    api: GroupApi,
    request: Shape,
}

impl Gather for GroupGather {
    fn reply(&mut self, _part: u32, reply: Reply, ctx: &mut Ctx<'_>) -> Step {
        match self.request.group_answer(reply) {
            Ok(group_answer) => encode(ctx, self.api, group_answer),
            Err(reason) => Step::Close(reason),
        }
    }

    fn expired(&mut self, _ctx: &mut Ctx<'_>) -> Step {
        Step::Wait
    }

    /// What members bring is copied by their coordinator and counted there (`coord/footprint.rs`).
    fn held_bytes(&self) -> Option<usize> {
        matches!(self.request.0, GroupRequest::Join(_) | GroupRequest::Sync(_)).then_some(MEMBER_WAIT_BYTES)
    }
}

/// What the core of a coordinator said instead of the coordinator.
pub fn refused(error: &PartitionError) -> GroupError {
    match error {
        PartitionError::Loading => GroupError::CoordinatorLoadInProgress,
        PartitionError::Unknown | PartitionError::Stopping => GroupError::NotCoordinator,
        _ => GroupError::CoordinatorNotAvailable,
    }
}

fn encode(ctx: &Ctx<'_>, api: GroupApi, group_answer: GroupAnswer) -> Step {
    match api {
        GroupApi::Join | GroupApi::Sync | GroupApi::Heartbeat | GroupApi::Leave => {
            group_membership::encode(ctx, group_answer)
        }
        GroupApi::OffsetDelete => group_admin::encode_offset_delete(ctx, group_answer),
    }
}

// ---- FindCoordinator ------------------------------------------------------------------------------------------------

#[derive(Debug)]
struct FindGather {
    request: m::FindCoordinatorRequest,
    refused: Option<ErrorCode>,
}

pub fn find(ctx: &mut Ctx<'_>, body: Bytes) -> Handled {
    let request = match cold::decode_request(ctx.head.api_key, ctx.head.api_version, body) {
        Ok(request) => request,
        Err(error) => return Handled::Close(format!("FindCoordinator: {error}")),
    };
    let gather = FindGather { request, refused: None };
    let wants_topic = gather.request.key_type == KEY_TYPE_GROUP;
    if !wants_topic || ctx.shard.image.topic_named(OFFSETS_TOPIC).is_some() {
        return respond(ctx, &gather.response(ctx));
    }
    let timeout_ms = AUTO_CREATE_TIMEOUT_MS;
    ctx.ask_controller(0, topic_names::auto_create(vec![OFFSETS_TOPIC.to_string()]));
    ctx.expire_in(timeout_ms);
    Handled::Gather(Box::new(gather))
}

impl FindGather {
    fn response(&self, ctx: &Ctx<'_>) -> m::FindCoordinatorResponse {
        let mut response = m::FindCoordinatorResponse::default();
        if ctx.head.api_version >= BATCH_VERSION {
            response.coordinators = self.request.coordinator_keys.iter().map(|key| self.find(ctx, key)).collect();
        } else {
            let found = self.find(ctx, &self.request.key);
            response.error_code = found.error_code;
            response.error_message = found.error_message;
            response.node_id = found.node_id;
            response.host = found.host;
            response.port = found.port;
        }
        response
    }

    fn find(&self, ctx: &Ctx<'_>, key: &StrBytes) -> Coordinator {
        let found = Coordinator::default().with_key(key.clone());
        let failed = |error: ErrorCode, message: Option<&'static str>| {
            let mut failed = found.clone().with_error_code(error.code()).with_node_id((-1).into()).with_port(-1);
            if ctx.head.api_version >= 1 {
                failed.error_message = message.map(StrBytes::from_static_str);
            }
            failed
        };
        if self.request.key_type != KEY_TYPE_GROUP {
            // Not retriable: a client that asks for transactions shall hear at once that there are none.
            return failed(ErrorCode::InvalidRequest, Some("this version has coordinators for groups only"));
        }
        if place(ctx, key).is_none() {
            return failed(self.refused.unwrap_or(ErrorCode::CoordinatorNotAvailable), None);
        }
        let settings = ctx.shard.settings();
        let own = settings.node_id.0;
        match metadata::endpoints(&ctx.shard.image, ctx.shard.node().client_listener()).find(|(id, ..)| *id == own) {
            Some((id, host, port, _)) => {
                found.with_node_id(id.into()).with_host(StrBytes::from_string(host.to_string())).with_port(port)
            }
            None => failed(ErrorCode::CoordinatorNotAvailable, None),
        }
    }
}

impl Gather for FindGather {
    fn reply(&mut self, _part: u32, reply: Reply, ctx: &mut Ctx<'_>) -> Step {
        if let Reply::Control(made) = reply {
            for (name, error) in topic_names::refused(made) {
                tracing::warn!("{name} could not be made: {error:?}");
                self.refused = Some(ErrorCode::CoordinatorNotAvailable);
            }
        }
        answer(ctx, &self.response(ctx))
    }

    fn expired(&mut self, ctx: &mut Ctx<'_>) -> Step {
        answer(ctx, &self.response(ctx))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_groups_are_asked_some_at_a_time_and_each_once() {
        let mut rounds = Rounds::new(1_000);
        let mut asked = Vec::new();
        let (mut in_flight, mut most) = (0, 0);
        while !rounds.is_complete() {
            // Every tenth has its answer at once.
            rounds.ask_on(|place| {
                asked.push(place);
                in_flight += usize::from(place % 10 > 0);
                place % 10 > 0
            });
            most = most.max(in_flight);
            if in_flight > 0 {
                rounds.answered();
                in_flight -= 1;
            }
        }
        assert_eq!((asked, in_flight, most), ((0..1_000).collect(), 0, GROUPS_AT_ONCE));
        assert!(Rounds::new(0).is_complete());
    }
}
