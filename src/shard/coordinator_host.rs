//! Plugs a group coordinator (`coord`) into its `__consumer_offsets` partition: reads the partition at start, appends
//! the records of each outcome as one batch, and releases the answers once they are durable. One a partition, on its
//! core.

use std::collections::VecDeque;

use crate::base::ids::CoreId;
use crate::base::slots::{Key, Slots};
use crate::coord::{AskId, Coordinator, GroupAnswer, GroupRequest};

use super::message::AskKey;

/// Where a coordinator is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Loading,
    Active,
    /// Its partition is offline.
    Failed,
}

/// What members may send to a coordinator that is being loaded, bytes; some hundreds of them fit.
const EARLY_MEMBER_BYTES_MAX: usize = 128 << 10;

#[derive(Debug)]
pub struct CoordinatorHost {
    pub partition: Key,
    pub phase: Phase,
    /// Next offset to read while loading.
    pub load_next: i64,
    pub machine: Coordinator,
    askers: Slots<(CoreId, AskKey)>,
    /// (offset that must be durable, answers), in order.
    parked: VecDeque<(i64, Vec<(AskId, GroupAnswer)>)>,
    early: Vec<(CoreId, AskKey, GroupRequest)>,
    /// What members among them have sent.
    early_bytes: usize,
}

impl CoordinatorHost {
    pub fn new(partition: Key, machine: Coordinator) -> CoordinatorHost {
        CoordinatorHost {
            partition,
            phase: Phase::Loading,
            load_next: 0,
            machine,
            askers: Slots::default(),
            parked: VecDeque::new(),
            early: Vec::new(),
            early_bytes: 0,
        }
    }

    /// Keeps a request until the coordinator is loaded; false when members have sent too much meanwhile: they come
    /// again. What is no member's is bounded by the requests in flight of the node.
    #[must_use]
    pub fn early(&mut self, from: CoreId, key: AskKey, request: GroupRequest) -> bool {
        let bytes = self.early_bytes + request.member_bytes();
        if bytes > EARLY_MEMBER_BYTES_MAX && bytes > self.early_bytes {
            return false;
        }
        self.early_bytes = bytes;
        self.early.push((from, key, request.detached()));
        true
    }

    pub fn take_early(&mut self) -> Vec<(CoreId, AskKey, GroupRequest)> {
        self.early_bytes = 0;
        std::mem::take(&mut self.early)
    }

    /// Names an asker for the machine.
    pub fn admit(&mut self, from: CoreId, key: AskKey) -> AskId {
        AskId(self.askers.insert((from, key)))
    }

    /// The asker waits no more.
    pub fn forget(&mut self, from: CoreId, key: AskKey) -> bool {
        let found = self.askers.iter().find(|(_, asker)| **asker == (from, key)).map(|(id, _)| id);
        if let Some(id) = found {
            self.askers.remove(id);
            self.machine.forget(AskId(id));
        }
        found.is_some()
    }

    /// Answers that need no record of their own: given back to go at once, or, when they tell of what earlier outcomes
    /// decided (`ordered`), parked behind the last of those.
    pub fn hold(&mut self, answers: Vec<(AskId, GroupAnswer)>, ordered: bool) -> Option<Vec<(AskId, GroupAnswer)>> {
        match self.parked.back_mut() {
            Some((_, parked)) if ordered => {
                parked.extend(answers);
                None
            }
            _ => Some(answers),
        }
    }

    /// Parks answers until everything below `until` is durable.
    pub fn park(&mut self, until: i64, answers: Vec<(AskId, GroupAnswer)>) {
        self.parked.push_back((until, answers));
    }

    /// Answers whose records are durable, with their askers (forgotten ones left out).
    pub fn released(&mut self, high_watermark: i64) -> Vec<((CoreId, AskKey), GroupAnswer)> {
        let mut released = Vec::new();
        while self.parked.front().is_some_and(|(until, _)| *until <= high_watermark) {
            if let Some((_, answers)) = self.parked.pop_front() {
                released.extend(self.address(answers));
            }
        }
        released
    }

    /// Finds the askers of answers.
    pub fn address(&mut self, answers: Vec<(AskId, GroupAnswer)>) -> Vec<((CoreId, AskKey), GroupAnswer)> {
        answers.into_iter().filter_map(|(id, answer)| self.askers.remove(id.0).map(|asker| (asker, answer))).collect()
    }

    /// Everyone who waits, taken out: the partition has failed.
    pub fn abandon(&mut self) -> Vec<(CoreId, AskKey)> {
        self.phase = Phase::Failed;
        self.parked.clear();
        let ids: Vec<_> = self.askers.iter().map(|(id, _)| id).collect();
        let waiting: Vec<_> = ids.into_iter().filter_map(|id| self.askers.remove(id)).collect();
        waiting.into_iter().chain(self.take_early().into_iter().map(|(from, key, _)| (from, key))).collect()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::coord::{GroupSettings, HeartbeatRequest, JoinRequest};

    #[test]
    fn members_may_send_so_much_before_the_coordinator_is_loaded() {
        let mut host = CoordinatorHost::new(0, Coordinator::new(GroupSettings::default(), 1));
        let join = |bytes: usize| {
            let protocols = vec![("range".to_owned(), Bytes::from(vec![0; bytes]))];
            GroupRequest::Join(JoinRequest { protocols, ..JoinRequest::default() })
        };
        let taken = (0..).take_while(|key| host.early(CoreId(0), *key, join(1 << 10))).count();
        assert!((80..128).contains(&taken), "{taken}");
        let heartbeat = GroupRequest::Heartbeat(HeartbeatRequest::default());
        assert!(host.early(CoreId(0), 1000, heartbeat), "small requests wait all the same");
        assert_eq!(host.take_early().len(), taken + 1);
        assert!(host.early(CoreId(0), 1001, join(1 << 10)), "all that is given back");
    }
}
