//! The bytes of a journal: two superblocks and entries. Little is believed when they are read back.
//!
//! Numbers are big-endian; `JOURNAL.md` has the tables. A CRC-32C covers everything of a superblock or entry but itself
//! and the padding; the incarnation, random for each life of the node, keeps bytes of earlier lives (and bytes that a
//! client made up) from being taken for entries.

use bytes::{BufMut, Bytes};

use crate::base::chunk::Chunk;
use crate::base::ids::Uuid;
use crate::base::limits::BLOCK;

/// Entries begin here, behind the two superblocks.
pub const DATA_START: u64 = 2 * BLOCK as u64;
/// Bytes before the first piece of an entry.
pub const ENTRY_HEAD: usize = 40;
/// Bytes of a piece beside the folder's name and the batches.
pub const PIECE_HEAD: usize = 38;
/// Longest name of a partition's folder, bytes: what a file name holds.
const DIR_LEN_MAX: usize = 255;
/// The largest entry, bytes: what a walk must hold at once.
pub const ENTRY_BYTES_MAX: u64 = 512 << 10;

const SUPER_MAGIC: u32 = 0x4b4a_5342;
const ENTRY_MAGIC: u32 = 0x4b4a_454e;
const VERSION: u32 = 1;
const SUPER_LEN: usize = 52;

/// A place in the journal, and the number of the entry that lies or will lie there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    pub position: u64,
    pub sequence: u64,
}

/// Where a recovery begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superblock {
    pub incarnation: Uuid,
    /// Grows with each one written; the larger of two that can be read counts.
    pub generation: u64,
    /// The oldest entry that is still needed.
    pub tail: Mark,
}

/// A superblock that must not be passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownVersion(pub u32);

impl Superblock {
    /// Where it is written: the two places take turns, so that a torn one leaves the one before.
    pub fn position(&self) -> u64 {
        (self.generation % 2) * BLOCK as u64
    }

    /// One block.
    pub fn encode(&self) -> Bytes {
        let mut bytes = Vec::with_capacity(SUPER_LEN);
        bytes.put_u32(SUPER_MAGIC);
        bytes.put_u32(0);
        bytes.put_u32(VERSION);
        bytes.put_slice(&self.incarnation.0);
        bytes.put_u64(self.generation);
        bytes.put_u64(self.tail.position);
        bytes.put_u64(self.tail.sequence);
        let crc = crc32c::crc32c(&bytes[8..]).to_be_bytes();
        bytes[4..8].copy_from_slice(&crc);
        let mut chunk = Chunk::with_capacity(BLOCK);
        chunk.fill(&bytes);
        chunk.pad_to_block();
        chunk.freeze()
    }

    fn decode(block: &[u8]) -> Result<Option<Superblock>, UnknownVersion> {
        let mut fields = Fields(block);
        let (Some(SUPER_MAGIC), Some(crc)) = (fields.u32(), fields.u32()) else { return Ok(None) };
        let Some(body) = block.get(8..SUPER_LEN) else { return Ok(None) };
        if crc32c::crc32c(body) != crc {
            return Ok(None);
        }
        let version = fields.u32().unwrap_or(0);
        if version != VERSION {
            return Err(UnknownVersion(version));
        }
        let read = (|| {
            let incarnation = fields.uuid()?;
            let generation = fields.u64()?;
            let tail = Mark { position: fields.u64()?, sequence: fields.u64()? };
            Some(Superblock { incarnation, generation, tail })
        })();
        Ok(read.filter(|block| block.tail.position >= DATA_START && block.tail.position.is_multiple_of(BLOCK as u64)))
    }

    /// The newer of the two at the head of a journal; `None`: it holds nothing.
    ///
    /// # Errors
    /// [`UnknownVersion`] when a later build wrote one: what it holds must not be thrown away.
    pub fn newest(head: &[u8]) -> Result<Option<Superblock>, UnknownVersion> {
        let mut newest: Option<Superblock> = None;
        for block in head.chunks(BLOCK).take(2) {
            let found = Superblock::decode(block)?;
            newest = newest.into_iter().chain(found).max_by_key(|block| block.generation);
        }
        Ok(newest)
    }
}

