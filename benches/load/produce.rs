//! Drives the raw client of `kataract bench` by a number of bytes instead of a time: what budget.md compares.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use kataract::batch::Codec;
use kataract::cli::bench::meter::{self, Meter, Recorder, Tally};
use kataract::cli::bench::pacing::Schedule;
use kataract::cli::bench::payload::{Keys, Payload};
use kataract::cli::bench::raw::connection::connect;
use kataract::cli::bench::raw::consume::{Consuming, LIMITS};
use kataract::cli::bench::raw::produce::{Batch, Producing};
use kataract::cli::bench::raw::wire;

use crate::args::{Pace, Shape};

/// Longer than any run.
const WINDOW: Duration = Duration::from_secs(24 * 3600);
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// What a run did, as the client saw it.
pub struct Done {
    pub tally: Tally,
    pub seconds: f64,
}

fn join(workers: Vec<std::thread::JoinHandle<io::Result<()>>>) -> io::Result<()> {
    workers.into_iter().try_for_each(|one| one.join().map_err(|_| io::Error::other("a worker panicked"))?)
}

fn done(meter: &Meter, recorders: &[Arc<Recorder>]) -> io::Result<Done> {
    let seconds = meter.now() as f64 / 1e9;
    let tally = meter::tally(recorders);
    match tally.first_failure.clone() {
        Some(why) => Err(io::Error::other(why)),
        None => Ok(Done { tally, seconds }),
    }
}

/// Sends about so many bytes over the connections of the shape.
pub fn produce(
    address: SocketAddr,
    topic: &str,
    partitions: i32,
    shape: &Shape,
    acks: i16,
    bytes: u64,
) -> io::Result<Done> {
    let batch = batch(shape);
    let request_bytes = (batch.len() * shape.batches_per_request) as u64;
    let meter = Meter::new(Duration::ZERO, WINDOW);
    let recorders: Vec<Arc<Recorder>> = (0..shape.connections).map(|_| Recorder::new(&meter)).collect();
    let workers = recorders.iter().enumerate().map(|(number, recorder)| {
        let producing = Producing {
            address,
            connect_limit: CONNECT_LIMIT,
            topic: topic.to_owned(),
            partitions: (0..partitions).collect(),
            partitions_per_request: shape.batches_per_request,
            batch: batch.clone(),
            acks,
            depth: shape.depth,
            schedule: None,
            requests_max: bytes.div_ceil(request_bytes * shape.connections as u64).max(1),
            first: number * 3,
            run: None,
            recorder: Arc::clone(recorder),
        };
        std::thread::spawn(move || producing.run())
    });
    join(workers.collect())?;
    done(&meter, &recorders)
}

/// Sends requests at a rate on one connection, acks=all.
pub fn produce_paced(address: SocketAddr, topic: &str, partitions: i32, shape: &Shape, pace: Pace) -> io::Result<Done> {
    let meter = Meter::new(Duration::ZERO, WINDOW);
    let recorder = Recorder::new(&meter);
    let producing = Producing {
        address,
        connect_limit: CONNECT_LIMIT,
        topic: topic.to_owned(),
        partitions: (0..partitions).collect(),
        partitions_per_request: shape.batches_per_request,
        batch: batch(shape),
        acks: -1,
        depth: 0,
        schedule: Some(Schedule::new(pace.rate as f64, 0, 1)),
        requests_max: pace.rate * pace.seconds,
        first: 0,
        run: None,
        recorder: Arc::clone(&recorder),
    };
    producing.run()?;
    done(&meter, &[recorder])
}

fn batch(shape: &Shape) -> Batch {
    let mut payload = Payload::new(shape.record_bytes, 0.0, Keys::None, 1);
    Batch::new(&mut payload, shape.records_per_batch, Codec::None)
}

/// Reads everything that was sent, from the start, on one connection.
pub fn consume(address: SocketAddr, topic: &str, partitions: i32) -> io::Result<Done> {
    consume_until(address, topic, partitions, || false)
}

/// The same, or until it is told that it is over.
pub fn consume_until(
    address: SocketAddr,
    topic: &str,
    partitions: i32,
    is_over: impl Fn() -> bool,
) -> io::Result<Done> {
    let meter = Meter::new(Duration::ZERO, WINDOW);
    let recorder = Recorder::new(&meter);
    let ends = ends(address, topic, partitions)?;
    let start = meter.now();
    let consuming = Consuming {
        address,
        connect_limit: CONNECT_LIMIT,
        topic: topic.to_owned(),
        positions: (0..partitions).map(|partition| (partition, 0)).collect(),
        ends: Some(ends),
        passes: 1,
        run: None,
        recorder: Arc::clone(&recorder),
    };
    consuming.run(is_over)?;
    let done = done(&meter, &[recorder])?;
    Ok(Done { seconds: done.seconds - start as f64 / 1e9, ..done })
}

/// High watermark of each partition, out of a fetch that asks for next to nothing.
fn ends(address: SocketAddr, topic: &str, partitions: i32) -> io::Result<Vec<(i32, i64)>> {
    let positions: Vec<(i32, i64)> = (0..partitions).map(|partition| (partition, 0)).collect();
    let limits = wire::FetchLimits { bytes_max: 1, partition_bytes_max: 1, ..LIMITS };
    let (mut requests, mut answers) = connect(address, CONNECT_LIMIT)?;
    requests.send(&mut [wire::fetch(topic, &positions, limits)], &[], 1)?;
    let parts = wire::fetched(answers.receive(1)?)?;
    Ok(parts.iter().map(|part| (part.partition, part.high_watermark)).collect())
}

/// Makes a topic and waits until every partition takes a batch.
pub fn make_topic(address: SocketAddr, topic: &str, partitions: i32) -> io::Result<()> {
    let (mut requests, mut answers) = connect(address, CONNECT_LIMIT)?;
    requests.send(&mut [wire::create_topic(topic, partitions)], &[], 1)?;
    let error = wire::created(answers.receive(1)?)?;
    if error != 0 {
        return Err(io::Error::other(format!("CreateTopics was answered with {}", wire::error_name(error))));
    }
    let tiny = Shape {
        name: "",
        records_per_batch: 1,
        record_bytes: 100,
        batches_per_request: partitions as usize,
        connections: 1,
        depth: 1,
    };
    for _ in 0..100 {
        if produce(address, topic, partitions, &tiny, -1, 1).is_ok() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Err(io::Error::other("the topic does not take batches after ten seconds"))
}
