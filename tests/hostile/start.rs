//! Starts that must not succeed, each with a line that says why; and requests for what must not be made.

use std::fs;
use std::path::Path;
use std::time::Duration;

use kafka_protocol::protocol::Decodable;
use kataract::batch::Codec;
use kataract::batch::header::{BatchHeader, HEADER_LEN};
use kataract::batch::patch;
use kataract::wire::MessageUuid;
use kataract::wire::messages as m;
use kataract::wire::versions::key;

use crate::client::Client;
use crate::node::{Node, command, ends_within, free_address};
use crate::requests::{self, Topic, decoded, text};

/// What a start that fails prints, and that it fails soon and with a code.
fn failed_start(data: &Path, address: std::net::SocketAddr, settings: &[&str]) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let log = folder.path().join("failed.log");
    let mut child = command(None, data, address, settings, &log).spawn().expect("the node's binary starts");
    let status = ends_within(&mut child, Duration::from_secs(20));
    let said = fs::read_to_string(&log).expect("what it said");
    let status = status.unwrap_or_else(|| panic!("it went on for ever:\n{said}"));
    assert!(!status.success(), "it ended as if all were well:\n{said}");
    assert!(status.code().is_some(), "it was ended by a signal: {status}\n{said}");
    assert!(!said.contains("panicked"), "{said}");
    said
}

#[test]
fn the_second_node_on_a_folder_says_so_and_exits() {
    let mut node = Node::start(&[]);
    let said = failed_start(&node.data(), free_address(), &[]);
    assert!(said.contains("another") || said.contains("in use") || said.contains("locked"), "{said}");
    node.assert_unharmed();
}

#[test]
fn a_port_in_use_and_mistyped_settings_are_named() {
    let mut node = Node::start(&[]);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let said = failed_start(&folder.path().join("port"), node.address, &[]);
    assert!(said.contains(&node.address.port().to_string()) && said.contains("in use"), "{said}");
    for (setting, wanted) in [
        ("log.retention.hourz=1", "log.retention.hours"),
        ("num.partitions=many", "num.partitions"),
        ("num.partitions=-5", "num.partitions"),
        ("socket.request.max.bytes=99999999999999999999", "socket.request.max.bytes"),
        ("listeners=PLAINTEXT://127.0.0.1:99999", "listeners"),
        ("kataract.memory.bytes=1", "kataract.memory.bytes"),
    ] {
        let said = failed_start(&folder.path().join("typo"), free_address(), &[setting]);
        assert!(said.contains(wanted), "{setting}: {said}");
    }
    node.assert_unharmed();
}

fn ask<T: Decodable>(node: &Node, api_key: i16, version: i16, frame: &[u8]) -> T {
    let mut client = Client::connect(node.address);
    client.patience(Duration::from_secs(10));
    let answer = client.ask(frame).unwrap_or_else(|why| panic!("API {api_key}: {why}\n{}", node.log_tail()));
    decoded(api_key, version, answer).unwrap_or_else(|why| panic!("API {api_key}: {why}"))
}

#[test]
fn two_thousand_million_partitions_are_refused_with_a_reason() {
    let mut node = Node::start(&[]);
    for partitions in [i32::MAX, i32::MAX - 1, 10_001, 0, -2, i32::MIN] {
        let started = std::time::Instant::now();
        let created: m::CreateTopicsResponse =
            ask(&node, key::CREATE_TOPICS, 4, &requests::create_topic("much", partitions));
        assert_ne!(created.topics[0].error_code, 0, "{partitions} partitions");
        assert!(started.elapsed() < Duration::from_secs(2), "{partitions} partitions: {:?}", started.elapsed());
    }
    // Growing a topic that exists is no way round.
    ask::<m::CreateTopicsResponse>(&node, key::CREATE_TOPICS, 4, &requests::create_topic("little", 1));
    for count in [i32::MAX, i32::MIN, 0, 1, 20_000] {
        use m::create_partitions_request::CreatePartitionsTopic;
        let topic = CreatePartitionsTopic::default().with_name(text("little").into()).with_count(count);
        let body = m::CreatePartitionsRequest::default().with_topics(vec![topic]).with_timeout_ms(5_000);
        let frame = requests::request(key::CREATE_PARTITIONS, 1, &body);
        let grown: m::CreatePartitionsResponse = ask(&node, key::CREATE_PARTITIONS, 1, &frame);
        assert_ne!(grown.results[0].error_code, 0, "{count} partitions");
    }
    node.assert_unharmed();
}

