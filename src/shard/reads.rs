//! Reads of logs in flight on this core, and what each of them is for.

use std::collections::BTreeMap;

use crate::base::slots::Key;

/// What a read is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFor {
    /// One item of a fetch job.
    Fetch { job: Key, item: usize },
    /// One query of a ListOffsets job.
    Offset { job: Key, slot: u32 },
    /// The coordinator of the partition reads its log at start.
    CoordinatorLoad,
    /// The controller reads the metadata log at start.
    ControllerLoad,
}

/// The table of reads in flight.
#[derive(Debug, Default)]
pub struct Reads {
    next: u64,
    waiting: BTreeMap<(Key, u64), ReadFor>,
}

impl Reads {
    /// A new id, never given before.
    pub fn next_id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub fn put(&mut self, partition: Key, id: u64, purpose: ReadFor) {
        self.waiting.insert((partition, id), purpose);
    }

    pub fn take(&mut self, partition: Key, id: u64) -> Option<ReadFor> {
        self.waiting.remove(&(partition, id))
    }

    /// Everything that waits for `partition`, taken out: it will not be answered.
    pub fn take_all_of(&mut self, partition: Key) -> Vec<ReadFor> {
        let ids: Vec<_> = self.waiting.range((partition, 0)..=(partition, u64::MAX)).map(|(id, _)| *id).collect();
        ids.iter().filter_map(|id| self.waiting.remove(id)).collect()
    }
}
