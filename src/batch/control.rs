//! Control batches: transaction markers (KIP-98) and the quorum's own records in the metadata log (KIP-595, KIP-630,
//! KIP-853).
//!
//! A control record's key is int16 version, int16 type. A marker's value is plain (int16 version, int32 coordinator
//! epoch); the quorum's values are in the flexible encoding and begin with a version that is also their API version.

use std::fmt;

use bytes::Bytes;

use super::build::BatchBuilder;
use super::header::BatchHeader;
use super::records::{self, RecordError};
use crate::base::ids::{NodeId, Uuid};

/// Control record types as their key names them.
pub const TYPE_ABORT: i16 = 0;
pub const TYPE_COMMIT: i16 = 1;
pub const TYPE_LEADER_CHANGE: i16 = 2;
pub const TYPE_SNAPSHOT_HEADER: i16 = 3;
pub const TYPE_SNAPSHOT_FOOTER: i16 = 4;
pub const TYPE_KRAFT_VERSION: i16 = 5;
pub const TYPE_KRAFT_VOTERS: i16 = 6;

/// What one control record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlRecord {
    EndTxn(EndTxn),
    LeaderChange(LeaderChange),
    /// First record of a snapshot; the append time of the last record it holds, milliseconds since 1970.
    SnapshotHeader {
        last_contained_log_timestamp: i64,
    },
    /// Last record of a snapshot.
    SnapshotFooter,
    /// The quorum's `kraft.version` from here on.
    KRaftVersion {
        kraft_version: i16,
    },
    /// The voter set from here on.
    Voters(Vec<Voter>),
    /// A type this broker does not know; readers step over it.
    Unknown {
        kind: i16,
    },
}

/// A transaction marker: the transaction of the batch's producer ends here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndTxn {
    /// Commit, or else abort.
    pub commit: bool,
    pub coordinator_epoch: i32,
}

/// A new leader of the quorum announces itself. Write version 0 (see [`LeaderChange::new`]): Kafka up to 4.2 reads
/// every one as version 0 and fails on version 1, the only one that has directory ids (KIP-853).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderChange {
    pub version: i16,
    pub leader: NodeId,
    pub voters: Vec<(NodeId, Uuid)>,
    pub granting_voters: Vec<(NodeId, Uuid)>,
}

impl LeaderChange {
    /// The announcement as Kafka's own leaders write it: version 0, without directory ids.
    pub fn new(leader: NodeId, voters: &[NodeId], granting_voters: &[NodeId]) -> LeaderChange {
        let plain = |ids: &[NodeId]| ids.iter().map(|&id| (id, Uuid::ZERO)).collect();
        LeaderChange { version: 0, leader, voters: plain(voters), granting_voters: plain(granting_voters) }
    }
}

/// One voter of the quorum (VotersRecord).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voter {
    pub id: NodeId,
    pub directory_id: Uuid,
    /// Listener name, host, port.
    pub endpoints: Vec<(String, String, u16)>,
    /// Lowest and highest `kraft.version` it supports.
    pub kraft_versions: (i16, i16),
}

/// Why a control batch cannot be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlError {
    /// The control bit is not set.
    NotControl,
    /// The records of the batch cannot be read.
    Records(RecordError),
    /// A key or value shorter than its fields, or fields that do not fit.
    Malformed { kind: i16 },
    /// A value of a version this broker does not know.
    Version { kind: i16, version: i16 },
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ControlError::NotControl => f.write_str("not a control batch"),
            ControlError::Records(error) => error.fmt(f),
            ControlError::Malformed { kind } => write!(f, "control record of type {kind} is malformed"),
            ControlError::Version { kind, version } => {
                write!(f, "control record of type {kind} has unknown version {version}")
            }
        }
    }
}

impl std::error::Error for ControlError {}

impl From<RecordError> for ControlError {
    fn from(error: RecordError) -> ControlError {
        ControlError::Records(error)
    }
}

/// A transaction marker batch at offset 0 (see [`stamp`](super::patch::stamp)); `now_ms`: milliseconds since 1970.
pub fn end_txn_marker(producer_id: i64, producer_epoch: i16, marker: EndTxn, now_ms: i64) -> Bytes {
    let mut builder = BatchBuilder::new(0).producer(producer_id, producer_epoch, -1).transactional(true).control(true);
    let (key, value) = encode(&ControlRecord::EndTxn(marker));
    builder.push(now_ms, Some(&key), Some(&value));
    builder.finish()
}

