//! Single records of a batch, for compaction, look-ups by time, internal topics and tools. The data path does not come here.

use std::fmt;

use bytes::Bytes;

use super::build::RecordHeader;
use super::compress::{Codec, DecompressError, decompress};
use super::header::{BatchHeader, HEADER_LEN};
use super::varint::Cursor;

/// What the records of a batch may decompress to: a batch this much larger than its bytes is an attack, not data.
const RATIO_MAX: usize = 1_000;
const PLAIN_BYTES_FLOOR: usize = 64 << 20;

/// How far a batch of so many bytes may be decompressed, bytes.
pub fn plain_limit(batch_bytes: usize) -> usize {
    batch_bytes.saturating_mul(RATIO_MAX).clamp(PLAIN_BYTES_FLOOR, 1 << 30)
}

/// One record; key, value and headers are slices of the (decompressed) batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub offset: i64,
    /// Milliseconds since 1970; that of the append with LogAppendTime.
    pub timestamp: i64,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Vec<RecordHeader>,
}

/// Why a batch cannot be read record by record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordError {
    Header,
    UnknownCodec(i16),
    Compression(String),
    /// Record number `index` is not well formed.
    Malformed { index: i32 },
    /// Bytes are left after the last record.
    Trailing,
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecordError::Header => f.write_str("the batch header is cut short"),
            RecordError::UnknownCodec(id) => write!(f, "codec {id} does not exist"),
            RecordError::Compression(why) => f.write_str(why),
            RecordError::Malformed { index } => write!(f, "record {index} is malformed"),
            RecordError::Trailing => f.write_str("bytes are left after the last record"),
        }
    }
}

impl std::error::Error for RecordError {}

impl From<DecompressError> for RecordError {
    fn from(error: DecompressError) -> RecordError {
        RecordError::Compression(error.to_string())
    }
}

/// The records of a batch without compression.
pub fn plain_records(batch: &Bytes, header: &BatchHeader) -> Result<Bytes, RecordError> {
    let records = batch.get(HEADER_LEN..header.checked_len().ok_or(RecordError::Header)?).ok_or(RecordError::Header)?;
    match header.codec().map_err(RecordError::UnknownCodec)? {
        Codec::None => Ok(batch.slice_ref(records)),
        codec => Ok(Bytes::from(decompress(codec, records, plain_limit(batch.len()))?)),
    }
}

/// Lazy iterator over the records of one batch.
#[derive(Clone, Debug)]
pub struct Records {
    header: BatchHeader,
    plain: Bytes,
    at: usize,
    index: i32,
    failed: bool,
}

impl Records {
    /// Reads the records of the batch that `batch` starts with.
    pub fn of(batch: &Bytes) -> Result<Records, RecordError> {
        let header = BatchHeader::parse(batch).ok_or(RecordError::Header)?;
        let plain = plain_records(batch, &header)?;
        Ok(Records { header, plain, at: 0, index: 0, failed: false })
    }

    fn read(&mut self) -> Option<Record> {
        let mut cursor = Cursor::new(&self.plain[self.at..]);
        let len = usize::try_from(cursor.varint()?).ok()?;
        let body = cursor.take(len)?;
        let start = self.at + cursor.position() - len;
        self.at += cursor.position();
        let plain = self.plain.clone();
        let slice = |within: &Cursor<'_>, len: usize| {
            let end = start + within.position();
            plain.slice(end - len..end)
        };
        let mut record = Cursor::new(body);
        record.byte()?;
        let timestamp_delta = record.varlong()?;
        let offset_delta = record.varint()?;
        let field = |record: &mut Cursor<'_>| -> Option<Option<Bytes>> {
            match record.nullable_len()? {
                None => Some(None),
                Some(len) => {
                    record.take(len)?;
                    Some(Some(slice(record, len)))
                }
            }
        };
        let key = field(&mut record)?;
        let value = field(&mut record)?;
        let header_count = usize::try_from(record.varint()?).ok()?;
        // Each header takes two bytes at least.
        if header_count > record.left() / 2 {
            return None;
        }
        let mut headers = Vec::with_capacity(header_count);
        for _ in 0..header_count {
            let key = field(&mut record)??;
            headers.push((key, field(&mut record)?));
        }
        if record.left() != 0 {
            return None;
        }
        let timestamp = if self.header.is_log_append_time() {
            self.header.max_timestamp
        } else {
            self.header.base_timestamp.wrapping_add(timestamp_delta)
        };
        let offset = self.header.base_offset.wrapping_add(i64::from(offset_delta));
        Some(Record { offset, timestamp, key, value, headers })
    }
}

