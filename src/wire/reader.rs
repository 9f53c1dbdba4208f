//! Reads protocol fields off a request, every length checked against the bytes that are left.
//!
//! The guard and the hot decoders share it. Reading a string or bytes field costs no copy: it is a slice of the frame.

use bytes::Bytes;
use kafka_protocol::protocol::StrBytes;

use super::WireError;
use crate::base::ids::Uuid;
use crate::base::limits::COLD_REQUEST_ELEMENTS_MAX;

/// A position in a request.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    frame: &'a Bytes,
    at: usize,
    end: usize,
    /// Compact lengths and tagged fields.
    flexible: bool,
    /// Array elements this request may still announce; hot requests have the same bound as cold ones.
    elements_left: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(frame: &'a Bytes, flexible: bool) -> Reader<'a> {
        Reader { frame, at: 0, end: frame.len(), flexible, elements_left: COLD_REQUEST_ELEMENTS_MAX }
    }

    pub(super) fn is_flexible(&self) -> bool {
        self.flexible
    }

    pub(super) fn remaining(&self) -> usize {
        self.end - self.at
    }

    /// The rest as a slice of the frame.
    pub(super) fn rest(&self) -> Bytes {
        self.frame.slice(self.at..self.end)
    }

    /// The next `count` bytes.
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], WireError> {
        let range = self.advance(count)?;
        Ok(&self.frame[range])
    }

    /// The next `count` bytes as a slice of the frame.
    pub(super) fn slice(&mut self, count: usize) -> Result<Bytes, WireError> {
        let range = self.advance(count)?;
        Ok(self.frame.slice(range))
    }

    fn advance(&mut self, count: usize) -> Result<std::ops::Range<usize>, WireError> {
        if count > self.remaining() {
            return Err(WireError::Truncated { needed: count, remaining: self.remaining() });
        }
        let start = self.at;
        self.at += count;
        Ok(start..self.at)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N)?);
        Ok(bytes)
    }

    pub(super) fn i8(&mut self) -> Result<i8, WireError> {
        Ok(i8::from_be_bytes(self.array()?))
    }

    pub(super) fn i16(&mut self) -> Result<i16, WireError> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    pub(super) fn i32(&mut self) -> Result<i32, WireError> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    pub(super) fn i64(&mut self) -> Result<i64, WireError> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    pub(super) fn uuid(&mut self) -> Result<Uuid, WireError> {
        Ok(Uuid(self.array()?))
    }

    /// An unsigned variable-length number of at most 32 bits.
    pub(super) fn uvarint(&mut self) -> Result<u32, WireError> {
        let mut value = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array()?;
            if shift == 28 && byte > 0x0f {
                return Err(WireError::VarintTooLong);
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(WireError::VarintTooLong)
    }

    /// A length or count: compact (one more than the value, 0 is null) or four bytes (-1 is null).
    fn length(&mut self) -> Result<Option<usize>, WireError> {
        if self.flexible {
            return Ok(self.uvarint()?.checked_sub(1).map(|length| length as usize));
        }
        match self.i32()? {
            -1 => Ok(None),
            length => usize::try_from(length).map(Some).map_err(|_| WireError::NegativeLength(length.into())),
        }
    }

    /// As [`Reader::length`], with two bytes where not compact.
    fn string_length(&mut self) -> Result<Option<usize>, WireError> {
        if self.flexible {
            return self.length();
        }
        match self.i16()? {
            -1 => Ok(None),
            length => usize::try_from(length).map(Some).map_err(|_| WireError::NegativeLength(length.into())),
        }
    }

    /// A string that may be null, checked to be UTF-8, borrowed.
    pub(super) fn nullable_str(&mut self) -> Result<Option<&'a str>, WireError> {
        let Some(length) = self.string_length()? else { return Ok(None) };
        std::str::from_utf8(self.take(length)?).map(Some).map_err(|_| WireError::NotUtf8)
    }

    /// A string that may be null, as a slice of the frame.
    pub(super) fn nullable_string(&mut self) -> Result<Option<StrBytes>, WireError> {
        let Some(length) = self.string_length()? else { return Ok(None) };
        StrBytes::from_utf8(self.slice(length)?).map(Some).map_err(|_| WireError::NotUtf8)
    }

    /// A string, as a slice of the frame.
    pub(super) fn string(&mut self) -> Result<StrBytes, WireError> {
        self.nullable_string()?.ok_or(WireError::NegativeLength(-1))
    }

    /// Bytes that may be null (records are), as a slice of the frame.
    pub(super) fn nullable_bytes(&mut self) -> Result<Option<Bytes>, WireError> {
        let Some(length) = self.length()? else { return Ok(None) };
        self.slice(length).map(Some)
    }

    /// Bytes that may be null, skipped; the answer tells whether they were there.
    pub(super) fn skip_nullable_bytes(&mut self) -> Result<bool, WireError> {
        let Some(length) = self.length()? else { return Ok(false) };
        self.advance(length)?;
        Ok(true)
    }

    /// The count of an array that may be null. Each element takes at least `element_bytes_min` bytes (never 0), so a
    /// count that cannot fit what is left is refused before anybody allocates for it.
    pub(super) fn nullable_count(&mut self, element_bytes_min: usize) -> Result<Option<usize>, WireError> {
        let Some(count) = self.length()? else { return Ok(None) };
        if count > self.remaining() / element_bytes_min.max(1) {
            return Err(WireError::CountBeyondBytes { count, remaining: self.remaining() });
        }
        if count > self.elements_left {
            return Err(WireError::TooManyElements { limit: COLD_REQUEST_ELEMENTS_MAX });
        }
        self.elements_left -= count;
        Ok(Some(count))
    }

    /// The count of an array that cannot be null.
    pub(super) fn count(&mut self, element_bytes_min: usize) -> Result<usize, WireError> {
        self.nullable_count(element_bytes_min)?.ok_or(WireError::NegativeLength(-1))
    }

    /// Skips tagged fields by their sizes (none before flexible versions) and returns how many there were.
    pub(super) fn skip_tags(&mut self) -> Result<usize, WireError> {
        self.tags(|_, _| Ok(()))
    }

    /// Hands each tagged field to `field` as (tag, reader of its bytes only). A field that reads nothing skips it; one
    /// that reads some but not all of it is refused, since tag and type then disagree.
    pub(super) fn tags(
        &mut self,
        mut field: impl FnMut(u32, &mut Reader<'a>) -> Result<(), WireError>,
    ) -> Result<usize, WireError> {
        if !self.flexible {
            return Ok(0);
        }
        let count = self.uvarint()? as usize;
        // Tag and size take a byte each.
        if count > self.remaining() / 2 {
            return Err(WireError::CountBeyondBytes { count, remaining: self.remaining() });
        }
        for _ in 0..count {
            let tag = self.uvarint()?;
            let size = self.uvarint()? as usize;
            let range = self.advance(size)?;
            let mut inside = Reader {
                frame: self.frame,
                at: range.start,
                end: range.end,
                flexible: true,
                elements_left: self.elements_left,
            };
            field(tag, &mut inside)?;
            if inside.at != range.start && inside.at != inside.end {
                return Err(WireError::TaggedFieldSize { tag, size });
            }
        }
        Ok(count)
    }
}
