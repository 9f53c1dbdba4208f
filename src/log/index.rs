//! The two sparse indexes of a segment, in Apache Kafka's bytes.
//!
//! Offset index: (relative offset u32, position u32) for every `index.interval.bytes` of records; the offset is the
//! batch's *last*, the position the batch's first byte. Time index: (timestamp i64, relative offset u32), where the
//! offset is the last of the batch that first reached that timestamp. All big-endian. Invariants, checked before an
//! index from disk is used: whole entries; offsets, positions and timestamps strictly increasing; positions inside the
//! segment.
//!
//! An index is kept in its disk form: growing while its segment is active, frozen (and shared with the write) after.

use bytes::Bytes;

const OFFSET_ENTRY: usize = 8;
const TIME_ENTRY: usize = 12;

/// Entries of `N` bytes, back to back.
#[derive(Clone, Debug)]
enum Entries<const N: usize> {
    Growing(Vec<u8>),
    Frozen(Bytes),
}

impl<const N: usize> Entries<N> {
    fn as_slice(&self) -> &[u8] {
        match self {
            Entries::Growing(bytes) => bytes,
            Entries::Frozen(bytes) => bytes,
        }
    }

    fn len(&self) -> usize {
        self.as_slice().len() / N
    }

    fn entry(&self, slot: usize) -> [u8; N] {
        let mut entry = [0; N];
        entry.copy_from_slice(&self.as_slice()[slot * N..(slot + 1) * N]);
        entry
    }

    fn push(&mut self, entry: [u8; N]) {
        self.growing().extend_from_slice(&entry);
    }

    fn keep(&mut self, count: usize) {
        if count < self.len() {
            self.growing().truncate(count * N);
        }
    }

    fn growing(&mut self) -> &mut Vec<u8> {
        if let Entries::Frozen(bytes) = self {
            *self = Entries::Growing(bytes.to_vec());
        }
        match self {
            Entries::Growing(bytes) => bytes,
            Entries::Frozen(_) => unreachable!("made growing above"),
        }
    }

    /// The entries as shared bytes; no copy once they are frozen.
    fn freeze(&mut self) -> Bytes {
        if let Entries::Growing(bytes) = self {
            *self = Entries::Frozen(Bytes::from(std::mem::take(bytes)));
        }
        match self {
            Entries::Frozen(bytes) => bytes.clone(),
            Entries::Growing(_) => unreachable!("frozen above"),
        }
    }

    /// The number of leading entries for which `below` holds (it must hold for a prefix).
    fn partition(&self, below: impl Fn([u8; N]) -> bool) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if below(self.entry(middle)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }
}

fn u32_at(entry: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]])
}

fn i64_at(entry: &[u8], at: usize) -> i64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&entry[at..at + 8]);
    i64::from_be_bytes(bytes)
}

/// Offset → position.
#[derive(Clone, Debug)]
pub(super) struct OffsetIndex(Entries<OFFSET_ENTRY>);

impl OffsetIndex {
    pub fn new() -> OffsetIndex {
        OffsetIndex(Entries::Growing(Vec::new()))
    }

