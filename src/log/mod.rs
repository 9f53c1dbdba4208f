//! Floor 3: one partition's log, without a single syscall.
//!
//! [`PartitionLog`] is a machine: it asks for disk operations through [`LogOut`] and is told their results through
//! [`PartitionLog::complete`]. The bytes on disk are described in `FORMAT.md` beside this file.
//!
//! ```text
//!   log start ≤ ........ synced ≤ written ≤ durable ≤ ........ log end
//!   (first offset        (stable  (in the   (written, and      (next offset to be given;
//!    a reader may ask)    storage) segments)  synced if Stable,  appended, in memory)
//!                                             or in the journal)
//! ```
//! Invariants: these five never go back, except that [`PartitionLog::truncate`] moves the last four; offsets are given
//! without gaps; nothing above `durable` is ever returned by a read; once a write or a sync has failed, nothing is ever
//! called durable again.
//!
//! A host calls `append` any number of times, then `flush` once at the end of its turn, and `wake` when `next_wake` is
//! due. Segments before the log start linger until their readers are gone and their delay is over. What is not here:
//! the high watermark and the last stable offset (the replica decides), compaction. What waits for its caller, a
//! follower: `append_replicated`, `truncate`, `truncate_fully`, `assign_epoch`, `latest_epoch`; the tests run them.

mod append;
mod create;
mod files;
mod finish;
mod head;
mod index;
mod lag;
mod lazy_index;
mod lazy_sync;
mod leave;
mod load;
mod names;
mod ops;
mod pump;
mod read;
mod read_ahead;
mod read_policy;
mod recover;
mod retain;
mod round;
mod scan;
mod seal;
mod segment;
mod snapshot_file;
mod soft_checkpoint;
mod stage;
mod stop;
mod swap;
mod tail_cache;
mod time_lookup;
mod truncate;
mod types;

pub mod checkpoint;
pub mod epochs;
#[cfg(any(test, feature = "sim"))]
pub mod foreign;
pub mod journal;
pub mod producers;

#[cfg(test)]
mod tests_ahead;
#[cfg(test)]
mod tests_cases;
#[cfg(test)]
mod tests_disk;
#[cfg(test)]
mod tests_due;
#[cfg(test)]
mod tests_full;
#[cfg(test)]
mod tests_journal;
#[cfg(test)]
mod tests_leave;
#[cfg(test)]
mod tests_random;
#[cfg(test)]
mod tests_restart;
#[cfg(test)]
mod tests_rig;
#[cfg(test)]
mod tests_stage;

use std::collections::{BTreeMap, BTreeSet};

use crate::base::ids::Uuid;
use crate::base::time::{Mono, Now, WallMs};

use epochs::EpochCache;
use lazy_sync::Unsynced;
use load::Loader;
use ops::Ops;
use producers::ProducerStates;
use read::Jobs;
use read_ahead::Streams;
use round::SPACE_RETRY_MS;
use seal::Writer;
use segment::Segment;
use soft_checkpoint::Checkpoints;
use tail_cache::{CachedChunk, TailCache};

pub use lag::JournalOffer;
pub use read_policy::AheadRoom;
pub use types::{
    AppendError, Appended, DeleteError, Durability, FileSlots, LoadHints, LogConfig, LogEvent, LogOut, LogTag,
    ReadData, ReadError, ReadId, ReadOutcome, RecoveryReport, TimeOutcome, TimePoint, TimeTarget, Wanted,
};

/// What a log is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Creating,
    Loading,
    Ready,
    /// Waiting for operations in flight before the folder is read again, up to this offset.
    Truncating,
    /// On its way to another core: writing what is left, then closing the files.
    Leaving,
    /// Between two cores: plain data.
    Away,
    /// Writing what is left, then exact lengths and indexes, then closing the files.
    Closing,
    Closed,
    /// Waiting for operations in flight, then renaming, closing, removing.
    Deleting,
    Deleted,
    /// A write failed: nothing is written any more.
    Offline,
}

