//! ListOffsets, OffsetForLeaderEpoch and DeleteRecords on the owner's core.

use crate::base::ids::CoreId;
use crate::base::slots::Key;
use crate::base::time::Now;
use crate::log::{DeleteError, ReadError, ReadId, TimeOutcome, TimePoint, TimeTarget};

use super::Shard;
use super::fetch::{epoch_error, read_error};
use super::message::{
    AskKey, DeleteDone, DeleteQuery, EpochDone, EpochQuery, LogStart, Message, OffsetDone, OffsetFound, OffsetQuery,
    OffsetTarget, PartitionError, Reply,
};
use super::reads::ReadFor;

/// A ListOffsets ask in work: look-ups by time may need the disk.
#[derive(Debug)]
pub struct OffsetJob {
    asker: (CoreId, AskKey),
    outstanding: u32,
    done: Vec<OffsetDone>,
}

/// DeleteRecords waiting until the new log start offsets are kept in the folder's checkpoint.
#[derive(Debug)]
pub struct DeleteJob {
    asker: (CoreId, AskKey),
    done: Vec<DeleteDone>,
}

impl Shard {
    pub(super) fn list_offsets(&mut self, from: CoreId, key: AskKey, queries: &[OffsetQuery]) {
        let job =
            self.offset_jobs.insert(OffsetJob { asker: (from, key), outstanding: 1, done: Vec::with_capacity(8) });
        for query in queries {
            if let Some(result) = self.list_offset(job, query) {
                if let Some(work) = self.offset_jobs.get_mut(job) {
                    work.done.push(OffsetDone { slot: query.slot, result });
                }
            } else if let Some(work) = self.offset_jobs.get_mut(job) {
                work.outstanding += 1;
            }
        }
        self.offset_progress(job);
    }

    /// `None`: the disk is asked.
    fn list_offset(&mut self, job: Key, query: &OffsetQuery) -> Option<Result<OffsetFound, PartitionError>> {
        let key = match self.key_of(query.partition) {
            Ok(key) => key,
            Err(error) => return Some(Err(error)),
        };
        let id = ReadId(self.reads.next_id());
        let partition = self.partitions.get_mut(key)?;
        if let Err(error) = partition.serves_clients() {
            return Some(Err(error));
        }
        if let Err(mismatch) = partition.leader.check_epoch(query.leader_epoch) {
            return Some(Err(epoch_error(mismatch)));
        }
        let upper = partition.leader.high_watermark();
        let log = &mut partition.log;
        let target = match query.target {
            OffsetTarget::Latest => {
                return Some(Ok(OffsetFound { offset: upper, timestamp: -1, leader_epoch: partition.leader.epoch() }));
            }
            OffsetTarget::Earliest => {
                let offset = log.start_offset();
                return Some(Ok(OffsetFound { offset, timestamp: -1, leader_epoch: log.epoch_for(offset) }));
            }
            OffsetTarget::AtOrAfter(timestamp) => TimeTarget::AtOrAfter(timestamp),
            OffsetTarget::MaxTimestamp => TimeTarget::MaxTimestamp,
        };
        match self.desk.with_log(key, |out| log.find_time(id, target, upper, out)) {
            TimeOutcome::Ready(point) => Some(Ok(found(point))),
            TimeOutcome::Unavailable => Some(Err(PartitionError::Storage)),
            TimeOutcome::Pending => {
                self.reads.put(key, id.0, ReadFor::Offset { job, slot: query.slot });
                None
            }
        }
    }

    /// The disk has answered a look-up by time.
    pub(super) fn offset_found(&mut self, job: Key, slot: u32, result: Result<Option<TimePoint>, ReadError>) {
        if let Some(work) = self.offset_jobs.get_mut(job) {
            work.done.push(OffsetDone { slot, result: result.map(found).map_err(read_error) });
            self.offset_progress(job);
        }
    }

    pub(super) fn offset_failed(&mut self, job: Key, slot: u32, error: PartitionError) {
        if let Some(work) = self.offset_jobs.get_mut(job) {
            work.done.push(OffsetDone { slot, result: Err(error) });
            self.offset_progress(job);
        }
    }

    fn offset_progress(&mut self, job: Key) {
        let Some(work) = self.offset_jobs.get_mut(job) else { return };
        work.outstanding -= 1;
        if work.outstanding == 0
            && let Some(work) = self.offset_jobs.remove(job)
        {
            self.reply(work.asker, Reply::ListOffsets(work.done));
        }
    }

