//! The space of a journal: where the next entry goes, which entries are still needed, and what may be overwritten.
//!
//! ```text
//!   | superblocks | free | tail ▓▓▓▓ entries, one behind the other ▓▓▓▓ head | free |
//! ```
//! An entry lies in one piece: one that does not fit before the end of the file goes to the start of the data. An entry
//! is needed until every log in it has the bytes in its segment, synced. Space is given out again only once the tail
//! *on disk* lies behind it: a recovery begins at that tail and must find every entry from there on.

use std::collections::VecDeque;

use super::codec::{DATA_START, ENTRY_BYTES_MAX, Mark};
use crate::base::limits::BLOCK;
use crate::base::slots::Key;
use crate::base::time::Mono;

/// Pieces that may be outstanding: bounds the memory of what keeps track of them.
const PIECES_MAX: usize = 128 << 10;
/// A tail that would free this part of the ring is worth a superblock.
const FREED_SHARE: u64 = 8;

/// An entry that is still needed, or one behind such.
#[derive(Debug)]
struct Kept {
    position: u64,
    /// Logs whose bytes are not synced in their segment yet.
    left: u32,
    /// All its logs.
    logs: Vec<Key>,
    written_at: Mono,
}

/// The entries of one journal in one life.
#[derive(Debug)]
pub struct Ring {
    /// Bytes of the file.
    len: u64,
    head: u64,
    /// Number of the next entry.
    next: u64,
    kept: VecDeque<Kept>,
    /// The tail that a recovery would begin at now.
    on_disk: Mark,
    pieces: usize,
    /// Where the search for logs that hold the tail back goes on: number of the entry, place in it.
    cursor: (u64, usize),
}

impl Ring {
    /// An empty one in a file of `len` bytes (whole blocks). The superblock of `tail()` must be on disk before an entry
    /// is.
    pub fn new(len: u64) -> Ring {
        let on_disk = Mark { position: DATA_START, sequence: 1 };
        Ring { len, head: DATA_START, next: 1, kept: VecDeque::new(), on_disk, pieces: 0, cursor: (1, 0) }
    }

    /// The largest entry: a quarter of the space, so that there is always something to write and to free.
    pub fn entry_bytes_max(&self) -> u64 {
        ((self.len - DATA_START) / 4 / BLOCK as u64 * BLOCK as u64).min(ENTRY_BYTES_MAX)
    }

    /// The oldest entry that is needed, or where the next one will be.
    pub fn tail(&self) -> Mark {
        match self.kept.front() {
            Some(oldest) => Mark { position: oldest.position, sequence: self.first_sequence() },
            None => Mark { position: self.head, sequence: self.next },
        }
    }

    fn first_sequence(&self) -> u64 {
        self.next - self.kept.len() as u64
    }

    /// A place for an entry of `len` bytes, if there is one that no recovery needs.
    fn place(&self, len: u64) -> Option<u64> {
        let (head, tail) = (self.head, self.on_disk.position);
        let fits_behind = head + len <= self.len;
        if self.on_disk.sequence == self.next {
            // Nothing is needed: only the place to begin at must stay where it can be found.
            return if fits_behind { Some(head) } else { Some(DATA_START) };
        }
        if tail < head {
            if fits_behind {
                return Some(head);
            }
            return (DATA_START + len < tail).then_some(DATA_START);
        }
        (head + len < tail).then_some(head)
    }

    /// Enters an entry of `len` bytes with these logs: its place and number. `None`: there is no room, which is an
    /// answer.
    pub fn push(&mut self, len: u64, logs: Vec<Key>, now: Mono) -> Option<Mark> {
        crate::invariant!(!logs.is_empty(), "an entry without logs would never be released");
        if len > self.entry_bytes_max() || self.pieces + logs.len() > PIECES_MAX {
            return None;
        }
        let position = self.place(len)?;
        let mark = Mark { position, sequence: self.next };
        self.next += 1;
        self.head = position + len;
        self.pieces += logs.len();
        self.kept.push_back(Kept { position, left: logs.len() as u32, logs, written_at: now });
        Some(mark)
    }

    /// One log of the entry has the bytes in its segment, synced (or has no segment any more).
    pub fn release(&mut self, sequence: u64) {
        let Some(place) = sequence.checked_sub(self.first_sequence()) else { return };
        let Some(kept) = self.kept.get_mut(place as usize) else { return };
        crate::invariant!(kept.left > 0, "entry {sequence} was released more often than it has logs");
        kept.left -= 1;
        while self.kept.front().is_some_and(|oldest| oldest.left == 0) {
            let oldest = self.kept.pop_front();
            self.pieces -= oldest.map_or(0, |oldest| oldest.logs.len());
        }
    }

    /// The tail to be written, when that would free enough, or anything at all for one who is `short` of space.
    pub fn tail_to_write(&self, short: bool) -> Option<Mark> {
        let tail = self.tail();
        if tail.sequence == self.on_disk.sequence {
            return None;
        }
        let data = self.len - DATA_START;
        let freed = (tail.position + data - self.on_disk.position) % data;
        (short || freed >= data / FREED_SHARE || self.kept.is_empty() && freed > 0).then_some(tail)
    }

    /// The superblock with this tail is on disk.
    pub fn tail_written(&mut self, tail: Mark) {
        crate::invariant!(tail.sequence >= self.on_disk.sequence, "the tail of the journal went back");
        self.on_disk = tail;
    }

    /// Bytes of entries that are needed.
    pub fn needed_bytes(&self) -> u64 {
        match self.kept.front() {
            Some(oldest) if oldest.position < self.head => self.head - oldest.position,
            Some(oldest) => self.len - oldest.position + self.head - DATA_START,
            None => 0,
        }
    }

