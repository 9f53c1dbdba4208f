//! Starts the threads of a run: producers and consumers, of the library or raw.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::cluster::{Cluster, Offsets};
use super::meter::{Meter, Recorder};
use super::pacing::Schedule;
use super::payload::Payload;
use super::workload::{ClientKind, Mode, Workload};
use super::{library, raw};
use crate::batch::Codec;
use crate::cli::client;
use crate::cli::output::Failure;

/// Seeds of payloads: the same bytes in every run.
const SEED: u64 = 0x006b_6174_6172_6163;

/// What a group of workers works on.
#[derive(Debug)]
pub struct Part<'a> {
    pub cluster: &'a Cluster,
    pub topic: &'a str,
    pub workload: &'a Workload,
    /// End to end: the number that marks this run's records.
    pub run: Option<u64>,
}

/// When producers stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// At the end of the measured window.
    Window,
    /// When so many bytes are sent.
    Bytes(u64),
}

type Workers = (Vec<JoinHandle<Result<(), Failure>>>, Vec<Arc<Recorder>>);

/// A started thread; its name is seen in tools that list threads.
fn start(
    name: String,
    work: impl FnOnce() -> Result<(), Failure> + Send + 'static,
) -> Result<JoinHandle<Result<(), Failure>>, Failure> {
    let thread = std::thread::Builder::new().name(name).spawn(work);
    thread.map_err(|error| Failure::new(format!("cannot start a thread: {error}")))
}

/// First and next offset of every partition, for consumers.
pub fn offsets(part: &Part<'_>) -> Result<Vec<Offsets>, Failure> {
    if part.workload.mode == Mode::Produce {
        return Ok(Vec::new());
    }
    let leaders = part.cluster.leaders(part.topic)?;
    let partitions: Vec<i32> = leaders.into_iter().flat_map(|leader| leader.partitions).collect();
    part.cluster.offsets(part.topic, &partitions)
}

/// Starts the producers.
pub fn produce(part: &Part<'_>, meter: &Arc<Meter>, limit: Limit) -> Result<Workers, Failure> {
    match part.workload.client {
        ClientKind::Librdkafka => produce_library(part, meter, limit),
        ClientKind::Raw => produce_raw(part, meter, limit),
    }
}

fn payload(workload: &Workload, number: usize) -> Payload {
    Payload::new(workload.record_bytes, workload.compressibility, workload.keys, SEED + number as u64)
}

fn produce_library(part: &Part<'_>, meter: &Arc<Meter>, limit: Limit) -> Result<Workers, Failure> {
    let workload = part.workload;
    let (mut workers, mut recorders) = (Vec::new(), Vec::new());
    for number in 0..workload.producers {
        let recorder = Recorder::new(meter);
        recorders.push(Arc::clone(&recorder));
        let rate = workload.events_per_second();
        let record = (workload.record_bytes + workload.keys.bytes()).max(1) as u64;
        let producing = library::Producing {
            client: part.cluster.client().clone(),
            workload: workload.clone(),
            topic: part.topic.to_owned(),
            payload: payload(workload, number),
            schedule: rate.map(|rate| Schedule::new(rate, number, workload.producers)),
            records_max: match limit {
                Limit::Window => u64::MAX,
                Limit::Bytes(bytes) => bytes.div_ceil(record * workload.producers as u64),
            },
            run: part.run,
            recorder,
        };
        workers.push(start(format!("producer-{number}"), move || producing.run())?);
    }
    Ok((workers, recorders))
}

fn produce_raw(part: &Part<'_>, meter: &Arc<Meter>, limit: Limit) -> Result<Workers, Failure> {
    let workload = part.workload;
    let leaders = part.cluster.leaders(part.topic)?;
    let codec = Codec::from_name(&workload.compression).map_err(|_| Failure::new("no such compression"))?;
    let batch = raw::produce::Batch::new(&mut payload(workload, 0), workload.records_per_batch(), codec);
    let connections = raw::spread(leaders.len(), workload.producers);
    let count = connections.len();
    let request = (batch.len() * workload.partitions_per_request).max(1) as u64;
    let (mut workers, mut recorders) = (Vec::new(), Vec::new());
    for (number, (leader, nth, _)) in connections.into_iter().enumerate() {
        let recorder = Recorder::new(meter);
        recorders.push(Arc::clone(&recorder));
        // More connections than producers when there are more leaders: the rate stays what was asked for.
        let rate = workload.events_per_second().map(|rate| rate * workload.producers as f64 / count as f64);
        let producing = raw::produce::Producing {
            address: leaders[leader].address()?,
            connect_limit: client::answer_timeout(part.cluster.client()),
            topic: part.topic.to_owned(),
            partitions: leaders[leader].partitions.clone(),
            partitions_per_request: workload.partitions_per_request,
            batch: batch.clone(),
            acks: if workload.acks == "all" { -1 } else { i16::from(workload.acks == "1") },
            depth: workload.depth,
            schedule: rate.map(|rate| Schedule::new(rate, number, count)),
            requests_max: match limit {
                Limit::Window => u64::MAX,
                Limit::Bytes(bytes) => bytes.div_ceil(request * count as u64),
            },
            // Connections begin at different partitions, so that they do not march in step.
            first: nth * 3,
            run: part.run,
            recorder,
        };
        workers.push(start(format!("producer-{number}"), move || producing.run().map_err(told))?);
    }
    Ok((workers, recorders))
}

