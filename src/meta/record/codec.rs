//! Reading and writing of Kafka's flexible encoding (KIP-482), as far as metadata records use it.
//!
//! Foreign bytes come through [`Reader`]: every read is checked against what is left, and a count allocates nothing
//! before the bytes that must follow it have been seen to exist. Compact lengths are one more than the real length;
//! 0 means null.

use bytes::Bytes;

use crate::base::ids::Uuid;

use super::RecordError;

type Result<T> = std::result::Result<T, RecordError>;

/// A cursor over foreign bytes.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    pub(super) fn remaining(&self) -> usize {
        self.rest.len()
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (head, tail) = self.rest.split_at_checked(count).ok_or(RecordError::Truncated)?;
        self.rest = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| RecordError::Truncated)
    }

    pub(super) fn rest(&mut self) -> Bytes {
        let all = Bytes::copy_from_slice(self.rest);
        self.rest = &[];
        all
    }

    /// The body must end here: Kafka writes nothing behind it.
    pub(super) fn end(&self) -> Result<()> {
        if self.rest.is_empty() { Ok(()) } else { Err(RecordError::TrailingBytes(self.rest.len())) }
    }

    pub(super) fn varint(&mut self) -> Result<u32> {
        let mut value: u32 = 0;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array()?;
            let part = u32::from(byte & 0x7f);
            if shift == 28 && byte > 0x0f {
                return Err(RecordError::Malformed("varint longer than 32 bits"));
            }
            value |= part << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(RecordError::Malformed("varint longer than 5 bytes"))
    }

    pub(super) fn i8(&mut self) -> Result<i8> {
        self.array().map(i8::from_be_bytes)
    }

    pub(super) fn bool(&mut self) -> Result<bool> {
        Ok(self.i8()? != 0)
    }

    pub(super) fn i16(&mut self) -> Result<i16> {
        self.array().map(i16::from_be_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn i32(&mut self) -> Result<i32> {
        self.array().map(i32::from_be_bytes)
    }

    pub(super) fn i64(&mut self) -> Result<i64> {
        self.array().map(i64::from_be_bytes)
    }

    pub(super) fn uuid(&mut self) -> Result<Uuid> {
        self.array().map(Uuid)
    }

    pub(super) fn nullable_string(&mut self) -> Result<Option<String>> {
        let Some(len) = self.varint()?.checked_sub(1) else { return Ok(None) };
        let text = std::str::from_utf8(self.take(len as usize)?).map_err(|_| RecordError::Malformed("not UTF-8"))?;
        Ok(Some(text.to_owned()))
    }

    pub(super) fn string(&mut self) -> Result<String> {
        self.nullable_string()?.ok_or(RecordError::Malformed("null string"))
    }

    /// An array whose elements take at least `element_min` bytes each, read by `element`.
    pub(super) fn nullable_list<T>(
        &mut self,
        element_min: usize,
        mut element: impl FnMut(&mut Reader<'a>) -> Result<T>,
    ) -> Result<Option<Vec<T>>> {
        let Some(count) = self.varint()?.checked_sub(1) else { return Ok(None) };
        let count = count as usize;
        if count.saturating_mul(element_min) > self.remaining() {
            return Err(RecordError::Truncated);
        }
        let mut list = Vec::with_capacity(count);
        for _ in 0..count {
            list.push(element(self)?);
        }
        Ok(Some(list))
    }

    pub(super) fn list<T>(
        &mut self,
        element_min: usize,
        element: impl FnMut(&mut Reader<'a>) -> Result<T>,
    ) -> Result<Vec<T>> {
        self.nullable_list(element_min, element)?.ok_or(RecordError::Malformed("null array"))
    }

    pub(super) fn i32_list(&mut self) -> Result<Vec<i32>> {
        self.list(4, Reader::i32)
    }

    pub(super) fn uuid_list(&mut self) -> Result<Vec<Uuid>> {
        self.list(16, Reader::uuid)
    }

    /// Reads the tagged fields: `field` gets each tag with its bytes and returns false for a tag it does not know,
    /// which is skipped.
    pub(super) fn tags(&mut self, mut field: impl FnMut(u32, &mut Reader<'a>) -> Result<bool>) -> Result<()> {
        let count = self.varint()?;
        let mut previous: Option<u32> = None;
        for _ in 0..count {
            let tag = self.varint()?;
            if previous.is_some_and(|p| p >= tag) {
                return Err(RecordError::Malformed("tags not in ascending order"));
            }
            previous = Some(tag);
            let size = self.varint()? as usize;
            let mut body = Reader::new(self.take(size)?);
            if field(tag, &mut body)? {
                body.end()?;
            }
        }
        Ok(())
    }

    pub(super) fn no_tags(&mut self) -> Result<()> {
        self.tags(|_, _| Ok(false))
    }
}

/// Collects the bytes of one record.
#[derive(Debug, Default)]
pub(super) struct Writer {
    out: Vec<u8>,
}

impl Writer {
    pub(super) fn finish(self) -> Bytes {
        Bytes::from(self.out)
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    pub(super) fn varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.out.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.out.push(value as u8);
    }

    fn length(&mut self, len: usize) {
        let encoded = u32::try_from(len + 1).ok();
        crate::invariant!(encoded.is_some(), "a metadata record field of {len} elements");
        self.varint(encoded.unwrap_or_default());
    }

    pub(super) fn i8(&mut self, value: i8) {
        self.raw(&value.to_be_bytes());
    }

    pub(super) fn bool(&mut self, value: bool) {
        self.out.push(u8::from(value));
    }

    pub(super) fn i16(&mut self, value: i16) {
        self.raw(&value.to_be_bytes());
    }

    pub(super) fn u16(&mut self, value: u16) {
        self.raw(&value.to_be_bytes());
    }

    pub(super) fn i32(&mut self, value: i32) {
        self.raw(&value.to_be_bytes());
    }

    pub(super) fn i64(&mut self, value: i64) {
        self.raw(&value.to_be_bytes());
    }

    pub(super) fn uuid(&mut self, value: &Uuid) {
        self.raw(&value.0);
    }

    pub(super) fn string(&mut self, value: &str) {
        self.length(value.len());
        self.raw(value.as_bytes());
    }

    pub(super) fn nullable_string(&mut self, value: Option<&str>) {
        match value {
            Some(text) => self.string(text),
            None => self.varint(0),
        }
    }

    pub(super) fn list<T>(&mut self, list: &[T], mut element: impl FnMut(&mut Writer, &T)) {
        self.length(list.len());
        for item in list {
            element(self, item);
        }
    }

    pub(super) fn i32_list(&mut self, list: &[i32]) {
        self.list(list, |w, &v| w.i32(v));
    }

    pub(super) fn uuid_list(&mut self, list: &[Uuid]) {
        self.list(list, Writer::uuid);
    }

    pub(super) fn tags(&mut self, tags: Tags) {
        self.varint(tags.count);
        self.raw(&tags.out);
    }

    pub(super) fn no_tags(&mut self) {
        self.varint(0);
    }
}

/// Tagged fields under construction. Kafka writes them in ascending order and leaves out defaults; both are up to the
/// caller, the order is checked.
#[derive(Debug, Default)]
pub(super) struct Tags {
    count: u32,
    last: Option<u32>,
    out: Vec<u8>,
}

impl Tags {
    pub(super) fn field(&mut self, tag: u32, write: impl FnOnce(&mut Writer)) {
        crate::invariant!(self.last.is_none_or(|last| last < tag), "tag {tag} after {:?}", self.last);
        self.last = Some(tag);
        let mut body = Writer::default();
        write(&mut body);
        let mut head = Writer::default();
        head.varint(tag);
        // The body of a tag is far below 4 GiB: `length` has checked each list inside it.
        head.varint(body.out.len() as u32);
        self.out.extend_from_slice(&head.out);
        self.out.extend_from_slice(&body.out);
        self.count += 1;
    }
}
