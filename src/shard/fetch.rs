//! The fetch path on the owner's core: bounds, then the log, all partitions at once as far as the byte limit goes; and
//! the watchers that wait for news.
//!
//! A fetch job goes through its items in the order of the request. An item whose data is in memory costs no turn; one
//! that needs the disk takes its share of the byte limit along and the job goes on with the next, so that the disk has
//! many reads to do at once. Only when nothing is left of the limit do later items wait for what the reads in flight
//! give back of it.

use crate::base::ids::{CoreId, TopicPartition};
use crate::base::slots::Key;
use crate::log::{ReadData, ReadError, ReadId, ReadOutcome, Wanted};
use crate::replica::leader::EpochMismatch;

use super::Shard;
use super::message::{AskKey, FetchAsk, FetchDone, FetchItem, Fetched, PartitionError, Reply, WatchItem};
use super::partition::Watcher;
use super::reads::ReadFor;

/// A fetch ask in work.
#[derive(Debug)]
pub struct FetchJob {
    asker: (CoreId, AskKey),
    items: Vec<Item>,
    next: usize,
    /// What is left of the limit, less what the reads in flight may bring.
    bytes_left: u32,
    /// Some item has data, so that no other may go beyond the limit.
    found_any: bool,
    /// Reads that the disk has not answered.
    in_flight: usize,
    /// The first item that had data, but none that fits, while another read might still bring some.
    starved: Option<usize>,
    /// That item was read again; whatever it brings, the job is done.
    last_try: bool,
}

#[derive(Debug)]
struct Item {
    wanted: FetchItem,
    /// Its share of the limit while it is read.
    share: u32,
    result: Option<Result<Fetched, PartitionError>>,
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
    pub(super) fn fetch(&mut self, from: CoreId, key: AskKey, ask: FetchAsk) {
        let job = self.fetch_jobs.insert(FetchJob::new((from, key), ask));
        self.fetch_progress(job);
    }

    /// Begins what may be begun; answers when all is done.
    fn fetch_progress(&mut self, job: Key) {
        while let Some(index) = self.fetch_jobs.get_mut(job).and_then(FetchJob::next_item) {
            let Some(work) = self.fetch_jobs.get(job) else { return };
            let wanted = work.items[index].wanted.clone();
            let (share, at_least_one) = (work.bytes_left.min(wanted.max_bytes), work.may_exceed());
            let result = self.fetch_item((job, index), &wanted, share, at_least_one);
            let Some(work) = self.fetch_jobs.get_mut(job) else { return };
            match result {
                Some(result) => work.done(index, result),
                None => work.begun(index, share),
            }
        }
        if self.fetch_jobs.get(job).is_some_and(|work| work.in_flight > 0) {
            return;
        }
        if let Some(work) = self.fetch_jobs.remove(job) {
            let done = work.items.into_iter().filter_map(|item| {
                let slot = item.wanted.slot;
                item.result.map(|result| FetchDone { slot, result })
            });
            self.reply(work.asker, Reply::Fetch(done.collect()));
        }
    }

