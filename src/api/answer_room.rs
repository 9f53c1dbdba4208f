//! Memory for answers that are being put together: what slow readers have left, less what other requests hold.
//!
//! A [`Lease`] gives its bytes back when it is dropped, wherever its request ends. Exists on every core.

use std::cell::Cell;
use std::rc::Rc;

/// The room of one core.
#[derive(Debug)]
pub struct AnswerRoom {
    /// What is left beside the answers that wait to be sent, bytes.
    free: Cell<usize>,
    leased: Rc<Cell<usize>>,
}

/// Bytes that one request may fill.
#[derive(Debug)]
pub struct Lease {
    bytes: usize,
    leased: Rc<Cell<usize>>,
}

impl AnswerRoom {
    pub fn new(bytes: usize) -> AnswerRoom {
        AnswerRoom { free: Cell::new(bytes), leased: Rc::new(Cell::new(0)) }
    }

    pub fn set(&self, bytes: usize) {
        self.free.set(bytes);
    }

    /// As many of `wanted` bytes as there are, perhaps none: the request goes on with the least it can answer with.
    pub fn lease(&self, wanted: usize) -> Lease {
        let bytes = wanted.min(self.free.get().saturating_sub(self.leased.get()));
        self.leased.set(self.leased.get() + bytes);
        Lease { bytes, leased: self.leased.clone() }
    }
}

impl Lease {
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Keeps only what was really needed.
    pub fn shrink(&mut self, bytes: usize) {
        let kept = self.bytes.min(bytes);
        self.leased.set(self.leased.get() - (self.bytes - kept));
        self.bytes = kept;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.leased.set(self.leased.get() - self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_share_the_room_and_give_it_back() {
        let room = AnswerRoom::new(100);
        let mut first = room.lease(70);
        let second = room.lease(70);
        assert_eq!((first.bytes(), second.bytes(), room.lease(1).bytes()), (70, 30, 0));
        first.shrink(10);
        assert_eq!(room.lease(1000).bytes(), 60);
        drop((first, second));
        room.set(40);
        assert_eq!(room.lease(1000).bytes(), 40);
    }
}
