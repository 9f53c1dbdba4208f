//! Connections that misbehave: wrong lengths, halves of frames, silence, readers that do not read. Each test says what
//! the node answers, where the protocol has an answer, and asks that others notice nothing.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes};
use kataract::batch::Codec;
use kataract::batch::build::BatchBuilder;
use kataract::wire::versions::key;

use crate::CEILING;
use crate::client::{Client, Heard};
use crate::node::Node;
use crate::requests::{self, FetchShape, framed};
use crate::witness::Witness;

/// How long a refusal may take; an unoptimised node on a busy machine gets more.
const SOON: Duration = Duration::from_secs(if cfg!(debug_assertions) { 5 } else { 1 });

/// What the node says to bytes on a connection of their own.
fn reaction(address: SocketAddr, bytes: &[u8]) -> Heard {
    let mut client = Client::connect(address);
    client.patience(SOON);
    client.send(bytes);
    client.hear()
}

#[test]
fn lengths_that_no_frame_has_close_the_connection_at_once() {
    let mut node = Node::start(&[]);
    for length in [-1, -2, i32::MIN, i32::MAX, 104_857_601, 0x4745_5420] {
        let bytes = [&length.to_be_bytes()[..], b"/ HTTP/1.1\r\n"].concat();
        assert_eq!(reaction(node.address, &bytes), Heard::Closed, "length {length}");
    }
    // Frames too short for a header.
    for size in 0..10 {
        assert_eq!(reaction(node.address, &framed(&vec![0; size])), Heard::Closed, "{size} bytes");
    }
    node.assert_unharmed();
}

#[test]
fn unknown_apis_and_versions_close_the_connection_and_api_versions_is_answered_with_35() {
    let mut node = Node::start(&[]);
    let unknown =
        [(999, 0), (-1, 0), (i16::MAX, i16::MAX), (7, 0), (key::METADATA, 99), (key::PRODUCE, -1), (key::FETCH, 3)];
    for (api_key, version) in unknown {
        let frame = requests::frame(api_key, version, &[0; 16]);
        assert_eq!(reaction(node.address, &frame), Heard::Closed, "API {api_key} version {version}");
    }
    for version in [5, 99, i16::MAX, -1] {
        let frame = requests::frame(key::API_VERSIONS, version, &[0xff; 40]);
        let Heard::Answer(answer) = reaction(node.address, &frame) else { panic!("no answer to version {version}") };
        assert_eq!(answer[4..6], 35_i16.to_be_bytes(), "version {version}");
    }
    node.assert_unharmed();
}

#[test]
fn a_hundred_mebibytes_of_empty_names_are_refused_before_they_have_arrived() {
    let mut node = Node::start(&[]);
    let mut witness = Witness::new(node.address, "names");
    witness.works(SOON).expect("before");
    for version in [1, 12] {
        let mut frame = requests::frame(key::METADATA, version, &vec![0; 100 << 20]);
        // Every name is empty; the count says that there are as many as fit.
        frame[19..23].copy_from_slice(if version == 1 { b"\x03\x1f\xff\xff" } else { b"\xff\xff\xff\x30" });
        let mut client = Client::connect(node.address);
        client.patience(SOON);
        let started = Instant::now();
        client.send(&frame);
        assert_eq!(client.hear(), Heard::Closed, "version {version}");
        assert!(started.elapsed() < SOON, "version {version}: {:?}", started.elapsed());
        witness.works(SOON).expect("others are served");
    }
    node.assert_memory(CEILING / 2);
    node.assert_unharmed();
}

/// As many elements as a frame can hold at all, in frames below the limit of the frame.
#[test]
fn requests_with_as_many_elements_as_possible_take_bounded_memory() {
    let mut node = Node::start(&["auto.create.topics.enable=true"]);
    let mut witness = Witness::new(node.address, "dense");
    for elements in [10_000_u32, 99_990, 100_001, 3_000_000] {
        for (api_key, version, body) in dense(elements) {
            let mut client = Client::connect(node.address);
            client.patience(Duration::from_secs(20));
            client.send(&requests::frame(api_key, version, &body));
            let heard = client.hear();
            assert_ne!(heard, Heard::Silence, "API {api_key} version {version}, {elements} elements");
            node.assert_alive();
            let above = node.peak_above_idle();
            assert!(above <= CEILING, "API {api_key} version {version}, {elements} elements: {} KiB", above >> 10);
        }
        witness.works(SOON).expect("others are served");
    }
    node.assert_unharmed();
}