/// What to write over the superblocks of a journal that holds nothing any more.
pub fn empty_superblocks() -> Bytes {
    Chunk::zeroed(2 * BLOCK).freeze()
}

/// Where the bytes of a piece belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PieceHead<'a> {
    pub topic_id: Uuid,
    /// The partition's folder.
    pub dir: &'a str,
    /// Base offset of the segment.
    pub segment: i64,
    /// Position in the segment's file.
    pub position: u64,
}

impl PieceHead<'_> {
    /// Bytes that a piece takes in an entry: `len` of batches, under a folder's name of `dir_len`.
    pub fn piece_len(dir_len: usize, len: usize) -> usize {
        PIECE_HEAD + dir_len + len
    }
}

/// An entry being packed.
#[derive(Debug)]
pub struct EntryBuilder {
    chunk: Chunk,
    pieces: u32,
}

impl EntryBuilder {
    /// With room for pieces of `bytes` bytes together (see [`PieceHead::piece_len`]).
    pub fn with_capacity(bytes: usize) -> EntryBuilder {
        let mut chunk = Chunk::with_capacity(ENTRY_HEAD + bytes);
        chunk.fill(&[0; ENTRY_HEAD]);
        EntryBuilder { chunk, pieces: 0 }
    }

    /// Bytes of the blocks that the entry will fill.
    pub fn block_bytes(&self) -> usize {
        self.chunk.capacity()
    }

    /// Puts the batches of one log behind the others.
    pub fn push(&mut self, head: &PieceHead<'_>, batches: &[u8]) {
        crate::invariant!(
            PieceHead::piece_len(head.dir.len(), batches.len()) <= self.chunk.room(),
            "an entry was made too small"
        );
        let mut bytes = [0; PIECE_HEAD];
        let mut rest = &mut bytes[..];
        rest.put_slice(&head.topic_id.0);
        rest.put_i64(head.segment);
        rest.put_u64(head.position);
        rest.put_u32(batches.len() as u32);
        rest.put_u16(head.dir.len() as u16);
        self.chunk.fill(&bytes);
        self.chunk.fill(head.dir.as_bytes());
        self.chunk.fill(batches);
        self.pieces += 1;
    }

    /// Whole blocks, ready to be written.
    pub fn finish(mut self, incarnation: Uuid, sequence: u64) -> Bytes {
        let len = self.chunk.len();
        let bytes = self.chunk.as_mut_slice();
        let mut rest = &mut bytes[..ENTRY_HEAD];
        rest.put_u32(ENTRY_MAGIC);
        rest.put_u32(0);
        rest.put_slice(&incarnation.0);
        rest.put_u64(sequence);
        rest.put_u32(len as u32);
        rest.put_u32(self.pieces);
        let crc = crc32c::crc32c(&bytes[8..]).to_be_bytes();
        bytes[4..8].copy_from_slice(&crc);
        self.chunk.pad_to_block();
        self.chunk.freeze()
    }
}

/// One log's part of an entry that was read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    pub topic_id: Uuid,
    pub dir: String,
    pub segment: i64,
    pub position: u64,
    /// Whole batches.
    pub data: Bytes,
}

/// An entry that was read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Bytes in the file, whole blocks.
    pub len: u64,
    pub pieces: Vec<Piece>,
}

/// What lies at a place of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    Entry(Entry),
    /// Perhaps an entry, so many bytes long (its padding not counted), more than are at hand.
    Short(u64),
    /// Not the entry looked for.
    Nothing,
}

/// Reads the entry number `sequence` at the beginning of `bytes`.
pub fn decode_entry(bytes: &Bytes, incarnation: Uuid, sequence: u64) -> Found {
    let mut fields = Fields(bytes);
    let read = (|| {
        let magic = fields.u32()?;
        let crc = fields.u32()?;
        let fits = magic == ENTRY_MAGIC && fields.uuid()? == incarnation && fields.u64()? == sequence;
        let (len, pieces) = (fields.u32()?, fields.u32()?);
        fits.then_some((crc, len as usize, pieces))
    })();
    let Some((crc, len, count)) = read else { return Found::Nothing };
    if len < ENTRY_HEAD || len as u64 > ENTRY_BYTES_MAX {
        return Found::Nothing;
    }
    let Some(covered) = bytes.get(8..len) else { return Found::Short(len as u64) };
    if crc32c::crc32c(covered) != crc {
        return Found::Nothing;
    }
    match decode_pieces(&bytes.slice(ENTRY_HEAD..len), count) {
        Some(pieces) => Found::Entry(Entry { len: len.next_multiple_of(BLOCK) as u64, pieces }),
        None => Found::Nothing,
    }
}