/// Starts the consumers. `sent` are the producers' recorders of an end-to-end run, whose records are waited for.
pub fn consume(
    part: &Part<'_>,
    offsets: Vec<Offsets>,
    meter: &Arc<Meter>,
    sent: &[Arc<Recorder>],
    sent_all: &Arc<AtomicBool>,
    give_up: Duration,
) -> Result<Workers, Failure> {
    let workload = part.workload;
    let leaders = part.cluster.leaders(part.topic)?;
    let connections = match workload.client {
        ClientKind::Raw => raw::spread(leaders.len(), workload.consumers),
        ClientKind::Librdkafka => (0..workload.consumers).map(|number| (0, number, workload.consumers)).collect(),
    };
    let recorders: Vec<Arc<Recorder>> = connections.iter().map(|_| Recorder::new(meter)).collect();
    let mut workers = Vec::new();
    for (number, (leader, nth, of)) in connections.into_iter().enumerate() {
        let led = match workload.client {
            ClientKind::Raw => leaders[leader].partitions.clone(),
            ClientKind::Librdkafka => offsets.iter().map(|one| one.partition).collect(),
        };
        let mine = raw::share(&led, nth, of);
        let mine: Vec<Offsets> = offsets.iter().copied().filter(|one| mine.contains(&one.partition)).collect();
        if mine.is_empty() {
            // More consumers than partitions: it would have nothing to do.
            continue;
        }
        let recorder = Arc::clone(&recorders[number]);
        let end = End {
            meter: Arc::clone(meter),
            sent: sent.to_vec(),
            received: recorders.clone(),
            sent_all: Arc::clone(sent_all),
            give_up_ns: u64::try_from(give_up.as_nanos()).unwrap_or(u64::MAX),
        };
        let worker = match workload.client {
            ClientKind::Librdkafka => {
                let consuming = library::Consuming {
                    client: part.cluster.client().clone(),
                    workload: workload.clone(),
                    topic: part.topic.to_owned(),
                    partitions: mine,
                    run: part.run,
                    recorder,
                };
                start(format!("consumer-{number}"), move || consuming.run(|| end.is_reached()))?
            }
            ClientKind::Raw => {
                let position = |one: &Offsets| (one.partition, if part.run.is_some() { one.end } else { one.start });
                let ends = part.run.is_none().then(|| mine.iter().map(|one| (one.partition, one.end)).collect());
                let consuming = raw::consume::Consuming {
                    address: leaders[leader].address()?,
                    connect_limit: client::answer_timeout(part.cluster.client()),
                    topic: part.topic.to_owned(),
                    positions: mine.iter().map(position).collect(),
                    ends,
                    passes: workload.passes,
                    run: part.run,
                    recorder,
                };
                start(format!("consumer-{number}"), move || consuming.run(|| end.is_reached()).map_err(told))?
            }
        };
        workers.push(worker);
    }
    Ok((workers, recorders))
}

/// When a consumer has nothing more to wait for.
struct End {
    meter: Arc<Meter>,
    sent: Vec<Arc<Recorder>>,
    received: Vec<Arc<Recorder>>,
    sent_all: Arc<AtomicBool>,
    give_up_ns: u64,
}

impl End {
    fn is_reached(&self) -> bool {
        let now = self.meter.now();
        if !self.meter.is_over(now) {
            return false;
        }
        if self.sent.is_empty() || now > self.meter.to_ns().saturating_add(self.give_up_ns) {
            return true;
        }
        let due: u64 = self.sent.iter().map(|recorder| recorder.waiting().0).sum();
        let answered: u64 = self.received.iter().map(|recorder| recorder.waiting().1).sum();
        self.sent_all.load(Ordering::Relaxed) && answered >= due
    }
}

fn told(error: std::io::Error) -> Failure {
    Failure::new(error.to_string())
}
