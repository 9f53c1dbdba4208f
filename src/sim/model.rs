//! What the clients know: everything that was acknowledged or seen, to be compared with what the node has.
//!
//! A record is a number that only its producer gives; its bytes follow from the number. "Known" are records that were
//! acknowledged, and records that any consumer has seen: what a consumer could read must survive as well.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::base::ids::Uuid;
use crate::base::prng::Prng;
use crate::base::time::Mono;

/// Names a record: number of the producer in the upper, count in the lower 32 bits.
pub type RecordId = u64;

/// The life of a topic name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicState {
    /// Known not to exist.
    Absent,
    /// Asked for, or asked to go, and the answer is not known: nothing is expected.
    Changing,
    Exists,
}

/// One topic name.
#[derive(Clone, Debug)]
pub struct TopicModel {
    pub state: TopicState,
    /// Counts the topics that had this name.
    pub incarnation: u32,
    pub id: Option<Uuid>,
    /// How many partitions were acknowledged; more may have been asked for.
    pub partitions: i32,
    pub partitions_asked: i32,
    /// Settings acknowledged, and (while `None`) asked for without a known outcome.
    pub configs: BTreeMap<String, Option<String>>,
    pub parts: BTreeMap<i32, PartitionModel>,
}

/// One partition of the topic that has the name now.
#[derive(Clone, Debug, Default)]
pub struct PartitionModel {
    /// Known records by offset.
    pub records: BTreeMap<i64, RecordId>,
    /// Where each known record of an idempotent producer is.
    places: BTreeMap<RecordId, i64>,
    /// DeleteRecords: acknowledged, and asked for.
    pub deleted_to: i64,
    pub delete_asked: i64,
    /// Bits were flipped at this offset: what is there and above may be gone, but never wrong.
    pub damaged_from: Option<i64>,
}

/// What a producer says of a record before it is sent.
#[derive(Clone, Copy, Debug)]
struct Sent {
    idempotent: bool,
    attempts: u32,
}

/// One attempt to commit an offset.
#[derive(Clone, Copy, Debug)]
pub struct Commit {
    pub value: i64,
    pub started: Mono,
    /// `None`: the outcome is not known.
    pub ended: Option<(Mono, bool)>,
}

/// Group, topic, partition.
pub type CommitKey = (String, String, i32);

/// Everything known, of all clients together.
#[derive(Debug, Default)]
pub struct Model {
    pub topics: BTreeMap<String, TopicModel>,
    sent: BTreeMap<RecordId, Sent>,
    pub commits: BTreeMap<CommitKey, Vec<Commit>>,
    /// What may have been committed to topics of the same name before, and was not acknowledged.
    stale_commits: BTreeMap<CommitKey, BTreeSet<i64>>,
    /// What was acknowledged for topics that are being removed: there until they are.
    undecided_commits: BTreeMap<CommitKey, BTreeSet<i64>>,
    /// Who was given which share in which generation of which group.
    owners: BTreeMap<(String, i32, u8), String>,
    /// Records of one retention-free world only move their log start when a client asks for it.
    pub retention: bool,
    /// Largest filler of a record's value, bytes.
    pub value_max: u64,
    pub finding: Option<String>,
    /// Records acknowledged so far.
    pub acked: u64,
    /// Records read by consumers and checkers so far.
    pub read: u64,
    /// Flipped bits where a reader got neither data nor an error.
    pub flips_hushed: u64,
    /// Retries refused because a producer snapshot keeps one batch only.
    pub snapshot_gaps: u64,
    /// Flipped bits that were noticed by a reader.
    pub flips_noticed: u64,
}

impl Model {
    /// Knows nothing yet. `retention`: logs may start anywhere; `value_max`: largest filler of a value, bytes.
    pub fn new(retention: bool, value_max: u64) -> Model {
        Model { retention, value_max, ..Model::default() }
    }

    /// Notes what should never happen; the first one ends the run.
    pub fn fail(&mut self, finding: impl FnOnce() -> String) {
        if self.finding.is_none() {
            self.finding = Some(finding());
        }
    }