/// One partition's log. Lives on one core and is not shared.
#[derive(Debug)]
pub struct PartitionLog {
    /// The partition's folder, relative to the data folder.
    dir: String,
    topic_id: Uuid,
    config: LogConfig,
    phase: Phase,
    /// By base offset, doomed ones included; the last is the active one.
    segments: BTreeMap<i64, Segment>,
    start_offset: i64,
    end_offset: i64,
    durable_offset: i64,
    synced_offset: i64,
    /// Everything below is in the segments' files: behind `durable_offset` by what only the journal has.
    written_offset: i64,
    /// The segment is to get what it lacks with the next write, which is due.
    write_back_asked: bool,
    /// Up to here somebody waits for the segments to be on stable storage.
    settle_to: i64,
    /// The journal may hold bytes of this log.
    was_journaled: bool,
    producers: ProducerStates,
    epochs: EpochCache,
    epochs_file: EpochsFile,
    writer: Writer,
    /// Chunks sealed by the writer, on their way into the cache.
    sealed: Vec<CachedChunk>,
    cache: TailCache,
    jobs: Jobs,
    streams: Streams,
    ops: Ops,
    checkpoints: Checkpoints,
    /// Segments with something left to finish.
    finishing: BTreeSet<i64>,
    /// Segments whose indexes are being made again.
    rebuilding: BTreeSet<i64>,
    /// Segments being removed.
    doomed: BTreeSet<i64>,
    /// Offsets of the producer snapshots in the folder.
    snapshots: BTreeSet<i64>,
    unsynced: Unsynced,
    /// The disk is full: appends are refused until a write gets through.
    no_space: bool,
    /// No more room is asked for ahead until there is some again.
    fill_stopped: bool,
    /// Behind what was written without a sync and without the journal having it: page-cache mode.
    unjournaled_end: i64,
    /// A retention run that waits for a time index: the time it was asked for, and the high watermark.
    retaining: Option<(WallMs, i64)>,
    loader: Option<Box<Loader>>,
    stopping: stop::Stopping,
    /// When to try again what lacked a file slot or disk space.
    retry_at: Option<Mono>,
    /// When to look for files and indexes that nobody uses.
    idle_at: Option<Mono>,
    /// The time of the last call that brought one.
    clock: Now,
    report: Option<RecoveryReport>,
    /// Where a truncation cuts, or where the log begins anew.
    truncation: (Option<i64>, Option<i64>),
    /// What happened in a call that could not tell; the next `wake` (due at once) does.
    late_events: Vec<LogEvent>,
}

/// The state of `leader-epoch-checkpoint`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct EpochsFile {
    /// The epochs changed since the file was last asked for.
    dirty: bool,
    in_flight: bool,
    retry_at: Option<Mono>,
}

impl PartitionLog {
    /// A log with nothing in it; `create`, `load` and a truncation begin here.
    fn blank(dir: String, topic_id: Uuid, config: LogConfig, phase: Phase) -> PartitionLog {
        PartitionLog {
            dir,
            topic_id,
            phase,
            segments: BTreeMap::new(),
            start_offset: 0,
            end_offset: 0,
            durable_offset: 0,
            synced_offset: 0,
            written_offset: 0,
            write_back_asked: false,
            settle_to: 0,
            was_journaled: false,
            producers: ProducerStates::new(),
            epochs: EpochCache::default(),
            epochs_file: EpochsFile::default(),
            writer: Writer::new(Vec::new()),
            sealed: Vec::new(),
            cache: TailCache::default(),
            jobs: Jobs::default(),
            streams: Streams::default(),
            ops: Ops::default(),
            checkpoints: Checkpoints::default(),
            finishing: BTreeSet::new(),
            rebuilding: BTreeSet::new(),
            doomed: BTreeSet::new(),
            snapshots: BTreeSet::new(),
            unsynced: Unsynced::default(),
            no_space: false,
            fill_stopped: false,
            unjournaled_end: 0,
            retaining: None,
            loader: None,
            stopping: stop::Stopping::default(),
            retry_at: None,
            idle_at: None,
            clock: Now::default(),
            report: None,
            truncation: (None, None),
            late_events: Vec::new(),
            config,
        }
    }

    /// Appends and reads are possible.
    pub fn is_ready(&self) -> bool {
        self.phase == Phase::Ready
    }

    /// Not ready yet, because it is being made.
    pub fn is_being_made(&self) -> bool {
        self.phase == Phase::Creating
    }

