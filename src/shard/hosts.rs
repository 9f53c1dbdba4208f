//! Drives the controller and the coordinators of this core: reads their logs at start, appends what they decide, hands
//! on what commits.

use std::sync::Arc;

use bytes::Bytes;

use crate::base::ids::{CoreId, TopicId, TopicPartition, Uuid};
use crate::base::slots::{Key, Slots};
use crate::base::time::{Mono, Now};
use crate::batch::build::BatchBuilder;
use crate::batch::control::{self, ControlRecord, LeaderChange};
use crate::batch::header::BatchHeader;
use crate::batch::{records, walk};
use crate::coord::{AskId, CoordRecord, GroupAnswer, GroupRequest, ListRequest, Outcome};
use crate::log::{AppendError, LogConfig, ReadData, ReadError, ReadId, ReadOutcome, Wanted};
use crate::meta::controller::Command;
use crate::meta::record::Record;
use crate::port::range::Part;

use super::controller_host::{ControllerHost, Phase as ControllerPhase, ToAppend};
use super::coordinator_host::{CoordinatorHost, Phase};
use super::folder::{FolderEvent, Keeper};
use super::message::{AskKey, Message, PartitionError, Reply};
use super::partition::{AckWaiter, Partition, Role};
use super::reads::ReadFor;
use super::{Notice, Shard};

/// Bytes read at once when a host reads its log at start.
const LOAD_BYTES: u32 = 1 << 20;
/// The metadata log must take this much before a decision is made, bytes: more than the records of one command take.
const DECISION_BYTES_MAX: u64 = 16 << 20;
/// Folder and topic of the metadata log.
const METADATA_TOPIC: &str = "__cluster_metadata";

/// What a read at start brought.
enum Loaded {
    Part(ReadData),
    End,
    Waits,
    Failed(String),
}

impl Shard {
    pub(super) fn folder_event(&mut self, event: FolderEvent, now: Now) {
        match event {
            FolderEvent::Facts => self.begin(now),
            FolderEvent::Kept(keepers) => {
                for keeper in keepers {
                    match keeper {
                        Keeper::Job(core, key) => self.reply((core, key), Reply::Kept),
                        Keeper::Removal(end) => self.removal_step(end),
                    }
                }
            }
            FolderEvent::Finished => self.finished(),
            FolderEvent::NotFinished(reason) => {
                self.take_offline(&reason, now);
                self.finished();
            }
            FolderEvent::Failed(reason) => {
                if self.applied_end == 0 {
                    self.notices.push(Notice::StartFailed { reason });
                } else {
                    self.fail_folder(&reason, now);
                }
            }
        }
    }

    /// The data folder is read: tell every core, open the metadata log.
    fn begin(&mut self, now: Now) {
        let Some(folder) = &mut self.folder else { return };
        let facts = folder.facts();
        if let Some(report) = folder.take_replay_report() {
            self.notices.push(Notice::Recovered { log: "journal".to_string(), report, remarkable: true });
        }
        self.facts = facts.clone();
        for core in 1..self.config.cores {
            self.send(CoreId(core), Message::Folder(facts.clone()));
        }
        let id = TopicPartition { topic: Uuid::METADATA, partition: 0 };
        let settings = &self.config.settings;
        let config = LogConfig {
            segment_bytes: u32::try_from(settings.metadata_segment_bytes).unwrap_or(u32::MAX),
            segment_ms: i64::try_from(settings.metadata_segment_ms).unwrap_or(i64::MAX),
            retention_ms: -1,
            retention_bytes: -1,
            ..LogConfig::default()
        };
        let key = self.open_log(id, METADATA_TOPIC, Role::Metadata, config, 0, now);
        let node = self.config.settings.node_id;
        self.controller = Some(ControllerHost::new(key, node, self.config.cores, self.config.seed));
    }

