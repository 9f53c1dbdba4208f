//! What a start makes of the journal that a crash left: the bytes to write into each segment, in order.
//!
//! A walk from the tail of the superblock, entry after entry by number, until the first that is not there. What lies
//! behind it was never acknowledged: an entry is on disk before the next one is written.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};

use super::super::names::{self, FileKind};
use super::codec::{DATA_START, ENTRY_BYTES_MAX, Entry, Found, Mark, Superblock, decode_entry};
use crate::base::ids::Uuid;
use crate::base::limits::BLOCK;

/// Bytes read at a time; more than an entry.
const PIECE: u64 = 4 << 20;
const _: () = assert!(PIECE > ENTRY_BYTES_MAX);

/// A segment that gets bytes, by its partition's folder and its base offset.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    pub dir: String,
    pub topic_id: Uuid,
    pub segment: i64,
}

impl Target {
    /// The segment's file, relative to the data folder.
    pub fn path(&self) -> String {
        names::path(&self.dir, FileKind::Log, self.segment)
    }

    /// The file that says whose folder it is.
    pub fn metadata_path(&self) -> String {
        format!("{}/{}", self.dir, names::METADATA)
    }
}

/// Bytes and the position they belong at.
pub type Placed = (u64, Bytes);

/// The walk over one journal.
#[derive(Debug)]
pub struct Walk {
    incarnation: Uuid,
    /// The entry looked for.
    at: Mark,
    file_len: u64,
    /// Bytes of the file from `at.position` on.
    buffer: Bytes,
    targets: BTreeMap<Target, Vec<Placed>>,
    pub entries: u64,
    pub bytes: u64,
    done: bool,
}

impl Walk {
    pub fn new(superblock: &Superblock, file_len: u64) -> Walk {
        Walk {
            incarnation: superblock.incarnation,
            at: superblock.tail,
            file_len,
            buffer: Bytes::new(),
            targets: BTreeMap::new(),
            entries: 0,
            bytes: 0,
            done: false,
        }
    }

    /// What to read next: position and bytes. `None`: the walk is over.
    pub fn next_read(&mut self) -> Option<(u64, u32)> {
        if self.done {
            return None;
        }
        if self.at.position >= self.file_len {
            return self.next_lap();
        }
        let len = PIECE.min(self.file_len - self.at.position).next_multiple_of(BLOCK as u64);
        Some((self.at.position, len as u32))
    }

    /// The entry is not behind the one before it: then it is at the start of the data, or nowhere.
    fn next_lap(&mut self) -> Option<(u64, u32)> {
        if self.at.position == DATA_START || self.file_len <= DATA_START {
            self.done = true;
            return None;
        }
        self.at.position = DATA_START;
        self.next_read()
    }

    /// Takes what was read there. [`Walk::next_read`] tells how to go on.
    pub fn feed(&mut self, data: Bytes) {
        let whole = self.at.position + data.len() as u64 >= self.file_len || (data.len() as u64) < PIECE;
        self.buffer = data;
        loop {
            match decode_entry(&self.buffer, self.incarnation, self.at.sequence) {
                Found::Entry(entry) => self.take(entry),
                // It may reach beyond what was read, not beyond the file: read again from where it begins.
                Found::Short(_) if !whole && !self.buffer.is_empty() => return,
                // Nothing of it was read yet.
                Found::Nothing if self.buffer.is_empty() && !whole => return,
                Found::Short(_) | Found::Nothing => {
                    if self.at.position == DATA_START {
                        self.done = true;
                    } else {
                        self.at.position = DATA_START;
                    }
                    return;
                }
            }
        }
    }

    fn take(&mut self, entry: Entry) {
        self.entries += 1;
        let len = (entry.len as usize).min(self.buffer.len());
        self.buffer = self.buffer.slice(len..);
        self.at = Mark { position: self.at.position + entry.len, sequence: self.at.sequence + 1 };
        for piece in entry.pieces {
            self.bytes += piece.data.len() as u64;
            let target = Target { dir: piece.dir, topic_id: piece.topic_id, segment: piece.segment };
            self.targets.entry(target).or_default().push((piece.position, piece.data));
        }
    }

    /// The bytes for each segment, those that follow one another put together, in the order they were written.
    pub fn finish(self) -> Vec<(Target, Vec<Placed>)> {
        self.targets.into_iter().map(|(target, pieces)| (target, join(pieces))).collect()
    }
}

