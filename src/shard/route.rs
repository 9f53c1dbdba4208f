//! Which core owns which partition: a table, the same on every core, because every core fills it from the same
//! committed records in the same order. A copy per core; sees the whole node.

use std::collections::BTreeMap;

use crate::base::ids::{CoreId, TopicId, TopicPartition};

/// Partition → owning core.
#[derive(Clone, Debug)]
pub struct Route {
    cores: u16,
    next: u16,
    table: BTreeMap<TopicPartition, CoreId>,
}

impl Route {
    pub fn new(cores: u16) -> Route {
        crate::invariant!(cores > 0, "a node without cores");
        Route { cores, next: 0, table: BTreeMap::new() }
    }

    /// Gives a new partition to the next core in turn and says which that is.
    pub fn add(&mut self, partition: TopicPartition) -> CoreId {
        let core = CoreId(self.next % self.cores);
        self.next = (self.next + 1) % self.cores;
        self.table.insert(partition, core);
        core
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
        self.table.get(&partition).copied()
    }

    pub fn cores(&self) -> u16 {
        self.cores
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::Uuid;

    #[test]
    fn partitions_are_dealt_to_the_cores_in_turn_and_forgotten_with_their_topic() {
        let mut route = Route::new(2);
        let (a, b) = (Uuid([1; 16]), Uuid([2; 16]));
        let of = |topic, partition| TopicPartition { topic, partition };
        assert_eq!(route.add(of(a, 0)), CoreId(0));
        assert_eq!(route.add(of(a, 1)), CoreId(1));
        assert_eq!(route.add(of(b, 0)), CoreId(0));
        route.remove_topic(a);
        assert_eq!(route.owner(of(a, 1)), None);
        assert_eq!(route.owner(of(b, 0)), Some(CoreId(0)));
    }
}