    /// Reads the next part of a log whose host is loading.
    fn load_next(&mut self, key: Key, from: i64, purpose: ReadFor) -> Loaded {
        let id = ReadId(self.reads.next_id());
        let Some(partition) = self.partitions.get_mut(key) else { return Loaded::Failed("gone".to_string()) };
        let upper = partition.leader.high_watermark();
        if from >= upper {
            return Loaded::End;
        }
        let log = &mut partition.log;
        let wanted = Wanted { from, upper, max_bytes: LOAD_BYTES, at_least_one: true, to_send: false };
        match self.desk.with_log(key, |out| log.read(id, wanted, out)) {
            ReadOutcome::Ready(data) => Loaded::Part(data),
            ReadOutcome::Pending => {
                self.reads.put(key, id.0, purpose);
                Loaded::Waits
            }
            ReadOutcome::OutOfRange => Loaded::Failed(format!("offset {from} is out of range")),
            ReadOutcome::Unavailable => Loaded::Failed("the log is not available".to_string()),
        }
    }

    // ---- controller -------------------------------------------------------------------------------------------

    pub(super) fn controller_load(&mut self, key: Key, now: Now) {
        let start = self.partitions.get(key).map_or(0, |p| p.log.start_offset());
        if let Some(controller) = &mut self.controller {
            controller.load_next = start;
        }
        self.controller_load_on(key, now);
    }

    fn controller_load_on(&mut self, key: Key, now: Now) {
        loop {
            let Some(controller) = &self.controller else { return };
            match self.load_next(key, controller.load_next, ReadFor::ControllerLoad) {
                Loaded::Part(data) => {
                    if let Err(reason) = self.controller_replay(&data) {
                        self.notices.push(Notice::StartFailed { reason: format!("the metadata log: {reason}") });
                        return;
                    }
                }
                Loaded::End => return self.controller_begin(key, now),
                Loaded::Waits => return,
                Loaded::Failed(reason) => {
                    self.notices.push(Notice::StartFailed { reason: format!("the metadata log: {reason}") });
                    return;
                }
            }
        }
    }

    pub(super) fn controller_loaded_part(&mut self, key: Key, result: Result<ReadData, ReadError>, now: Now) {
        let replayed = match result {
            Ok(data) => self.controller_replay(&data),
            Err(error) => Err(format!("{error:?}")),
        };
        match replayed {
            Ok(()) => self.controller_load_on(key, now),
            // The node was asked to stop before it served: its logs are closed, and nothing is wrong with them.
            Err(_) if self.is_stopping() => {}
            Err(reason) => {
                self.notices.push(Notice::StartFailed { reason: format!("the metadata log: {reason}") });
            }
        }
    }

    fn controller_replay(&mut self, data: &ReadData) -> Result<(), String> {
        let Some(controller) = &mut self.controller else { return Ok(()) };
        let before = controller.load_next;
        for_each_batch(data, |batch, header| {
            controller.epoch = controller.epoch.max(header.leader_epoch);
            controller.load_next = header.next_offset();
            if header.is_control() {
                return Ok(());
            }
            for record in records::decode(batch).map_err(|e| format!("{e:?}"))? {
                let offset = record.offset;
                let value = record.value.ok_or_else(|| format!("offset {offset}: a record without value"))?;
                let record = Record::decode(&value).map_err(|error| format!("offset {offset}: {error}"))?;
                controller.replay(record).map_err(|error| format!("offset {offset}: {error}"))?;
            }
            Ok(())
        })?;
        if controller.load_next == before {
            return Err(format!("no progress at offset {before}"));
        }
        Ok(())
    }