/// Each is legal alone and answered; all of them at once wait for each other rather than pile up.
#[test]
fn legal_large_requests_of_many_connections_at_once_share_a_budget() {
    let mut node = Node::start(&[]);
    let mut witness = Witness::new(node.address, "large");
    witness.works(SOON).expect("before");
    // Groups have coordinators from now on.
    let find = requests::frame(key::FIND_COORDINATOR, 4, b"\0\x02\x02g\0");
    Client::connect(node.address).ask(&find).expect("an answer");
    for (api_key, version, body) in dense(99_990) {
        if ![key::OFFSET_FETCH, key::DESCRIBE_GROUPS, key::METADATA].contains(&api_key) {
            continue;
        }
        node.rest();
        let frame = requests::frame(api_key, version, &body);
        let started = Instant::now();
        let mut clients: Vec<Client> = (0..40).map(|_| Client::connect(node.address)).collect();
        for client in &mut clients {
            client.patience(Duration::from_secs(60));
            assert!(client.send(&frame));
        }
        // All read at once: one who does not while others wait for its answer to go holds them up.
        let heard: Vec<Heard> = thread::scope(|scope| {
            let hearing: Vec<_> = clients.iter_mut().map(|client| scope.spawn(|| client.hear())).collect();
            hearing.into_iter().map(|hearing| hearing.join().expect("no panic")).collect()
        });
        let silent = heard.iter().position(|heard| !matches!(heard, Heard::Answer(_)));
        assert_eq!(silent, None, "API {api_key}: of {} clients\n{}", heard.len(), node.log_tail());
        let above = node.peak_above_idle();
        println!("API {api_key}: {} KiB above idle, {:?}", above >> 10, started.elapsed());
        // A core's share of requests in work, one more that came on top, and answers that are being read.
        assert!(above <= 3 * CEILING, "API {api_key}: {} KiB", above >> 10);
        assert!(started.elapsed() < Duration::from_secs(30), "API {api_key}: {:?}", started.elapsed());
    }
    witness.works(SOON).expect("others are served");
    node.assert_alive();
}

/// Requests whose largest list has the smallest elements: API, version, body.
fn dense(elements: u32) -> Vec<(i16, i16, Vec<u8>)> {
    let count = elements + 1;
    let list = |before: &[u8], element: &[u8], after: &[u8]| {
        let mut body = before.to_vec();
        body.extend([count as u8 | 0x80, (count >> 7) as u8 | 0x80, (count >> 14) as u8 | 0x80, (count >> 21) as u8]);
        (0..elements).for_each(|_| body.extend_from_slice(element));
        body.extend_from_slice(after);
        body
    };
    vec![
        (key::PRODUCE, 9, list(b"\0\xff\xff\0\0\0\x01", b"\x01\x01\0", b"\0")),
        (key::PRODUCE, 9, list(b"\0\xff\xff\0\0\0\x01\x02\x02a", b"\0\0\0\0\0\0", b"\0\0")),
        (key::FETCH, 12, list(&[0; 21], b"\x02a\x01\0", b"\x01\x01\0")),
        (key::METADATA, 9, list(b"", b"\x01\0", b"\x01\0\0\0")),
        (key::METADATA, 9, list(b"", b"\x02a\0", b"\x01\0\0\0")),
        (key::OFFSET_FETCH, 8, list(b"", b"\x01\x01\0", b"\0\0")),
        (key::FIND_COORDINATOR, 4, list(b"\0", b"\x02g", b"\0")),
        (key::LEAVE_GROUP, 4, list(b"\x01", b"\x01\0\0", b"\0")),
        (key::CREATE_TOPICS, 5, list(b"\x02\x02a\0\0\0\x01\0\x01\x01", b"\x01\0\0", b"\0\0\0\0\x10\0\0")),
        (key::CREATE_TOPICS, 5, list(b"", b"\x01\0\0\0\x01\0\x01\x01\x01\0", b"\0\0\0\x10\0\0")),
        (key::DELETE_TOPICS, 4, list(b"", b"\x01", b"\0\0\x10\0\0")),
        (key::DESCRIBE_GROUPS, 5, list(b"", b"\x01", b"\0\0")),
        (key::DELETE_GROUPS, 2, list(b"", b"\x01", b"\0")),
        (key::DESCRIBE_CONFIGS, 4, list(b"", b"\x02\x01\0\0", b"\0\0\0")),
        (key::DESCRIBE_CONFIGS, 4, list(b"", b"\x04\x01\0\0", b"\0\0\0")),
        (key::LIST_OFFSETS, 6, list(b"\xff\xff\xff\xff\0", b"\x01\x01\0", b"\0")),
    ]
}

