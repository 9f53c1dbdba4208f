//! The fixed 61 bytes in front of every batch, read into plain numbers.
//!
//! A `BatchHeader` is a copy of what the bytes claim: nothing in it has been checked, so its arithmetic saturates.
//! Layout (Kafka protocol guide, "Record Batch"): base offset 0, length 8, leader epoch 12, magic 16, CRC 17,
//! attributes 21, last offset delta 23, base timestamp 27, max timestamp 35, producer id 43, producer epoch 51,
//! base sequence 53, record count 57, records 61. All big-endian.

use super::compress::{Codec, UnknownCodec};

/// Bytes in front of the records.
pub const HEADER_LEN: usize = 61;
/// Bytes in front of what the length field counts (base offset and the length itself).
pub const LENGTH_OVERHEAD: usize = 12;
/// Smallest value a length field may hold: a batch without records.
pub const BATCH_LENGTH_MIN: i32 = (HEADER_LEN - LENGTH_OVERHEAD) as i32;
/// The only magic this broker writes or accepts.
pub const MAGIC: i8 = 2;
/// The CRC covers everything from here (the attributes) to the end of the batch.
pub const CRC_START: usize = 21;

/// Attribute bit: every record has the batch's max timestamp, set by the broker at the append.
pub const ATTRIBUTE_LOG_APPEND_TIME: i16 = 1 << 3;
/// Attribute bit: the batch belongs to a transaction.
pub const ATTRIBUTE_TRANSACTIONAL: i16 = 1 << 4;
/// Attribute bit: the records are control records (markers), invisible to clients.
pub const ATTRIBUTE_CONTROL: i16 = 1 << 5;
/// Attribute bit: the base timestamp field holds the delete horizon (KIP-534).
pub const ATTRIBUTE_DELETE_HORIZON: i16 = 1 << 6;

/// The header of one v2 batch, field by field as on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    pub base_offset: i64,
    /// Bytes after this field.
    pub batch_length: i32,
    pub leader_epoch: i32,
    pub magic: i8,
    /// CRC-32C of everything after this field.
    pub crc: u32,
    pub attributes: i16,
    pub last_offset_delta: i32,
    /// Milliseconds since 1970; the delete horizon when that bit is set.
    pub base_timestamp: i64,
    /// Milliseconds since 1970; −1 when no record has a timestamp.
    pub max_timestamp: i64,
    /// −1 when the batch is not from an idempotent producer.
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub record_count: i32,
}

