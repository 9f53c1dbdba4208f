//! One member of a classic group.
//!
//! Invariant: `join` and `sync` are changed only by the group, which counts the members that wait.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::AskId;
use super::limits::CLIENT_TEXT_BYTES_MAX;
use super::request::JoinRequest;
use crate::base::time::{Mono, Now};

/// Whether a member has asked and waits for the group to move on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Wait {
    #[default]
    No,
    /// The answer goes to this request.
    Parked(AskId),
    /// The client is gone, but it did ask: the member counts as waiting and nobody gets the answer.
    Abandoned,
}

impl Wait {
    pub fn is_waiting(self) -> bool {
        self != Wait::No
    }
}

#[derive(Clone, Debug)]
pub(super) struct Member {
    pub id: String,
    pub instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub session_timeout_ms: i32,
    pub rebalance_timeout_ms: i32,
    /// Name and metadata, most preferred first, each name once.
    pub protocols: Vec<(String, Bytes)>,
    pub assignment: Bytes,
    pub join: Wait,
    pub sync: Wait,
    /// True from the first join until its answer: the client may not know its id yet, so it cannot heartbeat.
    pub is_new: bool,
    /// When the session ends, unless the member is waiting.
    pub deadline: Mono,
}

impl Member {
    pub fn new(id: String, request: &JoinRequest) -> Member {
        let mut member = Member {
            id,
            instance_id: request.instance_id.clone(),
            client_id: cut(&request.client_id).to_owned(),
            client_host: cut(&request.client_host).to_owned(),
            session_timeout_ms: 0,
            rebalance_timeout_ms: 0,
            protocols: Vec::new(),
            assignment: Bytes::new(),
            join: Wait::No,
            sync: Wait::No,
            is_new: true,
            deadline: Mono::default(),
        };
        member.adopt(request);
        member
    }

    /// Takes over what a join may change.
    pub fn adopt(&mut self, request: &JoinRequest) {
        self.session_timeout_ms = request.session_timeout_ms;
        self.rebalance_timeout_ms = match request.rebalance_timeout_ms {
            ms if ms < 0 => request.session_timeout_ms,
            ms => ms,
        };
        // Copied, because a slice would keep the whole request frame in memory for as long as the member lives.
        self.protocols = distinct(&request.protocols).map(|(n, m)| (n.clone(), Bytes::copy_from_slice(m))).collect();
    }

    /// A sign of life: the session starts anew. A new member has no session yet, only the time its join may take.
    pub fn touch(&mut self, now: Now) {
        if self.is_new {
            return;
        }
        self.deadline = now.mono.plus_ms(self.session_timeout_ms.max(0) as u64);
    }

    /// When this member must be removed if nothing happens; `None` while it waits for the group.
    pub fn expires(&self) -> Option<Mono> {
        let exempt = !self.is_new && (self.join.is_waiting() || self.sync.is_waiting());
        (!exempt).then_some(self.deadline)
    }

    /// True when `offered` has the same protocols, in the same order, with the same metadata.
    pub fn matches(&self, offered: &[(String, Bytes)]) -> bool {
        self.protocols.iter().eq(distinct(offered))
    }

    /// The metadata for `protocol`; empty when the member does not offer it.
    pub fn metadata(&self, protocol: &str) -> Bytes {
        self.protocols.iter().find(|(name, _)| name == protocol).map(|(_, bytes)| bytes.clone()).unwrap_or_default()
    }

    /// Bytes that count against the bound of the group.
    pub fn bytes(&self) -> usize {
        offered_bytes(&self.protocols) + self.assignment.len()
    }
}

/// Names and metadata together.
pub(super) fn offered_bytes(offered: &[(String, Bytes)]) -> usize {
    offered.iter().map(|(name, metadata)| name.len() + metadata.len()).sum()
}

/// The offered protocols without repeated names (the first one counts).
fn distinct(offered: &[(String, Bytes)]) -> impl Iterator<Item = &(String, Bytes)> {
    let mut seen = BTreeSet::new();
    offered.iter().filter(move |(name, _)| seen.insert(name.as_str()))
}

/// Cuts text for people to what is stored of it.
pub(super) fn cut(text: &str) -> &str {
    let mut end = text.len().min(CLIENT_TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