/// The pieces of an entry, which must fill it exactly.
fn decode_pieces(bytes: &Bytes, count: u32) -> Option<Vec<Piece>> {
    let mut pieces = Vec::with_capacity((count as usize).min(bytes.len() / PIECE_HEAD));
    let mut at = 0;
    for _ in 0..count {
        let mut fields = Fields(bytes.get(at..)?);
        let topic_id = fields.uuid()?;
        let segment = fields.u64()? as i64;
        let position = fields.u64()?;
        let len = fields.u32()? as usize;
        let dir_len = usize::from(fields.u16()?);
        at += PIECE_HEAD;
        let dir = std::str::from_utf8(bytes.get(at..at + dir_len)?).ok()?.to_string();
        at += dir_len;
        let end = at.checked_add(len)?;
        bytes.get(at..end)?;
        let inside = position.checked_add(len as u64).is_some_and(|end| end <= i32::MAX as u64);
        if dir_len == 0 || dir_len > DIR_LEN_MAX || dir.contains('/') || segment < 0 || !inside {
            return None;
        }
        pieces.push(Piece { topic_id, dir, segment, position, data: bytes.slice(at..end) });
        at = end;
    }
    (at == bytes.len()).then_some(pieces)
}

/// Numbers taken from the front of bytes that may end at any time.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*first)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }

    fn uuid(&mut self) -> Option<Uuid> {
        self.take().map(Uuid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::prng::Prng;

    const LIFE: Uuid = Uuid([5; 16]);

    fn entry(sequence: u64, pieces: &[(&str, i64, u64, &[u8])]) -> Bytes {
        let len = pieces.iter().map(|(dir, _, _, data)| PieceHead::piece_len(dir.len(), data.len())).sum();
        let mut builder = EntryBuilder::with_capacity(len);
        for (dir, segment, position, data) in pieces {
            let (dir, segment, position) = (*dir, *segment, *position);
            builder.push(&PieceHead { topic_id: Uuid([1; 16]), dir, segment, position }, data);
        }
        builder.finish(LIFE, sequence)
    }

    #[test]
    fn an_entry_comes_back_as_it_was_packed_and_only_under_its_own_number_and_life() {
        let bytes = entry(9, &[("a-0", 0, 17, b"first"), ("topic-12", 400, 0, &[7; 5000])]);
        assert_eq!(bytes.len(), 2 * BLOCK);
        let Found::Entry(read) = decode_entry(&bytes, LIFE, 9) else { panic!("not read back") };
        assert_eq!(read.len, 2 * BLOCK as u64);
        assert_eq!(read.pieces[0].data, &b"first"[..]);
        let second = &read.pieces[1];
        assert_eq!(
            (second.dir.as_str(), second.segment, second.position, second.data.len()),
            ("topic-12", 400, 0, 5000)
        );
        assert_eq!(decode_entry(&bytes, LIFE, 8), Found::Nothing);
        assert_eq!(decode_entry(&bytes, Uuid([6; 16]), 9), Found::Nothing);
        assert_eq!(decode_entry(&bytes.slice(..BLOCK), LIFE, 9), Found::Short(5000 + 5 + 8 + 3 + 76 + 40));
    }

    #[test]
    fn a_flipped_bit_or_a_torn_sector_is_never_an_entry() {
        let bytes = entry(1, &[("a-0", 0, 0, &[3; 900]), ("b-0", 5, 4096, &[4; 700])]);
        let used = ENTRY_HEAD + 2 * (PIECE_HEAD + 3) + 1600;
        for at in 0..used {
            let mut bad = bytes.to_vec();
            bad[at] ^= 1 << (at % 8);
            assert!(!matches!(decode_entry(&Bytes::from(bad), LIFE, 1), Found::Entry(_)), "byte {at}");
        }
        for sector in 0..used.div_ceil(512) {
            let mut bad = bytes.to_vec();
            bad[sector * 512..(sector + 1) * 512].fill(0);
            assert!(!matches!(decode_entry(&Bytes::from(bad), LIFE, 1), Found::Entry(_)), "sector {sector}");
        }
    }

    #[test]
    fn pieces_that_lie_are_refused_even_under_a_good_checksum() {
        let forge = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = entry(1, &[("a-0", 0, 0, &[3; 100])]).to_vec();
            change(&mut bytes);
            let len = u32::from_be_bytes([bytes[32], bytes[33], bytes[34], bytes[35]]) as usize;
            if let Some(covered) = bytes.get(8..len) {
                let crc = crc32c::crc32c(covered).to_be_bytes();
                bytes[4..8].copy_from_slice(&crc);
            }
            decode_entry(&Bytes::from(bytes), LIFE, 1)
        };
        assert!(matches!(forge(&|_| {}), Found::Entry(_)));
        let put = |at: usize, with: &'static [u8]| move |b: &mut Vec<u8>| b[at..at + with.len()].copy_from_slice(with);
        let segment = ENTRY_HEAD + 16;
        assert_eq!(forge(&put(36, &[255; 4])), Found::Nothing, "more pieces than there are");
        assert_eq!(forge(&put(36, &[0; 4])), Found::Nothing, "bytes that belong to no piece");
        assert_eq!(forge(&put(segment, &[255; 8])), Found::Nothing, "a segment below 0");
        assert_eq!(forge(&put(segment + 8, &[255; 8])), Found::Nothing, "a position beyond every segment");
        assert_eq!(forge(&put(segment + 16, &[255; 4])), Found::Nothing, "a piece longer than the entry");
        assert_eq!(forge(&put(segment + 20, &[255; 2])), Found::Nothing, "a name longer than the entry");
        assert_eq!(forge(&put(segment + 22, &[255; 3])), Found::Nothing, "a name that is no text");
        assert_eq!(forge(&put(32, &[255; 4])), Found::Nothing, "longer than an entry may be");
        assert_eq!(forge(&put(32, &[0; 4])), Found::Nothing, "shorter than its head");
    }

    #[test]
    fn random_bytes_are_nothing() {
        const USED: u64 = (ENTRY_HEAD + PIECE_HEAD + 3 + 100) as u64;
        let mut random = Prng::new(11);
        for _ in 0..2_000 {
            let mut bytes = entry(1, &[("a-0", 0, 0, &[3; 100])]).to_vec();
            for _ in 0..1 + random.below(8) {
                let at = random.below(USED) as usize;
                bytes[at] = bytes[at].wrapping_add(1 + random.below(255) as u8);
            }
            let cut = random.below(bytes.len() as u64) as usize;
            // Two changes may undo each other.
            let used = ..USED as usize;
            let same = bytes[used] == entry(1, &[("a-0", 0, 0, &[3; 100])])[used];
            assert!(same || !matches!(decode_entry(&Bytes::from(bytes).slice(..cut), LIFE, 1), Found::Entry(_)));
        }
    }

    #[test]
    fn the_newer_superblock_that_is_whole_counts_and_another_version_stops_the_start() {
        let block = |generation, position| Superblock {
            incarnation: LIFE,
            generation,
            tail: Mark { position, sequence: generation * 10 },
        };
        let (old, new) = (block(4, 8192), block(5, 12288));
        let mut head = [&old.encode()[..], &new.encode()[..]].concat();
        assert_eq!((old.position(), new.position()), (0, 4096));
        assert_eq!(Superblock::newest(&head), Ok(Some(new)));
        head[4096 + 40] ^= 1;
        assert_eq!(Superblock::newest(&head), Ok(Some(old)));
        assert_eq!(Superblock::newest(&empty_superblocks()), Ok(None));
        assert_eq!(Superblock::newest(&[]), Ok(None));
        assert_eq!(Superblock::newest(&block(6, 100).encode()), Ok(None), "a tail that is no block");
        head[11] = 2;
        let crc = crc32c::crc32c(&head[8..SUPER_LEN]).to_be_bytes();
        head[4..8].copy_from_slice(&crc);
        assert_eq!(Superblock::newest(&head), Err(UnknownVersion(2)));
    }
}
