//! The few messages of the raw client, written and read by hand: ApiVersions 0, Produce 7, Fetch 11, CreateTopics 2.
//!
//! Answers come from whatever listens there: they are read with bounds, and what does not fit is an error.

use std::io;

use crate::batch::{WalkEnd, walk};
use crate::wire::ErrorCode;

/// The newest versions that every broker serves.
pub const PRODUCE: (i16, i16) = (0, 7);
pub const FETCH: (i16, i16) = (1, 11);
/// Where a request's correlation id lies.
const CORRELATION_AT: usize = 8;
/// A broker may take this long for a produce request, milliseconds.
const PRODUCE_TIMEOUT_MS: i32 = 30_000;

/// A request under construction.
#[derive(Debug)]
struct Out(Vec<u8>);

impl Out {
    fn begin((key, version): (i16, i16)) -> Out {
        let mut out = Out(vec![0; 4]);
        out.i16(key);
        out.i16(version);
        // Written over before each send.
        out.i32(0);
        out.string("kataract-bench");
        out
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
    fn string(&mut self, text: &str) {
        self.i16(text.len() as i16);
        self.0.extend(text.bytes());
    }
    /// Writes the length in front; `more` bytes follow that are not in this buffer.
    fn finish(mut self, more: usize) -> Vec<u8> {
        let length = (self.0.len() - 4 + more) as i32;
        self.0[..4].copy_from_slice(&length.to_be_bytes());
        self.0
    }
}

/// An answer being read.
#[derive(Debug)]
struct In<'a>(&'a [u8]);

impl<'a> In<'a> {
    fn take(&mut self, count: usize) -> io::Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(io::ErrorKind::UnexpectedEof)?;
        self.0 = rest;
        Ok(taken)
    }
    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(io::ErrorKind::UnexpectedEof)?;
        self.0 = rest;
        Ok(*taken)
    }
    fn i16(&mut self) -> io::Result<i16> {
        self.array().map(i16::from_be_bytes)
    }
    fn i32(&mut self) -> io::Result<i32> {
        self.array().map(i32::from_be_bytes)
    }
    /// A length or count; -1 (none) reads as 0.
    fn length(&mut self) -> io::Result<usize> {
        Ok(usize::try_from(self.i32()?).unwrap_or(0))
    }
    fn skip_string(&mut self) -> io::Result<()> {
        let length = usize::try_from(self.i16()?).unwrap_or(0);
        self.take(length).map(drop)
    }
}

/// Writes a correlation id into an encoded request.
pub fn set_correlation(request: &mut [u8], correlation: i32) {
    request[CORRELATION_AT..CORRELATION_AT + 4].copy_from_slice(&correlation.to_be_bytes());
}

/// The words of an error code, or its number when nobody knows it.
pub fn error_name(code: i16) -> String {
    ErrorCode::from_code(code).map_or_else(|| format!("error {code}"), |code| code.name().to_owned())
}

/// A Produce request without its batches: what stands before the batch of each of `partitions`, in order. The request
/// is each of these followed by the same batch.
pub fn produce(topic: &str, partitions: &[i32], batch_len: usize, acks: i16) -> Vec<Vec<u8>> {
    let mut out = Out::begin(PRODUCE);
    out.i16(-1);
    out.i16(acks);
    out.i32(PRODUCE_TIMEOUT_MS);
    out.i32(1);
    out.string(topic);
    out.i32(partitions.len() as i32);
    let mut rest = Vec::new();
    for (at, partition) in partitions.iter().enumerate() {
        let head = [partition.to_be_bytes(), (batch_len as i32).to_be_bytes()].concat();
        if at == 0 {
            out.0.extend(head);
        } else {
            rest.push(head);
        }
    }
    let more = batch_len * partitions.len() + rest.iter().map(Vec::len).sum::<usize>();
    let mut heads = vec![out.finish(more)];
    heads.append(&mut rest);
    heads
}

