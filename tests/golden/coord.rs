//! `__consumer_offsets` as Kafka's group coordinator left it: loaded, asked, and written again.

use bytes::Bytes;
use kataract::base::ids::Uuid;
use kataract::base::time::{Mono, Now};
use kataract::batch::records::{self, Record};
use kataract::batch::walk;
use kataract::coord::{
    AskId, CommitPartition, CommitTopic, Coordinator, FetchTopic, GroupAnswer, GroupRequest, GroupSettings, GroupState,
    OffsetCommitRequest, OffsetFetchRequest,
};

use crate::{same, sample};

/// Records of groups outside transactions. A commit within one counts when its marker comes, which is the host's part.
fn stored() -> Vec<Record> {
    let bytes = Bytes::from(sample("disk/__consumer_offsets-0/00000000000000000000.log"));
    let batches: Vec<_> =
        walk(&bytes).filter(|(_, header)| !header.is_control() && !header.is_transactional()).collect();
    let decode = |(place, _)| records::decode(&bytes.slice(place)).expect("a batch of Kafka");
    batches.into_iter().flat_map(decode).collect()
}

fn at(wall_ms: i64) -> Now {
    Now { mono: Mono(1), wall_ms }
}

fn loaded(records: &[Record]) -> Coordinator {
    let mut coordinator = Coordinator::new(GroupSettings::default(), 7);
    for record in records {
        let replayed = coordinator.replay(&record.key.clone().expect("a key"), record.value.as_deref(), at(0));
        replayed.unwrap_or_else(|error| panic!("offset {}: {error}", record.offset));
    }
    coordinator.loaded(at(records.last().expect("records").timestamp));
    coordinator
}

fn ask(coordinator: &mut Coordinator, now: Now, request: GroupRequest) -> GroupAnswer {
    let mut outcome = coordinator.ask(now, AskId(1), request);
    assert_eq!(outcome.answers.len(), 1, "an answer at once");
    outcome.answers.remove(0).1
}

/// Topic, offset, leader epoch and note of everything a group has committed.
fn offsets(coordinator: &mut Coordinator, group: &str) -> Vec<(String, i64, i32, String)> {
    let topics =
        ["plain", "gzip"].map(|name| FetchTopic { name: name.to_owned(), topic_id: Uuid::ZERO, partitions: vec![0] });
    let request = OffsetFetchRequest {
        group: group.to_owned(),
        member_id: None,
        member_epoch: -1,
        topics: Some(topics.to_vec()),
        require_stable: false,
    };
    let GroupAnswer::OffsetFetch(answer) = ask(coordinator, at(0), GroupRequest::OffsetFetch(request)) else {
        panic!("another answer");
    };
    assert_eq!(answer.error, None);
    let flat = answer.topics.into_iter().flat_map(|t| t.partitions.into_iter().map(move |p| (t.name.clone(), p)));
    flat.filter(|(_, p)| p.offset >= 0).map(|(name, p)| (name, p.offset, p.leader_epoch, p.metadata)).collect()
}

#[test]
fn offsets_and_groups_that_kafka_stored_are_there_after_a_load() {
    let mut coordinator = loaded(&stored());
    let row = |topic: &str, offset, epoch, note: &str| (topic.to_owned(), offset, epoch, note.to_owned());
    for group in ["classic-group", "static-group", "server-group"] {
        let wanted = [row("plain", 180, 0, ""), row("gzip", 60, 0, "")];
        assert_eq!(offsets(&mut coordinator, group), wanted, "{group}");
    }
    assert_eq!(offsets(&mut coordinator, "empty-group"), [row("plain", 42, 0, "by hand")]);
    assert_eq!(offsets(&mut coordinator, "gone-group"), [], "deleted, so its tombstones count");
    for (group, state, members) in [("classic-group", GroupState::Empty, 0), ("static-group", GroupState::Stable, 1)] {
        let request = GroupRequest::Describe { group: group.to_owned() };
        let GroupAnswer::Describe(answer) = ask(&mut coordinator, at(0), request) else { panic!("another answer") };
        assert_eq!((answer.error, answer.state, answer.members.len()), (None, state, members), "{group}");
        if let Some(member) = answer.members.first() {
            assert_eq!(member.instance_id.as_deref(), Some("static-1"));
            assert_eq!((member.client_id.as_str(), answer.protocol.as_str()), ("golden", "cooperative-sticky"));
        }
    }
}

#[test]
fn a_commit_by_an_admin_is_stored_in_kafkas_bytes() {
    let records = stored();
    let is_it = |record: &&Record| record.key.as_ref().is_some_and(|key| key.windows(11).any(|w| w == b"empty-group"));
    let kafka = records.iter().find(is_it).expect("the commit of empty-group");
    let mut coordinator = loaded(&records[..1]);
    let partition = CommitPartition { partition: 0, offset: 42, leader_epoch: 0, metadata: Some("by hand".to_owned()) };
    let request = OffsetCommitRequest {
        group: "empty-group".to_owned(),
        generation: -1,
        member_id: String::new(),
        instance_id: None,
        retention_ms: -1,
        group_id_not_found_known: true,
        topics: vec![CommitTopic { name: "plain".to_owned(), topic_id: Uuid::ZERO, partitions: vec![partition] }],
    };
    let outcome = coordinator.ask(at(kafka.timestamp), AskId(1), GroupRequest::OffsetCommit(request));
    assert_eq!(outcome.records.len(), 1, "{:?}", outcome.answers);
    same("key", &outcome.records[0].key, &kafka.key.clone().expect("a key"));
    same("value", &outcome.records[0].value.clone().expect("a value"), &kafka.value.clone().expect("a value"));
}

#[test]
fn deleting_a_group_writes_kafkas_tombstones() {
    let records = stored();
    let of = |name: &[u8]| -> Vec<Record> {
        let named = |r: &&Record| r.key.as_ref().is_some_and(|key| key.windows(name.len()).any(|w| w == name));
        records.iter().filter(named).cloned().collect()
    };
    let kafka = of(b"gone-group");
    let (before, tombstones): (Vec<_>, Vec<_>) = kafka.into_iter().partition(|record| record.value.is_some());
    let mut coordinator = loaded(&before);
    let request = GroupRequest::DeleteGroup { group: "gone-group".to_owned() };
    let outcome = coordinator.ask(at(0), AskId(1), request);
    let ours: Vec<_> = outcome.records.iter().map(|record| (record.key.clone(), record.value.clone())).collect();
    // Kafka removes the group's own record too, although nobody joined and it was never written: ours does without.
    let written = |record: &Record| before.iter().any(|earlier| earlier.key == record.key);
    let wanted = tombstones.into_iter().filter(written).map(|record| (record.key.expect("a key"), None));
    assert_eq!(ours, wanted.collect::<Vec<_>>());
}
