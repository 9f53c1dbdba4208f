//! Does a node keep its word when it is killed? `kill -9` under load again and again, and other trouble.
//!
//! A round: load for a random moment, SIGKILL, start on the same folder, measure until every partition serves. The
//! producers and the group live through all rounds. Every ten rounds and at the end everything is read from the start
//! and held against what was acknowledged.
//!
//! | variable | meaning |
//! | --- | --- |
//! | `KATARACT_KILLS` | rounds on io_uring (default 4); a third of them on each other driver |
//! | `KATARACT_PARTITIONS` | partitions of the test with many (default 100) |
//! | `KATARACT_BIN` | the binary to run, for instance a release build, instead of this build's own |
//! | `KATARACT_SEED` | the seed of the moments and records; printed by every run |
//!
//! A release binary must serve within a second of its start; a debug one gets five.
#![allow(clippy::disallowed_methods, reason = "the harness runs processes, reads clocks and files")]

#[path = "kills/disk.rs"]
mod disk;
#[path = "kills/group.rs"]
mod group;
#[path = "kills/ledger.rs"]
mod ledger;
#[path = "kills/many.rs"]
mod many;
#[path = "kills/node.rs"]
mod node;
#[path = "kills/producers.rs"]
mod producers;
#[path = "kills/trouble.rs"]
mod trouble;
#[path = "kills/verify.rs"]
mod verify;
#[path = "kills/wire.rs"]
mod wire;

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::time::{Duration, Instant, UNIX_EPOCH};
use std::{env, thread};

use kataract::base::prng::Prng;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;

use group::{GROUP, Reader};
use node::{Driver, Node, is_release};
use producers::{Book, PRODUCERS, Sender, Slot};
use wire::{LATEST, Wire};

/// A topic as it comes, and one whose segments are so small that rolls, too, are interrupted.
const TOPICS: [(&str, i32); 2] = [("steady", 6), ("rolling", 2)];
/// Longest time from the start of a process until it serves, and for its clean stop.
const SERVE_LIMIT_RELEASE: Duration = Duration::from_secs(1);
const SERVE_LIMIT_DEBUG: Duration = Duration::from_secs(5);
const STOP_LIMIT: Duration = Duration::from_secs(5);
/// Longest wait for the next acknowledgement once a node serves.
const PROGRESS_LIMIT: Duration = Duration::from_secs(30);

#[test]
fn nothing_acknowledged_is_lost_doubled_or_reordered_by_kills_on_uring() {
    kills(Driver::Uring, rounds());
}

#[test]
fn nothing_acknowledged_is_lost_doubled_or_reordered_by_kills_on_posix() {
    kills(Driver::Posix, rounds().div_ceil(3).max(2));
}

#[cfg(feature = "glommio")]
#[test]
fn nothing_acknowledged_is_lost_doubled_or_reordered_by_kills_on_glommio() {
    kills(Driver::Glommio, rounds().div_ceil(3).max(2));
}

fn rounds() -> u32 {
    env::var("KATARACT_KILLS").map_or(4, |text| text.parse().expect("KATARACT_KILLS is a number"))
}

/// A line for people, past the capture of the test runner.
fn tell(line: &str) {
    // Nobody is left to tell when standard error is gone.
    let _ = writeln!(io::stderr(), "{line}");
}

fn seed() -> u64 {
    match env::var("KATARACT_SEED") {
        Ok(text) => text.parse().expect("KATARACT_SEED is a number"),
        Err(_) => UNIX_EPOCH.elapsed().expect("a clock after 1970").as_millis() as u64,
    }
}

fn slots() -> Vec<Slot> {
    let of = |&(topic, count): &(&'static str, i32)| (0..count).map(move |partition| Slot { topic, partition });
    TOPICS.iter().flat_map(of).collect()
}

/// Polls a future of the admin client, which a thread of the library completes.
fn wait_for<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    loop {
        if let std::task::Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
        thread::sleep(Duration::from_millis(2));
    }
}

fn create_topic(address: &str, name: &str, partitions: i32, configs: &[(&str, &str)]) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", address).create().expect("an admin client");
    let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
    for (key, value) in configs {
        topic = topic.set(key, value);
    }
    let limit = Some(Duration::from_secs(60));
    let options = AdminOptions::new().request_timeout(limit).operation_timeout(limit);
    for created in wait_for(admin.create_topics([&topic], &options)).expect("an answer to CreateTopics") {
        created.unwrap_or_else(|(topic, code)| panic!("{topic} was not created: {code}"));
    }
}

