//! Idempotent and transactional producers of one partition (KIP-98, KIP-360, KIP-890).
//!
//! For each producer id: its epoch, its last five batches, and where its open transaction began. A retried batch is
//! recognised by its (first, last) sequence; anything that is neither a retry nor the next sequence is refused.
//!
//! Rules of use: [`check`](ProducerStates::check) before a client append; [`record`](ProducerStates::record) (or
//! [`record_marker`](ProducerStates::record_marker)) after every append, also those of followers, coordinators and
//! recovery, which are never checked. The state is then a pure function of the log since the last snapshot.
//!
//! Nothing writes transactions yet: the checks of markers and the last stable offset wait for their coordinator, while
//! what they rest on is kept for every batch, so that folders of other brokers are read right.
//!
//! Invariant: a producer has an open transaction exactly when its first offset is a key of `open`.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;

use super::snapshot_file;
pub use super::snapshot_file::SnapshotError;
use crate::batch::BatchHeader;
use crate::batch::control::{self, ControlError, EndTxn};
use crate::batch::records;

/// Batches remembered per producer: what clients may have in flight (`max.in.flight.requests.per.connection` ≤ 5).
pub const BATCHES_MAX: usize = 5;
/// Producers remembered per partition. Above it the ones longest silent go, a sixteenth at a time.
pub const PRODUCERS_MAX: usize = 100_000;

/// No epoch, no coordinator epoch, no sequence.
const NONE: i32 = -1;

/// One appended batch of a producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchMeta {
    pub last_sequence: i32,
    pub last_offset: i64,
    /// Last offset minus first offset.
    pub offset_delta: i32,
    /// Max timestamp of the batch, milliseconds since 1970 (the append time under LogAppendTime).
    pub timestamp: i64,
}

impl BatchMeta {
    pub fn first_offset(&self) -> i64 {
        self.last_offset - i64::from(self.offset_delta)
    }

    /// Before 0 comes 2147483647.
    pub fn first_sequence(&self) -> i32 {
        let first = i64::from(self.last_sequence) - i64::from(self.offset_delta);
        if first < 0 { (first + (1 << 31)) as i32 } else { first as i32 }
    }
}

/// What a partition knows about one producer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerState {
    pub epoch: i16,
    /// Epoch of the coordinator that wrote the last marker; −1 when none did.
    pub coordinator_epoch: i32,
    /// Of the last batch or marker, milliseconds since 1970.
    pub last_timestamp: i64,
    /// First offset of the open transaction.
    pub txn_first_offset: Option<i64>,
    /// Oldest first; the first `count` are valid.
    batches: [BatchMeta; BATCHES_MAX],
    count: u8,
}

const NO_BATCH: BatchMeta = BatchMeta { last_sequence: -1, last_offset: -1, offset_delta: 0, timestamp: -1 };

impl ProducerState {
    pub(super) fn new(epoch: i16) -> ProducerState {
        ProducerState {
            epoch,
            coordinator_epoch: NONE,
            last_timestamp: -1,
            txn_first_offset: None,
            batches: [NO_BATCH; BATCHES_MAX],
            count: 0,
        }
    }

    /// The remembered batches of the present epoch, oldest first, at most [`BATCHES_MAX`].
    pub fn batches(&self) -> &[BatchMeta] {
        &self.batches[..usize::from(self.count)]
    }

    pub fn last_batch(&self) -> Option<&BatchMeta> {
        self.batches().last()
    }

    /// Sequence of the last record; −1 when the epoch has no batch yet.
    pub fn last_sequence(&self) -> i32 {
        self.last_batch().map_or(NONE, |batch| batch.last_sequence)
    }

    pub(super) fn push(&mut self, batch: BatchMeta) {
        if usize::from(self.count) == BATCHES_MAX {
            self.batches.rotate_left(1);
            self.count -= 1;
        }
        self.batches[usize::from(self.count)] = batch;
        self.count += 1;
    }

