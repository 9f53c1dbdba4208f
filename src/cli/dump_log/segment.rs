//! A segment (or a snapshot of the metadata log): batch after batch, then perhaps padding.
//!
//! ```text
//! | batch | batch | ... | batch | zeros to the end (allocated ahead, or the padding of direct writes) |
//! ```
//!
//! A batch's checksum is computed while it is read in pieces, so a batch may claim any length without costing memory;
//! only a batch whose records are to be shown is held whole, and only up to [`BATCH_BYTES_MAX`].

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use bytes::Bytes;
use serde_json::json;

use super::super::output::count_of;
use super::super::time_text::format_time;
use super::{Dump, Stop, records};
use crate::batch::{BatchHeader, HEADER_LEN};

/// Largest batch whose records are shown, bytes.
const BATCH_BYTES_MAX: u64 = 256 << 20;
/// Where the bytes under the checksum begin.
const CHECKED_FROM: usize = 21;
const PIECE_BYTES: usize = 1 << 16;

/// Where in the file the walk is, and what it has seen.
struct Walk {
    position: u64,
    len: u64,
    /// The lowest offset the next batch may have.
    next_offset: i64,
    batches: u64,
    records: u64,
    padding: u64,
}

/// Prints every batch; with `is_metadata` its records are decoded as metadata records.
pub(super) fn dump(
    dump: &mut Dump<'_, '_>,
    path: &Path,
    base_offset: Option<i64>,
    is_metadata: bool,
) -> Result<(), Stop> {
    let file = File::open(path)?;
    let len = file.metadata()?.len();
    let mut reader = BufReader::with_capacity(1 << 20, file).take(len);
    let next_offset = base_offset.unwrap_or(0);
    let mut walk = Walk { position: 0, len, next_offset, batches: 0, records: 0, padding: 0 };
    while walk.position < walk.len {
        if !walk.step(dump, &mut reader, is_metadata)? {
            break;
        }
    }
    let padding =
        if walk.padding > 0 { format!(", {} of padding", count_of(walk.padding, "byte")) } else { String::new() };
    let batches = if walk.batches == 1 { "1 batch".to_owned() } else { format!("{} batches", walk.batches) };
    let text = format_args!(
        "{batches}, {}, next offset {}, {} of data{padding}",
        count_of(walk.records, "record"),
        walk.next_offset,
        count_of(walk.position, "byte")
    );
    let fields = json!({
        "batches": walk.batches, "records": walk.records, "next_offset": walk.next_offset,
        "bytes": walk.position, "padding": walk.padding,
    });
    Ok(dump.item("segment", text, fields)?)
}

impl Walk {
    /// One batch; false when nothing more can be read (end, padding or garbage, already told).
    fn step(&mut self, dump: &mut Dump<'_, '_>, reader: &mut impl Read, is_metadata: bool) -> Result<bool, Stop> {
        let left = self.len - self.position;
        let mut header_bytes = [0; HEADER_LEN];
        let count = read_up_to(reader, &mut header_bytes)?;
        let header_bytes = &header_bytes[..count];
        if header_bytes.iter().all(|&byte| byte == 0) {
            return self.padding(dump, reader, count as u64);
        }
        let Some(header) = BatchHeader::parse(header_bytes) else {
            dump.problem(format_args!(
                "at position {}: {} too few for a batch",
                self.position,
                count_of(left, "byte")
            ))?;
            return Ok(false);
        };
        let Some(total) = header.checked_len().map(|len| len as u64).filter(|&len| len <= left) else {
            dump.problem(format_args!(
                "at position {}: a batch at offset {} with length field {}, but {} left (torn write, or garbage)",
                self.position,
                header.base_offset,
                header.batch_length,
                count_of(left, "byte")
            ))?;
            return Ok(false);
        };
        let shown = (dump.records || is_metadata) && header.magic == 2 && total <= BATCH_BYTES_MAX;
        let mut whole = Vec::new();
        if shown {
            whole.extend_from_slice(header_bytes);
        }
        let mut crc = crc32c::crc32c(&header_bytes[CHECKED_FROM..]);
        let body = total - HEADER_LEN as u64;
        let read = pieces(reader, body, |piece| {
            crc = crc32c::crc32c_append(crc, piece);
            if shown {
                whole.extend_from_slice(piece);
            }
        })?;
        if read < body {
            dump.problem(format_args!("at position {}: the file became shorter while it was read", self.position))?;
            return Ok(false);
        }
        self.tell(dump, &header, total)?;
        let sound = self.judge(dump, &header, crc)?;
        self.position += total;
        self.batches += 1;
        self.records += u64::try_from(header.record_count).unwrap_or(0);
        self.next_offset = header.next_offset();
        if shown && sound {
            records::dump(dump, &Bytes::from(whole), is_metadata)?;
        } else if dump.records && total > BATCH_BYTES_MAX {
            dump.item("note", format_args!("  too large to show its records"), json!({"note": "too large to show"}))?;
        }
        Ok(true)
    }

