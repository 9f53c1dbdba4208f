//! The leader of a partition: which epoch it leads in, and how far readers may see.
//!
//! Invariants: `high_watermark <= durable offset <= log end offset`; the high watermark never goes back; the epoch
//! never falls. With one replica the ISR's smallest durable offset is the leader's own.

/// Leadership of one partition by this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    epoch: i32,
    high_watermark: i64,
}

/// What is wrong with the epoch that a client believes in (KIP-320).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EpochMismatch {
    /// Older than ours: the client must refresh its metadata.
    Fenced,
    /// Newer than ours: this node has not heard of it yet.
    Unknown,
}

impl Leader {
    pub fn new(epoch: i32, high_watermark: i64) -> Leader {
        Leader { epoch, high_watermark }
    }

    pub fn epoch(&self) -> i32 {
        self.epoch
    }

    /// Every offset below this is on stable storage at every in-sync replica; consumers read up to here.
    pub fn high_watermark(&self) -> i64 {
        self.high_watermark
    }

    /// Leads on in a later epoch.
    pub fn begin_epoch(&mut self, epoch: i32) {
        crate::invariant!(epoch >= self.epoch, "leader epoch fell from {} to {epoch}", self.epoch);
        self.epoch = epoch;
    }

    /// Checks the epoch of a request; −1 asks for no check.
    pub fn check_epoch(&self, believed: i32) -> Result<(), EpochMismatch> {
        match believed {
            -1 => Ok(()),
            e if e < self.epoch => Err(EpochMismatch::Fenced),
            e if e > self.epoch => Err(EpochMismatch::Unknown),
            _ => Ok(()),
        }
    }

    /// The leader's own log is durable below `offset`. True when the high watermark moved.
    pub fn durable(&mut self, offset: i64) -> bool {
        crate::invariant!(
            offset >= self.high_watermark,
            "durable offset {offset} below the high watermark {}",
            self.high_watermark
        );
        let moved = offset > self.high_watermark;
        self.high_watermark = offset;
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_epoch_is_fenced_a_newer_one_unknown_and_minus_one_unchecked() {
        let leader = Leader::new(5, 0);
        assert_eq!(leader.check_epoch(4), Err(EpochMismatch::Fenced));
        assert_eq!(leader.check_epoch(6), Err(EpochMismatch::Unknown));
        assert_eq!(leader.check_epoch(5), Ok(()));
        assert_eq!(leader.check_epoch(-1), Ok(()));
    }

    #[test]
    fn the_high_watermark_follows_the_durable_offset_and_says_when_it_moved() {
        let mut leader = Leader::new(0, 10);
        assert!(!leader.durable(10));
        assert!(leader.durable(12));
        assert_eq!(leader.high_watermark(), 12);
    }
}
