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
    woken: Vec<(Key, Woken)>,
}

/// Why a request that waited for a block is woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// A block came, or nobody asks for one any more: take an id, or park again.
    TryAgain,
    /// There are no more ids for now.
    Refused,
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

    /// A block came (or, when empty, was refused): whoever waited hears of it.
    pub fn block(&mut self, ids: Range<i64>) {
        let woken = if ids.is_empty() { Woken::Refused } else { Woken::TryAgain };
        if !ids.is_empty() {
            self.left = ids;
        }
        self.wake_all(woken);
    }

    fn wake_all(&mut self, woken: Woken) {
        self.asking = None;
        self.woken.extend(self.waiting.drain(..).map(|request| (request, woken)));
    }

    /// A request has ended. When it was the one that asked and its answer never came (its connection is gone), everyone
    /// who waited tries again, and the first of them asks.
    pub fn forget(&mut self, request: Key) {
        self.waiting.retain(|waiting| *waiting != request);
        self.woken.retain(|(woken, _)| *woken != request);
        if self.asking == Some(request) {
            self.wake_all(Woken::TryAgain);
        }
    }

    /// Whoever is to be told, and what, once.
    pub fn take_woken(&mut self) -> Vec<(Key, Woken)> {
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
        assert!(!ids.park(3));
        ids.forget(1);
        ids.forget(3);
        assert_eq!(ids.take_woken(), vec![(2, Woken::TryAgain)]);
        assert!(ids.park(2), "it asks in the place of the one that is gone");
        assert!(!ids.park(4));
        ids.block(5..6);
        ids.forget(2);
        assert_eq!((ids.take(), ids.take()), (Some(5), None));
        assert_eq!(ids.take_woken(), vec![(4, Woken::TryAgain)]);
    }

    #[test]
    fn a_refused_block_is_told_to_everyone_who_waits() {
        let mut ids = ProducerIds::default();
        assert!(ids.park(1) && !ids.park(2));
        ids.block(0..0);
        assert_eq!(ids.take_woken(), vec![(1, Woken::Refused), (2, Woken::Refused)]);
        assert!(ids.park(3), "the next one asks again");
    }
}
