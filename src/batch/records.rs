//! The single records of a batch: for lookups by time, compaction, the coordinators' topics, tools and tests.
//!
//! Keys, values and headers are slices of the batch (or of its decompressed body): nothing is copied record by record.
//! A batch may be empty (compaction keeps such batches, KIP-98), may have gaps between its offsets, and may carry
//! LogAppendTime, in which case every record has the batch's max timestamp.

use std::fmt;

use bytes::Bytes;

use super::compress::{CompressError, Decoder, UnknownCodec, decompress, output_limit};
use super::cursor::{Cursor, Shape, Slice, Stream, field, read_record};
use super::header::{BatchHeader, HEADER_LEN};

/// One record of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub offset: i64,
    /// Milliseconds since 1970; −1 means none.
    pub timestamp: i64,
    pub key: Option<Bytes>,
    /// `None` is a tombstone on a compacted topic.
    pub value: Option<Bytes>,
    /// Keys may repeat and their order counts. Keys are UTF-8 by contract, which nobody checks.
    pub headers: Vec<(Bytes, Option<Bytes>)>,
}

/// Why the records of a batch cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// Not one whole batch: shorter than its header or than the length it claims.
    NotABatch,
    /// The records end before the count is reached.
    Truncated,
    /// A number with too many continuation bytes.
    Varint,
    /// A length that is negative or does not fit what surrounds it.
    Length,
    /// A negative record count.
    Count,
    /// Offsets that fall, or leave the range that the header claims.
    Offset,
    /// Bytes behind the last record.
    Trailing,
    /// The attributes name no known codec.
    Codec,
    /// The compressed block is corrupt or too large.
    Compress(CompressError),
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecordError::NotABatch => f.write_str("not one whole record batch"),
            RecordError::Truncated => f.write_str("records end too early"),
            RecordError::Varint => f.write_str("variable-length number is too long"),
            RecordError::Length => f.write_str("record length does not match its fields"),
            RecordError::Count => f.write_str("negative record count"),
            RecordError::Offset => f.write_str("record offset is out of order or out of its batch"),
            RecordError::Trailing => f.write_str("bytes behind the last record"),
            RecordError::Codec => f.write_str("unknown compression type"),
            RecordError::Compress(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for RecordError {}

impl From<CompressError> for RecordError {
    fn from(error: CompressError) -> RecordError {
        RecordError::Compress(error)
    }
}

impl From<UnknownCodec> for RecordError {
    fn from(_: UnknownCodec) -> RecordError {
        RecordError::Codec
    }
}

/// All records of one whole batch. Takes memory in proportion to the decompressed records.
pub fn decode(batch: &Bytes) -> Result<Vec<Record>, RecordError> {
    iter(batch)?.collect()
}

/// The records of one whole batch, one at a time. A compressed batch is decompressed first, as a whole, at most
/// [`output_limit`] bytes. After an error the iterator ends.
pub fn iter(batch: &Bytes) -> Result<Records, RecordError> {
    let (header, len) = whole(batch)?;
    let packed = batch.slice(HEADER_LEN..len);
    let body = match header.codec()? {
        super::Codec::None => packed,
        // An empty batch has no compressed block, whatever its attributes say.
        _ if header.record_count == 0 && packed.is_empty() => packed,
        codec => Bytes::from(decompress(codec, &packed, output_limit(packed.len()))?),
    };
    Ok(Records { header, body, position: 0, left: header.record_count, done: false })
}

/// The header of the one whole batch that `batch` starts with; its lengths and count are sane, nothing else is checked.
pub fn header(batch: &[u8]) -> Result<BatchHeader, RecordError> {
    whole(batch).map(|(header, _)| header)
}

/// Header and length of the one whole batch that `batch` starts with.
fn whole(batch: &[u8]) -> Result<(BatchHeader, usize), RecordError> {
    let header = BatchHeader::parse(batch).ok_or(RecordError::NotABatch)?;
    let len = header.checked_len().filter(|&len| len <= batch.len()).ok_or(RecordError::NotABatch)?;
    if header.record_count < 0 {
        return Err(RecordError::Count);
    }
    Ok((header, len))
}

/// Iterator over the records of a batch; see [`iter`].
#[derive(Clone, Debug)]
pub struct Records {
    header: BatchHeader,
    body: Bytes,
    position: usize,
    left: i32,
    done: bool,
}

impl Records {
    /// The header of the batch.
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The header, and the records as one uncompressed block.
    pub(super) fn into_parts(self) -> (BatchHeader, Bytes) {
        (self.header, self.body)
    }

    fn read(&mut self) -> Result<Option<Record>, RecordError> {
        let mut cursor = Slice::new(&self.body, self.position);
        if self.left == 0 {
            return if cursor.at_end()? { Ok(None) } else { Err(RecordError::Trailing) };
        }
        let shape = read_record(&mut cursor)?;
        self.position = cursor.position();
        self.left -= 1;
        let headers = self.headers(&shape)?;
        let (offset, timestamp) = place(&self.header, &shape);
        let key = shape.key.map(|range| self.body.slice(range));
        let value = shape.value.map(|range| self.body.slice(range));
        Ok(Some(Record { offset, timestamp, key, value, headers }))
    }

    fn headers(&self, shape: &Shape) -> Result<Vec<(Bytes, Option<Bytes>)>, RecordError> {
        let mut cursor = Slice::new(&self.body, shape.headers_at);
        let mut headers = Vec::new();
        for _ in 0..shape.header_count {
            let key = field(&mut cursor, self.position)?.ok_or(RecordError::Length)?;
            let value = field(&mut cursor, self.position)?;
            headers.push((self.body.slice(key), value.map(|range| self.body.slice(range))));
        }
        Ok(headers)
    }
}

impl Iterator for Records {
    type Item = Result<Record, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let answer = self.read().transpose();
        self.done = !matches!(answer, Some(Ok(_)));
        answer
    }
}

