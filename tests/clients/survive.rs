//! Kills of a node under a producer: what was acknowledged must be there afterwards, once and in order.
//!
//! The kills wait for progress instead of sleeping: each comes after new acknowledgements, with requests in flight. The
//! last but one hits a node that has not finished its start, so that recovery itself is interrupted.

use std::thread;
use std::time::{Duration, Instant};

use crate::broker::{Driver, Node};
use crate::build::Client;
use crate::running::Running;

/// Longest wait for the next acknowledgements after a start.
const PROGRESS_LIMIT: Duration = Duration::from_secs(90);
/// Acknowledged records between two kills.
const PROGRESS_RECORDS: u64 = 400;

pub fn survive(client: Client, driver: Driver) {
    let Some(mut node) = Node::start_if_possible(driver) else { return };
    let address = node.address.clone();
    let Some(mut running) = Running::start(client, &address, "survive") else { return };
    for round in 0..4 {
        progress(&mut running, &node);
        // A different moment of the node's work each time.
        thread::sleep(Duration::from_millis(37 * round));
        node.kill();
        if round == 2 {
            node.spawn();
            thread::sleep(Duration::from_millis(30));
            node.kill();
        }
        node.start();
    }
    progress(&mut running, &node);
    running.end_input();
    match running.wait(crate::SCENARIO_LIMIT) {
        Ok(line) => eprintln!("{client:?} survive on {driver:?}: {line}"),
        Err(why) => panic!("{client:?} survive on {driver:?}: {why}\n{}", node.log_tail()),
    }
    node.stop();
}

/// Waits for acknowledgements beyond those of now.
fn progress(running: &mut Running, node: &Node) {
    let wanted = running.acked() + PROGRESS_RECORDS;
    let deadline = Instant::now() + PROGRESS_LIMIT;
    while running.acked() < wanted {
        if let Some(verdict) = running.finished() {
            panic!("the client ended too early: {verdict:?}\n{}", node.log_tail());
        }
        let have = running.acked();
        assert!(Instant::now() < deadline, "{have} records acknowledged, waiting for {wanted}\n{}", node.log_tail());
        thread::sleep(Duration::from_millis(20));
    }
}