    /// The metadata log is read: lead in a new epoch, register this node, hand the picture to every core.
    fn controller_begin(&mut self, key: Key, now: Now) {
        let Some(controller) = &mut self.controller else { return };
        let Some(partition) = self.partitions.get_mut(key) else { return };
        if partition.log.has_room_for(DECISION_BYTES_MAX) == Err(AppendError::NoSpace) {
            controller.waits_for_room = true;
            return;
        }
        controller.epoch += 1;
        let epoch = controller.epoch;
        partition.leader.begin_epoch(epoch);
        let loaded_end = partition.log.end_offset();
        let node = controller.node();
        let change = ControlRecord::LeaderChange(LeaderChange::new(node, &[node], &[node]));
        let batch = control::quorum_batch(loaded_end, epoch, now.wall_ms, &[change]);
        if let Err(error) = partition.log.append(&batch, epoch, now) {
            let reason = format!("the metadata log refused an append: {error:?}");
            self.notices.push(Notice::StartFailed { reason });
            return;
        }
        let bootstrap = self.config.node.bootstrap(partition.log.end_offset());
        let (loaded, registration) = controller.begin(&self.config.settings, bootstrap, loaded_end);
        if !loaded.is_empty() {
            self.broadcast_committed(loaded_end, Arc::new(loaded));
        }
        self.controller_append(registration, now);
        self.controller_progress(now);
    }

    fn broadcast_committed(&mut self, end: i64, records: Arc<Vec<Record>>) {
        for core in 0..self.config.cores {
            self.send(CoreId(core), Message::Committed { end, records: records.clone() });
        }
    }

    pub(super) fn control(&mut self, from: CoreId, key: AskKey, command: Command, now: Now) {
        let Some(controller) = &mut self.controller else {
            return self.reply((from, key), Reply::Refused(PartitionError::Unknown));
        };
        if self.folder_offline {
            return self.reply((from, key), Reply::Refused(PartitionError::Storage));
        }
        if controller.command((from, key), command).is_err() {
            return self.reply((from, key), Reply::Refused(PartitionError::Busy));
        }
        self.controller_progress(now);
    }

    /// Decides what may be decided and releases what is applied everywhere.
    pub(super) fn controller_progress(&mut self, now: Now) {
        loop {
            let Some(controller) = &mut self.controller else { return };
            if let Some((commander, answer)) = controller.next_answer() {
                self.reply(commander, Reply::Control(answer));
                continue;
            }
            if controller.phase != ControllerPhase::Active {
                return;
            }
            // A decision moves the host's picture at once and cannot be taken back: first the room, then the decision.
            let partition = self.partitions.get(controller.partition);
            match partition.map(|partition| partition.log.has_room_for(DECISION_BYTES_MAX)) {
                Some(Ok(())) => {}
                Some(Err(AppendError::NoSpace)) => {
                    for asker in controller.refuse_waiting() {
                        self.reply(asker, Reply::Refused(PartitionError::NoSpace));
                    }
                    return;
                }
                // What is being written makes room; a log that is offline has the folder with it.
                Some(Err(_)) | None => return,
            }
            match controller.decide_next(&self.config.settings) {
                Some(append) => self.controller_append(append, now),
                None => return,
            }
        }
    }

    /// The metadata log has room again.
    pub(super) fn controller_room(&mut self, key: Key, now: Now) {
        let begins = self.controller.as_mut().is_some_and(|c| std::mem::take(&mut c.waits_for_room));
        if begins {
            self.controller_begin(key, now);
        } else {
            self.controller_progress(now);
        }
    }

    fn controller_append(&mut self, append: ToAppend, now: Now) {
        let Some(controller) = &mut self.controller else { return };
        if append.records.is_empty() {
            if let Some(append) = controller.follow(append)
                && let (Some(commander), Some(answer)) = (append.commander, append.answer)
            {
                self.reply(commander, Reply::Control(answer));
            }
            return;
        }
        let (key, epoch) = (controller.partition, controller.epoch);
        let mut builder = BatchBuilder::new(0).leader_epoch(epoch);
        for record in &append.records {
            builder.push(now.wall_ms, None, Some(&record.encode()));
        }
        let batch = builder.finish();
        let commander = append.commander;
        match self.append_own(key, &batch, AckWaiter::Controller, now) {
            Ok(end) => {
                if let Some(controller) = &mut self.controller {
                    controller.appended(end, append);
                }
            }
            Err(error) => {
                // The host's picture holds what was not written: nothing may be decided on it any more.
                self.fail_folder(&format!("the metadata log refused an append: {error:?}"), now);
                if let Some(commander) = commander {
                    self.reply(commander, Reply::Refused(error));
                }
            }
        }
    }

