//! What a coordinator answers: plain data, and errors under Kafka's names. The api floor maps them to codes and drops
//! the fields that an old version lacks.

use bytes::Bytes;

use super::request::GroupRequest;
use crate::base::ids::TopicId;

/// Kafka's error names, as far as group requests use them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GroupError {
    UnknownServerError,
    UnknownTopicOrPartition,
    OffsetMetadataTooLarge,
    CoordinatorLoadInProgress,
    CoordinatorNotAvailable,
    NotCoordinator,
    IllegalGeneration,
    InconsistentGroupProtocol,
    InvalidGroupId,
    UnknownMemberId,
    InvalidSessionTimeout,
    RebalanceInProgress,
    InvalidCommitOffsetSize,
    InvalidRequest,
    NonEmptyGroup,
    GroupIdNotFound,
    MemberIdRequired,
    GroupMaxSizeReached,
    FencedInstanceId,
    GroupSubscribedToTopic,
    UnstableOffsetCommit,
}

/// The states of a classic group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GroupState {
    /// No members; offsets may remain.
    #[default]
    Empty,
    /// A rebalance has begun: members must join again.
    PreparingRebalance,
    /// A generation has begun: the leader's assignments are awaited.
    CompletingRebalance,
    /// Every member may fetch its assignment.
    Stable,
    /// Being deleted, or unknown.
    Dead,
}

impl GroupState {
    /// Kafka's spelling, as DescribeGroups and ListGroups print it.
    pub fn name(self) -> &'static str {
        match self {
            GroupState::Empty => "Empty",
            GroupState::PreparingRebalance => "PreparingRebalance",
            GroupState::CompletingRebalance => "CompletingRebalance",
            GroupState::Stable => "Stable",
            GroupState::Dead => "Dead",
        }
    }
}

/// The answer to the [`GroupRequest`] of the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupAnswer {
    Join(JoinAnswer),
    Sync(SyncAnswer),
    Heartbeat(Option<GroupError>),
    Leave(LeaveAnswer),
    OffsetCommit(OffsetCommitAnswer),
    OffsetFetch(OffsetFetchAnswer),
    Describe(DescribeAnswer),
    List(ListAnswer),
    DeleteGroup(Option<GroupError>),
    OffsetDelete(OffsetDeleteAnswer),
}

/// JoinGroup. With an error only `member_id` is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinAnswer {
    pub error: Option<GroupError>,
    /// -1 with an error.
    pub generation: i32,
    pub protocol_type: Option<String>,
    pub protocol: Option<String>,
    pub leader: String,
    pub skip_assignment: bool,
    pub member_id: String,
    /// For the leader only.
    pub members: Vec<JoinedMember>,
}

/// A member as the leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedMember {
    pub member_id: String,
    pub instance_id: Option<String>,
    pub metadata: Bytes,
}

/// SyncGroup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyncAnswer {
    pub error: Option<GroupError>,
    pub protocol_type: Option<String>,
    pub protocol: Option<String>,
    pub assignment: Bytes,
}

/// LeaveGroup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaveAnswer {
    pub error: Option<GroupError>,
    /// In request order; empty with a top-level error.
    pub members: Vec<LeftMember>,
}

/// The ids as asked, and what happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftMember {
    pub member_id: String,
    pub instance_id: Option<String>,
    pub error: Option<GroupError>,
}

/// OffsetCommit: every partition asked for, in request order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OffsetCommitAnswer {
    pub topics: Vec<CommittedTopic>,
}

/// Echo of a topic with an error per partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedTopic {
    pub name: String,
    pub topic_id: TopicId,
    pub partitions: Vec<(i32, Option<GroupError>)>,
}

/// OffsetFetch for one group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OffsetFetchAnswer {
    pub group: String,
    pub error: Option<GroupError>,
    pub topics: Vec<FetchedTopic>,
}

/// A topic with its committed offsets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedTopic {
    pub name: String,
    /// As asked; for "all topics" as committed (zero when the commit did not know it).
    pub topic_id: TopicId,
    pub partitions: Vec<FetchedOffset>,
}

/// A committed offset; without one: offset -1, leader epoch -1, empty metadata, no error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedOffset {
    pub partition: i32,
    pub offset: i64,
    pub leader_epoch: i32,
    pub metadata: String,
    pub error: Option<GroupError>,
}

