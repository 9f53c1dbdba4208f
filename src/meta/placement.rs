//! Which brokers hold the replicas of a new partition.
//!
//! Kafka's classic rule: brokers in a circle in which racks alternate; the first replica of each next partition moves
//! on by one from a random start; the others follow at a distance that grows by one each time the circle is complete,
//! so that the partitions of one leader are not all followed by the same broker. A replica goes to a rack that has
//! none yet as long as there is one. Fenced brokers and those that shut down get nothing.

use std::collections::BTreeMap;

use crate::base::ids::{NodeId, Uuid};
use crate::base::prng::Prng;

use super::image::{BrokerImage, Image};

/// A replica's directory when the broker named none.
const DIRECTORY_MIGRATING: Uuid = Uuid([0; 16]);
/// A replica's directory when the broker has several and is to choose.
const DIRECTORY_UNASSIGNED: Uuid = Uuid([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

/// The circle of brokers for one request.
#[derive(Debug)]
pub struct Placement<'a> {
    circle: Vec<(NodeId, Option<&'a str>)>,
    rack_count: usize,
    start: usize,
    shift: usize,
}

impl<'a> Placement<'a> {
    /// The active brokers of the image, the circle turned by chance.
    pub fn new(image: &'a Image, prng: &mut Prng) -> Placement<'a> {
        let active: Vec<&BrokerImage> = image.brokers().filter(|broker| broker.active()).collect();
        let mut racks: BTreeMap<Option<&str>, Vec<NodeId>> = BTreeMap::new();
        for broker in &active {
            racks.entry(broker.rack.as_deref()).or_default().push(broker.id);
        }
        let mut circle = Vec::with_capacity(active.len());
        let depth = racks.values().map(Vec::len).max().unwrap_or(0);
        for level in 0..depth {
            for (rack, brokers) in &racks {
                circle.extend(brokers.get(level).map(|&id| (id, *rack)));
            }
        }
        let bound = circle.len().max(1) as u64;
        let (start, shift) = (prng.below(bound) as usize, prng.below(bound) as usize);
        Placement { circle, rack_count: racks.len(), start, shift }
    }

    /// Brokers that can take replicas.
    pub fn broker_count(&self) -> usize {
        self.circle.len()
    }

    /// The replicas of partition number `partition`, the preferred leader first. `factor` must be at most
    /// [`Placement::broker_count`].
    pub fn replicas(&self, partition: usize, factor: usize) -> Vec<NodeId> {
        let count = self.circle.len();
        crate::invariant!(factor <= count, "{factor} replicas on {count} brokers");
        if factor == 0 {
            return Vec::new();
        }
        let first = (self.start + partition) % count;
        let shift = self.shift + partition / count;
        let mut chosen = vec![first];
        // First pass: one replica per rack; second pass: any broker not chosen yet.
        for spread_racks in [true, false] {
            for step in 0..count.saturating_sub(1) {
                if chosen.len() == factor {
                    break;
                }
                let candidate = (first + 1 + (shift + step) % (count - 1)) % count;
                let rack = self.circle[candidate].1;
                let rack_taken = chosen.iter().any(|&index| self.circle[index].1 == rack);
                let skip = spread_racks && rack_taken && self.rack_count > 1;
                if !skip && !chosen.contains(&candidate) {
                    chosen.push(candidate);
                }
            }
        }
        crate::invariant!(chosen.len() == factor, "{chosen:?} for {factor} replicas on {count} brokers");
        chosen.into_iter().map(|index| self.circle[index].0).collect()
    }
}

/// The directory a new replica on `broker` is given: its only one, or a mark that the broker is to choose (KIP-858).
pub fn directory_for(image: &Image, broker: NodeId) -> Uuid {
    match image.broker(broker).map(|broker| broker.log_dirs.as_slice()) {
        Some([only]) => *only,
        Some([]) | None => DIRECTORY_MIGRATING,
        Some(_) => DIRECTORY_UNASSIGNED,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::record::{Record, RegisterBrokerRecord};
    use super::*;

    fn image(brokers: &[(i32, Option<&str>, bool)]) -> Image {
        let mut image = Image::new();
        for &(broker, rack, fenced) in brokers {
            let record = RegisterBrokerRecord {
                version: 3,
                broker,
                is_migrating_zk_broker: false,
                incarnation: Uuid::ZERO,
                epoch: 1,
                endpoints: vec![],
                features: vec![],
                rack: rack.map(str::to_owned),
                fenced,
                in_controlled_shutdown: false,
                log_dirs: vec![Uuid([broker as u8; 16])],
                cordoned_log_dirs: None,
            };
            image.apply(&Record::RegisterBroker(record)).expect("fits");
        }
        image
    }

    #[test]
    fn a_single_broker_takes_every_partition() {
        let image = image(&[(7, None, false)]);
        let placement = Placement::new(&image, &mut Prng::new(1));
        for partition in 0..10 {
            assert_eq!(placement.replicas(partition, 1), vec![NodeId(7)]);
        }
        assert_eq!(directory_for(&image, NodeId(7)), Uuid([7; 16]));
        assert_eq!(directory_for(&image, NodeId(8)), Uuid::ZERO);
    }

    #[test]
    fn leaders_and_followers_are_spread_evenly_over_the_active_brokers() {
        let image = image(&[(1, None, false), (2, None, false), (3, None, false), (4, None, true)]);
        let placement = Placement::new(&image, &mut Prng::new(5));
        assert_eq!(placement.broker_count(), 3);
        let mut leaders: BTreeMap<NodeId, usize> = BTreeMap::new();
        let mut pairs: BTreeSet<(NodeId, NodeId)> = BTreeSet::new();
        for partition in 0..6 {
            let replicas = placement.replicas(partition, 2);
            assert_ne!(replicas[0], replicas[1]);
            *leaders.entry(replicas[0]).or_default() += 1;
            pairs.insert((replicas[0], replicas[1]));
        }
        assert_eq!(leaders.into_values().collect::<Vec<_>>(), vec![2, 2, 2]);
        assert_eq!(pairs.len(), 6, "the same leader is followed by different brokers");
    }

    #[test]
    fn replicas_take_different_racks_while_there_are_some() {
        let image =
            image(&[(1, Some("a"), false), (2, Some("a"), false), (3, Some("b"), false), (4, Some("b"), false)]);
        let rack = |id: NodeId| if id.0 <= 2 { "a" } else { "b" };
        for seed in 0..20 {
            let placement = Placement::new(&image, &mut Prng::new(seed));
            for partition in 0..8 {
                let two = placement.replicas(partition, 2);
                assert_ne!(rack(two[0]), rack(two[1]), "seed {seed}");
                let four: BTreeSet<NodeId> = placement.replicas(partition, 4).into_iter().collect();
                assert_eq!(four.len(), 4);
            }
        }
    }
}