    /// Decisions that became durable go to every core.
    pub(super) fn controller_commit(&mut self, now: Now) {
        loop {
            let Some(controller) = &mut self.controller else { return };
            let Some(partition) = self.partitions.get(controller.partition) else { return };
            let Some(commit) = controller.commit(partition.leader.high_watermark()) else { break };
            self.broadcast_committed(commit.end, commit.records);
        }
        self.controller_progress(now);
    }

    /// Appends a batch of a host and parks `waiter`; answers the offset that must become durable.
    fn append_own(&mut self, key: Key, batch: &Bytes, waiter: AckWaiter, now: Now) -> Result<i64, PartitionError> {
        let partition = self.partitions.get_mut(key).ok_or(PartitionError::Unknown)?;
        if let Some(offline) = &partition.offline {
            return Err(offline.clone());
        }
        let epoch = partition.leader.epoch();
        let appended = partition.log.append(batch, epoch, now).map_err(super::produce::append_error)?;
        let until = appended.last_offset + 1;
        partition.park(until, waiter);
        self.mark_dirty(key);
        Ok(until)
    }

    // ---- coordinators -----------------------------------------------------------------------------------------

    pub(super) fn coordinator_load(&mut self, key: Key, now: Now) {
        let Some((number, start)) = self.partitions.get(key).map(|p| (p.id.partition, p.log.start_offset())) else {
            return;
        };
        if let Some(host) = self.coordinators.get_mut(&number) {
            host.load_next = start;
        }
        self.coordinator_load_on(key, number, now);
    }

    fn coordinator_load_on(&mut self, key: Key, number: i32, now: Now) {
        loop {
            let Some(host) = self.coordinators.get(&number) else { return };
            match self.load_next(key, host.load_next, ReadFor::CoordinatorLoad) {
                Loaded::Part(data) => {
                    if let Err(reason) = self.coordinator_replay(number, &data, now) {
                        return self.coordinator_failed(number, &reason);
                    }
                }
                Loaded::End => return self.coordinator_active(number, now),
                Loaded::Waits => return,
                Loaded::Failed(reason) => return self.coordinator_failed(number, &reason),
            }
        }
    }

    pub(super) fn coordinator_loaded_part(&mut self, key: Key, result: Result<ReadData, ReadError>, now: Now) {
        let Some(number) = self.partitions.get(key).map(|p| p.id.partition) else { return };
        let replayed = match result {
            Ok(data) => self.coordinator_replay(number, &data, now),
            Err(error) => Err(format!("{error:?}")),
        };
        match replayed {
            Ok(()) => self.coordinator_load_on(key, number, now),
            Err(reason) => self.coordinator_failed(number, &reason),
        }
    }

    fn coordinator_replay(&mut self, number: i32, data: &ReadData, now: Now) -> Result<(), String> {
        let Some(host) = self.coordinators.get_mut(&number) else { return Ok(()) };
        let before = host.load_next;
        for_each_batch(data, |batch, header| {
            host.load_next = header.next_offset();
            if header.is_control() {
                return Ok(());
            }
            for record in records::decode(batch).map_err(|e| format!("{e:?}"))? {
                let Some(key) = record.key else { continue };
                if let Err(error) = host.machine.replay(&key, record.value.as_deref(), now) {
                    tracing::warn!("__consumer_offsets-{number}, offset {}: {error:?}; skipped", record.offset);
                }
            }
            Ok(())
        })?;
        if host.load_next == before {
            return Err(format!("no progress at offset {before}"));
        }
        Ok(())
    }

    fn coordinator_active(&mut self, number: i32, now: Now) {
        let Some(host) = self.coordinators.get_mut(&number) else { return };
        host.phase = Phase::Active;
        host.machine.loaded(now);
        let image = &self.image;
        host.machine.forget_absent_topics(|name, id| match id {
            Uuid::ZERO => image.topic_named(name).is_some(),
            id => image.topic(&id).is_some(),
        });
        for (from, key, request) in host.take_early() {
            self.group_request(from, key, number, request, now);
        }
    }

