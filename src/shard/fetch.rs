//! The fetch path on the owner's core: bounds, then the log, one partition after the other within the byte limit; and
//! the watchers that wait for news.
//!
//! A fetch job goes through its items in the order of the request, because what is left of the byte limit for an item
//! is known only when the ones before it were read. An item whose data is in memory costs no turn.

use crate::base::ids::CoreId;
use crate::base::slots::Key;
use crate::base::time::Now;
use crate::log::{ReadData, ReadError, ReadId, ReadOutcome};
use crate::replica::leader::EpochMismatch;

use super::Shard;
use super::message::{AskKey, FetchAsk, FetchDone, FetchItem, Fetched, PartitionError, Reply, WatchItem};
use super::partition::Watcher;
use super::reads::ReadFor;

/// A fetch ask in work.
#[derive(Debug)]
pub struct FetchJob {
    asker: (CoreId, AskKey),
    items: Vec<FetchItem>,
    next: usize,
    bytes_left: u32,
    found_any: bool,
    done: Vec<FetchDone>,
}

/// Someone wants to be told once when one of several partitions has news.
#[derive(Debug)]
pub struct Watch {
    pub asker: (CoreId, AskKey),
    partitions: Vec<Key>,
}

/// What the bounds of a partition say to a fetch.
struct Bounds {
    high_watermark: i64,
    log_start: i64,
}

impl Shard {
    pub(super) fn fetch(&mut self, from: CoreId, key: AskKey, ask: FetchAsk, now: Now) {
        let job = self.fetch_jobs.insert(FetchJob {
            asker: (from, key),
            done: Vec::with_capacity(ask.items.len()),
            items: ask.items,
            next: 0,
            bytes_left: ask.max_bytes,
            found_any: false,
        });
        self.fetch_progress(job, now);
    }

    /// Reads on until an item needs the disk or all are done.
    fn fetch_progress(&mut self, job: Key, now: Now) {
        while let Some(work) = self.fetch_jobs.get(job) {
            let Some(item) = work.items.get(work.next).cloned() else { break };
            let (bytes_left, found_any) = (work.bytes_left, work.found_any);
            match self.fetch_item(job, &item, bytes_left, found_any, now) {
                Some(result) => self.fetch_item_done(job, FetchDone { slot: item.slot, result }),
                None => return,
            }
        }
        if let Some(work) = self.fetch_jobs.remove(job) {
            self.reply(work.asker, Reply::Fetch(work.done));
        }
    }

    fn fetch_item_done(&mut self, job: Key, done: FetchDone) {
        let Some(work) = self.fetch_jobs.get_mut(job) else { return };
        if let Ok(fetched) = &done.result {
            work.bytes_left = work.bytes_left.saturating_sub(u32::try_from(fetched.bytes).unwrap_or(u32::MAX));
            work.found_any |= fetched.bytes > 0;
        }
        work.done.push(done);
        work.next += 1;
    }

    /// `None`: the disk is asked, [`Shard::fetch_read_done`] goes on.
    fn fetch_item(
        &mut self,
        job: Key,
        item: &FetchItem,
        bytes_left: u32,
        found_any: bool,
        _now: Now,
    ) -> Option<Result<Fetched, PartitionError>> {
        let key = match self.key_of(item.partition) {
            Ok(key) => key,
            Err(error) => return Some(Err(error)),
        };
        let bounds = match self.fetch_bounds(key, item) {
            Ok(FetchBounds::Read(bounds)) => bounds,
            Ok(FetchBounds::Diverging(bounds, epoch, end)) => {
                return Some(Ok(fetched(&bounds, ReadData::default(), Some((epoch, end)))));
            }
            Err(error) => return Some(Err(error)),
        };
        let max_bytes = bytes_left.min(item.max_bytes);
        if item.offset >= bounds.high_watermark || (found_any && max_bytes == 0) {
            return Some(Ok(fetched(&bounds, ReadData::default(), None)));
        }
        let id = ReadId(self.reads.next_id());
        let partition = self.partitions.get_mut(key)?;
        let log = &mut partition.log;
        let upper = bounds.high_watermark;
        let outcome = self.desk.with_log(key, |out| log.read(id, item.offset, upper, max_bytes, !found_any, out));
        match outcome {
            ReadOutcome::Ready(data) => Some(Ok(fetched(&bounds, data, None))),
            ReadOutcome::OutOfRange => Some(Err(PartitionError::OffsetOutOfRange)),
            ReadOutcome::Unavailable => Some(Err(PartitionError::Storage)),
            ReadOutcome::Pending => {
                self.reads.put(key, id.0, ReadFor::Fetch { job });
                None
            }
        }
    }

