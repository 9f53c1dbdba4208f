//! Connections that wait for something, in the order in which they began to.
//!
//! ```text
//!   wait ──▶ in the line ──take──▶ asked again ──leave──▶ (got it, or is gone)
//!                 ▲                     │ not yet
//!                 └──────── wait ───────┘ in its old place
//! ```
//! The number of a connection says nothing about that order: numbers are used again.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::ids::ConnId;

#[derive(Debug, Default)]
pub struct Line {
    waiting: BTreeSet<(u64, ConnId)>,
    /// The place of each that has not left, asked again or not.
    places: BTreeMap<ConnId, u64>,
    next: u64,
}

impl Line {
    /// Puts a connection in its place, at the end when it has none.
    pub fn wait(&mut self, conn: ConnId) {
        let place = *self.places.entry(conn).or_insert(self.next);
        self.next += 1;
        self.waiting.insert((place, conn));
    }

    /// It has what it waited for, or is gone.
    pub fn leave(&mut self, conn: ConnId) {
        if let Some(place) = self.places.remove(&conn) {
            self.waiting.remove(&(place, conn));
        }
    }

    /// Everybody in the line, to be asked again.
    pub fn take(&mut self) -> impl Iterator<Item = ConnId> {
        std::mem::take(&mut self.waiting).into_iter().map(|(_, conn)| conn)
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub fn contains(&self, conn: ConnId) -> bool {
        self.places.get(&conn).is_some_and(|place| self.waiting.contains(&(*place, conn)))
    }

    /// Whether somebody in the line comes before it.
    pub fn is_before(&self, conn: ConnId) -> bool {
        let place = self.places.get(&conn).copied().unwrap_or(u64::MAX);
        self.waiting.first().is_some_and(|(first, _)| *first < place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_that_of_coming_and_a_place_is_kept_until_one_leaves() {
        let mut line = Line::default();
        [9, 5, 7].map(ConnId).into_iter().for_each(|conn| line.wait(conn));
        assert!(line.is_before(ConnId(5)) && line.is_before(ConnId(1)) && !line.is_before(ConnId(9)));
        assert_eq!(line.take().collect::<Vec<_>>(), [9, 5, 7].map(ConnId));
        assert!(line.is_empty() && !line.is_before(ConnId(7)));
        line.leave(ConnId(9));
        [7, 9, 5].map(ConnId).into_iter().for_each(|conn| line.wait(conn));
        assert!(line.contains(ConnId(7)) && !line.contains(ConnId(1)));
        line.leave(ConnId(1));
        assert_eq!(line.take().collect::<Vec<_>>(), [5, 7, 9].map(ConnId), "who left and came again is the last");
    }
}
