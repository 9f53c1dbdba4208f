//! Floor 5: what one core owns: its partitions, and the hosts of the machines that live on them.
//!
//! One [`Shard`] a core. It takes messages (from its own engine or another core's) and answers of the disk, and leaves
//! disk operations and messages. It does not know who asked: a partition answers a core and a key.

pub mod io;
pub mod message;
pub mod moves;
pub mod partition;
pub mod route;

mod apply;
mod controller_host;
mod coordinator_host;
mod early;
mod events;
mod fetch;
mod folder;
mod hosts;
mod journal_host;
mod journal_segment;
mod journal_start;
mod move_host;
mod offsets;
mod produce;
mod reads;
mod recovery_budget;
mod stop;
mod tail_budget;
#[cfg(test)]
pub mod test_config;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_full;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use crate::base::ids::{CoreId, NodeId, TopicId, TopicPartition, Uuid};
use crate::base::slots::{Key, Slots};
use crate::base::time::{Mono, Now};
use crate::coord::{Coordinator, GroupSettings};
use crate::log::{FileSlots, LogEvent, LogOut, PartitionLog};
use crate::meta::controller::Bootstrap;
use crate::meta::image::Image;
use crate::meta::record::EndpointRecord;
use crate::meta::settings::{BrokerSettings, TimestampType, TopicSettings};
use crate::port::disk::DiskResult;
use crate::port::turn::Token;

use controller_host::ControllerHost;
use coordinator_host::CoordinatorHost;
use early::{Asked, Early};
use fetch::{FetchJob, Watch};
use folder::Folder;
use io::{DiskAsker, DiskDesk};
use journal_host::JournalHost;
use message::{Ask, AskKey, FolderFacts, Message, PartitionError, Reply};
use moves::{Mover, Transit};
use offsets::{DeleteJob, OffsetJob};
use partition::Partition;
use produce::ProduceJob;
use reads::Reads;
use recovery_budget::RecoveryBudget;
use route::Route;
use tail_budget::TailBudget;

pub use journal_host::JournalConfig;

/// What is read ahead may take this part of the memory for readers; the rest keeps the ends of the logs.
const AHEAD_SHARE: u64 = 8;
/// Up to so many bytes in the disk's hands hold the next writes back; see [`Shard::flush`].
const GATHER_BYTES_MAX: u64 = 256 << 10;

/// What a shard tells people; flows out only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// This core has the picture of the cluster and serves.
    Serving,
    /// What recovery did to one log; `remarkable` when there was something to read or to cut.
    Recovered { log: String, report: String, remarkable: bool },
    /// The log folder failed.
    FolderOffline { reason: String },
    /// So many connections may be open at the same time from now on; told by core 0.
    ConnectionsMax(u32),
    /// The node cannot start.
    StartFailed { reason: String },
    /// Every log is closed as a clean start wants it; told by core 0.
    StoppedClean,
}

/// Where clients of one listener reach this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub listener: String,
    pub host: String,
    pub port: u16,
}

/// Who this node is.
#[derive(Clone, Debug)]
pub struct NodeFacts {
    pub node_id: NodeId,
    pub cluster_id: String,
    pub directory_id: Uuid,
    /// Random, new for each start.
    pub incarnation: Uuid,
    /// The first is the one told to clients.
    pub endpoints: Vec<Endpoint>,
}

impl NodeFacts {
    /// The name of the listener that clients use.
    pub fn client_listener(&self) -> &str {
        self.endpoints.first().map_or("PLAINTEXT", |endpoint| &endpoint.listener)
    }

    /// What the node tells the controller at its start; `next_offset` is where the metadata log goes on.
    fn bootstrap(&self, next_offset: i64) -> Bootstrap {
        let endpoints = self.endpoints.iter().map(|endpoint| EndpointRecord {
            name: endpoint.listener.clone(),
            host: endpoint.host.clone(),
            port: endpoint.port,
            security_protocol: 0,
        });
        Bootstrap {
            next_offset,
            incarnation: self.incarnation,
            endpoints: endpoints.collect(),
            controller_endpoints: Vec::new(),
            log_dirs: vec![self.directory_id],
        }
    }
}

