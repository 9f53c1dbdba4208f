//! Four idempotent producers that live through every kill, and the book of what was acknowledged to them.
//!
//! A record says who sent it where and as which: producer, slot, sequence. A slot is a partition of one of the topics.
//! Every producer sends 0, 1, 2, … to every slot, so a hole, a double or a swap shows in a slot by itself, without the
//! book; the book says what must be there.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use kataract::base::prng::Prng;
use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};

/// Producers at work together.
pub const PRODUCERS: usize = 4;
/// Records one producer has on the way at most: a node that is away must not make the backlog grow without end.
const BACKLOG: u64 = 3000;
/// A record that is not acknowledged within this failed; no kill lasts as long.
const DELIVERY_LIMIT: &str = "300000";

/// A partition of a topic, as the tests number them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    pub topic: &'static str,
    pub partition: i32,
}

/// What one producer was told: offset of each record of each slot, in the order of sending; -1 when not said.
#[derive(Debug, Default, Clone)]
pub struct Book {
    pub acked: Vec<Vec<i64>>,
    pub total: u64,
    /// The first thing that went wrong.
    pub failed: Option<String>,
}

struct Acks {
    slots: Vec<Slot>,
    book: Arc<Mutex<Book>>,
}

impl ClientContext for Acks {
    /// The kills would fill the log of the test with refused connections.
    fn error(&self, error: KafkaError, reason: &str) {
        if matches!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::Fatal)) {
            self.fail(format!("fatal: {error}: {reason}"));
        }
    }

    fn log(&self, _: rdkafka::config::RDKafkaLogLevel, _: &str, _: &str) {}
}

impl Acks {
    fn fail(&self, why: String) {
        self.book.lock().expect("no panic under lock").failed.get_or_insert(why);
    }
}

impl ProducerContext for Acks {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, sequence: usize) {
        let message = match result {
            Ok(message) => message,
            Err((error, message)) => {
                let place = format!("{}-{}", message.topic(), message.partition());
                return self.fail(format!("record {sequence} of {place}: {error}"));
            }
        };
        let place = |slot: &Slot| slot.topic == message.topic() && slot.partition == message.partition();
        let slot = self.slots.iter().position(place).expect("a record of one of the slots");
        let mut book = self.book.lock().expect("no panic under lock");
        let next = book.acked[slot].len();
        if sequence == next {
            book.acked[slot].push(message.offset());
            book.total += 1;
        } else {
            let why = format!("slot {slot}: record {sequence} was acknowledged when {next} was due");
            book.failed.get_or_insert(why);
        }
    }
}

/// One producer and its thread.
pub struct Sender {
    pub name: usize,
    book: Arc<Mutex<Book>>,
    ended: Arc<AtomicBool>,
    held: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Vec<u64>, String>>>,
}

/// The text in front of every record's filling.
pub fn mark(producer: usize, slot: usize, sequence: u64) -> String {
    format!("{producer}/{slot}/{sequence}/")
}

/// Who sent a record where and as which.
pub fn read_mark(value: &[u8]) -> Option<(usize, usize, u64)> {
    let text = std::str::from_utf8(value).ok()?;
    let mut parts = text.split('/');
    let mut number = || parts.next()?.parse::<u64>().ok();
    let (producer, slot, sequence) = (number()?, number()?, number()?);
    Some((usize::try_from(producer).ok()?, usize::try_from(slot).ok()?, sequence))
}

