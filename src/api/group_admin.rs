//! 15 DescribeGroups, 16 ListGroups, 42 DeleteGroups, 47 OffsetDelete.

use bytes::Bytes;

use crate::base::ids::CoreId;
use crate::coord::{DescribeAnswer, GroupAnswer, GroupError, GroupRequest, ListedGroup, OffsetDeleteRequest};
use crate::shard::message::{Ask, PartitionError, Reply};
use crate::wire::messages as m;
use crate::wire::messages::delete_groups_response::DeletableGroupResult;
use crate::wire::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use crate::wire::messages::list_groups_response::ListedGroup as ListedGroupEntry;
use crate::wire::messages::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use crate::wire::{ErrorCode, StrBytes, cold};

use super::coordinator::{self, GroupApi, Rounds, place, refused};
use super::group_membership::{code, decode};
use super::{Ctx, Gather, Handled, Step, answer, respond};

/// From this version on an unknown group is an error; before, a dead group without one.
const DESCRIBE_NOT_FOUND_VERSION: i16 = 6;
/// "No operations asked for", and every operation a group has.
const OPERATIONS_NOT_ASKED: i32 = i32::MIN;
const GROUP_OPERATIONS: i32 = 0b1_0100_1000;

/// One request for each of several groups, in the order of the request.
#[derive(Debug)]
struct EachGroup {
    groups: Vec<(String, Option<Result<GroupAnswer, GroupError>>)>,
    rounds: Rounds,
    request: fn(String) -> GroupRequest,
    operations: bool,
}

fn each_group(
    ctx: &mut Ctx<'_>,
    groups: Vec<String>,
    operations: bool,
    request: fn(String) -> GroupRequest,
) -> Handled {
    let groups: Vec<_> = groups.into_iter().map(|group| (group, None)).collect();
    let mut gather = EachGroup { rounds: Rounds::new(groups.len()), groups, request, operations };
    match gather.go_on(ctx) {
        Step::Wait => Handled::Gather(Box::new(gather)),
        Step::Answer(parts) => Handled::Answer(parts),
        Step::Close(reason) => Handled::Close(reason),
        Step::Silent => Handled::Silent,
    }
}

pub fn describe(ctx: &mut Ctx<'_>, body: Bytes) -> Handled {
    let request = decode!(ctx, body, m::DescribeGroupsRequest, "DescribeGroups");
    let groups = request.groups.iter().map(|group| group.to_string()).collect();
    each_group(ctx, groups, request.include_authorized_operations, |group| GroupRequest::Describe { group })
}

pub fn delete(ctx: &mut Ctx<'_>, body: Bytes) -> Handled {
    let request = decode!(ctx, body, m::DeleteGroupsRequest, "DeleteGroups");
    let groups = request.groups_names.iter().map(|group| group.to_string()).collect();
    each_group(ctx, groups, false, |group| GroupRequest::DeleteGroup { group })
}

impl EachGroup {
    /// Asks for the next groups, and answers when all are there.
    fn go_on(&mut self, ctx: &mut Ctx<'_>) -> Step {
        let EachGroup { groups, rounds, request, .. } = self;
        rounds.ask_on(|part| {
            let Some((group, answered)) = groups.get_mut(part) else { return false };
            let Some((partition, core)) = place(ctx, group) else {
                // No group was ever made: none of this name is known.
                *answered = Some(Err(GroupError::GroupIdNotFound));
                return false;
            };
            ctx.ask(part as u32, core, Ask::Group { partition, request: request(group.clone()) });
            true
        });
        if rounds.is_complete() { self.encode(ctx) } else { Step::Wait }
    }

    fn encode(&mut self, ctx: &Ctx<'_>) -> Step {
        if ctx.head.api_key == crate::wire::versions::key::DELETE_GROUPS {
            let result = |(group, answered): (String, Option<Result<GroupAnswer, GroupError>>)| {
                let error = match answered {
                    Some(Ok(GroupAnswer::DeleteGroup(error))) => error,
                    Some(Err(error)) => Some(error),
                    _ => Some(GroupError::UnknownServerError),
                };
                DeletableGroupResult::default()
                    .with_group_id(StrBytes::from_string(group).into())
                    .with_error_code(code(error))
            };
            let results = self.groups.drain(..).map(result).collect();
            return answer(ctx, &m::DeleteGroupsResponse::default().with_results(results));
        }
        let operations = self.operations;
        let described = |(group, answered): (String, Option<Result<GroupAnswer, GroupError>>)| match answered {
            Some(Ok(GroupAnswer::Describe(described))) => described_group(ctx, described, operations),
            Some(Err(error)) => described_group(ctx, DescribeAnswer::absent(&group, error), operations),
            _ => described_group(ctx, DescribeAnswer::absent(&group, GroupError::UnknownServerError), operations),
        };
        let groups = self.groups.drain(..).map(described).collect();
        answer(ctx, &m::DescribeGroupsResponse::default().with_groups(groups))
    }
}

fn described_group(ctx: &Ctx<'_>, described: DescribeAnswer, operations: bool) -> DescribedGroup {
    let version = ctx.head.api_version;
    let text = StrBytes::from_string;
    let not_found = described.error == Some(GroupError::GroupIdNotFound);
    let hidden = not_found && version < DESCRIBE_NOT_FOUND_VERSION;
    let mut group = DescribedGroup::default()
        .with_error_code(if hidden { ErrorCode::None.code() } else { code(described.error) })
        .with_group_state(StrBytes::from_static_str(described.state.name()))
        .with_protocol_type(text(described.protocol_type))
        .with_protocol_data(text(described.protocol))
        .with_authorized_operations(if operations { GROUP_OPERATIONS } else { OPERATIONS_NOT_ASKED });
    if not_found && !hidden {
        group.error_message = Some(text(format!("Group {} not found.", described.group)));
    }
    group.group_id = text(described.group).into();
    for member in described.members {
        let mut entry = DescribedGroupMember::default()
            .with_member_id(text(member.member_id))
            .with_client_id(text(member.client_id))
            .with_client_host(text(member.client_host))
            .with_member_metadata(member.metadata)
            .with_member_assignment(member.assignment);
        if version >= 4 {
            entry.group_instance_id = member.instance_id.map(text);
        }
        group.members.push(entry);
    }
    group
}

