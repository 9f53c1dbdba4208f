//! Producer ids of one core: taken from blocks that the controller gives out, so that an id is never given twice, not
//! even after a crash (what was left of a block is lost, not reused).

use std::ops::Range;

use crate::base::slots::Key;

/// What is left of the core's block, and who waits for the next.
#[derive(Debug, Default)]
pub struct ProducerIds {
    left: Range<i64>,
    asking: bool,
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
        !std::mem::replace(&mut self.asking, true)
    }

    /// A block came (or, when empty, was refused): everyone who waited tries again.
    pub fn block(&mut self, ids: Range<i64>) {
        self.asking = false;
        if !ids.is_empty() {
            self.left = ids;
        }
        self.woken.append(&mut self.waiting);
    }

    pub fn take_woken(&mut self) -> Vec<Key> {
        std::mem::take(&mut self.woken)
    }
}
