//! Visits the whole batches in a buffer and says why it stopped.

use std::ops::Range;

use super::header::{BatchHeader, HEADER_LEN, LENGTH_PREFIX};

/// Why a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalkEnd {
    /// Exactly at the end of the buffer.
    Clean,
    /// Inside a batch: the buffer would have to be this long to hold it.
    Partial { needs: usize },
    /// At bytes that are all zero up to the end of a header: padding of direct writes.
    Padding,
    /// At bytes that cannot start a batch.
    Malformed,
}

/// Iterator over (range, header) of whole batches; see [`walk`].
#[derive(Clone, Debug)]
pub struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// Visits the batches that lie whole in `bytes`. CRCs are not checked.
pub fn walk(bytes: &[u8]) -> Walk<'_> {
    Walk { bytes, at: 0 }
}

impl Walk<'_> {
    /// Where the next batch would start.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Why there is no further batch (meaningful after the iterator gave `None`).
    pub fn end(&self) -> WalkEnd {
        let rest = &self.bytes[self.at..];
        if rest.is_empty() {
            return WalkEnd::Clean;
        }
        let seen = &rest[..rest.len().min(HEADER_LEN)];
        if seen.iter().all(|&b| b == 0) {
            return WalkEnd::Padding;
        }
        if rest.len() < LENGTH_PREFIX {
            return WalkEnd::Partial { needs: self.at + HEADER_LEN };
        }
        let length = i32::from_be_bytes([rest[8], rest[9], rest[10], rest[11]]);
        if length < super::header::BATCH_LENGTH_MIN || (rest.len() > 16 && rest[16] != 2) {
            return WalkEnd::Malformed;
        }
        WalkEnd::Partial { needs: self.at + LENGTH_PREFIX + length as usize }
    }
}

impl Iterator for Walk<'_> {
    type Item = (Range<usize>, BatchHeader);

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.bytes.get(self.at..)?;
        let header = BatchHeader::parse(rest)?;
        let len = header.checked_len()?;
        if header.magic != 2 || len > rest.len() {
            return None;
        }
        let range = self.at..self.at + len;
        self.at = range.end;
        Some((range, header))
    }
}

#[cfg(test)]
mod tests {
    use super::super::build::BatchBuilder;
    use super::*;

    #[test]
    fn a_walk_yields_whole_batches_and_tells_padding_from_a_cut_from_garbage() {
        let batch = BatchBuilder::new().record(1, None, Some("v".into())).build();
        let mut two = [batch.as_ref(), batch.as_ref()].concat();
        let mut clean = walk(&two);
        assert_eq!(clean.by_ref().count(), 2);
        assert_eq!(clean.end(), WalkEnd::Clean);
        let mut cut = walk(&two[..two.len() - 1]);
        assert_eq!(cut.by_ref().count(), 1);
        assert_eq!(cut.end(), WalkEnd::Partial { needs: two.len() });
        two.extend_from_slice(&[0; 100]);
        let mut padded = walk(&two);
        assert_eq!(padded.by_ref().count(), 2);
        assert_eq!(padded.end(), WalkEnd::Padding);
        two[2 * batch.len() + 3] = 7;
        let mut garbage = walk(&two);
        assert_eq!(garbage.by_ref().count(), 2);
        assert_eq!(garbage.end(), WalkEnd::Malformed);
    }
}