    fn fetch_bounds(&self, key: Key, item: &FetchItem) -> Result<FetchBounds, PartitionError> {
        let partition = self.partitions.get(key).ok_or(PartitionError::Unknown)?;
        partition.serves_clients()?;
        partition.leader.check_epoch(item.leader_epoch).map_err(epoch_error)?;
        let bounds =
            Bounds { high_watermark: partition.leader.high_watermark(), log_start: partition.log.start_offset() };
        if item.last_fetched_epoch >= 0 {
            let (epoch, end) = partition.log.epoch_end(item.last_fetched_epoch);
            if epoch >= 0 && (epoch < item.last_fetched_epoch || end < item.offset) {
                return Ok(FetchBounds::Diverging(bounds, epoch, end));
            }
        }
        if item.offset < bounds.log_start || item.offset > partition.log.end_offset() {
            return Err(PartitionError::OffsetOutOfRange);
        }
        Ok(FetchBounds::Read(bounds))
    }

    /// The disk has answered the read of the job's current item.
    pub(super) fn fetch_read_done(&mut self, job: Key, key: Key, result: Result<ReadData, ReadError>, now: Now) {
        let Some(work) = self.fetch_jobs.get(job) else { return };
        let Some(item) = work.items.get(work.next) else { return };
        let slot = item.slot;
        let result = match (result, self.partitions.get(key)) {
            (_, None) => Err(PartitionError::Unknown),
            (Err(error), Some(_)) => Err(read_error(error)),
            (Ok(data), Some(partition)) => {
                let bounds = Bounds {
                    high_watermark: partition.leader.high_watermark(),
                    log_start: partition.log.start_offset(),
                };
                Ok(fetched(&bounds, data, None))
            }
        };
        self.fetch_item_done(job, FetchDone { slot, result });
        self.fetch_progress(job, now);
    }

    /// Parks a watch, or answers at once when there is news already.
    pub(super) fn watch(&mut self, from: CoreId, key: AskKey, items: &[WatchItem]) {
        let mut keys = Vec::with_capacity(items.len());
        for item in items {
            let partition = self.key_of(item.partition).ok().and_then(|k| self.partitions.get(k).map(|p| (k, p)));
            match partition {
                Some((k, p)) if p.offline.is_none() && p.leader.high_watermark() <= item.above => {
                    keys.push((k, item.above));
                }
                _ => {
                    self.reply((from, key), Reply::News);
                    return;
                }
            }
        }
        let watch =
            self.watches.insert(Watch { asker: (from, key), partitions: keys.iter().map(|(k, _)| *k).collect() });
        self.watch_of_ask.insert((from, key), watch);
        for (k, above) in keys {
            if let Some(partition) = self.partitions.get_mut(k) {
                partition.watchers.push(Watcher { watch, above });
            }
        }
    }

    /// Wakes the watchers of partition `key` whose offset was passed (`all`: every one).
    pub(super) fn wake_watchers(&mut self, key: Key, all: bool) {
        let Some(partition) = self.partitions.get_mut(key) else { return };
        if partition.watchers.is_empty() {
            return;
        }
        let high_watermark = partition.leader.high_watermark();
        let woken: Vec<Key> =
            partition.watchers.iter().filter(|w| all || high_watermark > w.above).map(|w| w.watch).collect();
        for watch in woken {
            if let Some(asker) = self.drop_watch(watch) {
                self.reply(asker, Reply::News);
            }
        }
    }

    /// Takes a watch out of all its partitions.
    pub(super) fn drop_watch(&mut self, watch: Key) -> Option<(CoreId, AskKey)> {
        let dropped = self.watches.remove(watch)?;
        self.watch_of_ask.remove(&dropped.asker);
        for key in dropped.partitions {
            if let Some(partition) = self.partitions.get_mut(key) {
                partition.watchers.retain(|w| w.watch != watch);
            }
        }
        Some(dropped.asker)
    }
}

enum FetchBounds {
    Read(Bounds),
    Diverging(Bounds, i32, i64),
}

fn fetched(bounds: &Bounds, data: ReadData, diverging: Option<(i32, i64)>) -> Fetched {
    Fetched {
        high_watermark: bounds.high_watermark,
        log_start: bounds.log_start,
        bytes: data.bytes as usize,
        parts: data.parts,
        diverging,
    }
}

pub(super) fn epoch_error(mismatch: EpochMismatch) -> PartitionError {
    match mismatch {
        EpochMismatch::Fenced => PartitionError::FencedEpoch,
        EpochMismatch::Unknown => PartitionError::UnknownEpoch,
    }
}

pub(super) fn read_error(error: ReadError) -> PartitionError {
    match error {
        ReadError::Corrupt(_) => PartitionError::CorruptOnDisk,
        ReadError::Io(_) => PartitionError::Storage,
        // Closed, truncated or deleted while the read was under way: the client asks again and learns what became of
        // it.
        ReadError::Gone => PartitionError::Stopping,
    }
}
