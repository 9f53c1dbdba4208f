//! Reads everything a topic holds, from the start, on one connection.

use std::io::{self, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::wire;

/// Bytes asked for at once; a Java consumer asks for 50 MB, of which a broker sends 1 MB a partition.
const FETCH_BYTES: i32 = 50 << 20;

/// What a run did.
#[derive(Debug, Default)]
pub struct Read {
    pub requests: u64,
    pub bytes: u64,
    pub seconds: f64,
}

/// Empties the system's page cache: what was read before must come from the disk again.
pub fn drop_caches() -> io::Result<()> {
    std::fs::write("/proc/sys/vm/drop_caches", "3")
}

/// Reads until a fetch over all partitions brings nothing.
pub fn run(address: SocketAddr, topic: &str, partitions: i32) -> io::Result<Read> {
    run_until(address, topic, partitions, &AtomicBool::new(false))
}

/// The same, or until it is told that it is over.
pub fn run_until(address: SocketAddr, topic: &str, partitions: i32, over: &AtomicBool) -> io::Result<Read> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut answers = BufReader::with_capacity(1 << 16, stream.try_clone()?);
    let mut positions: Vec<(i32, i64)> = (0..partitions).map(|partition| (partition, 0)).collect();
    let mut read = Read::default();
    let mut frame = Vec::new();
    let start = Instant::now();
    loop {
        let correlation = read.requests as i32;
        wire::send(&mut stream, &mut wire::fetch(topic, &positions, FETCH_BYTES), correlation)?;
        wire::receive(&mut answers, &mut frame, correlation)?;
        let mut bytes = 0;
        for part in wire::fetched(&frame)? {
            if part.error != 0 {
                return Err(io::Error::other(format!("Fetch was answered with error {}", part.error)));
            }
            bytes += part.bytes as u64;
            if let Some(next) = part.next {
                positions[part.partition as usize].1 = next;
            }
        }
        read.requests += 1;
        read.bytes += bytes;
        if bytes == 0 || over.load(Ordering::Relaxed) {
            return Ok(read);
        }
        read.seconds = start.elapsed().as_secs_f64();
    }
}
