//! A group of one that reads along and commits: it skips nothing, and what it committed never goes back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::{ClientContext, Offset, TopicPartitionList};

use crate::producers::Slot;

pub const GROUP: &str = "kills";
/// Between two commits.
const COMMIT_EVERY: Duration = Duration::from_millis(150);

/// What the member saw and what was confirmed to it.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// Per slot: one behind the highest offset read.
    pub read: Vec<i64>,
    /// Per slot: the highest offset whose commit was confirmed, -1 at first.
    pub committed: Vec<i64>,
    pub commits: u64,
    pub failed: Option<String>,
}

struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, _: KafkaError, _: &str) {}
}

impl ConsumerContext for Quiet {}

/// The member and its thread.
pub struct Reader {
    progress: Arc<Mutex<Progress>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Reader {
    pub fn start(address: &str, slots: &[Slot]) -> Reader {
        let progress = Progress { read: vec![0; slots.len()], committed: vec![-1; slots.len()], ..Progress::default() };
        let progress = Arc::new(Mutex::new(progress));
        let ended = Arc::new(AtomicBool::new(false));
        let mut config = ClientConfig::new();
        let settings = [
            ("bootstrap.servers", address),
            ("group.id", GROUP),
            ("enable.auto.commit", "false"),
            ("auto.offset.reset", "earliest"),
            ("check.crcs", "true"),
            ("session.timeout.ms", "10000"),
            ("heartbeat.interval.ms", "500"),
            ("reconnect.backoff.ms", "20"),
            ("reconnect.backoff.max.ms", "200"),
            ("fetch.wait.max.ms", "100"),
            ("queued.max.messages.kbytes", "4096"),
        ];
        for (key, value) in settings {
            config.set(key, value);
        }
        let consumer: BaseConsumer<Quiet> = config.create_with_context(Quiet).expect("a consumer");
        let mut topics: Vec<&str> = slots.iter().map(|slot| slot.topic).collect();
        topics.dedup();
        consumer.subscribe(&topics).expect("a subscription");
        let (theirs, end, slots) = (Arc::clone(&progress), Arc::clone(&ended), slots.to_vec());
        let thread = thread::spawn(move || run(&consumer, &slots, &theirs, &end));
        Reader { progress, ended, thread: Some(thread) }
    }

    pub fn progress(&self) -> Progress {
        self.progress.lock().expect("no panic under lock").clone()
    }

    /// Waits until everything below `ends` is read and committed.
    pub fn catch_up(&mut self, ends: &[i64], limit: Duration) -> Result<Progress, String> {
        let deadline = Instant::now() + limit;
        loop {
            let progress = self.progress();
            if let Some(why) = progress.failed {
                return Err(why);
            }
            let done = |&(committed, end): &(&i64, &i64)| *end == 0 || committed >= end;
            if progress.committed.iter().zip(ends).filter(done).count() == ends.len() {
                return Ok(progress);
            }
            if Instant::now() > deadline {
                return Err(format!("the group did not get to {ends:?} within {limit:?}: {progress:?}"));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn finish(&mut self) -> Result<(), String> {
        self.ended.store(true, Ordering::Relaxed);
        self.thread.take().map_or(Ok(()), JoinHandle::join).map_err(|_| "the group's thread panicked".to_owned())
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

fn run(consumer: &BaseConsumer<Quiet>, slots: &[Slot], progress: &Mutex<Progress>, ended: &AtomicBool) {
    let mut committed_at = Instant::now();
    while !ended.load(Ordering::Relaxed) {
        // Errors are those of a node that is away; what matters is what is read afterwards.
        if let Some(Ok(record)) = consumer.poll(Duration::from_millis(50)) {
            let place = |slot: &Slot| slot.topic == record.topic() && slot.partition == record.partition();
            let Some(slot) = slots.iter().position(place) else { continue };
            let mut progress = progress.lock().expect("no panic under lock");
            let next = progress.read[slot];
            if record.offset() > next {
                let why = format!("{:?}: the group went on at {} after {next}", slots[slot], record.offset());
                progress.failed.get_or_insert(why);
            }
            progress.read[slot] = next.max(record.offset() + 1);
        }
        if committed_at.elapsed() >= COMMIT_EVERY {
            commit(consumer, slots, progress);
            committed_at = Instant::now();
        }
    }
}

fn commit(consumer: &BaseConsumer<Quiet>, slots: &[Slot], progress: &Mutex<Progress>) {
    let read = progress.lock().expect("no panic under lock").read.clone();
    let mut offsets = TopicPartitionList::new();
    for (slot, next) in slots.iter().zip(&read).filter(|(_, next)| **next > 0) {
        offsets.add_partition_offset(slot.topic, slot.partition, Offset::Offset(*next)).expect("a new partition");
    }
    if offsets.count() == 0 || consumer.commit(&offsets, CommitMode::Sync).is_err() {
        return; // Not confirmed, so nothing is claimed.
    }
    let mut progress = progress.lock().expect("no panic under lock");
    progress.commits += 1;
    for (committed, next) in progress.committed.iter_mut().zip(read).filter(|(_, next)| *next > 0) {
        *committed = next;
    }
}