/// A log keeps a file open. One that gets none takes no records, so it must not be made.
#[test]
fn partitions_that_there_are_no_files_for_are_refused_and_those_that_are_made_take_records() {
    const POLICY_VIOLATION: i16 = 44;
    let mut node = Node::start_with_files(Some(700), &[]);
    let mut names = Vec::new();
    let refused = (0..40).map(|number| format!("files-{number}")).find_map(|name| {
        let answer: m::CreateTopicsResponse = ask(&node, key::CREATE_TOPICS, 4, &requests::create_topic(&name, 10));
        let code = answer.topics[0].error_code;
        names.extend((code == 0).then_some(name));
        (code != 0).then_some(code)
    });
    assert_eq!(refused, Some(POLICY_VIOLATION));
    assert!(names.len() >= 5, "{names:?}");
    let mut client = Client::connect(node.address);
    client.patience(Duration::from_secs(10));
    let batch = requests::batch(Codec::None, 1);
    for (name, partition) in names.iter().flat_map(|name| (0..10).map(move |partition| (name, partition))) {
        let topic = Topic { name: name.clone(), id: MessageUuid::nil() };
        let frame = requests::frame(key::PRODUCE, 9, &requests::produce_body(9, &topic, partition, -1, &batch));
        let answer = client.ask(&frame).unwrap_or_else(|why| panic!("{name}-{partition}: {why}"));
        let answer: m::ProduceResponse = decoded(key::PRODUCE, 9, answer).expect("an answer that can be read");
        assert_eq!(answer.responses[0].partition_responses[0].error_code, 0, "{name}-{partition}");
    }
    node.assert_unharmed();
}

/// Names that would lead out of the data folder, or that no file system likes.
fn evil_names() -> Vec<String> {
    let mut names: Vec<String> = [
        "../../../tmp/evil",
        "..",
        ".",
        "",
        "/etc/evil",
        "a/b",
        "a\\b",
        "a\0b",
        "..\0",
        "./evil",
        "evil/",
        "~evil",
        "evil%2f..",
        "\u{202e}evil",
        "evil\n",
        "-/../evil",
        "名前",
        "a:b",
        "a*b",
    ]
    .map(str::to_owned)
    .to_vec();
    names.push("x".repeat(250));
    names.push("../".repeat(5_000));
    names
}

#[test]
fn names_that_are_paths_make_nothing_anywhere() {
    let mut node = Node::start(&["auto.create.topics.enable=true"]);
    let before = listing(&node.surroundings());
    for name in evil_names() {
        let created: m::CreateTopicsResponse = ask(&node, key::CREATE_TOPICS, 4, &requests::create_topic(&name, 1));
        assert_ne!(created.topics[0].error_code, 0, "{name:?} was created");
        for version in [1, 8] {
            let metadata: m::MetadataResponse =
                ask(&node, key::METADATA, version, &requests::metadata(version, &name, true));
            assert!(metadata.topics.iter().all(|topic| topic.error_code != 0), "{name:?} was made by Metadata");
        }
        let produce = requests::produce(&name, -1, &requests::batch(Codec::None, 1));
        let produced: m::ProduceResponse = ask(&node, key::PRODUCE, 9, &produce);
        assert_ne!(produced.responses[0].partition_responses[0].error_code, 0, "{name:?} was written to");
        let shape = requests::FetchShape { offset: 0, max_wait_ms: 0, min_bytes: 0, max_bytes: 1 << 20 };
        let fetched: m::FetchResponse = ask(&node, key::FETCH, 12, &requests::fetch(&name, shape));
        assert_ne!(fetched.responses[0].partitions[0].error_code, 0, "{name:?} was read");
        configs(&node, &name);
        groups(&node, &name);
    }
    let after = listing(&node.surroundings());
    let made: Vec<&String> = after.iter().filter(|path| !before.contains(path)).collect();
    assert!(made.iter().all(|path| path.contains("/data/__consumer_offsets-")), "{made:?}");
    assert!(!Path::new("/tmp/evil-0").exists() && !Path::new("/etc/evil-0").exists());
    node.assert_unharmed();
}

