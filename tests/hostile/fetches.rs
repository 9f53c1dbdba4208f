//! Fetches that wait for long and hold much, and sessions that remember more than anybody reads.

use std::time::{Duration, Instant};

use kataract::wire::messages as m;
use kataract::wire::messages::fetch_request::{FetchPartition, FetchTopic};
use kataract::wire::versions::key;

use crate::CEILING;
use crate::client::{Client, Heard};
use crate::node::Node;
use crate::requests::{self, FetchShape, decoded, text};
use crate::witness::Witness;

const VERSION: i16 = 12;
/// How long an answer may take while others wait.
const SOON: Duration = Duration::from_secs(if cfg!(debug_assertions) { 10 } else { 2 });
/// Longer than any of these tests.
const LONG_MS: i32 = 600_000;

/// Both cores serve: connections are dealt out in turn.
fn others_are_served(witnesses: &mut [Witness]) {
    for witness in witnesses {
        witness.works(SOON).expect("others are served");
    }
}

fn witnesses(node: &Node) -> Vec<Witness> {
    (0..4).map(|number| Witness::new(node.address, &format!("fetch-{number}"))).collect()
}

#[test]
fn large_frames_of_fetches_that_wait_keep_nobody_from_being_served() {
    let mut node = Node::start(&[]);
    let mut witnesses = witnesses(&node);
    Client::connect(node.address).ask(&requests::create_topic("quiet", 1)).expect("a topic");
    let shape = FetchShape { offset: 0, max_wait_ms: LONG_MS, min_bytes: 1, max_bytes: 1 << 20 };
    let topic = requests::Topic { name: "quiet".to_owned(), id: kataract::wire::MessageUuid::nil() };
    let mut body = requests::fetch_body(VERSION, &topic, 0, shape).to_vec();
    // Bytes behind the last field are ignored, as by Kafka.
    body.resize(7 << 20, 0);
    let frame = requests::frame(key::FETCH, VERSION, &body);
    let mut held: Vec<Client> = (0..30).map(|_| Client::connect(node.address)).collect();
    for client in &mut held {
        assert!(client.send(&frame));
        client.patience(Duration::from_millis(1));
    }
    others_are_served(&mut witnesses);
    let waiting = held.iter_mut().filter_map(|client| (client.hear() == Heard::Silence).then_some(())).count();
    assert_eq!(waiting, 30, "all of them wait");
    let resident = node.resident().saturating_sub(node.idle());
    assert!(resident <= CEILING, "{} KiB are held", resident >> 10);
    node.assert_alive();
    // Beyond what any fetch needs, the connection is closed.
    body.resize(9 << 20, 0);
    let mut client = Client::connect(node.address);
    client.send(&requests::frame(key::FETCH, VERSION, &body));
    assert_eq!(client.hear(), Heard::Closed);
    node.assert_alive();
}

/// A fetch of the partitions `0..count` of a topic, of which only those that exist are waited for.
fn full_fetch(topic: &str, partitions: i32, repeat: usize, session: (i32, i32)) -> Vec<u8> {
    let wanted = |partition: i32| {
        FetchPartition::default()
            .with_partition(partition)
            .with_log_start_offset(-1)
            .with_current_leader_epoch(-1)
            .with_partition_max_bytes(1000)
    };
    let topics = (0..repeat).map(|_| {
        FetchTopic::default().with_topic(text(topic).into()).with_partitions((0..partitions).map(wanted).collect())
    });
    let request = m::FetchRequest::default()
        .with_replica_id(m::BrokerId(-1))
        .with_max_wait_ms(LONG_MS)
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_session_id(session.0)
        .with_session_epoch(session.1)
        .with_topics(topics.collect());
    requests::request(key::FETCH, VERSION, &request)
}

#[test]
fn fetches_of_very_many_partitions_are_answered_early_rather_than_held() {
    let mut node = Node::start(&[]);
    let mut witnesses = witnesses(&node);
    Client::connect(node.address).ask(&requests::create_topic("quiet", 1)).expect("a topic");
    // The same partition again and again, without a session.
    let frame = full_fetch("quiet", 1, 45_000, (0, -1));
    let small = full_fetch("quiet", 1, 1, (0, -1));
    let mut modest = Client::connect(node.address);
    assert!(modest.send(&small));
    let mut held: Vec<Client> = (0..12).map(|_| Client::connect(node.address)).collect();
    for client in &mut held {
        assert!(client.send(&frame));
        client.patience(Duration::from_millis(500));
        others_are_served(&mut witnesses);
    }
    // Which of them does not matter: at most one a core fits into its share.
    let answered = held.iter_mut().filter_map(|client| matches!(client.hear(), Heard::Answer(_)).then_some(())).count();
    assert!(answered >= 10, "{answered} of 12 were answered early");
    modest.patience(Duration::from_millis(1));
    assert_eq!(modest.hear(), Heard::Silence, "a small one waits as long as it likes");
    let above = node.peak_above_idle();
    println!("{answered} of 12 answered early, {} KiB at most", above >> 10);
    assert!(above <= 2 * CEILING, "{} KiB", above >> 10);
    node.assert_alive();
}

#[test]
fn sessions_of_many_partitions_share_one_budget() {
    let mut node = Node::start(&[]);
    let mut witnesses = witnesses(&node);
    let started = Instant::now();
    let (mut sessions, mut refused) = (0, 0);
    let mut client = Client::connect(node.address);
    client.patience(Duration::from_secs(30));
    for number in 0..40 {
        // No such topic: every partition is an error, which is answered at once.
        let frame = full_fetch(&format!("nowhere-{number}"), 4_000, 1, (0, 0));
        assert!(client.send(&frame));
        let Heard::Answer(answer) = client.hear() else { panic!("fetch {number} was not answered") };
        let answer: m::FetchResponse = decoded(key::FETCH, VERSION, answer).expect("a Fetch answer");
        assert_eq!((answer.error_code, answer.responses[0].partitions.len()), (0, 4_000));
        if answer.session_id == 0 { refused += 1 } else { sessions += 1 }
    }
    println!("{sessions} sessions, {refused} without one; {:?}", started.elapsed());
    assert!(sessions >= 1 && refused >= 30, "{sessions} sessions, {refused} without one");
    // A session that grows without end is given up.
    let mut frame = full_fetch("grows", 100, 1, (0, 0));
    let mut session = None;
    for epoch in 1..1_000 {
        assert!(client.send(&frame));
        let Heard::Answer(answer) = client.hear() else { panic!("fetch {epoch} was not answered") };
        let answer: m::FetchResponse = decoded(key::FETCH, VERSION, answer).expect("a Fetch answer");
        if answer.error_code != 0 || answer.session_id == 0 {
            session = Some((answer.error_code, epoch));
            break;
        }
        frame = full_fetch(&format!("grows-{epoch}"), 5_000, 1, (answer.session_id, epoch));
    }
    println!("the growing session ended with (error, epoch) {session:?}");
    assert!(matches!(session, Some((0 | 70, 1..20))), "{session:?}");
    others_are_served(&mut witnesses);
    node.assert_unharmed();
}