/// DescribeGroups. An unknown group is `state` Dead with GROUP_ID_NOT_FOUND; versions below 6 print no error then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribeAnswer {
    pub error: Option<GroupError>,
    pub group: String,
    pub state: GroupState,
    pub protocol_type: String,
    /// The chosen protocol; empty unless Stable.
    pub protocol: String,
    pub members: Vec<DescribedMember>,
}

/// A member as tools see it. Metadata and assignment are empty unless the group is Stable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedMember {
    pub member_id: String,
    pub instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub metadata: Bytes,
    pub assignment: Bytes,
}

/// ListGroups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListAnswer {
    pub error: Option<GroupError>,
    pub groups: Vec<ListedGroup>,
}

/// A group in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedGroup {
    pub group: String,
    pub protocol_type: String,
    pub state: GroupState,
    /// "classic" or, later, "consumer", "share", "streams".
    pub group_type: &'static str,
    pub members: usize,
}

/// OffsetDelete: with a top-level error no topics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OffsetDeleteAnswer {
    pub error: Option<GroupError>,
    pub topics: Vec<DeletedTopic>,
}

/// Echo of a topic with an error per partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletedTopic {
    pub name: String,
    pub partitions: Vec<(i32, Option<GroupError>)>,
}

impl JoinAnswer {
    /// A refusal; `member_id` is what the client shall use next (empty: none).
    pub fn refused(error: GroupError, member_id: impl Into<String>) -> JoinAnswer {
        JoinAnswer {
            error: Some(error),
            generation: -1,
            protocol_type: None,
            protocol: None,
            leader: String::new(),
            skip_assignment: false,
            member_id: member_id.into(),
            members: Vec::new(),
        }
    }
}

impl SyncAnswer {
    pub fn refused(error: GroupError) -> SyncAnswer {
        SyncAnswer { error: Some(error), ..SyncAnswer::default() }
    }
}

impl GroupAnswer {
    /// The whole of `request` fails with `error`, spread over its items where the protocol has no top-level error.
    pub fn refused(request: &GroupRequest, error: GroupError) -> GroupAnswer {
        match request {
            GroupRequest::Join(r) => GroupAnswer::Join(JoinAnswer::refused(error, r.member_id.clone())),
            GroupRequest::Sync(_) => GroupAnswer::Sync(SyncAnswer::refused(error)),
            GroupRequest::Heartbeat(_) => GroupAnswer::Heartbeat(Some(error)),
            GroupRequest::Leave(_) => GroupAnswer::Leave(LeaveAnswer { error: Some(error), members: Vec::new() }),
            GroupRequest::OffsetCommit(r) => {
                let topics = r.topics.iter().map(|topic| CommittedTopic {
                    name: topic.name.clone(),
                    topic_id: topic.topic_id,
                    partitions: topic.partitions.iter().map(|p| (p.partition, Some(error))).collect(),
                });
                GroupAnswer::OffsetCommit(OffsetCommitAnswer { topics: topics.collect() })
            }
            GroupRequest::OffsetFetch(r) => GroupAnswer::OffsetFetch(OffsetFetchAnswer {
                group: r.group.clone(),
                error: Some(error),
                topics: Vec::new(),
            }),
            GroupRequest::Describe { group } => GroupAnswer::Describe(DescribeAnswer::absent(group, error)),
            GroupRequest::List(_) => GroupAnswer::List(ListAnswer { error: Some(error), groups: Vec::new() }),
            GroupRequest::DeleteGroup { .. } => GroupAnswer::DeleteGroup(Some(error)),
            GroupRequest::OffsetDelete(_) => {
                GroupAnswer::OffsetDelete(OffsetDeleteAnswer { error: Some(error), topics: Vec::new() })
            }
        }
    }
}

impl DescribeAnswer {
    /// A group about which there is nothing to say but `error`.
    pub fn absent(group: &str, error: GroupError) -> DescribeAnswer {
        DescribeAnswer {
            error: Some(error),
            group: group.to_owned(),
            state: GroupState::Dead,
            protocol_type: String::new(),
            protocol: String::new(),
            members: Vec::new(),
        }
    }
}