    /// The value of a record.
    pub fn value(&self, id: RecordId) -> Bytes {
        let mut random = Prng::new(id);
        let len = random.below(self.value_max.max(1)) as usize;
        let mut value = Vec::with_capacity(8 + len + 8);
        value.extend_from_slice(&id.to_be_bytes());
        while value.len() < 8 + len {
            value.extend_from_slice(&random.next_u64().to_be_bytes());
        }
        value.truncate(8 + len);
        Bytes::from(value)
    }

    /// A record goes out (again).
    pub fn sent(&mut self, id: RecordId, idempotent: bool) {
        self.sent.entry(id).or_insert(Sent { idempotent, attempts: 0 }).attempts += 1;
    }

    /// The incarnation of a topic that clients may use now.
    pub fn usable(&self, topic: &str) -> Option<&TopicModel> {
        self.topics.get(topic).filter(|topic| topic.state == TopicState::Exists)
    }

    /// The partition, if the topic is still the one that `incarnation` counts.
    pub fn part(&mut self, topic: &str, incarnation: u32, partition: i32) -> Option<&mut PartitionModel> {
        let topic = self.topics.get_mut(topic)?;
        if topic.state != TopicState::Exists || topic.incarnation != incarnation {
            return None;
        }
        Some(topic.parts.entry(partition).or_default())
    }

    /// A record was acknowledged at, or seen at, an offset.
    pub fn place(&mut self, topic: &str, incarnation: u32, partition: i32, offset: i64, id: RecordId) {
        let sent = self.sent.get(&id).copied();
        let Some(part) = self.part(topic, incarnation, partition) else { return };
        let finding = part.place(offset, id, sent);
        if let Some(finding) = finding {
            self.fail(|| format!("{topic}-{partition}: {finding}"));
        }
    }

