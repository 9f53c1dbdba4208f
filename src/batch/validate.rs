//! Is this batch of a client acceptable? The rules are Kafka's for produce requests of version 3 and later.
//!
//! The uncompressed case is on the path of every batch: the CRC, and one pass over the varints without allocation.

use std::fmt;

use bytes::Bytes;

use super::compress::Codec;
use super::header::{BatchHeader, HEADER_LEN};
use super::patch::CRC_FROM;
use super::records::plain_records;
use super::varint::Cursor;

/// Records at fault that are told to the client, at most.
const RECORD_ERRORS_MAX: usize = 100;

/// What a topic asks of a batch.
#[derive(Clone, Copy, Debug)]
pub struct ClientRules {
    /// `max.message.bytes`.
    pub max_batch_bytes: usize,
    /// Records must have keys.
    pub compacted: bool,
    /// `message.timestamp.type=LogAppendTime`: the client's timestamps do not matter.
    pub timestamp_type_log_append: bool,
    pub timestamp_before_max_ms: i64,
    pub timestamp_after_max_ms: i64,
    pub now_ms: i64,
    /// The version of the request knows zstd.
    pub zstd_allowed: bool,
}

/// Why a batch is refused; nothing of it is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    Corrupt { reason: &'static str },
    InvalidRecord { reason: &'static str, record_errors: Vec<(i32, &'static str)> },
    InvalidTimestamp { record_errors: Vec<(i32, &'static str)> },
    TooLarge { bytes: usize, limit: usize },
    UnsupportedCompression { reason: &'static str },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Corrupt { reason } | Refusal::UnsupportedCompression { reason } => f.write_str(reason),
            Refusal::InvalidRecord { reason, .. } => f.write_str(reason),
            Refusal::InvalidTimestamp { .. } => {
                f.write_str("One or more records have been rejected due to invalid timestamp")
            }
            Refusal::TooLarge { bytes, limit } => {
                write!(f, "The record batch size is {bytes} bytes which exceeds the maximum configured value of {limit}")
            }
        }
    }
}

impl std::error::Error for Refusal {}

fn invalid(reason: &'static str) -> Refusal {
    Refusal::InvalidRecord { reason, record_errors: Vec::new() }
}

/// Whether the CRC of one whole batch is right.
pub fn crc_ok(batch: &[u8]) -> bool {
    match BatchHeader::parse(batch) {
        Some(header) => crc32c::crc32c(&batch[CRC_FROM..]) == header.crc,
        None => false,
    }
}

/// Checks that `batch` is exactly one batch that a client may send.
pub fn check_client_batch(batch: &Bytes, rules: &ClientRules) -> Result<BatchHeader, Refusal> {
    let header = check_frame(batch)?;
    if batch.len() > rules.max_batch_bytes {
        return Err(Refusal::TooLarge { bytes: batch.len(), limit: rules.max_batch_bytes });
    }
    check_header(&header, rules)?;
    match header.codec() {
        Ok(Codec::None) => check_records(&batch[HEADER_LEN..], &header, rules)?,
        Ok(_) => {
            let plain = plain_records(batch, &header)
                .map_err(|_| Refusal::Corrupt { reason: "The records of the batch cannot be decompressed" })?;
            check_records(&plain, &header, rules)?;
        }
        Err(_) => return Err(Refusal::UnsupportedCompression { reason: "The compression codec is unknown" }),
    }
    Ok(header)
}

/// One batch, whole, of magic 2, undamaged.
fn check_frame(batch: &[u8]) -> Result<BatchHeader, Refusal> {
    if batch.is_empty() {
        return Err(invalid("A produce request must hold exactly one record batch for each partition"));
    }
    if let Some(magic) = batch.get(16)
        && *magic != 2
    {
        return Err(invalid("Only record batches of magic 2 are accepted"));
    }
    let header =
        BatchHeader::parse(batch).ok_or(Refusal::Corrupt { reason: "The record batch is cut short" })?;
    match header.checked_len() {
        Some(len) if len == batch.len() => {}
        Some(len) if len < batch.len() => {
            return Err(invalid("A produce request must hold exactly one record batch for each partition"));
        }
        _ => return Err(Refusal::Corrupt { reason: "The length of the record batch is wrong" }),
    }
    if crc32c::crc32c(&batch[CRC_FROM..]) != header.crc {
        return Err(Refusal::Corrupt { reason: "The CRC of the record batch is wrong" });
    }
    Ok(header)
}