impl Gather for EachGroup {
    fn reply(&mut self, part: u32, reply: Reply, ctx: &mut Ctx<'_>) -> Step {
        let Some((_, answered)) = self.groups.get_mut(part as usize) else { return Step::Wait };
        *answered = Some(match reply {
            Reply::Group(group_answer) => Ok(group_answer),
            Reply::Refused(error) => Err(refused(&error)),
            other => return Step::Close(format!("a group request was answered with {other:?}")),
        });
        self.rounds.answered();
        self.go_on(ctx)
    }

    fn expired(&mut self, _ctx: &mut Ctx<'_>) -> Step {
        Step::Wait
    }
}

// ---- ListGroups -----------------------------------------------------------------------------------------------------

#[derive(Debug)]
struct ListGather {
    asks_left: u16,
    error: Option<PartitionError>,
    groups: Vec<ListedGroup>,
}

pub fn list(ctx: &mut Ctx<'_>, body: Bytes) -> Handled {
    let request = decode!(ctx, body, m::ListGroupsRequest, "ListGroups");
    let texts = |filter: &[StrBytes]| filter.iter().map(|text| text.to_string()).collect::<Vec<_>>();
    let (states, types) = (texts(&request.states_filter), texts(&request.types_filter));
    let cores = ctx.shard.route.cores();
    for core in 0..cores {
        ctx.ask(u32::from(core), CoreId(core), Ask::ListGroups { states: states.clone(), types: types.clone() });
    }
    Handled::Gather(Box::new(ListGather { asks_left: cores, error: None, groups: Vec::new() }))
}

impl Gather for ListGather {
    fn reply(&mut self, _part: u32, reply: Reply, ctx: &mut Ctx<'_>) -> Step {
        match reply {
            Reply::Groups(answers) => {
                for group_answer in answers {
                    if let GroupAnswer::List(listed) = group_answer {
                        self.groups.extend(listed.groups);
                    }
                }
            }
            Reply::Refused(error) => self.error = Some(error),
            other => return Step::Close(format!("ListGroups was answered with {other:?}")),
        }
        self.asks_left -= 1;
        if self.asks_left > 0 {
            return Step::Wait;
        }
        self.groups.sort_by(|a, b| a.group.cmp(&b.group));
        // Both cores may name a group whose coordinator has moved between their answers.
        self.groups.dedup_by(|a, b| a.group == b.group);
        let version = ctx.head.api_version;
        let entry = |group: ListedGroup| {
            let mut entry = ListedGroupEntry::default()
                .with_group_id(StrBytes::from_string(group.group).into())
                .with_protocol_type(StrBytes::from_string(group.protocol_type));
            if version >= 4 {
                entry.group_state = StrBytes::from_static_str(group.state.name());
            }
            if version >= 5 {
                entry.group_type = StrBytes::from_static_str(group.group_type);
            }
            entry
        };
        let response = m::ListGroupsResponse::default()
            .with_error_code(code(self.error.take().map(|error| refused(&error))))
            .with_groups(self.groups.drain(..).map(entry).collect());
        answer(ctx, &response)
    }

    fn expired(&mut self, _ctx: &mut Ctx<'_>) -> Step {
        Step::Wait
    }
}

// ---- OffsetDelete ---------------------------------------------------------------------------------------------------

pub fn offset_delete(ctx: &mut Ctx<'_>, body: Bytes) -> Handled {
    let request = decode!(ctx, body, m::OffsetDeleteRequest, "OffsetDelete");
    if place(ctx, &request.group_id).is_none() {
        let response = m::OffsetDeleteResponse::default().with_error_code(code(Some(GroupError::GroupIdNotFound)));
        return respond(ctx, &response);
    }
    let topics = request
        .topics
        .into_iter()
        .map(|topic| {
            (topic.name.to_string(), topic.partitions.into_iter().map(|partition| partition.partition_index).collect())
        })
        .collect();
    let delete = OffsetDeleteRequest { group: request.group_id.to_string(), topics };
    coordinator::ask(ctx, GroupApi::OffsetDelete, GroupRequest::OffsetDelete(delete))
}

/// The protocol's form of the coordinator's answer.
pub fn encode_offset_delete(ctx: &Ctx<'_>, group_answer: GroupAnswer) -> Step {
    let GroupAnswer::OffsetDelete(deleted) = group_answer else {
        return Step::Close(format!("OffsetDelete was answered with {group_answer:?}"));
    };
    let mut response = m::OffsetDeleteResponse::default().with_error_code(code(deleted.error));
    for topic in deleted.topics {
        let partition = |(index, error): (i32, Option<GroupError>)| {
            OffsetDeleteResponsePartition::default().with_partition_index(index).with_error_code(code(error))
        };
        response.topics.push(
            OffsetDeleteResponseTopic::default()
                .with_name(StrBytes::from_string(topic.name).into())
                .with_partitions(topic.partitions.into_iter().map(partition).collect()),
        );
    }
    answer(ctx, &response)
}
