//! Committed offsets: commit, fetch, delete. Their expiry is in `expire`.

use std::collections::BTreeMap;

use super::answer::{
    CommittedTopic, DeletedTopic, FetchedOffset, FetchedTopic, GroupError, GroupState, OffsetCommitAnswer,
    OffsetDeleteAnswer, OffsetFetchAnswer,
};
use super::group::Group;
use super::limits::{OFFSETS_MAX, TOPIC_BYTES_MAX};
use super::records::{Committed, CoordRecord, offset_key, offset_record};
use super::request::{CommitPartition, CommitTopic, OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest};
use super::turn::Turn;
use crate::base::ids::{TopicId, Uuid};

/// The committed offsets of one group, by topic and partition. No topic is without partitions.
#[derive(Debug, Default)]
pub(super) struct GroupOffsets {
    topics: BTreeMap<String, BTreeMap<i32, Committed>>,
}

impl GroupOffsets {
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    pub fn get(&self, topic: &str, partition: i32) -> Option<&Committed> {
        self.topics.get(topic)?.get(&partition)
    }

    /// Returns true when there was none before.
    pub fn insert(&mut self, topic: &str, partition: i32, committed: Committed) -> bool {
        match self.topics.get_mut(topic) {
            Some(partitions) => partitions.insert(partition, committed).is_none(),
            None => {
                self.topics.insert(topic.to_owned(), BTreeMap::from([(partition, committed)]));
                true
            }
        }
    }

    /// Returns true when there was one.
    pub fn remove(&mut self, topic: &str, partition: i32) -> bool {
        let Some(partitions) = self.topics.get_mut(topic) else { return false };
        let removed = partitions.remove(&partition).is_some();
        if partitions.is_empty() {
            self.topics.remove(topic);
        }
        removed
    }

    pub fn topics(&self) -> impl Iterator<Item = (&str, &BTreeMap<i32, Committed>)> {
        self.topics.iter().map(|(name, partitions)| (name.as_str(), partitions))
    }

    /// The topics that offsets are committed to; with the zero id where a commit did not name one.
    pub fn topic_ids(&self) -> impl Iterator<Item = (&str, TopicId)> {
        self.topics()
            .flat_map(|(name, partitions)| partitions.values().map(move |committed| (name, committed.topic_id)))
    }

    pub fn topic(&self, name: &str) -> impl Iterator<Item = (i32, &Committed)> {
        self.topics.get(name).into_iter().flatten().map(|(partition, committed)| (*partition, committed))
    }
}

impl Group {
    /// Commits what the caller has allowed (`check_commit`), each partition for itself.
    pub fn commit(&mut self, turn: &mut Turn<'_>, request: &OffsetCommitRequest) -> OffsetCommitAnswer {
        let expire_ms = (request.retention_ms >= 0).then(|| turn.now.wall_ms.saturating_add(request.retention_ms));
        let topics = request.topics.iter().map(|topic| CommittedTopic {
            name: topic.name.clone(),
            topic_id: topic.topic_id,
            partitions: topic
                .partitions
                .iter()
                .map(|position| (position.partition, self.commit_one(turn, topic, position, expire_ms).err()))
                .collect(),
        });
        OffsetCommitAnswer { topics: topics.collect() }
    }

    fn commit_one(
        &mut self,
        turn: &mut Turn<'_>,
        topic: &CommitTopic,
        position: &CommitPartition,
        expire_ms: Option<i64>,
    ) -> Result<(), GroupError> {
        let metadata = position.metadata.as_deref().unwrap_or_default();
        if topic.name.is_empty() || topic.name.len() > TOPIC_BYTES_MAX {
            return Err(GroupError::UnknownTopicOrPartition);
        }
        if !metadata_fits(metadata, turn.shared.settings.offset_metadata_max_bytes) {
            return Err(GroupError::OffsetMetadataTooLarge);
        }
        let is_new = self.offsets.get(&topic.name, position.partition).is_none();
        if is_new && turn.shared.offsets >= OFFSETS_MAX {
            return Err(GroupError::InvalidCommitOffsetSize);
        }
        turn.shared.sequence += 1;
        let committed = Committed {
            offset: position.offset,
            // The stored form with a retention has neither; the requests that carry one do not know them.
            leader_epoch: if expire_ms.is_some() { -1 } else { position.leader_epoch },
            topic_id: if expire_ms.is_some() { Uuid::ZERO } else { topic.topic_id },
            metadata: metadata.into(),
            commit_ms: turn.now.wall_ms,
            expire_ms,
            sequence: turn.shared.sequence,
        };
        let record = offset_record(&self.classic.id, &topic.name, position.partition, &committed);
        if !turn.fits(&record) {
            return Err(GroupError::InvalidCommitOffsetSize);
        }
        turn.push(record);
        self.offsets.insert(&topic.name, position.partition, committed);
        turn.shared.offsets += usize::from(is_new);
        Ok(())
    }

