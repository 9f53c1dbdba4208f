//! Kafka's producer snapshot file: `<offset>.snapshot` in a partition's folder (schema ProducerSnapshot, version 1).
//!
//! int16 version, uint32 CRC-32C of all that follows, int32 count, then per producer 46 bytes: int64 producer id,
//! int16 epoch, int32 last sequence, int64 last offset, int32 offset delta, int64 timestamp, int32 coordinator epoch,
//! int64 first offset of the open transaction (−1: none). In Kafka only the last of the five remembered batches
//! survives.
//!
//! Ours keeps the others in a tail that Kafka's reader does not look at (its CRC covers it): "KTRB", then per batch,
//! oldest first within a producer, int64 producer id, int32 last sequence, int64 last offset, int32 offset delta, int64
//! timestamp. Without it a client whose answers were lost in a crash just behind a snapshot would send batches again
//! that nobody remembers, and be refused for good. A file without the tail, as Kafka writes it, is as good.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;

use super::producers::{BATCHES_MAX, BatchMeta, ProducerState, ProducerStates};

const VERSION: i16 = 1;
const CRC_END: usize = 6;
const ENTRY_LEN: usize = 46;
const TAIL_MAGIC: [u8; 4] = *b"KTRB";
const TAIL_ENTRY_LEN: usize = 32;

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
    /// What follows the entries is not ours, or names producers that have no entry.
    Tail,
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
            SnapshotError::Tail => f.write_str("producer snapshot ends in something unknown"),
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
    encode_tail(states, &mut out);
    let crc = crc32c::crc32c(&out[CRC_END..]);
    out[2..CRC_END].copy_from_slice(&crc.to_be_bytes());
    Bytes::from(out)
}

/// The batches before each producer's last; nothing when there are none.
fn encode_tail(states: &ProducerStates, out: &mut Vec<u8>) {
    let tail_start = out.len();
    for (id, state) in states.iter() {
        let Some((_, earlier)) = state.batches().split_last() else { continue };
        for batch in earlier {
            if out.len() == tail_start {
                out.extend_from_slice(&TAIL_MAGIC);
            }
            out.extend_from_slice(&id.to_be_bytes());
            out.extend_from_slice(&batch.last_sequence.to_be_bytes());
            out.extend_from_slice(&batch.last_offset.to_be_bytes());
            out.extend_from_slice(&batch.offset_delta.to_be_bytes());
            out.extend_from_slice(&batch.timestamp.to_be_bytes());
        }
    }
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
    let entries_len = count.checked_mul(ENTRY_LEN).ok_or(SnapshotError::Count)?;
    let (entries, tail) = reader.bytes.split_at_checked(entries_len).ok_or(SnapshotError::Count)?;
    let mut earlier = decode_tail(tail)?;
    let mut reader = Reader { bytes: entries };
    let mut states = ProducerStates::new();
    for index in 0..count {
        let (id, last, mut state) = reader.entry().ok_or(SnapshotError::Entry { index })?;
        if states.get(id).is_some() {
            return Err(SnapshotError::Entry { index });
        }
        let batches = earlier.remove(&id).into_iter().flatten().chain(last);
        let mut below = i64::MIN;
        for batch in batches {
            if batch.first_offset() <= below {
                return Err(SnapshotError::Entry { index });
            }
            below = batch.last_offset;
            state.push(batch);
        }
        states.restore(id, state);
    }
    if earlier.is_empty() { Ok(states) } else { Err(SnapshotError::Tail) }
}

/// Producer id → the batches before its last, at most one less than are remembered.
fn decode_tail(bytes: &[u8]) -> Result<BTreeMap<i64, Vec<BatchMeta>>, SnapshotError> {
    let mut earlier: BTreeMap<i64, Vec<BatchMeta>> = BTreeMap::new();
    if bytes.is_empty() {
        return Ok(earlier);
    }
    let entries = bytes.strip_prefix(&TAIL_MAGIC).ok_or(SnapshotError::Tail)?;
    if entries.len() % TAIL_ENTRY_LEN != 0 {
        return Err(SnapshotError::Tail);
    }
    let mut reader = Reader { bytes: entries };
    while let Some((id, batch)) = reader.tail_entry() {
        let batches = earlier.entry(id).or_default();
        if !is_possible(&batch) || batches.len() == BATCHES_MAX - 1 {
            return Err(SnapshotError::Tail);
        }
        batches.push(batch);
    }
    Ok(earlier)
}

/// Sequences and deltas below zero would break the arithmetic of first sequence and first offset.
fn is_possible(batch: &BatchMeta) -> bool {
    batch.offset_delta >= 0 && i64::from(batch.offset_delta) <= batch.last_offset && batch.last_sequence >= -1
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

    fn tail_entry(&mut self) -> Option<(i64, BatchMeta)> {
        let id = i64::from_be_bytes(self.take()?);
        let batch = BatchMeta {
            last_sequence: i32::from_be_bytes(self.take()?),
            last_offset: i64::from_be_bytes(self.take()?),
            offset_delta: i32::from_be_bytes(self.take()?),
            timestamp: i64::from_be_bytes(self.take()?),
        };
        Some((id, batch))
    }

    /// A producer, its last batch if it has one, and its state without batches.
    fn entry(&mut self) -> Option<(i64, Option<BatchMeta>, ProducerState)> {
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
        let last = (last.last_offset >= 0).then_some(last);
        if last.is_some_and(|last| !is_possible(&last)) {
            return None;
        }
        (id >= 0).then_some((id, last, state))
    }
}
