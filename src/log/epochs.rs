//! The leader-epoch history of one partition (KIP-101, KIP-279): which epoch began at which offset.
//!
//! Entries rise strictly in epoch and in start offset. An epoch reaches from its start to the start of the next entry,
//! the last one to the log end. Where two logs part is decided from two of these lists, so an entry that is wrong here
//! is a lost or a doubled record later: a new entry removes every older one it contradicts.

use super::checkpoint::{CheckpointError, Lines};

/// No epoch; what a leader answers when it knows nothing about the question.
pub const UNDEFINED_EPOCH: i32 = -1;
/// No offset, beside [`UNDEFINED_EPOCH`].
pub const UNDEFINED_OFFSET: i64 = -1;

/// One epoch and the offset of its first batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEntry {
    pub epoch: i32,
    pub start_offset: i64,
}

/// The history, oldest entry first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EpochCache {
    entries: Vec<EpochEntry>,
}

impl EpochCache {
    pub fn new() -> EpochCache {
        EpochCache::default()
    }

    /// Oldest first.
    pub fn entries(&self) -> &[EpochEntry] {
        &self.entries
    }

    pub fn latest(&self) -> Option<EpochEntry> {
        self.entries.last().copied()
    }

    pub fn earliest(&self) -> Option<EpochEntry> {
        self.entries.first().copied()
    }

    /// Notes that a batch of `epoch` was appended at `start_offset`. True when the history changed (write the
    /// checkpoint). Entries that the new one contradicts (same or higher epoch, same or higher start) go. Negative
    /// values mean "no epoch known" and change nothing.
    pub fn assign(&mut self, epoch: i32, start_offset: i64) -> bool {
        if epoch < 0 || start_offset < 0 {
            return false;
        }
        if self.latest().is_some_and(|latest| latest.epoch == epoch && latest.start_offset <= start_offset) {
            return false;
        }
        while self.latest().is_some_and(|last| last.epoch >= epoch || last.start_offset >= start_offset) {
            self.entries.pop();
        }
        self.entries.push(EpochEntry { epoch, start_offset });
        true
    }

    /// The answer to "where does `epoch` end?", as (epoch, end offset), for a log that ends at `log_end_offset`: the
    /// largest known epoch at or below the question and the start of the next one. As Kafka: an epoch older than all
    /// known ones answers itself and the first known start; a newer one than all known answers (−1, −1).
    pub fn end_offset_for(&self, epoch: i32, log_end_offset: i64) -> (i32, i64) {
        if epoch == UNDEFINED_EPOCH {
            return (UNDEFINED_EPOCH, UNDEFINED_OFFSET);
        }
        if self.latest().is_some_and(|latest| latest.epoch == epoch) {
            return (epoch, log_end_offset);
        }
        let above = self.entries.partition_point(|entry| entry.epoch <= epoch);
        let Some(next) = self.entries.get(above) else {
            return (UNDEFINED_EPOCH, UNDEFINED_OFFSET);
        };
        let floor = above.checked_sub(1).map_or(epoch, |at| self.entries[at].epoch);
        (floor, next.start_offset)
    }

    /// The epoch of the record at `offset`, which must lie below the log end; `None` before the first entry.
    pub fn epoch_for_offset(&self, offset: i64) -> Option<i32> {
        let above = self.entries.partition_point(|entry| entry.start_offset <= offset);
        above.checked_sub(1).map(|at| self.entries[at].epoch)
    }

    /// The log was cut to `end_offset`: entries that start there or later go. True when something went.
    pub fn truncate_from_end(&mut self, end_offset: i64) -> bool {
        let keep = self.entries.partition_point(|entry| entry.start_offset < end_offset);
        let changed = keep < self.entries.len();
        self.entries.truncate(keep);
        changed
    }

    /// The log now starts at `start_offset`: older entries go, and the epoch of that offset now starts there. True
    /// when something changed.
    pub fn truncate_from_start(&mut self, start_offset: i64) -> bool {
        let above = self.entries.partition_point(|entry| entry.start_offset <= start_offset);
        let Some(at) = above.checked_sub(1) else { return false };
        if at == 0 && self.entries[0].start_offset == start_offset {
            return false;
        }
        self.entries.drain(..at);
        self.entries[0].start_offset = start_offset;
        true
    }

    /// Forgets everything (the log was replaced as a whole).
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// The text of `leader-epoch-checkpoint`: version 0, count, then "epoch start" lines.
    pub fn encode(&self) -> String {
        let mut text = format!("0\n{}\n", self.entries.len());
        for entry in &self.entries {
            text.push_str(&format!("{} {}\n", entry.epoch, entry.start_offset));
        }
        text
    }

