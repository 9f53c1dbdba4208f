//! Keys and values of `__consumer_offsets`, byte for byte as Kafka 4.3 writes them.
//!
//! Written: key 1 with OffsetCommit value 4 (1 when the client gave a retention), key 2 with GroupMetadata value 3.
//! Read: key 0 and 1 with values 0 to 4, key 2 with values 0 to 4. Other key types belong to other machines: skipped.

use bytes::Bytes;

use super::codec::{Reader, Short, Writer};
use crate::base::ids::{TopicId, Uuid};

/// A record for the coordinator's partition; without a value it is a tombstone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoordRecord {
    pub key: Bytes,
    pub value: Option<Bytes>,
}

impl CoordRecord {
    /// Bytes of key and value together.
    pub fn bytes(&self) -> usize {
        self.key.len() + self.value.as_ref().map_or(0, Bytes::len)
    }
}

/// Why a stored record cannot be loaded. The partition is damaged or was written by a newer broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayError {
    /// The key ends early or holds an impossible length.
    KeyMalformed,
    /// The value ends early or holds an impossible length or text.
    ValueMalformed,
    /// A value version this broker does not know, for the given key type.
    ValueVersionUnknown { key_type: i16, version: i16 },
}

impl std::fmt::Display for ReplayError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ReplayError::KeyMalformed => f.write_str("malformed key of a coordinator record"),
            ReplayError::ValueMalformed => f.write_str("malformed value of a coordinator record"),
            ReplayError::ValueVersionUnknown { key_type, version } => {
                write!(f, "coordinator record type {key_type} with unknown value version {version}")
            }
        }
    }
}

impl std::error::Error for ReplayError {}

const KEY_OFFSET_LEGACY: i16 = 0;
const KEY_OFFSET: i16 = 1;
const KEY_GROUP: i16 = 2;
const VALUE_VERSION_MAX: i16 = 4;
const GROUP_VALUE_VERSION: i16 = 3;

/// What a key names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key<'a> {
    Offset { group: &'a str, topic: &'a str, partition: i32 },
    Group { group: &'a str },
    Unknown,
}

/// A committed offset, as stored and as remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Committed {
    pub offset: i64,
    /// -1: unknown.
    pub leader_epoch: i32,
    pub metadata: Box<str>,
    pub commit_ms: i64,
    /// Set when the client asked for its own retention (OffsetCommit 2 to 4).
    pub expire_ms: Option<i64>,
    /// Zero: unknown.
    pub topic_id: TopicId,
    /// Memory only: the coordinator's commit counter, see `Shared::sequence`.
    pub sequence: u64,
}

/// GroupMetadata as stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct StoredGroup<'a> {
    /// Empty: none.
    pub protocol_type: &'a str,
    pub generation: i32,
    pub protocol: Option<&'a str>,
    pub leader: Option<&'a str>,
    pub state_ms: Option<i64>,
    pub members: Vec<StoredMember<'a>>,
}

/// A member of a stored group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoredMember<'a> {
    pub member_id: &'a str,
    pub instance_id: Option<&'a str>,
    pub client_id: &'a str,
    pub client_host: &'a str,
    pub rebalance_timeout_ms: i32,
    pub session_timeout_ms: i32,
    pub subscription: &'a [u8],
    pub assignment: &'a [u8],
}

pub(super) fn read_key(bytes: &[u8]) -> Result<Key<'_>, ReplayError> {
    let mut reader = Reader::new(bytes);
    let malformed = |_: Short| ReplayError::KeyMalformed;
    match reader.i16().map_err(malformed)? {
        KEY_OFFSET_LEGACY | KEY_OFFSET => Ok(Key::Offset {
            group: reader.text(false).map_err(malformed)?,
            topic: reader.text(false).map_err(malformed)?,
            partition: reader.i32().map_err(malformed)?,
        }),
        KEY_GROUP => Ok(Key::Group { group: reader.text(false).map_err(malformed)? }),
        _ => Ok(Key::Unknown),
    }
}

pub(super) fn offset_key(group: &str, topic: &str, partition: i32) -> Bytes {
    let mut writer = Writer::with_version(KEY_OFFSET);
    writer.text(group);
    writer.text(topic);
    writer.i32(partition);
    writer.finish()
}

pub(super) fn group_key(group: &str) -> Bytes {
    let mut writer = Writer::with_version(KEY_GROUP);
    writer.text(group);
    writer.finish()
}

/// The record of a commit.
pub(super) fn offset_record(group: &str, topic: &str, partition: i32, committed: &Committed) -> CoordRecord {
    let mut writer = Writer::with_version(if committed.expire_ms.is_some() { 1 } else { 4 });
    writer.i64(committed.offset);
    match committed.expire_ms {
        Some(expire_ms) => {
            writer.text(&committed.metadata);
            writer.i64(committed.commit_ms);
            writer.i64(expire_ms);
        }
        None => {
            writer.i32(committed.leader_epoch);
            writer.compact_text(&committed.metadata);
            writer.i64(committed.commit_ms);
            if committed.topic_id == Uuid::ZERO {
                writer.uvarint(0);
            } else {
                writer.uvarint(1);
                writer.uvarint(0);
                writer.uvarint(16);
                writer.raw(&committed.topic_id.0);
            }
        }
    }
    CoordRecord { key: offset_key(group, topic, partition), value: Some(writer.finish()) }
}

