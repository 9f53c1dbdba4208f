//! A read-only view of the fixed header of a batch.

use super::compress::Codec;

/// Bytes of the fixed header.
pub const HEADER_LEN: usize = 61;
/// Bytes in front of what `batch_length` counts: base offset and the length itself.
pub const LENGTH_PREFIX: usize = 12;
/// The smallest `batch_length`: the rest of the header, no records.
pub const BATCH_LENGTH_MIN: i32 = (HEADER_LEN - LENGTH_PREFIX) as i32;

const CODEC_MASK: i16 = 0b111;
pub(super) const LOG_APPEND_TIME: i16 = 1 << 3;
pub(super) const TRANSACTIONAL: i16 = 1 << 4;
pub(super) const CONTROL: i16 = 1 << 5;
const DELETE_HORIZON: i16 = 1 << 6;

/// The fixed header, decoded. Nothing in it is checked: it may come from anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    pub base_offset: i64,
    /// Bytes after this field.
    pub batch_length: i32,
    pub leader_epoch: i32,
    pub magic: i8,
    pub crc: u32,
    pub attributes: i16,
    pub last_offset_delta: i32,
    /// Milliseconds since 1970; the delete horizon when that attribute is set.
    pub base_timestamp: i64,
    pub max_timestamp: i64,
    /// −1: none.
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub record_count: i32,
}

fn bytes<const N: usize>(from: &[u8], at: usize) -> Option<[u8; N]> {
    from.get(at..at + N)?.try_into().ok()
}

impl BatchHeader {
    /// `None` when there are fewer than [`HEADER_LEN`] bytes.
    pub fn parse(from: &[u8]) -> Option<BatchHeader> {
        Some(BatchHeader {
            base_offset: i64::from_be_bytes(bytes(from, 0)?),
            batch_length: i32::from_be_bytes(bytes(from, 8)?),
            leader_epoch: i32::from_be_bytes(bytes(from, 12)?),
            magic: i8::from_be_bytes(bytes(from, 16)?),
            crc: u32::from_be_bytes(bytes(from, 17)?),
            attributes: i16::from_be_bytes(bytes(from, 21)?),
            last_offset_delta: i32::from_be_bytes(bytes(from, 23)?),
            base_timestamp: i64::from_be_bytes(bytes(from, 27)?),
            max_timestamp: i64::from_be_bytes(bytes(from, 35)?),
            producer_id: i64::from_be_bytes(bytes(from, 43)?),
            producer_epoch: i16::from_be_bytes(bytes(from, 51)?),
            base_sequence: i32::from_be_bytes(bytes(from, 53)?),
            record_count: i32::from_be_bytes(bytes(from, 57)?),
        })
    }

    /// Bytes of the whole batch; `None` when the length field cannot be one of a batch.
    pub fn checked_len(&self) -> Option<usize> {
        if self.batch_length < BATCH_LENGTH_MIN {
            return None;
        }
        Some(self.batch_length as usize + LENGTH_PREFIX)
    }

    /// Bytes of the whole batch, 0 when the length field cannot be one of a batch.
    pub fn total_len(&self) -> usize {
        self.checked_len().unwrap_or(0)
    }

    pub fn last_offset(&self) -> i64 {
        self.base_offset.wrapping_add(i64::from(self.last_offset_delta))
    }

    pub fn next_offset(&self) -> i64 {
        self.last_offset().wrapping_add(1)
    }

    /// The codec, or the number that names none.
    pub fn codec(&self) -> Result<Codec, i16> {
        Codec::from_id(self.attributes & CODEC_MASK)
    }

    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0
    }

    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }

    pub fn is_log_append_time(&self) -> bool {
        self.attributes & LOG_APPEND_TIME != 0
    }

    pub fn has_delete_horizon(&self) -> bool {
        self.attributes & DELETE_HORIZON != 0
    }

    pub fn has_producer(&self) -> bool {
        self.producer_id >= 0
    }

    /// Sequence of the last record; after 2147483647 comes 0.
    pub fn last_sequence(&self) -> i32 {
        add_sequence(self.base_sequence, self.last_offset_delta)
    }
}

/// `count` sequences after `sequence`, wrapping from 2147483647 to 0.
pub fn add_sequence(sequence: i32, count: i32) -> i32 {
    let sum = i64::from(sequence) + i64::from(count);
    let span = i64::from(i32::MAX) + 1;
    (sum.rem_euclid(span)) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_wrap_from_the_largest_to_zero() {
        assert_eq!(add_sequence(i32::MAX, 1), 0);
        assert_eq!(add_sequence(i32::MAX - 1, 3), 1);
        assert_eq!(add_sequence(5, 0), 5);
    }

    #[test]
    fn a_short_header_is_none_and_an_impossible_length_is_no_length() {
        assert_eq!(BatchHeader::parse(&[0; HEADER_LEN - 1]), None);
        let zeros = BatchHeader::parse(&[0; HEADER_LEN]).unwrap();
        assert_eq!(zeros.checked_len(), None);
        assert_eq!(zeros.total_len(), 0);
    }
}
