//! A group as the coordinator keeps it: its membership and its committed offsets, which live on without members.
//!
//! Membership has one form today, the classic one; the KIP-848 form will stand beside it.

use super::answer::{GroupState, ListedGroup};
use super::group_classic::ClassicGroup;
use super::offsets::GroupOffsets;

#[derive(Debug)]
pub(super) struct Group {
    pub classic: ClassicGroup,
    pub offsets: GroupOffsets,
}

impl Group {
    pub fn new(id: &str) -> Group {
        Group { classic: ClassicGroup::new(id), offsets: GroupOffsets::default() }
    }

    /// True when forgetting the group loses nothing, neither here nor in the log.
    pub fn is_vacant(&self) -> bool {
        self.classic.state == GroupState::Empty
            && !self.classic.is_inhabited()
            && !self.classic.persisted
            && self.offsets.is_empty()
    }

    pub fn listed(&self) -> ListedGroup {
        ListedGroup {
            group: self.classic.id.clone(),
            protocol_type: self.classic.protocol_type.clone().unwrap_or_default(),
            state: self.classic.state,
            group_type: "classic",
            members: self.classic.members.len(),
        }
    }
}
