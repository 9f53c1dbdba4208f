//! Moves of partitions at work: what `moves/` decides, done to logs, coordinators, routes and those who wait.

use crate::base::ids::{CoreId, TopicPartition};
use crate::base::slots::Key;
use crate::base::time::{Mono, Now};
use crate::coord::Coordinator;
use crate::meta::controller::OFFSETS_TOPIC;
use crate::meta::settings::parse_pins;

use super::apply::log_config;
use super::coordinator_host::Phase;
use super::message::{Ask, Message, PartitionError, Reply};
use super::moves::{Move, MoveMessage, Parcel};
use super::partition::Role;
use super::{Shard, any_partition};

impl Shard {
    // ---- where partitions should be ---------------------------------------------------------------------------

    /// Takes over what `partition.cores` says now, on every core at the same record.
    pub(super) fn refresh_pins(&mut self) {
        let text = self.config.settings.partition_cores(&self.image);
        let pins = match parse_pins(text) {
            Ok(pins) => pins,
            // The controller lets nothing of the kind pass, nor does the file's check: another version wrote it.
            Err(reason) => {
                tracing::warn!("partition.cores: {reason}; no partition is pinned");
                Vec::new()
            }
        };
        for strange in self.route.set_pins(pins) {
            if self.config.core == CoreId(0) {
                let last = self.config.cores - 1;
                tracing::warn!("partition.cores: {strange}: the last core is {last}; the partition is dealt in turn");
            }
        }
    }

    /// On core 0: looks for partitions that are not where they should be, and begins to move them.
    pub(super) fn look_for_moves(&mut self, now: Now) {
        let (route, image) = (&self.route, &self.image);
        let Some(mover) = &mut self.mover else { return };
        let mut wanted = Vec::new();
        for topic in image.topics() {
            let ids = topic.partitions.keys().map(|number| TopicPartition { topic: topic.id, partition: *number });
            wanted.extend(ids.filter(|id| route.wanted(*id, &topic.name).is_some()));
        }
        mover.want(wanted);
        self.begin_move(now);
    }

    fn begin_move(&mut self, now: Now) {
        if self.is_stopping() || self.folder_offline {
            return;
        }
        let (route, image) = (&self.route, &self.image);
        let Some(mover) = &mut self.mover else { return };
        let place = |id: TopicPartition| {
            let to = route.wanted(id, &image.topic(&id.topic)?.name)?;
            route.owner(id).map(|from| (from, to))
        };
        if let Some(begun) = mover.next(now.mono, place) {
            self.send_move(begun.from, MoveMessage::Asked(begun));
        }
    }

    fn send_move(&mut self, to: CoreId, message: MoveMessage) {
        self.send(to, Message::Move(message));
    }

    pub(super) fn move_message(&mut self, message: MoveMessage, now: Now) {
        match message {
            MoveMessage::Asked(asked) => self.move_asked(asked),
            MoveMessage::Refused { number } => {
                if let Some(mover) = &mut self.mover {
                    mover.refused(number, now.mono);
                }
                self.begin_move(now);
            }
            MoveMessage::Expected(expected) => {
                self.transit.expect(expected);
                self.send_move(CoreId(0), MoveMessage::Ready { number: expected.number });
            }
            MoveMessage::Ready { number } => {
                if let Some(ready) = self.mover.as_mut().and_then(|mover| mover.ready(number)) {
                    for core in 0..self.config.cores {
                        self.send_move(CoreId(core), MoveMessage::Turn(ready));
                    }
                }
            }
            MoveMessage::Turn(turn) => {
                self.route.reroute(turn.partition, turn.to);
                self.send_move(turn.from, MoveMessage::Turned { number: turn.number });
            }
            MoveMessage::Turned { number } => {
                self.transit.turned(number);
                self.depart(now);
            }
            MoveMessage::Handed { of, parcel } => self.handed(of, parcel.map(|parcel| *parcel), now),
            MoveMessage::Moved { number } => self.moved(number, now),
        }
    }

    /// On core 0: one move is over.
    fn moved(&mut self, number: u64, now: Now) {
        let Some(mover) = &mut self.mover else { return };
        if let Some(over) = mover.moved(number) {
            let id = over.partition;
            let topic = self.image.topic(&id.topic);
            if topic.is_some_and(|topic| self.route.wanted(id, &topic.name).is_some()) {
                mover.again(id);
            }
        }
        self.begin_move(now);
    }