    fn coordinator_failed(&mut self, number: i32, reason: &str) {
        tracing::error!("__consumer_offsets-{number}: groups on it are not served: {reason}");
        if let Some(host) = self.coordinators.get_mut(&number) {
            for asker in host.abandon() {
                self.reply(asker, Reply::Refused(PartitionError::CorruptOnDisk));
            }
        }
    }

    pub(super) fn group_request(&mut self, from: CoreId, key: AskKey, number: i32, request: GroupRequest, now: Now) {
        let held: usize = self.coordinators.values().map(|host| host.machine.member_bytes()).sum();
        let room = self.config.member_bytes_max;
        let Some(host) = self.coordinators.get_mut(&number) else {
            return self.reply((from, key), Reply::Refused(PartitionError::Unknown));
        };
        let waits_for_room = self.partitions.get(host.partition).is_some_and(Partition::waits_for_room);
        match host.phase {
            Phase::Loading if waits_for_room => self.reply((from, key), Reply::Refused(PartitionError::Loading)),
            Phase::Loading => {
                if !host.early(from, key, request) {
                    self.reply((from, key), Reply::Refused(PartitionError::Loading));
                }
            }
            Phase::Failed => self.reply((from, key), Reply::Refused(PartitionError::Storage)),
            Phase::Active => {
                if request.may_write()
                    && let Err(error) = coordinator_room(&self.partitions, host)
                {
                    return self.reply((from, key), Reply::Refused(error));
                }
                let id = host.admit(from, key);
                // What the other coordinators of the core leave of the core's room.
                host.machine.set_member_room((room + host.machine.member_bytes()).saturating_sub(held));
                let outcome = host.machine.ask(now, id, request);
                self.coordinator_outcome(number, outcome, now);
            }
        }
    }

    fn coordinator_outcome(&mut self, number: i32, outcome: Outcome, now: Now) {
        let Some(host) = self.coordinators.get_mut(&number) else { return };
        let Outcome { records, answers, ordered } = outcome;
        if records.is_empty() {
            if let Some(answers) = host.hold(answers, ordered) {
                for (asker, answer) in host.address(answers) {
                    self.reply(asker, Reply::Group(answer));
                }
            }
            return;
        }
        let key = host.partition;
        match self.append_own(key, &coordinator_batch(&records, now), AckWaiter::Coordinator, now) {
            Ok(until) => {
                if let Some(host) = self.coordinators.get_mut(&number) {
                    host.park(until, answers);
                }
            }
            Err(error) => self.coordinator_append_failed(number, answers, error),
        }
    }

    /// The log of a coordinator cannot be opened before there is room: nobody is kept waiting for that.
    pub(super) fn coordinator_waits_for_room(&mut self, number: i32) {
        let early = self.coordinators.get_mut(&number).map(|host| host.take_early()).unwrap_or_default();
        for (from, key, _) in early {
            self.reply((from, key), Reply::Refused(PartitionError::Loading));
        }
    }

    fn coordinator_append_failed(&mut self, number: i32, answers: Vec<(AskId, GroupAnswer)>, error: PartitionError) {
        let Some(host) = self.coordinators.get_mut(&number) else { return };
        for (asker, _) in host.address(answers) {
            self.reply(asker, Reply::Refused(error.clone()));
        }
    }

    pub(super) fn coordinator_release(&mut self, key: Key) {
        let Some(partition) = self.partitions.get(key) else { return };
        let (number, high_watermark) = (partition.id.partition, partition.leader.high_watermark());
        let Some(host) = self.coordinators.get_mut(&number) else { return };
        for (asker, answer) in host.released(high_watermark) {
            self.reply(asker, Reply::Group(answer));
        }
    }