    /// Takes over what a file holds, unless it cannot be true of a segment of `segment_len` bytes.
    pub fn decode(bytes: Bytes, segment_len: u64) -> Option<OffsetIndex> {
        if !bytes.len().is_multiple_of(OFFSET_ENTRY) {
            return None;
        }
        let mut before: Option<(u32, u32)> = None;
        for entry in bytes.chunks_exact(OFFSET_ENTRY) {
            let (offset, position) = (u32_at(entry, 0), u32_at(entry, 4));
            let grows = before.is_none_or(|(o, p)| offset > o && position > p);
            if !grows || offset > i32::MAX as u32 || u64::from(position) >= segment_len {
                return None;
            }
            before = Some((offset, position));
        }
        Some(OffsetIndex(Entries::Frozen(bytes)))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Bytes in memory and on disk.
    pub fn bytes_len(&self) -> usize {
        self.len() * OFFSET_ENTRY
    }

    pub fn push(&mut self, relative_offset: u32, position: u32) {
        let mut entry = [0; OFFSET_ENTRY];
        entry[..4].copy_from_slice(&relative_offset.to_be_bytes());
        entry[4..].copy_from_slice(&position.to_be_bytes());
        self.0.push(entry);
    }

    /// Whether one more entry would outgrow `bytes_max`.
    pub fn is_full(&self, bytes_max: u32) -> bool {
        self.len() >= bytes_max as usize / OFFSET_ENTRY
    }

    /// Where to begin looking for a relative offset: the position of a batch that ends at or before it, 0 when none
    /// does.
    pub fn lookup(&self, relative_offset: u32) -> u32 {
        match self.0.partition(|entry| u32_at(&entry, 0) <= relative_offset) {
            0 => 0,
            count => u32_at(&self.0.entry(count - 1), 4),
        }
    }

    /// The last position at or before `position` where a batch begins, 0 when none is known.
    pub fn last_position_to(&self, position: u32) -> u32 {
        match self.0.partition(|entry| u32_at(&entry, 4) <= position) {
            0 => 0,
            count => u32_at(&self.0.entry(count - 1), 4),
        }
    }

    /// The last (relative offset, position).
    pub fn last(&self) -> Option<(u32, u32)> {
        let count = self.len();
        (count > 0).then(|| {
            let entry = self.0.entry(count - 1);
            (u32_at(&entry, 0), u32_at(&entry, 4))
        })
    }

    /// The position of the last entry, 0 when there is none.
    pub fn last_position(&self) -> u32 {
        match self.len() {
            0 => 0,
            count => u32_at(&self.0.entry(count - 1), 4),
        }
    }

    /// Drops the entries at or above a relative offset.
    pub fn truncate(&mut self, relative_offset: u32) {
        let keep = self.0.partition(|entry| u32_at(&entry, 0) < relative_offset);
        self.0.keep(keep);
    }

    /// The file's content as it stands.
    pub fn copy(&self) -> Bytes {
        Bytes::copy_from_slice(self.0.as_slice())
    }

    /// The file's content, final: shared, not copied.
    pub fn freeze(&mut self) -> Bytes {
        self.0.freeze()
    }
}

/// Timestamp → offset.
#[derive(Clone, Debug)]
pub(super) struct TimeIndex(Entries<TIME_ENTRY>);

impl TimeIndex {
    pub fn new() -> TimeIndex {
        TimeIndex(Entries::Growing(Vec::new()))
    }