    /// Whether entries should make room: half of the space, or of the pieces, is taken.
    pub fn is_filling(&self) -> bool {
        self.needed_bytes() * 2 >= self.len - DATA_START || self.pieces * 2 >= PIECES_MAX
    }

    /// Nothing is needed of it.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// When the oldest entry that is needed was written.
    pub fn oldest(&self) -> Option<Mono> {
        self.kept.front().map(|oldest| oldest.written_at)
    }

    /// The next log that may hold the tail back, oldest first, each place asked about once: and the entry it is in. The
    /// newest entry's turn comes when it is not `in_flight` any more: its logs have nothing to settle for it before.
    pub fn next_to_settle(&mut self, in_flight: bool) -> Option<(Key, u64)> {
        let first = self.first_sequence();
        let end = self.next - u64::from(in_flight);
        if self.cursor.0 < first {
            self.cursor = (first, 0);
        }
        while self.cursor.0 < end {
            let kept = self.kept.get((self.cursor.0 - first) as usize)?;
            match kept.logs.get(self.cursor.1) {
                Some(log) if kept.left > 0 => {
                    self.cursor.1 += 1;
                    return Some((*log, self.cursor.0));
                }
                _ => self.cursor = (self.cursor.0 + 1, 0),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::prng::Prng;

    const BLOCKS: u64 = BLOCK as u64;

    #[test]
    fn a_full_ring_says_so_and_space_comes_back_only_with_the_tail_on_disk() {
        let mut ring = Ring::new(DATA_START + 8 * BLOCKS);
        let first = ring.push(2 * BLOCKS, vec![1, 2], Mono(0)).unwrap();
        assert_eq!(first, Mark { position: DATA_START, sequence: 1 });
        for _ in 0..3 {
            ring.push(2 * BLOCKS, vec![3], Mono(0)).unwrap();
        }
        assert_eq!(ring.push(BLOCKS, vec![1], Mono(0)), None);
        ring.release(1);
        assert_eq!(ring.tail_to_write(true), None, "one of its logs still needs the first entry");
        ring.release(1);
        assert_eq!(ring.push(BLOCKS, vec![1], Mono(0)), None, "a recovery would still begin at the first entry");
        let tail = ring.tail_to_write(false).unwrap();
        assert_eq!(tail, Mark { position: DATA_START + 2 * BLOCKS, sequence: 2 });
        ring.tail_written(tail);
        assert_eq!(ring.push(BLOCKS, vec![1], Mono(0)), Some(Mark { position: DATA_START, sequence: 5 }));
        assert_eq!(ring.push(BLOCKS, vec![1], Mono(0)), None, "head and tail must not meet");
    }

    #[test]
    fn each_log_of_each_entry_is_offered_once_for_settling() {
        let mut ring = Ring::new(DATA_START + 64 * BLOCKS);
        ring.push(BLOCKS, vec![1, 2], Mono(0)).unwrap();
        ring.push(BLOCKS, vec![2, 3], Mono(0)).unwrap();
        assert_eq!(ring.next_to_settle(false), Some((1, 1)));
        ring.release(1);
        ring.release(1);
        let rest: Vec<_> = std::iter::from_fn(|| ring.next_to_settle(false)).collect();
        assert_eq!(rest, [(2, 2), (3, 2)]);
        ring.push(BLOCKS, vec![4], Mono(0)).unwrap();
        assert_eq!(ring.next_to_settle(true), None, "nothing of it is durable yet");
        assert_eq!(ring.next_to_settle(false), Some((4, 3)), "it was not passed over");
        assert_eq!(ring.next_to_settle(false), None);
    }

    /// Random entries, releases and superblocks: from the tail on disk to the newest entry nothing is overwritten.
    #[test]
    fn what_a_recovery_would_read_is_never_overwritten() {
        for seed in 0..300 {
            let mut random = Prng::new(seed);
            let blocks = 8 + random.below(30);
            let mut ring = Ring::new(DATA_START + blocks * BLOCKS);
            let mut owner = vec![0u64; blocks as usize];
            let mut placed = Vec::new();
            let mut open: Vec<u64> = Vec::new();
            let mut on_disk = 1;
            for _ in 0..400 {
                match random.below(4) {
                    0 | 1 => {
                        let len = (1 + random.below(3)) * BLOCKS;
                        let Some(mark) = ring.push(len, vec![7], Mono(0)) else { continue };
                        let from = ((mark.position - DATA_START) / BLOCKS) as usize;
                        let blocks = from..from + (len / BLOCKS) as usize;
                        owner[blocks.clone()].fill(mark.sequence);
                        placed.push((mark.sequence, blocks));
                        open.push(mark.sequence);
                    }
                    2 if !open.is_empty() => {
                        let at = random.below(open.len() as u64) as usize;
                        ring.release(open.swap_remove(at));
                    }
                    _ => {
                        if let Some(tail) = ring.tail_to_write(random.chance(1, 2)) {
                            let oldest = open.iter().min().copied();
                            assert!(oldest.is_none_or(|oldest| tail.sequence <= oldest), "seed {seed}");
                            on_disk = tail.sequence;
                            ring.tail_written(tail);
                        }
                    }
                }
                for (sequence, blocks) in placed.iter().filter(|(sequence, _)| *sequence >= on_disk) {
                    assert!(owner[blocks.clone()].iter().all(|at| at == sequence), "seed {seed}: entry {sequence}");
                }
            }
        }
    }
}
