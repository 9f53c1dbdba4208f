//! How much the logs of one core together leave to a recovery after a crash, and which of them is to write a
//! checkpoint.
//!
//! Each log bounds its own share, but a start reads the shares of all: without this bound a hundred busy partitions
//! would take a hundred times as long to come back as one.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::slots::Key;

/// Bytes a recovery of the whole node may have to read, the space filled ahead not counted: a fraction of a second.
const NODE_BYTES: u64 = 128 << 20;

/// The budget of one core; sees every log of the core as a number of bytes.
#[derive(Debug)]
pub struct RecoveryBudget {
    bytes_max: u64,
    bytes: u64,
    by_log: BTreeMap<Key, u64>,
    by_bytes: BTreeSet<(u64, Key)>,
    /// Asked already, and not done yet.
    asked: BTreeSet<Key>,
}

impl RecoveryBudget {
    pub fn new(cores: u16) -> RecoveryBudget {
        RecoveryBudget {
            bytes_max: NODE_BYTES / u64::from(cores.max(1)),
            bytes: 0,
            by_log: BTreeMap::new(),
            by_bytes: BTreeSet::new(),
            asked: BTreeSet::new(),
        }
    }

    /// What a recovery of this log would read now.
    pub fn note(&mut self, log: Key, bytes: u64) {
        let before = self.by_log.get(&log).copied().unwrap_or(0);
        if before == bytes {
            return;
        }
        self.bytes = self.bytes - before + bytes;
        self.by_bytes.remove(&(before, log));
        if bytes < before {
            self.asked.remove(&log);
        }
        if bytes == 0 {
            self.by_log.remove(&log);
        } else {
            self.by_log.insert(log, bytes);
            self.by_bytes.insert((bytes, log));
        }
    }

    pub fn forget(&mut self, log: Key) {
        self.note(log, 0);
    }

    /// The log with the most to read, when all together are too much and it was not asked yet. One at a time: what the
    /// checkpoint spares is known only when it is begun.
    pub fn next_to_checkpoint(&self) -> Option<Key> {
        if self.bytes <= self.bytes_max {
            return None;
        }
        let (_, log) = self.by_bytes.last()?;
        (!self.asked.contains(log)).then_some(*log)
    }

    /// The log was asked.
    pub fn asked(&mut self, log: Key) {
        self.asked.insert(log);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_with_the_most_to_read_is_asked_once_until_it_has_less() {
        let mut budget = RecoveryBudget::new(2);
        budget.note(1, 40 << 20);
        assert_eq!(budget.next_to_checkpoint(), None);
        budget.note(2, 30 << 20);
        assert_eq!(budget.next_to_checkpoint(), Some(1));
        budget.asked(1);
        budget.note(1, 41 << 20);
        assert_eq!(budget.next_to_checkpoint(), None, "it is on its way");
        budget.note(1, 1 << 20);
        assert_eq!(budget.next_to_checkpoint(), None);
        budget.note(1, 45 << 20);
        assert_eq!(budget.next_to_checkpoint(), Some(1), "another time");
        budget.forget(1);
        assert_eq!((budget.bytes, budget.next_to_checkpoint()), (30 << 20, None));
    }
}
