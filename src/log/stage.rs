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
    let (mut at, mut next) = (staging.mark, None);
    while let Found::Batch(head) = Head::find(tail.get((at - staging.mark) as usize..)?, limit - at) {
        let behind = at + head.size as u64;
        if next.is_none() && (head.base_offset > wanted.upper || head.base_offset <= wanted.from) {
            return None;
        }
        if behind > staging.end || head.last_offset >= wanted.upper {
            next.get_or_insert(head.base_offset);
            break;
        }
        (at, next) = (behind, Some(head.last_offset + 1));
        if behind >= staging.look_end {
            break;
        }
    }
    let next_offset = next?;
    range.truncate((at - start) as u32);
    let bytes = range.len() as u32;
    let data = ReadData { parts: vec![Part::File(range)], bytes, next_offset };
    Some(Verdict::Fetched { data, end: at })
}
