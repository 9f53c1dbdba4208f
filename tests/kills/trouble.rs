//! Trouble that is not a kill: stops under load, a second node, a wrong word in the configuration, garbage on the port,
//! a reader that does not read.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use kataract::base::prng::Prng;

use crate::ledger::Ledger;
use crate::node::{Driver, Node};
use crate::wire::Wire;
use crate::{STOP_LIMIT, Trial, create_topic, seed, tell};

/// How soon a node that cannot start must say so.
const REFUSE_LIMIT: Duration = Duration::from_secs(10);

macro_rules! with_each_driver {
    ($($test:ident: $run:path;)*) => {
        mod posix {
            $(#[test] fn $test() { $run(super::Driver::Posix) })*
        }
        mod uring {
            $(#[test] fn $test() { if super::Driver::Uring.is_possible() { $run(super::Driver::Uring) } })*
        }
    };
}

with_each_driver! {
    a_stop_under_load_is_clean_and_loses_nothing: super::stop_under_load;
    a_second_node_on_the_same_folder_is_refused: super::second_node;
    a_wrong_word_in_the_configuration_is_named: super::typo;
    garbage_on_the_port_disturbs_nobody: super::garbage;
    a_reader_that_does_not_read_costs_bounded_memory: super::slow_reader;
}

fn stop_under_load(driver: Driver) {
    let mut trial = Trial::start(driver, seed());
    let mut slowest = Duration::ZERO;
    for _ in 0..3 {
        trial.progress();
        let stopped = trial.node.stop();
        slowest = slowest.max(stopped);
        assert!(stopped < STOP_LIMIT, "the stop took {stopped:?}\n{}", trial.node.log_tail());
        trial.restart();
        let log = trial.node.log();
        let state = log.lines().rfind(|line| line.trim_start().starts_with("data ")).unwrap_or_default();
        assert!(state.contains("(clean)"), "after a clean stop the start says {state:?}\n{}", trial.node.log_tail());
    }
    trial.progress();
    let sent = trial.finish();
    tell(&format!("3 stops under load on {}: {sent} records, the slowest stop took {slowest:?}", driver.name()));
}

/// Runs a command to its end, which must come soon.
fn ends(command: &mut Command) -> Output {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the node's binary starts");
    let deadline = Instant::now() + REFUSE_LIMIT;
    while child.try_wait().expect("the state of a child").is_none() {
        if Instant::now() > deadline {
            let _ = child.kill();
            let output = child.wait_with_output().expect("what it said");
            panic!("it did not end: {}", String::from_utf8_lossy(&output.stderr));
        }
        thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().expect("what it said")
}

fn second_node(driver: Driver) {
    let mut node = Node::new(driver, &[]);
    node.start();
    create_topic(&node.address, "one", 1, &[]);
    let mut ledger = Ledger::new("one", 1, 100);
    let mut wire = Wire::connect(&node.address).expect("a connection");
    assert_eq!(ledger.produce(&mut wire), Ok(0));
    let output = ends(&mut node.command());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "a second node runs on the same folder");
    assert!(said.contains("in use by another node"), "it says {said:?}");
    assert_eq!(ledger.produce(&mut wire), Ok(0));
    assert_eq!(ledger.verify(&mut wire), Ok(()), "{}", node.log_tail());
    node.stop();
}

fn typo(driver: Driver) {
    let node = Node::new(driver, &[]);
    for (setting, wanted) in [
        ("num.partitions=many", "num.partitions"),
        ("log.retention.ms=1 week", "log.retention.ms"),
        ("listeners=PLAINTEXT//localhost", "listeners"),
    ] {
        let output = ends(node.command().args(["--set", setting]));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "a node runs with {setting:?}");
        assert!(said.contains(wanted), "about {setting:?} it says {said:?}");
        assert!(!node.data().join("__cluster_metadata-0").exists(), "{setting:?} was noticed too late");
    }
}

fn garbage(driver: Driver) {
    let mut node = Node::new(driver, &[]);
    node.start();
    create_topic(&node.address, "one", 1, &[]);
    let mut ledger = Ledger::new("one", 1, 1000);
    let mut wire = Wire::connect(&node.address).expect("a connection");
    let address = node.address.clone();
    let storm = thread::spawn(move || {
        let mut random = Prng::new(7);
        for _ in 0..300 {
            let Ok(mut stream) = TcpStream::connect(&address) else { continue };
            let len = 1 + random.below(4000) as usize;
            let noise: Vec<u8> = (0..len).map(|_| random.next_u64() as u8).collect();
            // The node may hang up in the middle, which is its right.
            let _ = stream.write_all(&noise);
        }
    });
    let mut sent = 0;
    while !storm.is_finished() || sent < 50 {
        assert_eq!(ledger.produce(&mut wire), Ok(0), "{}", node.log_tail());
        sent += 1;
    }
    storm.join().expect("the storm ends");
    assert_eq!(ledger.verify(&mut wire), Ok(()), "{}", node.log_tail());
    node.stop();
}

fn slow_reader(driver: Driver) {
    /// What the node may grow by: answers are read from the disk or the cache, both of which have a budget.
    const GROWTH_MAX: u64 = 256 << 20;
    let mut node = Node::new(driver, &[]);
    node.start();
    create_topic(&node.address, "one", 1, &[]);
    let mut ledger = Ledger::new("one", 1, 50_000);
    let mut wire = Wire::connect(&node.address).expect("a connection");
    for _ in 0..100 {
        assert_eq!(ledger.produce(&mut wire), Ok(0), "{}", node.log_tail());
    }
    let before = node.resident();
    let mut readers = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(&node.address).expect("a connection");
        stream.set_write_timeout(Some(Duration::from_millis(200))).expect("a limit");
        for _ in 0..50 {
            // 8 MiB each, none of which is ever read: the node stops taking requests at some point.
            if stream.write_all(&Wire::fetch_frame("one", 0, 0)).is_err() {
                break;
            }
        }
        readers.push(stream);
    }
    for _ in 0..50 {
        assert_eq!(ledger.produce(&mut wire), Ok(0), "others are served\n{}", node.log_tail());
    }
    let grown = node.resident().saturating_sub(before);
    tell(&format!("1,000 fetches that nobody reads on {}: {} MiB more resident", driver.name(), grown >> 20));
    assert!(grown < GROWTH_MAX, "the node grew by {grown} bytes");
    // Whoever reads in the end gets a whole answer.
    let mut head = [0; 4];
    readers[0].set_read_timeout(Some(Duration::from_secs(10))).expect("a limit");
    readers[0].read_exact(&mut head).expect("the beginning of an answer");
    drop(readers);
    assert_eq!(ledger.verify(&mut wire), Ok(()), "{}", node.log_tail());
    node.stop();
}
