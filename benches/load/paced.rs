//! Produces at a fixed rate, alone and beside a reader of cold data. Latencies count from the time a request was due,
//! so that a broker that falls behind is not forgiven for what it kept from being sent.

use std::io::{self, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::args::{Pace, Shape};
use crate::{consume, wire};

/// Sorted latencies of one run.
pub fn run(address: SocketAddr, topic: &str, partitions: i32, shape: &Shape, pace: Pace) -> io::Result<Vec<Duration>> {
    let batch = wire::batch(shape.records_per_batch, shape.record_bytes);
    let mut frames: Vec<Vec<u8>> = (0..partitions).map(|at| wire::produce(topic, &[at], &batch, -1)).collect();
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut answers = BufReader::new(stream.try_clone()?);
    let total = pace.rate * pace.seconds;
    let (due_of, dues) = mpsc::channel::<Instant>();
    let receiver = std::thread::spawn(move || -> io::Result<Vec<Duration>> {
        let mut frame = Vec::new();
        let mut latencies = Vec::with_capacity(total as usize);
        for number in 0..total {
            wire::receive(&mut answers, &mut frame, number as i32)?;
            let done = Instant::now();
            let error = wire::produced(&frame)?;
            if error != 0 {
                return Err(io::Error::other(format!("Produce was answered with error {error}")));
            }
            let due = dues.recv().map_err(|_| io::Error::other("an answer too many"))?;
            latencies.push(done.saturating_duration_since(due));
        }
        Ok(latencies)
    });
    let start = Instant::now();
    for number in 0..total {
        let due = start + Duration::from_nanos(number * 1_000_000_000 / pace.rate);
        if let Some(left) = due.checked_duration_since(Instant::now()) {
            std::thread::sleep(left);
        }
        if due_of.send(due).is_err() {
            break;
        }
        let slot = number as usize % frames.len();
        wire::send(&mut stream, &mut frames[slot], number as i32)?;
    }
    let mut latencies = receiver.join().map_err(|_| io::Error::other("the receiver panicked"))??;
    latencies.sort_unstable();
    Ok(latencies)
}

/// The same while another connection reads `cold` from the start again and again, its bytes not in the page cache;
/// answers how many bytes it read a second, too.
pub fn beside_a_reader(
    address: SocketAddr,
    topic: &str,
    cold: &str,
    partitions: i32,
    shape: &Shape,
    pace: Pace,
) -> io::Result<(Vec<Duration>, f64)> {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| -> io::Result<f64> {
            let (start, mut bytes) = (Instant::now(), 0);
            while !over.load(Ordering::Relaxed) {
                consume::drop_caches()?;
                bytes += consume::run_until(address, cold, partitions, &over)?.bytes;
            }
            Ok(bytes as f64 / start.elapsed().as_secs_f64())
        });
        let latencies = run(address, topic, partitions, shape, pace);
        over.store(true, Ordering::Relaxed);
        let rate = reader.join().map_err(|_| io::Error::other("the reader panicked"))??;
        Ok((latencies?, rate))
    })
}

/// The latency below which so many of ten thousand lie.
pub fn at(latencies: &[Duration], part: usize) -> Duration {
    let slot = (latencies.len() * part / 10_000).min(latencies.len().saturating_sub(1));
    latencies.get(slot).copied().unwrap_or_default()
}
