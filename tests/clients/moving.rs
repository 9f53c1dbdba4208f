//! Partitions move from core to core under clients: producers, some of them with a temper that takes no error, and a
//! group whose members come and go. Nobody is told an error; nothing is lost, doubled or in another order.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::broker::{Driver, Node};
use crate::build::Client;
use crate::console;
use crate::running::Running;

/// Moves at least, each of them waited for.
const MOVES: usize = 50;
/// Longest time for all of it.
const LIMIT: Duration = Duration::from_secs(180);

/// Runs `kataract core ...`; the JSON lines it printed.
fn core(node: &Node, words: &[&str]) -> Vec<Value> {
    let output = Command::new(env!("CARGO_BIN_EXE_kataract"))
        .args(["--bootstrap", &node.address, "--json", "--timeout", "30", "core"])
        .args(words)
        .output()
        .expect("the binary starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "core {words:?}: {said}\n{}", node.log_tail());
    let lines = String::from_utf8(output.stdout).expect("JSON is text");
    lines.lines().map(|line| serde_json::from_str(line).expect("a JSON value a line")).collect()
}

/// Every partition and its core, the coordinators' among them.
fn partitions(node: &Node) -> Vec<(String, u64)> {
    let place = |line: Value| {
        let name = format!("{}-{}", line["topic"].as_str()?, line["partition"]);
        Some((name, line["core"].as_u64()?))
    };
    core(node, &["list", "--internal"]).into_iter().map(|line| place(line).expect("a partition's place")).collect()
}

pub fn moving(driver: Driver) {
    // Few coordinators, so that each of them moves often.
    let Some(mut node) = Node::start_with(driver, &["offsets.topic.num.partitions=4"], |_| {}) else { return };
    let address = node.address.clone();
    let start = |scenario: &str| Running::start(Client::Librdkafka, &address, scenario).expect("it needs no tool");
    let (mut survivor, mut brittle, mut group) = (start("survive"), start("brittle"), start("group"));
    let deadline = Instant::now() + LIMIT;
    let mut moves = 0;
    let mut verdict = None;
    while moves < MOVES || verdict.is_none() {
        assert!(Instant::now() < deadline, "{moves} moves, the group: {verdict:?}\n{}", node.log_tail());
        verdict = verdict.or_else(|| group.finished());
        for producer in [&mut survivor, &mut brittle] {
            assert_eq!(producer.finished(), None, "a producer ended too early\n{}", node.log_tail());
        }
        let places = partitions(&node);
        if places.is_empty() {
            thread::sleep(Duration::from_millis(50));
            continue;
        }
        let (name, core_now) = &places[(moves * 7) % places.len()];
        let moved = core(&node, &["move", name, &(1 - core_now).to_string()]);
        assert_eq!((&moved[0]["from"], &moved[0]["core"]), (&Value::from(*core_now), &Value::from(1 - core_now)));
        moves += 1;
        if moves % 10 == 0 {
            // Several at once, and back to where they were dealt: nobody waits for these.
            let names: Vec<&str> = places.iter().take(3).map(|(name, _)| name.as_str()).collect();
            let pins: Vec<&str> = names.iter().flat_map(|name| [name, "1"]).collect();
            core(&node, &[&["pin"], pins.as_slice()].concat());
            core(&node, &[&["pin", "--unpin"], names.as_slice()].concat());
        }
    }
    for (name, running) in [("the group", &mut group), ("idempotent", &mut survivor), ("without retries", &mut brittle)]
    {
        running.end_input();
        let ended = if name == "the group" { verdict.clone().expect("it has ended") } else { running.wait(LIMIT) };
        match ended {
            Ok(line) => eprintln!("{name} on {driver:?}, {moves} moves: {line}"),
            Err(why) => panic!("{name} on {driver:?}: {why}\n{}", node.log_tail()),
        }
    }
    // What is pinned is where it was pinned after a start, too.
    let pinned = core(&node, &["list", "--internal"]);
    node.stop();
    node.start();
    for (before, after) in pinned.iter().zip(core(&node, &["list", "--internal"])) {
        assert_eq!(before["topic"], after["topic"]);
        assert!(before["pin"].is_null() || before["pin"] == after["core"], "{before} became {after}");
    }
    node.stop();
}

/// Kafka's own tool pins partitions and shows where they are.
pub fn kafka_tool(driver: Driver) {
    let Some(node) = Node::start_with(driver, &[], |_| {}) else { return };
    if Client::Java.command().is_none() {
        return;
    }
    let made = Command::new(env!("CARGO_BIN_EXE_kataract"))
        .args(["--bootstrap", &node.address, "topic", "create", "a-dash-b", "--partitions", "2"])
        .status();
    assert!(made.expect("the binary starts").success());
    let run =
        |words: &[&str]| console::tool(console::CONFIGS, "", &[&["--bootstrap-server", &node.address], words].concat());
    let swapped = "partition.cores=[a-dash-b-0:1,a-dash-b-1:0]";
    run(&["--alter", "--entity-type", "brokers", "--entity-name", "1", "--add-config", swapped]);
    let deadline = Instant::now() + Duration::from_secs(30);
    let wanted = [("a-dash-b-0".to_owned(), 1), ("a-dash-b-1".to_owned(), 0)];
    while partitions(&node) != wanted {
        assert!(Instant::now() < deadline, "{:?}\n{}", partitions(&node), node.log_tail());
        thread::sleep(Duration::from_millis(20));
    }
    let shown = run(&["--describe", "--all", "--entity-type", "topics", "--entity-name", "a-dash-b"]);
    console::expect(&shown, "partition.cores=0:1,1:0 sensitive=false");
    // What was set on the topic is nothing.
    let shown = run(&["--describe", "--entity-type", "topics", "--entity-name", "a-dash-b"]);
    assert!(!shown.contains("partition.cores"), "{shown}");
    let shown = run(&["--describe", "--entity-type", "brokers", "--entity-name", "1"]);
    console::expect(&shown, "partition.cores=a-dash-b-0:1,a-dash-b-1:0");
}