#[test]
fn halves_of_frames_on_two_hundred_connections_cost_no_more_than_was_sent() {
    let mut node = Node::start(&[]);
    let mut half = requests::frame(key::PRODUCE, 9, &vec![0; 64 << 10]);
    half[..4].copy_from_slice(&(100_i32 << 20).to_be_bytes());
    let mut held: Vec<Client> = (0..200).map(|_| Client::connect(node.address)).collect();
    for (index, client) in held.iter_mut().enumerate() {
        // Some have not even said how long their frame is.
        assert!(client.send(if index % 4 == 0 { &half[..3] } else { &half[..] }));
    }
    thread::sleep(Duration::from_millis(300));
    node.assert_unharmed();
    drop(held);
    node.assert_unharmed();
}

#[test]
fn large_frames_that_never_end_share_one_budget() {
    let mut node = Node::start(&[]);
    let mut start = requests::frame(key::PRODUCE, 9, &vec![0; 4 << 20]);
    start[..4].copy_from_slice(&(100_i32 << 20).to_be_bytes());
    let senders: Vec<_> = (0..60)
        .map(|_| {
            let mut client = Client::connect(node.address);
            let start = start.clone();
            thread::spawn(move || {
                client.stream.set_write_timeout(Some(Duration::from_secs(2))).expect("a timeout");
                // Most of them are not read to the end.
                client.send(&start);
                client
            })
        })
        .collect();
    let held: Vec<Client> = senders.into_iter().map(|sender| sender.join().expect("a sender")).collect();
    node.assert_alive();
    let above = node.peak_above_idle();
    // The budget of the frames in flight of a node of 256 MiB, and for each core one frame that may always go on.
    assert!(above <= 3 * CEILING, "memory rose {} KiB", above >> 10);
    let mut witness = Witness::new(node.address, "beside");
    witness.works(SOON).expect("others are served");
    drop(held);
}

#[test]
fn a_thousand_idle_connections_and_slow_ones_harm_nobody() {
    let mut node = Node::start(&[]);
    let mut idle: Vec<Client> = (0..1_000).map(|_| Client::connect(node.address)).collect();
    let mut slow: Vec<Client> = idle.drain(..50).collect();
    let frame = requests::api_versions();
    for byte in &frame[..frame.len() - 1] {
        for client in &mut slow {
            assert!(client.send(&[*byte]));
        }
        thread::sleep(Duration::from_millis(40));
    }
    let mut witness = Witness::new(node.address, "idle");
    witness.works(SOON).expect("others are served");
    for client in &mut slow {
        assert!(client.ask(&frame[frame.len() - 1..]).is_ok(), "a slow frame is a frame");
    }
    assert!(idle[0].ask(&frame).is_ok(), "an idle connection is a connection");
    node.assert_unharmed();
}

#[test]
fn idle_connections_are_closed_when_the_settings_say_so() {
    let mut node = Node::start(&["connections.max.idle.ms=1000"]);
    let mut idle = Client::connect(node.address);
    let mut half = Client::connect(node.address);
    assert!(half.send(b"\0\0"));
    assert_eq!(idle.hear(), Heard::Closed);
    assert_eq!(half.hear(), Heard::Closed);
    node.assert_unharmed();
}