/// The first error in a Produce answer (without its length), or 0.
pub fn produced(answer: &[u8]) -> io::Result<i16> {
    let mut input = In(answer);
    input.i32()?;
    let mut error = 0;
    for _ in 0..input.length()? {
        input.skip_string()?;
        for _ in 0..input.length()? {
            input.i32()?;
            let code = input.i16()?;
            error = if error == 0 { code } else { error };
            // Base offset, append time, log start.
            input.take(24)?;
        }
    }
    Ok(error)
}

/// How much a fetch asks for.
#[derive(Clone, Copy, Debug)]
pub struct FetchLimits {
    pub bytes_max: i32,
    pub partition_bytes_max: i32,
    pub wait_max_ms: i32,
}

/// A whole Fetch request without a session.
pub fn fetch(topic: &str, positions: &[(i32, i64)], limits: FetchLimits) -> Vec<u8> {
    let mut out = Out::begin(FETCH);
    out.i32(-1);
    out.i32(limits.wait_max_ms);
    out.i32(1);
    out.i32(limits.bytes_max);
    out.0.push(0);
    out.i32(0);
    out.i32(-1);
    out.i32(1);
    out.string(topic);
    out.i32(positions.len() as i32);
    for (partition, offset) in positions {
        out.i32(*partition);
        out.i32(-1);
        out.i64(*offset);
        out.i64(-1);
        out.i32(limits.partition_bytes_max);
    }
    out.i32(0);
    out.string("");
    out.finish(0)
}

/// What one partition's part of a Fetch answer brought.
#[derive(Debug, PartialEq, Eq)]
pub struct Fetched<'a> {
    pub partition: i32,
    pub error: i16,
    pub high_watermark: i64,
    /// Whole batches, and perhaps the beginning of one more.
    pub records: &'a [u8],
}

/// The parts of a Fetch answer (without its length). An error of the whole request is an error of partition -1.
pub fn fetched(answer: &[u8]) -> io::Result<Vec<Fetched<'_>>> {
    let mut input = In(answer);
    input.i32()?;
    input.i32()?;
    let error = input.i16()?;
    input.i32()?;
    let mut all = Vec::new();
    if error != 0 {
        all.push(Fetched { partition: -1, error, high_watermark: -1, records: &[] });
    }
    for _ in 0..input.length()? {
        input.skip_string()?;
        for _ in 0..input.length()? {
            let (partition, error) = (input.i32()?, input.i16()?);
            let high_watermark = i64::from_be_bytes(input.array()?);
            // Last stable offset, log start.
            input.take(16)?;
            for _ in 0..input.length()? {
                input.take(16)?;
            }
            // Preferred replica.
            input.i32()?;
            let length = input.length()?;
            all.push(Fetched { partition, error, high_watermark, records: input.take(length)? });
        }
    }
    Ok(all)
}

/// What the whole batches of a fetched part hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    pub records: u64,
    /// One behind the last whole batch.
    pub next: Option<i64>,
}

/// Walks the batches; `each` sees every one of them.
pub fn contents(records: &[u8], mut each: impl FnMut(&[u8])) -> io::Result<Contents> {
    let mut found = Contents::default();
    let mut batches = walk(records);
    for (range, header) in batches.by_ref() {
        found.records += u64::try_from(header.record_count).unwrap_or(0);
        found.next = Some(header.next_offset());
        each(&records[range]);
    }
    match batches.end() {
        Some(WalkEnd::Malformed) => Err(io::Error::other("an answer holds bytes that are no record batch")),
        _ => Ok(found),
    }
}

/// A CreateTopics 2 request with one copy of each partition.
pub fn create_topic(topic: &str, partitions: i32) -> Vec<u8> {
    let mut out = Out::begin((19, 2));
    out.i32(1);
    out.string(topic);
    out.i32(partitions);
    out.i16(1);
    out.i32(0);
    out.i32(0);
    out.i32(PRODUCE_TIMEOUT_MS);
    out.0.push(0);
    out.finish(0)
}

