//! Reads that go out without a copy: what a reader in sequence wants next is brought into the page cache, and its
//! connection sends it from there.
//!
//! ```text
//!   at ............................ mark .... end            at: where the reader is, a batch begins there
//!   |== never seen by the log ======|hhhhhhhh|               mark: the last batch before the end that the index knows
//! ```
//! The log cuts between batches all the same: the last bytes, from the mark on, are copied and walked. Only bytes
//! that do not change any more are read like this: all of a rolled segment, and what lies well before the end of one
//! that is written. Whatever does not fit (no mark, an index that lies, a file that cannot be read) is read directly
//! instead.

use bytes::Bytes;

use crate::port::disk::{DiskOp, FileId};
use crate::port::range::{FileRange, Part};

use super::PartitionLog;
use super::head::{Found, HEAD_LEN, Head};
use super::lazy_index::IndexState;
use super::ops::Op;
use super::read::{Job, Kind, PIECE_MAX, Verdict};
use super::types::{LogOut, ReadData, Wanted};

/// The most that is copied from the mark on, bytes: a few intervals of the index.
const LOOK_BYTES_MAX: u64 = 16 << 10;

/// A piece that is being staged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Staging {
    mark: u64,
    end: u64,
    /// Where what is copied ends; a header's length behind `end` at most.
    look_end: u64,
}

impl Staging {
    fn len(&self, at: u64) -> u32 {
        (self.look_end - at) as u32
    }
}

impl PartitionLog {
    /// What of a job can be staged; its indexes are in memory.
    pub(super) fn staging_of(&self, job: &Job) -> Option<Staging> {
        let (Kind::Fetch(wanted), Some(at), true) = (&job.kind, job.at, job.exact) else { return None };
        let segment = self.segments.get(&job.segment)?;
        let IndexState::Resident(indexes) = &segment.indexes else { return None };
        let is_final = segment.rolled && segment.written == segment.size;
        let unsettled = if is_final { 0 } else { self.config.stage_distance };
        let end = (at + u64::from(wanted.max_bytes).min(PIECE_MAX)).min(segment.written.saturating_sub(unsettled));
        let mark = u64::from(indexes.offset.last_position_to(u32::try_from(end).ok()?));
        let look_end = end.min(mark + LOOK_BYTES_MAX).max(mark + HEAD_LEN as u64).min(segment.written);
        (mark > at).then_some(Staging { mark, end, look_end })
    }

    pub(super) fn begin_staging(&mut self, key: u64, job: &mut Job, file: FileId, staging: Staging, out: &mut LogOut) {
        let position = job.at.unwrap_or(0);
        let look = (staging.look_end - staging.mark) as u32;
        (job.busy, job.staging) = (true, Some(staging));
        let op = DiskOp::Stage { file, position, len: staging.len(position), look, fill: true };
        self.ask(Op::Read { job: key }, op, out);
    }
}