fn array<const N: usize>(bytes: &[u8; HEADER_LEN], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

impl BatchHeader {
    /// Reads the header at the start of `bytes`; `None` when fewer than 61 bytes are there.
    pub fn parse(bytes: &[u8]) -> Option<BatchHeader> {
        let bytes: &[u8; HEADER_LEN] = bytes.first_chunk()?;
        Some(BatchHeader {
            base_offset: i64::from_be_bytes(array(bytes, 0)),
            batch_length: i32::from_be_bytes(array(bytes, 8)),
            leader_epoch: i32::from_be_bytes(array(bytes, 12)),
            magic: bytes[16] as i8,
            crc: u32::from_be_bytes(array(bytes, 17)),
            attributes: i16::from_be_bytes(array(bytes, 21)),
            last_offset_delta: i32::from_be_bytes(array(bytes, 23)),
            base_timestamp: i64::from_be_bytes(array(bytes, 27)),
            max_timestamp: i64::from_be_bytes(array(bytes, 35)),
            producer_id: i64::from_be_bytes(array(bytes, 43)),
            producer_epoch: i16::from_be_bytes(array(bytes, 51)),
            base_sequence: i32::from_be_bytes(array(bytes, 53)),
            record_count: i32::from_be_bytes(array(bytes, 57)),
        })
    }

    /// The 61 bytes of this header.
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        out[0..8].copy_from_slice(&self.base_offset.to_be_bytes());
        out[8..12].copy_from_slice(&self.batch_length.to_be_bytes());
        out[12..16].copy_from_slice(&self.leader_epoch.to_be_bytes());
        out[16] = self.magic as u8;
        out[17..21].copy_from_slice(&self.crc.to_be_bytes());
        out[21..23].copy_from_slice(&self.attributes.to_be_bytes());
        out[23..27].copy_from_slice(&self.last_offset_delta.to_be_bytes());
        out[27..35].copy_from_slice(&self.base_timestamp.to_be_bytes());
        out[35..43].copy_from_slice(&self.max_timestamp.to_be_bytes());
        out[43..51].copy_from_slice(&self.producer_id.to_be_bytes());
        out[51..53].copy_from_slice(&self.producer_epoch.to_be_bytes());
        out[53..57].copy_from_slice(&self.base_sequence.to_be_bytes());
        out[57..61].copy_from_slice(&self.record_count.to_be_bytes());
        out
    }

    /// Bytes of the whole batch, header included; `None` when the length field is below the size of a header.
    pub fn checked_len(&self) -> Option<usize> {
        (self.batch_length >= BATCH_LENGTH_MIN).then(|| LENGTH_OVERHEAD + self.batch_length as usize)
    }

    /// Bytes of the whole batch; a length field below the size of a header counts as an empty batch.
    pub fn total_len(&self) -> usize {
        self.checked_len().unwrap_or(HEADER_LEN)
    }

    /// Offset of the last record the batch had when it was appended (compaction keeps it).
    pub fn last_offset(&self) -> i64 {
        self.base_offset.saturating_add(i64::from(self.last_offset_delta))
    }

    /// The offset after this batch.
    pub fn next_offset(&self) -> i64 {
        self.last_offset().saturating_add(1)
    }

    /// The codec of the records; ids 5, 6 and 7 are unknown.
    pub fn codec(&self) -> Result<Codec, UnknownCodec> {
        Codec::from_id((self.attributes & 0x07) as i8)
    }

    pub fn is_transactional(&self) -> bool {
        self.attributes & ATTRIBUTE_TRANSACTIONAL != 0
    }

    pub fn is_control(&self) -> bool {
        self.attributes & ATTRIBUTE_CONTROL != 0
    }

    pub fn is_log_append_time(&self) -> bool {
        self.attributes & ATTRIBUTE_LOG_APPEND_TIME != 0
    }

    pub fn has_delete_horizon(&self) -> bool {
        self.attributes & ATTRIBUTE_DELETE_HORIZON != 0
    }

    /// When tombstones and markers of this batch may go, milliseconds since 1970 (KIP-534).
    pub fn delete_horizon(&self) -> Option<i64> {
        self.has_delete_horizon().then_some(self.base_timestamp)
    }

    /// Whether an idempotent producer wrote the batch.
    pub fn has_producer(&self) -> bool {
        self.producer_id >= 0
    }

    /// Sequence of the last record; after 2147483647 comes 0. −1 when the batch carries no sequence.
    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence < 0 {
            return -1;
        }
        let last = i64::from(self.base_sequence) + i64::from(self.last_offset_delta.max(0));
        // At most 2 × (2^31 − 1), so one subtraction of 2^31 brings it back into range.
        if last > i64::from(i32::MAX) { (last - (1 << 31)) as i32 } else { last as i32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> BatchHeader {
        BatchHeader {
            base_offset: 7,
            batch_length: 49,
            leader_epoch: 3,
            magic: 2,
            crc: 0xdead_beef,
            attributes: 0,
            last_offset_delta: 4,
            base_timestamp: 1000,
            max_timestamp: 2000,
            producer_id: 99,
            producer_epoch: 5,
            base_sequence: 10,
            record_count: 5,
        }
    }

    #[test]
    fn a_header_is_read_back_as_it_was_written_and_short_bytes_are_no_header() {
        let header = sample();
        let bytes = header.encode();
        assert_eq!(BatchHeader::parse(&bytes), Some(header));
        assert_eq!(BatchHeader::parse(&bytes[..60]), None);
        assert_eq!((header.last_offset(), header.next_offset(), header.last_sequence()), (11, 12, 14));
        assert_eq!(header.checked_len(), Some(61));
    }

    #[test]
    fn sequences_wrap_to_zero_after_the_largest_number() {
        let mut header = sample();
        header.base_sequence = i32::MAX - 3;
        assert_eq!(header.last_sequence(), 0);
        header.base_sequence = i32::MAX - 4;
        assert_eq!(header.last_sequence(), i32::MAX);
        header.last_offset_delta = i32::MAX;
        header.base_sequence = i32::MAX;
        assert_eq!(header.last_sequence(), i32::MAX - 1);
        header.base_sequence = -1;
        assert_eq!(header.last_sequence(), -1);
    }

    #[test]
    fn hostile_numbers_saturate() {
        let mut header = sample();
        header.base_offset = i64::MAX;
        assert_eq!(header.next_offset(), i64::MAX);
        for length in [i32::MIN, -1, 0, 48] {
            header.batch_length = length;
            assert_eq!(header.checked_len(), None);
            assert_eq!(header.total_len(), HEADER_LEN);
        }
        header.batch_length = i32::MAX;
        assert_eq!(header.total_len(), i32::MAX as usize + 12);
    }
}