/// A control batch of the quorum. `now_ms`: milliseconds since 1970.
pub fn quorum_batch(base_offset: i64, leader_epoch: i32, now_ms: i64, records: &[ControlRecord]) -> Bytes {
    let mut builder = BatchBuilder::new(base_offset).leader_epoch(leader_epoch).control(true);
    for record in records {
        let (key, value) = encode(record);
        builder.push(now_ms, Some(&key), Some(&value));
    }
    builder.finish()
}

/// Key and value of a control record.
pub fn encode(record: &ControlRecord) -> (Vec<u8>, Vec<u8>) {
    let mut value = Vec::new();
    let kind = match record {
        ControlRecord::EndTxn(marker) => {
            put16(&mut value, 0);
            value.extend_from_slice(&marker.coordinator_epoch.to_be_bytes());
            if marker.commit { TYPE_COMMIT } else { TYPE_ABORT }
        }
        ControlRecord::LeaderChange(change) => {
            put16(&mut value, change.version);
            value.extend_from_slice(&change.leader.0.to_be_bytes());
            put_voter_ids(&mut value, change.version, &change.voters);
            put_voter_ids(&mut value, change.version, &change.granting_voters);
            value.push(0);
            TYPE_LEADER_CHANGE
        }
        ControlRecord::SnapshotHeader { last_contained_log_timestamp } => {
            put16(&mut value, 0);
            value.extend_from_slice(&last_contained_log_timestamp.to_be_bytes());
            value.push(0);
            TYPE_SNAPSHOT_HEADER
        }
        ControlRecord::SnapshotFooter => {
            put16(&mut value, 0);
            value.push(0);
            TYPE_SNAPSHOT_FOOTER
        }
        ControlRecord::KRaftVersion { kraft_version } => {
            put16(&mut value, 0);
            put16(&mut value, *kraft_version);
            value.push(0);
            TYPE_KRAFT_VERSION
        }
        ControlRecord::Voters(voters) => {
            put16(&mut value, 0);
            put_voters(&mut value, voters);
            value.push(0);
            TYPE_KRAFT_VOTERS
        }
        ControlRecord::Unknown { kind } => *kind,
    };
    let mut key = Vec::with_capacity(4);
    put16(&mut key, 0);
    put16(&mut key, kind);
    (key, value)
}

