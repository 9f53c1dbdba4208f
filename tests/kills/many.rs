//! Many partitions: made, written, stopped, killed, started again; how long that takes and what it costs.

use std::time::{Duration, Instant};
use std::{env, fs};

use kataract::log::journal::file_name;

use crate::ledger::Ledger;
use crate::node::{Driver, Node};
use crate::wire::Wire;
use crate::{create_topic, tell};

/// How long a node that serves may take until a turn goes to the journal.
const JOURNAL_WITHIN: Duration = Duration::from_secs(30);

#[test]
fn many_partitions_come_back_after_a_stop_and_a_kill_on_uring() {
    many(Driver::Uring);
}

#[test]
fn many_partitions_come_back_after_a_stop_and_a_kill_on_posix() {
    many(Driver::Posix);
}

#[test]
fn what_only_the_journals_have_survives_a_kill_and_another_number_of_cores() {
    const COUNT: i32 = 12;
    let mut node = Node::new(Driver::Posix, &["kataract.journal.partitions=1", "kataract.cores=2"]);
    let serves = |node: &Node| Wire::connect(&node.address)?.serves(&[("many", COUNT)]);
    node.start();
    create_topic(&node.address, "many", COUNT, &[]);
    node.until(serves);
    let mut ledger = Ledger::new("many", COUNT, 100);
    for (cores, killed) in [("1", true), ("2", true), ("1", false), ("2", true)] {
        // Until the segments have room ahead, turns are written directly, without the journal.
        let begun = Instant::now();
        while !(0..2).any(|core| holds_something(&node, core)) {
            assert!(begun.elapsed() < JOURNAL_WITHIN, "no journal was used\n{}", node.log_tail());
            write(&mut ledger, &node, COUNT);
        }
        for _ in 0..5 {
            write(&mut ledger, &node, COUNT);
        }
        if killed {
            node.kill();
        } else {
            node.stop();
            assert!(!holds_something(&node, 0) && !holds_something(&node, 1), "a clean stop left a journal");
        }
        node.set("kataract.cores", cores);
        node.spawn();
        node.until(serves);
        verify(&ledger, &node);
        let left = node.data().join(file_name(1)).exists();
        assert!(!left || cores == "2", "a core that is no more has a journal");
    }
}

/// Whether a start would look for entries in the journal of a core.
fn holds_something(node: &Node, core: u16) -> bool {
    let content = fs::read(node.data().join(file_name(core))).unwrap_or_default();
    content.iter().take(8192).any(|byte| *byte != 0)
}

fn many(driver: Driver) {
    if !driver.is_possible() {
        return;
    }
    let count = env::var("KATARACT_PARTITIONS").map_or(100, |text| text.parse().expect("a number of partitions"));
    let mut node = Node::new(driver, &["kataract.journal.partitions=1"]);
    node.start();
    let begun = Instant::now();
    create_topic(&node.address, "many", count, &[]);
    let serves = |node: &Node| Wire::connect(&node.address)?.serves(&[("many", count)]);
    node.until(serves);
    let created = begun.elapsed();
    let mut ledger = Ledger::new("many", count, 100);
    let begun = Instant::now();
    write(&mut ledger, &node, count);
    let wrote = begun.elapsed();
    let resident = node.resident() >> 20;
    let stopped = node.stop();
    node.spawn();
    let clean = node.until(serves);
    verify(&ledger, &node);
    write(&mut ledger, &node, count);
    node.kill();
    node.spawn();
    let killed = node.until(serves);
    verify(&ledger, &node);
    tell(&format!(
        "{count} partitions on {}: made in {created:?}, a batch to each in {wrote:?}, {resident} MiB resident; stopped \
         in {stopped:?}; every one served {clean:?} after a clean start, {killed:?} after a kill ({} MiB)",
        driver.name(),
        node.resident() >> 20
    ));
}

/// One batch to each partition.
fn write(ledger: &mut Ledger, node: &Node, count: i32) {
    let mut wire = Wire::connect(&node.address).expect("a connection");
    for _ in 0..count {
        match ledger.produce(&mut wire) {
            Ok(0) => {}
            other => panic!("produce: {other:?}\n{}", node.log_tail()),
        }
    }
}

fn verify(ledger: &Ledger, node: &Node) {
    let verified = Wire::connect(&node.address).and_then(|mut wire| ledger.verify(&mut wire));
    verified.unwrap_or_else(|why| panic!("{why}\n{}", node.log_tail()));
}
