//! 11 JoinGroup, 12 Heartbeat, 13 LeaveGroup, 14 SyncGroup: thin; the coordinator decides.

use bytes::Bytes;

use crate::coord::{
    GroupAnswer, GroupError, GroupRequest, HeartbeatRequest, JoinAnswer, JoinRequest, LeaveAnswer, LeaveRequest,
    LeavingMember, SyncAnswer, SyncRequest,
};
use crate::wire::messages as m;
use crate::wire::messages::join_group_response::JoinGroupResponseMember;
use crate::wire::messages::leave_group_response::MemberResponse;
use crate::wire::{ErrorCode, StrBytes, cold};

use super::coordinator::{self, GroupApi};
use super::errors::group_error;
use super::{Ctx, Handled, Step, answer};

/// From this version on a dynamic member must know its id before it may join (KIP-394).
const JOIN_KNOWN_MEMBER_VERSION: i16 = 4;
/// From this version on a returning static leader may skip the assignment (KIP-814).
const JOIN_SKIP_ASSIGNMENT_VERSION: i16 = 9;
/// From this version on the protocol type is never null, "" stands for none.
const JOIN_NULLABLE_PROTOCOL_VERSION: i16 = 7;
/// From this version on SyncGroup names the protocol it believes in.
const SYNC_PROTOCOL_VERSION: i16 = 5;
/// From this version on LeaveGroup carries a list of members.
const LEAVE_LIST_VERSION: i16 = 3;

macro_rules! decode {
    ($ctx:expr, $body:expr, $kind:ty, $name:literal) => {
        match cold::decode_request::<$kind>($ctx.head.api_key, $ctx.head.api_version, $body) {
            Ok(request) => request,
            Err(error) => return Handled::Close(format!(concat!($name, ": {}"), error)),
        }
    };
}
pub(super) use decode;

pub fn join(ctx: &mut Ctx<'_>, body: Bytes) -> Handled {
    let request = decode!(ctx, body, m::JoinGroupRequest, "JoinGroup");
    let version = ctx.head.api_version;
    let join = JoinRequest {
        group: request.group_id.to_string(),
        member_id: request.member_id.to_string(),
        instance_id: request.group_instance_id.map(|id| id.to_string()),
        client_id: ctx.head.client_id.as_deref().unwrap_or_default().to_string(),
        client_host: format!("/{}", ctx.peer),
        session_timeout_ms: request.session_timeout_ms,
        rebalance_timeout_ms: if version == 0 { -1 } else { request.rebalance_timeout_ms },
        protocol_type: request.protocol_type.to_string(),
        protocols: request.protocols.into_iter().map(|p| (p.name.to_string(), p.metadata)).collect(),
        require_known_member_id: version >= JOIN_KNOWN_MEMBER_VERSION,
        skip_assignment_supported: version >= JOIN_SKIP_ASSIGNMENT_VERSION,
        reason: request.reason.map(|reason| reason.to_string()),
    };
    coordinator::ask(ctx, GroupApi::Join, GroupRequest::Join(join))
}

pub fn sync(ctx: &mut Ctx<'_>, body: Bytes) -> Handled {
    let request = decode!(ctx, body, m::SyncGroupRequest, "SyncGroup");
    let (protocol_type, protocol) = (request.protocol_type, request.protocol_name);
    if ctx.head.api_version >= SYNC_PROTOCOL_VERSION && (protocol_type.is_none() || protocol.is_none()) {
        let refused = SyncAnswer::refused(GroupError::InconsistentGroupProtocol);
        return match sync_answer(ctx, refused) {
            Step::Answer(parts) => Handled::Answer(parts),
            _ => Handled::Close("SyncGroup: the refusal does not encode".to_string()),
        };
    }
    let sync = SyncRequest {
        group: request.group_id.to_string(),
        generation: request.generation_id,
        member_id: request.member_id.to_string(),
        instance_id: request.group_instance_id.map(|id| id.to_string()),
        protocol_type: protocol_type.map(|name| name.to_string()),
        protocol: protocol.map(|name| name.to_string()),
        assignments: request.assignments.into_iter().map(|a| (a.member_id.to_string(), a.assignment)).collect(),
    };
    coordinator::ask(ctx, GroupApi::Sync, GroupRequest::Sync(sync))
}