#[test]
fn connections_above_the_limit_are_closed_and_the_others_served() {
    let mut node = Node::start(&["max.connections=20"]);
    let mut witness = Witness::new(node.address, "limit");
    let clients: Vec<Client> = (0..60).map(|_| Client::connect(node.address)).collect();
    let mut closed = 0;
    for mut client in clients {
        client.patience(Duration::from_millis(50));
        closed += usize::from(client.hear() == Heard::Closed);
    }
    assert!(closed >= 40, "{closed} of 60");
    witness.works(SOON).expect("others are served");
    node.assert_alive();
}

/// `mebibytes` of records in `topic`, in batches of about 900 KiB.
fn fill(address: SocketAddr, topic: &str, mebibytes: usize) {
    let mut client = Client::connect(address);
    client.patience(Duration::from_secs(30));
    client.ask(&requests::create_topic(topic, 1)).expect("a topic");
    let mut builder = BatchBuilder::new(0);
    let value = vec![b'x'; 100 << 10];
    for _ in 0..9 {
        builder.push(requests::now_ms(), None, Some(&value));
    }
    let frame = requests::produce(topic, -1, &builder.finish());
    for _ in 0..mebibytes * 8 / 7 {
        client.ask(&frame).expect("a produce");
    }
}

#[test]
fn readers_that_never_read_their_answers_cost_bounded_memory() {
    let mut node = Node::start(&["kataract.memory.bytes=64000000"]);
    fill(node.address, "large", 40);
    let mut witness = Witness::new(node.address, "slow");
    witness.works(SOON).expect("before");
    node.rest();
    let shape = FetchShape { offset: 0, max_wait_ms: 0, min_bytes: 1, max_bytes: 50 << 20 };
    let burst = requests::fetch("large", shape).repeat(64);
    let mut held = Vec::new();
    for _ in 0..20 {
        let mut client = Client::connect(node.address);
        assert!(client.send(&burst));
        held.push(client);
        witness.works(SOON).expect("others are served");
    }
    for _ in 0..10 {
        thread::sleep(Duration::from_millis(50));
        witness.works(SOON).expect("others are served");
    }
    node.assert_unharmed();
    // Whoever reads in the end finds whole answers.
    let mut reader = held.pop().expect("one of them");
    assert!(matches!(reader.hear(), Heard::Answer(_)));
}

#[test]
fn large_answers_to_small_questions_are_not_piled_up() {
    let mut node = Node::start(&[]);
    let mut client = Client::connect(node.address);
    client.patience(Duration::from_secs(30));
    for index in 0..20 {
        client.ask(&requests::create_topic(&format!("many-{index}"), 50)).expect("a topic");
    }
    node.rest();
    // Every topic, about 60 KiB; nobody reads it.
    let burst = requests::frame(key::METADATA, 1, b"\xff\xff\xff\xff").repeat(2_000);
    let mut held = Vec::new();
    for _ in 0..40 {
        let mut client = Client::connect(node.address);
        client.stream.set_write_timeout(Some(Duration::from_millis(100))).expect("a timeout");
        client.send(&burst);
        held.push(client);
    }
    node.assert_unharmed();
}

#[test]
fn garbage_without_acknowledgements_closes_its_connection_only() {
    let mut node = Node::start(&[]);
    let mut witness = Witness::new(node.address, "acks");
    let batch = requests::batch(Codec::None, 3);
    let mut broken = batch.to_vec();
    broken[30] ^= 1;
    for bytes in [requests::produce("nowhere", 0, &batch), requests::produce("witness-acks", 0, &Bytes::from(broken))] {
        assert_eq!(reaction(node.address, &bytes), Heard::Closed);
        witness.works(SOON).expect("others are served");
    }
    // Acknowledgements of a number that does not exist are answered.
    let odd = requests::produce("witness-acks", 17, &batch);
    assert!(matches!(reaction(node.address, &odd), Heard::Answer(_)));
    node.assert_unharmed();
}

