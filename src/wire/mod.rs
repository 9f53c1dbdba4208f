//! Floor 3: Kafka bytes in flight. Cuts frames, reads and writes headers, and translates between bytes and requests or
//! responses. It decides nothing about partitions, groups or topics.
//!
//! Invariants:
//! - Nothing here allocates more than the bytes that really arrived justify: every count is checked against them first.
//! - Record bytes are never copied: a produce request yields slices of its frame, a fetch response yields the slices it
//!   was given.
//! - [`versions::APIS`] is the only list of what is served. A codec refuses what the table does not name.
//! - Bytes after the last field are ignored, as Kafka ignores them: librdkafka sends Metadata 11 and later with fields
//!   that only version 10 has.
//! - The crate's generated decoders run only on bytes that [`guard`] has walked (they allocate what a count claims).
//!
//! Produce and Fetch are hand-written ([`produce`], [`fetch`]); everything else goes through [`cold`].

pub mod cold;
pub mod error_code;
pub mod fetch;
pub mod frame;
pub mod guard;
pub mod header;
pub mod produce;
pub mod versions;

mod cold_ids;
mod error;
mod reader;
mod respond;

/// The crate's generated messages, re-exported so that its version is pinned in one place.
pub use kafka_protocol::messages;
/// A UTF-8 string that is a slice of a shared buffer: names in requests are slices of their frame.
pub use kafka_protocol::protocol::StrBytes;

pub use error::WireError;
pub use error_code::ErrorCode;
pub use respond::ResponseParts;

use crate::base::ids::{TopicId, Uuid};

/// How a request names a topic: by name in older versions, by id in newer ones (KIP-516). Answers repeat it unchanged.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TopicRef {
    Name(StrBytes),
    Id(TopicId),
}

impl TopicRef {
    /// A reference by name, copied from `name`.
    pub fn named(name: &str) -> TopicRef {
        TopicRef::Name(StrBytes::from_string(name.to_owned()))
    }

    /// The same in memory of its own: a name in a request keeps the whole frame.
    pub fn detached(&self) -> TopicRef {
        match self {
            TopicRef::Name(name) => TopicRef::named(name),
            TopicRef::Id(id) => TopicRef::Id(*id),
        }
    }

    /// The name, when this is one.
    pub fn name(&self) -> Option<&str> {
        match self {
            TopicRef::Name(name) => Some(name),
            TopicRef::Id(_) => None,
        }
    }

    /// The id, when this is one.
    pub fn id(&self) -> Option<TopicId> {
        match self {
            TopicRef::Name(_) => None,
            TopicRef::Id(id) => Some(*id),
        }
    }
}

/// The leader of a partition as told to a client that asked the wrong broker (KIP-951).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CurrentLeader {
    /// Node id of the leader, -1 when unknown.
    pub leader_id: i32,
    /// The latest known leader epoch.
    pub leader_epoch: i32,
}

/// Where a node can be reached, sent beside [`CurrentLeader`] (KIP-951).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeEndpoint {
    pub node_id: i32,
    pub host: String,
    pub port: i32,
    pub rack: Option<String>,
}

/// An id as the generated messages carry it.
pub use uuid::Uuid as MessageUuid;

/// The id in the form the generated messages use.
pub fn to_message_uuid(id: Uuid) -> MessageUuid {
    MessageUuid::from_bytes(id.0)
}

/// The id out of a generated message.
pub fn from_message_uuid(id: MessageUuid) -> Uuid {
    Uuid(id.into_bytes())
}
