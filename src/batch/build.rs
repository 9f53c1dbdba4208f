//! Makes batches: for internal topics, the metadata log, compaction, tests and the command line.
//!
//! Client batches are never built here: they are appended as they came.

use bytes::Bytes;

use super::compress::{Codec, CompressError, compress};
use super::header::{
    ATTRIBUTE_CONTROL, ATTRIBUTE_DELETE_HORIZON, ATTRIBUTE_LOG_APPEND_TIME, ATTRIBUTE_TRANSACTIONAL, BatchHeader,
    HEADER_LEN, LENGTH_OVERHEAD, MAGIC,
};
use super::patch::seal_crc;
use super::records::{self, Record, RecordError};

/// Collects records and ends as the bytes of one batch.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    header: BatchHeader,
    codec: Codec,
    level: Option<i32>,
    /// Encoded records, not yet compressed.
    body: Vec<u8>,
    /// Set with the first record unless given before.
    base_timestamp: Option<i64>,
    /// Overrides the offset delta of the last record (compaction keeps the range of a batch).
    last_offset: Option<i64>,
    next_delta: i32,
}

impl BatchBuilder {
    /// A batch whose first record gets `base_offset`: leader epoch 0, no producer, no compression.
    pub fn new(base_offset: i64) -> BatchBuilder {
        BatchBuilder {
            header: BatchHeader {
                base_offset,
                batch_length: 0,
                leader_epoch: 0,
                magic: MAGIC,
                crc: 0,
                attributes: 0,
                last_offset_delta: 0,
                base_timestamp: -1,
                max_timestamp: -1,
                producer_id: -1,
                producer_epoch: -1,
                base_sequence: -1,
                record_count: 0,
            },
            codec: Codec::None,
            level: None,
            body: Vec::new(),
            base_timestamp: None,
            last_offset: None,
            next_delta: 0,
        }
    }

    /// A batch with everything of `header` but its records: offsets, epoch, producer, attributes, and codec if known.
    /// The last offset stays that of `header`.
    pub fn like(header: &BatchHeader) -> BatchBuilder {
        let mut builder = BatchBuilder::new(header.base_offset);
        builder.header = BatchHeader { record_count: 0, ..*header };
        builder.codec = header.codec().unwrap_or_default();
        builder.base_timestamp = Some(header.base_timestamp);
        builder.last_offset = Some(header.last_offset());
        builder
    }

    /// Partition leader epoch (or the raft epoch in the metadata log).
    pub fn leader_epoch(mut self, epoch: i32) -> BatchBuilder {
        self.header.leader_epoch = epoch;
        self
    }

    /// Producer id, its epoch, and the sequence of the first record.
    pub fn producer(mut self, id: i64, epoch: i16, base_sequence: i32) -> BatchBuilder {
        self.header.producer_id = id;
        self.header.producer_epoch = epoch;
        self.header.base_sequence = base_sequence;
        self
    }

    pub fn transactional(self, on: bool) -> BatchBuilder {
        self.attribute(ATTRIBUTE_TRANSACTIONAL, on)
    }

    pub fn control(self, on: bool) -> BatchBuilder {
        self.attribute(ATTRIBUTE_CONTROL, on)
    }

    /// Codec and level (`None`: the codec's default) of the records.
    pub fn codec(mut self, codec: Codec, level: Option<i32>) -> BatchBuilder {
        self.codec = codec;
        self.level = level;
        self
    }

    /// LogAppendTime: every record counts as written at `now_ms`, milliseconds since 1970.
    pub fn log_append_time(mut self, now_ms: i64) -> BatchBuilder {
        self.header.max_timestamp = now_ms;
        self.attribute(ATTRIBUTE_LOG_APPEND_TIME, true)
    }

    /// Delete horizon (KIP-534), milliseconds since 1970; takes the place of the base timestamp. Before any record.
    pub fn delete_horizon(mut self, horizon_ms: i64) -> BatchBuilder {
        crate::invariant!(self.header.record_count == 0, "delete horizon set after the first record");
        self.base_timestamp = Some(horizon_ms);
        self.attribute(ATTRIBUTE_DELETE_HORIZON, true)
    }

    /// The batch covers offsets up to this one, though its last record may lie below.
    pub fn last_offset(mut self, offset: i64) -> BatchBuilder {
        self.last_offset = Some(offset);
        self
    }

    fn attribute(mut self, bit: i16, on: bool) -> BatchBuilder {
        self.header.attributes = if on { self.header.attributes | bit } else { self.header.attributes & !bit };
        self
    }

    /// Adds a record at the next offset. `timestamp`: milliseconds since 1970.
    pub fn push(&mut self, timestamp: i64, key: Option<&[u8]>, value: Option<&[u8]>) -> &mut BatchBuilder {
        self.push_with_headers(timestamp, key, value, &[])
    }