/// What a shard needs to know about its node.
#[derive(Clone, Debug)]
pub struct ShardConfig {
    pub core: CoreId,
    pub cores: u16,
    pub settings: Rc<BrokerSettings>,
    pub node: Rc<NodeFacts>,
    /// The node was stopped cleanly.
    pub clean_start: bool,
    pub seed: u64,
    /// Open files this core may hold.
    pub files_max: u32,
    /// Bytes kept in memory for readers: recently written data, and what is read ahead.
    pub tail_cache_bytes: u64,
    pub journal: JournalConfig,
    /// Bytes that the members of groups may make this core hold.
    pub member_bytes_max: usize,
}

/// The state one core owns. Exists on every core; sees that core's partitions and a copy of the cluster's picture.
#[derive(Debug)]
pub struct Shard {
    /// With the dynamic values of this broker on top of its settings.
    config: ShardConfig,
    /// As the node has started with them.
    start_settings: Rc<BrokerSettings>,
    /// The committed picture of the cluster.
    pub image: Image,
    pub route: Route,
    /// Everything below is in `image`.
    pub applied_end: i64,
    facts: Arc<FolderFacts>,
    folder_offline: bool,
    serving: bool,
    partitions: Slots<Partition>,
    by_id: BTreeMap<TopicPartition, Key>,
    topic_settings: BTreeMap<TopicId, TopicSettings>,
    desk: DiskDesk,
    dirty: Vec<Key>,
    /// Bytes of appends in the disk's hands, over all logs.
    bytes_writing: u64,
    /// When each log wants to be looked at again.
    log_timers: BTreeSet<(Mono, Key)>,
    tail_cache: TailBudget,
    journal: JournalHost,
    recovery: RecoveryBudget,
    produce_jobs: Slots<ProduceJob>,
    fetch_jobs: Slots<FetchJob>,
    offset_jobs: Slots<OffsetJob>,
    delete_jobs: Slots<DeleteJob>,
    watches: Slots<Watch>,
    watch_of_ask: BTreeMap<(CoreId, AskKey), Key>,
    reads: Reads,
    /// Asks of cores whose picture is ahead of this one.
    ahead: Vec<(CoreId, AskKey, i64, Ask)>,
    /// Asks that came before a log was open.
    early: Early,
    /// Partitions on their way from and to this core.
    transit: Transit,
    /// On core 0: which partition moves next.
    mover: Option<Mover>,
    controller: Option<ControllerHost>,
    folder: Option<Folder>,
    coordinators: BTreeMap<i32, CoordinatorHost>,
    /// Partitions whose topic is being removed: how many logs have not moved out of the way yet, by the record's end.
    removals: BTreeMap<i64, u32>,
    removal_of: BTreeMap<Key, i64>,
    stopping: Option<stop::Stopping>,
    stopped: bool,
    outgoing: Vec<(CoreId, Message)>,
    notices: Vec<Notice>,
    retain_at: Mono,
    /// When to look for producers that have been silent for too long.
    expire_at: Mono,
    events: Vec<LogEvent>,
}

impl Shard {
    /// Starts: core 0 begins to read the data folder; the others wait for what it finds.
    pub fn new(config: ShardConfig, now: Now) -> Shard {
        let ahead_bytes = config.tail_cache_bytes / AHEAD_SHARE;
        let mut desk = DiskDesk::new(FileSlots::new(0, config.files_max), ahead_bytes);
        let folder = (config.core == CoreId(0)).then(|| Folder::start(config.clean_start, config.cores, &mut desk));
        let mut shard = Shard {
            image: Image::default(),
            route: Route::new(config.cores),
            applied_end: 0,
            facts: Arc::default(),
            folder_offline: false,
            serving: false,
            partitions: Slots::default(),
            by_id: BTreeMap::new(),
            topic_settings: BTreeMap::new(),
            desk,
            dirty: Vec::new(),
            bytes_writing: 0,
            log_timers: BTreeSet::new(),
            tail_cache: TailBudget::new(config.tail_cache_bytes - ahead_bytes),
            journal: JournalHost::new(&config),
            recovery: RecoveryBudget::new(config.cores),
            produce_jobs: Slots::default(),
            fetch_jobs: Slots::default(),
            offset_jobs: Slots::default(),
            delete_jobs: Slots::default(),
            watches: Slots::default(),
            watch_of_ask: BTreeMap::new(),
            reads: Reads::default(),
            ahead: Vec::new(),
            early: Early::default(),
            transit: Transit::new(config.cores),
            mover: (config.core == CoreId(0)).then(Mover::default),
            controller: None,
            folder,
            coordinators: BTreeMap::new(),
            removals: BTreeMap::new(),
            removal_of: BTreeMap::new(),
            stopping: None,
            stopped: false,
            outgoing: Vec::new(),
            notices: Vec::new(),
            retain_at: now.mono.plus_ms(config.settings.retention_check_interval_ms.max(1)),
            expire_at: now.mono.plus_ms(config.settings.producer_id_expiration_check_ms.max(1)),
            events: Vec::new(),
            start_settings: config.settings.clone(),
            config,
        };
        shard.refresh_pins();
        shard
    }