    /// Takes over what a file holds, unless its timestamps or offsets do not grow.
    pub fn decode(bytes: Bytes) -> Option<TimeIndex> {
        if !bytes.len().is_multiple_of(TIME_ENTRY) {
            return None;
        }
        let mut before: Option<(i64, u32)> = None;
        for entry in bytes.chunks_exact(TIME_ENTRY) {
            let (timestamp, offset) = (i64_at(entry, 0), u32_at(entry, 8));
            // The offset may repeat where Apache Kafka wrote the index: it tells apart entries by time only.
            let grows = before.is_none_or(|(t, o)| timestamp > t && offset >= o);
            if !grows || timestamp < 0 || offset > i32::MAX as u32 {
                return None;
            }
            before = Some((timestamp, offset));
        }
        Some(TimeIndex(Entries::Frozen(bytes)))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn bytes_len(&self) -> usize {
        self.len() * TIME_ENTRY
    }

    /// The last (timestamp, relative offset).
    pub fn last(&self) -> Option<(i64, u32)> {
        let count = self.len();
        (count > 0).then(|| self.at(count - 1))
    }

    fn at(&self, slot: usize) -> (i64, u32) {
        let entry = self.0.entry(slot);
        (i64_at(&entry, 0), u32_at(&entry, 8))
    }

    /// Appends unless the timestamp is not larger than the last one.
    pub fn push_if_later(&mut self, timestamp: i64, relative_offset: u32) {
        if timestamp < 0 || self.last().is_some_and(|(last, _)| timestamp <= last) {
            return;
        }
        let mut entry = [0; TIME_ENTRY];
        entry[..8].copy_from_slice(&timestamp.to_be_bytes());
        entry[8..].copy_from_slice(&relative_offset.to_be_bytes());
        self.0.push(entry);
    }

    /// Whether the segment has to be rolled; one entry is kept free for the one that closes the segment.
    pub fn is_full(&self, bytes_max: u32) -> bool {
        self.len() + 1 >= bytes_max as usize / TIME_ENTRY
    }

    /// The relative offset from which to look for a record at or after `timestamp`: every batch that ends at or below
    /// it is older. 0 when nothing is known to be older.
    pub fn lookup(&self, timestamp: i64) -> u32 {
        match self.0.partition(|entry| i64_at(&entry, 0) < timestamp) {
            0 => 0,
            count => self.at(count - 1).1,
        }
    }

    /// Drops the entries at or above a relative offset.
    pub fn truncate(&mut self, relative_offset: u32) {
        let keep = self.0.partition(|entry| u32_at(&entry, 8) < relative_offset);
        self.0.keep(keep);
    }

    /// The file's content as it stands.
    pub fn copy(&self) -> Bytes {
        Bytes::copy_from_slice(self.0.as_slice())
    }

    /// The file's content, final: shared, not copied.
    pub fn freeze(&mut self) -> Bytes {
        self.0.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_index_finds_the_last_batch_that_ends_at_or_before_an_offset() {
        let mut index = OffsetIndex::new();
        assert_eq!(index.lookup(5), 0);
        for (offset, position) in [(9, 4100), (19, 8300), (25, 12_500)] {
            index.push(offset, position);
        }
        for (offset, position) in [(0, 0), (8, 0), (9, 4100), (18, 4100), (19, 8300), (1000, 12_500)] {
            assert_eq!(index.lookup(offset), position, "offset {offset}");
        }
        assert_eq!(index.last_position(), 12_500);
        index.truncate(25);
        assert_eq!((index.len(), index.last_position()), (2, 8300));
        assert!(index.is_full(16) && !index.is_full(24));
    }

    #[test]
    fn an_offset_index_from_disk_is_refused_unless_it_grows_and_points_into_the_segment() {
        let mut index = OffsetIndex::new();
        index.push(9, 4100);
        index.push(19, 8300);
        let bytes = index.freeze();
        assert_eq!(&bytes[..8], [0, 0, 0, 9, 0, 0, 0x10, 0x04]);
        assert!(OffsetIndex::decode(bytes.clone(), 8301).is_some());
        assert!(OffsetIndex::decode(bytes.clone(), 8300).is_none(), "points behind the end");
        assert!(OffsetIndex::decode(bytes.slice(..15), 9000).is_none(), "half an entry");
        let zeros = Bytes::from_static(&[0; 16]);
        assert!(OffsetIndex::decode(zeros, 9000).is_none(), "preallocated zeros do not grow");
        let mut again = OffsetIndex::decode(bytes, 9000).unwrap();
        again.push(29, 8400);
        assert_eq!(again.lookup(29), 8400);
    }

    #[test]
    fn a_time_index_grows_strictly_and_finds_where_to_begin() {
        let mut index = TimeIndex::new();
        for (timestamp, offset) in [(100, 4), (100, 9), (90, 12), (-1, 13), (200, 19)] {
            index.push_if_later(timestamp, offset);
        }
        assert_eq!(index.len(), 2);
        for (timestamp, offset) in [(0, 0), (100, 0), (101, 4), (200, 4), (201, 19)] {
            assert_eq!(index.lookup(timestamp), offset, "timestamp {timestamp}");
        }
        let bytes = index.freeze();
        assert_eq!(bytes.len(), 24);
        let mut again = TimeIndex::decode(bytes.clone()).unwrap();
        assert_eq!(again.last(), Some((200, 19)));
        again.truncate(19);
        assert_eq!(again.last(), Some((100, 4)));
        let swapped = [&bytes[12..], &bytes[..12]].concat();
        assert!(TimeIndex::decode(swapped.into()).is_none(), "out of order");
    }
}