pub(super) fn read_offset(bytes: &[u8]) -> Result<Committed, ReplayError> {
    let mut reader = Reader::new(bytes);
    let version = reader.i16().map_err(|_| ReplayError::ValueMalformed)?;
    if !(0..=VALUE_VERSION_MAX).contains(&version) {
        return Err(ReplayError::ValueVersionUnknown { key_type: KEY_OFFSET, version });
    }
    read_offset_fields(&mut reader, version).map_err(|_| ReplayError::ValueMalformed)
}

fn read_offset_fields(reader: &mut Reader<'_>, version: i16) -> Result<Committed, Short> {
    let flexible = version >= 4;
    let offset = reader.i64()?;
    let leader_epoch = if version >= 3 { reader.i32()? } else { -1 };
    let metadata = reader.text(flexible)?.into();
    let commit_ms = reader.i64()?;
    let expire_ms = if version == 1 { Some(reader.i64()?).filter(|&ms| ms != -1) } else { None };
    let mut topic_id = Uuid::ZERO;
    if flexible {
        reader.tagged(|tag, bytes| {
            if tag == 0 {
                topic_id = Uuid(Reader::new(bytes).uuid()?);
            }
            Ok(())
        })?;
    }
    Ok(Committed { offset, leader_epoch, metadata, commit_ms, expire_ms, topic_id, sequence: 0 })
}

/// The record of a group's members and their assignments.
pub(super) fn group_record(group: &str, stored: &StoredGroup<'_>) -> CoordRecord {
    let mut writer = Writer::with_version(GROUP_VALUE_VERSION);
    writer.text(stored.protocol_type);
    writer.i32(stored.generation);
    writer.nullable_text(stored.protocol);
    writer.nullable_text(stored.leader);
    writer.i64(stored.state_ms.unwrap_or(-1));
    writer.i32(stored.members.len() as i32);
    for member in &stored.members {
        writer.text(member.member_id);
        writer.nullable_text(member.instance_id);
        writer.text(member.client_id);
        writer.text(member.client_host);
        writer.i32(member.rebalance_timeout_ms);
        writer.i32(member.session_timeout_ms);
        writer.data(member.subscription);
        writer.data(member.assignment);
    }
    CoordRecord { key: group_key(group), value: Some(writer.finish()) }
}

pub(super) fn read_group(bytes: &[u8]) -> Result<StoredGroup<'_>, ReplayError> {
    let mut reader = Reader::new(bytes);
    let version = reader.i16().map_err(|_| ReplayError::ValueMalformed)?;
    if !(0..=VALUE_VERSION_MAX).contains(&version) {
        return Err(ReplayError::ValueVersionUnknown { key_type: KEY_GROUP, version });
    }
    read_group_fields(&mut reader, version).map_err(|_| ReplayError::ValueMalformed)
}

fn read_group_fields<'a>(reader: &mut Reader<'a>, version: i16) -> Result<StoredGroup<'a>, Short> {
    let flexible = version >= 4;
    let mut stored = StoredGroup {
        protocol_type: reader.text(flexible)?,
        generation: reader.i32()?,
        protocol: reader.nullable_text(flexible)?,
        leader: reader.nullable_text(flexible)?,
        state_ms: if version >= 2 { Some(reader.i64()?).filter(|&ms| ms != -1) } else { None },
        members: Vec::new(),
    };
    // The shortest member: three empty texts, one timeout, two empty blobs, in compact lengths.
    let count = reader.count(flexible, 3 + 4 + 2)?;
    stored.members.reserve_exact(count);
    for _ in 0..count {
        stored.members.push(read_member(reader, version)?);
    }
    if flexible {
        reader.tagged(|_, _| Ok(()))?;
    }
    Ok(stored)
}

fn read_member<'a>(reader: &mut Reader<'a>, version: i16) -> Result<StoredMember<'a>, Short> {
    let flexible = version >= 4;
    let member_id = reader.text(flexible)?;
    let instance_id = if version >= 3 { reader.nullable_text(flexible)? } else { None };
    let client_id = reader.text(flexible)?;
    let client_host = reader.text(flexible)?;
    let rebalance_timeout_ms = if version >= 1 { reader.i32()? } else { -1 };
    let session_timeout_ms = reader.i32()?;
    let subscription = reader.bytes(flexible)?;
    let assignment = reader.bytes(flexible)?;
    if flexible {
        reader.tagged(|_, _| Ok(()))?;
    }
    Ok(StoredMember {
        member_id,
        instance_id,
        client_id,
        client_host,
        rebalance_timeout_ms,
        session_timeout_ms,
        subscription,
        assignment,
    })
}