/// Offset and timestamp of a record. Sums wrap, as in the Java client: a broken delta gives a broken number.
fn place(header: &BatchHeader, shape: &Shape) -> (i64, i64) {
    let offset = header.base_offset.wrapping_add(i64::from(shape.offset_delta));
    if header.is_log_append_time() {
        return (offset, header.max_timestamp);
    }
    (offset, header.base_timestamp.wrapping_add(shape.timestamp_delta))
}

/// First record whose timestamp is `timestamp` (milliseconds since 1970) or later, as (offset, timestamp): the
/// question of ListOffsets by time. Looks at no keys or values and holds one small window of a compressed batch.
pub fn first_at_or_after(batch: &Bytes, timestamp: i64) -> Result<Option<(i64, i64)>, RecordError> {
    first_at_or_after_from(batch, timestamp, i64::MIN)
}

/// As [`first_at_or_after`], among the records at or above `start_offset` (the log start may lie inside a batch).
pub fn first_at_or_after_from(
    batch: &Bytes,
    timestamp: i64,
    start_offset: i64,
) -> Result<Option<(i64, i64)>, RecordError> {
    let (header, _) = whole(batch)?;
    if header.max_timestamp < timestamp {
        return Ok(None);
    }
    find(batch, |at| at.1 >= timestamp && at.0 >= start_offset)
}

/// First record that carries the batch's max timestamp, as (offset, timestamp): the question of ListOffsets −3.
/// `None` for a batch without records or (after compaction) without such a record.
pub fn max_timestamp_offset(batch: &Bytes) -> Result<Option<(i64, i64)>, RecordError> {
    let (header, _) = whole(batch)?;
    find(batch, |at| at.1 == header.max_timestamp)
}

/// First (offset, timestamp) that `wanted` accepts.
fn find(batch: &[u8], wanted: impl Fn((i64, i64)) -> bool) -> Result<Option<(i64, i64)>, RecordError> {
    let (header, len) = whole(batch)?;
    let packed = &batch[HEADER_LEN..len];
    match header.codec()? {
        super::Codec::None => scan(&mut Slice::new(packed, 0), &header, wanted),
        codec => {
            let decoder = Decoder::new(codec, packed)?;
            scan(&mut Stream::new(decoder, output_limit(packed.len())), &header, wanted)
        }
    }
}

fn scan<C: Cursor>(
    cursor: &mut C,
    header: &BatchHeader,
    wanted: impl Fn((i64, i64)) -> bool,
) -> Result<Option<(i64, i64)>, RecordError> {
    for _ in 0..header.record_count {
        let at = place(header, &read_record(cursor)?);
        if wanted(at) {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
