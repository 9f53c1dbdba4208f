//! The few messages a load needs, written and read by hand: CreateTopics 2, Produce 9, Fetch 12.

use std::io::{self, Read, Write};
use std::net::TcpStream;

/// Fixed header of a record batch, bytes, and where its checksum begins to count.
const HEADER: usize = 61;
const CRC_FROM: usize = 21;

/// Writes big-endian fields and the compact forms of flexible versions.
#[derive(Debug, Default)]
pub struct Out(pub Vec<u8>);

impl Out {
    fn i8(&mut self, value: i8) {
        self.0.extend(value.to_be_bytes());
    }
    fn i16(&mut self, value: i16) {
        self.0.extend(value.to_be_bytes());
    }
    fn i32(&mut self, value: i32) {
        self.0.extend(value.to_be_bytes());
    }
    fn i64(&mut self, value: i64) {
        self.0.extend(value.to_be_bytes());
    }
    fn uvarint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
    fn varint(&mut self, value: i32) {
        self.uvarint((value << 1) as u32 ^ (value >> 31) as u32);
    }
    fn string(&mut self, text: &str) {
        self.i16(text.len() as i16);
        self.0.extend(text.bytes());
    }
    fn compact(&mut self, bytes: &[u8]) {
        self.uvarint(bytes.len() as u32 + 1);
        self.0.extend(bytes);
    }
    fn begin(key: i16, version: i16, flexible: bool) -> Out {
        let mut out = Out(vec![0; 4]);
        out.i16(key);
        out.i16(version);
        // The correlation id is written over before each send.
        out.i32(0);
        out.string("load");
        if flexible {
            out.uvarint(0);
        }
        out
    }
    fn finish(mut self) -> Vec<u8> {
        let len = self.0.len() as i32 - 4;
        self.0[..4].copy_from_slice(&len.to_be_bytes());
        self.0
    }
}

/// Reads the same forms.
#[derive(Debug)]
pub struct In<'a>(pub &'a [u8]);

impl<'a> In<'a> {
    pub fn take(&mut self, count: usize) -> io::Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(io::ErrorKind::UnexpectedEof)?;
        self.0 = rest;
        Ok(taken)
    }
    fn i16(&mut self) -> io::Result<i16> {
        Ok(self.take(2)?.iter().fold(0, |value, byte| value << 8 | i16::from(*byte)))
    }
    fn i32(&mut self) -> io::Result<i32> {
        Ok(self.take(4)?.iter().fold(0, |value, byte| value << 8 | i32::from(*byte)))
    }
    fn i64(&mut self) -> io::Result<i64> {
        Ok(self.take(8)?.iter().fold(0, |value, byte| value << 8 | i64::from(*byte)))
    }
    fn uvarint(&mut self) -> io::Result<usize> {
        let mut value = 0;
        for shift in (0..35).step_by(7) {
            let byte = self.take(1)?[0];
            value |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(io::ErrorKind::InvalidData.into())
    }
    /// Length or count of a compact form; null reads as 0.
    fn compact(&mut self) -> io::Result<usize> {
        Ok(self.uvarint()?.saturating_sub(1))
    }
    fn skip_tags(&mut self) -> io::Result<()> {
        for _ in 0..self.uvarint()? {
            self.uvarint()?;
            let len = self.uvarint()?;
            self.take(len)?;
        }
        Ok(())
    }
}

/// One batch, timestamps of today.
pub fn batch(records_per_batch: usize, record_bytes: usize) -> Vec<u8> {
    let count = records_per_batch as i32;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64);
    let value: Vec<u8> = (0..record_bytes).map(|at| (at * 31 % 251) as u8).collect();
    let mut records = Out::default();
    for index in 0..count {
        let mut record = Out::default();
        record.i8(0);
        record.varint(0);
        record.varint(index);
        record.varint(-1);
        record.varint(value.len() as i32);
        record.0.extend(&value);
        record.varint(0);
        records.varint(record.0.len() as i32);
        records.0.extend(record.0);
    }
    let mut out = Out::default();
    out.i64(0);
    out.i32((HEADER - 12 + records.0.len()) as i32);
    out.i32(-1);
    out.i8(2);
    out.i32(0);
    out.i16(0);
    out.i32(count - 1);
    out.i64(now);
    out.i64(now);
    out.i64(-1);
    out.i16(-1);
    out.i32(-1);
    out.i32(count);
    out.0.extend(records.0);
    let crc = crc32c::crc32c(&out.0[CRC_FROM..]);
    out.0[CRC_FROM - 4..CRC_FROM].copy_from_slice(&crc.to_be_bytes());
    out.0
}

/// A whole Produce 9 frame that brings `batch` for each of `partitions`.
pub fn produce(topic: &str, partitions: &[i32], batch: &[u8], acks: i16) -> Vec<u8> {
    let mut out = Out::begin(0, 9, true);
    out.uvarint(0);
    out.i16(acks);
    out.i32(30_000);
    out.uvarint(2);
    out.compact(topic.as_bytes());
    out.uvarint(partitions.len() as u32 + 1);
    for partition in partitions {
        out.i32(*partition);
        out.compact(batch);
        out.uvarint(0);
    }
    out.uvarint(0);
    out.uvarint(0);
    out.finish()
}

/// Errors of a Produce 9 answer: the first that is not 0.
pub fn produced(frame: &[u8]) -> io::Result<i16> {
    let mut input = In(frame);
    input.i32()?;
    input.skip_tags()?;
    let mut error = 0;
    for _ in 0..input.compact()? {
        let name = input.compact()?;
        input.take(name)?;
        for _ in 0..input.compact()? {
            input.i32()?;
            let code = input.i16()?;
            error = if error == 0 { code } else { error };
            input.take(24)?;
            for _ in 0..input.compact()? {
                input.i32()?;
                let text = input.compact()?;
                input.take(text)?;
                input.skip_tags()?;
            }
            let text = input.compact()?;
            input.take(text)?;
            input.skip_tags()?;
        }
        input.skip_tags()?;
    }
    Ok(error)
}