    /// Closed in order, or done with after a failure.
    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// The partition's folder, relative to the data folder.
    pub fn dir(&self) -> &str {
        &self.dir
    }

    pub fn topic_id(&self) -> Uuid {
        self.topic_id
    }

    /// The first offset that may be read.
    pub fn start_offset(&self) -> i64 {
        self.start_offset
    }

    /// The log end offset: the next one to be given, including what is not durable yet.
    pub fn end_offset(&self) -> i64 {
        self.end_offset
    }

    /// Everything below is on stable storage (a segment or the journal) or, in page-cache mode, written.
    pub fn durable_offset(&self) -> i64 {
        self.durable_offset
    }

    /// Everything below is on stable storage in the segments, in either mode: what `recovery-point-offset-checkpoint`
    /// should say. The journal need not hold it any longer.
    pub fn stable_storage_offset(&self) -> i64 {
        self.synced_offset
    }

    /// The idempotent producers as of the log end; `check()` them before an append.
    pub fn producers(&self) -> &ProducerStates {
        &self.producers
    }

    pub fn config(&self) -> &LogConfig {
        &self.config
    }

    /// Takes over new settings; they count from the next decision they bear on.
    pub fn set_config(&mut self, config: LogConfig) {
        self.config = config;
    }

    /// The high watermark moved: transactions whose marker lies below it no longer hold the last stable offset back.
    pub fn on_high_watermark(&mut self, high_watermark: i64) {
        self.producers.on_high_watermark(high_watermark);
    }

    /// Forgets producers that have been silent for `producer.id.expiration.ms`; returns how many.
    pub fn expire_producers(&mut self, now_ms: WallMs) -> usize {
        self.producers.expire(now_ms, self.config.producer_expiration_ms)
    }

    /// What the last start (or truncation) found, once.
    pub fn take_report(&mut self) -> Option<RecoveryReport> {
        self.report.take()
    }

    /// Bytes of segments from the log start on, as `retention.bytes` counts them.
    pub fn size_bytes(&self) -> u64 {
        self.segments.values().filter(|segment| segment.is_live()).map(|segment| segment.size).sum()
    }

    /// Segments from the log start on.
    #[cfg(test)]
    pub fn segment_count(&self) -> usize {
        self.segments.values().filter(|segment| segment.is_live()).count()
    }

    /// Bytes that readers at the log's end find in memory; counts against the host's budget.
    pub fn cached_bytes(&self) -> usize {
        self.cache.bytes()
    }

    /// When the oldest cached bytes were sealed: a host over its budget evicts from the log whose is earliest.
    pub fn oldest_cached(&self) -> Option<Mono> {
        self.cache.oldest()
    }

    /// Drops the oldest cached bytes that a segment has until `bytes` are free or none is left; returns how many are.
    pub fn evict(&mut self, bytes: usize) -> usize {
        self.cache.evict(bytes, self.written_offset)
    }

    /// Bytes of indexes in memory.
    pub fn index_bytes(&self) -> usize {
        self.segments.values().map(Segment::index_bytes).sum()
    }

    /// Bytes appended that are not durable.
    pub fn pending_bytes(&self) -> u64 {
        self.writer.pending_bytes
    }

    fn active(&self) -> &Segment {
        self.segments.values().next_back().expect("a log has an active segment once it is ready")
    }

    fn active_mut(&mut self) -> &mut Segment {
        self.segments.values_mut().next_back().expect("a log has an active segment once it is ready")
    }

    fn segment_mut(&mut self, base: i64) -> &mut Segment {
        self.segments.get_mut(&base).expect("a segment is kept while something is in flight for it")
    }

    /// Moves what the writer sealed into the cache.
    fn take_sealed(&mut self) {
        for chunk in self.sealed.drain(..) {
            self.cache.push(chunk);
        }
    }

    /// Asks to be woken soon for something that lacked a file slot or disk space.
    fn retry_soon(&mut self, now: Mono) {
        self.retry_by(now.plus_ms(SPACE_RETRY_MS));
    }

    /// The same, for something that is not to be tried again before `at`: the wake that was asked for may have come for
    /// something else, a moment earlier.
    fn retry_by(&mut self, at: Mono) {
        self.retry_at = types::sooner(self.retry_at, Some(at));
    }
}