    // ---- the old owner ----------------------------------------------------------------------------------------

    fn move_asked(&mut self, asked: Move) {
        let may = !self.is_stopping() && !self.folder_offline && self.may_depart(asked.partition);
        if may && self.transit.depart(asked) {
            self.send_move(asked.to, MoveMessage::Expected(asked));
        } else {
            self.send_move(CoreId(0), MoveMessage::Refused { number: asked.number });
        }
    }

    fn may_depart(&self, id: TopicPartition) -> bool {
        let partition = self.by_id.get(&id).and_then(|key| self.partitions.get(*key));
        let Some(partition) = partition.filter(|partition| partition.ready && partition.offline.is_none()) else {
            return false;
        };
        let free = match partition.role {
            Role::Data => true,
            Role::Offsets => self.coordinators.get(&id.partition).is_some_and(|host| host.phase == Phase::Active),
            // The controller lives on it.
            Role::Metadata => false,
        };
        free && partition.log.may_leave()
    }

    /// Lets logs leave for which every ask is in and done with as far as it needs the log to be read.
    fn depart(&mut self, now: Now) {
        let due: Vec<TopicPartition> = self.transit.due().filter(|id| !self.is_asked_for(*id)).collect();
        for id in due {
            let Some(key) = self.by_id.get(&id).copied() else { continue };
            self.transit.leave(id);
            // Who waits for news asks again, and by now that is the new owner.
            self.wake_watchers(key, true);
            self.with_log(key, now, |log, now, out, events| log.leave(now, out, events));
        }
    }

    /// Whether something that was asked of a partition has yet to be begun.
    fn is_asked_for(&self, id: TopicPartition) -> bool {
        self.early.awaits(id) || self.fetch_jobs.iter().any(|(_, job)| job.has_yet_to_read(id))
    }

    /// The log is plain data now.
    pub(super) fn log_left(&mut self, key: Key) {
        self.rearm(key);
        let Some(id) = self.partitions.get(key).map(|partition| partition.id) else { return };
        // The folder failed meanwhile: it stays.
        let Some(of) = self.transit.left(id) else { return };
        self.forget_share(key);
        self.tail_cache.forget(key);
        self.recovery.forget(key);
        let Some(mut partition) = self.partitions.remove(key) else { return };
        crate::invariant!(partition.acks.is_empty(), "somebody waits for a log that has left");
        if let Some(at) = partition.wake_at.take() {
            self.log_timers.remove(&(at, key));
        }
        self.bytes_writing -= std::mem::take(&mut partition.writing_bytes);
        partition.dirty = false;
        self.by_id.remove(&id);
        let coordinator = if partition.role == Role::Offsets { self.coordinators.remove(&id.partition) } else { None };
        let parcel = Some(Box::new(Parcel { partition, coordinator }));
        self.send_move(of.to, MoveMessage::Handed { of, parcel });
    }

    /// These partitions stay, or are gone: nobody need wait for them.
    pub(super) fn call_off(&mut self, moves: Vec<Move>) {
        for of in moves {
            self.send_move(of.to, MoveMessage::Handed { of, parcel: None });
        }
    }

    // ---- the new owner ----------------------------------------------------------------------------------------

    /// Whether a partition is on its way here. With a failed folder nobody waits for it.
    pub(super) fn is_coming(&self, id: TopicPartition) -> bool {
        !self.folder_offline && self.transit.awaits(id)
    }

    /// Whether an ask must wait for a partition that is on its way here.
    pub(super) fn is_awaited(&self, ask: &Ask) -> bool {
        !self.transit.is_idle() && self.partitions_of(ask).into_iter().any(|id| self.is_coming(id))
    }

    /// What an ask is about; of all groups, those partitions that are on their way here.
    pub(super) fn partitions_of(&self, ask: &Ask) -> Vec<TopicPartition> {
        let offsets = || self.image.topic_named(OFFSETS_TOPIC).map(|topic| topic.id);
        match ask {
            Ask::Group { partition, .. } => {
                offsets().map(|topic| TopicPartition { topic, partition: *partition }).into_iter().collect()
            }
            Ask::ListGroups { .. } => offsets().into_iter().flat_map(|topic| self.transit.awaited_of(topic)).collect(),
            other => {
                let mut partitions = Vec::new();
                any_partition(other, |id| {
                    partitions.push(id);
                    false
                });
                partitions
            }
        }
    }

