//! Produces a number of bytes over several connections, with a fixed number of requests of each in flight.

use std::collections::VecDeque;
use std::io::{self, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::args::Shape;
use crate::wire;

/// What a run did, as the client saw it.
#[derive(Debug, Default)]
pub struct Sent {
    pub requests: u64,
    /// Bytes of batches acknowledged.
    pub bytes: u64,
    pub seconds: f64,
    /// Sorted, of every request.
    pub latencies: Vec<Duration>,
}

/// One connection's share: as many requests as it takes, the partitions in turn.
struct Worker {
    address: SocketAddr,
    frames: Vec<Vec<u8>>,
    requests: u64,
    depth: usize,
    first: usize,
}

pub fn run(
    address: SocketAddr,
    topic: &str,
    partitions: i32,
    shape: &Shape,
    acks: i16,
    bytes: u64,
) -> io::Result<Sent> {
    let batch = wire::batch(shape.records_per_batch, shape.record_bytes);
    let groups: Vec<Vec<i32>> =
        (0..partitions).collect::<Vec<_>>().chunks(shape.batches_per_request).map(<[i32]>::to_vec).collect();
    let frames: Vec<Vec<u8>> = groups.iter().map(|group| wire::produce(topic, group, &batch, acks)).collect();
    let request_bytes = (batch.len() * shape.batches_per_request) as u64;
    let share = bytes.div_ceil(request_bytes * shape.connections as u64).max(1);
    let start = Instant::now();
    let workers: Vec<_> = (0..shape.connections)
        .map(|number| {
            let worker =
                Worker { address, frames: frames.clone(), requests: share, depth: shape.depth, first: number * 3 };
            std::thread::spawn(move || worker.run())
        })
        .collect();
    let mut sent = Sent::default();
    for worker in workers {
        let latencies = worker.join().map_err(|_| io::Error::other("a connection's thread panicked"))??;
        sent.requests += latencies.len() as u64;
        sent.latencies.extend(latencies);
    }
    sent.seconds = start.elapsed().as_secs_f64();
    sent.bytes = sent.requests * request_bytes;
    sent.latencies.sort_unstable();
    Ok(sent)
}

impl Worker {
    fn run(mut self) -> io::Result<Vec<Duration>> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        let mut answers = BufReader::new(stream.try_clone()?);
        let mut in_flight: VecDeque<Instant> = VecDeque::new();
        let mut latencies = Vec::with_capacity(self.requests as usize);
        let mut frame = Vec::new();
        let (mut asked, mut answered) = (0u64, 0u64);
        while answered < self.requests {
            while asked < self.requests && in_flight.len() < self.depth {
                let slot = (self.first + asked as usize) % self.frames.len();
                in_flight.push_back(Instant::now());
                wire::send(&mut stream, &mut self.frames[slot], asked as i32)?;
                asked += 1;
            }
            wire::receive(&mut answers, &mut frame, answered as i32)?;
            let error = wire::produced(&frame)?;
            if error != 0 {
                return Err(io::Error::other(format!("Produce was answered with error {error}")));
            }
            let began = in_flight.pop_front().ok_or_else(|| io::Error::other("an answer too many"))?;
            latencies.push(began.elapsed());
            answered += 1;
        }
        Ok(latencies)
    }
}

/// Makes a topic and waits until every partition takes a batch.
pub fn make_topic(address: SocketAddr, topic: &str, partitions: i32) -> io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    let mut frame = Vec::new();
    wire::send(&mut stream, &mut wire::create_topic(topic, partitions), 1)?;
    wire::receive(&mut stream, &mut frame, 1)?;
    let error = wire::created(&frame)?;
    if error != 0 {
        return Err(io::Error::other(format!("CreateTopics was answered with error {error}")));
    }
    let batch = wire::batch(1, 100);
    let all: Vec<i32> = (0..partitions).collect();
    for attempt in 2..100 {
        wire::send(&mut stream, &mut wire::produce(topic, &all, &batch, -1), attempt)?;
        wire::receive(&mut stream, &mut frame, attempt)?;
        if wire::produced(&frame)? == 0 {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Err(io::Error::other("the topic does not take batches after ten seconds"))
}