impl Iterator for Records {
    type Item = Result<Record, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        if self.index >= self.header.record_count {
            self.failed = true;
            return (self.at < self.plain.len()).then_some(Err(RecordError::Trailing));
        }
        let record = self.read();
        self.index += 1;
        match record {
            Some(record) => Some(Ok(record)),
            None => {
                self.failed = true;
                Some(Err(RecordError::Malformed { index: self.index - 1 }))
            }
        }
    }
}

/// All records of a batch.
pub fn decode(batch: &Bytes) -> Result<Vec<Record>, RecordError> {
    Records::of(batch)?.collect()
}

/// Offset and timestamp of the first record at or after `timestamp`.
pub fn first_at_or_after(batch: &Bytes, timestamp: i64) -> Result<Option<(i64, i64)>, RecordError> {
    for record in Records::of(batch)? {
        let record = record?;
        if record.timestamp >= timestamp {
            return Ok(Some((record.offset, record.timestamp)));
        }
    }
    Ok(None)
}

/// Offset and timestamp of the first record with the largest timestamp.
pub fn max_timestamp_offset(batch: &Bytes) -> Result<Option<(i64, i64)>, RecordError> {
    let mut found: Option<(i64, i64)> = None;
    for record in Records::of(batch)? {
        let record = record?;
        if found.is_none_or(|(_, timestamp)| record.timestamp > timestamp) {
            found = Some((record.offset, record.timestamp));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::build::{BatchBuilder, recompress};
    use super::*;
    use crate::base::prng::Prng;
    use crate::batch::validate::crc_ok;

    fn sample(codec: Codec) -> Bytes {
        let headers = [(Bytes::from("h"), None), (Bytes::from("h"), Some(Bytes::from("v")))];
        BatchBuilder::new()
            .base_offset(10)
            .codec(codec)
            .record(1_000, Some("k".into()), Some("one".into()))
            .record_with_headers(3_000, None, Some("two".into()), &headers)
            .record(2_000, Some("gone".into()), None)
            .build()
    }

    #[test]
    fn records_come_back_under_every_codec_and_after_recompression() {
        for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
            let batch = recompress(&sample(Codec::Gzip), codec).unwrap();
            assert!(crc_ok(&batch));
            let records = decode(&batch).unwrap();
            assert_eq!(records, decode(&sample(codec)).unwrap());
            assert_eq!(records.iter().map(|r| r.offset).collect::<Vec<_>>(), [10, 11, 12]);
            assert_eq!(records[1].headers.len(), 2);
            assert_eq!(records[2].value, None);
            assert_eq!(first_at_or_after(&batch, 1_500).unwrap(), Some((11, 3_000)));
            assert_eq!(first_at_or_after(&batch, 3_001).unwrap(), None);
            assert_eq!(max_timestamp_offset(&batch).unwrap(), Some((11, 3_000)));
        }
    }

    #[test]
    fn mutated_batches_never_panic() {
        let mut random = Prng::new(7);
        for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
            let good = sample(codec);
            for _ in 0..2_000 {
                let mut bad = good.to_vec();
                for _ in 0..=random.below(4) {
                    let at = random.below(bad.len() as u64) as usize;
                    bad[at] = random.next_u64() as u8;
                }
                bad.truncate(bad.len() - random.below(10) as usize);
                let _ = decode(&Bytes::from(bad)).map(|records| records.len());
            }
        }
    }
}
