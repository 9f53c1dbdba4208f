//! Produces at a fixed rate, alone and beside a reader of cold data. Latencies count from the time a request was due,
//! so that a broker that falls behind is not forgiven for what it kept from being sent.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::args::{Pace, Shape};
use crate::produce;

/// What one paced run showed.
pub struct Paced {
    latencies: hdrhistogram::Histogram<u64>,
    /// Bytes a second that the reader beside it got.
    read_rate: f64,
}

/// Empties the system's page cache: what was read before must come from the disk again.
pub fn drop_caches() -> io::Result<()> {
    std::fs::write("/proc/sys/vm/drop_caches", "3")
}

/// Produces to `topic`, nothing beside it.
pub fn alone(address: SocketAddr, topic: &str, partitions: i32, shape: &Shape, pace: Pace) -> io::Result<Paced> {
    let done = produce::produce_paced(address, topic, partitions, shape, pace)?;
    Ok(Paced { latencies: done.tally.total, read_rate: 0.0 })
}

/// The same while another connection reads `cold` from the start again and again, its bytes not in the page cache.
pub fn beside_a_reader(
    address: SocketAddr,
    (topic, cold): (&str, &str),
    partitions: i32,
    shape: &Shape,
    pace: Pace,
) -> io::Result<Paced> {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| -> io::Result<f64> {
            let (start, mut bytes) = (Instant::now(), 0);
            while !over.load(Ordering::Relaxed) {
                drop_caches()?;
                let read = produce::consume_until(address, cold, partitions, || over.load(Ordering::Relaxed))?;
                bytes += read.tally.counted.bytes;
            }
            Ok(bytes as f64 / start.elapsed().as_secs_f64())
        });
        let produced = alone(address, topic, partitions, shape, pace);
        over.store(true, Ordering::Relaxed);
        let read_rate = reader.join().map_err(|_| io::Error::other("the reader panicked"))??;
        Ok(Paced { read_rate, ..produced? })
    })
}

impl Paced {
    pub fn tell(&self, name: &str, broker: &str) {
        let ms = |quantile: f64| Duration::from_nanos(self.latencies.value_at_quantile(quantile)).as_secs_f64() * 1e3;
        println!(
            "paced {name:<16} {broker:<10} p50 {:>6.2} p99 {:>6.2} p99.9 {:>6.2} max {:>6.2} ms, {:.0} MB/s read",
            ms(0.5),
            ms(0.99),
            ms(0.999),
            ms(1.0),
            self.read_rate / 1e6,
        );
    }
}
