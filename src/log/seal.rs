//! The open chunk, and how it turns into writes: appends copy into it, a seal freezes it.
//!
//! ```text
//!   file   |--------|--------|--------|--------|      blocks
//!   sealed ==========================++·····          ·: zero padding, +: the unfinished block
//!   next                             ++#########···   ++ is carried over and written again, byte for byte the same
//! ```
//! So a write always starts and ends at a block, and a write torn between old and new sectors leaves every old batch as
//! it was. A batch lies whole in one chunk. When one does not fit into what is left, the chunk is split: its whole
//! blocks are sealed, the unfinished one goes on in a larger chunk. Buffered files (page-cache mode) need no padding:
//! there a seal writes the new bytes only.
//!
//! Chunks follow the traffic: one block for a log that gets a batch now and then, up to [`CHUNK_BYTES_MAX`] for a busy
//! one. Beside a journal a chunk grows instead of being split, so that the segment gets few, large writes, and it is
//! cut where the journal's part of it ends: what was appended since goes to the journal first, too.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::base::chunk::Chunk;
use crate::base::limits::BLOCK;
use crate::base::time::Mono;
use crate::port::range::Part;

use super::head::Head;
use super::round::Round;
use super::segment::{block_ceil, block_floor};
use super::tail_cache::CachedChunk;
use super::types::{ReadData, Wanted};

/// The largest chunk, unless a single batch is larger.
const CHUNK_BYTES_MAX: usize = 1 << 20;
/// A chunk of a log that uses a journal may grow to this before it is split.
const GROWN_CHUNK_MAX: usize = 512 << 10;

/// A chunk for `bytes` bytes. Up to 128 KiB at most a quarter more, since a frozen chunk keeps all of its memory for as
/// long as readers may want it, and many logs have one each; four sizes between two powers of two, as allocators have
/// them. Above that a power of two: what is copied when a chunk grows would cost more.
fn fitting(bytes: usize) -> usize {
    let power = bytes.next_power_of_two();
    let step = if power > 128 << 10 { power } else { (power / 8).max(BLOCK) };
    bytes.max(1).next_multiple_of(step)
}

/// Frozen bytes and their place in a segment file.
#[derive(Clone, Debug)]
pub(super) struct WriteJob {
    /// Base offset of the segment.
    pub segment: i64,
    pub position: u64,
    pub data: Bytes,
    /// Where the batches of the chunk end. Only a segment's last job in a row holds all of them: a split leaves the
    /// unfinished block to the next.
    pub end_position: u64,
    pub end_offset: i64,
}

impl WriteJob {
    /// One behind the last byte written, padding included.
    pub fn write_end(&self) -> u64 {
        self.position + self.data.len() as u64
    }
}

/// Where batches are copied to.
#[derive(Debug)]
struct OpenChunk {
    segment: i64,
    /// Position in the segment of the chunk's first byte; a block boundary.
    position: u64,
    chunk: Chunk,
    /// Log end when the first of its own batches came, and where that one lies.
    start_offset: i64,
    start_position: u64,
    end_offset: i64,
}

impl OpenChunk {
    fn end_position(&self) -> u64 {
        self.position + self.chunk.len() as u64
    }

    /// Goes on in a chunk for `needed` bytes and at least half as much again.
    fn grow(&mut self, needed: usize) {
        let mut larger = Chunk::with_capacity(fitting(needed + needed / 2).min(GROWN_CHUNK_MAX));
        larger.fill(self.chunk.as_slice());
        self.chunk = larger;
    }
}

/// Everything appended that is not durable yet.
#[derive(Debug)]
pub(super) struct Writer {
    open: Option<OpenChunk>,
    /// Sealed, not yet handed to the disk; in order.
    pub queue: VecDeque<WriteJob>,
    /// Handed to the disk.
    pub round: Option<Round>,
    /// The content so far of the active segment's unfinished block.
    carry: Vec<u8>,
    /// Size of the next chunk.
    chunk_bytes: usize,
    /// Bytes of batches appended and not durable.
    pub pending_bytes: u64,
}