pub fn heartbeat(ctx: &mut Ctx<'_>, body: Bytes) -> Handled {
    let request = decode!(ctx, body, m::HeartbeatRequest, "Heartbeat");
    let heartbeat = HeartbeatRequest {
        group: request.group_id.to_string(),
        generation: request.generation_id,
        member_id: request.member_id.to_string(),
        instance_id: request.group_instance_id.map(|id| id.to_string()),
    };
    coordinator::ask(ctx, GroupApi::Heartbeat, GroupRequest::Heartbeat(heartbeat))
}

pub fn leave(ctx: &mut Ctx<'_>, body: Bytes) -> Handled {
    let request = decode!(ctx, body, m::LeaveGroupRequest, "LeaveGroup");
    let members = if ctx.head.api_version < LEAVE_LIST_VERSION {
        vec![LeavingMember { member_id: request.member_id.to_string(), instance_id: None, reason: None }]
    } else {
        let leaving = |member: m::leave_group_request::MemberIdentity| LeavingMember {
            member_id: member.member_id.to_string(),
            instance_id: member.group_instance_id.map(|id| id.to_string()),
            reason: member.reason.map(|reason| reason.to_string()),
        };
        request.members.into_iter().map(leaving).collect()
    };
    let leave = LeaveRequest { group: request.group_id.to_string(), members };
    coordinator::ask(ctx, GroupApi::Leave, GroupRequest::Leave(leave))
}

/// The protocol's form of a coordinator's answer to one of these APIs.
pub fn encode(ctx: &Ctx<'_>, group_answer: GroupAnswer) -> Step {
    match group_answer {
        GroupAnswer::Join(joined) => join_answer(ctx, joined),
        GroupAnswer::Sync(synced) => sync_answer(ctx, synced),
        GroupAnswer::Heartbeat(error) => answer(ctx, &m::HeartbeatResponse::default().with_error_code(code(error))),
        GroupAnswer::Leave(left) => leave_answer(ctx, left),
        other => Step::Close(format!("a membership request was answered with {other:?}")),
    }
}

fn join_answer(ctx: &Ctx<'_>, joined: JoinAnswer) -> Step {
    let version = ctx.head.api_version;
    let text = |text: String| StrBytes::from_string(text);
    let protocol = match joined.protocol {
        Some(name) => Some(text(name)),
        None if version >= JOIN_NULLABLE_PROTOCOL_VERSION => None,
        None => Some(StrBytes::default()),
    };
    let mut response = m::JoinGroupResponse::default()
        .with_error_code(code(joined.error))
        .with_generation_id(joined.generation)
        .with_protocol_name(protocol)
        .with_leader(text(joined.leader))
        .with_member_id(text(joined.member_id));
    if version >= JOIN_NULLABLE_PROTOCOL_VERSION {
        response.protocol_type = joined.protocol_type.map(text);
    }
    if version >= JOIN_SKIP_ASSIGNMENT_VERSION {
        response.skip_assignment = joined.skip_assignment;
    }
    for member in joined.members {
        let mut entry =
            JoinGroupResponseMember::default().with_member_id(text(member.member_id)).with_metadata(member.metadata);
        if version >= 5 {
            entry.group_instance_id = member.instance_id.map(text);
        }
        response.members.push(entry);
    }
    answer(ctx, &response)
}

fn sync_answer(ctx: &Ctx<'_>, synced: SyncAnswer) -> Step {
    let mut response =
        m::SyncGroupResponse::default().with_error_code(code(synced.error)).with_assignment(synced.assignment);
    if ctx.head.api_version >= SYNC_PROTOCOL_VERSION {
        response.protocol_type = synced.protocol_type.map(StrBytes::from_string);
        response.protocol_name = synced.protocol.map(StrBytes::from_string);
    }
    answer(ctx, &response)
}

fn leave_answer(ctx: &Ctx<'_>, left: LeaveAnswer) -> Step {
    let mut response = m::LeaveGroupResponse::default().with_error_code(code(left.error));
    if ctx.head.api_version < LEAVE_LIST_VERSION {
        if let (None, Some(member)) = (left.error, left.members.first()) {
            response.error_code = code(member.error);
        }
        return answer(ctx, &response);
    }
    for member in left.members {
        response.members.push(
            MemberResponse::default()
                .with_member_id(StrBytes::from_string(member.member_id))
                .with_group_instance_id(member.instance_id.map(StrBytes::from_string))
                .with_error_code(code(member.error)),
        );
    }
    answer(ctx, &response)
}

pub(super) fn code(error: Option<GroupError>) -> i16 {
    error.map_or(ErrorCode::None, group_error).code()
}
