//! Asks that came before a log was open, or here from another core: each waits for its partitions, in order of arrival
//! for each of them.
//!
//! An ask may go when all its partitions are open and no earlier ask for one of them waits: a batch must not overtake
//! the one before it. Waiting asks are found by partition, and each goes through its partitions once, however many logs
//! open: a start with many logs costs no more than what waits. Bounded by the requests in flight of the node.

use std::collections::{BTreeMap, VecDeque};

use crate::base::ids::{CoreId, TopicPartition};

use super::message::{Ask, AskKey};

/// Who asks what.
pub type Asked = (CoreId, AskKey, Ask);

#[derive(Debug)]
struct Waiting {
    asked: Asked,
    /// Each once.
    partitions: Vec<TopicPartition>,
    /// Those before are open, and nobody is before this ask at them. The next one is what it waits for.
    at: usize,
}

/// The asks of one core that wait for its logs.
#[derive(Debug, Default)]
pub struct Early {
    next: u64,
    asks: BTreeMap<u64, Waiting>,
    /// Who waits for a partition, in order of arrival; no partition is without anyone.
    queues: BTreeMap<TopicPartition, VecDeque<u64>>,
}

impl Early {
    /// Whether somebody waits for the partition already.
    pub fn awaits(&self, partition: TopicPartition) -> bool {
        self.queues.contains_key(&partition)
    }

    /// Keeps an ask for these partitions.
    pub fn push(&mut self, asked: Asked, mut partitions: Vec<TopicPartition>) {
        partitions.sort_unstable();
        partitions.dedup();
        let number = self.next;
        self.next += 1;
        for partition in &partitions {
            self.queues.entry(*partition).or_default().push_back(number);
        }
        self.asks.insert(number, Waiting { asked, partitions, at: 0 });
    }

    /// A partition has been opened, or will not be: takes out the asks that may go now.
    pub fn due(&mut self, partition: TopicPartition, is_open: impl Fn(TopicPartition) -> bool) -> Vec<Asked> {
        self.take_due(vec![partition], is_open)
    }

    /// Takes out every ask that may go now.
    pub fn all_due(&mut self, is_open: impl Fn(TopicPartition) -> bool) -> Vec<Asked> {
        // Taken from the end: the lowest partition first.
        let partitions = self.queues.keys().rev().copied().collect();
        self.take_due(partitions, is_open)
    }

    /// Takes out every ask, in order of arrival: nobody will be served any more.
    pub fn drain(&mut self) -> Vec<Asked> {
        self.queues.clear();
        std::mem::take(&mut self.asks).into_values().map(|waiting| waiting.asked).collect()
    }

    /// Drops what an asker no longer waits for, and takes out what waited behind it only.
    pub fn forget(&mut self, from: CoreId, key: AskKey, is_open: impl Fn(TopicPartition) -> bool) -> Vec<Asked> {
        let is_its = |waiting: &Waiting| (waiting.asked.0, waiting.asked.1) == (from, key);
        let numbers: Vec<u64> = self.asks.iter().filter(|(_, ask)| is_its(ask)).map(|(number, _)| *number).collect();
        let partitions: Vec<_> =
            numbers.into_iter().filter_map(|number| self.remove(number)).map(|ask| ask.partitions).collect();
        self.take_due(partitions.concat(), is_open)
    }

    fn take_due(
        &mut self,
        mut partitions: Vec<TopicPartition>,
        is_open: impl Fn(TopicPartition) -> bool,
    ) -> Vec<Asked> {
        let mut due = Vec::new();
        while let Some(partition) = partitions.pop() {
            let Some(&number) = self.queues.get(&partition).and_then(VecDeque::front) else { continue };
            if self.may_go(number, &is_open)
                && let Some(ask) = self.remove(number)
            {
                due.push(ask.asked);
                partitions.extend(ask.partitions);
            }
        }
        due
    }

    fn may_go(&mut self, number: u64, is_open: &impl Fn(TopicPartition) -> bool) -> bool {
        let Some(ask) = self.asks.get_mut(&number) else { return false };
        while let Some(partition) = ask.partitions.get(ask.at) {
            let is_first = self.queues.get(partition).and_then(VecDeque::front) == Some(&number);
            if !is_first || !is_open(*partition) {
                return false;
            }
            ask.at += 1;
        }
        true
    }

    fn remove(&mut self, number: u64) -> Option<Waiting> {
        let ask = self.asks.remove(&number)?;
        for partition in &ask.partitions {
            if let Some(queue) = self.queues.get_mut(partition) {
                match queue.front() == Some(&number) {
                    true => drop(queue.pop_front()),
                    false => queue.retain(|waiting| *waiting != number),
                }
                if queue.is_empty() {
                    self.queues.remove(partition);
                }
            }
        }
        Some(ask)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::collections::BTreeSet;

    use super::*;
    use crate::base::ids::Uuid;

    fn id(partition: i32) -> TopicPartition {
        TopicPartition { topic: Uuid([1; 16]), partition }
    }

    fn keys(due: Vec<Asked>) -> Vec<AskKey> {
        due.into_iter().map(|(_, key, _)| key).collect()
    }

    fn push(early: &mut Early, key: AskKey, partitions: &[i32]) {
        let partitions = partitions.iter().map(|number| id(*number)).collect();
        early.push((CoreId(0), key, Ask::Watch(Vec::new())), partitions);
    }

    #[test]
    fn asks_go_in_order_of_arrival_for_each_partition_and_not_before_all_of_theirs_are_open() {
        let mut early = Early::default();
        push(&mut early, 1, &[1, 2]);
        push(&mut early, 2, &[2, 3, 2]);
        push(&mut early, 3, &[3]);
        push(&mut early, 4, &[4]);
        let open = RefCell::new(BTreeSet::new());
        let opens = |early: &mut Early, number: i32| {
            open.borrow_mut().insert(id(number));
            keys(early.due(id(number), |partition| open.borrow().contains(&partition)))
        };
        assert!(opens(&mut early, 3).is_empty());
        assert_eq!(opens(&mut early, 4), [4]);
        assert!(opens(&mut early, 2).is_empty());
        assert!(early.awaits(id(3)));
        assert_eq!(opens(&mut early, 1), [1, 2, 3]);
        assert!(early.asks.is_empty() && early.queues.is_empty());
    }

    #[test]
    fn who_waited_behind_one_that_is_forgotten_goes_on() {
        let mut early = Early::default();
        push(&mut early, 1, &[1, 2]);
        push(&mut early, 2, &[2]);
        assert!(early.due(id(2), |partition| partition == id(2)).is_empty());
        assert_eq!(keys(early.forget(CoreId(0), 1, |partition| partition == id(2))), [2]);
        assert!(early.asks.is_empty() && early.queues.is_empty());
    }

    #[test]
    fn a_start_looks_at_each_partition_of_each_ask_a_few_times_only() {
        let mut early = Early::default();
        let all: Vec<i32> = (0..1000).collect();
        for key in 0..100 {
            push(&mut early, key, &all);
        }
        let looks = Cell::new(0);
        let mut due = Vec::new();
        for opened in 0..1000 {
            due.extend(keys(early.due(id(opened), |partition| {
                looks.set(looks.get() + 1);
                partition.partition <= opened
            })));
        }
        assert_eq!(due, (0..100).collect::<Vec<_>>());
        assert!(looks.get() <= 2 * 100 * 1000, "{} looks", looks.get());
    }
}