/// Where the next batch goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub segment: i64,
    /// Bytes of the segment so far.
    pub position: u64,
    /// Log end.
    pub offset: i64,
    /// Whole blocks only.
    pub direct: bool,
    /// The open chunk grows rather than being split.
    pub grows: bool,
    pub now: Mono,
}

impl Writer {
    /// Goes on behind the `carry` bytes of the active segment's last block.
    pub fn new(carry: Vec<u8>) -> Writer {
        Writer { open: None, queue: VecDeque::new(), round: None, carry, chunk_bytes: BLOCK, pending_bytes: 0 }
    }

    /// Whether anything waits to be written or is being written.
    pub fn is_idle(&self) -> bool {
        self.open.is_none() && self.queue.is_empty() && self.round.is_none()
    }

    /// The segment that batches are being copied for.
    pub fn open_segment(&self) -> Option<i64> {
        self.open.as_ref().map(|open| open.segment)
    }

    /// The segment to be written next.
    pub fn next_segment(&self) -> Option<i64> {
        self.queue.front().map(|job| job.segment).or_else(|| self.open_segment())
    }

    /// Takes the sealed chunks of a segment off the queue's front.
    pub fn take_jobs(&mut self, segment: i64) -> Vec<WriteJob> {
        let count = self.queue.iter().take_while(|job| job.segment == segment).count();
        self.queue.drain(..count).collect()
    }

    /// Whether anything of a segment still has to be written.
    pub fn holds(&self, segment: i64) -> bool {
        self.open.as_ref().is_some_and(|open| open.segment == segment)
            || self.queue.iter().any(|job| job.segment == segment)
            || self.round.as_ref().is_some_and(|round| round.segment == segment)
    }

    /// Copies a batch to the end of the segment and returns the copy, to be stamped.
    pub fn put(&mut self, batch: &[u8], place: Place, cached: &mut Vec<CachedChunk>) -> &mut [u8] {
        if let Some(open) = self.open.as_mut().filter(|open| open.chunk.room() < batch.len()) {
            let needed = open.chunk.len() + batch.len();
            if place.grows && needed <= GROWN_CHUNK_MAX {
                open.grow(needed);
            } else {
                self.split(place, batch.len(), cached);
            }
        }
        let carry = &mut self.carry;
        let chunk_bytes = self.chunk_bytes;
        let open = self.open.get_or_insert_with(|| {
            let mut chunk = Chunk::with_capacity(chunk_bytes.max(carry.len() + batch.len()));
            chunk.fill(carry);
            let position = place.position - carry.len() as u64;
            carry.clear();
            OpenChunk {
                segment: place.segment,
                position,
                chunk,
                start_offset: place.offset,
                start_position: place.position,
                end_offset: place.offset,
            }
        });
        crate::invariant!(open.end_position() == place.position, "the open chunk is not at the segment's end");
        let at = open.chunk.len();
        let copied = open.chunk.fill(batch);
        crate::invariant!(copied == batch.len(), "a batch did not fit the chunk made for it");
        self.pending_bytes += batch.len() as u64;
        &mut open.chunk.as_mut_slice()[at..]
    }

    /// Tells the open chunk where the log ends once the batch is in.
    pub fn set_end(&mut self, end_offset: i64) {
        if let Some(open) = &mut self.open {
            open.end_offset = end_offset;
        }
    }