    /// `seen` zero bytes have been read: only zeros may follow. Always ends the walk.
    fn padding(&mut self, dump: &mut Dump<'_, '_>, reader: &mut impl Read, seen: u64) -> Result<bool, Stop> {
        let mut other: u64 = 0;
        let rest = pieces(reader, u64::MAX, |piece| other += piece.iter().filter(|&&byte| byte != 0).count() as u64)?;
        self.padding = seen + rest;
        if other > 0 {
            dump.problem(format_args!(
                "zeros from position {} on, but {} after them are not zero",
                self.position,
                count_of(other, "byte")
            ))?;
        }
        Ok(false)
    }

    fn tell(&self, dump: &mut Dump<'_, '_>, header: &BatchHeader, total: u64) -> Result<(), Stop> {
        let position = self.position;
        let (first, last) = (header.base_offset, header.last_offset());
        let mut notes = String::new();
        if header.is_control() {
            notes.push_str(", control");
        }
        if header.is_transactional() {
            notes.push_str(", transactional");
        }
        if header.has_producer() {
            let BatchHeader { producer_id, producer_epoch, base_sequence, .. } = header;
            notes.push_str(&format!(", producer {producer_id} epoch {producer_epoch} sequence {base_sequence}"));
        }
        let text = format_args!(
            "offsets {first} to {last} at position {position}: {}, {}, {}, leader epoch {}, {} {}{notes}",
            count_of(u64::try_from(header.record_count).unwrap_or(0), "record"),
            count_of(total, "byte"),
            compression(header),
            header.leader_epoch,
            if header.is_log_append_time() { "appended" } else { "created" },
            format_time(header.max_timestamp),
        );
        let fields = json!({
            "position": position, "bytes": total, "base_offset": first, "last_offset": last, "magic": header.magic,
            "records": header.record_count, "compression": compression(header), "leader_epoch": header.leader_epoch,
            "base_timestamp": header.base_timestamp, "max_timestamp": header.max_timestamp, "crc": header.crc,
            "timestamp_type": if header.is_log_append_time() { "LogAppendTime" } else { "CreateTime" },
            "producer_id": header.producer_id, "producer_epoch": header.producer_epoch,
            "base_sequence": header.base_sequence, "control": header.is_control(),
            "transactional": header.is_transactional(),
        });
        Ok(dump.item("batch", text, fields)?)
    }

    /// Says everything that is wrong with a batch; true when its records can be read.
    fn judge(&self, dump: &mut Dump<'_, '_>, header: &BatchHeader, crc: u32) -> Result<bool, Stop> {
        let before = dump.problems;
        if header.magic != 2 {
            dump.problem(format_args!("batch format {} is not known here (only 2 is)", header.magic))?;
            return Ok(false);
        }
        if header.crc != crc {
            dump.problem(format_args!("checksum {:08x} stored, {crc:08x} computed", header.crc))?;
        }
        if header.base_offset < self.next_offset {
            dump.problem(format_args!("offset {} where {} or more is due", header.base_offset, self.next_offset))?;
        }
        if header.last_offset_delta < 0 || header.record_count < 0 {
            let BatchHeader { last_offset_delta, record_count, .. } = header;
            dump.problem(format_args!("last offset delta {last_offset_delta}, {record_count} records"))?;
        } else if header.record_count > header.last_offset_delta.saturating_add(1) {
            dump.problem(format_args!("{} records in fewer offsets", header.record_count))?;
        }
        if compression(header) == "unknown" {
            dump.problem(format_args!("unknown compression in attributes {:#x}", header.attributes))?;
        }
        Ok(dump.problems == before)
    }
}

fn compression(header: &BatchHeader) -> &'static str {
    header.codec().map_or("unknown", |codec| codec.name())
}

/// Fills as much of `buffer` as there is; fewer bytes only at the end.
fn read_up_to(reader: &mut impl Read, buffer: &mut [u8]) -> Result<usize, Stop> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}

/// Reads up to `count` bytes in pieces; fewer only at the end. Answers how many there were.
fn pieces(reader: &mut impl Read, count: u64, mut piece: impl FnMut(&[u8])) -> Result<u64, Stop> {
    let mut buffer = vec![0; PIECE_BYTES];
    let mut done: u64 = 0;
    while done < count {
        let want = usize::try_from(count - done).unwrap_or(usize::MAX).min(PIECE_BYTES);
        let got = read_up_to(reader, &mut buffer[..want])?;
        piece(&buffer[..got]);
        done += got as u64;
        if got < want {
            break;
        }
    }
    Ok(done)
}
