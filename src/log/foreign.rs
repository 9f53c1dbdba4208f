//! Doors for those who feed foreign bytes to decoders that only a log uses: `fuzz/` and `tests/hostile`. Not in a
//! release.

use bytes::Bytes;

use super::index::{OffsetIndex, TimeIndex};
use super::scan::{Scan, ScanRules, Step};

/// Scans a segment file of these bytes as a load does. Returns the good batches, where the last of them ends, and the
/// offset behind it.
pub fn scan_segment(file: &[u8], base: i64, gaps_allowed: bool) -> (usize, u64, i64) {
    let rules = ScanRules { gaps_allowed, ..ScanRules::default() };
    let mut scan = Scan::new(base, file.len() as u64, rules);
    let mut batches = 0;
    loop {
        match scan.next() {
            Step::Batch { range, .. } => {
                crate::invariant!(!scan.bytes(range).is_empty(), "a batch without bytes");
                batches += 1;
            }
            Step::Read { position, len } => {
                let from = file.len().min(position as usize);
                let to = file.len().min(from + len as usize);
                scan.feed(&file[from..to], len);
            }
            Step::End(end) => {
                crate::invariant!(end.position <= file.len() as u64, "a segment that ends behind its file");
                return (batches, end.position, end.next_offset);
            }
        }
    }
}

/// Reads an offset index as a load does and looks something up in it; `None`: refused.
pub fn offset_index(file: &[u8], segment_len: u64) -> Option<u32> {
    let mut index = OffsetIndex::decode(Bytes::copy_from_slice(file), segment_len)?;
    let last = index.last().map_or(0, |(offset, _)| offset);
    let found = index.lookup(last / 2);
    index.truncate(last / 2);
    Some(found)
}

/// As [`offset_index`], for a time index.
pub fn time_index(file: &[u8]) -> Option<u32> {
    let mut index = TimeIndex::decode(Bytes::copy_from_slice(file))?;
    let (time, last) = index.last().unwrap_or_default();
    let found = index.lookup(time / 2);
    index.truncate(last / 2);
    Some(found)
}
