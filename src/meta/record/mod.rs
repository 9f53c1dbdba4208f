//! The metadata records of `__cluster_metadata`, byte for byte as Kafka writes them.
//!
//! A record value is: frame version (1), api key and record version, each an unsigned varint, then the body in
//! flexible encoding. Invariant: for every record that Kafka 4.x wrote, `encode(decode(bytes)) == bytes`; records that
//! this version does not act upon keep their body untouched in [`Record::Other`], so that they survive a rewrite.

mod codec;
mod node;
#[cfg(test)]
mod tests;
mod topic;

use std::fmt;

use bytes::Bytes;

use crate::base::ids::TopicId;

pub use node::{
    BrokerEpochRecord, BrokerRegistrationChangeRecord, EndpointRecord, FeatureLevelRecord, FeatureRange,
    ProducerIdsRecord, RegisterBrokerRecord, RegisterControllerRecord,
};
pub use topic::{
    ConfigRecord, LEADER_NONE, LEADER_UNCHANGED, PartitionChangeRecord, PartitionRecord, RECOVERY_UNCHANGED,
    TopicRecord,
};

use codec::{Reader, Tags, Writer};

/// The frame version in front of every metadata record.
const FRAME_VERSION: u32 = 1;

/// The highest record version this node understands, by api key; `None` for numbers that are no record.
fn version_max(api_key: u16) -> Option<u16> {
    match api_key {
        0 => Some(4),
        3 | 5 => Some(2),
        17 => Some(3),
        1 | 2 | 4 | 7..=12 | 14 | 15 | 18..=29 => Some(0),
        _ => None,
    }
}

/// One metadata record. The names and numbers are Kafka's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    RegisterBroker(RegisterBrokerRecord),
    UnregisterBroker(BrokerEpochRecord),
    Topic(TopicRecord),
    Partition(PartitionRecord),
    Config(ConfigRecord),
    PartitionChange(PartitionChangeRecord),
    FenceBroker(BrokerEpochRecord),
    UnfenceBroker(BrokerEpochRecord),
    RemoveTopic {
        id: TopicId,
    },
    FeatureLevel(FeatureLevelRecord),
    ProducerIds(ProducerIdsRecord),
    BrokerRegistrationChange(BrokerRegistrationChangeRecord),
    NoOp,
    /// The records up to the end record become visible together (KIP-868).
    BeginTransaction {
        name: Option<String>,
    },
    EndTransaction,
    AbortTransaction {
        reason: Option<String>,
    },
    RegisterController(RegisterControllerRecord),
    /// Forget the eligible leader replicas of a topic; of all topics when the name is empty.
    ClearElr {
        topic: String,
    },
    /// A record that this version keeps but does not act upon: tokens, SCRAM, quotas, ACLs, ZooKeeper migration,
    /// controllers that leave.
    Other {
        api_key: u16,
        version: u16,
        body: Bytes,
    },
}

/// Why bytes are not a metadata record that this node can take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// The bytes end inside a field, or a count promises more than there is.
    Truncated,
    /// So many bytes follow the last field.
    TrailingBytes(usize),
    Malformed(&'static str),
    FrameVersion(u32),
    UnknownType(u32),
    /// A known record in a version from the future.
    UnsupportedVersion {
        api_key: u16,
        version: u32,
    },
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecordError::Truncated => f.write_str("metadata record: cut short"),
            RecordError::TrailingBytes(count) => write!(f, "metadata record: {count} bytes after its end"),
            RecordError::Malformed(what) => write!(f, "metadata record: {what}"),
            RecordError::FrameVersion(version) => write!(f, "metadata record: frame version {version}, expected 1"),
            RecordError::UnknownType(key) => write!(f, "metadata record: unknown type {key}"),
            RecordError::UnsupportedVersion { api_key, version } => {
                write!(f, "metadata record: type {api_key} in unknown version {version}")
            }
        }
    }
}

impl std::error::Error for RecordError {}

impl Record {
    /// Kafka's number of this record's type and the record version it is written in.
    pub fn key_and_version(&self) -> (u16, u16) {
        match self {
            Record::RegisterBroker(r) => (0, r.version),
            Record::UnregisterBroker(_) => (1, 0),
            Record::Topic(_) => (2, 0),
            Record::Partition(r) => (3, r.version),
            Record::Config(_) => (4, 0),
            Record::PartitionChange(r) => (5, r.version),
            Record::FenceBroker(_) => (7, 0),
            Record::UnfenceBroker(_) => (8, 0),
            Record::RemoveTopic { .. } => (9, 0),
            Record::FeatureLevel(_) => (12, 0),
            Record::ProducerIds(_) => (15, 0),
            Record::BrokerRegistrationChange(r) => (17, r.version),
            Record::NoOp => (20, 0),
            Record::BeginTransaction { .. } => (23, 0),
            Record::EndTransaction => (24, 0),
            Record::AbortTransaction { .. } => (25, 0),
            Record::RegisterController(_) => (27, 0),
            Record::ClearElr { .. } => (28, 0),
            Record::Other { api_key, version, .. } => (*api_key, *version),
        }
    }

