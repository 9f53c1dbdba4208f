//! What a node wrote, Kafka's own dump tool reads: rolled segments while the node runs, everything after its clean
//! stop.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::broker::{Broker, Driver, Node};
use crate::build::Client;
use crate::console::{CONSUME, PRODUCER_PERF, TOPIC, expect, new_name, tool};
use crate::running::Running;

const DUMP: &str = "kafka.tools.DumpLogSegments";
const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

/// The files of a data folder that the tool understands, by folder and kind (`log`, `index`, ...), in order.
fn files(data: &Path) -> BTreeMap<(String, String), Vec<String>> {
    let mut found: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for folder in fs::read_dir(data).expect("the data folder").map(|entry| entry.expect("an entry")) {
        if !folder.path().is_dir() {
            continue;
        }
        let name = folder.file_name().into_string().expect("ASCII");
        for file in
            fs::read_dir(folder.path()).expect("a partition's folder").map(|entry| entry.expect("an entry").path())
        {
            let Some(kind) = file.extension().and_then(|kind| kind.to_str()) else { continue };
            // Kafka's own tool takes an empty index for a bad one.
            if file.metadata().expect("the size of a file").len() > 0 {
                found.entry((name.clone(), kind.to_owned())).or_default().push(file.display().to_string());
            }
        }
    }
    found.values_mut().for_each(|paths| paths.sort());
    found
}

/// Dumps files and looks for what the tool says about a bad one while it still ends with success.
fn dump(files: &[String], more: &[&str]) -> String {
    assert!(!files.is_empty(), "nothing to dump with {more:?}");
    let text = tool(DUMP, "", &[&["--files", &files.join(",")], more].concat());
    let bad = [
        "isvalid: false",
        "Found timestamp mismatch",
        "Found out of order",
        "Mismatches in",
        "on-consecutive offsets",
        "Indexed offset",
        "corrupt",
        "Found invalid",
        "checksum",
        "Exception",
    ];
    for bad in bad {
        assert!(!text.contains(bad), "the dump with {more:?} says {bad:?}:\n{text}");
    }
    text
}

/// Segments of several codecs, small enough to roll: idempotent producers, and a group that commits.
fn write(broker: &Broker, topics: &[(&str, String)]) {
    let at = ["--bootstrap-server", broker.address()];
    let server = format!("bootstrap.servers={}", broker.address());
    for (codec, topic) in topics {
        let create = ["--create", "--topic", topic, "--partitions", "1"];
        let small = ["--config", "segment.bytes=1048576", "--config", "index.interval.bytes=2048"];
        tool(TOPIC, "", &[&at[..], &create, &small].concat());
        let size = ["--topic", topic, "--num-records", "600", "--record-size", "10000", "--throughput", "-1"];
        let codec = format!("compression.type={codec}");
        tool(PRODUCER_PERF, "", &[&size[..], &["--producer-props", &server, "acks=all", &codec]].concat());
    }
    let (_, topic) = &topics[0];
    let read = ["--topic", topic, "--group", topic, "--from-beginning", "--max-messages", "600"];
    tool(CONSUME, "", &[&at[..], &read, &["--timeout-ms", "60000"]].concat());
}

pub fn dump_log(driver: Driver) {
    let Some(node) = Node::start_if_possible(driver) else { return };
    if Client::Java.command().is_none() {
        return;
    }
    let broker = Broker::Own(node);
    let transactions = broker.offers("transactions");
    let topics = CODECS.map(|codec| (codec, new_name(&format!("dump-{codec}"))));
    write(&broker, &topics);
    let scenarios = if transactions { &["idempotent", "transactions"][..] } else { &["idempotent"] };
    for scenario in scenarios {
        let mut running = Running::start(Client::Java, broker.address(), scenario).expect("built above");
        running.end_input();
        running.wait(crate::SCENARIO_LIMIT).unwrap_or_else(|why| panic!("{why}\n{}", broker.log_tail()));
    }
    let Broker::Own(mut node) = broker else { unreachable!("made above") };
    check_rolled(&node, &topics);
    node.stop();
    check_stopped(&node, &topics, transactions);
}

/// While the node runs: what a roll has made final.
fn check_rolled(node: &Node, topics: &[(&str, String)]) {
    let found = files(&node.data());
    for (codec, topic) in topics {
        let of = |kind: &str| found.get(&(format!("{topic}-0"), kind.to_owned())).cloned().unwrap_or_default();
        let logs = of("log");
        assert!(logs.len() >= 3, "{topic} was not rolled: {logs:?}");
        let rolled = &logs[..logs.len() - 1];
        expect(&dump(rolled, &["--deep-iteration"]), &format!("compresscodec: {codec}"));
        let has_log = |index: &&String| rolled.iter().any(|log| index.starts_with(log.trim_end_matches("log")));
        let indexes: Vec<String> = [of("index"), of("timeindex")].concat().iter().filter(has_log).cloned().collect();
        assert_eq!(indexes.len(), 2 * rolled.len(), "indexes of {rolled:?}: {indexes:?}");
        dump(&indexes, &[]);
    }
}

/// After a clean stop: every file there is.
fn check_stopped(node: &Node, topics: &[(&str, String)], transactions: bool) {
    let found = files(&node.data());
    let of = |kind: &str, wanted: &dyn Fn(&str) -> bool| -> Vec<String> {
        found.iter().filter(|((name, its), _)| its == kind && wanted(name)).flat_map(|(_, p)| p.clone()).collect()
    };
    let is_data = |name: &str| !name.starts_with("__");
    let text = dump(&of("log", &is_data), &["--deep-iteration"]);
    for codec in CODECS {
        expect(&text, &format!("compresscodec: {codec}"));
    }
    if transactions {
        expect(&text, "endTxnMarker: COMMIT");
    }
    for kind in ["index", "timeindex"] {
        let indexes = of(kind, &|_| true);
        dump(&indexes, &[]);
        let passed = dump(&indexes, &["--index-sanity-check"]).matches("passed sanity check").count();
        assert_eq!(passed, indexes.len(), "sanity checks of {indexes:?}");
    }
    let snapshots = of("snapshot", &is_data);
    expect(&dump(&snapshots, &[]), "producerId: ");
    let (_, group) = &topics[0];
    let commits = of("log", &|name| name.starts_with("__consumer_offsets"));
    expect(&dump(&commits, &["--offsets-decoder", "--deep-iteration"]), &format!("\"group\":\"{group}\""));
    let metadata = of("log", &|name| name.starts_with("__cluster_metadata"));
    let text = dump(&metadata, &["--cluster-metadata-decoder", "--deep-iteration"]);
    for (_, topic) in topics {
        expect(&text, &format!("\"name\":\"{topic}\""));
    }
}
