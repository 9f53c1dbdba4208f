//! Which core owns which partition: a table, the same on every core, because every core fills it from the same
//! committed records and the same moves in the same order. A copy per core; sees the whole node.
//!
//! ```text
//!   place of a partition = its pin (`partition.cores`), if the node has that core
//!                        = else the core whose turn it was when the partition was made
//!   owner                = the place, or on the way there (`moves/`)
//! ```
//! A pinned partition takes its turn, too: pinning one does not change where a later start puts the others. At a start
//! every partition begins at its place, so nothing has to move then.

use std::collections::BTreeMap;

use crate::base::ids::{CoreId, TopicId, TopicPartition};
use crate::meta::settings::Pin;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    owner: CoreId,
    /// The core whose turn it was.
    dealt: CoreId,
}

/// Partition → owning core.
#[derive(Clone, Debug)]
pub struct Route {
    cores: u16,
    next: u16,
    table: BTreeMap<TopicPartition, Entry>,
    /// By topic, then partition; cores that the node does not have are left out.
    pins: BTreeMap<String, BTreeMap<i32, CoreId>>,
    /// Moves so far.
    rerouted: u64,
}

impl Route {
    pub fn new(cores: u16) -> Route {
        crate::invariant!(cores > 0, "a node without cores");
        Route { cores, next: 0, table: BTreeMap::new(), pins: BTreeMap::new(), rerouted: 0 }
    }

    /// Takes over the pins that hold from here on. Owners stay as they are; comes back with the pins to cores that this
    /// node does not have.
    pub fn set_pins(&mut self, pins: Vec<Pin>) -> Vec<Pin> {
        self.pins.clear();
        let (good, strange): (Vec<Pin>, Vec<Pin>) = pins.into_iter().partition(|pin| pin.core < self.cores);
        for pin in good {
            self.pins.entry(pin.topic).or_default().insert(pin.partition, CoreId(pin.core));
        }
        strange
    }

    /// Gives a new partition to the core it is pinned to, else to the next one in turn, and says which that is.
    pub fn add(&mut self, partition: TopicPartition, topic: &str) -> CoreId {
        let dealt = CoreId(self.next % self.cores);
        self.next = (self.next + 1) % self.cores;
        let owner = self.pin(topic, partition.partition).unwrap_or(dealt);
        self.table.insert(partition, Entry { owner, dealt });
        owner
    }

    fn pin(&self, topic: &str, partition: i32) -> Option<CoreId> {
        self.pins.get(topic)?.get(&partition).copied()
    }

    /// Where a partition of `topic` should be and is not.
    pub fn wanted(&self, partition: TopicPartition, topic: &str) -> Option<CoreId> {
        let entry = self.table.get(&partition)?;
        let place = self.pin(topic, partition.partition).unwrap_or(entry.dealt);
        (place != entry.owner).then_some(place)
    }

    /// A move: asks go to another core from here on. False: the picture does not hold the partition any more.
    pub fn reroute(&mut self, partition: TopicPartition, to: CoreId) -> bool {
        let entry = self.table.get_mut(&partition);
        if let Some(entry) = entry {
            entry.owner = to;
            self.rerouted += 1;
            return true;
        }
        false
    }

    /// How many moves this core has followed: while that stays the same, an owner is the owner.
    pub fn rerouted(&self) -> u64 {
        self.rerouted
    }

    /// Forgets every partition of a topic.
    pub fn remove_topic(&mut self, topic: TopicId) {
        let first = TopicPartition { topic, partition: i32::MIN };
        let last = TopicPartition { topic, partition: i32::MAX };
        let gone: Vec<_> = self.table.range(first..=last).map(|(partition, _)| *partition).collect();
        for partition in gone {
            self.table.remove(&partition);
        }
    }

    /// The owner; `None` for a partition that the picture does not hold.
    pub fn owner(&self, partition: TopicPartition) -> Option<CoreId> {
        self.table.get(&partition).map(|entry| entry.owner)
    }

    /// The partitions of a topic and their owners, in order.
    pub fn owners_of(&self, topic: TopicId) -> impl Iterator<Item = (i32, CoreId)> + '_ {
        let first = TopicPartition { topic, partition: i32::MIN };
        let last = TopicPartition { topic, partition: i32::MAX };
        self.table.range(first..=last).map(|(partition, entry)| (partition.partition, entry.owner))
    }

    pub fn cores(&self) -> u16 {
        self.cores
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::Uuid;
    use crate::meta::settings::parse_pins;

    const A: Uuid = Uuid([1; 16]);
    const B: Uuid = Uuid([2; 16]);

    fn of(topic: Uuid, partition: i32) -> TopicPartition {
        TopicPartition { topic, partition }
    }

    #[test]
    fn partitions_are_dealt_to_the_cores_in_turn_and_forgotten_with_their_topic() {
        let mut route = Route::new(2);
        assert_eq!(route.add(of(A, 0), "a"), CoreId(0));
        assert_eq!(route.add(of(A, 1), "a"), CoreId(1));
        assert_eq!(route.add(of(B, 0), "b"), CoreId(0));
        assert_eq!(route.owners_of(A).collect::<Vec<_>>(), [(0, CoreId(0)), (1, CoreId(1))]);
        route.remove_topic(A);
        assert_eq!(route.owner(of(A, 1)), None);
        assert!(!route.reroute(of(A, 1), CoreId(0)));
        assert_eq!(route.owner(of(B, 0)), Some(CoreId(0)));
    }

    #[test]
    fn a_pin_wins_takes_its_turn_and_counts_only_where_the_core_exists() {
        let mut route = Route::new(2);
        let strange = route.set_pins(parse_pins("a-0:1,a-1:2").unwrap());
        assert_eq!(strange, parse_pins("a-1:2").unwrap());
        assert_eq!(route.add(of(A, 0), "a"), CoreId(1), "pinned");
        assert_eq!(route.add(of(A, 1), "a"), CoreId(1), "dealt: there is no core 2, and it is the second");
        assert_eq!(route.add(of(B, 0), "b"), CoreId(0), "as without pins");
    }

    #[test]
    fn a_partition_wants_to_its_pin_and_home_when_that_is_gone() {
        let mut route = Route::new(2);
        route.add(of(A, 0), "a");
        assert_eq!(route.wanted(of(A, 0), "a"), None);
        route.set_pins(parse_pins("a-0:1").unwrap());
        assert_eq!(route.wanted(of(A, 0), "a"), Some(CoreId(1)));
        assert!(route.reroute(of(A, 0), CoreId(1)));
        assert_eq!((route.wanted(of(A, 0), "a"), route.rerouted()), (None, 1));
        route.set_pins(Vec::new());
        assert_eq!(route.wanted(of(A, 0), "a"), Some(CoreId(0)));
    }
}
