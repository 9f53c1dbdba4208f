//! What may be asked of a coordinator: plain data with every field that any version of the Kafka requests has. The api
//! floor fills in what an old version lacks, as the field comments say.

use bytes::Bytes;

use crate::base::ids::TopicId;

/// One request, already routed to the coordinator of its group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupRequest {
    /// JoinGroup (key 11); the answer may be parked for the rebalance timeout.
    Join(JoinRequest),
    /// SyncGroup (14); the answer may be parked until the leader has sent the assignments.
    Sync(SyncRequest),
    /// Heartbeat (12).
    Heartbeat(HeartbeatRequest),
    /// LeaveGroup (13).
    Leave(LeaveRequest),
    /// OffsetCommit (8).
    OffsetCommit(OffsetCommitRequest),
    /// OffsetFetch (9), one group of it.
    OffsetFetch(OffsetFetchRequest),
    /// DescribeGroups (15), one group of it.
    Describe { group: String },
    /// ListGroups (16): the groups of this coordinator.
    List(ListRequest),
    /// DeleteGroups (42), one group of it.
    DeleteGroup { group: String },
    /// OffsetDelete (47).
    OffsetDelete(OffsetDeleteRequest),
}

/// JoinGroup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JoinRequest {
    pub group: String,
    /// Empty when the client does not know its id yet.
    pub member_id: String,
    /// KIP-345; `None` for a dynamic member.
    pub instance_id: Option<String>,
    /// From the request header; empty when null.
    pub client_id: String,
    /// As Kafka stores it: a slash, then the address without the port ("/127.0.0.1").
    pub client_host: String,
    pub session_timeout_ms: i32,
    /// Negative (also: version 0, which has none) means the session timeout.
    pub rebalance_timeout_ms: i32,
    pub protocol_type: String,
    /// Name and metadata, most preferred first.
    pub protocols: Vec<(String, Bytes)>,
    /// Version 4 and later: a dynamic member without id gets MEMBER_ID_REQUIRED and asks again (KIP-394).
    pub require_known_member_id: bool,
    /// Version 9 and later: a returning static leader may be told to skip the assignment (KIP-814).
    pub skip_assignment_supported: bool,
    /// KIP-800; only for logs.
    pub reason: Option<String>,
}

/// SyncGroup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyncRequest {
    pub group: String,
    pub generation: i32,
    pub member_id: String,
    pub instance_id: Option<String>,
    /// Version 5 and later (there they are mandatory, which the api floor checks); `None` is not compared.
    pub protocol_type: Option<String>,
    pub protocol: Option<String>,
    /// Member id and assignment; empty from everybody but the leader.
    pub assignments: Vec<(String, Bytes)>,
}

/// Heartbeat.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeartbeatRequest {
    pub group: String,
    pub generation: i32,
    pub member_id: String,
    pub instance_id: Option<String>,
}

/// LeaveGroup. Versions below 3 name one member; their answer is the error of that member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaveRequest {
    pub group: String,
    pub members: Vec<LeavingMember>,
}

/// A member to remove: by id, or by instance id with an empty member id (admin tools).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeavingMember {
    pub member_id: String,
    pub instance_id: Option<String>,
    /// KIP-800; only for logs.
    pub reason: Option<String>,
}

/// OffsetCommit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetCommitRequest {
    pub group: String,
    /// -1 outside group membership.
    pub generation: i32,
    /// Empty outside group membership.
    pub member_id: String,
    pub instance_id: Option<String>,
    /// Versions 2 to 4: how long to keep the offsets, milliseconds; -1 or less means the broker's setting.
    pub retention_ms: i64,
    /// Version 9 and later know GROUP_ID_NOT_FOUND; older ones get ILLEGAL_GENERATION instead.
    pub group_id_not_found_known: bool,
    pub topics: Vec<CommitTopic>,
}

/// The topics are known to exist: the api floor has answered for the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitTopic {
    pub name: String,
    /// Zero when unknown.
    pub topic_id: TopicId,
    pub partitions: Vec<CommitPartition>,
}

/// One position to remember.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitPartition {
    pub partition: i32,
    pub offset: i64,
    /// -1 when unknown.
    pub leader_epoch: i32,
    pub metadata: Option<String>,
}

/// OffsetFetch for one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetFetchRequest {
    pub group: String,
    /// Version 9 and later, for KIP-848 groups; classic groups ignore both.
    pub member_id: Option<String>,
    pub member_epoch: i32,
    /// `None`: all topics of the group.
    pub topics: Option<Vec<FetchTopic>>,
    /// KIP-447: refuse offsets with a pending transactional commit. There are none yet.
    pub require_stable: bool,
}

/// A topic and the partitions asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchTopic {
    pub name: String,
    /// Echoed in the answer.
    pub topic_id: TopicId,
    pub partitions: Vec<i32>,
}

/// ListGroups; empty filters match everything, names are compared without case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListRequest {
    pub states: Vec<String>,
    pub types: Vec<String>,
}

/// OffsetDelete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OffsetDeleteRequest {
    pub group: String,
    pub topics: Vec<(String, Vec<i32>)>,
}

impl GroupRequest {
    /// What a member has sent to be kept: metadata or assignments, and some hundred bytes for the request itself. Zero
    /// for requests that are not a member's.
    pub fn member_bytes(&self) -> usize {
        let sum = |parts: &[(String, Bytes)]| parts.iter().map(|(name, bytes)| name.len() + bytes.len()).sum::<usize>();
        match self {
            GroupRequest::Join(join) => 256 + sum(&join.protocols),
            GroupRequest::Sync(sync) => 256 + sum(&sync.assignments),
            _ => 0,
        }
    }

    /// The same with copies of what a member has sent, so that whoever keeps it does not keep its frame.
    pub fn detached(mut self) -> GroupRequest {
        let parts = match &mut self {
            GroupRequest::Join(join) => &mut join.protocols,
            GroupRequest::Sync(sync) => &mut sync.assignments,
            _ => return self,
        };
        for (_, bytes) in parts {
            *bytes = Bytes::copy_from_slice(bytes);
        }
        self
    }

    /// Whether the coordinator may have to write for it, at once or when it answers.
    pub fn may_write(&self) -> bool {
        match self {
            GroupRequest::Join(_) | GroupRequest::Sync(_) | GroupRequest::Leave(_) => true,
            GroupRequest::OffsetCommit(_) | GroupRequest::OffsetDelete(_) | GroupRequest::DeleteGroup { .. } => true,
            GroupRequest::Heartbeat(_) | GroupRequest::OffsetFetch(_) => false,
            GroupRequest::Describe { .. } | GroupRequest::List(_) => false,
        }
    }

    /// The group this request is about; `None` for List.
    pub fn group(&self) -> Option<&str> {
        match self {
            GroupRequest::Join(r) => Some(&r.group),
            GroupRequest::Sync(r) => Some(&r.group),
            GroupRequest::Heartbeat(r) => Some(&r.group),
            GroupRequest::Leave(r) => Some(&r.group),
            GroupRequest::OffsetCommit(r) => Some(&r.group),
            GroupRequest::OffsetFetch(r) => Some(&r.group),
            GroupRequest::OffsetDelete(r) => Some(&r.group),
            GroupRequest::Describe { group } | GroupRequest::DeleteGroup { group } => Some(group),
            GroupRequest::List(_) => None,
        }
    }
}
