//! Changes to a batch in place, at the append.
//!
//! Base offset and leader epoch lie outside the CRC, so stamping them costs nothing. Attributes and max timestamp lie
//! inside; changing them means a new CRC over the whole batch.

use super::header::{ATTRIBUTE_LOG_APPEND_TIME, BatchHeader, CRC_START, HEADER_LEN};

/// Writes base offset and partition leader epoch of a whole batch. The CRC stays valid.
pub fn stamp(batch: &mut [u8], base_offset: i64, leader_epoch: i32) {
    crate::invariant!(batch.len() >= HEADER_LEN, "stamp of {} bytes", batch.len());
    batch[0..8].copy_from_slice(&base_offset.to_be_bytes());
    batch[12..16].copy_from_slice(&leader_epoch.to_be_bytes());
}

/// Marks the batch as LogAppendTime: bit 3, max timestamp `now_ms` (milliseconds since 1970), new CRC.
/// Base timestamp and deltas stay; readers take the max timestamp for every record.
pub fn set_log_append_time(batch: &mut [u8], now_ms: i64) {
    crate::invariant!(batch.len() >= HEADER_LEN, "append time for {} bytes", batch.len());
    let attributes = i16::from_be_bytes([batch[21], batch[22]]) | ATTRIBUTE_LOG_APPEND_TIME;
    batch[21..23].copy_from_slice(&attributes.to_be_bytes());
    set_max_timestamp(batch, now_ms);
}

/// Writes the max timestamp (milliseconds since 1970) and a new CRC.
pub fn set_max_timestamp(batch: &mut [u8], max_timestamp: i64) {
    crate::invariant!(batch.len() >= HEADER_LEN, "max timestamp for {} bytes", batch.len());
    batch[35..43].copy_from_slice(&max_timestamp.to_be_bytes());
    seal_crc(batch);
}

/// Corrects a wrong max timestamp of a CreateTime batch; `checked` is the answer of
/// [`check_client_batch`](super::validate::check_client_batch), which carries the true one. Usually a comparison only.
pub fn correct_max_timestamp(batch: &mut [u8], checked: &BatchHeader) {
    let claimed = BatchHeader::parse(batch).map(|header| header.max_timestamp);
    if claimed != Some(checked.max_timestamp) {
        set_max_timestamp(batch, checked.max_timestamp);
    }
}

/// Computes and writes the CRC of a whole batch.
pub fn seal_crc(batch: &mut [u8]) {
    crate::invariant!(batch.len() >= HEADER_LEN, "CRC of {} bytes", batch.len());
    let crc = crc32c::crc32c(&batch[CRC_START..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::build::BatchBuilder;
    use crate::batch::records;
    use crate::batch::validate::crc_ok;
    use bytes::Bytes;

    fn batch() -> Vec<u8> {
        let mut builder = BatchBuilder::new(0);
        builder.push(100, None, Some(b"a")).push(50, None, Some(b"b"));
        builder.finish().to_vec()
    }

    #[test]
    fn stamping_moves_the_offsets_and_keeps_the_crc() {
        let mut bytes = batch();
        stamp(&mut bytes, 1_000, 9);
        let header = BatchHeader::parse(&bytes).expect("header");
        assert_eq!((header.base_offset, header.last_offset(), header.leader_epoch), (1_000, 1_001, 9));
        assert!(crc_ok(&bytes));
    }

    #[test]
    fn log_append_time_counts_for_every_record_and_gets_a_new_crc() {
        let mut bytes = batch();
        set_log_append_time(&mut bytes, 777);
        assert!(crc_ok(&bytes));
        let header = BatchHeader::parse(&bytes).expect("header");
        assert!(header.is_log_append_time());
        assert_eq!(header.base_timestamp, 100, "deltas stay relative to the producer's base");
        let all = records::decode(&Bytes::from(bytes)).expect("records");
        assert!(all.iter().all(|record| record.timestamp == 777));
    }
}