    pub fn node(&self) -> &NodeFacts {
        &self.config.node
    }

    pub fn settings(&self) -> &Rc<BrokerSettings> {
        &self.config.settings
    }

    /// Effective settings of a topic that this core's picture holds.
    pub fn topic_settings(&self, topic: TopicId) -> Option<&TopicSettings> {
        self.topic_settings.get(&topic)
    }

    /// Takes one message of `from` (a core of this node, perhaps this one).
    pub fn receive(&mut self, from: CoreId, message: Message, now: Now) {
        match message {
            Message::Ask { key, seen, ask } if seen > self.applied_end => self.ahead.push((from, key, seen, ask)),
            Message::Ask { key, ask, .. } => self.ask(from, key, ask, now),
            Message::Reply { key, reply: Reply::Kept } => self.log_starts_kept(key),
            // Every other reply belongs to the engine's requests; it takes them before they get here.
            Message::Reply { .. } | Message::HangUp { .. } => {}
            Message::Forget { key } => self.forget(from, key, now),
            Message::Committed { end, records } => self.apply_committed(end, &records, now),
            Message::Applied { end } => {
                if let Some(controller) = &mut self.controller {
                    controller.applied(from, end);
                }
                self.controller_progress(now);
            }
            Message::Move(message) => self.move_message(message, now),
            Message::Folder(facts) => self.facts = facts,
            Message::FolderOffline { reason } => self.take_offline(&reason, now),
            Message::LogsClosed { checkpoints, clean } => self.logs_closed(from, checkpoints, clean),
            Message::KeepLogStarts { key, starts } => {
                if let Some(folder) = &mut self.folder {
                    folder.keep(from, key, starts, &mut self.desk);
                }
            }
        }
    }

    fn ask(&mut self, from: CoreId, key: AskKey, ask: Ask, now: Now) {
        if self.is_early(&ask) && !self.is_stopping() {
            let partitions = self.partitions_of(&ask);
            self.early.push((from, key, ask), partitions);
            return;
        }
        self.serve((from, key, ask), now);
    }

    /// An ask whose turn it is. One that has waited does not ask again whether it must: it would find those that came
    /// after it and wait still, and go behind them.
    fn serve(&mut self, (from, key, ask): Asked, now: Now) {
        if self.is_stopping() {
            match ask {
                Ask::Produce { quiet: Some(conn), .. } => self.send(from, Message::HangUp { conn }),
                _ => self.reply((from, key), Reply::Refused(PartitionError::Stopping)),
            }
            return;
        }
        match ask {
            Ask::Produce { items, quiet } => self.produce(from, key, items, quiet, now),
            Ask::Fetch(ask) => self.fetch(from, key, ask),
            Ask::Watch(items) => self.watch(from, key, &items),
            Ask::ListOffsets(queries) => self.list_offsets(from, key, &queries),
            Ask::EpochEnds(queries) => self.epoch_ends(from, key, &queries),
            Ask::DeleteRecords(queries) => self.delete_records(from, key, &queries, now),
            Ask::Group { partition, request } => self.group_request(from, key, partition, request, now),
            Ask::ListGroups { states, types } => self.list_groups(from, key, &states, &types, now),
            Ask::Control(command) => self.control(from, key, command, now),
        }
    }

