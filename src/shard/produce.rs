//! Stop 4 and 5 of the produce path on the owner's core: epoch and sequence checks, the append, and the parked answer.

use crate::base::ids::{ConnId, CoreId};
use crate::base::slots::Key;
use crate::base::time::Now;
use crate::batch::header::BatchHeader;
use crate::log::AppendError;
use crate::log::producers::{SequenceError, Verdict};

use super::Shard;
use super::message::{AskKey, Message, PartitionError, ProduceDone, ProduceItem, Produced, Reply};
use super::partition::AckWaiter;

/// A produce ask in work: answered as one message when its last item is durable or refused.
#[derive(Debug)]
pub struct ProduceJob {
    asker: (CoreId, AskKey),
    /// As in [`super::message::Ask::Produce`].
    quiet: Option<ConnId>,
    outstanding: u32,
    items: Vec<ProduceDone>,
}

impl Shard {
    /// Appends each item's batch and parks the answer until all of them are durable.
    pub(super) fn produce(
        &mut self,
        from: CoreId,
        key: AskKey,
        items: Vec<ProduceItem>,
        quiet: Option<ConnId>,
        now: Now,
    ) {
        let job = self.produce_jobs.insert(ProduceJob {
            asker: (from, key),
            quiet,
            outstanding: 1,
            items: Vec::with_capacity(items.len()),
        });
        for item in items {
            self.produce_item(job, &item, now);
        }
        self.produce_progress(job, 1);
    }

    fn produce_item(&mut self, job: Key, item: &ProduceItem, now: Now) {
        let appended = self.append_for_client(item, now);
        let Some(work) = self.produce_jobs.get_mut(job) else { return };
        let place = work.items.len() as u32;
        match appended {
            Ok((key, until, produced)) => {
                work.items.push(ProduceDone { slot: item.slot, result: Ok(produced) });
                work.outstanding += 1;
                if let Some(partition) = self.partitions.get_mut(key) {
                    partition.park(until, AckWaiter::Produce { job, item: place });
                }
                // A duplicate of a batch that is durable already has nothing to wait for.
                self.release(key, now);
            }
            Err(error) => work.items.push(ProduceDone { slot: item.slot, result: Err(error) }),
        }
    }

    /// Appends one batch. Answers the partition, the offset that must become durable, and what to tell the client.
    fn append_for_client(&mut self, item: &ProduceItem, now: Now) -> Result<(Key, i64, Produced), PartitionError> {
        let key = self.key_of(item.partition)?;
        let log_append_time = self.is_log_append_time(item.partition.topic);
        let partition = self.partitions.get_mut(key).ok_or(PartitionError::Unknown)?;
        partition.serves_clients()?;
        let header = BatchHeader::parse(&item.batch).ok_or(PartitionError::CorruptOnDisk)?;
        if header.has_producer() {
            match partition.log.producers().check(&header) {
                Ok(Verdict::Append) => {}
                Ok(Verdict::Duplicate { base_offset, last_offset, timestamp }) => {
                    let log_start = partition.log.start_offset();
                    let log_append_time = if log_append_time { timestamp } else { -1 };
                    return Ok((key, last_offset + 1, Produced { base_offset, log_append_time, log_start }));
                }
                Err(error) => return Err(sequence_error(error)),
            }
        }
        if partition.no_space {
            return Err(PartitionError::NoSpace);
        }
        let epoch = partition.leader.epoch();
        let log = &mut partition.log;
        let appended = if log_append_time {
            log.append_log_append_time(&item.batch, epoch, now)
        } else {
            log.append(&item.batch, epoch, now)
        };
        let appended = appended.map_err(append_error)?;
        let produced = Produced {
            base_offset: appended.base_offset,
            log_append_time: appended.log_append_time_ms,
            log_start: partition.log.start_offset(),
        };
        self.mark_dirty(key);
        Ok((key, appended.last_offset + 1, produced))
    }

    /// `count` parts of the job are done; answers when it was the last.
    pub(super) fn produce_progress(&mut self, job: Key, count: u32) {
        let Some(work) = self.produce_jobs.get_mut(job) else { return };
        work.outstanding -= count;
        if work.outstanding > 0 {
            return;
        }
        let Some(work) = self.produce_jobs.remove(job) else { return };
        match work.quiet {
            None => self.reply(work.asker, Reply::Produce(work.items)),
            Some(conn) if work.items.iter().any(|item| item.result.is_err()) => {
                self.send(work.asker.0, Message::HangUp { conn });
            }
            Some(_) => {}
        }
    }

    /// Item `item` of the job will never be durable.
    pub(super) fn produce_failed(&mut self, job: Key, item: u32, error: PartitionError) {
        if let Some(done) = self.produce_jobs.get_mut(job).and_then(|work| work.items.get_mut(item as usize)) {
            done.result = Err(error);
        }
        self.produce_progress(job, 1);
    }
}

pub(super) fn append_error(error: AppendError) -> PartitionError {
    match error {
        AppendError::TooLargeForSegment => PartitionError::TooLargeForSegment,
        AppendError::Full => PartitionError::Busy,
        AppendError::NoSpace => PartitionError::NoSpace,
        AppendError::NotReady => PartitionError::Loading,
        // The batch was validated, so these say that the log and the validation disagree.
        AppendError::Invalid | AppendError::OutOfOrder | AppendError::OffsetsExhausted => PartitionError::Rejected,
        AppendError::Offline => PartitionError::Storage,
    }
}

fn sequence_error(error: SequenceError) -> PartitionError {
    match error {
        SequenceError::OutOfOrder { .. } => PartitionError::OutOfOrderSequence,
        SequenceError::StaleEpoch { .. } => PartitionError::InvalidProducerEpoch,
        SequenceError::NotInTransaction | SequenceError::CoordinatorFenced { .. } => PartitionError::InvalidTxnState,
    }
}
