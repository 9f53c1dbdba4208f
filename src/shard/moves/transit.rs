//! What is on its way from and to one core. Exists on every core; sees that core's ends of moves.

use std::collections::BTreeMap;

use super::Move;
use crate::base::ids::{TopicId, TopicPartition};

/// A partition of this core that is to go.
#[derive(Debug)]
struct Departure {
    of: Move,
    /// Cores whose route has turned.
    turned: u16,
    /// The log is getting ready: nothing is appended any more, not by a coordinator either.
    leaving: bool,
}

/// A partition that is to come to this core.
#[derive(Debug)]
pub struct Arrival {
    pub of: Move,
    /// Its topic was removed by the record that ends here: what comes is deleted.
    pub doomed: Option<i64>,
    /// Topics removed meanwhile, for a coordinator that may not have heard of it.
    pub removed: Vec<(TopicId, String)>,
    /// The log will not come: its core or its folder has come to an end. Asks wait for ours to do so as well.
    kept: bool,
}

/// Both ends.
#[derive(Debug)]
pub struct Transit {
    cores: u16,
    departures: BTreeMap<TopicPartition, Departure>,
    arrivals: BTreeMap<TopicPartition, Arrival>,
}

impl Transit {
    pub fn new(cores: u16) -> Transit {
        Transit { cores, departures: BTreeMap::new(), arrivals: BTreeMap::new() }
    }

    // ---- the old owner ----------------------------------------------------------------------------------------

    /// The partition may leave; false when it is on its way already.
    pub fn depart(&mut self, of: Move) -> bool {
        if self.departures.contains_key(&of.partition) {
            return false;
        }
        self.departures.insert(of.partition, Departure { of, turned: 0, leaving: false });
        true
    }

    /// One more core asks elsewhere from here on.
    pub fn turned(&mut self, number: u64) {
        let departure = self.departures.values_mut().find(|departure| departure.of.number == number);
        if let Some(departure) = departure {
            departure.turned += 1;
        }
    }

    /// Partitions for which every ask is in and whose logs were not told to leave.
    pub fn due(&self) -> impl Iterator<Item = TopicPartition> + '_ {
        let due = |departure: &&Departure| departure.turned == self.cores && !departure.leaving;
        self.departures.values().filter(due).map(|departure| departure.of.partition)
    }

    /// The log was told to leave.
    pub fn leave(&mut self, partition: TopicPartition) {
        if let Some(departure) = self.departures.get_mut(&partition) {
            departure.leaving = true;
        }
    }

    pub fn is_leaving(&self, partition: TopicPartition) -> bool {
        self.departures.get(&partition).is_some_and(|departure| departure.leaving)
    }

    /// The log has left: where it goes.
    pub fn left(&mut self, partition: TopicPartition) -> Option<Move> {
        self.departures.remove(&partition).map(|departure| departure.of)
    }

    /// Partitions of a topic that will not leave because it was removed: their new owners are to be told.
    pub fn cancel_topic(&mut self, topic: TopicId) -> Vec<Move> {
        let of_topic = |partition: &&TopicPartition| partition.topic == topic;
        let gone: Vec<TopicPartition> = self.departures.keys().filter(of_topic).copied().collect();
        gone.into_iter().filter_map(|partition| self.left(partition)).collect()
    }

    /// Nothing leaves any more.
    pub fn cancel_all(&mut self) -> Vec<Move> {
        std::mem::take(&mut self.departures).into_values().map(|departure| departure.of).collect()
    }

    // ---- the new owner ----------------------------------------------------------------------------------------

    /// Asks for the partition are held from here on.
    pub fn expect(&mut self, of: Move) {
        let arrival = Arrival { of, doomed: None, removed: Vec::new(), kept: false };
        let before = self.arrivals.insert(of.partition, arrival);
        crate::invariant!(before.is_none_or(|arrival| arrival.kept), "a partition is expected twice");
    }

    /// Whether asks for the partition must wait.
    pub fn awaits(&self, partition: TopicPartition) -> bool {
        self.arrivals.get(&partition).is_some_and(|arrival| arrival.doomed.is_none())
    }

    /// Partitions of the topic that asks must wait for.
    pub fn awaited_of(&self, topic: TopicId) -> impl Iterator<Item = TopicPartition> + '_ {
        let awaited = move |arrival: &&Arrival| arrival.of.partition.topic == topic && arrival.doomed.is_none();
        self.arrivals.values().filter(awaited).map(|arrival| arrival.of.partition)
    }

    pub fn is_idle(&self) -> bool {
        self.departures.is_empty() && self.arrivals.is_empty()
    }

    /// Partitions that will still be heard of.
    pub fn coming(&self) -> usize {
        self.arrivals.values().filter(|arrival| !arrival.kept).count()
    }

    /// A topic was removed by the record that ends at `end`; returns how many of its partitions are still to come and
    /// to be deleted.
    pub fn doom_topic(&mut self, topic: TopicId, name: &str, end: i64) -> u32 {
        self.arrivals.retain(|partition, arrival| partition.topic != topic || !arrival.kept);
        let mut coming = 0;
        for (partition, arrival) in &mut self.arrivals {
            if partition.topic == topic {
                arrival.doomed = Some(end);
                coming += 1;
            } else {
                arrival.removed.push((topic, name.to_owned()));
            }
        }
        coming
    }

    /// The old owner has spoken; `None`: not of a move that is expected.
    pub fn handed(&mut self, of: Move) -> Option<Arrival> {
        let expected = self.arrivals.get(&of.partition).is_some_and(|arrival| arrival.of == of);
        if expected { self.arrivals.remove(&of.partition) } else { None }
    }

    /// The log stays where it is, for good.
    pub fn keep(&mut self, arrival: Arrival) {
        self.arrivals.insert(arrival.of.partition, Arrival { kept: true, ..arrival });
    }
}
