//! What the logs of this core tell, and what follows from it.

use crate::base::slots::Key;
use crate::base::time::{Mono, Now};
use crate::log::LogEvent;

use super::message::{Message, PartitionError, Reply};
use super::partition::{AckWaiter, Role};
use super::reads::ReadFor;
use super::{Notice, Shard};

/// Logs in a row that may have nothing durable to evict before the core waits for the next turn.
const TAIL_EVICTION_TRIES: usize = 64;

impl Shard {
    pub(super) fn log_event(&mut self, key: Key, event: LogEvent, now: Now) {
        match event {
            LogEvent::Ready => self.log_ready(key, now),
            LogEvent::Durable(offset) => {
                let Some(partition) = self.partitions.get_mut(key) else { return };
                if partition.leader.durable(offset) {
                    partition.log.on_high_watermark(partition.leader.high_watermark());
                    self.release(key, now);
                    self.wake_watchers(key, false);
                }
            }
            LogEvent::ReadDone { id, result } => match self.reads.take(key, id.0) {
                Some(ReadFor::Fetch { job, item }) => self.fetch_read_done((job, item), key, result),
                Some(ReadFor::CoordinatorLoad) => self.coordinator_loaded_part(key, result, now),
                Some(ReadFor::ControllerLoad) => self.controller_loaded_part(key, result, now),
                Some(ReadFor::Offset { .. }) | None => {}
            },
            LogEvent::TimeFound { id, result } => {
                if let Some(ReadFor::Offset { job, slot }) = self.reads.take(key, id.0) {
                    self.offset_found(job, slot, result);
                }
            }
            LogEvent::Failed(reason) => {
                let name = self.partitions.get(key).map(|p| p.log.dir().to_string()).unwrap_or_default();
                self.fail_folder(&format!("{name}: {reason}"), now);
            }
            LogEvent::NoSpace => self.set_no_space(key, true, now),
            LogEvent::SpaceBack => self.set_no_space(key, false, now),
            LogEvent::LogStartMoved(_) => {}
            LogEvent::Left => self.log_left(key),
            LogEvent::Closed => self.log_closed(key),
            LogEvent::Truncated(_) => {}
            LogEvent::Deleted => {
                self.forget_share(key);
                self.log_moved_away(key, now);
                // A timer of a log that is not there would be due for ever.
                if let Some(at) = self.partitions.remove(key).and_then(|partition| partition.wake_at) {
                    self.log_timers.remove(&(at, key));
                }
                self.tail_cache.forget(key);
                self.recovery.forget(key);
            }
        }
    }

    fn log_ready(&mut self, key: Key, now: Now) {
        let Some(partition) = self.partitions.get_mut(key) else { return };
        partition.ready = true;
        partition.leader.durable(partition.log.durable_offset());
        let (role, id) = (partition.role, partition.id);
        if let Some(report) = partition.log.take_report() {
            let log = partition.log.dir().to_string();
            // A clean start looks at the tail behind the last index entry as well: nothing to speak of.
            let scanned = !self.facts.clean && report.scanned_bytes > 0;
            let remarkable = scanned || report.torn_reason.is_some() || !report.notes.is_empty();
            self.notices.push(Notice::Recovered { log, report: report.to_string(), remarkable });
        }
        match role {
            Role::Data => {}
            Role::Offsets => self.coordinator_load(key, now),
            Role::Metadata => self.controller_load(key, now),
        }
        self.ask_early(id, now);
    }

    /// Answers everyone whose offset the high watermark has reached.
    pub(super) fn release(&mut self, key: Key, now: Now) {
        let (mut coordinator, mut controller) = (false, false);
        while let Some(waiter) = self.partitions.get_mut(key).and_then(|p| p.next_released()) {
            match waiter {
                AckWaiter::Produce { job, .. } => self.produce_progress(job, 1),
                AckWaiter::Coordinator => coordinator = true,
                AckWaiter::Controller => controller = true,
            }
        }
        if coordinator {
            self.coordinator_release(key);
        }
        if controller {
            self.controller_commit(now);
        }
    }