/// A whole Fetch 12 frame without a session: at most `max_bytes`, 1 MiB a partition, waits up to half a second.
pub fn fetch(topic: &str, positions: &[(i32, i64)], max_bytes: i32) -> Vec<u8> {
    let mut out = Out::begin(1, 12, true);
    out.i32(-1);
    out.i32(500);
    out.i32(1);
    out.i32(max_bytes);
    out.i8(0);
    out.i32(0);
    out.i32(-1);
    out.uvarint(2);
    out.compact(topic.as_bytes());
    out.uvarint(positions.len() as u32 + 1);
    for (partition, offset) in positions {
        out.i32(*partition);
        out.i32(-1);
        out.i64(*offset);
        out.i32(-1);
        out.i64(-1);
        out.i32(1 << 20);
        out.uvarint(0);
    }
    out.uvarint(0);
    out.uvarint(1);
    out.compact(b"");
    out.uvarint(0);
    out.finish()
}

/// What one partition's part of a Fetch answer brought.
#[derive(Debug)]
pub struct Fetched {
    pub partition: i32,
    pub error: i16,
    pub bytes: usize,
    /// One behind the last whole batch.
    pub next: Option<i64>,
}

pub fn fetched(frame: &[u8]) -> io::Result<Vec<Fetched>> {
    let mut input = In(frame);
    input.i32()?;
    input.skip_tags()?;
    input.i32()?;
    let error = input.i16()?;
    input.i32()?;
    let mut all = Vec::new();
    if error != 0 {
        all.push(Fetched { partition: -1, error, bytes: 0, next: None });
    }
    for _ in 0..input.compact()? {
        let name = input.compact()?;
        input.take(name)?;
        for _ in 0..input.compact()? {
            let (partition, error) = (input.i32()?, input.i16()?);
            input.take(24)?;
            for _ in 0..input.compact()? {
                input.take(16)?;
                input.skip_tags()?;
            }
            input.i32()?;
            let len = input.compact()?;
            let records = input.take(len)?;
            input.skip_tags()?;
            all.push(Fetched { partition, error, bytes: len, next: end_of(records)? });
        }
        input.skip_tags()?;
    }
    Ok(all)
}

/// One behind the last whole batch.
fn end_of(mut records: &[u8]) -> io::Result<Option<i64>> {
    let mut next = None;
    while records.len() >= HEADER {
        let mut head = In(records);
        let (base, len) = (head.i64()?, head.i32()?);
        head.take(11)?;
        let last = head.i32()?;
        let Some(rest) = records.get(12 + len as usize..) else { break };
        next = Some(base + i64::from(last) + 1);
        records = rest;
    }
    Ok(next)
}

/// A whole CreateTopics 2 frame.
pub fn create_topic(topic: &str, partitions: i32) -> Vec<u8> {
    let mut out = Out::begin(19, 2, false);
    out.i32(1);
    out.string(topic);
    out.i32(partitions);
    out.i16(1);
    out.i32(0);
    out.i32(0);
    out.i32(30_000);
    out.i8(0);
    out.finish()
}

/// Error of a CreateTopics 2 answer.
pub fn created(frame: &[u8]) -> io::Result<i16> {
    let mut input = In(frame);
    input.take(12)?;
    let name = input.i16()?;
    input.take(name as usize)?;
    input.i16()
}

/// Writes a frame under a correlation id.
pub fn send(stream: &mut TcpStream, frame: &mut [u8], correlation: i32) -> io::Result<()> {
    frame[8..12].copy_from_slice(&correlation.to_be_bytes());
    stream.write_all(frame)
}

/// Reads one whole answer into `frame`, without its length, and checks whose it is.
pub fn receive(stream: &mut impl Read, frame: &mut Vec<u8>, correlation: i32) -> io::Result<()> {
    let mut len = [0; 4];
    stream.read_exact(&mut len)?;
    frame.resize(u32::from_be_bytes(len) as usize, 0);
    stream.read_exact(frame)?;
    if In(frame).i32()? != correlation {
        return Err(io::Error::other("answers came out of order"));
    }
    Ok(())
}

/// Our own broker's code takes the batches and writes answers that are read right.
pub fn check() {
    use kataract::batch::validate::{ClientRules, check_client_batch};
    let rules = ClientRules {
        max_batch_bytes: 1 << 20,
        compacted: false,
        timestamp_type_log_append: false,
        timestamp_before_max_ms: i64::MAX,
        timestamp_after_max_ms: i64::MAX,
        now_ms: 0,
        zstd_allowed: true,
    };
    let batch = batch(3, 100);
    let header = check_client_batch(&batch, &rules).expect("a valid batch");
    assert_eq!(header.record_count, 3);
    assert_eq!(end_of(&batch).expect("a batch"), Some(3));

    let frame = bytes::Bytes::from(produce("topic", &[0, 1], &batch, -1)).slice(4..);
    let (head, body) = kataract::wire::header::parse_request(&frame).expect("a header");
    let request = kataract::wire::produce::decode_request(head.api_version, &body).expect("a request");
    assert_eq!(request.topics[0].partitions[1].records.as_deref(), Some(&batch[..]));
    let frame = bytes::Bytes::from(fetch("topic", &[(0, 7)], 1 << 20)).slice(4..);
    let (head, body) = kataract::wire::header::parse_request(&frame).expect("a header");
    kataract::wire::fetch::decode_request(head.api_version, &body).expect("a fetch");
}