    /// Reads `leader-epoch-checkpoint`. The entries must rise strictly, as this type keeps them.
    pub fn decode(text: &str) -> Result<EpochCache, CheckpointError> {
        let mut entries: Vec<EpochEntry> = Vec::new();
        let mut lines = Lines::begin(text)?;
        while let Some((line, words)) = lines.next_entry::<2>()? {
            let bad = || CheckpointError::Entry { line };
            let entry = EpochEntry {
                epoch: words[0].parse().map_err(|_| bad())?,
                start_offset: words[1].parse().map_err(|_| bad())?,
            };
            let rises =
                entries.last().is_none_or(|last| last.epoch < entry.epoch && last.start_offset < entry.start_offset);
            if entry.epoch < 0 || entry.start_offset < 0 || !rises {
                return Err(bad());
            }
            entries.push(entry);
        }
        Ok(EpochCache { entries })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(entries: &[(i32, i64)]) -> EpochCache {
        let mut cache = EpochCache::new();
        for &(epoch, start) in entries {
            assert!(cache.assign(epoch, start));
        }
        cache
    }

    fn pairs(cache: &EpochCache) -> Vec<(i32, i64)> {
        cache.entries().iter().map(|entry| (entry.epoch, entry.start_offset)).collect()
    }

    #[test]
    fn an_epoch_ends_where_the_next_known_one_starts() {
        let cache = cache(&[(2, 10), (4, 20), (7, 30)]);
        assert_eq!(cache.end_offset_for(7, 99), (7, 99), "the current epoch ends at the log end");
        assert_eq!(cache.end_offset_for(4, 99), (4, 30));
        assert_eq!(cache.end_offset_for(5, 99), (4, 30), "the largest epoch known below the question");
        assert_eq!(cache.end_offset_for(1, 99), (1, 10), "older than all: nothing of it below the first start");
        assert_eq!(cache.end_offset_for(8, 99), (-1, -1), "newer than all");
        assert_eq!(cache.end_offset_for(-1, 99), (-1, -1));
        assert_eq!(EpochCache::new().end_offset_for(0, 99), (-1, -1));
    }

    #[test]
    fn a_new_epoch_removes_entries_it_contradicts() {
        let mut cache = cache(&[(2, 10), (4, 20), (7, 30)]);
        assert!(!cache.assign(7, 35), "the epoch goes on");
        assert!(cache.assign(7, 29), "an earlier start of the same epoch wins");
        assert_eq!(pairs(&cache), [(2, 10), (4, 20), (7, 29)]);
        assert!(cache.assign(8, 20));
        assert_eq!(pairs(&cache), [(2, 10), (8, 20)]);
        assert!(cache.assign(3, 40), "a lower epoch in a later batch: what lies above goes");
        assert_eq!(pairs(&cache), [(2, 10), (3, 40)]);
        assert!(!cache.assign(-1, 50));
    }

    #[test]
    fn cutting_either_end_keeps_what_is_still_true() {
        let mut cache = cache(&[(2, 10), (4, 20), (7, 30)]);
        assert_eq!(cache.epoch_for_offset(9), None);
        assert_eq!(cache.epoch_for_offset(20), Some(4));
        assert_eq!(cache.epoch_for_offset(1000), Some(7));
        assert!(!cache.truncate_from_end(31));
        assert!(cache.truncate_from_end(30));
        assert!(!cache.truncate_from_start(5), "before the first entry nothing moves");
        assert!(cache.truncate_from_start(25));
        assert_eq!(pairs(&cache), [(4, 25)]);
        assert!(!cache.truncate_from_start(25));
        assert!(cache.truncate_from_end(25));
        assert_eq!(cache.latest(), None);
    }

    #[test]
    fn the_checkpoint_text_is_kafkas_and_broken_text_is_refused() {
        let cache = cache(&[(0, 0), (3, 17)]);
        assert_eq!(cache.encode(), "0\n2\n0 0\n3 17\n");
        assert_eq!(EpochCache::decode(&cache.encode()), Ok(cache));
        for text in
            ["", "0\n", "1\n0\n", "0\n2\n0 0\n", "0\n1\n0 0\n1 1\n", "0\n1\n0\n", "0\n2\n3 1\n2 5\n", "0\n1\n0 x\n"]
        {
            assert!(EpochCache::decode(text).is_err(), "{text:?}");
        }
    }
}