    /// Forgets one offset, in the log too.
    pub fn erase(&mut self, turn: &mut Turn<'_>, topic: &str, partition: i32) {
        if self.offsets.remove(topic, partition) {
            turn.push(CoordRecord { key: offset_key(&self.classic.id, topic, partition), value: None });
            turn.shared.offsets -= 1;
        }
    }

    /// OffsetDelete: offsets of topics that nobody in the group reads.
    pub fn delete_offsets(&mut self, turn: &mut Turn<'_>, request: &OffsetDeleteRequest) -> OffsetDeleteAnswer {
        if self.classic.state != GroupState::Empty && !self.classic.is_consumer_type() {
            return OffsetDeleteAnswer { error: Some(GroupError::NonEmptyGroup), topics: Vec::new() };
        }
        let topics = request.topics.iter().map(|(topic, partitions)| {
            let subscribed = self.classic.state != GroupState::Empty && self.classic.is_subscribed(topic);
            let results = partitions.iter().map(|&partition| {
                if subscribed {
                    return (partition, Some(GroupError::GroupSubscribedToTopic));
                }
                if self.offsets.get(topic, partition).is_some() && !turn.has_room_for_tombstone() {
                    // More than one batch holds: what is left out is still there and may be asked for again.
                    return (partition, Some(GroupError::UnknownServerError));
                }
                self.erase(turn, topic, partition);
                (partition, None)
            });
            DeletedTopic { name: topic.clone(), partitions: results.collect() }
        });
        OffsetDeleteAnswer { error: None, topics: topics.collect() }
    }

    /// OffsetFetch, without the offsets that are `gone` (which also gets their topic's name). Nothing is unstable yet:
    /// there are no transactional commits.
    pub fn fetch(&self, request: &OffsetFetchRequest, gone: impl Fn(&str, &Committed) -> bool) -> OffsetFetchAnswer {
        let Some(asked) = &request.topics else { return self.fetch_all(&request.group, gone) };
        let topics = asked.iter().map(|topic| FetchedTopic {
            name: topic.name.clone(),
            topic_id: topic.topic_id,
            partitions: topic
                .partitions
                .iter()
                .map(|&partition| {
                    let present = |c: &&Committed| is_of(c, topic.topic_id) && !gone(&topic.name, c);
                    fetched(partition, self.offsets.get(&topic.name, partition).filter(present))
                })
                .collect(),
        });
        OffsetFetchAnswer { group: request.group.clone(), error: None, topics: topics.collect() }
    }

    /// A topic whose offsets were committed under several ids comes once for each of them.
    fn fetch_all(&self, group: &str, gone: impl Fn(&str, &Committed) -> bool) -> OffsetFetchAnswer {
        let mut topics = Vec::new();
        for (name, partitions) in self.offsets.topics() {
            let mut by_id: BTreeMap<TopicId, Vec<FetchedOffset>> = BTreeMap::new();
            for (&partition, committed) in partitions.iter().filter(|(_, committed)| !gone(name, committed)) {
                by_id.entry(committed.topic_id).or_default().push(fetched(partition, Some(committed)));
            }
            let of_id = |(topic_id, partitions)| FetchedTopic { name: name.to_owned(), topic_id, partitions };
            topics.extend(by_id.into_iter().map(of_id));
        }
        OffsetFetchAnswer { group: group.to_owned(), error: None, topics }
    }
}

/// The answer for a group that does not exist: nothing is committed, which is no error.
pub(super) fn fetch_from_nobody(request: &OffsetFetchRequest) -> OffsetFetchAnswer {
    Group::new(&request.group).fetch(request, |_, _| false)
}

/// Whether an offset may be one of the topic with this id: those of a topic that is gone are not its namesake's.
fn is_of(committed: &Committed, topic_id: TopicId) -> bool {
    committed.topic_id == topic_id || committed.topic_id == Uuid::ZERO || topic_id == Uuid::ZERO
}

fn fetched(partition: i32, committed: Option<&Committed>) -> FetchedOffset {
    match committed {
        Some(committed) => FetchedOffset {
            partition,
            offset: committed.offset,
            leader_epoch: committed.leader_epoch,
            metadata: committed.metadata.to_string(),
            error: None,
        },
        None => FetchedOffset { partition, offset: -1, leader_epoch: -1, metadata: String::new(), error: None },
    }
}

/// Kafka counts UTF-16 units; a stored text also has an int16 length in bytes.
fn metadata_fits(metadata: &str, max: usize) -> bool {
    metadata.len() <= i16::MAX as usize && (metadata.len() <= max || metadata.encode_utf16().count() <= max)
}
