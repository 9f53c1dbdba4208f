//! Kafka's own console tools against a node, and Kafka's dump tool on the folders that a node leaves.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::broker::{Broker, Driver, Node};
use crate::build::{Client, java};
use crate::running::Running;

const TOPIC: &str = "org.apache.kafka.tools.TopicCommand";
const PRODUCE: &str = "org.apache.kafka.tools.ConsoleProducer";
const CONSUME: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";
const GROUPS: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
const CONFIGS: &str = "kafka.admin.ConfigCommand";
const OFFSETS: &str = "org.apache.kafka.tools.GetOffsetShell";
const DUMP: &str = "kafka.tools.DumpLogSegments";
/// Longest time one tool may take.
const TOOL_LIMIT: Duration = Duration::from_secs(90);

/// Runs a tool to its end and returns what it printed; panics when it fails or takes too long.
fn tool(class: &str, input: &str, arguments: &[&str]) -> String {
    let mut command: Command = java(class);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("java starts");
    let mut stdin = child.stdin.take().expect("piped");
    let bytes = input.as_bytes().to_vec();
    // The tool may end before it has read everything; its exit code tells, not this write.
    let writer = thread::spawn(move || drop(stdin.write_all(&bytes)));
    let id = child.id();
    let (sender, ended) = std::sync::mpsc::channel();
    let waiter = thread::spawn(move || sender.send(child.wait_with_output()));
    let Ok(output) = ended.recv_timeout(TOOL_LIMIT) else {
        let _ = Command::new("kill").args(["-KILL", &id.to_string()]).status();
        panic!("{class} {arguments:?} did not end within {TOOL_LIMIT:?}");
    };
    let output = output.expect("the output of a child");
    writer.join().expect("the writer does not panic");
    waiter.join().expect("the waiter does not panic").expect("the channel is open");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{class} {arguments:?} ended with {}:\n{out}\n{err}", output.status);
    out.into_owned()
}

fn expect(text: &str, wanted: &str) {
    assert!(text.contains(wanted), "{wanted:?} is missing in\n{text}");
}

/// Create, describe, write, read in a group, look at the group, configure, delete.
pub fn tools(driver: Driver) {
    let Some(broker) = Broker::for_test(driver) else { return };
    if Client::Java.command().is_none() {
        return;
    }
    let at = ["--bootstrap-server", broker.address()];
    let run = |class: &str, input: &str, more: &[&str]| tool(class, input, &[&at, more].concat());
    let stamp = std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_millis();
    let topic = format!("console-{stamp}");
    run(TOPIC, "", &["--create", "--topic", &topic, "--partitions", "3"]);
    expect(&run(TOPIC, "", &["--describe", "--topic", &topic]), "PartitionCount: 3");
    let input: String = (0..1000).map(|n| format!("key-{n}:value-{n}\n")).collect();
    let keyed = ["--topic", &topic, "--property", "parse.key=true", "--property", "key.separator=:"];
    run(PRODUCE, &input, &keyed);
    let read = ["--topic", &topic, "--group", &topic, "--from-beginning", "--max-messages", "1000"];
    let read = [&read[..], &["--timeout-ms", "60000", "--property", "print.key=true"]].concat();
    let out = run(CONSUME, "", &read);
    let mut lines: Vec<&str> = out.lines().filter(|line| line.starts_with("key-")).collect();
    lines.sort_unstable();
    let mut wanted: Vec<String> = (0..1000).map(|n| format!("key-{n}\tvalue-{n}")).collect();
    wanted.sort_unstable();
    assert_eq!(lines, wanted, "the console consumer printed something else than was produced");
    expect(&run(GROUPS, "", &["--list"]), &topic);
    let lag: u64 = run(GROUPS, "", &["--describe", "--group", &topic])
        .lines()
        .filter_map(|line| line.split_whitespace().collect::<Vec<_>>().get(5)?.parse::<u64>().ok())
        .sum();
    assert_eq!(lag, 0, "the group has read everything");
    let ends = run(OFFSETS, "", &["--topic", &topic]);
    let sum: u64 = ends.lines().filter_map(|line| line.rsplit(':').next()?.parse::<u64>().ok()).sum();
    assert_eq!(sum, 1000, "{ends}");
    let entity = ["--entity-type", "topics", "--entity-name", &topic];
    run(CONFIGS, "", &[&entity[..], &["--alter", "--add-config", "retention.ms=123456789"]].concat());
    expect(&run(CONFIGS, "", &[&entity[..], &["--describe"]].concat()), "retention.ms=123456789");
    run(GROUPS, "", &["--delete", "--group", &topic]);
    run(TOPIC, "", &["--delete", "--topic", &topic]);
    let deadline = Instant::now() + Duration::from_secs(20);
    while run(TOPIC, "", &["--list"]).lines().any(|line| line == topic) {
        assert!(Instant::now() < deadline, "a deleted topic is still listed");
    }
}

/// What a node wrote, Kafka's own tool reads: every segment with its batches, every index, the metadata log.
pub fn dump_log(driver: Driver) {
    let Some(node) = Node::start_if_possible(driver) else { return };
    if Client::Java.command().is_none() {
        return;
    }
    let broker = Broker::Own(node);
    let transactions = broker.offers("transactions");
    let scenarios =
        if transactions { &["roundtrip", "idempotent", "transactions"][..] } else { &["roundtrip", "idempotent"] };
    for scenario in scenarios {
        let mut running = Running::start(Client::Java, broker.address(), scenario).expect("built above");
        running.end_input();
        running.wait(crate::SCENARIO_LIMIT).unwrap_or_else(|why| panic!("{why}\n{}", broker.log_tail()));
    }
    let Broker::Own(mut node) = broker else { unreachable!("made above") };
    node.stop();
    let (mut logs, mut others, mut metadata) = (Vec::new(), Vec::new(), Vec::new());
    for folder in fs::read_dir(node.data()).expect("the data folder").map(|entry| entry.expect("an entry").path()) {
        if !folder.is_dir() {
            continue;
        }
        for file in fs::read_dir(&folder).expect("a partition folder").map(|entry| entry.expect("an entry").path()) {
            let empty = file.metadata().expect("the size of a file").len() == 0;
            let name = file.display().to_string();
            match file.extension().and_then(|e| e.to_str()) {
                _ if empty => {}
                Some("log") if name.contains("__cluster_metadata-0") => metadata.push(name),
                Some("log") => logs.push(name),
                Some("index" | "timeindex" | "snapshot" | "txnindex") if !name.contains("__cluster") => {
                    others.push(name)
                }
                _ => {}
            }
        }
    }
    assert!(logs.len() >= 3 && !metadata.is_empty(), "few logs in {}: {logs:?} {metadata:?}", node.data().display());
    let dump = |files: &[String], more: &[&str]| {
        let files = files.join(",");
        let text = tool(DUMP, "", &[&["--files", &files], more].concat());
        // What the tool says about a bad file while it still ends with success.
        for bad in ["isvalid: false", "Found timestamp mismatch", "Found out of order", "Mismatches in", "corrupt"] {
            assert!(!text.contains(bad), "the dump says {bad:?}:\n{text}");
        }
        text
    };
    let text = dump(&logs, &["--deep-iteration", "--print-data-log"]);
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        expect(&text, &format!("compresscodec: {codec}"));
    }
    if transactions {
        expect(&text, "endTxnMarker: COMMIT");
    }
    if !others.is_empty() {
        dump(&others, &[]);
    }
    expect(&dump(&metadata, &["--cluster-metadata-decoder"]), "TOPIC_RECORD");
}
