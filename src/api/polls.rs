//! Fetches that wait for news, by what they hold of the core's memory.
//!
//! Each may wait for ten minutes and belongs to somebody who may have asked for a hundred thousand partitions. Beyond
//! the bound the largest is answered with what there is, which a fetch may be at any time.

use std::collections::BTreeSet;

use crate::base::slots::Key;

/// Exists on every core; sees the fetches of its connections.
#[derive(Debug)]
pub struct Polls {
    bytes_max: usize,
    bytes: usize,
    by_size: BTreeSet<(usize, Key)>,
}

impl Polls {
    pub fn new(bytes_max: usize) -> Polls {
        Polls { bytes_max, bytes: 0, by_size: BTreeSet::new() }
    }

    pub fn add(&mut self, key: Key, bytes: usize) {
        if self.by_size.insert((bytes, key)) {
            self.bytes += bytes;
        }
    }

    /// It is answered or gone; `bytes` as in [`Polls::add`].
    pub fn remove(&mut self, key: Key, bytes: usize) {
        if self.by_size.remove(&(bytes, key)) {
            self.bytes -= bytes;
        }
    }

    /// One that must end because together they hold too much. It counts no more.
    pub fn take_excess(&mut self) -> Option<Key> {
        if self.bytes <= self.bytes_max {
            return None;
        }
        let (bytes, key) = self.by_size.pop_last()?;
        self.bytes -= bytes;
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_ends_first_and_small_ones_wait_on() {
        let mut polls = Polls::new(100);
        for (key, bytes) in [(1, 40), (2, 10), (3, 30), (4, 20)] {
            polls.add(key, bytes);
        }
        assert_eq!(polls.take_excess(), None, "all of them fit");
        polls.add(5, 70);
        assert_eq!((polls.take_excess(), polls.take_excess()), (Some(5), None));
        polls.remove(5, 70);
        polls.add(6, 30);
        assert_eq!((polls.take_excess(), polls.take_excess()), (Some(1), None));
        [(2, 10), (3, 30), (4, 20), (6, 30)].into_iter().for_each(|(key, bytes)| polls.remove(key, bytes));
        assert_eq!((polls.bytes, polls.by_size.len()), (0, 0));
        polls.add(7, 101);
        assert_eq!(polls.take_excess(), Some(7), "one alone may be too much");
    }
}
