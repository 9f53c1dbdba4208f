//! The three indexes of a segment: offset → position, timestamp → offset, aborted transactions.
//!
//! Entries have a fixed size and grow in file order. A file that is still written to may end in zeros (it is allocated
//! ahead); no real entry is all zeros, so the first such one ends the index, and only zeros may follow.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use serde_json::{Value, json};

use super::super::output::count_of;
use super::super::time_text::format_time;
use super::{Dump, Stop};

/// Reads entries of `N` bytes up to the end or the padding. Gives each to `entry`, which answers what is wrong with it.
fn entries<const N: usize>(
    dump: &mut Dump<'_, '_>,
    path: &Path,
    mut entry: impl FnMut(&mut Dump<'_, '_>, &[u8; N], u64) -> Result<Option<String>, Stop>,
) -> Result<Contents, Stop> {
    let file = File::open(path)?;
    let len = file.metadata()?.len();
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let mut read = Contents { entries: 0, padding: 0 };
    let mut bytes = [0; N];
    let mut number: u64 = 0;
    while (number + 1) * N as u64 <= len {
        reader.read_exact(&mut bytes)?;
        number += 1;
        if bytes.iter().all(|&byte| byte == 0) {
            read.padding += N as u64;
            continue;
        }
        if read.padding > 0 {
            dump.problem(format_args!("entry {number} follows {} of zeros", count_of(read.padding, "byte")))?;
            return Ok(read);
        }
        read.entries += 1;
        if let Some(wrong) = entry(dump, &bytes, number)? {
            dump.problem(format_args!("entry {number}: {wrong}"))?;
        }
    }
    if len % N as u64 != 0 {
        dump.problem(format_args!("{} after the last entry", count_of(len % N as u64, "byte")))?;
    }
    Ok(read)
}

/// What an index held.
struct Contents {
    entries: u64,
    /// Bytes of zeros at the end.
    padding: u64,
}

impl Contents {
    fn tell(&self, dump: &mut Dump<'_, '_>, kind: &str, what: &str) -> Result<(), Stop> {
        let padding = if self.padding > 0 { format!(", {} bytes of padding", self.padding) } else { String::new() };
        // "entry" has a plural of its own.
        let entries = if self.entries == 1 { "1 entry".to_owned() } else { format!("{} entries", self.entries) };
        let fields = json!({"entries": self.entries, "padding": self.padding});
        Ok(dump.item(kind, format_args!("{what}: {entries}{padding}"), fields)?)
    }
}

/// The big-endian number in four bytes at `at`; the callers' entries are long enough by their types.
fn i32_at(bytes: &[u8], at: usize) -> i32 {
    bytes.get(at..at + 4).map_or(0, |part| part.iter().fold(0, |value, &byte| (value << 8) | i32::from(byte)))
}

/// As [`i32_at`], eight bytes.
fn i64_at(bytes: &[u8], at: usize) -> i64 {
    bytes.get(at..at + 8).map_or(0, |part| part.iter().fold(0, |value, &byte| (value << 8) | i64::from(byte)))
}

/// `<base>.index`: relative offset (4 bytes), position in the segment (4 bytes).
pub fn offsets(dump: &mut Dump<'_, '_>, path: &Path, base_offset: i64) -> Result<(), Stop> {
    let segment_len = std::fs::metadata(path.with_extension("log")).ok().map(|segment| segment.len());
    let mut before: Option<(i32, i32)> = None;
    let read = entries::<8>(dump, path, |dump, bytes, _| {
        let (relative, position) = (i32_at(bytes, 0), i32_at(bytes, 4));
        let offset = base_offset.saturating_add(i64::from(relative));
        if dump.records {
            let fields = json!({"offset": offset, "position": position});
            dump.item("index entry", format_args!("offset {offset} at position {position}"), fields)?;
        }
        let order = before.replace((relative, position));
        Ok(if relative < 0 || position < 0 {
            Some(format!("negative: offset {offset}, position {position}"))
        } else if order.is_some_and(|(offset, place)| relative <= offset || position <= place) {
            Some(format!("offset {offset} at {position} is not beyond the entry before it"))
        } else if segment_len.is_some_and(|len| position as u64 >= len) {
            Some(format!("position {position} lies beyond the segment"))
        } else {
            None
        })
    })?;
    read.tell(dump, "offset index", "offset index")
}

/// `<base>.timeindex`: timestamp in ms (8 bytes), relative offset (4 bytes).
pub fn times(dump: &mut Dump<'_, '_>, path: &Path, base_offset: i64) -> Result<(), Stop> {
    let mut before: Option<(i64, i32)> = None;
    let read = entries::<12>(dump, path, |dump, bytes, _| {
        let (timestamp, relative) = (i64_at(bytes, 0), i32_at(bytes, 8));
        let offset = base_offset.saturating_add(i64::from(relative));
        if dump.records {
            let fields = json!({"timestamp": timestamp, "offset": offset});
            dump.item("time index entry", format_args!("{} at offset {offset}", format_time(timestamp)), fields)?;
        }
        let order = before.replace((timestamp, relative));
        Ok(if relative < 0 {
            Some(format!("negative offset {offset}"))
        } else if order.is_some_and(|(time, place)| timestamp <= time || relative < place) {
            Some(format!("timestamp {timestamp} at {offset} is not beyond the entry before it"))
        } else {
            None
        })
    })?;
    read.tell(dump, "time index", "time index")
}

/// `<base>.txnindex`: version (2 bytes), producer id, first, last and last stable offset (8 bytes each).
pub fn transactions(dump: &mut Dump<'_, '_>, path: &Path) -> Result<(), Stop> {
    let mut last_before = i64::MIN;
    let read = entries::<34>(dump, path, |dump, bytes, _| {
        let version = i32_at(bytes, 0) >> 16;
        let [producer, first, last, stable] = [2, 10, 18, 26].map(|at| i64_at(bytes, at));
        let text = format!("producer {producer} aborted {first} to {last}, last stable offset then {stable}");
        let fields: Value = json!({"producer_id": producer, "first": first, "last": last, "last_stable": stable});
        dump.item("aborted transaction", format_args!("{text}"), fields)?;
        let out_of_order = last < last_before;
        last_before = last;
        Ok(if version != 0 {
            Some(format!("unknown version {version}"))
        } else if first < 0 || last < first || out_of_order {
            Some("offsets out of order".to_owned())
        } else {
            None
        })
    })?;
    read.tell(dump, "transaction index", "transaction index")
}
