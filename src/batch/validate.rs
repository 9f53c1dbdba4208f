//! Is this batch acceptable?
//!
//! Two questions: is the CRC right (for every batch, wherever it comes from), and may a client append it. The second
//! is on the path of every produce: over uncompressed records it is one pass without allocation; over compressed ones
//! it decompresses through a window of fixed size, under a limit.

use std::fmt;

use super::compress::{Codec, CompressError, Decoder, output_limit};
use super::cursor::{Cursor, Shape, Slice, Stream, read_record};
use super::header::{BatchHeader, CRC_START, HEADER_LEN, MAGIC};
use super::records::RecordError;

/// What the topic and the request version ask of a client's batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientRules {
    /// `max.message.bytes`: largest batch, header included, bytes.
    pub max_batch_bytes: usize,
    /// `cleanup.policy` contains `compact`: every record needs a key.
    pub compacted: bool,
    /// `message.timestamp.type` is LogAppendTime: the producer's timestamps do not count.
    pub timestamp_type_log_append: bool,
    /// `message.timestamp.before.max.ms`: how far behind now a record's time may lie.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`: how far ahead of now a record's time may lie.
    pub timestamp_after_max_ms: i64,
    /// Milliseconds since 1970.
    pub now_ms: i64,
    /// Produce ≥ 7 (KIP-110).
    pub zstd_allowed: bool,
}

/// Record errors reported for one batch at most; the rest of the records are named by the reason alone.
pub const RECORD_ERRORS_MAX: usize = 1000;

/// Why a client's batch is refused. Nothing here is a protocol code; the floor `api` translates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Wrong CRC, or a length below the size of a header.
    Corrupt,
    /// The batch breaks a rule. `record_errors` names records by their index in the batch when single ones are at
    /// fault, at most [`RECORD_ERRORS_MAX`] of them.
    InvalidRecord { reason: &'static str, record_errors: Vec<(i32, &'static str)> },
    /// Timestamps outside the allowed range, or a timestamp type that is the broker's to set.
    InvalidTimestamp { reason: &'static str, record_errors: Vec<(i32, &'static str)> },
    /// The batch has `size` bytes where `max` are allowed.
    TooLarge { size: usize, max: usize },
    /// The compressed records hold more than `limit` bytes: a decompression bomb.
    DecompressedTooLarge { limit: usize },
    /// A codec that does not exist, or zstd in a request version that predates it.
    UnsupportedCompression,
}

impl Refusal {
    fn invalid(reason: &'static str) -> Refusal {
        Refusal::InvalidRecord { reason, record_errors: Vec::new() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Corrupt => f.write_str("record batch is corrupt (CRC or length)"),
            Refusal::InvalidRecord { reason, .. } | Refusal::InvalidTimestamp { reason, .. } => f.write_str(reason),
            Refusal::TooLarge { size, max } => {
                write!(f, "record batch of {size} bytes is larger than the {max} bytes allowed")
            }
            Refusal::DecompressedTooLarge { limit } => {
                write!(f, "records decompress to more than {limit} bytes")
            }
            Refusal::UnsupportedCompression => f.write_str("compression type is not supported"),
        }
    }
}

impl std::error::Error for Refusal {}

/// Whether the CRC of one whole batch, exactly filling `bytes`, is right. Short bytes are not.
pub fn crc_ok(bytes: &[u8]) -> bool {
    BatchHeader::parse(bytes).is_some_and(|header| {
        header.checked_len() == Some(bytes.len()) && crc32c::crc32c(&bytes[CRC_START..]) == header.crc
    })
}

/// Checks one client batch that must fill `bytes` exactly, as Kafka checks a Produce of version 3 or higher.
///
/// The header returned is that of the bytes, except for `max_timestamp`: under CreateTime it is the largest timestamp
/// really found, and [`correct_max_timestamp`](super::patch::correct_max_timestamp) writes it if the producer lied.
pub fn check_client_batch(bytes: &[u8], rules: &ClientRules) -> Result<BatchHeader, Refusal> {
    let mut header = exactly_one(bytes)?;
    let codec = header.codec().map_err(|_| Refusal::UnsupportedCompression)?;
    if codec == Codec::Zstd && !rules.zstd_allowed {
        return Err(Refusal::UnsupportedCompression);
    }
    if bytes.len() > rules.max_batch_bytes {
        return Err(Refusal::TooLarge { size: bytes.len(), max: rules.max_batch_bytes });
    }
    if crc32c::crc32c(&bytes[CRC_START..]) != header.crc {
        return Err(Refusal::Corrupt);
    }
    check_header(&header)?;
    let records = &bytes[HEADER_LEN..];
    let max_timestamp = match codec {
        Codec::None => check_records(&mut Slice::new(records, 0), &header, rules)?,
        codec => {
            let limit = output_limit(records.len());
            let decoder = Decoder::new(codec, records).map_err(|error| refuse(error.into()))?;
            check_records(&mut Stream::new(decoder, limit), &header, rules)?
        }
    };
    if !rules.timestamp_type_log_append {
        header.max_timestamp = max_timestamp;
    }
    Ok(header)
}

