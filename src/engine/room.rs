//! The memory of frames that are still arriving on one core, shared by all of its connections.
//!
//! A connection between frames, or inside a small one, needs nothing from here. Inside a larger one it takes room for
//! each read and waits when there is none, so that nobody who announces much costs more than the budget. The one that
//! has held room for the longest time may always go on, otherwise halves of frames could wait for one another. While
//! others wait, whoever has been silent for [`SILENT_MS_MAX`] or takes longer than [`FRAME_MS_MAX`] gives its room back
//! by being closed: a client that stops in the middle of a frame must not keep others from sending theirs.

use std::collections::{BTreeMap, BTreeSet};

use super::line::Line;
use crate::base::ids::ConnId;
use crate::base::time::{Mono, Now};

/// A buffer of at most this size is every connection's own, bytes.
pub const OWN_BYTES: usize = 16 * 1024;
/// What one read may take once half of the budget is gone, bytes.
const STEP_BYTES: usize = 64 * 1024;
/// Longest silence inside a frame while others wait for room, milliseconds.
const SILENT_MS_MAX: u64 = 3_000;
/// Longest time for a frame while others wait for room, milliseconds; clients give a request up about then.
const FRAME_MS_MAX: u64 = 30_000;
/// How often this is looked at while somebody waits, milliseconds.
const CHECK_MS: u64 = 500;

#[derive(Clone, Copy, Debug)]
struct Holder {
    bytes: usize,
    number: u64,
    since: Mono,
    heard: Mono,
}

/// Exists on every core; sees the connections of that core that are inside a large frame.
#[derive(Debug)]
pub struct Room {
    budget: usize,
    bytes: usize,
    holders: BTreeMap<ConnId, Holder>,
    /// By the time they began to hold something.
    by_age: BTreeSet<(u64, ConnId)>,
    next_number: u64,
    hungry: Line,
    check_at: Option<Mono>,
}

impl Room {
    pub fn new(budget: usize) -> Room {
        Room {
            budget,
            bytes: 0,
            holders: BTreeMap::new(),
            by_age: BTreeSet::new(),
            next_number: 0,
            hungry: Line::default(),
            check_at: None,
        }
    }

    /// How many bytes `conn` may read, which has `pending` and would like `wanted` more; `None`: it waits, and
    /// [`Room::take_fed`] tells when to ask again. `used`: what the frames in work take of the same budget.
    pub fn take(&mut self, conn: ConnId, pending: usize, wanted: usize, used: usize, now: Now) -> Option<usize> {
        if pending + wanted <= OWN_BYTES {
            self.give_back(conn);
            return Some(wanted);
        }
        let others = self.bytes - self.holders.get(&conn).map_or(0, |holder| holder.bytes) + used;
        let read = if others > self.budget / 2 { wanted.min(STEP_BYTES) } else { wanted };
        let eldest = self.by_age.first().is_none_or(|(_, eldest)| *eldest == conn);
        let overtakes = !self.holders.contains_key(&conn) && self.hungry.is_before(conn);
        if (others + pending + read > self.budget && !eldest) || overtakes {
            self.hungry.wait(conn);
            self.check_at.get_or_insert(now.mono.plus_ms(CHECK_MS));
            return None;
        }
        self.hungry.leave(conn);
        self.hold(conn, pending + read, now);
        Some(read)
    }

    fn hold(&mut self, conn: ConnId, bytes: usize, now: Now) {
        let holder = self.holders.entry(conn).or_insert_with(|| {
            let number = self.next_number;
            self.next_number += 1;
            self.by_age.insert((number, conn));
            Holder { bytes: 0, number, since: now.mono, heard: now.mono }
        });
        self.bytes = self.bytes - holder.bytes + bytes;
        holder.bytes = bytes;
    }

    /// Bytes arrived on `conn`.
    pub fn heard(&mut self, conn: ConnId, now: Now) {
        if let Some(holder) = self.holders.get_mut(&conn) {
            holder.heard = now.mono;
        }
    }

    /// `conn` has its frame, or is gone.
    pub fn give_back(&mut self, conn: ConnId) {
        self.hungry.leave(conn);
        if let Some(holder) = self.holders.remove(&conn) {
            self.bytes -= holder.bytes;
            self.by_age.remove(&(holder.number, conn));
        }
    }

    /// Connections that should ask again, when there is room or nobody holds any, those first that began to wait first.
    pub fn take_fed(&mut self, used: usize) -> Vec<ConnId> {
        let room = self.bytes + used + STEP_BYTES <= self.budget;
        if self.hungry.is_empty() || !(room || self.holders.is_empty() || self.eldest_is_hungry()) {
            return Vec::new();
        }
        self.hungry.take().collect()
    }

