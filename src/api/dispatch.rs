//! Which file handles which API. The versions that are served are `wire::versions`; a request outside of them never
//! gets here.

use bytes::Bytes;

use crate::wire::header::{RequestHead, parse_request};
use crate::wire::versions::key;

use super::{Ctx, Handled};

/// Reads the header of a frame. The error is what to log before hanging up.
pub fn open(frame: Bytes) -> Result<(RequestHead, Bytes), String> {
    parse_request(&frame).map_err(|error| error.to_string())
}

pub fn handle(ctx: &mut Ctx<'_>, body: Bytes) -> Handled {
    match ctx.head.api_key {
        key::PRODUCE => super::produce::handle(ctx, body),
        key::FETCH => super::fetch::handle(ctx, body),
        key::METADATA => super::metadata::handle(ctx, body),
        key::LIST_OFFSETS => super::offsets::list(ctx, body),
        key::OFFSET_FOR_LEADER_EPOCH => super::offsets::epoch_ends(ctx, body),
        key::DELETE_RECORDS => super::offsets::delete_records(ctx, body),
        key::OFFSET_COMMIT => super::offset_commit::handle(ctx, body),
        key::OFFSET_FETCH => super::offset_fetch::handle(ctx, body),
        key::FIND_COORDINATOR => super::coordinator::find(ctx, body),
        key::JOIN_GROUP => super::group_membership::join(ctx, body),
        key::HEARTBEAT => super::group_membership::heartbeat(ctx, body),
        key::LEAVE_GROUP => super::group_membership::leave(ctx, body),
        key::SYNC_GROUP => super::group_membership::sync(ctx, body),
        key::DESCRIBE_GROUPS => super::group_admin::describe(ctx, body),
        key::LIST_GROUPS => super::group_admin::list(ctx, body),
        key::DELETE_GROUPS => super::group_admin::delete(ctx, body),
        key::OFFSET_DELETE => super::group_admin::offset_delete(ctx, body),
        key::CREATE_TOPICS => super::topics::create(ctx, body),
        key::DELETE_TOPICS => super::topics::delete(ctx, body),
        key::CREATE_PARTITIONS => super::topics::create_partitions(ctx, body),
        key::DESCRIBE_CONFIGS => super::configs::describe(ctx, body),
        key::ALTER_CONFIGS => super::configs::alter(ctx, body),
        key::INCREMENTAL_ALTER_CONFIGS => super::configs::alter_incrementally(ctx, body),
        key::INIT_PRODUCER_ID => super::init_producer_id::handle(ctx, body),
        key::DESCRIBE_CLUSTER => super::cluster::describe(ctx, body),
        key::DESCRIBE_TOPIC_PARTITIONS => super::cluster::topic_partitions(ctx, body),
        key::API_VERSIONS => super::api_versions::handle(ctx, body),
        other => Handled::Close(format!("API {other} has no handler")),
    }
}
