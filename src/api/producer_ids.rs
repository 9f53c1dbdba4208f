//! Producer ids of one core: taken from blocks that the controller gives out, so that an id is never given twice, not
//! even after a crash (what was left of a block is lost, not reused).

use std::ops::Range;

use crate::base::slots::Key;

/// What is left of the core's block, and who waits for the next.
#[derive(Debug, Default)]
pub struct ProducerIds {
    left: Range<i64>,
    /// Which request has asked for the next block.
    asking: Option<Key>,
    waiting: Vec<Key>,
    woken: Vec<Key>,
}

impl ProducerIds {
    /// The next id; `None`: wait for a block.
    pub fn take(&mut self) -> Option<i64> {
        self.left.next()
    }

    /// Parks a request until a block comes. True: the request must ask for it, nobody else has.
    pub fn park(&mut self, request: Key) -> bool {
        self.waiting.push(request);
        let first = self.asking.is_none();
        if first {
            self.asking = Some(request);
        }
        first
    }

    /// A block came (or, when empty, was refused): everyone who waited tries again.
    pub fn block(&mut self, ids: Range<i64>) {
        self.asking = None;
        if !ids.is_empty() {
            self.left = ids;
        }
        self.woken.append(&mut self.waiting);
    }

    /// A request has ended. When it was the one that asked and its answer never came (its connection is gone), everyone
    /// who waited tries again.
    pub fn forget(&mut self, request: Key) {
        self.waiting.retain(|waiting| *waiting != request);
        if self.asking == Some(request) {
            self.block(0..0);
        }
    }

    pub fn take_woken(&mut self) -> Vec<Key> {
        std::mem::take(&mut self.woken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_waits_tries_again_when_the_one_who_asked_is_gone() {
        let mut ids = ProducerIds::default();
        assert!(ids.park(1), "the first one asks");
        assert!(!ids.park(2));
        ids.forget(1);
        assert_eq!(ids.take_woken(), vec![2]);
        assert!(ids.park(3), "the next one asks again");
        ids.block(5..6);
        ids.forget(3);
        assert_eq!((ids.take(), ids.take()), (Some(5), None));
    }
}
