//! What the members of all groups make a coordinator hold, against the room that its host leaves it.
//!
//! Members choose how much they send and how long they stay (sessions of up to half an hour), so the bound of one group
//! does not bound the coordinator: hundreds of groups of one member each are as easily made as one of hundreds.

use super::GroupError;
use super::expire::Groups;
use super::group::Group;
use super::member::offered_bytes;
use super::request::GroupRequest;

/// What a member, or an id handed out to one, takes besides its metadata and assignment, bytes.
const MEMBER_OVERHEAD_BYTES: usize = 512;

/// The members of one coordinator.
#[derive(Clone, Copy, Debug)]
pub(super) struct Footprint {
    /// What they hold, bytes.
    pub bytes: usize,
    /// What they may hold, bytes.
    pub room: usize,
}

impl Footprint {
    /// Whether what the request brings still fits. A member that comes back with no more than it had always does.
    pub fn check(&self, request: &GroupRequest, groups: &Groups) -> Result<(), GroupError> {
        let more = match request {
            GroupRequest::Join(join) => {
                let member = groups.get(&join.group).and_then(|group| group.classic.members.get(&join.member_id));
                let held = member.map_or(0, |member| member.bytes() + MEMBER_OVERHEAD_BYTES);
                (offered_bytes(&join.protocols) + MEMBER_OVERHEAD_BYTES).saturating_sub(held)
            }
            GroupRequest::Sync(sync) => {
                let held = groups.get(&sync.group).map_or(0, |group| group.classic.assigned_bytes());
                sync.assignments.iter().map(|(_, bytes)| bytes.len()).sum::<usize>().saturating_sub(held)
            }
            _ => 0,
        };
        if more == 0 || self.bytes.saturating_add(more) <= self.room {
            return Ok(());
        }
        Err(GroupError::GroupMaxSizeReached)
    }

    /// A group weighed `before` and weighs `after` now.
    pub fn changed(&mut self, before: usize, after: usize) {
        crate::invariant!(before <= self.bytes, "a group of {before} bytes among {} of all", self.bytes);
        self.bytes = self.bytes - before + after;
    }
}

/// What the members of a group hold, bytes; 0 for none.
pub(super) fn weight(group: Option<&Group>) -> usize {
    group.map_or(0, |group| {
        let members = group.classic.members.len() + group.classic.pending.len();
        group.classic.bytes + members * MEMBER_OVERHEAD_BYTES
    })
}
