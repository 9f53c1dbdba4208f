//! Which reads are worth asking the disk for before anybody wants them, how large they are, and how much memory they
//! may take. Rules and numbers only; `read_ahead.rs` acts on them.
//!
//! ```text
//!   end of the log        frozen chunks of the tail cache: no read at all
//!   in the page cache     sent from there without a copy, to a reader in sequence (`stage.rs`); while nobody writes,
//!                         what the page cache lacks is brought into it
//!   everything else       direct reads past the page cache; a reader in sequence finds its next piece read already
//!                         (in page-cache mode through it)
//! ```
//! All ways were measured (tuning/budget.md). Reading through the page cache into memory copies every byte once more,
//! and the kernel's read-ahead fills the disk's queue with megabytes that a sync then waits for: beside writers nothing
//! is brought in.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::types::Durability;

/// Readers of one log that are remembered.
pub(super) const STREAMS_MAX: usize = 8;
/// The most that is read ahead for one reader, bytes.
const AHEAD_BYTES_MAX: u32 = 4 << 20;
/// The least that is worth a read of its own, bytes.
const AHEAD_BYTES_MIN: u32 = 64 << 10;
/// A reader in sequence that takes less at a time gets so much read ahead in the end, bytes.
const AHEAD_BYTES_USUAL: u32 = 1 << 20;
/// How long something that was read ahead waits for its reader.
pub(super) const AHEAD_IDLE_MS: u64 = 2_000;

/// Whether a rolled segment is read past the page cache: as it was written. What the page cache may still hold would
/// have to be written out before a direct read.
pub(super) fn is_direct(durability: Durability) -> bool {
    durability == Durability::Stable
}

/// How a reader went about so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Habit {
    /// Reads in a row that began where the one before had ended.
    pub in_sequence: u32,
    /// The first of them was at the start of the log: whoever begins there wants it all.
    pub from_start: bool,
    /// Bytes it allowed the last time.
    pub max_bytes: u32,
    /// It sends on what may lie in a file.
    pub to_send: bool,
}

impl Habit {
    /// How much to read ahead, bytes; `None`: nothing yet.
    pub fn ahead(self) -> Option<u32> {
        if self.in_sequence == 0 && !self.from_start {
            return None;
        }
        if self.to_send {
            // What lies in a file cannot be cut by its batches; the kernel reads further ahead by itself.
            return Some(self.max_bytes.min(AHEAD_BYTES_MAX));
        }
        let grown = AHEAD_BYTES_MIN.checked_shl(self.in_sequence).unwrap_or(u32::MAX).min(AHEAD_BYTES_USUAL);
        Some(self.max_bytes.max(grown).min(AHEAD_BYTES_MAX))
    }
}

/// Memory of one core for what is read ahead, shared by all of its logs. Only that core counts in it; the count is
/// atomic because a log that may move to another core must not hold anything that could not.
#[derive(Clone, Debug)]
pub struct AheadRoom {
    bytes_max: u64,
    used: Arc<AtomicU64>,
}

/// A part of the room; given back when it is dropped.
#[derive(Debug)]
pub(super) struct AheadLease {
    bytes: u64,
    used: Arc<AtomicU64>,
}

impl AheadRoom {
    pub fn new(bytes_max: u64) -> AheadRoom {
        AheadRoom { bytes_max, used: Arc::default() }
    }

    /// All of `bytes`, or nothing: half of what a reader wants next saves it no wait.
    pub(super) fn lease(&self, bytes: u64) -> Option<AheadLease> {
        let used = self.used.load(Relaxed) + bytes;
        if used > self.bytes_max {
            return None;
        }
        self.used.store(used, Relaxed);
        Some(AheadLease { bytes, used: self.used.clone() })
    }

    /// Bytes in use.
    pub fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }
}

impl Drop for AheadLease {
    fn drop(&mut self) {
        self.used.fetch_sub(self.bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_somewhere_gets_nothing_ahead_and_a_sequence_gets_more_and_more() {
        let habit =
            |in_sequence, from_start, max_bytes| Habit { in_sequence, from_start, max_bytes, to_send: false }.ahead();
        assert_eq!(habit(0, false, 1 << 20), None);
        assert_eq!(habit(0, true, 1 << 20), Some(1 << 20));
        assert_eq!(habit(1, false, 1000), Some(128 << 10));
        assert_eq!(habit(2, false, 1000), Some(256 << 10));
        assert_eq!(habit(40, false, 1000), Some(AHEAD_BYTES_USUAL));
        assert_eq!(habit(1, false, u32::MAX), Some(AHEAD_BYTES_MAX));
    }

    #[test]
    fn the_room_is_never_exceeded_and_comes_back_with_the_leases() {
        let room = AheadRoom::new(100);
        let first = room.lease(60);
        assert!(first.is_some() && room.lease(41).is_none());
        let second = room.lease(40);
        assert_eq!((second.is_some(), room.used()), (true, 100));
        drop((first, second));
        assert_eq!(room.used(), 0);
    }
}
