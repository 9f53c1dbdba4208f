//! Kafka's producer snapshot file: `<offset>.snapshot` in a partition's folder (schema ProducerSnapshot, version 1).
//!
//! int16 version, uint32 CRC-32C of all that follows, int32 count, then per producer 46 bytes: int64 producer id,
//! int16 epoch, int32 last sequence, int64 last offset, int32 offset delta, int64 timestamp, int32 coordinator epoch,
//! int64 first offset of the open transaction (−1: none). Of the five remembered batches only the last survives.

use std::fmt;

use bytes::Bytes;

use super::producers::{BatchMeta, ProducerState, ProducerStates};

const VERSION: i16 = 1;
const CRC_END: usize = 6;
const ENTRY_LEN: usize = 46;

/// Why a snapshot file was refused; the state must then be rebuilt from the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotError {
    /// Shorter than its header.
    Short,
    Version(i16),
    /// The CRC does not match: a torn or damaged file.
    Crc,
    /// The count does not match the length.
    Count,
    /// An entry with numbers that no broker writes, or a producer named twice.
    Entry {
        index: usize,
    },
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SnapshotError::Short => f.write_str("producer snapshot is too short"),
            SnapshotError::Version(version) => write!(f, "producer snapshot has unknown version {version}"),
            SnapshotError::Crc => f.write_str("producer snapshot is corrupt (CRC)"),
            SnapshotError::Count => f.write_str("producer snapshot has a wrong number of entries"),
            SnapshotError::Entry { index } => write!(f, "producer snapshot entry {index} is malformed"),
        }
    }
}

impl std::error::Error for SnapshotError {}

pub(super) fn encode(states: &ProducerStates) -> Bytes {
    let mut out = Vec::with_capacity(CRC_END + 4 + states.len() * ENTRY_LEN);
    out.extend_from_slice(&VERSION.to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&(states.len() as u32).to_be_bytes());
    for (id, state) in states.iter() {
        let none = BatchMeta { last_sequence: -1, last_offset: -1, offset_delta: 0, timestamp: -1 };
        let last = state.last_batch().unwrap_or(&none);
        out.extend_from_slice(&id.to_be_bytes());
        out.extend_from_slice(&state.epoch.to_be_bytes());
        out.extend_from_slice(&last.last_sequence.to_be_bytes());
        out.extend_from_slice(&last.last_offset.to_be_bytes());
        out.extend_from_slice(&last.offset_delta.to_be_bytes());
        out.extend_from_slice(&state.last_timestamp.to_be_bytes());
        out.extend_from_slice(&state.coordinator_epoch.to_be_bytes());
        out.extend_from_slice(&state.txn_first_offset.unwrap_or(-1).to_be_bytes());
    }
    let crc = crc32c::crc32c(&out[CRC_END..]);
    out[2..CRC_END].copy_from_slice(&crc.to_be_bytes());
    Bytes::from(out)
}

pub(super) fn decode(bytes: &[u8]) -> Result<ProducerStates, SnapshotError> {
    let mut reader = Reader { bytes };
    let version = i16::from_be_bytes(reader.take().ok_or(SnapshotError::Short)?);
    if version != VERSION {
        return Err(SnapshotError::Version(version));
    }
    let crc = u32::from_be_bytes(reader.take().ok_or(SnapshotError::Short)?);
    if crc32c::crc32c(reader.bytes) != crc {
        return Err(SnapshotError::Crc);
    }
    let count = u32::from_be_bytes(reader.take().ok_or(SnapshotError::Short)?) as usize;
    if count.checked_mul(ENTRY_LEN) != Some(reader.bytes.len()) {
        return Err(SnapshotError::Count);
    }
    let mut states = ProducerStates::new();
    for index in 0..count {
        let (id, state) = reader.entry().ok_or(SnapshotError::Entry { index })?;
        if states.get(id).is_some() {
            return Err(SnapshotError::Entry { index });
        }
        states.restore(id, state);
    }
    Ok(states)
}

struct Reader<'a> {
    bytes: &'a [u8],
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.bytes.split_first_chunk::<N>()?;
        self.bytes = rest;
        Some(*head)
    }

    fn entry(&mut self) -> Option<(i64, ProducerState)> {
        let id = i64::from_be_bytes(self.take()?);
        let mut state = ProducerState::new(i16::from_be_bytes(self.take()?));
        let last = BatchMeta {
            last_sequence: i32::from_be_bytes(self.take()?),
            last_offset: i64::from_be_bytes(self.take()?),
            offset_delta: i32::from_be_bytes(self.take()?),
            timestamp: i64::from_be_bytes(self.take()?),
        };
        state.last_timestamp = last.timestamp;
        state.coordinator_epoch = i32::from_be_bytes(self.take()?);
        let txn_first_offset = i64::from_be_bytes(self.take()?);
        state.txn_first_offset = (txn_first_offset >= 0).then_some(txn_first_offset);
        if last.last_offset >= 0 {
            // Sequences and deltas below zero would break the arithmetic of first sequence and first offset.
            if last.offset_delta < 0 || i64::from(last.offset_delta) > last.last_offset || last.last_sequence < -1 {
                return None;
            }
            state.push(last);
        }
        (id >= 0).then_some((id, state))
    }
}
