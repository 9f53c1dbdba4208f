//! What the log itself needs to know of a batch: where it ends, which offsets it covers, its time and epoch.
//!
//! Reading is defensive: a header that comes from disk is only believed when it can be true at its place. The CRC is
//! checked where a scan decides what survives a crash ([`Head::check_crc`]), not on every read.

use crate::batch::patch;

/// Bytes of the fixed header of a v2 batch.
pub(super) const HEAD_LEN: usize = 61;
/// Base offset and length: what `batchLength` does not count.
const PREFIX_LEN: usize = 12;

/// The fields of one v2 batch header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub base_offset: i64,
    pub last_offset: i64,
    /// Bytes of the whole batch.
    pub size: usize,
    pub leader_epoch: i32,
    pub max_timestamp: i64,
}

/// What lies at a position of a segment file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A believable header; the batch may reach beyond the bytes at hand.
    Batch(Head),
    /// Too few bytes at hand for a header.
    Short,
    /// Cannot be a batch.
    Implausible(&'static str),
}

fn i32_at(bytes: &[u8], at: usize) -> i32 {
    i32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn i64_at(bytes: &[u8], at: usize) -> i64 {
    (i64::from(i32_at(bytes, at)) << 32) | i64::from(i32_at(bytes, at + 4) as u32)
}

impl Head {
    /// Judges the bytes at a position of a segment file that still has `left` bytes from there on.
    pub fn find(bytes: &[u8], left: u64) -> Found {
        if left < HEAD_LEN as u64 {
            return Found::Implausible("too few bytes left for a batch header");
        }
        if bytes.len() < HEAD_LEN {
            return Found::Short;
        }
        let length = i32_at(bytes, 8);
        let delta = i32_at(bytes, 23);
        let base_offset = i64_at(bytes, 0);
        if length < (HEAD_LEN - PREFIX_LEN) as i32 {
            return Found::Implausible("the batch length is too small");
        }
        let size = length as usize + PREFIX_LEN;
        if size as u64 > left {
            return Found::Implausible("the batch length reaches beyond the end of the segment");
        }
        if bytes[16] != 2 {
            return Found::Implausible("the magic byte is not 2");
        }
        let Some(last_offset) = base_offset.checked_add(i64::from(delta)) else {
            return Found::Implausible("the offsets overflow");
        };
        if base_offset < 0 || delta < 0 || last_offset == i64::MAX {
            return Found::Implausible("the offsets are out of range");
        }
        let (leader_epoch, max_timestamp) = (i32_at(bytes, 12), i64_at(bytes, 35));
        if leader_epoch < -1 {
            return Found::Implausible("the leader epoch is out of range");
        }
        Found::Batch(Head { base_offset, last_offset, size, leader_epoch, max_timestamp })
    }

    /// The header of a batch that is in memory because this log put it there.
    pub fn of_memory(bytes: &[u8]) -> Option<Head> {
        match Head::find(bytes, bytes.len() as u64) {
            Found::Batch(head) => Some(head),
            Found::Short | Found::Implausible(_) => None,
        }
    }

    /// The header of a batch whose offset and epoch are yet to be given: whatever the client wrote there is not looked
    /// at.
    pub fn of_client(bytes: &[u8]) -> Option<Head> {
        let mut header = *bytes.first_chunk::<HEAD_LEN>()?;
        patch::stamp(&mut header, 0, 0);
        match Head::find(&header, bytes.len() as u64) {
            Found::Batch(head) => Some(head),
            Found::Short | Found::Implausible(_) => None,
        }
    }

    /// Whether the checksum of a whole batch (`size` bytes) is right. It covers everything from the attributes on.
    pub fn check_crc(batch: &[u8]) -> bool {
        crc32c::crc32c(&batch[21..]) == i32_at(batch, 17) as u32
    }
}
