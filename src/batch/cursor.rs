//! One record at a time, over plain bytes or over a decompressor, with the same code.
//!
//! Record (all numbers zig-zag varints): length, attributes byte, timestamp delta, offset delta, key length and key,
//! value length and value, header count, headers. The walk over plain bytes is on the path of every produce: one pass,
//! no allocation. The walk over a decompressor holds one window of fixed size, whatever sizes the bytes claim.

use std::io::Read;
use std::ops::Range;

use super::compress::{CompressError, Decoder};
use super::records::RecordError;

/// Bytes of decompressed data held at a time while a compressed batch is looked through.
const WINDOW: usize = 32 * 1024;

/// A place in the records of a batch.
pub trait Cursor {
    fn byte(&mut self) -> Result<u8, RecordError>;
    /// Steps over `count` bytes that must exist.
    fn skip(&mut self, count: usize) -> Result<(), RecordError>;
    /// Bytes stepped over so far.
    fn position(&self) -> usize;
    /// Whether nothing is left.
    fn at_end(&mut self) -> Result<bool, RecordError>;

    /// A zig-zag varint of at most 5 bytes.
    #[inline(always)]
    fn varint(&mut self) -> Result<i32, RecordError> {
        let first = self.byte()?;
        if first < 0x80 {
            return Ok(i32::from(first >> 1) ^ -i32::from(first & 1));
        }
        let raw = self.varint_rest(first, 5)? as u32;
        Ok((raw >> 1) as i32 ^ -((raw & 1) as i32))
    }

    /// A zig-zag varint of at most 10 bytes.
    #[inline(always)]
    fn varlong(&mut self) -> Result<i64, RecordError> {
        let first = self.byte()?;
        if first < 0x80 {
            return Ok(i64::from(first >> 1) ^ -i64::from(first & 1));
        }
        let raw = self.varint_rest(first, 10)?;
        Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }

    /// The bytes of a varint after its first, which had the continuation bit.
    fn varint_rest(&mut self, first: u8, bytes_max: u32) -> Result<u64, RecordError> {
        let mut value = u64::from(first & 0x7f);
        for index in 1..bytes_max {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(RecordError::Varint)
    }
}

/// Where the parts of one record lie, in positions of the cursor that read it.
#[derive(Clone, Debug)]
pub struct Shape {
    pub timestamp_delta: i64,
    pub offset_delta: i32,
    pub key: Option<Range<usize>>,
    pub value: Option<Range<usize>>,
    pub header_count: i32,
    /// Where the first header begins.
    pub headers_at: usize,
}

/// Reads one record and checks that its parts fill its length exactly.
#[inline(always)]
pub fn read_record<C: Cursor>(cursor: &mut C) -> Result<Shape, RecordError> {
    let length = usize::try_from(cursor.varint()?).map_err(|_| RecordError::Length)?;
    let end = cursor.position().checked_add(length).ok_or(RecordError::Length)?;
    cursor.byte()?;
    let timestamp_delta = cursor.varlong()?;
    let offset_delta = cursor.varint()?;
    let key = field(cursor, end)?;
    let value = field(cursor, end)?;
    let header_count = cursor.varint()?;
    if header_count < 0 {
        return Err(RecordError::Length);
    }
    let headers_at = cursor.position();
    for _ in 0..header_count {
        if cursor.position() >= end || field(cursor, end)?.is_none() {
            return Err(RecordError::Length);
        }
        field(cursor, end)?;
    }
    if cursor.position() != end {
        return Err(RecordError::Length);
    }
    Ok(Shape { timestamp_delta, offset_delta, key, value, header_count, headers_at })
}

/// A length-prefixed field that must end at or before `end`; −1 means null, other negative lengths are errors.
#[inline(always)]
pub fn field<C: Cursor>(cursor: &mut C, end: usize) -> Result<Option<Range<usize>>, RecordError> {
    let length = cursor.varint()?;
    if length == -1 {
        return Ok(None);
    }
    let length = usize::try_from(length).map_err(|_| RecordError::Length)?;
    let start = cursor.position();
    if end.checked_sub(start).is_none_or(|room| length > room) {
        return Err(RecordError::Length);
    }
    cursor.skip(length)?;
    Ok(Some(start..start + length))
}

/// A cursor over uncompressed records.
#[derive(Debug)]
pub struct Slice<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Slice<'a> {
    pub fn new(bytes: &'a [u8], position: usize) -> Slice<'a> {
        Slice { bytes, position }
    }
}

impl Cursor for Slice<'_> {
    #[inline(always)]
    fn byte(&mut self) -> Result<u8, RecordError> {
        let byte = *self.bytes.get(self.position).ok_or(RecordError::Truncated)?;
        self.position += 1;
        Ok(byte)
    }

    #[inline(always)]
    fn skip(&mut self, count: usize) -> Result<(), RecordError> {
        if self.bytes.len().checked_sub(self.position).is_none_or(|left| count > left) {
            return Err(RecordError::Truncated);
        }
        self.position += count;
        Ok(())
    }

    #[inline]
    fn position(&self) -> usize {
        self.position
    }

    fn at_end(&mut self) -> Result<bool, RecordError> {
        Ok(self.position >= self.bytes.len())
    }
}

/// A cursor over compressed records: a window of fixed size and a limit on what may come out in all.
#[derive(Debug)]
pub struct Stream<'a> {
    source: Decoder<'a>,
    window: Box<[u8]>,
    start: usize,
    end: usize,
    position: usize,
    limit: usize,
}

impl<'a> Stream<'a> {
    pub fn new(source: Decoder<'a>, limit: usize) -> Stream<'a> {
        Stream { source, window: vec![0; WINDOW].into_boxed_slice(), start: 0, end: 0, position: 0, limit }
    }

    /// Makes the window non-empty; false at the end of the data.
    fn refill(&mut self) -> Result<bool, RecordError> {
        if self.start < self.end {
            return Ok(true);
        }
        self.start = 0;
        self.end = self.source.read(&mut self.window).map_err(|_| CompressError::Corrupt)?;
        if self.position.saturating_add(self.end) > self.limit {
            return Err(CompressError::TooLarge { limit: self.limit }.into());
        }
        Ok(self.end > 0)
    }
}

impl Cursor for Stream<'_> {
    fn byte(&mut self) -> Result<u8, RecordError> {
        if !self.refill()? {
            return Err(RecordError::Truncated);
        }
        let byte = self.window[self.start];
        self.start += 1;
        self.position += 1;
        Ok(byte)
    }

    fn skip(&mut self, mut count: usize) -> Result<(), RecordError> {
        while count > 0 {
            if !self.refill()? {
                return Err(RecordError::Truncated);
            }
            let step = count.min(self.end - self.start);
            self.start += step;
            self.position += step;
            count -= step;
        }
        Ok(())
    }

    fn position(&self) -> usize {
        self.position
    }

    fn at_end(&mut self) -> Result<bool, RecordError> {
        Ok(!self.refill()?)
    }
}
