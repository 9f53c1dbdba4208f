//! Batch after batch through a buffer: a fetched answer, a chunk of a segment, a segment being recovered.
//!
//! The walk looks at headers only; it checks no CRC. It ends at the first thing that is not a whole batch and then
//! tells where and why, so that a reader knows whether to read on, to stop, or to cut.

use std::ops::Range;

use super::header::{BatchHeader, HEADER_LEN, LENGTH_OVERHEAD, MAGIC};

/// Why a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalkEnd {
    /// The last batch ends exactly where the buffer ends (or the buffer is empty).
    Clean,
    /// The buffer ends inside a batch. `needs` is how many bytes from [`Walk::position`] on are needed to go on:
    /// the whole batch when its length is visible, otherwise a header.
    Partial { needs: usize },
    /// Zeros where a batch should begin: the padding behind the last batch of a block.
    Padding,
    /// Bytes that are no v2 batch: impossible length, other magic, or negative numbers.
    Malformed,
}

/// Iterator over the whole batches of a buffer; see [`walk`].
#[derive(Clone, Debug)]
pub struct Walk<'a> {
    bytes: &'a [u8],
    position: usize,
    end: Option<WalkEnd>,
}

/// Walks the whole batches of `bytes` from its start.
pub fn walk(bytes: &[u8]) -> Walk<'_> {
    Walk { bytes, position: 0, end: None }
}

impl Walk<'_> {
    /// Where the walk stands: the end of the last batch given out.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Why nothing more comes, judged at the present position; `None` when another whole batch is there.
    pub fn end(&self) -> Option<WalkEnd> {
        match self.end {
            Some(end) => Some(end),
            None => look(&self.bytes[self.position..]).err(),
        }
    }

    /// Runs to the end and says where it is and why it is there.
    pub fn finish(mut self) -> (usize, WalkEnd) {
        loop {
            if self.next().is_none() {
                return (self.position, self.end.unwrap_or(WalkEnd::Clean));
            }
        }
    }
}

impl Iterator for Walk<'_> {
    /// Where the batch lies in the buffer, and its header.
    type Item = (Range<usize>, BatchHeader);

    fn next(&mut self) -> Option<Self::Item> {
        if self.end.is_some() {
            return None;
        }
        match look(&self.bytes[self.position..]) {
            Ok((len, header)) => {
                let range = self.position..self.position + len;
                self.position = range.end;
                Some((range, header))
            }
            Err(end) => {
                self.end = Some(end);
                None
            }
        }
    }
}

/// The whole batch at the start of `rest`, or why there is none.
fn look(rest: &[u8]) -> Result<(usize, BatchHeader), WalkEnd> {
    if rest.is_empty() {
        return Err(WalkEnd::Clean);
    }
    let Some(prefix) = rest.first_chunk::<LENGTH_OVERHEAD>() else {
        return Err(WalkEnd::Partial { needs: HEADER_LEN });
    };
    if prefix == &[0; LENGTH_OVERHEAD] {
        return Err(WalkEnd::Padding);
    }
    let Some(header) = BatchHeader::parse(rest) else {
        return Err(short(rest, prefix));
    };
    let Some(len) = header.checked_len() else { return Err(WalkEnd::Malformed) };
    if !plausible(&header) {
        return Err(WalkEnd::Malformed);
    }
    if rest.len() < len {
        return Err(WalkEnd::Partial { needs: len });
    }
    Ok((len, header))
}

/// Fewer bytes than a header: the length field is already visible, the rest is not.
fn short(rest: &[u8], prefix: &[u8; LENGTH_OVERHEAD]) -> WalkEnd {
    let length = i32::from_be_bytes([prefix[8], prefix[9], prefix[10], prefix[11]]);
    let magic_wrong = rest.get(16).is_some_and(|&magic| magic as i8 != MAGIC);
    if length < super::header::BATCH_LENGTH_MIN || magic_wrong {
        return WalkEnd::Malformed;
    }
    WalkEnd::Partial { needs: LENGTH_OVERHEAD + length as usize }
}

fn plausible(header: &BatchHeader) -> bool {
    header.magic == MAGIC
        && header.base_offset >= 0
        && header.last_offset_delta >= 0
        && header.record_count >= 0
        && header.base_offset < i64::MAX - i64::from(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::build::BatchBuilder;

    fn two() -> (Vec<u8>, usize) {
        let mut bytes = Vec::new();
        let mut builder = BatchBuilder::new(0);
        builder.push(1, None, Some(b"a"));
        bytes.extend_from_slice(&builder.finish());
        let first = bytes.len();
        let mut builder = BatchBuilder::new(1);
        builder.push(2, Some(b"k"), Some(b"b")).push(3, None, None);
        bytes.extend_from_slice(&builder.finish());
        (bytes, first)
    }

    #[test]
    fn a_walk_gives_whole_batches_and_ends_clean() {
        let (bytes, first) = two();
        let mut batches = walk(&bytes);
        assert_eq!(batches.end(), None);
        let (range, header) = batches.next().expect("first");
        assert_eq!((range, header.base_offset), (0..first, 0));
        let (range, header) = batches.next().expect("second");
        assert_eq!((range, header.next_offset()), (first..bytes.len(), 3));
        assert!(batches.next().is_none());
        assert_eq!(batches.end(), Some(WalkEnd::Clean));
        assert_eq!(batches.finish(), (bytes.len(), WalkEnd::Clean));
    }

    #[test]
    fn a_cut_tail_says_how_many_bytes_it_needs() {
        let (bytes, first) = two();
        let second = bytes.len() - first;
        assert_eq!(walk(&bytes[..bytes.len() - 1]).finish(), (first, WalkEnd::Partial { needs: second }));
        assert_eq!(walk(&bytes[..first + 12]).finish(), (first, WalkEnd::Partial { needs: second }));
        assert_eq!(walk(&bytes[..first + 11]).finish(), (first, WalkEnd::Partial { needs: HEADER_LEN }));
    }

    #[test]
    fn zeros_are_padding_and_nonsense_is_malformed() {
        let (mut bytes, first) = two();
        let whole = bytes.len();
        bytes.resize(whole + 100, 0);
        assert_eq!(walk(&bytes).finish(), (whole, WalkEnd::Padding));
        bytes.truncate(whole);
        for (at, value) in [(8, 0x80), (11, 3), (16, 1), (0, 0x80), (23, 0x80), (57, 0x80)] {
            let mut bad = bytes.clone();
            bad[first + at] = value;
            let (position, end) = walk(&bad).finish();
            assert_eq!((position, end), (first, WalkEnd::Malformed), "byte {at}");
        }
    }
}