    /// Makes room for a batch of `len` bytes: seals the whole blocks, goes on in a larger chunk.
    fn split(&mut self, place: Place, len: usize, cached: &mut Vec<CachedChunk>) {
        let Some(old) = self.open.take() else { return };
        let end = old.end_position();
        let cut = if place.direct { block_floor(end) } else { end };
        self.chunk_bytes = (self.chunk_bytes * 2).min(CHUNK_BYTES_MAX);
        let sealed = cut > old.position;
        // Carry from a block boundary in either mode: every chunk starts at one.
        let carry_from = if sealed { block_floor(end) } else { old.position };
        let carry = &old.chunk.as_slice()[(carry_from - old.position) as usize..];
        let mut chunk = Chunk::with_capacity(self.chunk_bytes.max(carry.len() + len));
        chunk.fill(carry);
        self.open = Some(OpenChunk {
            segment: old.segment,
            position: carry_from,
            chunk,
            start_offset: if sealed { old.end_offset } else { old.start_offset },
            start_position: if sealed { end } else { old.start_position },
            end_offset: old.end_offset,
        });
        if sealed {
            let from = if place.direct { old.position } else { old.start_position };
            self.freeze(old, from, cut, place.now, cached);
        }
    }

    /// Seals the open chunk whole. `last`: nothing more goes into this segment.
    pub fn seal(&mut self, direct: bool, last: bool, now: Mono, cached: &mut Vec<CachedChunk>) {
        let Some(mut open) = self.open.take() else { return };
        let end = open.end_position();
        let used = open.chunk.len();
        self.carry.clear();
        if !last {
            let carried = (end - block_floor(end)) as usize;
            self.carry.extend_from_slice(&open.chunk.as_slice()[used - carried..]);
        }
        self.note_used(used);
        let (from, to) = if direct { (open.position, block_ceil(end)) } else { (open.start_position, end) };
        if direct {
            open.chunk.pad_to_block();
        }
        let end_offset = open.end_offset;
        let segment = open.segment;
        self.freeze_to(open, end, from, to, now, cached);
        crate::invariant!(
            self.queue.back().is_some_and(|job| job.segment == segment && job.end_offset == end_offset),
            "a sealed chunk is not the last write"
        );
    }

    /// Seals the open chunk up to `position` within it, where `offset` is the next one. What lies behind goes on in a
    /// chunk of its own; the block that both have a part of is written with both, and again with the next seal.
    pub fn seal_to(&mut self, position: u64, offset: i64, now: Mono, cached: &mut Vec<CachedChunk>) {
        let Some(mut old) = self.open.take() else { return };
        crate::invariant!(
            old.start_position < position && position < old.end_position() && offset < old.end_offset,
            "a chunk is cut outside of it"
        );
        let used = (position - old.position) as usize;
        self.note_used(used);
        let carry_from = block_floor(position);
        let behind = &old.chunk.as_slice()[(carry_from - old.position) as usize..];
        let mut chunk = Chunk::with_capacity(self.chunk_bytes.max(behind.len()));
        chunk.fill(behind);
        self.open = Some(OpenChunk {
            segment: old.segment,
            position: carry_from,
            chunk,
            start_offset: offset,
            start_position: position,
            end_offset: old.end_offset,
        });
        let to = block_ceil(position);
        old.chunk.truncate((to - old.position) as usize);
        old.chunk.pad_to_block();
        old.end_offset = offset;
        let from = old.position;
        self.freeze_to(old, position, from, to, now, cached);
    }

    /// The next chunk holds what this one did, `used` bytes: at once when that is more, step by step when it is less.
    fn note_used(&mut self, used: usize) {
        let wanted = fitting(used).min(CHUNK_BYTES_MAX);
        self.chunk_bytes = wanted.max(self.chunk_bytes - self.chunk_bytes / 8);
    }

    fn freeze(&mut self, open: OpenChunk, from: u64, to: u64, now: Mono, cached: &mut Vec<CachedChunk>) {
        let end = open.end_position();
        self.freeze_to(open, end, from, to, now, cached);
    }

    fn freeze_to(&mut self, open: OpenChunk, end: u64, from: u64, to: u64, now: Mono, cached: &mut Vec<CachedChunk>) {
        let charge = open.chunk.capacity();
        let data = open.chunk.freeze();
        self.queue.push_back(WriteJob {
            segment: open.segment,
            position: from,
            data: data.slice((from - open.position) as usize..(to - open.position) as usize),
            end_position: end,
            end_offset: open.end_offset,
        });
        cached.push(CachedChunk {
            segment: open.segment,
            position: open.position,
            data,
            start_offset: open.start_offset,
            start_position: open.start_position,
            end_offset: open.end_offset,
            end_position: end,
            charge,
            sealed_at: now,
        });
    }