impl Sender {
    pub fn start(name: usize, address: &str, slots: &[Slot], seed: u64) -> Sender {
        let book = Book { acked: vec![Vec::new(); slots.len()], ..Book::default() };
        let book = Arc::new(Mutex::new(book));
        let (ended, held) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let codec = ["none", "lz4", "zstd", "none"][name % 4];
        let mut config = ClientConfig::new();
        let settings = [
            ("bootstrap.servers", address),
            ("enable.idempotence", "true"),
            ("acks", "all"),
            ("compression.type", codec),
            ("linger.ms", "2"),
            ("batch.num.messages", "100"),
            ("message.timeout.ms", DELIVERY_LIMIT),
            ("retry.backoff.ms", "20"),
            ("retry.backoff.max.ms", "200"),
            ("reconnect.backoff.ms", "20"),
            ("reconnect.backoff.max.ms", "200"),
            ("socket.timeout.ms", "10000"),
        ];
        for (key, value) in settings {
            config.set(key, value);
        }
        let context = Acks { slots: slots.to_vec(), book: Arc::clone(&book) };
        let producer: ThreadedProducer<Acks> = config.create_with_context(context).expect("a producer");
        let (own, stop, wait) = (Arc::clone(&book), Arc::clone(&ended), Arc::clone(&held));
        let work = Work { name, producer, slots: slots.to_vec(), book: own, ended: stop, held: wait };
        let thread = thread::spawn(move || work.run(&mut Prng::new(seed)));
        Sender { name, book, ended, held, thread: Some(thread) }
    }

    /// What is acknowledged by now.
    pub fn book(&self) -> Book {
        self.book.lock().expect("no panic under lock").clone()
    }

    pub fn acked(&self) -> u64 {
        self.book.lock().expect("no panic under lock").total
    }

    pub fn failure(&self) -> Option<String> {
        self.book.lock().expect("no panic under lock").failed.clone()
    }

    /// Whether to send nothing new for now: what is read from the start must not grow faster than it is read.
    pub fn hold(&self, hold: bool) {
        self.held.store(hold, Ordering::Relaxed);
    }

    /// Sends no more, waits for what is on the way. Records sent to each slot.
    pub fn finish(&mut self) -> Result<Vec<u64>, String> {
        self.ended.store(true, Ordering::Relaxed);
        let Some(thread) = self.thread.take() else { return Err("finished twice".to_owned()) };
        let sent = thread.join().map_err(|_| "the producer's thread panicked".to_owned())?;
        match self.failure() {
            Some(why) => Err(format!("producer {}: {why}", self.name)),
            None => sent,
        }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

struct Work {
    name: usize,
    producer: ThreadedProducer<Acks>,
    slots: Vec<Slot>,
    book: Arc<Mutex<Book>>,
    ended: Arc<AtomicBool>,
    held: Arc<AtomicBool>,
}

impl Work {
    fn run(self, random: &mut Prng) -> Result<Vec<u64>, String> {
        let mut sent = vec![0_u64; self.slots.len()];
        while !self.ended.load(Ordering::Relaxed) {
            let (acked, failed) = {
                let book = self.book.lock().expect("no panic under lock");
                (book.total, book.failed.is_some())
            };
            if failed {
                break;
            }
            if self.held.load(Ordering::Relaxed) || sent.iter().sum::<u64>() > acked + BACKLOG {
                thread::sleep(Duration::from_millis(1));
                continue;
            }
            for _ in 0..20 {
                self.send(&mut sent, random)?;
            }
        }
        if self.book.lock().expect("no panic under lock").failed.is_none() {
            self.producer.flush(Duration::from_secs(120)).map_err(|error| format!("flush: {error}"))?;
        }
        Ok(sent)
    }

    fn send(&self, sent: &mut [u64], random: &mut Prng) -> Result<(), String> {
        let slot = random.below(self.slots.len() as u64) as usize;
        let sequence = sent[slot];
        let mut value = mark(self.name, slot, sequence);
        let filling = random.below(1200) as usize;
        value.extend("the quick brown fox jumps over the lazy dog, ".chars().cycle().take(filling));
        let key = random.chance(1, 2).then(|| format!("key-{}", random.below(50)));
        let place = self.slots[slot];
        loop {
            let mut record = BaseRecord::with_opaque_to(place.topic, sequence as usize).payload(&value);
            record.partition = Some(place.partition);
            record.key = key.as_ref();
            match self.producer.send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    thread::sleep(Duration::from_millis(5));
                }
                Err((error, _)) => return Err(format!("send: {error}")),
            }
        }
        sent[slot] += 1;
        Ok(())
    }
}