    pub(super) fn epoch_ends(&mut self, from: CoreId, key: AskKey, queries: &[EpochQuery]) {
        let done = queries.iter().map(|query| EpochDone { slot: query.slot, result: self.epoch_end(query) }).collect();
        self.reply((from, key), Reply::EpochEnds(done));
    }

    fn epoch_end(&self, query: &EpochQuery) -> Result<(i32, i64), PartitionError> {
        let key = self.key_of(query.partition)?;
        let partition = self.partitions.get(key).ok_or(PartitionError::Unknown)?;
        partition.serves_clients()?;
        partition.leader.check_epoch(query.current_epoch).map_err(epoch_error)?;
        if query.epoch == partition.leader.epoch() {
            return Ok((query.epoch, partition.leader.high_watermark()));
        }
        Ok(partition.log.epoch_end(query.epoch))
    }

    /// Moves log start offsets; answered once core 0 has them in the folder's checkpoint, so that a restart knows them.
    pub(super) fn delete_records(&mut self, from: CoreId, key: AskKey, queries: &[DeleteQuery], now: Now) {
        let mut done = Vec::with_capacity(queries.len());
        let mut starts = Vec::new();
        for query in queries {
            let result = self.delete_before(query, now);
            if let (Ok(offset), Ok(key)) = (&result, self.key_of(query.partition))
                && let Some(partition) = self.partitions.get(key)
            {
                starts.push(LogStart {
                    topic: partition.topic.clone(),
                    partition: partition.id.partition,
                    offset: *offset,
                });
            }
            done.push(DeleteDone { slot: query.slot, result });
        }
        if starts.is_empty() {
            self.reply((from, key), Reply::DeleteRecords(done));
            return;
        }
        let job = self.delete_jobs.insert(DeleteJob { asker: (from, key), done });
        self.send(CoreId(0), Message::KeepLogStarts { key: job, starts });
    }

    fn delete_before(&mut self, query: &DeleteQuery, now: Now) -> Result<i64, PartitionError> {
        let key = self.key_of(query.partition)?;
        let partition = self.partitions.get_mut(key).ok_or(PartitionError::Unknown)?;
        partition.serves_clients()?;
        let high_watermark = partition.leader.high_watermark();
        let before = if query.before == -1 { high_watermark } else { query.before };
        if before < 0 || before > high_watermark {
            return Err(PartitionError::OffsetOutOfRange);
        }
        let log = &mut partition.log;
        let start = self.desk.with_log(key, |out| log.delete_records(before, now, out));
        // It may have rolled the log, and what only the journal has goes into the segment then.
        self.mark_dirty(key);
        start.map_err(delete_error)
    }

    /// Core 0 has kept the log start offsets of a DeleteRecords.
    pub(super) fn log_starts_kept(&mut self, job: Key) {
        if let Some(work) = self.delete_jobs.remove(job) {
            self.reply(work.asker, Reply::DeleteRecords(work.done));
        }
    }

    /// The log start offsets that DeleteRecords moved will not be kept.
    pub(super) fn refuse_delete_jobs(&mut self, error: &PartitionError) {
        let jobs: Vec<Key> = self.delete_jobs.iter().map(|(job, _)| job).collect();
        for job in jobs {
            if let Some(work) = self.delete_jobs.remove(job) {
                self.reply(work.asker, Reply::Refused(error.clone()));
            }
        }
    }
}

/// Clients take an offset out of range for final, so only that is called so.
fn delete_error(error: DeleteError) -> PartitionError {
    match error {
        DeleteError::OutOfRange => PartitionError::OffsetOutOfRange,
        DeleteError::Unavailable => PartitionError::Storage,
    }
}

fn found(point: Option<TimePoint>) -> OffsetFound {
    match point {
        Some(p) => OffsetFound { offset: p.offset, timestamp: p.timestamp, leader_epoch: p.leader_epoch },
        None => OffsetFound { offset: -1, timestamp: -1, leader_epoch: -1 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_does_not_serve_is_no_offset_out_of_range() {
        assert_eq!(delete_error(DeleteError::Unavailable), PartitionError::Storage);
        assert_eq!(delete_error(DeleteError::OutOfRange), PartitionError::OffsetOutOfRange);
    }
}
