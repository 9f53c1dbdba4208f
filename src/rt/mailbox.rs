//! Mail between cores: a bounded lane of batches for each ordered pair.
//!
//! Order within a pair is kept: when the lane is full the sender keeps what follows, joined to one batch, and delivers
//! it once the receiver has made room and said so. Lanes to a core that has ended swallow what is sent.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::control::lock;
use crate::base::ids::CoreId;

/// Batches that may wait between two cores.
const LANE_BATCHES_MAX: usize = 64;

#[derive(Debug)]
struct Lane<T> {
    queue: Mutex<Queue<T>>,
    /// Says without the lock that the lane is worth looking into; set under the lock.
    filled: AtomicBool,
}

#[derive(Debug)]
struct Queue<T> {
    batches: VecDeque<Vec<T>>,
    /// The sender found the lane full and wants to hear of room.
    blocked: bool,
    closed: bool,
}

/// All lanes of a process.
#[derive(Debug)]
pub struct Mesh<T> {
    cores: usize,
    lanes: Vec<Lane<T>>,
}

/// What a look into the mailbox found besides the batches.
#[derive(Debug, Default)]
pub struct Taken {
    /// Some lane holds another batch: look again after this turn.
    pub more: bool,
    /// Senders that wait for room, which there is now.
    pub unblocked: Vec<CoreId>,
}

impl<T> Mesh<T> {
    pub fn new(cores: usize) -> Mesh<T> {
        let lane = || Lane {
            queue: Mutex::new(Queue { batches: VecDeque::new(), blocked: false, closed: false }),
            filled: AtomicBool::new(false),
        };
        Mesh { cores, lanes: (0..cores * cores).map(|_| lane()).collect() }
    }

    fn lane(&self, from: CoreId, to: CoreId) -> &Lane<T> {
        crate::invariant!(usize::from(to.0) < self.cores, "mail to core {} of {}", to.0, self.cores);
        &self.lanes[usize::from(to.0) * self.cores + usize::from(from.0)]
    }

    /// Puts a batch into the lane, or gives it back when the lane is full.
    fn send(&self, from: CoreId, to: CoreId, batch: Vec<T>) -> Result<(), Vec<T>> {
        let lane = self.lane(from, to);
        let mut queue = lock(&lane.queue);
        if queue.closed {
            return Ok(());
        }
        if queue.batches.len() >= LANE_BATCHES_MAX {
            queue.blocked = true;
            return Err(batch);
        }
        queue.batches.push_back(batch);
        lane.filled.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Takes at most one batch of each sender.
    pub fn take(&self, to: CoreId, mail: &mut Vec<(CoreId, Vec<T>)>) -> Taken {
        let mut taken = Taken::default();
        for from in 0..self.cores {
            // At most CORES_MAX cores.
            let from = CoreId(from as u16);
            let lane = self.lane(from, to);
            // The door's sequentially consistent `posted` orders this load behind the store it announces.
            if !lane.filled.load(Ordering::Relaxed) {
                continue;
            }
            let mut queue = lock(&lane.queue);
            if let Some(batch) = queue.batches.pop_front() {
                mail.push((from, batch));
            }
            if queue.batches.is_empty() {
                lane.filled.store(false, Ordering::Relaxed);
            } else {
                taken.more = true;
            }
            if std::mem::take(&mut queue.blocked) {
                taken.unblocked.push(from);
            }
        }
        taken
    }

    /// The core has ended: its mail is dropped, now and later. Returns the senders that wait for room.
    pub fn close(&self, to: CoreId) -> Vec<CoreId> {
        let mut unblocked = Vec::new();
        for from in 0..self.cores {
            let from = CoreId(from as u16);
            let lane = self.lane(from, to);
            let mut queue = lock(&lane.queue);
            queue.closed = true;
            let dropped = std::mem::take(&mut queue.batches);
            if std::mem::take(&mut queue.blocked) {
                unblocked.push(from);
            }
            drop(queue);
            if !dropped.is_empty() {
                tracing::debug!(from = from.0, to = to.0, batches = dropped.len(), "mail to a stopped core dropped");
            }
        }
        unblocked
    }
}

/// One core's outgoing mail, with what did not fit yet.
#[derive(Debug)]
pub struct Outbox<T> {
    core: CoreId,
    kept: Vec<Vec<T>>,
    kept_lanes: usize,
}

impl<T> Outbox<T> {
    pub fn new(core: CoreId, cores: usize) -> Outbox<T> {
        Outbox { core, kept: (0..cores).map(|_| Vec::new()).collect(), kept_lanes: 0 }
    }

    /// Sends or keeps a batch; true when something was put into the lane.
    pub fn send(&mut self, mesh: &Mesh<T>, to: CoreId, batch: Vec<T>) -> bool {
        if batch.is_empty() {
            return false;
        }
        crate::invariant!(usize::from(to.0) < self.kept.len(), "mail to core {} of {}", to.0, self.kept.len());
        let kept = &mut self.kept[usize::from(to.0)];
        if !kept.is_empty() {
            kept.extend(batch);
            return false;
        }
        match mesh.send(self.core, to, batch) {
            Ok(()) => true,
            Err(batch) => {
                *kept = batch;
                self.kept_lanes += 1;
                false
            }
        }
    }

    /// Tries again with what was kept; calls `sent` for every core that got something.
    pub fn flush(&mut self, mesh: &Mesh<T>, mut sent: impl FnMut(CoreId)) {
        if self.kept_lanes == 0 {
            return;
        }
        for (to, kept) in self.kept.iter_mut().enumerate() {
            if kept.is_empty() {
                continue;
            }
            let to = CoreId(to as u16);
            match mesh.send(self.core, to, std::mem::take(kept)) {
                Ok(()) => {
                    self.kept_lanes -= 1;
                    sent(to);
                }
                Err(batch) => *kept = batch,
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.kept_lanes == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_lane_keeps_the_rest_with_the_sender_and_in_order() {
        let mesh = Mesh::new(2);
        let (from, to) = (CoreId(0), CoreId(1));
        let mut outbox = Outbox::new(from, 2);
        let total = 3 * LANE_BATCHES_MAX as u32;
        for number in 0..total {
            outbox.send(&mesh, to, vec![number]);
        }
        assert!(!outbox.is_empty());
        let mut seen = Vec::new();
        loop {
            let mut mail = Vec::new();
            let taken = mesh.take(to, &mut mail);
            seen.extend(mail.into_iter().flat_map(|(_, batch)| batch));
            if !taken.unblocked.is_empty() {
                assert_eq!(taken.unblocked, vec![from]);
                outbox.flush(&mesh, |_| {});
            } else if !taken.more {
                break;
            }
        }
        assert!(outbox.is_empty());
        assert_eq!(seen, (0..total).collect::<Vec<_>>());
    }

    #[test]
    fn mail_to_a_core_that_has_ended_does_not_hold_its_sender_up() {
        let mesh = Mesh::new(2);
        let mut outbox = Outbox::new(CoreId(0), 2);
        for number in 0..2 * LANE_BATCHES_MAX {
            outbox.send(&mesh, CoreId(1), vec![number]);
        }
        assert_eq!(mesh.close(CoreId(1)), vec![CoreId(0)]);
        outbox.flush(&mesh, |_| {});
        assert!(outbox.is_empty());
    }
}