    /// Whether an ask must wait: a log is still being opened or on its way here, or an earlier ask for one of its
    /// partitions waits.
    fn is_early(&self, ask: &Ask) -> bool {
        self.is_awaited(ask) || any_partition(ask, |id| !self.is_open(id) || self.early.awaits(id))
    }

    /// Nothing has to be waited for: the log can be used, or never will be, or there is none and none is to come.
    fn is_open(&self, id: TopicPartition) -> bool {
        if self.is_coming(id) {
            return false;
        }
        let partition = self.by_id.get(&id).and_then(|key| self.partitions.get(*key));
        partition.is_none_or(|p| p.ready || p.offline.is_some() || p.waits_for_room())
    }

    /// A log has been opened, or will not be: asks that waited for it are asked again, in order.
    fn ask_early(&mut self, id: TopicPartition, now: Now) {
        let mut early = std::mem::take(&mut self.early);
        let due = early.due(id, |id| self.is_open(id));
        self.early = early;
        for asked in due {
            self.serve(asked, now);
        }
    }

    /// Much has changed at once: whoever may go now, or will never be served, is asked again.
    fn ask_all_early(&mut self, now: Now) {
        let mut early = std::mem::take(&mut self.early);
        let due = if self.is_stopping() { early.drain() } else { early.all_due(|id| self.is_open(id)) };
        self.early = early;
        for asked in due {
            self.serve(asked, now);
        }
    }

    fn forget(&mut self, from: CoreId, key: AskKey, now: Now) {
        if let Some(watch) = self.watch_of_ask.get(&(from, key)).copied() {
            self.drop_watch(watch);
            return;
        }
        let mut early = std::mem::take(&mut self.early);
        let due = early.forget(from, key, |id| self.is_open(id));
        self.early = early;
        for asked in due {
            self.serve(asked, now);
        }
        self.ahead.retain(|(core, ahead_key, _, _)| (*core, *ahead_key) != (from, key));
        for host in self.coordinators.values_mut() {
            if host.forget(from, key) {
                return;
            }
        }
    }

    /// The disk has answered.
    pub fn disk_done(&mut self, token: Token, result: DiskResult, now: Now) {
        match self.desk.asker(token) {
            Some(DiskAsker::Log(key, tag)) => {
                self.with_log(key, now, |log, now, out, events| log.complete(tag, result, now, out, events));
                // Whatever it made room for goes out with this turn's flush.
                self.mark_dirty(key);
            }
            Some(DiskAsker::Folder(id)) => {
                let event = self.folder.as_mut().and_then(|folder| folder.complete(id, result, now, &mut self.desk));
                if let Some(event) = event {
                    self.folder_event(event, now);
                }
            }
            Some(DiskAsker::JournalStart(file)) => {
                let folder = self.folder.as_mut();
                let event = folder.and_then(|folder| folder.journals_step(file, result, now, &mut self.desk));
                if let Some(event) = event {
                    self.folder_event(event, now);
                }
            }
            Some(DiskAsker::Journal(op)) => self.journal_done(op, result, now),
            None => tracing::error!("the disk answered an operation that nobody asked for"),
        }
    }

