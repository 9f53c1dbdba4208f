//! Stamps a batch in place: what lies outside the CRC, and the one change that needs a new CRC.

use super::header::LOG_APPEND_TIME;

const LEADER_EPOCH: usize = 12;
const CRC: usize = 17;
/// Where the bytes covered by the CRC begin.
pub const CRC_FROM: usize = 21;
const MAX_TIMESTAMP: usize = 35;

/// Writes base offset and leader epoch; the CRC covers neither.
pub fn stamp(batch: &mut [u8], base_offset: i64, leader_epoch: i32) {
    batch[..8].copy_from_slice(&base_offset.to_be_bytes());
    batch[LEADER_EPOCH..LEADER_EPOCH + 4].copy_from_slice(&leader_epoch.to_be_bytes());
}

/// Makes it a LogAppendTime batch of `now_ms`: readers take the max timestamp for every record.
pub fn set_log_append_time(batch: &mut [u8], now_ms: i64) {
    let attributes = i16::from_be_bytes([batch[CRC_FROM], batch[CRC_FROM + 1]]) | LOG_APPEND_TIME;
    batch[CRC_FROM..CRC_FROM + 2].copy_from_slice(&attributes.to_be_bytes());
    batch[MAX_TIMESTAMP..MAX_TIMESTAMP + 8].copy_from_slice(&now_ms.to_be_bytes());
    write_crc(batch);
}

/// Computes the CRC anew.
pub fn write_crc(batch: &mut [u8]) {
    let crc = crc32c::crc32c(&batch[CRC_FROM..]);
    batch[CRC..CRC + 4].copy_from_slice(&crc.to_be_bytes());
}
