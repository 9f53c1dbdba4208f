//! The words of the command line and the shapes of load that have a name.

use std::net::{SocketAddr, ToSocketAddrs};

/// A broker under load.
#[derive(Clone, Debug)]
pub struct Broker {
    pub name: String,
    pub address: SocketAddr,
    /// Its process, to read CPU time and memory from; without it only rates are told.
    pub pid: Option<u32>,
}

/// What is sent.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub name: &'static str,
    pub records_per_batch: usize,
    pub record_bytes: usize,
    /// Partitions that one request brings a batch for.
    pub batches_per_request: usize,
    pub connections: usize,
    /// Requests of one connection in flight.
    pub depth: usize,
}

/// Shapes that budget.md speaks of. A Java producer's 16 KiB batch holds 15 records of 1 KiB.
pub const SHAPES: &[Shape] = &[
    Shape { name: "16k", records_per_batch: 15, record_bytes: 1024, batches_per_request: 1, connections: 2, depth: 5 },
    Shape {
        name: "16k-six",
        records_per_batch: 15,
        record_bytes: 1024,
        batches_per_request: 6,
        connections: 2,
        depth: 5,
    },
    Shape { name: "1m", records_per_batch: 1000, record_bytes: 1024, batches_per_request: 1, connections: 2, depth: 5 },
    Shape { name: "ten", records_per_batch: 1, record_bytes: 1024, batches_per_request: 10, connections: 2, depth: 5 },
    Shape { name: "one", records_per_batch: 1, record_bytes: 100, batches_per_request: 1, connections: 4, depth: 5 },
];

/// One measurement: produce `bytes` in this shape, or read everything back.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub shape: Shape,
    /// Bytes of batches to send, roughly.
    pub bytes: u64,
    /// Read all of it back afterwards, from the start.
    pub fetch: bool,
}

/// An open loop of requests.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Requests a second.
    pub rate: u64,
    pub seconds: u64,
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub brokers: Vec<Broker>,
    pub steps: Vec<Step>,
    pub rounds: usize,
    pub partitions: i32,
    pub acks: i16,
    /// How often each fetch step reads its topic.
    pub reads: usize,
    /// Empty the system's page cache before each of them (needs root).
    pub drop_caches: bool,
    /// After each fetch step: produce the first shape at this rate, alone and beside a reader of the step's topic.
    pub pace: Option<Pace>,
}

pub fn parse(words: &[String]) -> Result<Plan, String> {
    let mut plan = Plan {
        brokers: Vec::new(),
        steps: Vec::new(),
        rounds: 3,
        partitions: 6,
        acks: -1,
        reads: 1,
        drop_caches: false,
        pace: None,
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} wants a value"));
        match word.as_str() {
            "--broker" => plan.brokers.push(broker(value()?)?),
            "--step" => plan.steps.push(step(value()?)?),
            "--rounds" => plan.rounds = number(value()?)? as usize,
            "--partitions" => plan.partitions = number(value()?)? as i32,
            "--acks" => plan.acks = if value()? == "all" { -1 } else { 1 },
            "--reads" => plan.reads = number(value()?)? as usize,
            "--drop-caches" => plan.drop_caches = true,
            "--paced" => plan.pace = Some(pace(value()?)?),
            _ => return Err(format!("{word} is not known; see benches/README.md")),
        }
    }
    if plan.brokers.is_empty() || plan.steps.is_empty() {
        return Err("at least one --broker NAME=HOST:PORT[=PID] and one --step SHAPE:MEGABYTES[:fetch]".to_owned());
    }
    Ok(plan)
}

fn number(word: &str) -> Result<u64, String> {
    word.parse().map_err(|_| format!("{word} is not a number"))
}

fn pace(word: &str) -> Result<Pace, String> {
    let (rate, seconds) = word.split_once(':').ok_or(format!("--paced {word}: REQUESTS_A_SECOND:SECONDS"))?;
    Ok(Pace { rate: number(rate)?.max(1), seconds: number(seconds)?.max(1) })
}

fn broker(word: &str) -> Result<Broker, String> {
    let mut parts = word.split('=');
    let (Some(name), Some(address)) = (parts.next(), parts.next()) else {
        return Err(format!("--broker {word}: NAME=HOST:PORT[=PID]"));
    };
    let address = address.to_socket_addrs().map_err(|error| format!("{address}: {error}"))?.next();
    let pid = parts.next().map(|pid| number(pid).map(|pid| pid as u32)).transpose()?;
    Ok(Broker { name: name.to_owned(), address: address.ok_or(format!("{word}: no address"))?, pid })
}

fn step(word: &str) -> Result<Step, String> {
    let mut parts = word.split(':');
    let (Some(name), Some(megabytes)) = (parts.next(), parts.next()) else {
        return Err(format!("--step {word}: SHAPE:MEGABYTES[:fetch]"));
    };
    let shape = SHAPES.iter().find(|shape| shape.name == name);
    let names: Vec<&str> = SHAPES.iter().map(|shape| shape.name).collect();
    let shape = *shape.ok_or(format!("--step {word}: the shapes are {}", names.join(", ")))?;
    Ok(Step { shape, bytes: number(megabytes)? * 1_000_000, fetch: parts.next() == Some("fetch") })
}
