//! Reads everything there is and holds it against the books: nothing acknowledged missing, nothing twice, each
//! producer's records in order, offsets without holes. The client checks the CRC of every batch.

use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};

use crate::producers::{Book, PRODUCERS, Slot, read_mark};

/// Longest time without a record while there are some to read.
const SILENCE_LIMIT: Duration = Duration::from_secs(30);

/// What one slot held.
#[derive(Clone, Debug, Default)]
struct Held {
    next_offset: i64,
    /// The next sequence of each producer.
    next: [u64; PRODUCERS],
}

/// Reads each slot from its start to its present end; the answer is how many records there were. `books` must have been
/// copied before the call.
pub fn verify(address: &str, slots: &[Slot], books: &[Book]) -> Result<u64, String> {
    let mut config = ClientConfig::new();
    let settings = [
        ("bootstrap.servers", address),
        ("group.id", "verify"),
        ("enable.auto.commit", "false"),
        ("auto.offset.reset", "error"),
        ("check.crcs", "true"),
        ("fetch.wait.max.ms", "50"),
        ("queued.max.messages.kbytes", "16384"),
    ];
    for (key, value) in settings {
        config.set(key, value);
    }
    let consumer: BaseConsumer = config.create().map_err(|error| error.to_string())?;
    let mut wanted = TopicPartitionList::new();
    let mut ends = Vec::new();
    for slot in slots {
        let (low, high) = consumer
            .fetch_watermarks(slot.topic, slot.partition, SILENCE_LIMIT)
            .map_err(|error| format!("ends of {slot:?}: {error}"))?;
        if low != 0 {
            return Err(format!("{slot:?} starts at {low}"));
        }
        ends.push(high);
        if high > 0 {
            wanted
                .add_partition_offset(slot.topic, slot.partition, Offset::Offset(0))
                .map_err(|error| error.to_string())?;
        }
    }
    consumer.assign(&wanted).map_err(|error| error.to_string())?;
    let held = read(&consumer, slots, &ends, books)?;
    for (name, book) in books.iter().enumerate() {
        for (slot, acked) in book.acked.iter().enumerate() {
            let found = held[slot].next[name];
            if found < acked.len() as u64 {
                let place = slots[slot];
                let first = acked[found as usize];
                return Err(format!(
                    "{place:?}: {} records of producer {name} were acknowledged, {found} are there (ends at {}); the \
                     first one missing was at {first}",
                    acked.len(),
                    ends[slot]
                ));
            }
        }
    }
    Ok(ends.iter().map(|&end| end.unsigned_abs()).sum())
}

fn read(consumer: &BaseConsumer, slots: &[Slot], ends: &[i64], books: &[Book]) -> Result<Vec<Held>, String> {
    let mut held = vec![Held::default(); slots.len()];
    let mut left = ends.iter().filter(|&&end| end > 0).count();
    let mut news = Instant::now();
    while left > 0 {
        let Some(record) = consumer.poll(Duration::from_millis(200)) else {
            if news.elapsed() > SILENCE_LIMIT {
                let at: Vec<i64> = held.iter().map(|held| held.next_offset).collect();
                return Err(format!("no records for {SILENCE_LIMIT:?}: read up to {at:?}, ends are {ends:?}"));
            }
            continue;
        };
        let record = record.map_err(|error| format!("reading: {error}"))?;
        news = Instant::now();
        let place = Slot { topic: "", partition: record.partition() };
        let slot = slots.iter().position(|slot| slot.topic == record.topic() && slot.partition == place.partition);
        let slot = slot.ok_or_else(|| format!("a record of {}-{}", record.topic(), record.partition()))?;
        let done = held[slot].next_offset >= ends[slot];
        held[slot].take(slots[slot], slot, record.offset(), record.payload().unwrap_or_default(), books)?;
        left -= usize::from(!done && held[slot].next_offset >= ends[slot]);
    }
    Ok(held)
}

impl Held {
    fn take(&mut self, place: Slot, slot: usize, offset: i64, value: &[u8], books: &[Book]) -> Result<(), String> {
        if offset != self.next_offset {
            return Err(format!("{place:?}: offset {offset} follows {}", self.next_offset - 1));
        }
        self.next_offset += 1;
        let Some((producer, written_to, sequence)) = read_mark(value) else {
            return Err(format!("{place:?}: nobody wrote what is at {offset}"));
        };
        if written_to != slot || producer >= PRODUCERS {
            return Err(format!("{place:?}: a record of producer {producer} for slot {written_to} is at {offset}"));
        }
        let next = self.next[producer];
        if sequence != next {
            let what = if sequence < next { "doubled or out of order" } else { "missing before it" };
            return Err(format!("{place:?}: offset {offset} holds {sequence} of {producer}, due was {next}: {what}"));
        }
        self.next[producer] += 1;
        let told = books.get(producer).and_then(|book| book.acked[slot].get(sequence as usize).copied());
        match told {
            Some(told) if told >= 0 && told != offset => {
                Err(format!("{place:?}: {sequence} of {producer} is at {offset}, acknowledged at {told}"))
            }
            _ => Ok(()),
        }
    }
}
