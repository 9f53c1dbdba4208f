//! What the benches share: a timing loop, a clock for machines, and a disk that answers at once.
//!
//! The loop is our own, ten lines: the questions here want a median of a few samples and a line of text, and the same
//! program has to run once over tiny inputs under `cargo test --benches`.
#![allow(dead_code, reason = "each bench uses its part")]
#![allow(clippy::disallowed_methods, reason = "benches read the clock and their words")]

use std::cell::Cell;
use std::hint::black_box;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kataract::base::ids::{CoreId, NodeId, Uuid};
use kataract::base::time::{Mono, Now};
use kataract::batch::build::BatchBuilder;
use kataract::cli::bench::raw::wire;
use kataract::engine::{Engine, SessionLimits};
use kataract::meta::settings::BrokerSettings;
use kataract::port::disk::{DiskError, DiskErrorKind, DiskOp, DiskOutput, DiskResult};
use kataract::shard::{Endpoint, JournalConfig, NodeFacts, Notice, ShardConfig};

/// As in the program: what is measured spends a part of its time there.
#[global_allocator]
static ALLOCATOR: kataract::rt::allocator::Allocator = kataract::rt::allocator::Allocator;

/// Samples per question; the median counts.
const SAMPLES: usize = 7;
/// How long one sample runs at least.
const SAMPLE: Duration = Duration::from_millis(150);

/// `cargo bench` passes `--bench`; without it, or with `--test`, everything runs once and small.
pub fn is_real() -> bool {
    let mut words = std::env::args();
    words.any(|word| word == "--bench") && !std::env::args().any(|word| word == "--test")
}

/// Median time of one call of `work`, nanoseconds; one call when this is only a test.
pub fn time(mut work: impl FnMut()) -> f64 {
    if !is_real() {
        work();
        return 0.0;
    }
    let mut calls = 1u32;
    loop {
        let start = Instant::now();
        (0..calls).for_each(|_| work());
        if start.elapsed() >= SAMPLE / 4 {
            break;
        }
        calls *= 2;
    }
    let mut samples: Vec<f64> = (0..SAMPLES)
        .map(|_| {
            let start = Instant::now();
            (0..calls * 4).for_each(|_| work());
            start.elapsed().as_nanos() as f64 / f64::from(calls * 4)
        })
        .collect();
    median(&mut samples)
}

pub fn median(samples: &mut [f64]) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples.get(samples.len() / 2).copied().unwrap_or(f64::NAN)
}

/// One line of a report: time a call, and what that is per byte.
pub fn line(name: &str, nanoseconds: f64, bytes: usize) {
    if !is_real() {
        println!("{name}: runs");
    } else if bytes == 0 {
        println!("{name:<44} {nanoseconds:>12.0} ns");
    } else {
        let rate = bytes as f64 / nanoseconds;
        println!("{name:<44} {nanoseconds:>12.0} ns   {rate:>7.2} GB/s   {:.3} CPU s/GB", 1.0 / rate);
    }
}

/// Measures and tells.
pub fn ask<T>(name: &str, bytes: usize, mut work: impl FnMut() -> T) {
    let took = time(|| {
        black_box(work());
    });
    line(name, took, bytes);
}

/// Time that machines see: some seconds after its zero, today's wall time.
pub fn now(step: u64) -> Now {
    let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Now { mono: Mono(10_000_000_000 + step * 1000), wall_ms: wall.map_or(0, |since| since.as_millis() as i64) }
}

/// The answer of a disk that is empty, keeps nothing and takes no time.
pub fn answer(op: &DiskOp) -> DiskResult {
    match op {
        DiskOp::Open { .. } => Ok(DiskOutput::Opened { len: 0 }),
        DiskOp::Read { .. } => Ok(DiskOutput::Data(Bytes::new())),
        DiskOp::List { .. } => Ok(DiskOutput::Entries(Vec::new())),
        DiskOp::ReadFile { path, .. } => {
            Err(DiskError { kind: DiskErrorKind::NotFound, detail: format!("{path}: not found") })
        }
        _ => Ok(DiskOutput::Done),
    }
}

/// An engine of one core as a node with the defaults makes it; the flag says when it serves.
pub fn engine(now: Now) -> (Engine, Rc<Cell<bool>>) {
    let values = [("node.id", "1"), ("listeners", "PLAINTEXT://127.0.0.1:9092")];
    let values = values.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let settings = BrokerSettings::from_values(values).expect("settings");
    let node = NodeFacts {
        node_id: NodeId(1),
        cluster_id: "bench".to_owned(),
        directory_id: Uuid([1; 16]),
        incarnation: Uuid([2; 16]),
        endpoints: vec![Endpoint { listener: "PLAINTEXT".to_owned(), host: "127.0.0.1".to_owned(), port: 9092 }],
    };
    let config = ShardConfig {
        core: CoreId(0),
        cores: 1,
        settings: Rc::new(settings),
        node: Rc::new(node),
        clean_start: true,
        seed: 1,
        files_max: 1000,
        tail_cache_bytes: 64 << 20,
        journal: JournalConfig { bytes: 64 << 20, logs_min: 1, lag_bytes: 32 << 20 },
        member_bytes_max: 16 << 20,
    };
    let limits = SessionLimits {
        frame_bytes_max: 100 << 20,
        requests_per_connection: 64,
        bytes_in_flight: 32 << 20,
        bytes_out: 16 << 20,
        idle_ms: None,
        fetch_sessions: 1000,
        fetch_session_bytes: 4 << 20,
    };
    let serving = Rc::new(Cell::new(false));
    let told = serving.clone();
    let report = Box::new(move |_, notice| told.set(told.get() || notice == Notice::Serving));
    (Engine::new(config, limits, now, report), serving)
}

/// One batch of records without keys, timestamps of today.
pub fn batch(records: usize, record_bytes: usize) -> Vec<u8> {
    let value: Vec<u8> = (0..record_bytes).map(|at| (at * 31 % 251) as u8).collect();
    let mut builder = BatchBuilder::new(0);
    for _ in 0..records {
        builder.push(now(0).wall_ms, None, Some(&value));
    }
    builder.finish().to_vec()
}

/// A whole Produce request that brings `batch` for one partition, acks=all.
pub fn produce(topic: &str, partition: i32, batch: &[u8]) -> Vec<u8> {
    let mut request = wire::produce(topic, &[partition], batch.len(), -1).concat();
    request.extend(batch);
    request
}