/// The error of a CreateTopics 2 answer about one topic.
pub fn created(answer: &[u8]) -> io::Result<i16> {
    let mut input = In(answer);
    input.take(12)?;
    input.skip_string()?;
    input.i16()
}

/// An ApiVersions request.
pub fn api_versions() -> Vec<u8> {
    Out::begin((18, 0)).finish(0)
}

/// Whether an ApiVersions answer offers a version of an API.
pub fn offers(answer: &[u8], (key, version): (i16, i16)) -> io::Result<bool> {
    let mut input = In(answer);
    input.i32()?;
    let error = input.i16()?;
    if error != 0 {
        return Err(io::Error::other(format!("ApiVersions was answered with {}", error_name(error))));
    }
    for _ in 0..input.length()? {
        let (found, least, most) = (input.i16()?, input.i16()?, input.i16()?);
        if found == key {
            return Ok((least..=most).contains(&version));
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::batch::build::BatchBuilder;
    use crate::wire::{fetch as served_fetch, header, produce as served_produce};

    fn batch() -> Bytes {
        let mut builder = BatchBuilder::new(0);
        builder.push(1, None, Some(b"one")).push(1, None, Some(b"two"));
        builder.finish()
    }

    /// The whole request as a broker reads it, without its length, which must be right.
    fn request(parts: Vec<Vec<u8>>, batch: &[u8]) -> Bytes {
        let whole: Vec<u8> = parts.into_iter().flat_map(|part| [part, batch.to_vec()].concat()).collect();
        assert_eq!(u32::from_be_bytes([whole[0], whole[1], whole[2], whole[3]]) as usize, whole.len() - 4);
        Bytes::from(whole).slice(4..)
    }

    #[test]
    fn the_broker_understands_what_is_sent() {
        let batch = batch();
        let frame = request(produce("topic", &[3, 5], batch.len(), -1), &batch);
        let (head, body) = header::parse_request(&frame).unwrap();
        let read = served_produce::decode_request(head.api_version, &body).unwrap();
        let partitions = &read.topics[0].partitions;
        assert_eq!((read.acks, partitions.len()), (-1, 2));
        assert_eq!(partitions[1].records.as_deref(), Some(&batch[..]));
        let limits = FetchLimits { bytes_max: 1 << 20, partition_bytes_max: 1 << 16, wait_max_ms: 500 };
        let frame = request(vec![fetch("topic", &[(0, 7), (1, 8)], limits)], &[]);
        let (head, body) = header::parse_request(&frame).unwrap();
        served_fetch::decode_request(head.api_version, &body).unwrap();
    }

    #[test]
    fn answers_are_read_with_bounds() {
        // Correlation 1, one topic "t" with one partition: index 0, error 6, 24 bytes; throttle.
        let mut answer = vec![0, 0, 0, 1, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 0, 0, 6];
        answer.extend([0; 28]);
        assert_eq!(produced(&answer).unwrap(), 6);
        assert_eq!(error_name(6), "NOT_LEADER_OR_FOLLOWER");
        for end in 0..answer.len() - 4 {
            assert!(produced(&answer[..end]).is_err(), "cut at {end}");
        }
        // A count of two billion with nothing behind it.
        assert!(fetched(&[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 127, 255, 255, 255]).is_err());
        // ApiVersions: Produce 0 to 9.
        let versions = [0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 9];
        assert!(offers(&versions, PRODUCE).unwrap() && !offers(&versions, FETCH).unwrap());
    }

    #[test]
    fn fetched_batches_are_counted_and_torn_ones_left() {
        let whole = batch();
        let two = [&whole[..], &whole[..whole.len() - 1]].concat();
        let mut seen = 0;
        let found = contents(&two, |batch| seen += batch.len()).unwrap();
        assert_eq!((found, seen), (Contents { records: 2, next: Some(2) }, whole.len()));
        assert!(contents(&[7; 200], |_| {}).is_err());
    }
}