    fn eldest_is_hungry(&self) -> bool {
        self.by_age.first().is_some_and(|(_, eldest)| self.hungry.contains(*eldest))
    }

    /// Connections to close because others wait for what they hold.
    pub fn overdue(&mut self, now: Now) -> Vec<ConnId> {
        if self.check_at.is_none_or(|at| now.mono < at) {
            return Vec::new();
        }
        self.check_at = if self.hungry.is_empty() { None } else { Some(now.mono.plus_ms(CHECK_MS)) };
        if self.hungry.is_empty() {
            return Vec::new();
        }
        let late = |conn: &ConnId, holder: &Holder| {
            // Whoever waits itself is not silent of its own will.
            let silent = !self.hungry.contains(*conn) && now.mono.ms_since(holder.heard) >= SILENT_MS_MAX;
            silent || now.mono.ms_since(holder.since) >= FRAME_MS_MAX
        };
        self.holders.iter().filter(|(conn, holder)| late(conn, holder)).map(|(conn, _)| *conn).collect()
    }

    pub fn next_wake(&self) -> Option<Mono> {
        self.check_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn at(ms: u64) -> Now {
        Now { mono: Mono(0).plus_ms(ms), wall_ms: 0 }
    }

    #[test]
    fn small_frames_need_no_room_and_large_ones_share_the_budget() {
        let mut room = Room::new(4 * MIB);
        assert_eq!(room.take(ConnId(1), 4 * MIB - 100, 100, 0, at(0)), Some(100), "the first may always go on");
        assert_eq!(room.take(ConnId(2), 0, 8 << 10, 0, at(0)), Some(8 << 10), "small");
        assert_eq!(room.take(ConnId(2), 100, MIB, 0, at(0)), None);
        assert_eq!(room.take(ConnId(1), 4 * MIB, MIB, 0, at(0)), Some(MIB), "the eldest goes beyond the budget");
        assert!(room.take_fed(0).is_empty());
        room.give_back(ConnId(1));
        assert_eq!(room.take_fed(0), [ConnId(2)]);
        assert_eq!(room.take(ConnId(2), 100, MIB, 3 * MIB, at(0)), Some(STEP_BYTES), "in steps when it is tight");
        room.give_back(ConnId(2));
        assert_eq!((room.bytes, room.holders.len(), room.by_age.len()), (0, 0, 0));
    }

    #[test]
    fn nobody_overtakes_those_who_wait_whatever_their_numbers() {
        let mut room = Room::new(MIB);
        assert_eq!(room.take(ConnId(1), 0, MIB, 0, at(0)), Some(MIB));
        for conn in [9, 5, 7] {
            assert_eq!(room.take(ConnId(conn), 0, 32 << 10, 0, at(0)), None);
        }
        room.give_back(ConnId(1));
        assert_eq!(room.take(ConnId(2), 0, 32 << 10, 0, at(0)), None, "there is room, but others came before");
        assert_eq!(room.take_fed(0), [9, 5, 7, 2].map(ConnId));
        for conn in [9, 5, 7, 2] {
            assert_eq!(room.take(ConnId(conn), 0, 32 << 10, 0, at(0)), Some(32 << 10));
        }
        assert!(room.hungry.is_empty());
    }

    #[test]
    fn the_silent_and_the_slow_are_closed_only_while_others_wait() {
        let mut room = Room::new(MIB);
        assert!(room.take(ConnId(1), 0, MIB, 0, at(0)).is_some());
        assert!(room.overdue(at(100_000)).is_empty(), "nobody waits");
        room.heard(ConnId(1), at(100_000));
        assert_eq!(room.take(ConnId(2), 0, MIB, 0, at(100_000)), None);
        assert_eq!(room.overdue(at(100_500)), [ConnId(1)], "it has taken long enough");
        room.give_back(ConnId(1));
        assert_eq!(room.take_fed(0), [ConnId(2)]);
        assert!(room.take(ConnId(3), 0, MIB, 0, at(100_500)).is_some());
        assert_eq!(room.take(ConnId(2), 0, MIB, 0, at(100_500)), None);
        room.heard(ConnId(3), at(101_000));
        assert!(room.overdue(at(103_900)).is_empty(), "it has spoken");
        assert_eq!(room.overdue(at(104_400)), [ConnId(3)]);
    }
}