/// Cuts what was staged behind the last batch that the reader may have. `limit`: bytes of the segment that are
/// believed. `None`: the mark is none, or not all before it is the reader's.
pub(super) fn cut_staged(
    staging: Staging,
    wanted: Wanted,
    mut range: FileRange,
    tail: &Bytes,
    limit: u64,
) -> Option<Verdict> {
    let start = range.position();
    let reach = staging.end.min(staging.look_end);
    let (mut at, mut next) = (staging.mark, None);
    while let Found::Batch(head) = Head::find(tail.get((at - staging.mark) as usize..)?, limit - at) {
        let behind = at + head.size as u64;
        if next.is_none() && (head.base_offset > wanted.upper || head.base_offset <= wanted.from) {
            return None;
        }
        if behind > reach || head.last_offset >= wanted.upper {
            next.get_or_insert(head.base_offset);
            break;
        }
        (at, next) = (behind, Some(head.last_offset + 1));
        if behind == reach {
            break;
        }
    }
    let next_offset = next?;
    range.truncate((at - start) as u32);
    let bytes = range.len() as u32;
    let data = ReadData { parts: vec![Part::File(range)], bytes, next_offset };
    Some(Verdict::Fetched { data, end: at })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::batch::build::BatchBuilder;
    use crate::batch::patch;

    /// A batch of one record.
    fn batch(offset: i64, bytes: usize) -> Vec<u8> {
        let mut builder = BatchBuilder::new(0);
        builder.push(1, None, Some(&vec![7; bytes]));
        let mut batch = builder.finish().to_vec();
        let header = batch.first_chunk_mut::<HEAD_LEN>().expect("a header");
        patch::stamp(header, offset, 0);
        batch
    }

    /// What comes of batches of these sizes behind the mark: bytes, next offset, and where the next piece begins.
    fn cut(sizes: &[usize], end: Option<u64>, upper: i64) -> Option<(u32, i64, u64)> {
        let (start, mark) = (100, 1_000);
        let batches: Vec<u8> = sizes.iter().zip(10..).flat_map(|(size, offset)| batch(offset, *size)).collect();
        let limit = mark + batches.len() as u64;
        let end = end.map_or(limit, |end| mark + end);
        let look_end = end.min(mark + LOOK_BYTES_MAX).max(mark + HEAD_LEN as u64).min(limit);
        let tail = Bytes::from(batches).slice(..(look_end - mark) as usize);
        let range = FileRange::new(Arc::new(()), start, (look_end - start) as u32);
        let wanted = Wanted { from: 1, upper, max_bytes: 1 << 20, at_least_one: true, to_send: true };
        match cut_staged(Staging { mark, end, look_end }, wanted, range, &tail, limit)? {
            Verdict::Fetched { data, end } => {
                assert_eq!(data.parts.iter().map(Part::len).sum::<usize>(), data.bytes as usize);
                assert_eq!(u64::from(data.bytes), end - start, "all up to where the next begins");
                Some((data.bytes, data.next_offset, end))
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_piece_ends_between_batches_and_knows_the_offset_behind() {
        let one = batch(0, 100).len() as u64;
        assert_eq!(cut(&[100, 100], None, 99), Some((900 + 2 * one as u32, 12, 1_000 + 2 * one)));
        assert_eq!(cut(&[100, 100], Some(2 * one - 1), 99), Some((900 + one as u32, 11, 1_000 + one)));
        assert_eq!(cut(&[100, 100], Some(3), 99), Some((900, 10, 1_000)), "none behind the mark, as its header says");
    }

    #[test]
    fn a_batch_that_is_not_seen_whole_is_left_for_the_next_piece() {
        assert_eq!(
            cut(&[60_000], None, 99),
            Some((900, 10, 1_000)),
            "the last of a segment, larger than what is copied"
        );
        let one = batch(0, 100).len() as u64;
        assert_eq!(cut(&[100, 60_000], None, 99), Some((900 + one as u32, 11, 1_000 + one)));
    }

    #[test]
    fn nothing_above_the_readers_end_is_given_and_a_mark_that_is_none_is_noticed() {
        let one = batch(0, 100).len() as u64;
        assert_eq!(cut(&[100, 100], None, 11), Some((900 + one as u32, 11, 1_000 + one)));
        assert_eq!(cut(&[100, 100], None, 10), Some((900, 10, 1_000)));
        assert_eq!(cut(&[100, 100], None, 9), None, "a batch before the mark may be above it");
        let range = FileRange::new(Arc::new(()), 100, 1_000);
        let staging = Staging { mark: 1_000, end: 1_100, look_end: 1_100 };
        let wanted = Wanted { from: 1, upper: 99, max_bytes: 1 << 20, at_least_one: true, to_send: true };
        assert!(cut_staged(staging, wanted, range, &Bytes::from(vec![0; 100]), 1_100).is_none());
    }
}