    /// The record's value as it stands in the log.
    pub fn encode(&self) -> Bytes {
        let (api_key, version) = self.key_and_version();
        let mut w = Writer::default();
        w.varint(FRAME_VERSION);
        w.varint(u32::from(api_key));
        w.varint(u32::from(version));
        match self {
            Record::RegisterBroker(r) => r.write(&mut w),
            Record::UnregisterBroker(r) | Record::FenceBroker(r) | Record::UnfenceBroker(r) => r.write(&mut w),
            Record::Topic(r) => r.write(&mut w),
            Record::Partition(r) => r.write(&mut w),
            Record::Config(r) => r.write(&mut w),
            Record::PartitionChange(r) => r.write(&mut w),
            Record::RemoveTopic { id } => {
                w.uuid(id);
                w.no_tags();
            }
            Record::FeatureLevel(r) => r.write(&mut w),
            Record::ProducerIds(r) => r.write(&mut w),
            Record::BrokerRegistrationChange(r) => r.write(&mut w),
            Record::NoOp | Record::EndTransaction => w.no_tags(),
            Record::BeginTransaction { name: text } | Record::AbortTransaction { reason: text } => {
                write_optional_text(&mut w, text.as_deref());
            }
            Record::RegisterController(r) => r.write(&mut w),
            Record::ClearElr { topic } => {
                w.string(topic);
                w.no_tags();
            }
            Record::Other { body, .. } => w.raw(body),
        }
        w.finish()
    }

    /// Reads a record's value. Unknown tagged fields are skipped.
    pub fn decode(bytes: &[u8]) -> Result<Record, RecordError> {
        let mut reader = Reader::new(bytes);
        let frame = reader.varint()?;
        if frame != FRAME_VERSION {
            return Err(RecordError::FrameVersion(frame));
        }
        let raw_key = reader.varint()?;
        let raw_version = reader.varint()?;
        let api_key = u16::try_from(raw_key).map_err(|_| RecordError::UnknownType(raw_key))?;
        let max = version_max(api_key).ok_or(RecordError::UnknownType(raw_key))?;
        let version = u16::try_from(raw_version)
            .ok()
            .filter(|&version| version <= max)
            .ok_or(RecordError::UnsupportedVersion { api_key, version: raw_version })?;
        let record = Record::decode_body(&mut reader, api_key, version)?;
        reader.end()?;
        Ok(record)
    }

    fn decode_body(r: &mut Reader<'_>, api_key: u16, version: u16) -> Result<Record, RecordError> {
        Ok(match api_key {
            0 => Record::RegisterBroker(RegisterBrokerRecord::read(r, version)?),
            1 => Record::UnregisterBroker(BrokerEpochRecord::read(r)?),
            2 => Record::Topic(TopicRecord::read(r)?),
            3 => Record::Partition(PartitionRecord::read(r, version)?),
            4 => Record::Config(ConfigRecord::read(r)?),
            5 => Record::PartitionChange(PartitionChangeRecord::read(r, version)?),
            7 => Record::FenceBroker(BrokerEpochRecord::read(r)?),
            8 => Record::UnfenceBroker(BrokerEpochRecord::read(r)?),
            9 => {
                let id = r.uuid()?;
                r.no_tags()?;
                Record::RemoveTopic { id }
            }
            12 => Record::FeatureLevel(FeatureLevelRecord::read(r)?),
            15 => Record::ProducerIds(ProducerIdsRecord::read(r)?),
            17 => Record::BrokerRegistrationChange(BrokerRegistrationChangeRecord::read(r, version)?),
            20 => {
                r.no_tags()?;
                Record::NoOp
            }
            23 => Record::BeginTransaction { name: read_optional_text(r)? },
            24 => {
                r.no_tags()?;
                Record::EndTransaction
            }
            25 => Record::AbortTransaction { reason: read_optional_text(r)? },
            27 => Record::RegisterController(RegisterControllerRecord::read(r)?),
            28 => {
                let topic = r.string()?;
                r.no_tags()?;
                Record::ClearElr { topic }
            }
            _ => Record::Other { api_key, version, body: r.rest() },
        })
    }
}

fn read_optional_text(r: &mut Reader<'_>) -> Result<Option<String>, RecordError> {
    let mut text = None;
    r.tags(|tag, body| {
        if tag == 0 {
            text = body.nullable_string()?;
        }
        Ok(tag == 0)
    })?;
    Ok(text)
}

fn write_optional_text(w: &mut Writer, text: Option<&str>) {
    let mut tags = Tags::default();
    if let Some(text) = text {
        tags.field(0, |t| t.string(text));
    }
    w.tags(tags);
}
