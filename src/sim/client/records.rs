//! Reads the batches of a fetch answer as a careful consumer does: CRC, density, contents.

use bytes::Bytes;

use super::Cx;
use crate::batch::header::{BatchHeader, HEADER_LEN};
use crate::batch::{records, walk};
use crate::sim::model::RecordId;

/// Where the CRC's bytes begin in a batch.
const CRC_FROM: usize = 21;

/// Where a reader is.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    pub topic: &'a str,
    pub incarnation: u32,
    pub partition: i32,
    pub offset: i64,
}

/// What reading brought.
#[derive(Debug, Default)]
pub struct ReadOut {
    /// The next offset to ask for.
    pub next: i64,
    pub records: Vec<(i64, RecordId)>,
    /// Damage was noticed: there is no way on.
    pub damaged: bool,
}

/// Goes through `bytes`, the answer to a fetch at the reader's offset.
pub fn read(reader: &Reader<'_>, bytes: &Bytes, cx: &mut Cx<'_>) -> ReadOut {
    let mut out = ReadOut { next: reader.offset, ..ReadOut::default() };
    let mut expected: Option<i64> = None;
    for (range, header) in walk::walk(bytes) {
        let batch = bytes.slice(range);
        if let Err(problem) = examine(reader, &batch, &header, expected) {
            return damaged(reader, out, &problem, cx);
        }
        expected = Some(header.next_offset());
        if !header.is_control() {
            match records::decode(&batch) {
                Ok(list) => take(reader, list, &mut out, cx),
                Err(error) => return damaged(reader, out, &format!("records: {error:?}"), cx),
            }
        }
        out.next = header.next_offset().max(out.next);
    }
    out
}

fn examine(reader: &Reader<'_>, batch: &Bytes, header: &BatchHeader, expected: Option<i64>) -> Result<(), String> {
    if batch.len() < HEADER_LEN || crc32c::crc32c(&batch[CRC_FROM..]) != header.crc {
        return Err(format!("offset {}: the CRC does not fit", header.base_offset));
    }
    match expected {
        None if header.base_offset > reader.offset => {
            Err(format!("the answer begins at {}, behind the offset asked for", header.base_offset))
        }
        None if header.last_offset() < reader.offset => {
            Err(format!("the answer begins with a batch that ends at {}", header.last_offset()))
        }
        Some(expected) if header.base_offset != expected => {
            Err(format!("offset {expected} is followed by {}", header.base_offset))
        }
        _ => Ok(()),
    }
}

fn take(reader: &Reader<'_>, list: Vec<records::Record>, out: &mut ReadOut, cx: &mut Cx<'_>) {
    for record in list {
        let value = record.value.unwrap_or_default();
        let (topic, incarnation, partition) = (reader.topic, reader.incarnation, reader.partition);
        let seen = cx.model.observed(topic, incarnation, partition, record.offset, &value);
        if let Some(id) = seen
            && record.offset >= reader.offset
        {
            out.records.push((record.offset, id));
        }
    }
}

/// Something is wrong: noticed damage where bits were flipped, a finding anywhere else.
fn damaged(reader: &Reader<'_>, mut out: ReadOut, problem: &str, cx: &mut Cx<'_>) -> ReadOut {
    out.damaged = true;
    let part = cx.model.part(reader.topic, reader.incarnation, reader.partition);
    match part.map(|part| part.damaged_from) {
        Some(Some(_)) => cx.model.flips_noticed += 1,
        Some(None) => {
            cx.model.fail(|| format!("{}-{} at {}: {problem}", reader.topic, reader.partition, reader.offset))
        }
        None => {}
    }
    out
}
