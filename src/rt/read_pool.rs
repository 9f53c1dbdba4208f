//! Memory that reads from the disk go to, used again: fresh memory costs a page fault for every 4 KiB, which is more
//! than the read itself costs.
//!
//! A buffer comes back from wherever its last slice is dropped, another core's thread included. Bounded: what does not
//! fit goes back to the allocator.

use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::control::lock;
use crate::base::chunk::Chunk;

/// Reads below this take fresh memory: the allocator is good at those.
const BYTES_MIN: usize = 64 << 10;
/// Bytes kept for the next reads of one core.
const KEPT_BYTES_MAX: usize = 8 << 20;

#[derive(Debug, Default)]
struct Kept {
    chunks: Vec<Chunk>,
    bytes: usize,
}

/// The buffers of one core.
#[derive(Clone, Debug, Default)]
pub struct ReadPool {
    kept: Arc<Mutex<Kept>>,
}

/// A filled buffer on loan.
struct Loan {
    chunk: Option<Chunk>,
    pool: ReadPool,
}

impl ReadPool {
    /// An empty buffer with room for `len` bytes.
    pub fn take(&self, len: usize) -> Chunk {
        if len < BYTES_MIN {
            return Chunk::with_capacity(len);
        }
        let mut kept = lock(&self.kept);
        let fits = |chunk: &Chunk| (len..=len.saturating_mul(2)).contains(&chunk.capacity());
        // The last one back is the most likely to be in the processor's caches.
        if let Some(index) = kept.chunks.iter().rposition(fits) {
            let chunk = kept.chunks.remove(index);
            kept.bytes -= chunk.capacity();
            return chunk;
        }
        drop(kept);
        // Sizes differ by a batch or so; a little room makes them fit one another.
        Chunk::with_capacity(len + len / 8)
    }

    /// Shares what was read; the buffer comes back when the last slice is gone.
    pub fn share(&self, chunk: Chunk) -> Bytes {
        if chunk.capacity() < BYTES_MIN {
            return chunk.freeze();
        }
        Bytes::from_owner(Loan { chunk: Some(chunk), pool: self.clone() })
    }

    /// Takes a buffer back without having shared it.
    fn give_back(&self, mut chunk: Chunk) {
        chunk.truncate(0);
        let mut kept = lock(&self.kept);
        if kept.bytes + chunk.capacity() <= KEPT_BYTES_MAX {
            kept.bytes += chunk.capacity();
            kept.chunks.push(chunk);
        }
    }
}

impl AsRef<[u8]> for Loan {
    fn as_ref(&self) -> &[u8] {
        self.chunk.as_ref().map_or(&[], Chunk::as_slice)
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        if let Some(chunk) = self.chunk.take() {
            self.pool.give_back(chunk);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_only_when_its_last_slice_is_gone() {
        let pool = ReadPool::default();
        let mut chunk = pool.take(1 << 20);
        chunk.fill(&[7; 1000]);
        let start = chunk.start_ptr() as usize;
        let bytes = pool.share(chunk);
        let slice = bytes.slice(10..20);
        drop(bytes);
        let mut other = pool.take(1 << 20);
        assert_ne!(other.start_ptr() as usize, start);
        assert_eq!(&slice[..], [7; 10]);
        std::thread::spawn(move || drop(slice)).join().expect("drop on another thread");
        let mut again = pool.take((1 << 20) + 4096);
        assert_eq!((again.start_ptr() as usize, again.len()), (start, 0));
    }

    #[test]
    fn what_is_kept_is_bounded_and_small_reads_do_not_hold_large_buffers() {
        let pool = ReadPool::default();
        let all: Vec<Bytes> = (0..40).map(|_| pool.take(1 << 20)).map(|chunk| pool.share(chunk)).collect();
        drop(all);
        let kept = lock(&pool.kept);
        assert!(kept.bytes <= KEPT_BYTES_MAX && kept.bytes > KEPT_BYTES_MAX / 2, "{}", kept.bytes);
        assert_eq!(kept.bytes, kept.chunks.iter().map(Chunk::capacity).sum::<usize>());
        drop(kept);
        assert!(pool.take(128 << 10).capacity() < 512 << 10);
        assert!(pool.take(4096).capacity() == 4096);
    }
}