fn check_header(header: &BatchHeader, rules: &ClientRules) -> Result<(), Refusal> {
    if header.is_control() {
        return Err(invalid("Clients may not write control records"));
    }
    if header.record_count <= 0 {
        return Err(invalid("The record batch holds no record"));
    }
    if header.last_offset_delta != header.record_count - 1 {
        return Err(invalid("The offsets of the record batch do not match the number of its records"));
    }
    if header.has_producer() && (header.base_sequence < 0 || header.producer_epoch < 0) {
        return Err(invalid("A producer id needs an epoch and a sequence number"));
    }
    if header.is_transactional() && !header.has_producer() {
        return Err(invalid("A transactional record batch needs a producer id"));
    }
    if header.is_log_append_time() && !rules.timestamp_type_log_append {
        return Err(Refusal::InvalidTimestamp { record_errors: Vec::new() });
    }
    if header.codec() == Ok(Codec::Zstd) && !rules.zstd_allowed {
        return Err(Refusal::UnsupportedCompression {
            reason: "Produce requests below version 7 may not use the zstd codec",
        });
    }
    Ok(())
}

/// What one record says that the rules look at.
struct Seen {
    timestamp_delta: i64,
    has_key: bool,
}

/// Walks one record: every length must fit and the record must end where it says.
#[inline]
fn check_record(cursor: &mut Cursor<'_>, index: i32) -> Option<Seen> {
    let len = usize::try_from(cursor.varint()?).ok()?;
    let mut record = Cursor::new(cursor.take(len)?);
    record.byte()?;
    let timestamp_delta = record.varlong()?;
    if record.varint()? != index {
        return None;
    }
    let key = record.nullable_len()?;
    record.take(key.unwrap_or(0))?;
    let value = record.nullable_len()?;
    record.take(value.unwrap_or(0))?;
    let headers = record.varint()?;
    for _ in 0..headers {
        let key = record.nullable_len()??;
        std::str::from_utf8(record.take(key)?).ok()?;
        let value = record.nullable_len()?;
        record.take(value.unwrap_or(0))?;
    }
    (headers >= 0 && record.left() == 0).then_some(Seen { timestamp_delta, has_key: key.is_some() })
}

fn check_records(records: &[u8], header: &BatchHeader, rules: &ClientRules) -> Result<(), Refusal> {
    let mut cursor = Cursor::new(records);
    let mut keyless = Vec::new();
    let mut untimely = Vec::new();
    let mut max_timestamp = i64::MIN;
    for index in 0..header.record_count {
        let Some(seen) = check_record(&mut cursor, index) else {
            return Err(Refusal::InvalidRecord {
                reason: "A record of the batch is malformed",
                record_errors: vec![(index, "malformed")],
            });
        };
        let timestamp = header.base_timestamp.wrapping_add(seen.timestamp_delta);
        max_timestamp = max_timestamp.max(timestamp);
        if rules.compacted && !seen.has_key && keyless.len() < RECORD_ERRORS_MAX {
            keyless.push((index, "Compacted topic cannot accept message without key"));
        }
        if !rules.timestamp_type_log_append && !is_timely(timestamp, rules) && untimely.len() < RECORD_ERRORS_MAX {
            untimely.push((index, "Timestamp is out of range"));
        }
    }
    if cursor.left() != 0 {
        return Err(invalid("Bytes are left after the last record of the batch"));
    }
    if !keyless.is_empty() {
        return Err(Refusal::InvalidRecord {
            reason: "One or more records have been rejected",
            record_errors: keyless,
        });
    }
    if !untimely.is_empty() {
        return Err(Refusal::InvalidTimestamp { record_errors: untimely });
    }
    if !rules.timestamp_type_log_append && max_timestamp != header.max_timestamp {
        return Err(invalid("The max timestamp of the record batch is not that of its records"));
    }
    Ok(())
}

/// −1 is exempt: the client has no timestamp.
fn is_timely(timestamp: i64, rules: &ClientRules) -> bool {
    timestamp == -1
        || (timestamp >= rules.now_ms.saturating_sub(rules.timestamp_before_max_ms)
            && timestamp <= rules.now_ms.saturating_add(rules.timestamp_after_max_ms))
}

#[cfg(test)]
mod tests {
    use super::super::build::BatchBuilder;
    use super::super::patch::{set_log_append_time, stamp, write_crc};
    use super::*;
    use crate::base::prng::Prng;

    const RULES: ClientRules = ClientRules {
        max_batch_bytes: 1 << 20,
        compacted: false,
        timestamp_type_log_append: false,
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: 3_600_000,
        now_ms: 1_000_000,
        zstd_allowed: true,
    };