/// A node under load and everything that is known about what it promised.
struct Trial {
    node: Node,
    slots: Vec<Slot>,
    senders: Vec<Sender>,
    reader: Reader,
    /// Producer ids handed out so far.
    producer_ids: BTreeSet<i64>,
    /// The highest committed offsets that were ever seen.
    committed: Vec<i64>,
    serve: Vec<Duration>,
    groups: Vec<Duration>,
}

impl Trial {
    fn start(driver: Driver, seed: u64) -> Trial {
        // Some turns go through the journal, some do not.
        let mut node = Node::new(driver, &["kataract.journal.partitions=2"]);
        node.start();
        create_topic(&node.address, "steady", 6, &[]);
        create_topic(&node.address, "rolling", 2, &[("segment.bytes", "1048576")]);
        let slots = slots();
        let senders = (0..PRODUCERS).map(|name| Sender::start(name, &node.address, &slots, seed ^ (name as u64 + 1)));
        let reader = Reader::start(&node.address, &slots);
        Trial {
            senders: senders.collect(),
            reader,
            producer_ids: BTreeSet::new(),
            committed: vec![-1; slots.len()],
            serve: Vec::new(),
            groups: Vec::new(),
            node,
            slots,
        }
    }

    fn acked(&self) -> u64 {
        self.senders.iter().map(Sender::acked).sum()
    }

    fn books(&self) -> Vec<Book> {
        self.senders.iter().map(Sender::book).collect()
    }

    fn fail(&self, why: &str) -> ! {
        panic!("{why}\n{}", self.node.log_tail())
    }

    fn check_clients(&self) {
        for sender in &self.senders {
            if let Some(why) = sender.failure() {
                self.fail(&format!("producer {}: {why}", sender.name));
            }
        }
        if let Some(why) = self.reader.progress().failed {
            self.fail(&why);
        }
    }

