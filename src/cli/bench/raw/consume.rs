//! Reads over one connection: one fetch in flight over all its partitions, as a consumer does.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::connection::connect;
use super::produce::stamp_of;
use super::wire::{self, FetchLimits};
use crate::cli::bench::meter::{Counts, Recorder};

/// A Java consumer asks for 50 MB, of which a broker sends 1 MB a partition; and it waits half a second for news.
pub const LIMITS: FetchLimits = FetchLimits { bytes_max: 50 << 20, partition_bytes_max: 1 << 20, wait_max_ms: 500 };

/// What one connection reads.
#[derive(Debug)]
pub struct Consuming {
    pub address: SocketAddr,
    pub connect_limit: Duration,
    pub topic: String,
    /// Partition and the offset to begin at.
    pub positions: Vec<(i32, i64)>,
    /// Stop when each of these partitions is read up to here; without it when the window is over.
    pub ends: Option<Vec<(i32, i64)>>,
    /// How often to read up to there; each time from where the first began.
    pub passes: usize,
    /// End to end: whose stamps are looked for.
    pub run: Option<u64>,
    pub recorder: Arc<Recorder>,
}

impl Consuming {
    /// Reads until the end or the end of the window, whichever comes first. `is_over` tells an end-to-end reader that
    /// everything it waits for has come or is given up.
    pub fn run(mut self, is_over: impl Fn() -> bool) -> io::Result<()> {
        let (mut requests, mut answers) = connect(self.address, self.connect_limit)?;
        let beginning = self.positions.clone();
        for correlation in 0i32.. {
            let began = self.recorder.meter().now();
            if self.is_at_end() && self.passes > 1 {
                self.passes -= 1;
                self.positions.clone_from(&beginning);
            }
            if is_over() || self.is_at_end() {
                break;
            }
            let mut request = [wire::fetch(&self.topic, &self.positions, LIMITS)];
            requests.send(&mut request, &[], correlation)?;
            let answer = answers.receive(correlation)?;
            let counts = take(answer, &mut self.positions, self.run, &self.recorder)?;
            if self.run.is_some() {
                self.recorder.count(self.recorder.meter().now(), counts);
            } else {
                self.recorder.done(began, counts);
            }
        }
        Ok(())
    }

    fn is_at_end(&self) -> bool {
        let Some(ends) = &self.ends else { return false };
        let position = |partition: i32| self.positions.iter().find(|(one, _)| *one == partition);
        ends.iter().all(|(partition, end)| position(*partition).is_none_or(|(_, at)| at >= end))
    }
}

/// Moves the positions; records the latency of every stamp.
fn take(answer: &[u8], positions: &mut [(i32, i64)], run: Option<u64>, recorder: &Recorder) -> io::Result<Counts> {
    let mut counts = Counts { records: 0, bytes: 0, requests: 1 };
    for part in wire::fetched(answer)? {
        if part.error != 0 {
            let what =
                format!("Fetch of partition {} was answered with {}", part.partition, wire::error_name(part.error));
            return Err(io::Error::other(what));
        }
        let found = wire::contents(part.records, |batch| {
            if let Some(due) = run.and_then(|run| stamp_of(batch, run)) {
                recorder.done(due, Counts::default());
            }
        })?;
        counts.records += found.records;
        counts.bytes += part.records.len() as u64;
        if let (Some(next), Some(position)) = (found.next, positions.iter_mut().find(|(p, _)| *p == part.partition)) {
            position.1 = next;
        }
    }
    Ok(counts)
}