    pub(super) fn coordinators_next_wake(&self) -> Option<Mono> {
        let active = self.coordinators.values().filter(|host| self.may_act(host));
        // Without room nothing is decided: the disk's next answer is what wakes them.
        let able = active.filter(|host| coordinator_room(&self.partitions, host).is_ok());
        able.filter_map(|host| host.machine.next_wake()).min()
    }

    pub(super) fn coordinators_wake(&mut self, now: Now) {
        let due: Vec<i32> = self
            .coordinators
            .iter()
            .filter(|(_, host)| self.may_act(host))
            .filter(|(_, host)| host.machine.next_wake().is_some_and(|at| at <= now.mono))
            .filter(|(_, host)| coordinator_room(&self.partitions, host).is_ok())
            .map(|(number, _)| *number)
            .collect();
        for number in due {
            if let Some(host) = self.coordinators.get_mut(&number) {
                let outcome = host.machine.wake(now);
                self.coordinator_outcome(number, outcome, now);
            }
        }
    }

    pub(super) fn coordinators_forget_topic(&mut self, topic: &str, id: TopicId, now: Now) {
        let active = self.coordinators.iter().filter(|(_, host)| self.may_act(host));
        let numbers: Vec<i32> = active.map(|(number, _)| *number).collect();
        for number in numbers {
            self.coordinator_forgets_topic(number, topic, id, now);
        }
    }

    pub(super) fn coordinator_forgets_topic(&mut self, number: i32, topic: &str, id: TopicId, now: Now) {
        if let Some(host) = self.coordinators.get_mut(&number) {
            host.machine.topic_deleted(topic, id);
            if coordinator_room(&self.partitions, host).is_ok() {
                let outcome = host.machine.wake(now);
                self.coordinator_outcome(number, outcome, now);
            }
        }
    }

    /// Whether a coordinator may decide something by itself: its log must not be on its way to another core.
    fn may_act(&self, host: &CoordinatorHost) -> bool {
        let partition = self.partitions.get(host.partition);
        host.phase == Phase::Active && partition.is_some_and(|partition| !self.transit.is_leaving(partition.id))
    }

    pub(super) fn list_groups(&mut self, from: CoreId, key: AskKey, states: &[String], types: &[String], now: Now) {
        let mut groups = Vec::new();
        for host in self.coordinators.values_mut() {
            match host.phase {
                Phase::Active => {
                    let id = host.admit(from, key);
                    let request = GroupRequest::List(ListRequest { states: states.to_vec(), types: types.to_vec() });
                    let outcome = host.machine.ask(now, id, request);
                    groups.extend(host.address(outcome.answers).into_iter().map(|(_, answer)| answer));
                }
                Phase::Loading => return self.reply((from, key), Reply::Refused(PartitionError::Loading)),
                Phase::Failed => {}
            }
        }
        self.reply((from, key), Reply::Groups(groups));
    }
}

/// Whether the log of a coordinator takes whatever the machine may decide next: a decision cannot be taken back.
fn coordinator_room(partitions: &Slots<Partition>, host: &CoordinatorHost) -> Result<(), PartitionError> {
    let partition = partitions.get(host.partition).ok_or(PartitionError::Unknown)?;
    partition.log.has_room_for(host.machine.batch_bytes_max()).map_err(super::produce::append_error)
}

fn coordinator_batch(records: &[CoordRecord], now: Now) -> Bytes {
    let mut builder = BatchBuilder::new(0);
    for record in records {
        builder.push(now.wall_ms, Some(&record.key), record.value.as_deref());
    }
    builder.finish()
}

/// Visits the batches of what a log's read brought.
fn for_each_batch(
    data: &ReadData,
    mut visit: impl FnMut(&Bytes, &BatchHeader) -> Result<(), String>,
) -> Result<(), String> {
    // A batch may lie across two parts.
    let joined = Part::join(&data.parts).ok_or("a log's host was given a part of a file")?;
    for (range, header) in walk(&joined) {
        visit(&joined.slice(range), &header)?;
    }
    Ok(())
}
