//! Kafka's primitive types over byte slices, as far as this floor needs them. Reading never trusts a length: whatever
//! does not fit into the bytes at hand is [`Short`], and nothing is allocated before that is known.

use bytes::{BufMut, Bytes, BytesMut};

/// The bytes end too early, or a length, count or text in them is impossible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Short;

/// Reads from the front of a slice.
#[derive(Clone, Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(rest: &'a [u8]) -> Reader<'a> {
        Reader { rest }
    }

    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Short> {
        let (head, tail) = self.rest.split_at_checked(count).ok_or(Short)?;
        self.rest = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Short> {
        let (head, tail) = self.rest.split_first_chunk::<N>().ok_or(Short)?;
        self.rest = tail;
        Ok(*head)
    }

    pub fn i16(&mut self) -> Result<i16, Short> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    pub fn i32(&mut self) -> Result<i32, Short> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    pub fn i64(&mut self) -> Result<i64, Short> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    pub fn uuid(&mut self) -> Result<[u8; 16], Short> {
        self.array()
    }

    /// An unsigned varint of at most 32 bits.
    pub fn uvarint(&mut self) -> Result<u32, Short> {
        let mut value: u32 = 0;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array::<1>()?;
            if shift == 28 && byte > 0x0f {
                return Err(Short);
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Short)
    }

    /// Text with an int16 length, or a compact one; `None` is null.
    pub fn nullable_text(&mut self, flexible: bool) -> Result<Option<&'a str>, Short> {
        let len = if flexible { i64::from(self.uvarint()?) - 1 } else { i64::from(self.i16()?) };
        // Kafka's texts end at 32767 bytes in compact form too, and the writer relies on it.
        if len > i64::from(i16::MAX) {
            return Err(Short);
        }
        self.counted(len)?.map(|bytes| std::str::from_utf8(bytes).map_err(|_| Short)).transpose()
    }

    pub fn text(&mut self, flexible: bool) -> Result<&'a str, Short> {
        self.nullable_text(flexible)?.ok_or(Short)
    }

    /// Bytes with an int32 length, or compact ones; null reads as empty.
    pub fn bytes(&mut self, flexible: bool) -> Result<&'a [u8], Short> {
        let len = if flexible { i64::from(self.uvarint()?) - 1 } else { i64::from(self.i32()?) };
        Ok(self.counted(len)?.unwrap_or_default())
    }

    /// An element count; each element takes at least `element_bytes_min` of what is left. Null reads as 0.
    pub fn count(&mut self, flexible: bool, element_bytes_min: usize) -> Result<usize, Short> {
        let count = if flexible { i64::from(self.uvarint()?) - 1 } else { i64::from(self.i32()?) };
        let count = usize::try_from(count.max(0)).map_err(|_| Short)?;
        if count > self.rest.len() / element_bytes_min.max(1) { Err(Short) } else { Ok(count) }
    }

    /// The tagged fields of a flexible structure, each handed to `field`.
    pub fn tagged(&mut self, mut field: impl FnMut(u32, &'a [u8]) -> Result<(), Short>) -> Result<(), Short> {
        for _ in 0..self.uvarint()? {
            let tag = self.uvarint()?;
            let size = self.uvarint()?;
            field(tag, self.take(size as usize)?)?;
        }
        Ok(())
    }

    fn counted(&mut self, len: i64) -> Result<Option<&'a [u8]>, Short> {
        match len {
            -1 => Ok(None),
            len => self.take(usize::try_from(len).map_err(|_| Short)?).map(Some),
        }
    }
}

/// Builds a key or a value. Lengths were checked where they came in, so too long a text is a programmer's error.
#[derive(Debug, Default)]
pub(super) struct Writer {
    bytes: BytesMut,
}

impl Writer {
    pub fn with_version(version: i16) -> Writer {
        let mut writer = Writer { bytes: BytesMut::with_capacity(64) };
        writer.i16(version);
        writer
    }

    pub fn i16(&mut self, value: i16) {
        self.bytes.put_i16(value);
    }

    pub fn i32(&mut self, value: i32) {
        self.bytes.put_i32(value);
    }

    pub fn i64(&mut self, value: i64) {
        self.bytes.put_i64(value);
    }

    pub fn text(&mut self, text: &str) {
        crate::invariant!(text.len() <= i16::MAX as usize, "text of {} bytes in a record", text.len());
        self.bytes.put_i16(text.len() as i16);
        self.bytes.put_slice(text.as_bytes());
    }

    pub fn nullable_text(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.text(text),
            None => self.bytes.put_i16(-1),
        }
    }

    pub fn data(&mut self, data: &[u8]) {
        crate::invariant!(data.len() <= i32::MAX as usize, "data of {} bytes in a record", data.len());
        self.bytes.put_i32(data.len() as i32);
        self.bytes.put_slice(data);
    }

    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.put_slice(bytes);
    }

    pub fn uvarint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.bytes.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.put_u8(value as u8);
    }

    pub fn compact_text(&mut self, text: &str) {
        crate::invariant!(text.len() <= i16::MAX as usize, "text of {} bytes in a record", text.len());
        self.uvarint(text.len() as u32 + 1);
        self.bytes.put_slice(text.as_bytes());
    }

    pub fn finish(self) -> Bytes {
        self.bytes.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_of_every_length_come_back_and_too_long_ones_are_refused() {
        for value in [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152, u32::MAX] {
            let mut writer = Writer::default();
            writer.uvarint(value);
            assert_eq!(Reader::new(&writer.finish()).uvarint(), Ok(value));
        }
        assert_eq!(Reader::new(&[0xff; 6]).uvarint(), Err(Short));
        assert_eq!(Reader::new(&[0xff, 0xff, 0xff, 0xff, 0x10]).uvarint(), Err(Short), "33 bits");
        assert_eq!(Reader::new(&[0x80]).uvarint(), Err(Short));
    }

    #[test]
    fn a_length_beyond_the_bytes_at_hand_is_refused() {
        assert_eq!(Reader::new(&[0, 3, b'a', b'b']).text(false), Err(Short));
        assert_eq!(Reader::new(&[0xff, 0xfe, 1]).nullable_text(false), Err(Short), "length -2");
        assert_eq!(Reader::new(&[0xff, 0xff]).nullable_text(false), Ok(None));
        assert_eq!(Reader::new(&[0x7f, 0xff, 0xff, 0xff]).bytes(false), Err(Short));
        assert_eq!(Reader::new(&[0, 0, 0, 2, 9, 9, 9]).count(false, 2), Err(Short), "two elements of two bytes");
        assert_eq!(Reader::new(&[0, 2, 0xc3, 0x28]).text(false), Err(Short), "not UTF-8");
    }
}