    /// A consumer has read a record with a good CRC.
    pub fn observed(
        &mut self,
        topic: &str,
        incarnation: u32,
        partition: i32,
        offset: i64,
        value: &[u8],
    ) -> Option<u64> {
        self.read += 1;
        let id = value.first_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes));
        let Some(id) = id.filter(|id| self.sent.contains_key(id) && self.value(*id) == value) else {
            self.fail(|| format!("{topic}-{partition} offset {offset}: bytes that no producer has sent"));
            return None;
        };
        self.place(topic, incarnation, partition, offset, id);
        Some(id)
    }

    /// Whether order within its producer is promised for this record.
    pub fn is_idempotent(&self, id: RecordId) -> bool {
        self.sent.get(&id).is_some_and(|sent| sent.idempotent)
    }

    /// Bits of the batch at `offset` were flipped on the disk.
    pub fn damage(&mut self, topic: &str, partition: i32, offset: i64) {
        let Some(topic) = self.topics.get_mut(topic) else { return };
        let part = topic.parts.entry(partition).or_default();
        let from = part.damaged_from.map_or(offset, |from| from.min(offset));
        part.damaged_from = Some(from);
        part.records.split_off(&from);
        part.places.retain(|_, place| *place < from);
    }

    /// The name will be removed or made: nothing is expected until the outcome is known.
    pub fn changing(&mut self, name: &str) {
        if let Some(topic) = self.topics.get_mut(name) {
            topic.state = TopicState::Changing;
            topic.parts.clear();
            topic.configs.clear();
            topic.id = None;
        }
        // An offset whose outcome is not known may come late, to the next topic of the name. One that was acknowledged
        // is the removed topic's for good, once that is removed.
        for (key, commits) in self.commits.iter_mut().filter(|((_, topic, _), _)| topic == name) {
            for commit in commits.drain(..) {
                let acked = matches!(commit.ended, Some((_, true)));
                let kept = if acked { &mut self.undecided_commits } else { &mut self.stale_commits };
                kept.entry(key.clone()).or_default().insert(commit.value);
            }
        }
    }

    /// The topic does not exist any more.
    pub fn removed(&mut self, name: &str) {
        if let Some(topic) = self.topics.get_mut(name) {
            topic.state = TopicState::Absent;
        }
        self.undecided_commits.retain(|(_, topic, _), _| topic != name);
    }

    /// The topic exists now.
    pub fn created(&mut self, name: &str, partitions: i32, id: Uuid) {
        self.undecided_commits.retain(|(_, topic, _), _| topic != name);
        if let Some(topic) = self.topics.get_mut(name) {
            topic.state = TopicState::Exists;
            topic.incarnation += 1;
            topic.partitions = partitions;
            topic.partitions_asked = partitions;
            topic.id = Some(id);
        }
    }

    /// Notes the start of a commit and answers its index.
    pub fn commit_started(&mut self, key: &CommitKey, value: i64, now: Mono) -> usize {
        let commits = self.commits.entry(key.clone()).or_default();
        commits.push(Commit { value, started: now, ended: None });
        commits.len() - 1
    }

    /// Notes the outcome of a commit.
    pub fn commit_ended(&mut self, key: &CommitKey, value: i64, now: Mono, ok: bool) {
        let commits = self.commits.get_mut(key).into_iter().flatten();
        if let Some(commit) = commits.rev().find(|commit| commit.value == value && commit.ended.is_none()) {
            commit.ended = Some((now, ok));
        }
    }

    /// A commit with an unknown outcome was read by somebody: it has happened.
    pub fn commit_seen(&mut self, key: &CommitKey, value: i64, now: Mono) {
        let commits = self.commits.get_mut(key).into_iter().flatten();
        if let Some(commit) = commits.rev().find(|commit| commit.value == value && commit.ended.is_none()) {
            commit.ended = Some((now, true));
        }
    }

    /// A member was told its shares; no two members may have one in the same generation.
    pub fn owns(&mut self, group: &str, generation: i32, member: &str, shares: &[u8]) {
        for share in shares {
            let owner = self.owners.entry((group.to_owned(), generation, *share)).or_insert_with(|| member.to_owned());
            if owner != member {
                let owner = owner.clone();
                self.fail(|| format!("{group}, generation {generation}: share {share} of {owner} and of {member}"));
                return;
            }
        }
    }

    /// Whether a group's offset may be `found` (−1: none) now.
    pub fn check_commit(&mut self, key: &CommitKey, found: i64) {
        let commits = self.commits.get(key).map(Vec::as_slice).unwrap_or_default();
        let acked = |commit: &Commit| matches!(commit.ended, Some((_, true)));
        let allowed = |commit: &Commit| {
            if matches!(commit.ended, Some((_, false))) {
                return false;
            }
            let ended = commit.ended.map_or(Mono(u64::MAX), |(at, _)| at);
            !commits.iter().any(|later| acked(later) && later.started > ended)
        };
        let fine = match found {
            -1 => !commits.iter().any(acked),
            found
                if !commits.iter().any(acked)
                    && [&self.stale_commits, &self.undecided_commits]
                        .iter()
                        .any(|kept| kept.get(key).is_some_and(|values| values.contains(&found))) =>
            {
                true
            }
            found => commits.iter().any(|commit| commit.value == found && allowed(commit)),
        };
        if !fine {
            let last = commits.iter().filter(|commit| acked(commit)).map(|commit| commit.value).next_back();
            self.fail(|| format!("group {} of {}-{}: offset {found}, committed was {last:?}", key.0, key.1, key.2));
        }
    }
}

impl PartitionModel {
    fn place(&mut self, offset: i64, id: RecordId, sent: Option<Sent>) -> Option<String> {
        let Some(sent) = sent else { return Some(format!("record {id:x} at {offset} was never sent")) };
        match self.records.insert(offset, id) {
            Some(other) if other != id => {
                return Some(format!("offset {offset} was record {other:x} and is {id:x} now"));
            }
            _ => {}
        }
        if sent.idempotent || sent.attempts == 1 {
            match self.places.insert(id, offset) {
                Some(other) if other != offset => {
                    return Some(format!("record {id:x} is at {other} and again at {offset}"));
                }
                _ => {}
            }
        }
        None
    }

    /// Above every known record.
    pub fn known_end(&self) -> i64 {
        self.records.last_key_value().map_or(0, |(offset, _)| offset + 1)
    }
}