    fn set_no_space(&mut self, key: Key, no_space: bool, now: Now) {
        let Some(partition) = self.partitions.get_mut(key) else { return };
        partition.no_space = no_space;
        let dir = partition.log.dir();
        if no_space {
            tracing::error!("{dir}: the disk is full: appends are refused until there is room, reads go on");
        } else {
            tracing::info!("{dir}: there is room again");
        }
        let (role, id, waits) = (partition.role, partition.id, partition.waits_for_room());
        match role {
            Role::Metadata if no_space => self.controller_progress(now),
            Role::Metadata => self.controller_room(key, now),
            Role::Offsets if waits => self.coordinator_waits_for_room(id.partition),
            Role::Offsets | Role::Data => {}
        }
        if waits {
            self.ask_early(id, now);
        }
    }

    /// The log folder has failed on this core: the others hear of it.
    pub(super) fn fail_folder(&mut self, reason: &str, now: Now) {
        for core in 0..self.config.cores {
            if core != self.config.core.0 {
                let reason = reason.to_string();
                self.send(crate::base::ids::CoreId(core), Message::FolderOffline { reason });
            }
        }
        self.take_offline(reason, now);
    }

    /// The log folder has failed: everything in it answers with a storage error from now on.
    pub(super) fn take_offline(&mut self, reason: &str, now: Now) {
        if self.folder_offline {
            return;
        }
        self.folder_offline = true;
        let called_off = self.transit.cancel_all();
        self.call_off(called_off);
        self.notices.push(Notice::FolderOffline { reason: reason.to_string() });
        let keys: Vec<Key> = self.partitions.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.fail_partition(key, &PartitionError::Storage, now);
        }
        // Those too who wait for a partition that was on its way here.
        self.ask_all_early(now);
        if let Some(controller) = &mut self.controller {
            for asker in controller.abandon() {
                self.reply(asker, Reply::Refused(PartitionError::Storage));
            }
        }
        // Core 0 keeps no log starts any more.
        self.refuse_delete_jobs(&PartitionError::Storage);
    }

    /// Everyone who waits for the partition gets `error`; it stays as it is but serves nobody.
    pub(super) fn fail_partition(&mut self, key: Key, error: &PartitionError, now: Now) {
        let Some(partition) = self.partitions.get_mut(key) else { return };
        partition.offline = Some(error.clone());
        let acks = std::mem::take(&mut partition.acks);
        let id = partition.id;
        let role = partition.role;
        for ack in acks {
            if let AckWaiter::Produce { job, item } = ack.waiter {
                self.produce_failed(job, item, error.clone());
            }
        }
        for purpose in self.reads.take_all_of(key) {
            match purpose {
                ReadFor::Fetch { job, item } => {
                    let error = crate::log::ReadError::Io(String::new());
                    self.fetch_read_done((job, item), key, Err(error));
                }
                ReadFor::Offset { job, slot } => self.offset_failed(job, slot, error.clone()),
                ReadFor::CoordinatorLoad | ReadFor::ControllerLoad => {}
            }
        }
        self.wake_watchers(key, true);
        self.ask_early(id, now);
        if role == Role::Offsets
            && let Some(host) = self.coordinators.get_mut(&id.partition)
        {
            for asker in host.abandon() {
                self.reply(asker, Reply::Refused(error.clone()));
            }
        }
    }

    /// Timers: retention, silent producers, the logs' own, the coordinators'.
    pub fn wake(&mut self, now: Now) {
        // Each log once a turn, even one that is due again at once: a turn's work is bounded.
        let due: Vec<Key> = self.log_timers.range(..=(now.mono, Key::MAX)).map(|(_, key)| *key).collect();
        for key in due {
            if let Some(at) = self.partitions.get_mut(key).and_then(|partition| partition.wake_at.take()) {
                self.log_timers.remove(&(at, key));
            }
            self.with_log(key, now, |log, now, out, events| log.wake(now, out, events));
            self.mark_dirty(key);
        }
        if now.mono >= self.retain_at && !self.is_stopping() {
            self.retain_at = now.mono.plus_ms(self.config.settings.retention_check_interval_ms.max(1));
            self.retain_all(now);
        }
        if now.mono >= self.expire_at && !self.is_stopping() {
            self.expire_at = now.mono.plus_ms(self.config.settings.producer_id_expiration_check_ms.max(1));
            for (_, partition) in self.partitions.iter_mut().filter(|(_, partition)| partition.ready) {
                partition.log.expire_producers(now.wall_ms);
            }
        }
        self.coordinators_wake(now);
        if let Some(folder) = &mut self.folder {
            folder.wake(now, &mut self.desk);
        }
        self.moves_wake(now);
    }

    fn retain_all(&mut self, now: Now) {
        let keys: Vec<Key> =
            self.partitions.iter().filter(|(_, p)| p.ready && p.role != Role::Metadata).map(|(key, _)| key).collect();
        for key in keys {
            let Some(high_watermark) = self.partitions.get(key).map(|p| p.leader.high_watermark()) else { continue };
            self.with_log(key, now, |log, now, out, events| log.retain(now, high_watermark, out, events));
            // It may have rolled the log, and what only the journal has goes into the segment then.
            self.mark_dirty(key);
        }
    }

    /// Keeps what the core knows of a log as the log has it now: its timer, what it writes, its share of the tail
    /// cache and of a recovery.
    pub(super) fn rearm(&mut self, key: Key) {
        let Some(partition) = self.partitions.get_mut(key) else { return };
        let wanted = partition.log.next_wake();
        if wanted != partition.wake_at {
            if let Some(at) = partition.wake_at {
                self.log_timers.remove(&(at, key));
            }
            if let Some(at) = wanted {
                self.log_timers.insert((at, key));
            }
            partition.wake_at = wanted;
        }
        let writing = partition.log.writing_bytes();
        self.bytes_writing = self.bytes_writing - partition.writing_bytes + writing;
        partition.writing_bytes = writing;
        self.tail_cache.note(key, partition.log.cached_bytes(), partition.log.oldest_cached());
        self.note_share(key);
        let Some(partition) = self.partitions.get_mut(key) else { return };
        self.recovery.note(key, partition.log.recovery_bytes());
        if let Some(largest) = self.recovery.next_to_checkpoint()
            && let Some(partition) = self.partitions.get_mut(largest)
            && self.desk.with_log(largest, |out| partition.log.checkpoint_soon(out))
        {
            self.recovery.asked(largest);
        }
    }

    /// Drops the oldest of what is kept for readers until the core is within its budget again.
    pub(super) fn keep_tail_cache_budget(&mut self) {
        self.tail_cache.set_reserved(self.journal.lag_bytes());
        let mut spared = 0;
        while let Some((key, excess)) = self.tail_cache.next_to_evict(spared) {
            let Some(partition) = self.partitions.get_mut(key) else {
                self.tail_cache.forget(key);
                continue;
            };
            if partition.log.evict(excess) == 0 {
                // Only what is durable may go: this log's turn comes when it is.
                spared += 1;
                if spared >= TAIL_EVICTION_TRIES {
                    return;
                }
            }
            self.tail_cache.note(key, partition.log.cached_bytes(), partition.log.oldest_cached());
        }
    }

    /// When this shard wants a turn if nothing happens before.
    pub fn next_wake(&self) -> Option<Mono> {
        let logs = self.log_timers.first().map(|(at, _)| *at);
        // Only what `wake` will act upon: a time that stays due would be another turn at once, for ever.
        let own = if self.is_stopping() { None } else { Some(self.retain_at.min(self.expire_at)) };
        let folder = self.folder.as_ref().and_then(|folder| folder.next_wake());
        let hosts = [self.coordinators_next_wake(), self.journal.next_wake(), self.moves_next_wake()];
        [logs, own, folder].into_iter().chain(hosts).flatten().min()
    }
}
