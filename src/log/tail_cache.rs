//! The newest chunks of a log, kept in memory for readers at its end.
//!
//! Every batch lies whole in one chunk. Chunks follow one another without a gap in offsets: one covers the offsets from
//! where the one before it ends. A chunk begins with the carried bytes of an unfinished block, so it may hold the whole
//! content of its predecessor: then the predecessor is dropped. What is not durable yet is never dropped. The host owns
//! the budget: it reads `bytes()` and asks for the oldest to go.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::base::time::Mono;

use super::head::Head;
use super::types::{ReadData, Wanted};

#[derive(Debug)]
pub(super) struct CachedChunk {
    /// Base offset of the segment.
    pub segment: i64,
    /// Position in the segment of the chunk's first byte.
    pub position: u64,
    pub data: Bytes,
    /// The offsets covered: from here ...
    pub start_offset: i64,
    /// ... where the first whole batch lies at this position ...
    pub start_position: u64,
    /// ... to here, exclusive ...
    pub end_offset: i64,
    /// ... where the last batch ends.
    pub end_position: u64,
    /// Bytes of memory it holds.
    pub charge: usize,
    pub sealed_at: Mono,
}

#[derive(Debug, Default)]
pub(super) struct TailCache {
    chunks: VecDeque<CachedChunk>,
    bytes: usize,
}

impl Wanted {
    /// Whether a batch may follow `taken` bytes.
    pub(super) fn takes(&self, head: &Head, taken: u64) -> bool {
        let fits = taken + head.size as u64 <= u64::from(self.max_bytes);
        head.last_offset < self.upper && (fits || (self.at_least_one && taken == 0))
    }
}

impl TailCache {
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// When the oldest chunk was sealed.
    pub fn oldest(&self) -> Option<Mono> {
        self.chunks.front().map(|chunk| chunk.sealed_at)
    }

    pub fn push(&mut self, mut chunk: CachedChunk) {
        while let Some(last) = self.chunks.back() {
            crate::invariant!(last.end_offset == chunk.start_offset, "a gap in the tail cache");
            if last.segment != chunk.segment || last.start_position < chunk.position {
                break;
            }
            (chunk.start_offset, chunk.start_position) = (last.start_offset, last.start_position);
            self.bytes -= last.charge;
            self.chunks.pop_back();
        }
        self.bytes += chunk.charge;
        self.chunks.push_back(chunk);
    }

    /// Drops the oldest chunks below `durable` until `bytes` are free again or none is left; returns how many are.
    pub fn evict(&mut self, bytes: usize, durable: i64) -> usize {
        let before = self.bytes;
        while before - self.bytes < bytes && self.chunks.front().is_some_and(|chunk| chunk.end_offset <= durable) {
            let chunk = self.chunks.pop_front();
            self.bytes -= chunk.map_or(0, |chunk| chunk.charge);
        }
        before - self.bytes
    }

    pub fn clear(&mut self) {
        *self = TailCache::default();
    }

    /// The segment and position range in which the batch for `offset` lies, when it is in memory.
    pub fn find(&self, offset: i64) -> Option<(i64, u64, u64)> {
        let slot = self.slot(offset)?;
        let chunk = &self.chunks[slot];
        Some((chunk.segment, chunk.start_position, chunk.end_position))
    }

    fn slot(&self, offset: i64) -> Option<usize> {
        let slot = self.chunks.partition_point(|chunk| chunk.end_offset <= offset);
        self.chunks.get(slot).is_some_and(|chunk| chunk.start_offset <= offset).then_some(slot)
    }

    /// Whole batches from the one that holds `wanted.from`; `None` when that is not in memory. `hint` is the position
    /// of a batch in the first chunk at or before the one wanted, from where the search may begin.
    pub fn read(&self, wanted: Wanted, hint: u64) -> Option<ReadData> {
        let first = self.slot(wanted.from)?;
        let mut data = ReadData { parts: Vec::new(), bytes: 0, next_offset: wanted.from };
        let mut taken = 0u64;
        for (slot, chunk) in self.chunks.iter().enumerate().skip(first) {
            let mut at = if slot == first { chunk.start_position.max(hint) } else { chunk.start_position };
            let mut start = None;
            let mut full = false;
            while at < chunk.end_position {
                let head = Head::of_memory(&chunk.data[(at - chunk.position) as usize..])?;
                if head.last_offset >= wanted.from {
                    if !wanted.takes(&head, taken) {
                        full = true;
                        break;
                    }
                    start.get_or_insert(at);
                    taken += head.size as u64;
                    data.next_offset = head.last_offset + 1;
                }
                at += head.size as u64;
            }
            if let Some(start) = start {
                let part = chunk.data.slice((start - chunk.position) as usize..(at - chunk.position) as usize);
                data.parts.push(part.into());
            }
            if full {
                break;
            }
        }
        data.bytes = taken.min(u64::from(u32::MAX)) as u32;
        Some(data)
    }
}
