//! Many mutated requests of every served API and version, over several connections, with a witness beside them.

use std::env;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use kataract::base::prng::Prng;
use kataract::wire::messages as m;
use kataract::wire::versions::key;

use crate::CEILING;
use crate::client::{Client, Heard};
use crate::corpus::{Seed, seeds};
use crate::mutate::mutated;
use crate::node::Node;
use crate::requests::{self, Topic, decoded};
use crate::witness::Witness;

/// Connections that send at the same time.
const SENDERS: u64 = 6;
/// Requests that are sent before their answers are read, at most.
const BURST_MAX: u64 = 6;
/// How long an answer is waited for. Some requests are right and wait for what never comes.
const PATIENCE: Duration = Duration::from_millis(60);
/// How long an answer to the witness may take; an unoptimised node on a busy machine gets more.
const WITNESS_LIMIT: Duration = Duration::from_millis(if cfg!(debug_assertions) { 5_000 } else { 1_000 });
/// As above for topics made and removed: they wait while thousands of partitions that others remove are moved away.
const ADMIN_LIMIT: Duration = Duration::from_secs(if cfg!(debug_assertions) { 30 } else { 10 });

/// Counted over all senders.
#[derive(Debug, Default)]
struct Tally {
    answered: AtomicU64,
    closed: AtomicU64,
    silent: AtomicU64,
    connections: AtomicU64,
}

impl Tally {
    /// Requests that the node took: what lies behind one that closed its connection was never read.
    fn taken(&self) -> u64 {
        [&self.answered, &self.closed, &self.silent].iter().map(|counter| counter.load(Ordering::Relaxed)).sum()
    }
}

#[derive(Debug)]
struct Storm {
    address: SocketAddr,
    seed: u64,
    requests: u64,
    corpus: Vec<Seed>,
    tally: Tally,
    stop: AtomicBool,
    failure: Mutex<Option<String>>,
}

impl Storm {
    fn fail(&self, why: String) {
        self.failure.lock().expect("no sender panics with it").get_or_insert(why);
        self.stop.store(true, Ordering::Relaxed);
    }

    /// One sender: bursts over one connection until it is closed, then over the next.
    fn send(&self, sender: u64) {
        let mut prng = Prng::new(self.seed ^ (sender << 48));
        let mut client: Option<Client> = None;
        while !self.stop.load(Ordering::Relaxed) {
            if self.tally.taken() >= self.requests {
                break;
            }
            let count = 1 + prng.below(BURST_MAX);
            let mut connected = match client.take().map_or_else(|| self.connect(), Ok) {
                Ok(connected) => connected,
                Err(why) => return self.fail(why),
            };
            let mut burst = Vec::new();
            for _ in 0..count {
                let seed = &self.corpus[prng.below(self.corpus.len() as u64) as usize];
                let other = &self.corpus[prng.below(self.corpus.len() as u64) as usize];
                burst.extend(mutated(seed, other, &mut prng));
            }
            if self.burst(&mut connected, &burst, count) {
                client = Some(connected);
            }
        }
    }

    fn connect(&self) -> Result<Client, String> {
        self.tally.connections.fetch_add(1, Ordering::Relaxed);
        let mut client = Client::try_connect(self.address).map_err(|error| format!("no connection: {error}"))?;
        client.patience(PATIENCE);
        Ok(client)
    }

    /// Sends and takes the answers; false when the connection is of no use any more.
    fn burst(&self, client: &mut Client, burst: &[u8], count: u64) -> bool {
        // The node may close at the first request while the rest is still being written; what it said can be read.
        client.send(burst);
        for _ in 0..count {
            match client.hear() {
                Heard::Answer(_) => self.tally.answered.fetch_add(1, Ordering::Relaxed),
                Heard::Closed => {
                    self.tally.closed.fetch_add(1, Ordering::Relaxed);
                    return false;
                }
                Heard::Silence => {
                    self.tally.silent.fetch_add(1, Ordering::Relaxed);
                    return false;
                }
            };
        }
        true
    }

    fn watch(&self) -> Duration {
        let mut witness = Witness::new(self.address, "storm");
        while !self.stop.load(Ordering::Relaxed) {
            if let Err(why) = witness.works(WITNESS_LIMIT).and_then(|()| witness.administers(ADMIN_LIMIT)) {
                self.fail(format!("the witness: {why}"));
            }
            thread::sleep(Duration::from_millis(200));
        }
        witness.slowest
    }
}

/// The topic that most requests of the corpus are about.
fn target(address: SocketAddr) -> Topic {
    let mut client = Client::connect(address);
    for index in 0..5 {
        client.ask(&requests::create_topic(&format!("orders-{index}"), 2)).expect("a topic");
    }
    let answer = client.ask(&requests::metadata(12, "orders-0", false)).expect("metadata");
    let metadata: m::MetadataResponse = decoded(key::METADATA, 12, answer).expect("metadata");
    Topic { name: "orders-0".to_owned(), id: metadata.topics[0].topic_id }
}

fn number(name: &str, default: u64) -> u64 {
    env::var(name).ok().map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}: a number")))
}

#[test]
fn mutated_requests_of_every_api_and_version_harm_nobody() {
    let seed = number("KATARACT_HOSTILE_SEED", 20_261_121);
    let requests = number("KATARACT_HOSTILE_REQUESTS", 20_000);
    let mut node = Node::start(&["auto.create.topics.enable=true"]);
    let corpus = seeds(&target(node.address));
    node.rest();
    let storm = Arc::new(Storm {
        address: node.address,
        seed,
        requests,
        corpus,
        tally: Tally::default(),
        stop: AtomicBool::new(false),
        failure: Mutex::new(None),
    });
    let started = Instant::now();
    let (slowest, failure) = run(&storm);
    let took = started.elapsed();
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let tally = &storm.tally;
    println!(
        "{} requests in {:.1} s over {} connections: {} answered, {} closed, {} left waiting; witness at most \
         {slowest:?}; memory {} KiB idle, at most {} KiB more; {:.1} s of processor",
        tally.taken(),
        took.as_secs_f64(),
        count(&tally.connections),
        count(&tally.answered),
        count(&tally.closed),
        count(&tally.silent),
        node.idle() >> 10,
        node.peak_above_idle() >> 10,
        node.cpu_seconds(),
    );
    node.assert_alive();
    if let Some(why) = failure {
        panic!("KATARACT_HOSTILE_SEED={seed}: {why}\n{}", node.log_tail());
    }
    let above = node.peak_above_idle();
    assert!(above <= CEILING, "KATARACT_HOSTILE_SEED={seed}: memory rose {} KiB\n{}", above >> 10, node.log_tail());
    node.assert_unharmed();
}

/// All senders and the witness; how slow an answer to the witness was, and what went wrong.
fn run(storm: &Arc<Storm>) -> (Duration, Option<String>) {
    let watching = Arc::clone(storm);
    let witness = thread::spawn(move || watching.watch());
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let storm = Arc::clone(storm);
            thread::spawn(move || storm.send(sender))
        })
        .collect();
    for sender in senders {
        sender.join().expect("a sender");
    }
    storm.stop.store(true, Ordering::Relaxed);
    let slowest = witness.join().expect("the witness");
    let failure = storm.failure.lock().expect("every sender is gone").take();
    (slowest, failure)
}