/// Joins runs of pieces that touch. Positions of one segment only grow.
fn join(pieces: Vec<Placed>) -> Vec<Placed> {
    let mut joined: Vec<(u64, BytesMut)> = Vec::new();
    for (position, data) in pieces {
        match joined.last_mut() {
            Some((start, bytes)) if *start + bytes.len() as u64 == position => bytes.extend_from_slice(&data),
            _ => joined.push((position, BytesMut::from(&data[..]))),
        }
    }
    joined.into_iter().map(|(position, bytes)| (position, bytes.freeze())).collect()
}

#[cfg(test)]
mod tests {
    use super::super::codec::{EntryBuilder, PieceHead};
    use super::super::ring::Ring;
    use super::*;
    use crate::base::prng::Prng;
    use crate::base::time::Mono;

    const LIFE: Uuid = Uuid([5; 16]);

    fn entry(life: Uuid, sequence: u64, data: &[u8], position: u64) -> Bytes {
        let mut builder = EntryBuilder::with_capacity(PieceHead::piece_len(3, data.len()));
        builder.push(&PieceHead { topic_id: Uuid([1; 16]), dir: "t-0", segment: 0, position }, data);
        builder.finish(life, sequence)
    }

    fn walk(file: &[u8], tail: Mark) -> Walk {
        let superblock = Superblock { incarnation: LIFE, generation: 1, tail };
        let mut walk = Walk::new(&superblock, file.len() as u64);
        for _ in 0..1_000 {
            let Some((position, len)) = walk.next_read() else { return walk };
            let end = (position as usize + len as usize).min(file.len());
            walk.feed(Bytes::copy_from_slice(&file[position as usize..end]));
        }
        panic!("the walk does not end");
    }

    /// Laps of a small ring over the bytes of another life, cut after any entry, the next one torn: the walk finds the
    /// entries from the tail on disk to the last whole one, no more and no less.
    #[test]
    fn a_walk_finds_every_entry_that_is_needed_and_nothing_else() {
        for seed in 0..400 {
            let mut random = Prng::new(seed);
            let blocks = 8 + random.below(20) as usize;
            let len = DATA_START as usize + blocks * BLOCK;
            let mut file = vec![0; len];
            for at in 0..blocks {
                let old = entry(Uuid([6; 16]), 1 + random.below(20), &[9; 64], 0);
                let from = DATA_START as usize + at * BLOCK;
                file[from..from + BLOCK].copy_from_slice(&old);
            }
            let mut ring = Ring::new(len as u64);
            let (mut tail, mut last) = (ring.tail(), 0);
            let mut open = Vec::new();
            for _ in 0..random.below(80) {
                let data = vec![random.next_u64() as u8; 100 + random.below(7_000) as usize];
                let len = (PieceHead::piece_len(3, data.len()) + 40).next_multiple_of(BLOCK) as u64;
                while random.chance(1, 2) && !open.is_empty() {
                    ring.release(open.remove(0));
                }
                if let Some(written) = ring.tail_to_write(true) {
                    ring.tail_written(written);
                    tail = written;
                }
                let Some(mark) = ring.push(len, vec![1], Mono(0)) else { continue };
                let bytes = entry(LIFE, mark.sequence, &data, mark.sequence * 10_000);
                let from = mark.position as usize;
                if random.chance(1, 60) {
                    let torn = random.below(bytes.len() as u64 / 512) as usize * 512;
                    file[from..from + torn].copy_from_slice(&bytes[..torn]);
                    if torn < 40 + 41 + data.len() {
                        break;
                    }
                } else {
                    file[from..from + bytes.len()].copy_from_slice(&bytes);
                }
                last = mark.sequence;
                open.push(mark.sequence);
            }
            let walk = walk(&file, tail);
            assert_eq!(walk.entries, (last + 1).saturating_sub(tail.sequence), "seed {seed}");
            let positions: Vec<u64> = walk.finish().into_iter().flat_map(|(_, p)| p).map(|(at, _)| at).collect();
            let expected: Vec<u64> = (tail.sequence..=last).map(|sequence| sequence * 10_000).collect();
            assert_eq!(positions, expected, "seed {seed}");
        }
    }

    #[test]
    fn pieces_that_touch_are_written_together_and_a_short_file_ends_the_walk() {
        let joined = join(vec![(0, Bytes::from_static(b"ab")), (2, Bytes::from_static(b"c")), (9, Bytes::new())]);
        assert_eq!(joined, [(0, Bytes::from_static(b"abc")), (9, Bytes::new())]);
        let tail = Mark { position: DATA_START, sequence: 1 };
        assert_eq!(walk(&[], tail).entries, 0);
        let far = Mark { position: 1 << 40, sequence: 1 };
        assert_eq!(walk(&vec![0; 5 * BLOCK], far).entries, 0);
    }
}