    fn batch(codec: Codec) -> Bytes {
        BatchBuilder::new()
            .codec(codec)
            .producer(7, 0, 0)
            .record(1_000_000, Some("k".into()), Some("v".into()))
            .record(1_000_005, None, Some("w".into()))
            .build()
    }

    fn patched(patch: impl Fn(&mut Vec<u8>)) -> Bytes {
        let mut bytes = batch(Codec::None).to_vec();
        patch(&mut bytes);
        write_crc(&mut bytes);
        Bytes::from(bytes)
    }

    fn reason(result: Result<BatchHeader, Refusal>) -> Refusal {
        result.expect_err("refused")
    }

    #[test]
    fn a_good_batch_passes_under_every_codec_and_stamping_keeps_its_crc() {
        for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
            let mut bytes = batch(codec).to_vec();
            stamp(&mut bytes, 42, 3);
            let header = check_client_batch(&Bytes::from(bytes), &RULES).unwrap();
            assert_eq!((header.base_offset, header.leader_epoch, header.last_sequence()), (42, 3, 1));
        }
    }

    #[test]
    fn each_broken_field_has_its_own_refusal() {
        let check = |bytes: &Bytes| reason(check_client_batch(bytes, &RULES));
        let good = batch(Codec::None);
        assert!(matches!(check(&Bytes::new()), Refusal::InvalidRecord { .. }));
        assert!(matches!(check(&good.slice(..good.len() - 1)), Refusal::Corrupt { .. }));
        let two = Bytes::from([good.as_ref(), good.as_ref()].concat());
        assert!(matches!(check(&two), Refusal::InvalidRecord { .. }));
        assert!(matches!(check(&patched(|b| b[16] = 1)), Refusal::InvalidRecord { .. }));
        assert!(matches!(check(&patched(|b| b[22] = 1 << 5)), Refusal::InvalidRecord { .. }), "control");
        assert!(matches!(check(&patched(|b| b[22] = 7)), Refusal::UnsupportedCompression { .. }));
        assert!(matches!(check(&patched(|b| b[60] = 3)), Refusal::InvalidRecord { .. }), "count");
        assert!(matches!(check(&patched(|b| b[53] = 0x80)), Refusal::InvalidRecord { .. }), "sequence");
        assert!(matches!(check(&patched(|b| b[22] = 1 << 3)), Refusal::InvalidTimestamp { .. }));
        let small = ClientRules { max_batch_bytes: 80, ..RULES };
        assert!(matches!(reason(check_client_batch(&good, &small)), Refusal::TooLarge { .. }));
        let compacted = ClientRules { compacted: true, ..RULES };
        let keyless = reason(check_client_batch(&good, &compacted));
        assert!(matches!(keyless, Refusal::InvalidRecord { record_errors, .. } if record_errors[0].0 == 1));
        let late = ClientRules { now_ms: 0, ..RULES };
        let untimely = check_client_batch(&good, &ClientRules { timestamp_after_max_ms: 10, ..late });
        assert!(matches!(reason(untimely), Refusal::InvalidTimestamp { .. }));
        let old = ClientRules { zstd_allowed: false, ..RULES };
        let zstd = reason(check_client_batch(&batch(Codec::Zstd), &old));
        assert!(matches!(zstd, Refusal::UnsupportedCompression { .. }));
    }

    #[test]
    fn a_flipped_bit_anywhere_under_the_crc_is_corrupt_and_mutations_with_a_right_crc_never_panic() {
        let good = batch(Codec::None);
        for at in CRC_FROM..good.len() {
            let mut bytes = good.to_vec();
            bytes[at] ^= 0x10;
            assert!(matches!(reason(check_client_batch(&Bytes::from(bytes), &RULES)), Refusal::Corrupt { .. }));
        }
        let mut random = Prng::new(3);
        for _ in 0..5_000 {
            let mut bytes = good.to_vec();
            let at = CRC_FROM + random.below((good.len() - CRC_FROM) as u64) as usize;
            bytes[at] = random.next_u64() as u8;
            write_crc(&mut bytes);
            let _ = check_client_batch(&Bytes::from(bytes), &RULES).is_ok();
        }
    }

    #[test]
    fn log_append_time_has_a_right_crc_and_stamps_every_record() {
        let mut bytes = batch(Codec::None).to_vec();
        set_log_append_time(&mut bytes, 77);
        assert!(crc_ok(&bytes));
        let records = super::super::records::decode(&Bytes::from(bytes)).unwrap();
        assert!(records.iter().all(|record| record.timestamp == 77));
    }
}
