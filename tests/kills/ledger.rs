//! Batches sent one at a time over a bare connection, and the book of those that were acknowledged.

use std::collections::BTreeMap;

use bytes::Bytes;
use kataract::batch::build::BatchBuilder;
use kataract::batch::records;
use kataract::batch::walk::walk;

use crate::wire::{LATEST, Wire};

/// Records of one batch.
pub const BATCH_RECORDS: i64 = 10;

/// What one topic's partitions must hold.
#[derive(Debug)]
pub struct Ledger {
    topic: &'static str,
    partitions: i32,
    value_bytes: usize,
    /// (partition, base offset) → which batch.
    acked: BTreeMap<(i32, i64), u64>,
    next: u64,
}

fn text(number: u64, record: i64, value_bytes: usize) -> String {
    // Hardly compressible, should anything on the way try.
    let mut value = format!("{number}/{record}/");
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    while value.len() < value_bytes {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        value.push_str(&format!("{state:016x}"));
    }
    value
}

fn batch(number: u64, value_bytes: usize) -> Bytes {
    let mut builder = BatchBuilder::new(0);
    for record in 0..BATCH_RECORDS {
        builder.push(1_700_000_000_000, None, Some(text(number, record, value_bytes).as_bytes()));
    }
    builder.finish()
}

impl Ledger {
    pub fn new(topic: &'static str, partitions: i32, value_bytes: usize) -> Ledger {
        Ledger { topic, partitions, value_bytes, acked: BTreeMap::new(), next: 0 }
    }

    pub fn len(&self) -> usize {
        self.acked.len()
    }

    /// Sends the next batch and waits for its answer: the error code, 0 for success.
    pub fn produce(&mut self, wire: &mut Wire) -> Result<i16, String> {
        let number = self.next;
        self.next += 1;
        let partition = i32::try_from(number % self.partitions.unsigned_abs() as u64).expect("small");
        let (code, base) = wire.produce(self.topic, partition, batch(number, self.value_bytes))?;
        if code == 0 && self.acked.insert((partition, base), number).is_some() {
            return Err(format!("offset {base} of {partition} was given twice"));
        }
        Ok(code)
    }

    /// Everything acknowledged is there, byte for byte. Other batches may be there, too: an answer can get lost.
    pub fn verify(&self, wire: &mut Wire) -> Result<(), String> {
        let partitions: Vec<i32> = (0..self.partitions).collect();
        let ends = wire.offsets(self.topic, &partitions, LATEST)?;
        let mut found = 0;
        for (&partition, &end) in partitions.iter().zip(&ends) {
            let mut next = 0;
            while next < end {
                let (data, _) = wire.fetch(self.topic, partition, next)?;
                let before = next;
                for (range, header) in walk(&data) {
                    if header.base_offset != next {
                        return Err(format!("{}-{partition}: {} follows {next}", self.topic, header.base_offset));
                    }
                    next = header.next_offset();
                    if let Some(number) = self.acked.get(&(partition, header.base_offset)) {
                        self.compare(&data.slice(range), *number)?;
                        found += 1;
                    }
                }
                if next == before {
                    return Err(format!("{}-{partition}: nothing at {next}, the end is {end}", self.topic));
                }
            }
        }
        if found == self.acked.len() {
            return Ok(());
        }
        Err(format!("{} batches were acknowledged, {found} are there; ends {ends:?}", self.acked.len()))
    }

    fn compare(&self, found: &Bytes, number: u64) -> Result<(), String> {
        let found = records::decode(found).map_err(|error| format!("batch {number}: {error:?}"))?;
        for (record, at) in found.iter().zip(0..) {
            if record.value.as_deref() != Some(text(number, at, self.value_bytes).as_bytes()) {
                return Err(format!("record {at} of batch {number} is not what was sent"));
            }
        }
        if found.len() as i64 == BATCH_RECORDS { Ok(()) } else { Err(format!("batch {number} has lost records")) }
    }
}