    /// Lets a log act, and follows up what it tells.
    fn with_log(
        &mut self,
        key: Key,
        now: Now,
        act: impl FnOnce(&mut PartitionLog, Now, &mut LogOut<'_>, &mut Vec<LogEvent>),
    ) {
        let mut events = std::mem::take(&mut self.events);
        if let Some(partition) = self.partitions.get_mut(key) {
            let log = &mut partition.log;
            self.desk.with_log(key, |out| act(log, now, out, &mut events));
        }
        for event in events.drain(..) {
            self.log_event(key, event, now);
        }
        // An event may have led to other logs' events; the larger list is the one worth keeping.
        if self.events.capacity() < events.capacity() {
            self.events = events;
        }
        self.rearm(key);
    }

    /// End of a turn: one write for each log that has something to write, or one for all of them in the journal.
    ///
    /// While small writes are in flight the next ones gather, over all logs of the core: the disk gets them in one
    /// submission and flushes its cache once, and their acknowledgements leave together. Large writes are worth a
    /// submission of their own and are too slow to wait for.
    pub fn flush(&mut self, now: Now) {
        if !(1..=GATHER_BYTES_MAX).contains(&self.bytes_writing) && !self.journal.is_writing() {
            self.write_dirty(now);
        }
        self.journal_upkeep(now);
        self.keep_tail_cache_budget();
    }

    fn write_dirty(&mut self, now: Now) {
        let mut dirty = std::mem::take(&mut self.dirty);
        let mut waiting = Vec::new();
        self.journal_turn(&mut dirty, &mut waiting, now);
        for key in &dirty {
            if let Some(partition) = self.partitions.get_mut(*key) {
                partition.dirty = false;
                let log = &mut partition.log;
                self.desk.with_log(*key, |out| log.flush(now, out));
            }
            self.rearm(*key);
        }
        // Keeps its memory for the next turn.
        self.dirty = dirty;
        self.dirty.clear();
        self.dirty.append(&mut waiting);
    }

    pub(crate) fn mark_dirty(&mut self, key: Key) {
        if let Some(partition) = self.partitions.get_mut(key)
            && !partition.dirty
        {
            partition.dirty = true;
            self.dirty.push(key);
        }
    }

    fn key_of(&self, id: TopicPartition) -> Result<Key, PartitionError> {
        if self.folder_offline {
            return Err(PartitionError::Storage);
        }
        self.by_id.get(&id).copied().ok_or(PartitionError::Unknown)
    }

    fn is_log_append_time(&self, topic: TopicId) -> bool {
        self.topic_settings.get(&topic).is_some_and(|settings| settings.timestamp_type == TimestampType::LogAppendTime)
    }

    fn send(&mut self, to: CoreId, message: Message) {
        self.outgoing.push((to, message));
    }

    fn reply(&mut self, to: (CoreId, AskKey), reply: Reply) {
        self.outgoing.push((to.0, Message::Reply { key: to.1, reply }));
    }

    /// Messages to hand on, to this core's own engine too.
    pub fn take_messages(&mut self) -> Vec<(CoreId, Message)> {
        std::mem::take(&mut self.outgoing)
    }

    pub fn take_disk(&mut self) -> Vec<(Token, crate::port::disk::DiskOp)> {
        std::mem::take(&mut self.desk.outgoing)
    }

    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    pub fn core(&self) -> CoreId {
        self.config.core
    }

    /// A coordinator machine with this node's settings.
    fn new_coordinator(&self, partition: i32) -> Coordinator {
        let seed = self.config.seed ^ (partition as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Coordinator::new(group_settings(&self.config.settings), seed)
    }
}

/// What a coordinator needs of the broker's settings.
fn group_settings(settings: &BrokerSettings) -> GroupSettings {
    let ms = |ms: u64| i32::try_from(ms).unwrap_or(i32::MAX);
    GroupSettings {
        min_session_timeout_ms: ms(settings.group_session_timeout_min_ms),
        max_session_timeout_ms: ms(settings.group_session_timeout_max_ms),
        initial_rebalance_delay_ms: settings.group_initial_rebalance_delay_ms,
        group_max_size: settings.group_size_max as usize,
        offset_metadata_max_bytes: settings.offset_metadata_max_bytes as usize,
        offsets_retention_ms: i64::try_from(settings.offsets_retention_ms).unwrap_or(i64::MAX),
        offsets_retention_check_interval_ms: settings.offsets_retention_check_interval_ms,
        ..GroupSettings::default()
    }
}

/// Whether `check` holds for one of the partitions that an ask is for, as far as it must wait for their logs.
fn any_partition(ask: &Ask, mut check: impl FnMut(TopicPartition) -> bool) -> bool {
    match ask {
        Ask::Produce { items, .. } => items.iter().any(|item| check(item.partition)),
        Ask::Fetch(ask) => ask.items.iter().any(|item| check(item.partition)),
        Ask::Watch(items) => items.iter().any(|item| check(item.partition)),
        Ask::ListOffsets(queries) => queries.iter().any(|query| check(query.partition)),
        Ask::EpochEnds(queries) => queries.iter().any(|query| check(query.partition)),
        Ask::DeleteRecords(queries) => queries.iter().any(|query| check(query.partition)),
        Ask::Group { .. } | Ask::ListGroups { .. } | Ask::Control(_) => false,
    }
}