    /// A new epoch forgets the batches of the old one.
    fn set_epoch(&mut self, epoch: i16) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.count = 0;
        }
    }

    fn duplicate(&self, header: &BatchHeader) -> Option<&BatchMeta> {
        let range = (header.base_sequence, header.last_sequence());
        self.batches().iter().find(|batch| (batch.first_sequence(), batch.last_sequence) == range)
    }
}

/// What to do with a client's batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Append,
    /// Already in the log: answer success with these numbers and append nothing. `timestamp` is the batch's max
    /// timestamp, which under LogAppendTime is the append time to answer.
    Duplicate {
        base_offset: i64,
        last_offset: i64,
        timestamp: i64,
    },
}

/// Why a batch or marker of a producer is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SequenceError {
    /// A newer instance of the producer has written (INVALID_PRODUCER_EPOCH).
    StaleEpoch { epoch: i16, current: i16 },
    /// A gap, or a duplicate too old to be remembered (OUT_OF_ORDER_SEQUENCE_NUMBER). `last` is −1 when the epoch has
    /// no batch yet.
    OutOfOrder { sequence: i32, last: i32 },
    /// A batch outside the transaction that its producer has open here (INVALID_TXN_STATE).
    NotInTransaction,
    /// A marker of a coordinator that has been replaced (TRANSACTION_COORDINATOR_FENCED).
    CoordinatorFenced { epoch: i32, current: i32 },
}

impl fmt::Display for SequenceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SequenceError::StaleEpoch { epoch, current } => {
                write!(f, "producer epoch {epoch} is older than {current}")
            }
            SequenceError::OutOfOrder { sequence, last } => {
                write!(f, "sequence {sequence} does not follow {last}")
            }
            SequenceError::NotInTransaction => f.write_str("the producer has a transaction open on this partition"),
            SequenceError::CoordinatorFenced { epoch, current } => {
                write!(f, "transaction coordinator epoch {epoch} is older than {current}")
            }
        }
    }
}

impl std::error::Error for SequenceError {}

/// A transaction that ended: an entry for the aborted index when `aborted`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompletedTxn {
    pub producer_id: i64,
    pub first_offset: i64,
    /// The offset of the marker.
    pub last_offset: i64,
    pub aborted: bool,
    /// The last stable offset as the aborted index wants it: first offset of the oldest transaction still open, or
    /// the offset after the marker.
    pub last_stable_offset: i64,
}

/// All producers of one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProducerStates {
    producers: BTreeMap<i64, ProducerState>,
    /// First offset → producer id of every open transaction.
    open: BTreeMap<i64, i64>,
    /// First offset → marker offset of transactions whose marker may still lie at or above the high watermark.
    unreplicated: BTreeMap<i64, i64>,
}

impl ProducerStates {
    pub fn new() -> ProducerStates {
        ProducerStates::default()
    }

    /// By ascending producer id.
    pub fn iter(&self) -> impl Iterator<Item = (i64, &ProducerState)> {
        self.producers.iter().map(|(&id, state)| (id, state))
    }

    pub fn get(&self, producer_id: i64) -> Option<&ProducerState> {
        self.producers.get(&producer_id)
    }

    pub fn len(&self) -> usize {
        self.producers.len()
    }

    pub fn is_empty(&self) -> bool {
        self.producers.is_empty()
    }

    /// Whether a client's data batch may be appended. Batches without a producer always may.
    pub fn check(&self, header: &BatchHeader) -> Result<Verdict, SequenceError> {
        self.check_version(header, false)
    }