/// The header of the one batch that fills `bytes`.
fn exactly_one(bytes: &[u8]) -> Result<BatchHeader, Refusal> {
    // Older formats have the magic at the same place, and shorter headers.
    match bytes.get(16) {
        None => return Err(Refusal::invalid("a partition must come with exactly one whole record batch")),
        Some(&magic) if magic as i8 != MAGIC => {
            return Err(Refusal::invalid("record batches must have magic 2"));
        }
        Some(_) => {}
    }
    let header = BatchHeader::parse(bytes)
        .ok_or(Refusal::invalid("a partition must come with exactly one whole record batch"))?;
    let len = header.checked_len().ok_or(Refusal::Corrupt)?;
    if len > bytes.len() {
        return Err(Refusal::invalid("the record batch is cut short"));
    }
    if len < bytes.len() {
        return Err(Refusal::invalid("a partition must come with exactly one record batch"));
    }
    Ok(header)
}

fn check_header(header: &BatchHeader) -> Result<(), Refusal> {
    if header.base_offset != 0 {
        return Err(Refusal::invalid("the base offset of a client's record batch must be 0"));
    }
    if header.is_control() {
        return Err(Refusal::invalid("clients must not write control records"));
    }
    if header.record_count <= 0 || header.last_offset_delta != header.record_count - 1 {
        return Err(Refusal::invalid("record count is not positive or does not match the last offset delta"));
    }
    if header.has_producer() && header.base_sequence < 0 {
        return Err(Refusal::invalid("a batch of an idempotent producer needs a sequence"));
    }
    if header.is_transactional() && !header.has_producer() {
        return Err(Refusal::invalid("a transactional batch needs a producer id"));
    }
    if header.has_delete_horizon() {
        return Err(Refusal::invalid("the delete horizon is the broker's to set"));
    }
    if header.is_log_append_time() {
        return Err(Refusal::InvalidTimestamp {
            reason: "producers must not set the timestamp type to LogAppendTime",
            record_errors: Vec::new(),
        });
    }
    Ok(())
}

const NO_KEY: &str = "a compacted topic accepts no record without a key";
const BAD_DELTA: &str = "offset delta is not the record's index in the batch";
const BAD_TIME: &str = "timestamp is out of the allowed range";

/// Records found at fault, by kind. Empty vectors own no memory, so the usual case allocates nothing.
#[derive(Default)]
struct Faults {
    records: Vec<(i32, &'static str)>,
    timestamps: Vec<(i32, &'static str)>,
}

/// Looks at every record; the answer is the largest timestamp.
#[inline]
fn check_records<C: Cursor>(cursor: &mut C, header: &BatchHeader, rules: &ClientRules) -> Result<i64, Refusal> {
    let mut faults = Faults::default();
    let mut max_timestamp = -1;
    for index in 0..header.record_count {
        let shape = read_record(cursor).map_err(refuse)?;
        let timestamp = header
            .base_timestamp
            .checked_add(shape.timestamp_delta)
            .ok_or(Refusal::invalid("timestamp delta leaves the range of timestamps"))?;
        max_timestamp = max_timestamp.max(timestamp);
        check_record(index, &shape, timestamp, rules, &mut faults);
    }
    if !cursor.at_end().map_err(refuse)? {
        return Err(Refusal::invalid("bytes behind the last record of the batch"));
    }
    if !faults.records.is_empty() {
        let reason = "one or more records of the batch are invalid";
        return Err(Refusal::InvalidRecord { reason, record_errors: faults.records });
    }
    if !faults.timestamps.is_empty() {
        return Err(Refusal::InvalidTimestamp { reason: BAD_TIME, record_errors: faults.timestamps });
    }
    Ok(max_timestamp)
}

#[inline]
fn check_record(index: i32, shape: &Shape, timestamp: i64, rules: &ClientRules, faults: &mut Faults) {
    if shape.offset_delta != index {
        note(&mut faults.records, index, BAD_DELTA);
    } else if rules.compacted && shape.key.is_none() {
        note(&mut faults.records, index, NO_KEY);
    }
    // −1 means "no timestamp" and is exempt.
    if !rules.timestamp_type_log_append && timestamp != -1 {
        let behind = rules.now_ms.saturating_sub(timestamp);
        let ahead = timestamp.saturating_sub(rules.now_ms);
        if behind > rules.timestamp_before_max_ms || ahead > rules.timestamp_after_max_ms {
            note(&mut faults.timestamps, index, BAD_TIME);
        }
    }
}

#[cold]
fn note(list: &mut Vec<(i32, &'static str)>, index: i32, text: &'static str) {
    if list.len() < RECORD_ERRORS_MAX {
        list.push((index, text));
    }
}

fn refuse(error: RecordError) -> Refusal {
    match error {
        RecordError::Compress(CompressError::TooLarge { limit }) => Refusal::DecompressedTooLarge { limit },
        RecordError::Compress(CompressError::Corrupt) => Refusal::invalid("the records do not decompress"),
        RecordError::Truncated => Refusal::invalid("the records end before the record count is reached"),
        _ => Refusal::invalid("a record's lengths do not match its bytes"),
    }
}

#[cfg(test)]
mod tests;
