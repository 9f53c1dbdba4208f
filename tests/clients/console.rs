//! Kafka's own console tools against a node.

use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::broker::{Broker, Driver};
use crate::build::{Client, java};

pub const TOPIC: &str = "org.apache.kafka.tools.TopicCommand";
pub const PRODUCER_PERF: &str = "org.apache.kafka.tools.ProducerPerformance";
const PRODUCE: &str = "org.apache.kafka.tools.ConsoleProducer";
pub const CONSUME: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";
const GROUPS: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
pub const CONFIGS: &str = "kafka.admin.ConfigCommand";
const OFFSETS: &str = "org.apache.kafka.tools.GetOffsetShell";
const DELETE: &str = "org.apache.kafka.tools.DeleteRecordsCommand";
const VERSIONS: &str = "org.apache.kafka.tools.BrokerApiVersionsCommand";
const CONSUMER_PERF: &str = "org.apache.kafka.tools.ConsumerPerformance";
/// Longest time one tool may take.
const TOOL_LIMIT: Duration = Duration::from_secs(90);

/// Runs a tool to its end and returns what it printed; panics when it fails or takes too long.
pub fn tool(class: &str, input: &str, arguments: &[&str]) -> String {
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

pub fn expect(text: &str, wanted: &str) {
    assert!(text.contains(wanted), "{wanted:?} is missing in\n{text}");
}

/// A name that no other run has used.
pub fn new_name(what: &str) -> String {
    format!("{what}-{}", std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_micros())
}

/// Create, describe, write, read in a group, look at the group, configure, delete.
pub fn tools(driver: Driver) {
    let Some(broker) = Broker::for_test(driver) else { return };
    if Client::Java.command().is_none() {
        return;
    }
    let at = ["--bootstrap-server", broker.address()];
    let run = |class: &str, input: &str, more: &[&str]| tool(class, input, &[&at, more].concat());
    let topic = new_name("console");
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

/// The number behind the last colon of the line that begins so.
fn offset_of(text: &str, start: &str) -> i64 {
    let line = text.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("no {start:?} in\n{text}"));
    line.rsplit(':').next().and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{line}"))
}

/// Without a group: reading one partition from an offset, offsets by time, deleting records, settings of the broker.
pub fn partition_tools(driver: Driver) {
    let Some(broker) = Broker::for_test(driver) else { return };
    if Client::Java.command().is_none() {
        return;
    }
    let at = ["--bootstrap-server", broker.address()];
    let run = |class: &str, input: &str, more: &[&str]| tool(class, input, &[&at, more].concat());
    let topic = new_name("console-partition");
    expect(&run(VERSIONS, "", &[]), "Fetch(1)");
    run(TOPIC, "", &["--create", "--topic", &topic, "--partitions", "1", "--config", "segment.ms=60000"]);
    let input: String = (0..100).map(|n| format!("value-{n}\n")).collect();
    run(PRODUCE, &input, &["--topic", &topic]);
    let part = ["--topic", &topic, "--partition", "0"];
    let read = [&part[..], &["--offset", "90", "--max-messages", "10", "--timeout-ms", "60000"]].concat();
    let read = [&read[..], &["--property", "print.offset=true"]].concat();
    let out = run(CONSUME, "", &read);
    let lines: Vec<&str> = out.lines().filter(|line| line.starts_with("Offset:")).collect();
    let wanted: Vec<String> = (90..100).map(|n| format!("Offset:{n}\tvalue-{n}")).collect();
    assert_eq!(lines, wanted);
    let place = format!("{topic}:0:");
    let offset = |time: &str| offset_of(&run(OFFSETS, "", &["--topic", &topic, "--time", time]), &place);
    assert_eq!((offset("earliest"), offset("latest"), offset("0")), (0, 100, 0));
    assert!((0..100).contains(&offset("max-timestamp")), "the newest record");
    let list = std::env::temp_dir().join(format!("{topic}.json"));
    let json = format!(r#"{{"partitions":[{{"topic":"{topic}","partition":0,"offset":40}}],"version":1}}"#);
    std::fs::write(&list, json).expect("a list of offsets");
    let out = run(DELETE, "", &["--offset-json-file", &list.display().to_string()]);
    std::fs::remove_file(&list).expect("the list of offsets");
    expect(&out, "low_watermark: 40");
    assert_eq!((offset("earliest"), offset("latest")), (40, 100));
    let out = run(CONSUME, "", &[&part[..], &["--offset", "earliest", "--max-messages", "1"]].concat());
    expect(&out, "value-40");
    let all = ["--entity-type", "brokers", "--entity-name", &broker_id(&run(VERSIONS, "", &[])), "--all", "--describe"]
        .map(str::to_owned);
    expect(&run(CONFIGS, "", &all.each_ref().map(String::as_str)), "log.segment.bytes=");
}

/// The id in the line `127.0.0.1:9092 (id: 0 rack: null ...) -> (`.
fn broker_id(versions: &str) -> String {
    let after = versions.split("(id: ").nth(1).unwrap_or_else(|| panic!("no id in\n{versions}"));
    after.chars().take_while(char::is_ascii_digit).collect()
}

/// The perf tools move every record, whatever their numbers say about this host.
pub fn perf_tools(driver: Driver) {
    let Some(broker) = Broker::for_test(driver) else { return };
    if Client::Java.command().is_none() {
        return;
    }
    let topic = new_name("console-perf");
    let at = ["--bootstrap-server", broker.address()];
    tool(TOPIC, "", &[&at[..], &["--create", "--topic", &topic, "--partitions", "3"]].concat());
    let size = ["--topic", &topic, "--num-records", "50000", "--record-size", "100", "--throughput", "-1"];
    let server = format!("bootstrap.servers={}", broker.address());
    let out = tool(PRODUCER_PERF, "", &[&size[..], &["--producer-props", &server, "acks=all"]].concat());
    expect(&out, "50000 records sent");
    let read = ["--topic", &topic, "--num-records", "50000", "--group", &topic, "--timeout", "60000"];
    let out = tool(CONSUMER_PERF, "", &[&at[..], &read].concat());
    // start.time, end.time, data.consumed.in.MB, MB.sec, data.consumed.in.nMsg, ...
    let count = out.lines().filter_map(|line| line.split(", ").nth(4)?.trim().parse::<u64>().ok()).next_back();
    assert!(count.is_some_and(|count| count >= 50_000), "{out}");
}