    /// As [`check`](ProducerStates::check); `transactions_v2` for transactional Produce ≥ 12 (KIP-890), where the
    /// first batch of each transaction must have sequence 0 even if nothing is known about the producer.
    pub fn check_version(&self, header: &BatchHeader, transactions_v2: bool) -> Result<Verdict, SequenceError> {
        if !header.has_producer() {
            return Ok(Verdict::Append);
        }
        let sequence = header.base_sequence;
        let first_of_txn = transactions_v2 && header.is_transactional();
        let Some(state) = self.producers.get(&header.producer_id) else {
            // Retention may have removed the state, so any sequence may be the next one.
            if first_of_txn && sequence != 0 {
                return Err(SequenceError::OutOfOrder { sequence, last: NONE });
            }
            return Ok(Verdict::Append);
        };
        if header.producer_epoch == state.epoch
            && let Some(batch) = state.duplicate(header)
        {
            let (base_offset, last_offset) = (batch.first_offset(), batch.last_offset);
            return Ok(Verdict::Duplicate { base_offset, last_offset, timestamp: batch.timestamp });
        }
        if header.producer_epoch < state.epoch {
            return Err(SequenceError::StaleEpoch { epoch: header.producer_epoch, current: state.epoch });
        }
        let last = if header.producer_epoch == state.epoch { state.last_sequence() } else { NONE };
        let expected = if last == i32::MAX { 0 } else { last + 1 };
        let restart = first_of_txn && state.txn_first_offset.is_none() && sequence != 0;
        // An entry that only knows its coordinator (epoch −1) says nothing about sequences.
        if (sequence != expected && state.epoch >= 0) || restart {
            return Err(SequenceError::OutOfOrder { sequence, last });
        }
        if state.txn_first_offset.is_some() && !header.is_transactional() {
            return Err(SequenceError::NotInTransaction);
        }
        Ok(Verdict::Append)
    }

    /// Notes an appended data batch, unchecked. `header` is the one in the log (after LogAppendTime was set). Batches
    /// without a producer and control batches change nothing; markers go to
    /// [`record_marker`](ProducerStates::record_marker).
    pub fn record(&mut self, header: &BatchHeader, base_offset: i64, last_offset: i64) {
        if !header.has_producer() || header.is_control() {
            return;
        }
        self.make_room(header.producer_id);
        let state =
            self.producers.entry(header.producer_id).or_insert_with(|| ProducerState::new(header.producer_epoch));
        state.set_epoch(header.producer_epoch);
        let offset_delta = i32::try_from(last_offset.saturating_sub(base_offset)).unwrap_or(i32::MAX).max(0);
        let timestamp = header.max_timestamp;
        state.push(BatchMeta { last_sequence: header.last_sequence(), last_offset, offset_delta, timestamp });
        state.last_timestamp = timestamp;
        if header.is_transactional() && state.txn_first_offset.is_none() {
            state.txn_first_offset = Some(base_offset);
            self.open.insert(base_offset, header.producer_id);
        }
    }

    /// Whether a coordinator's marker may be appended. `transactions_v2`: the marker is of transaction version 2 and
    /// must carry a new epoch; the same one is only a retry when no transaction is open.
    pub fn check_marker(
        &self,
        producer_id: i64,
        producer_epoch: i16,
        coordinator_epoch: i32,
        transactions_v2: bool,
    ) -> Result<(), SequenceError> {
        let Some(state) = self.producers.get(&producer_id) else { return Ok(()) };
        let same = producer_epoch == state.epoch;
        let stale = if transactions_v2 { same && state.txn_first_offset.is_some() } else { false };
        if producer_epoch < state.epoch || stale {
            return Err(SequenceError::StaleEpoch { epoch: producer_epoch, current: state.epoch });
        }
        if coordinator_epoch < state.coordinator_epoch {
            let current = state.coordinator_epoch;
            return Err(SequenceError::CoordinatorFenced { epoch: coordinator_epoch, current });
        }
        Ok(())
    }

    /// Notes an appended marker at `offset`, unchecked. The answer is the transaction it ended, `None` when none was
    /// open. `header` is that of the marker's batch.
    pub fn record_marker(&mut self, header: &BatchHeader, marker: EndTxn, offset: i64) -> Option<CompletedTxn> {
        let producer_id = header.producer_id;
        self.make_room(producer_id);
        let state = self.producers.entry(producer_id).or_insert_with(|| ProducerState::new(header.producer_epoch));
        state.set_epoch(header.producer_epoch);
        state.coordinator_epoch = marker.coordinator_epoch;
        state.last_timestamp = header.max_timestamp;
        let first_offset = state.txn_first_offset.take()?;
        self.open.remove(&first_offset);
        self.unreplicated.insert(first_offset, offset);
        let last_stable_offset = self.open.keys().next().copied().unwrap_or(offset.saturating_add(1));
        Some(CompletedTxn {
            producer_id,
            first_offset,
            last_offset: offset,
            aborted: !marker.commit,
            last_stable_offset,
        })
    }