    /// Adds a record with headers at the next offset.
    pub fn push_with_headers(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&[u8], Option<&[u8]>)],
    ) -> &mut BatchBuilder {
        self.put(self.next_delta, timestamp, key, value, headers)
    }

    /// Adds a record at its own offset, which must lie above the offsets added before and not below the base offset.
    pub fn push_record(&mut self, record: &Record) -> &mut BatchBuilder {
        let delta = record.offset.checked_sub(self.header.base_offset).and_then(|delta| i32::try_from(delta).ok());
        let Some(delta) = delta.filter(|&delta| delta >= self.next_delta) else {
            panic!("invariant broken: offset {} does not fit behind {:?}", record.offset, self.header);
        };
        let headers: Vec<_> = record.headers.iter().map(|(key, value)| (&key[..], value.as_deref())).collect();
        self.put(delta, record.timestamp, record.key.as_deref(), record.value.as_deref(), &headers)
    }

    fn put(
        &mut self,
        delta: i32,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&[u8], Option<&[u8]>)],
    ) -> &mut BatchBuilder {
        let base = *self.base_timestamp.get_or_insert(timestamp);
        if self.header.attributes & ATTRIBUTE_LOG_APPEND_TIME == 0 {
            let first = self.header.record_count == 0;
            self.header.max_timestamp = if first { timestamp } else { timestamp.max(self.header.max_timestamp) };
        }
        let mut record = vec![0];
        varint(&mut record, timestamp.wrapping_sub(base));
        varint(&mut record, i64::from(delta));
        field(&mut record, key);
        field(&mut record, value);
        varint(&mut record, headers.len() as i64);
        for (key, value) in headers {
            field(&mut record, Some(key));
            field(&mut record, *value);
        }
        varint(&mut self.body, record.len() as i64);
        self.body.extend_from_slice(&record);
        self.header.record_count += 1;
        self.next_delta = delta + 1;
        self
    }

    /// Records added so far.
    pub fn record_count(&self) -> usize {
        self.header.record_count as usize
    }

    /// Bytes of the batch so far, before compression.
    pub fn len(&self) -> usize {
        HEADER_LEN + self.body.len()
    }

    /// Whether no record was added.
    pub fn is_empty(&self) -> bool {
        self.header.record_count == 0
    }

    /// The batch. Without records it is an empty batch: header only, uncompressed, as compaction leaves behind.
    pub fn finish(mut self) -> Bytes {
        let packed = match self.codec {
            _ if self.header.record_count == 0 => Vec::new(),
            Codec::None => self.body,
            codec => compress(codec, self.level, &self.body),
        };
        let codec = if self.header.record_count == 0 { Codec::None } else { self.codec };
        let last_delta = match self.last_offset {
            Some(offset) => offset - self.header.base_offset,
            None => i64::from(self.next_delta) - 1,
        };
        let header = &mut self.header;
        header.attributes = (header.attributes & !0x07) | i16::from(codec.id());
        header.last_offset_delta = i32::try_from(last_delta.max(0)).unwrap_or(i32::MAX);
        header.base_timestamp = self.base_timestamp.unwrap_or(header.max_timestamp);
        let len = HEADER_LEN + packed.len();
        crate::invariant!(i32::try_from(len).is_ok(), "a batch of {len} bytes was built");
        header.batch_length = (len - LENGTH_OVERHEAD) as i32;
        let mut out = Vec::with_capacity(len);
        out.extend_from_slice(&header.encode());
        out.extend_from_slice(&packed);
        seal_crc(&mut out);
        Bytes::from(out)
    }
}

/// Appends a zig-zag varint (32-bit values take the same bytes as 64-bit ones).
pub(super) fn varint(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn field(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => varint(out, -1),
        Some(bytes) => {
            varint(out, bytes.len() as i64);
            out.extend_from_slice(bytes);
        }
    }
}

/// The same batch with its records in another codec (`compression.type`), new CRC. Records are not taken apart.
pub fn recompress(batch: &Bytes, codec: Codec, level: Option<i32>) -> Result<Bytes, RecordError> {
    let (mut header, body) = records::iter(batch)?.into_parts();
    let codec = if header.record_count == 0 { Codec::None } else { codec };
    let packed = if codec == Codec::None { body } else { Bytes::from(compress(codec, level, &body)) };
    let len = HEADER_LEN + packed.len();
    let limit = i32::MAX as usize;
    if len > limit {
        return Err(CompressError::TooLarge { limit }.into());
    }
    header.attributes = (header.attributes & !0x07) | i16::from(codec.id());
    header.batch_length = (len - LENGTH_OVERHEAD) as i32;
    let mut out = Vec::with_capacity(len);
    out.extend_from_slice(&header.encode());
    out.extend_from_slice(&packed);
    seal_crc(&mut out);
    Ok(Bytes::from(out))
}

/// The batch with only the records that `keep` accepts: compaction. Offsets, the range of the batch, producer fields
/// and codec stay; with no record left the answer is an empty batch. `delete_horizon` sets that field (KIP-534),
/// milliseconds since 1970; a horizon already there stays.
pub fn filter(
    batch: &Bytes,
    delete_horizon: Option<i64>,
    mut keep: impl FnMut(&Record) -> bool,
) -> Result<Bytes, RecordError> {
    let all = records::iter(batch)?;
    let mut builder = BatchBuilder::like(all.header());
    if let Some(horizon) = delete_horizon.filter(|_| !all.header().has_delete_horizon()) {
        builder = builder.delete_horizon(horizon);
    }
    let (base, last) = (all.header().base_offset, all.header().last_offset());
    for record in all {
        let record = record?;
        if record.offset < base.saturating_add(i64::from(builder.next_delta)) || record.offset > last {
            return Err(RecordError::Offset);
        }
        if keep(&record) {
            builder.push_record(&record);
        }
    }
    Ok(builder.finish())
}

#[cfg(test)]
mod tests;
