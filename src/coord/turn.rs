//! One entry into a coordinator: the time, what the entry produced so far, and the tables that groups share.
//!
//! Invariants: an answer leaves once per request; every parked request is in `parked` and in exactly one member.

use std::collections::{BTreeMap, BTreeSet};

use super::answer::{GroupAnswer, JoinAnswer, SyncAnswer};
use super::limits::{RECORDS_PER_STEP_MAX, STEP_RECORD_BYTES_MAX};
use super::records::CoordRecord;
use super::{AskId, GroupSettings};
use crate::base::prng::Prng;
use crate::base::time::{Mono, Now};

/// What one entry decided.
#[derive(Debug, Default)]
pub struct Outcome {
    /// To be appended as ONE batch, in order; at most `GroupSettings::batch_bytes_max` with the batch's own header.
    pub records: Vec<CoordRecord>,
    /// To be released once `records` are durable (at once when there are none).
    pub answers: Vec<(AskId, GroupAnswer)>,
    /// The answers tell of state that the records of EARLIER outcomes made (a committed offset, an assignment): hold
    /// them until those are durable too. False for heartbeats and errors, which need not wait for the disk.
    pub ordered: bool,
}

/// Where a request waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parked {
    pub group: String,
    pub member: String,
    pub kind: ParkedKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ParkedKind {
    Join,
    Sync,
}

/// The tables of a coordinator that its groups share.
#[derive(Debug)]
pub(super) struct Shared {
    pub settings: GroupSettings,
    pub prng: Prng,
    pub parked: BTreeMap<AskId, Parked>,
    /// When which group wants to be looked at; each group has at most one entry (`scheduled` in the group).
    pub due: BTreeSet<(Mono, String)>,
    /// Counts commits, so that a purge spares what was committed after it began.
    pub sequence: u64,
    /// Committed offsets of all groups.
    pub offsets: usize,
}

/// Everything that the code of one entry needs, handed down by reference.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    pub now: Now,
    pub shared: &'a mut Shared,
    pub out: &'a mut Outcome,
    /// Bytes of `out.records` so far, as they will lie in the batch.
    pub bytes: usize,
}

/// What a record costs in a batch beyond its key and value: length, attributes, two deltas, two lengths, header count.
pub(super) const RECORD_OVERHEAD: usize = 32;
/// The header of a batch.
pub(super) const BATCH_OVERHEAD: usize = 61;

impl Shared {
    /// Bytes of records that one outcome may hold.
    pub fn room_max(&self) -> usize {
        self.settings.batch_bytes_max.saturating_sub(BATCH_OVERHEAD)
    }
}

impl Turn<'_> {
    pub fn answer(&mut self, id: AskId, answer: GroupAnswer) {
        self.shared.parked.remove(&id);
        self.out.answers.push((id, answer));
    }

    pub fn answer_join(&mut self, id: AskId, answer: JoinAnswer) {
        self.answer(id, GroupAnswer::Join(answer));
    }

    pub fn answer_sync(&mut self, id: AskId, answer: SyncAnswer) {
        self.out.ordered |= answer.error.is_none();
        self.answer(id, GroupAnswer::Sync(answer));
    }

    pub fn park(&mut self, id: AskId, group: &str, member: &str, kind: ParkedKind) {
        let parked = Parked { group: group.to_owned(), member: member.to_owned(), kind };
        let before = self.shared.parked.insert(id, parked);
        crate::invariant!(before.is_none(), "request {id:?} parked twice");
    }

    /// True when `record` still fits into the batch of this outcome.
    pub fn fits(&self, record: &CoordRecord) -> bool {
        self.bytes + record.bytes() + RECORD_OVERHEAD <= self.shared.room_max()
    }

    /// True while background work may add one more small record (a tombstone, or an Empty group) to this outcome.
    pub fn has_step_room(&self) -> bool {
        let few = self.out.records.len() < RECORDS_PER_STEP_MAX;
        self.out.records.is_empty() || (few && self.bytes + STEP_RECORD_BYTES_MAX <= self.shared.room_max())
    }

    /// True while one more tombstone fits, however many there are.
    pub fn has_room_for_tombstone(&self) -> bool {
        self.bytes + STEP_RECORD_BYTES_MAX <= self.shared.room_max()
    }

    pub fn push(&mut self, record: CoordRecord) {
        self.bytes += record.bytes() + RECORD_OVERHEAD;
        self.out.records.push(record);
    }
}