    /// Notes one whole batch read back from the log, data or marker: recovery and followers. An empty batch counts for
    /// its producer's sequence. The answer is the transaction that a marker ended.
    pub fn replay(&mut self, batch: &Bytes) -> Result<Option<CompletedTxn>, ControlError> {
        let header = records::header(batch)?;
        if !header.is_control() {
            self.record(&header, header.base_offset, header.last_offset());
            return Ok(None);
        }
        if !header.has_producer() || header.record_count == 0 {
            return Ok(None);
        }
        let marker = control::parse_end_txn(batch)?;
        Ok(marker.and_then(|marker| self.record_marker(&header, marker, header.last_offset())))
    }

    /// First offset of the oldest transaction that is open, or whose marker is not yet below the high watermark.
    pub fn first_unstable_offset(&self) -> Option<i64> {
        let open = self.open.keys().next();
        let unreplicated = self.unreplicated.keys().next();
        open.into_iter().chain(unreplicated).min().copied()
    }

    /// The last stable offset under this high watermark; call
    /// [`on_high_watermark`](ProducerStates::on_high_watermark) before.
    pub fn last_stable_offset(&self, high_watermark: i64) -> i64 {
        self.first_unstable_offset().map_or(high_watermark, |first| first.min(high_watermark))
    }

    /// Transactions whose marker lies below the high watermark no longer hold the last stable offset back.
    pub fn on_high_watermark(&mut self, high_watermark: i64) {
        self.unreplicated.retain(|_, marker| *marker >= high_watermark);
    }

    /// The log now starts at `log_start`. As in Kafka since KIP-360 producers stay, so that their next sequence is
    /// still known; only ended transactions below the start are forgotten.
    pub fn remove_below(&mut self, log_start: i64) {
        self.unreplicated.retain(|_, marker| *marker >= log_start);
    }

    /// Forgets producers without an open transaction that have been silent for `expiration_ms`
    /// (`producer.id.expiration.ms`); the answer is how many.
    pub fn expire(&mut self, now_ms: i64, expiration_ms: i64) -> usize {
        let before = self.producers.len();
        self.producers.retain(|_, state| {
            state.txn_first_offset.is_some() || now_ms.saturating_sub(state.last_timestamp) < expiration_ms
        });
        before - self.producers.len()
    }

    /// Forgets everything (before a reload from a snapshot, after a truncation).
    pub fn clear(&mut self) {
        *self = ProducerStates::default();
    }

    /// Keeps the number of producers below its bound when `newcomer` is about to enter.
    fn make_room(&mut self, newcomer: i64) {
        if self.producers.len() < PRODUCERS_MAX || self.producers.contains_key(&newcomer) {
            return;
        }
        let mut silent: Vec<(i64, i64)> = self
            .producers
            .iter()
            .filter(|(_, state)| state.txn_first_offset.is_none())
            .map(|(&id, state)| (state.last_timestamp, id))
            .collect();
        silent.sort_unstable();
        for &(_, id) in silent.iter().take(PRODUCERS_MAX / 16) {
            self.producers.remove(&id);
        }
    }

    /// The content of Kafka's `<offset>.snapshot` file.
    pub fn encode_snapshot(&self) -> Bytes {
        snapshot_file::encode(self)
    }

    /// Reads a `<offset>.snapshot` file; call [`expire`](ProducerStates::expire) next, as the file may be old.
    pub fn decode_snapshot(bytes: &[u8]) -> Result<ProducerStates, SnapshotError> {
        snapshot_file::decode(bytes)
    }

    /// Puts in a producer read from a snapshot.
    pub(super) fn restore(&mut self, producer_id: i64, state: ProducerState) {
        if let Some(first_offset) = state.txn_first_offset {
            self.open.insert(first_offset, producer_id);
        }
        self.producers.insert(producer_id, state);
    }
}

#[cfg(test)]
mod tests;