/// Topic configs, broker configs and config resources of no kind.
fn configs(node: &Node, name: &str) {
    use m::describe_configs_request::DescribeConfigsResource;
    use m::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
    for kind in [2, 4, 8, 0, 127, -1] {
        let resource = DescribeConfigsResource::default().with_resource_type(kind).with_resource_name(text(name));
        let body = m::DescribeConfigsRequest::default().with_resources(vec![resource.with_configuration_keys(None)]);
        let frame = requests::request(key::DESCRIBE_CONFIGS, 2, &body);
        let described: m::DescribeConfigsResponse = ask(node, key::DESCRIBE_CONFIGS, 2, &frame);
        let error = described.results[0].error_code;
        assert!(error != 0 || (kind == 4 && name.is_empty()), "{name:?} of kind {kind} was described");
        let config = AlterableConfig::default().with_name(text("retention.ms")).with_value(Some(text("1")));
        let resource = AlterConfigsResource::default().with_resource_type(kind).with_resource_name(text(name));
        let body =
            m::IncrementalAlterConfigsRequest::default().with_resources(vec![resource.with_configs(vec![config])]);
        let frame = requests::request(key::INCREMENTAL_ALTER_CONFIGS, 1, &body);
        let altered: m::IncrementalAlterConfigsResponse = ask(node, key::INCREMENTAL_ALTER_CONFIGS, 1, &frame);
        let error = altered.responses[0].error_code;
        assert!(error != 0 || (kind == 4 && name.is_empty()), "{name:?} of kind {kind} was altered");
    }
}

/// Group ids may be anything; they must not become paths.
fn groups(node: &Node, name: &str) {
    let body = m::FindCoordinatorRequest::default().with_key(text(name));
    let found: m::FindCoordinatorResponse =
        ask(node, key::FIND_COORDINATOR, 2, &requests::request(key::FIND_COORDINATOR, 2, &body));
    assert!(found.node_id.0 == 1 || found.error_code != 0, "{found:?}");
}

/// Every path below, and what lies beside the data folder.
fn listing(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).into_iter().flatten().flatten() {
            let path = entry.path();
            found.push(path.to_string_lossy().into_owned());
            if path.is_dir() && !path.is_symlink() {
                open.push(path);
            }
        }
    }
    found.sort();
    found
}

#[test]
fn batches_that_decompress_to_a_gigabyte_are_refused_within_bounds() {
    let mut node = Node::start(&[]);
    let mut client = Client::connect(node.address);
    client.patience(Duration::from_secs(60));
    client.ask(&requests::create_topic("bombs", 1)).expect("a topic");
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let bomb = bomb(codec);
        let started = std::time::Instant::now();
        let answer = client.ask(&requests::produce("bombs", -1, &bomb)).expect("an answer");
        let produced: m::ProduceResponse = decoded(key::PRODUCE, 9, answer).expect("an answer");
        let error = produced.responses[0].partition_responses[0].error_code;
        assert_ne!(error, 0, "{codec} of {} bytes was taken", bomb.len());
        println!("{codec}: {} bytes refused with {error} after {:?}", bomb.len(), started.elapsed());
    }
    node.assert_unharmed();
}

/// A batch below the largest allowed size whose records are a great many zeros.
fn bomb(codec: Codec) -> bytes::Bytes {
    let zeros = vec![0; if codec == Codec::Snappy || codec == Codec::Lz4 { 16 << 20 } else { 300 << 20 }];
    let packed = kataract::batch::compress::compress(codec, None, &zeros);
    let mut batch = requests::batch(codec, 1)[..HEADER_LEN].to_vec();
    batch.extend_from_slice(&packed);
    let length = (batch.len() - 12) as u32;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    // As many records as the header can claim, so that all zeros are looked at as records of no length.
    batch[23..27].copy_from_slice(&(i32::MAX - 1).to_be_bytes());
    batch[57..61].copy_from_slice(&i32::MAX.to_be_bytes());
    patch::seal_crc(&mut batch);
    assert!(BatchHeader::parse(&batch).is_some() && batch.len() < 1_000_000, "{}", batch.len());
    batch.into()
}