    /// Waits until every producer has new acknowledgements.
    fn progress(&self) {
        let before: Vec<u64> = self.senders.iter().map(Sender::acked).collect();
        let deadline = Instant::now() + PROGRESS_LIMIT;
        while self.senders.iter().zip(&before).any(|(sender, before)| sender.acked() <= *before) {
            self.check_clients();
            if Instant::now() > deadline {
                self.fail("no acknowledgements");
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Starts the node again and measures until it serves.
    fn restart(&mut self) {
        let limit = if is_release() { SERVE_LIMIT_RELEASE } else { SERVE_LIMIT_DEBUG };
        self.node.spawn();
        let took = self.node.until(|node| Wire::connect(&node.address)?.serves(&TOPICS));
        self.serve.push(took);
        if took > limit {
            self.fail(&format!("the node served {took:?} after its start"));
        }
        self.look_at_group();
        let id = self.ask(Wire::producer_id);
        if !self.producer_ids.insert(id) {
            self.fail(&format!("producer id {id} was handed out twice"));
        }
    }

    fn ask<T>(&self, question: impl Fn(&mut Wire) -> Result<T, String>) -> T {
        let answer = Wire::connect(&self.node.address).and_then(|mut wire| question(&mut wire));
        answer.unwrap_or_else(|why| self.fail(&why))
    }

    /// What is committed is at least what was confirmed, and what was seen before.
    fn look_at_group(&mut self) {
        let confirmed = self.reader.progress().committed;
        let deadline = Instant::now() + PROGRESS_LIMIT;
        let now = loop {
            match self.committed_now() {
                Ok(now) => break now,
                Err(why) if Instant::now() > deadline => self.fail(&why),
                Err(_) => thread::sleep(Duration::from_millis(5)),
            }
        };
        self.groups.push(self.node.age());
        for (index, slot) in self.slots.iter().enumerate() {
            let least = confirmed[index].max(self.committed[index]);
            if now[index] < least {
                self.fail(&format!("{slot:?}: committed is {}, it was {least}", now[index]));
            }
        }
        self.committed = now;
    }

    fn committed_now(&self) -> Result<Vec<i64>, String> {
        let mut wire = Wire::connect(&self.node.address)?;
        let mut all = Vec::new();
        for (topic, count) in TOPICS {
            all.extend(wire.committed(GROUP, topic, &(0..count).collect::<Vec<i32>>())?);
        }
        Ok(all)
    }

    fn ends(&self) -> Vec<i64> {
        let of = |&(topic, count): &(&str, i32)| {
            self.ask(|wire| wire.offsets(topic, &(0..count).collect::<Vec<i32>>(), LATEST))
        };
        TOPICS.iter().flat_map(of).collect()
    }

    fn verify(&self, when: &str) -> u64 {
        self.senders.iter().for_each(|sender| sender.hold(true));
        let books = self.books();
        let begun = Instant::now();
        let read = verify::verify(&self.node.address, &self.slots, &books).unwrap_or_else(|why| self.fail(&why));
        let acked: u64 = books.iter().map(|book| book.total).sum();
        tell(&format!("  {when}: {acked} acknowledged, {read} read in {:.1} s", begun.elapsed().as_secs_f32()));
        self.senders.iter().for_each(|sender| sender.hold(false));
        read
    }

    /// Ends the load; everything sent is acknowledged, there once, and read by the group.
    fn finish(&mut self) -> u64 {
        let mut sent = 0;
        for index in 0..self.senders.len() {
            match self.senders[index].finish() {
                Ok(counts) => sent += counts.iter().sum::<u64>(),
                Err(why) => self.fail(&why),
            }
        }
        assert_eq!(self.acked(), sent, "every record is acknowledged at the end");
        let read = self.verify("at the end");
        assert_eq!(read, sent, "what was sent is there, and nothing else");
        let ends = self.ends();
        // A long run leaves it tens of millions of records behind: it is slowed down by every kill.
        let records: i64 = ends.iter().sum();
        let limit = Duration::from_secs(120) + Duration::from_secs(records.unsigned_abs() / 50_000);
        match self.reader.catch_up(&ends, limit) {
            Ok(progress) => tell(&format!("  the group read to {:?} in {} commits", progress.read, progress.commits)),
            Err(why) => self.fail(&why),
        }
        if let Err(why) = self.reader.finish() {
            self.fail(&why);
        }
        sent
    }
}

fn kills(driver: Driver, rounds: u32) {
    if !driver.is_possible() {
        return;
    }
    let seed = seed();
    tell(&format!("{rounds} kills on {}, KATARACT_SEED={seed}", driver.name()));
    let mut random = Prng::new(seed);
    let mut trial = Trial::start(driver, seed);
    for round in 1..=rounds {
        trial.progress();
        thread::sleep(Duration::from_millis(200 + random.below(1300)));
        trial.check_clients();
        trial.node.kill();
        if random.chance(1, 5) {
            // Recovery itself is interrupted, too.
            trial.node.spawn();
            thread::sleep(Duration::from_millis(random.below(200)));
            trial.node.kill();
        }
        trial.restart();
        if round % 10 == 0 {
            trial.verify(&format!("after {round} kills"));
        }
    }
    trial.progress();
    let sent = trial.finish();
    let stopped = trial.node.stop();
    assert!(stopped < STOP_LIMIT, "the clean stop took {stopped:?}");
    trial.restart();
    assert_eq!(trial.verify("after a clean stop"), sent);
    tell(&format!(
        "{rounds} kills on {}: {sent} records, each there once and in order; serves after {}; the group after {}; by \
         its own word {}",
        driver.name(),
        spread(&mut trial.serve),
        spread(&mut trial.groups),
        spread(&mut ready_times(&trial.node.log())),
    ));
}

/// What the node itself said at each start.
fn ready_times(log: &str) -> Vec<Duration> {
    let ms = |line: &str| line.strip_prefix("ready after ")?.strip_suffix(" ms")?.parse().ok();
    log.lines().filter_map(ms).map(Duration::from_millis).collect()
}

/// Smallest, median and largest.
fn spread(times: &mut [Duration]) -> String {
    times.sort_unstable();
    let ms = |index: usize| times.get(index).map_or(0, Duration::as_millis);
    format!("{}/{}/{} ms (min/median/max)", ms(0), ms(times.len() / 2), ms(times.len().saturating_sub(1)))
}