fn put16(out: &mut Vec<u8>, value: i16) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// An unsigned varint; lengths in the flexible encoding are one more than they mean.
fn put_len(out: &mut Vec<u8>, len: usize) {
    let mut rest = len + 1;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_len(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

fn put_voter_ids(out: &mut Vec<u8>, version: i16, voters: &[(NodeId, Uuid)]) {
    put_len(out, voters.len());
    for (id, directory) in voters {
        out.extend_from_slice(&id.0.to_be_bytes());
        if version >= 1 {
            out.extend_from_slice(&directory.0);
        }
        out.push(0);
    }
}

fn put_voters(out: &mut Vec<u8>, voters: &[Voter]) {
    put_len(out, voters.len());
    for voter in voters {
        out.extend_from_slice(&voter.id.0.to_be_bytes());
        out.extend_from_slice(&voter.directory_id.0);
        put_len(out, voter.endpoints.len());
        for (name, host, port) in &voter.endpoints {
            put_text(out, name);
            put_text(out, host);
            out.extend_from_slice(&port.to_be_bytes());
            out.push(0);
        }
        put16(out, voter.kraft_versions.0);
        put16(out, voter.kraft_versions.1);
        out.push(0);
        out.push(0);
    }
}

/// The control records of a batch with their offsets. A marker batch has exactly one.
pub fn parse(batch: &Bytes) -> Result<Vec<(i64, ControlRecord)>, ControlError> {
    let all = records::iter(batch)?;
    if !all.header().is_control() {
        return Err(ControlError::NotControl);
    }
    let mut out = Vec::new();
    for record in all {
        let record = record?;
        let key = record.key.as_deref().unwrap_or_default();
        let value = record.value.as_deref().unwrap_or_default();
        out.push((record.offset, decode(key, value)?));
    }
    Ok(out)
}

/// The transaction marker of a control batch; `None` for an empty batch (compaction) and for other control records.
pub fn parse_end_txn(batch: &Bytes) -> Result<Option<EndTxn>, ControlError> {
    Ok(parse(batch)?.into_iter().find_map(|(_, record)| match record {
        ControlRecord::EndTxn(marker) => Some(marker),
        _ => None,
    }))
}

/// Whether the header is that of a transaction marker, and not of the quorum's control records.
pub fn is_marker(header: &BatchHeader) -> bool {
    header.is_control() && header.has_producer()
}

/// One control record from its key and value.
pub fn decode(key: &[u8], value: &[u8]) -> Result<ControlRecord, ControlError> {
    let mut reader = Reader { bytes: key };
    let kind = reader.int16().and_then(|_| reader.int16()).ok_or(ControlError::Malformed { kind: -1 })?;
    if !(TYPE_ABORT..=TYPE_KRAFT_VOTERS).contains(&kind) {
        return Ok(ControlRecord::Unknown { kind });
    }
    let mut reader = Reader { bytes: value };
    let version = reader.int16().ok_or(ControlError::Malformed { kind })?;
    // Markers of later versions only add behind the epoch; the quorum's values must be known exactly.
    let version_max = match kind {
        TYPE_ABORT | TYPE_COMMIT => i16::MAX,
        TYPE_LEADER_CHANGE => 1,
        _ => 0,
    };
    if version < 0 || version > version_max {
        return Err(ControlError::Version { kind, version });
    }
    reader.value(kind, version).ok_or(ControlError::Malformed { kind })
}

/// Reads forward through a value; `None` when the bytes run out or do not fit.
struct Reader<'a> {
    bytes: &'a [u8],
}

impl Reader<'_> {
    fn value(&mut self, kind: i16, version: i16) -> Option<ControlRecord> {
        Some(match kind {
            TYPE_ABORT | TYPE_COMMIT => {
                return Some(ControlRecord::EndTxn(EndTxn {
                    commit: kind == TYPE_COMMIT,
                    coordinator_epoch: i32::from_be_bytes(self.take()?),
                }));
            }
            TYPE_LEADER_CHANGE => {
                let leader = NodeId(i32::from_be_bytes(self.take()?));
                let voters = self.voter_ids(version)?;
                let granting_voters = self.voter_ids(version)?;
                self.tags()?;
                ControlRecord::LeaderChange(LeaderChange { version, leader, voters, granting_voters })
            }
            TYPE_SNAPSHOT_HEADER => {
                let last_contained_log_timestamp = i64::from_be_bytes(self.take()?);
                self.tags()?;
                ControlRecord::SnapshotHeader { last_contained_log_timestamp }
            }
            TYPE_SNAPSHOT_FOOTER => {
                self.tags()?;
                ControlRecord::SnapshotFooter
            }
            TYPE_KRAFT_VERSION => {
                let kraft_version = self.int16()?;
                self.tags()?;
                ControlRecord::KRaftVersion { kraft_version }
            }
            _ => {
                let voters = self.voters()?;
                self.tags()?;
                ControlRecord::Voters(voters)
            }
        })
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.bytes.split_first_chunk::<N>()?;
        self.bytes = rest;
        Some(*head)
    }

    fn int16(&mut self) -> Option<i16> {
        self.take().map(i16::from_be_bytes)
    }

    fn unsigned(&mut self) -> Option<usize> {
        let mut value = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.take()?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value as usize);
            }
        }
        None
    }

    /// A length or count: null counts as broken, and every element takes a byte at least.
    fn len(&mut self) -> Option<usize> {
        let len = self.unsigned()?.checked_sub(1)?;
        (len <= self.bytes.len()).then_some(len)
    }

    fn text(&mut self) -> Option<String> {
        let len = self.len()?;
        let (text, rest) = self.bytes.split_at_checked(len)?;
        self.bytes = rest;
        String::from_utf8(text.to_vec()).ok()
    }

    /// Steps over tagged fields.
    fn tags(&mut self) -> Option<()> {
        for _ in 0..self.unsigned()? {
            self.unsigned()?;
            let len = self.unsigned()?;
            self.bytes = self.bytes.get(len..)?;
        }
        Some(())
    }

    fn voter_ids(&mut self, version: i16) -> Option<Vec<(NodeId, Uuid)>> {
        let mut voters = Vec::new();
        for _ in 0..self.len()? {
            let id = NodeId(i32::from_be_bytes(self.take()?));
            let directory = if version >= 1 { Uuid(self.take()?) } else { Uuid::ZERO };
            self.tags()?;
            voters.push((id, directory));
        }
        Some(voters)
    }

    fn voters(&mut self) -> Option<Vec<Voter>> {
        let mut voters = Vec::new();
        for _ in 0..self.len()? {
            let id = NodeId(i32::from_be_bytes(self.take()?));
            let directory_id = Uuid(self.take()?);
            let mut endpoints = Vec::new();
            for _ in 0..self.len()? {
                let (name, host) = (self.text()?, self.text()?);
                let port = u16::from_be_bytes(self.take()?);
                self.tags()?;
                endpoints.push((name, host, port));
            }
            let kraft_versions = (self.int16()?, self.int16()?);
            self.tags()?;
            self.tags()?;
            voters.push(Voter { id, directory_id, endpoints, kraft_versions });
        }
        Some(voters)
    }
}

#[cfg(test)]
mod tests;
