//! Aligned memory for direct I/O: writable while it has one owner, frozen into shared [`Bytes`] after.
//!
//! The device, the tail cache and any number of readers may hold slices of a frozen chunk; the memory goes back when
//! the last one is dropped. A chunk in the kernel's hands is owned by the operation, so it cannot be freed under it.
#![allow(unsafe_code, reason = "the one place that allocates aligned memory")]

use std::alloc::{Layout, alloc, alloc_zeroed, dealloc, handle_alloc_error};
use std::fmt;
use std::ptr::NonNull;

use bytes::Bytes;

use super::limits::BLOCK;

/// A writable buffer whose address and capacity are multiples of [`BLOCK`].
pub struct Chunk {
    start: NonNull<u8>,
    capacity: usize,
    len: usize,
}

// SAFETY: a chunk owns its memory alone and has no interior mutability; moving or sharing it is moving or sharing a
// `Vec<u8>`.
unsafe impl Send for Chunk {}
// SAFETY: as above; `&Chunk` gives read access only.
unsafe impl Sync for Chunk {}

impl Chunk {
    /// An empty chunk with room for at least `bytes` bytes, rounded up to whole blocks (one block at least).
    pub fn with_capacity(bytes: usize) -> Chunk {
        Chunk::allocate(bytes, false)
    }

    /// A full chunk of zeros, `bytes` rounded up to whole blocks.
    pub fn zeroed(bytes: usize) -> Chunk {
        let mut chunk = Chunk::allocate(bytes, true);
        chunk.len = chunk.capacity;
        chunk
    }

    fn allocate(bytes: usize, zero: bool) -> Chunk {
        let capacity = bytes.max(1).next_multiple_of(BLOCK);
        let layout = Chunk::layout(capacity);
        // SAFETY: the layout has a non-zero size (at least one block).
        let start = unsafe { if zero { alloc_zeroed(layout) } else { alloc(layout) } };
        let Some(start) = NonNull::new(start) else { handle_alloc_error(layout) };
        Chunk { start, capacity, len: 0 }
    }

    fn layout(capacity: usize) -> Layout {
        // A capacity comes from a length in memory, so it is far below isize::MAX.
        Layout::from_size_align(capacity, BLOCK).expect("chunk layout")
    }

    pub fn capacity(&self) -> usize {
        self.capacity
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that still fit.
    pub fn room(&self) -> usize {
        self.capacity - self.len
    }

    /// Copies as much of `bytes` as fits and returns how much that was.
    pub fn fill(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(self.room());
        // SAFETY: `count` bytes fit behind `len`, and `bytes` cannot overlap memory that this chunk owns alone.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.start.as_ptr().add(self.len), count) };
        self.len += count;
        count
    }

    /// Appends zeros up to the next multiple of [`BLOCK`].
    pub fn pad_to_block(&mut self) {
        let target = self.len.next_multiple_of(BLOCK);
        // SAFETY: the capacity is a multiple of the block, so `target` is within it.
        unsafe { std::ptr::write_bytes(self.start.as_ptr().add(self.len), 0, target - self.len) };
        self.len = target;
    }

    /// Keeps the first `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: the first `len` bytes are initialised (by `fill`, `pad_to_block`, `zeroed` or `assume_filled`).
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as in `as_slice`, and `&mut self` makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }

    /// Where a driver lets the kernel write; valid for `capacity` bytes while the chunk lives.
    pub fn start_ptr(&mut self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// Declares the first `len` bytes written.
    ///
    /// # Safety
    /// The kernel (or the caller) must have written the first `len` bytes through [`Chunk::start_ptr`].
    pub unsafe fn assume_filled(&mut self, len: usize) {
        crate::invariant!(len <= self.capacity, "chunk of {} bytes filled with {len}", self.capacity);
        self.len = len;
    }

    /// Ends writing: from here on the bytes are shared and never change.
    pub fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        // SAFETY: allocated in `allocate` with the same layout, and dropped once.
        unsafe { dealloc(self.start.as_ptr(), Chunk::layout(self.capacity)) };
    }
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chunk({} of {} bytes)", self.len, self.capacity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_fills_to_its_capacity_pads_with_zeros_and_stays_aligned_when_frozen() {
        let mut chunk = Chunk::with_capacity(BLOCK + 1);
        assert_eq!(chunk.capacity(), 2 * BLOCK);
        assert_eq!(chunk.fill(b"abc"), 3);
        chunk.pad_to_block();
        assert_eq!(chunk.len(), BLOCK);
        assert!(chunk.as_slice()[3..].iter().all(|&b| b == 0));
        assert_eq!(chunk.fill(&vec![7; 2 * BLOCK]), BLOCK, "only what fits");
        let frozen = chunk.freeze();
        assert_eq!(frozen.as_ptr() as usize % BLOCK, 0);
        let tail = frozen.slice(BLOCK..);
        drop(frozen);
        assert!(tail.iter().all(|&b| b == 7));
    }
}