    /// Whether the open chunk has bytes before `position`, and nothing else waits before it.
    pub fn opens_before(&self, position: u64) -> bool {
        self.queue.is_empty() && self.open.as_ref().is_some_and(|open| open.start_position < position)
    }

    /// Whether everything of a segment from `durable` on lies in the open chunk, and nothing else waits before it.
    pub fn holds_open(&self, segment: i64, durable: i64) -> bool {
        let open = self.open.as_ref();
        self.queue.is_empty() && open.is_some_and(|open| open.segment == segment && open.start_offset <= durable)
    }

    /// A part of the open chunk that [`Writer::holds_open`].
    pub fn open_bytes(&self, position: u64, len: usize) -> &[u8] {
        let bytes = self.open.as_ref().and_then(|open| {
            let from = position.checked_sub(open.position)? as usize;
            open.chunk.as_slice().get(from..from + len)
        });
        crate::invariant!(bytes.is_some(), "what the journal was offered is not in the open chunk");
        bytes.unwrap_or_default()
    }

    /// Memory of the open chunk, bytes.
    pub fn open_capacity(&self) -> usize {
        self.open.as_ref().map_or(0, |open| open.chunk.capacity())
    }

    /// Whole batches out of the open chunk, copied because it goes on being filled. `None`: `wanted.from` lies before
    /// it. `hint` is the position of a batch at or before the one wanted.
    pub fn read_open(&self, wanted: Wanted, hint: u64) -> Option<ReadData> {
        let open = self.open.as_ref().filter(|open| open.start_offset <= wanted.from)?;
        let bytes = open.chunk.as_slice();
        let hint = if hint < open.end_position() { hint } else { 0 };
        let mut at = (open.start_position.max(hint) - open.position) as usize;
        let (mut start, mut next_offset) = (None, wanted.from);
        while let Some(head) = Head::of_memory(&bytes[at..]) {
            if head.last_offset >= wanted.from {
                let taken = start.map_or(0, |start| at - start);
                if !wanted.takes(&head, taken as u64) {
                    break;
                }
                start.get_or_insert(at);
                next_offset = head.last_offset + 1;
            }
            at += head.size;
        }
        let part = start.map(|start| Bytes::copy_from_slice(&bytes[start..at]));
        let taken = part.as_ref().map_or(0, Bytes::len) as u32;
        Some(ReadData { parts: part.into_iter().map(Part::from).collect(), bytes: taken, next_offset })
    }

    /// Forgets the unfinished block: the next batch begins a new segment.
    pub fn begin_segment(&mut self) {
        crate::invariant!(self.open.is_none(), "a segment was begun over an open chunk");
        self.carry.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_fits_what_it_holds_and_follows_it_up_at_once_and_down_by_and_by() {
        assert_eq!([0, 1, BLOCK, BLOCK + 1].map(fitting), [BLOCK, BLOCK, BLOCK, 2 * BLOCK]);
        assert_eq!([65 << 10, 100 << 10, 128 << 10, 129 << 10].map(|bytes| fitting(bytes) >> 10), [80, 112, 128, 256]);
        let mut writer = Writer::new(Vec::new());
        writer.note_used(300 << 10);
        assert_eq!(writer.chunk_bytes, 512 << 10);
        writer.note_used(10 << 10);
        assert_eq!(writer.chunk_bytes, 448 << 10);
        (0..100).for_each(|_| writer.note_used(10 << 10));
        assert_eq!(writer.chunk_bytes, 12 << 10);
        writer.note_used(5 << 20);
        assert_eq!(writer.chunk_bytes, CHUNK_BYTES_MAX);
    }
}
