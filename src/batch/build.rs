//! Makes a batch: internal topics, tests, the command line; and compresses one anew for `compression.type`.

use bytes::{BufMut, Bytes, BytesMut};

use super::compress::{Codec, compress};
use super::header::{BatchHeader, CONTROL, HEADER_LEN, LENGTH_PREFIX, TRANSACTIONAL};
use super::patch::write_crc;
use super::records::{RecordError, plain_records};
use super::varint::{put_varint, put_varlong};

/// One header of a record: a key and a nullable value.
pub type RecordHeader = (Bytes, Option<Bytes>);

/// Collects records into one v2 batch. Offsets are dense from the base offset.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    base_offset: i64,
    leader_epoch: i32,
    attributes: i16,
    producer: (i64, i16, i32),
    codec: Codec,
    base_timestamp: Option<i64>,
    max_timestamp: i64,
    count: i32,
    records: BytesMut,
}

impl Default for BatchBuilder {
    fn default() -> Self {
        BatchBuilder::new()
    }
}

impl BatchBuilder {
    /// An empty batch at offset 0 without producer, uncompressed.
    pub fn new() -> BatchBuilder {
        BatchBuilder {
            base_offset: 0,
            leader_epoch: -1,
            attributes: 0,
            producer: (-1, -1, -1),
            codec: Codec::None,
            base_timestamp: None,
            max_timestamp: -1,
            count: 0,
            records: BytesMut::new(),
        }
    }

    pub fn base_offset(mut self, offset: i64) -> BatchBuilder {
        self.base_offset = offset;
        self
    }

    pub fn leader_epoch(mut self, epoch: i32) -> BatchBuilder {
        self.leader_epoch = epoch;
        self
    }

    /// Producer id, epoch and sequence of the first record.
    pub fn producer(mut self, id: i64, epoch: i16, base_sequence: i32) -> BatchBuilder {
        self.producer = (id, epoch, base_sequence);
        self
    }

    pub fn transactional(mut self) -> BatchBuilder {
        self.attributes |= TRANSACTIONAL;
        self
    }

    pub fn control(mut self) -> BatchBuilder {
        self.attributes |= CONTROL;
        self
    }

    pub fn codec(mut self, codec: Codec) -> BatchBuilder {
        self.codec = codec;
        self
    }

    /// Adds a record without headers; `timestamp` in milliseconds since 1970.
    pub fn record(self, timestamp: i64, key: Option<Bytes>, value: Option<Bytes>) -> BatchBuilder {
        self.record_with_headers(timestamp, key, value, &[])
    }

    pub fn record_with_headers(
        mut self,
        timestamp: i64,
        key: Option<Bytes>,
        value: Option<Bytes>,
        headers: &[RecordHeader],
    ) -> BatchBuilder {
        let base = *self.base_timestamp.get_or_insert(timestamp);
        self.max_timestamp = self.max_timestamp.max(timestamp);
        let mut record = BytesMut::new();
        record.put_u8(0);
        put_varlong(&mut record, timestamp.wrapping_sub(base));
        put_varint(&mut record, self.count);
        put_nullable(&mut record, key.as_deref());
        put_nullable(&mut record, value.as_deref());
        put_varint(&mut record, headers.len() as i32);
        for (key, value) in headers {
            put_varint(&mut record, key.len() as i32);
            record.put_slice(key);
            put_nullable(&mut record, value.as_deref());
        }
        put_varint(&mut self.records, record.len() as i32);
        self.records.put_slice(&record);
        self.count += 1;
        self
    }

    /// Records so far.
    pub fn count(&self) -> i32 {
        self.count
    }

    /// The batch. A codec that fails leaves the records uncompressed, which every reader understands.
    pub fn build(self) -> Bytes {
        let packed = match self.codec {
            Codec::None => None,
            codec => compress(codec, &self.records).ok(),
        };
        let (codec, records) = match &packed {
            Some(packed) => (self.codec, packed.as_slice()),
            None => (Codec::None, self.records.as_ref()),
        };
        let mut batch = BytesMut::with_capacity(HEADER_LEN + records.len());
        batch.put_i64(self.base_offset);
        batch.put_i32((HEADER_LEN - LENGTH_PREFIX + records.len()) as i32);
        batch.put_i32(self.leader_epoch);
        batch.put_i8(2);
        batch.put_u32(0);
        batch.put_i16(self.attributes | codec.id());
        batch.put_i32(self.count - 1);
        batch.put_i64(self.base_timestamp.unwrap_or(-1));
        batch.put_i64(self.max_timestamp);
        batch.put_i64(self.producer.0);
        batch.put_i16(self.producer.1);
        batch.put_i32(self.producer.2);
        batch.put_i32(self.count);
        batch.put_slice(records);
        write_crc(&mut batch);
        batch.freeze()
    }
}

fn put_nullable(out: &mut BytesMut, bytes: Option<&[u8]>) {
    match bytes {
        None => put_varint(out, -1),
        Some(bytes) => {
            put_varint(out, bytes.len() as i32);
            out.put_slice(bytes);
        }
    }
}

/// The same records under another codec; everything else of the header stays.
pub fn recompress(batch: &Bytes, codec: Codec) -> Result<Bytes, RecordError> {
    let header = BatchHeader::parse(batch).ok_or(RecordError::Header)?;
    if header.codec() == Ok(codec) {
        return Ok(batch.clone());
    }
    let plain = plain_records(batch, &header)?;
    let packed = match codec {
        Codec::None => plain.to_vec(),
        codec => compress(codec, &plain).map_err(|error| RecordError::Compression(error.to_string()))?,
    };
    let mut out = BytesMut::with_capacity(HEADER_LEN + packed.len());
    out.put_slice(&batch[..HEADER_LEN]);
    out.put_slice(&packed);
    let length = (HEADER_LEN - LENGTH_PREFIX + packed.len()) as i32;
    out[8..12].copy_from_slice(&length.to_be_bytes());
    let attributes = (header.attributes & !0b111) | codec.id();
    out[21..23].copy_from_slice(&attributes.to_be_bytes());
    write_crc(&mut out);
    Ok(out.freeze())
}