    fn handed(&mut self, of: Move, parcel: Option<Parcel>, now: Now) {
        let Some(arrival) = self.transit.handed(of) else {
            crate::invariant!(false, "a partition was handed over that nobody expects");
            return;
        };
        self.send_move(CoreId(0), MoveMessage::Moved { number: of.number });
        match (parcel, arrival.doomed) {
            (Some(parcel), Some(end)) => self.delete_handed(parcel, end, now),
            (Some(parcel), None) => {
                let number = parcel.partition.id.partition;
                let takes_groups = parcel.coordinator.is_some();
                self.take_over(parcel, now);
                if takes_groups {
                    for (topic, name) in &arrival.removed {
                        self.coordinator_forgets_topic(number, name, *topic, now);
                    }
                }
                self.ask_all_early(now);
            }
            (None, Some(end)) => self.removal_step(end),
            // The removal was applied here before anybody knew that it would come.
            (None, None) if self.image.topic(&of.partition.topic).is_none() => self.ask_all_early(now),
            (None, None) => self.transit.keep(arrival),
        }
        self.stop_progress();
    }

    fn take_over(&mut self, parcel: Parcel, now: Now) {
        let Parcel { partition, coordinator } = parcel;
        let id = partition.id;
        let key = self.partitions.insert(partition);
        self.by_id.insert(id, key);
        if let Some(mut host) = coordinator {
            host.partition = key;
            self.coordinators.insert(id.partition, host);
        }
        let Some(partition) = self.partitions.get_mut(key) else { return };
        // What was committed while it was on its way was applied here only.
        if let Some(settings) = self.topic_settings.get(&id.topic) {
            partition.log.set_config(log_config(settings, &self.config.settings));
        }
        let state = self.image.topic(&id.topic).and_then(|topic| topic.partitions.get(&id.partition));
        if let Some(state) = state.filter(|state| state.leader_epoch > partition.leader.epoch()) {
            partition.leader.begin_epoch(state.leader_epoch);
        }
        if self.folder_offline {
            return self.fail_partition(key, &PartitionError::Storage, now);
        }
        self.with_log(key, now, |log, now, out, events| log.arrive(now, out, events));
        self.mark_dirty(key);
        if self.is_stopping() {
            self.close_late(key, now);
        }
    }

    /// What came belongs to a topic that was removed on its way.
    fn delete_handed(&mut self, parcel: Parcel, end: i64, now: Now) {
        let Parcel { mut partition, coordinator } = parcel;
        partition.offline = Some(PartitionError::Unknown);
        for asker in coordinator.into_iter().flat_map(|mut host| host.abandon()) {
            self.reply(asker, Reply::Refused(PartitionError::Unknown));
        }
        let key = self.partitions.insert(partition);
        self.removal_of.insert(key, end);
        self.with_log(key, now, |log, _, out, _| log.delete(out));
    }

    // ---- both -------------------------------------------------------------------------------------------------

    /// A topic is gone: what of it was to leave is deleted here, what is to come will be. Returns how much that is.
    pub(super) fn end_moves_of(&mut self, topic: crate::base::ids::TopicId, name: &str, end: i64) -> u32 {
        let called_off = self.transit.cancel_topic(topic);
        self.call_off(called_off);
        self.transit.doom_topic(topic, name, end)
    }

    pub(super) fn moves_wake(&mut self, now: Now) {
        self.depart(now);
        if self.moves_next_wake().is_some_and(|at| at <= now.mono) {
            self.begin_move(now);
        }
    }

    pub(super) fn moves_next_wake(&self) -> Option<Mono> {
        if self.is_stopping() || self.folder_offline {
            return None;
        }
        let waits = self.transit.due().any(|id| !self.is_asked_for(id));
        let depart = waits.then_some(Mono(0));
        depart.into_iter().chain(self.mover.as_ref().and_then(|mover| mover.next_wake())).min()
    }
}

/// A group coordinator crosses threads as it is.
const _: fn() = || {
    fn crosses<T: Send>() {}
    crosses::<Coordinator>();
    crosses::<Parcel>();
};
