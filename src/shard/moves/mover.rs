//! Which partition moves next: one at a time, and again later what could not go. Lives on core 0, sees the whole node.

use std::collections::VecDeque;

use super::Move;
use crate::base::ids::{CoreId, TopicPartition};
use crate::base::time::Mono;

/// How long to leave a partition alone that could not go, milliseconds.
const RETRY_MS: u64 = 500;

/// The machine; its host says where partitions are and should be.
#[derive(Debug, Default)]
pub struct Mover {
    last_number: u64,
    active: Option<Move>,
    /// Every core's route has been told to turn.
    turned: bool,
    queue: VecDeque<TopicPartition>,
    /// Asked again at `retry_at`.
    refused: Vec<TopicPartition>,
    retry_at: Option<Mono>,
}

impl Mover {
    /// These partitions are not where they should be; whatever else was waiting does not count any more.
    pub fn want(&mut self, partitions: Vec<TopicPartition>) {
        self.queue = partitions.into();
        self.refused.clear();
        self.retry_at = None;
    }

    /// The next move, if one may begin: its first message goes to the old owner. `place`: where a partition is and
    /// where it should be; `None` when there is nothing to do for it.
    pub fn next(
        &mut self,
        now: Mono,
        mut place: impl FnMut(TopicPartition) -> Option<(CoreId, CoreId)>,
    ) -> Option<Move> {
        if self.active.is_some() {
            return None;
        }
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            self.queue.extend(self.refused.drain(..));
        }
        while let Some(partition) = self.queue.pop_front() {
            if let Some((from, to)) = place(partition) {
                self.last_number += 1;
                let begun = Move { number: self.last_number, partition, from, to };
                (self.active, self.turned) = (Some(begun), false);
                return Some(begun);
            }
        }
        None
    }

    /// The old owner says no for now.
    pub fn refused(&mut self, number: u64, now: Mono) {
        if let Some(refused) = self.active.take_if(|active| active.number == number) {
            self.refused.push(refused.partition);
            self.retry_at.get_or_insert(now.plus_ms(RETRY_MS));
        }
    }

    /// The new owner holds what comes for it: every core may be told to turn.
    pub fn ready(&mut self, number: u64) -> Option<Move> {
        let active = self.active.filter(|active| active.number == number && !self.turned)?;
        self.turned = true;
        Some(active)
    }

    /// The move is over, whatever came of it.
    pub fn moved(&mut self, number: u64) -> Option<Move> {
        self.active.take_if(|active| active.number == number)
    }

    /// What has just moved should be elsewhere by now.
    pub fn again(&mut self, partition: TopicPartition) {
        if !self.queue.contains(&partition) {
            self.queue.push_back(partition);
        }
    }

    /// When [`Mover::next`] is worth calling.
    pub fn next_wake(&self) -> Option<Mono> {
        self.retry_at.filter(|_| self.active.is_none())
    }
}