    /// `None`: the disk is asked, [`Shard::fetch_read_done`] goes on.
    fn fetch_item(
        &mut self,
        (job, index): (Key, usize),
        item: &FetchItem,
        max_bytes: u32,
        at_least_one: bool,
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
        if item.offset >= bounds.high_watermark || (!at_least_one && max_bytes == 0) {
            return Some(Ok(fetched(&bounds, ReadData::default(), None)));
        }
        let id = ReadId(self.reads.next_id());
        let partition = self.partitions.get_mut(key)?;
        let log = &mut partition.log;
        let upper = bounds.high_watermark;
        let wanted = Wanted { from: item.offset, upper, max_bytes, at_least_one, to_send: true };
        let outcome = self.desk.with_log(key, |out| log.read(id, wanted, out));
        match outcome {
            ReadOutcome::Ready(data) => Some(Ok(fetched(&bounds, data, None))),
            ReadOutcome::OutOfRange => Some(Err(PartitionError::OffsetOutOfRange)),
            ReadOutcome::Unavailable => Some(Err(PartitionError::Storage)),
            ReadOutcome::Pending => {
                self.reads.put(key, id.0, ReadFor::Fetch { job, item: index });
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

    /// The disk has answered the read of one item.
    pub(super) fn fetch_read_done(
        &mut self,
        (job, index): (Key, usize),
        key: Key,
        result: Result<ReadData, ReadError>,
    ) {
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
        let Some(work) = self.fetch_jobs.get_mut(job) else { return };
        work.ended(index, result);
        self.fetch_progress(job);
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
        // A request may name a partition thousands of times; each is watched once, above the lowest.
        keys.sort_unstable();
        keys.dedup_by_key(|(k, _)| *k);
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

impl FetchJob {
    fn new(asker: (CoreId, AskKey), ask: FetchAsk) -> FetchJob {
        FetchJob {
            asker,
            items: ask.items.into_iter().map(|wanted| Item { wanted, share: 0, result: None }).collect(),
            next: 0,
            bytes_left: ask.max_bytes,
            found_any: false,
            in_flight: 0,
            starved: None,
            last_try: false,
        }
    }

    /// Whether a partition of it is not read, or its read has not ended.
    pub fn has_yet_to_read(&self, id: TopicPartition) -> bool {
        self.items.iter().any(|item| item.wanted.partition == id && item.result.is_none())
    }

    /// The item to read now; `None`: all are read, or it must be known first what the reads in flight bring.
    fn next_item(&mut self) -> Option<usize> {
        if self.in_flight > 0 && self.bytes_left == 0 {
            return None;
        }
        if self.next < self.items.len() {
            self.next += 1;
            return Some(self.next - 1);
        }
        if self.in_flight > 0 || self.found_any || self.last_try {
            return None;
        }
        // Nothing was found within the limit: one item may exceed it, or its reader would never get on.
        let starved = self.starved.take()?;
        self.last_try = true;
        self.bytes_left = self.bytes_left.max(1);
        Some(starved)
    }

    /// The disk is asked for an item, which may bring its share.
    fn begun(&mut self, index: usize, share: u32) {
        self.bytes_left -= share;
        self.items[index].share = share;
        self.in_flight += 1;
    }

    /// The disk has answered.
    fn ended(&mut self, index: usize, result: Result<Fetched, PartitionError>) {
        self.in_flight -= 1;
        self.bytes_left += std::mem::take(&mut self.items[index].share);
        self.done(index, result);
    }

    fn done(&mut self, index: usize, result: Result<Fetched, PartitionError>) {
        let item = &mut self.items[index];
        if let Ok(fetched) = &result {
            self.bytes_left = self.bytes_left.saturating_sub(u32::try_from(fetched.bytes).unwrap_or(u32::MAX));
            self.found_any |= fetched.bytes > 0;
            let more = fetched.diverging.is_none() && item.wanted.offset < fetched.high_watermark;
            if more && fetched.bytes == 0 {
                self.starved.get_or_insert(index);
            }
        }
        item.result = Some(result);
    }

    /// Whether the next read brings its first batch even when it is too large.
    fn may_exceed(&self) -> bool {
        !self.found_any && self.in_flight == 0
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::Uuid;

    fn job(max_bytes: u32, items: u32) -> FetchJob {
        let item = |slot| FetchItem {
            slot,
            partition: TopicPartition { topic: Uuid([1; 16]), partition: slot as i32 },
            offset: 0,
            max_bytes: 100,
            leader_epoch: -1,
            last_fetched_epoch: -1,
        };
        FetchJob::new((CoreId(0), 1), FetchAsk { items: (0..items).map(item).collect(), max_bytes })
    }

    /// A partition with data, of which so much came.
    fn brought(bytes: usize) -> Result<Fetched, PartitionError> {
        Ok(Fetched { high_watermark: 5, log_start: 0, parts: Vec::new(), bytes, diverging: None })
    }

    #[test]
    fn reads_in_flight_never_promise_more_than_the_limit_and_give_back_what_they_did_not_bring() {
        let mut job = job(150, 4);
        assert_eq!((job.next_item(), job.may_exceed()), (Some(0), true));
        job.begun(0, 100);
        assert_eq!((job.next_item(), job.may_exceed()), (Some(1), false));
        job.begun(1, 50);
        assert_eq!(job.next_item(), None, "nothing is left to promise");
        job.ended(1, brought(20));
        assert_eq!((job.next_item(), job.bytes_left), (Some(2), 30));
        job.done(2, brought(30));
        assert_eq!(job.next_item(), None, "the first may still give something back");
        job.ended(0, brought(90));
        assert_eq!((job.next_item(), job.bytes_left), (Some(3), 10));
        job.done(3, brought(0));
        assert_eq!(job.next_item(), None, "others have data: the one that was left out comes with the next request");
    }

    #[test]
    fn when_nothing_fits_one_item_may_exceed_the_limit_and_is_asked_once() {
        let mut job = job(10, 2);
        assert_eq!(job.next_item(), Some(0));
        job.begun(0, 5);
        assert_eq!((job.next_item(), job.may_exceed()), (Some(1), false));
        job.begun(1, 5);
        job.ended(1, brought(0));
        job.ended(0, Err(PartitionError::Storage));
        assert_eq!((job.next_item(), job.may_exceed()), (Some(1), true));
        job.begun(1, 10);
        job.ended(1, brought(0));
        assert_eq!(job.next_item(), None, "it has nothing to give, and is not asked for ever");
    }
}