#[test]
fn tagged_fields_without_end_are_refused() {
    let mut node = Node::start(&[]);
    let sizes: [&[u8]; 4] = [
        b"\xff\xff\xff\xff\x0f",
        b"\x01\x00\xff\xff\xff\xff\x0f",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\x02\x00\x00",
    ];
    for tags in sizes {
        // In the header, and at the end of the body of Metadata 12 (no topics, three flags).
        let mut header = vec![0, 3, 0, 12, 0, 0, 0, 1, 0xff, 0xff];
        header.put_slice(tags);
        assert_eq!(reaction(node.address, &framed(&header)), Heard::Closed, "header {tags:?}");
        let body = [b"\x01\x00\x00", tags].concat();
        assert_eq!(reaction(node.address, &requests::frame(key::METADATA, 12, &body)), Heard::Closed, "{tags:?}");
    }
    // Many tags of no size, which are legal, and one that is as large as a request may be.
    let mut many = b"\x01\x00\x00\x80\x80\x04".to_vec();
    (0..65_536_u32).for_each(|tag| many.extend([tag as u8 | 0x80, (tag >> 7) as u8 | 0x80, (tag >> 14) as u8, 0]));
    assert_ne!(reaction(node.address, &requests::frame(key::METADATA, 12, &many)), Heard::Silence);
    let mut one = b"\x01\x00\x00\x01\x00\x80\x80\x80\x04".to_vec();
    one.resize(one.len() + (8 << 20), 7);
    assert_ne!(reaction(node.address, &requests::frame(key::METADATA, 12, &one)), Heard::Silence);
    node.assert_unharmed();
}

#[test]
fn clients_that_vanish_in_the_middle_leave_nothing_behind() {
    let mut node = Node::start(&[]);
    let mut witness = Witness::new(node.address, "vanish");
    let shape = FetchShape { offset: 1 << 40, max_wait_ms: i32::MAX, min_bytes: i32::MAX, max_bytes: 1 << 20 };
    let forever = requests::fetch("witness-vanish", FetchShape { offset: 0, ..shape });
    for round in 0..400 {
        let mut client = Client::connect(node.address);
        client.send(&forever);
        client.send(&requests::api_versions().repeat(50));
        if round % 100 == 0 {
            witness.works(SOON).expect("others are served");
        }
    }
    node.assert_unharmed();
}

/// Consumers at rest: the node sleeps, and who works beside them is served as if they were not there.
#[test]
fn ten_thousand_fetches_that_wait_for_news_cost_no_processor_time() {
    const POLLS: usize = 10_000;
    let mut node = Node::start(&["max.connections=20000"]);
    let mut witness = Witness::new(node.address, "polls");
    witness.works(SOON).expect("before");
    let mut producer = Client::connect(node.address);
    producer.ask(&requests::create_topic("quiet", 1)).expect("a topic");
    let shape = FetchShape { offset: 0, max_wait_ms: 300_000, min_bytes: 1, max_bytes: 1 << 20 };
    let poll = requests::fetch("quiet", shape);
    // A node gives half of its descriptors to connections; this test has no more of them than the node.
    let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let polls = descriptors.map_or(POLLS, |count| POLLS.min(count as usize / 2 - 20));
    let held = (0..polls).map(|_| {
        let mut client = Client::connect(node.address);
        assert!(client.send(&poll));
        client
    });
    let mut held: Vec<Client> = held.collect();
    println!("{} fetches wait", held.len());
    witness.works(SOON).expect("others are served");
    let rests = (0..20).any(|_| {
        let before = node.cpu_seconds();
        thread::sleep(Duration::from_secs(1));
        node.cpu_seconds() - before < 0.025
    });
    assert!(rests, "a node with nothing to do was never at rest for a second");
    // They do wait: a record wakes every one of them.
    let frame = requests::produce("quiet", -1, &requests::batch(Codec::None, 1));
    producer.ask(&frame).expect("a produce");
    for client in held.iter_mut().step_by(97) {
        client.patience(Duration::from_secs(30));
        assert!(matches!(client.hear(), Heard::Answer(answer) if answer.len() > 100));
    }
    node.assert_alive();
    witness.works(SOON).expect("others are served after all");
}
