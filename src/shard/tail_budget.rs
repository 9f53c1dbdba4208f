//! How much the logs of one core keep in memory for readers at their ends, and whose turn it is to give some back.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::slots::Key;
use crate::base::time::Mono;

/// The budget of one core's tail caches; sees every log of the core as a number of bytes and an age.
#[derive(Debug)]
pub struct TailBudget {
    bytes_max: u64,
    bytes: u64,
    /// Memory of what is not in a segment yet: part of the budget, and not to be given back.
    reserved: u64,
    by_log: BTreeMap<Key, (u64, Option<Mono>)>,
    by_age: BTreeSet<(Mono, Key)>,
}

impl TailBudget {
    pub fn new(bytes_max: u64) -> TailBudget {
        TailBudget { bytes_max, bytes: 0, reserved: 0, by_log: BTreeMap::new(), by_age: BTreeSet::new() }
    }

    /// What a log holds now, and since when the oldest of it.
    pub fn note(&mut self, log: Key, bytes: usize, oldest: Option<Mono>) {
        let now = (bytes as u64, oldest);
        let before = self.by_log.get(&log).copied().unwrap_or((0, None));
        if now == before {
            return;
        }
        self.bytes = self.bytes - before.0 + now.0;
        if before.1 != now.1 {
            if let Some(age) = before.1 {
                self.by_age.remove(&(age, log));
            }
            if let Some(age) = now.1 {
                self.by_age.insert((age, log));
            }
        }
        if now == (0, None) {
            self.by_log.remove(&log);
        } else {
            self.by_log.insert(log, now);
        }
    }

    pub fn forget(&mut self, log: Key) {
        self.note(log, 0, None);
    }

    /// How much of the budget is taken by what cannot be evicted.
    pub fn set_reserved(&mut self, bytes: u64) {
        self.reserved = bytes;
    }

    /// The log to take from, passing over the `spared` oldest, and how many bytes are too many.
    pub fn next_to_evict(&self, spared: usize) -> Option<(Key, usize)> {
        let excess = (self.bytes + self.reserved).checked_sub(self.bytes_max).filter(|excess| *excess > 0)?;
        let (_, log) = self.by_age.iter().nth(spared)?;
        Some((*log, excess as usize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_with_the_oldest_bytes_gives_first_and_a_gone_log_counts_nothing() {
        let mut budget = TailBudget::new(100);
        budget.note(1, 80, Some(Mono(20)));
        assert_eq!(budget.next_to_evict(0), None);
        budget.note(2, 50, Some(Mono(10)));
        assert_eq!(budget.next_to_evict(0), Some((2, 30)));
        assert_eq!(budget.next_to_evict(1), Some((1, 30)));
        budget.forget(2);
        assert_eq!((budget.bytes, budget.next_to_evict(0)), (80, None));
    }
}
