//! Produces over one connection: a closed loop with a fixed number of requests in flight, or an open loop whose sender
//! and reader are two threads, so that slow answers never hold a request back.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use bytes::Bytes;

use super::connection::{Answers, Requests, connect};
use super::wire;
use crate::batch::build::BatchBuilder;
use crate::batch::patch::seal_crc;
use crate::batch::{Codec, records};
use crate::cli::bench::meter::{Counts, Recorder};
use crate::cli::bench::pacing::{self, Schedule};
use crate::cli::bench::payload::Payload;
use crate::cli::bench::workload::STAMP_BYTES;

/// A batch that is sent again and again.
#[derive(Clone, Debug)]
pub struct Batch {
    bytes: Vec<u8>,
    records: u64,
    /// Where the first record's value begins, for stamps.
    value_at: Option<usize>,
}

impl Batch {
    /// `count` records of the payload, written now.
    pub fn new(payload: &mut Payload, count: usize, codec: Codec) -> Batch {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now_ms = now.map_or(0, |since| since.as_millis() as i64);
        let mut builder = BatchBuilder::new(0).codec(codec, None).leader_epoch(-1);
        let mut first = Vec::new();
        for _ in 0..count {
            let (key, value) = payload.record();
            if first.is_empty() {
                first = value.to_vec();
            }
            builder.push(now_ms, key, Some(value));
        }
        let bytes = builder.finish().to_vec();
        let plain = codec == Codec::None && first.len() >= STAMP_BYTES;
        let value_at = plain.then(|| bytes.windows(first.len()).position(|window| window == first)).flatten();
        Batch { bytes, records: count as u64, value_at }
    }

    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Writes whose run this is and when the batch is due into its first record.
    fn stamp(&mut self, run: u64, due_ns: u64) {
        if let Some(at) = self.value_at {
            self.bytes[at..at + 8].copy_from_slice(&run.to_be_bytes());
            self.bytes[at + 8..at + STAMP_BYTES].copy_from_slice(&due_ns.to_be_bytes());
            seal_crc(&mut self.bytes);
        }
    }
}

/// When the batch was due, if its first record carries the stamp of this run.
pub fn stamp_of(batch: &[u8], run: u64) -> Option<u64> {
    let mut records = records::iter(&Bytes::copy_from_slice(batch)).ok()?;
    let value = records.next()?.ok()?.value?;
    stamp_in(&value, run)
}

/// When a value was due, if it carries the stamp of this run.
pub fn stamp_in(value: &[u8], run: u64) -> Option<u64> {
    let (whose, rest) = value.split_first_chunk::<8>()?;
    let due = rest.first_chunk::<8>()?;
    (u64::from_be_bytes(*whose) == run).then(|| u64::from_be_bytes(*due))
}

/// What one connection does.
#[derive(Debug)]
pub struct Producing {
    pub address: SocketAddr,
    pub connect_limit: Duration,
    pub topic: String,
    pub partitions: Vec<i32>,
    pub partitions_per_request: usize,
    pub batch: Batch,
    pub acks: i16,
    /// Closed loop: requests in flight.
    pub depth: usize,
    /// Open loop: when requests are due.
    pub schedule: Option<Schedule>,
    /// Stop after this many requests.
    pub requests_max: u64,
    /// Which of the requests comes first: connections begin at different partitions.
    pub first: usize,
    /// End to end: whose stamp the batches get.
    pub run: Option<u64>,
    pub recorder: Arc<Recorder>,
}

/// An encoded request and what an answer to it means.
struct Prepared {
    heads: Vec<Vec<u8>>,
    counts: Counts,
}

impl Producing {
    /// Runs until the meter's window is over and everything is answered.
    pub fn run(mut self) -> io::Result<()> {
        let prepared: Vec<Prepared> = self
            .partitions
            .chunks(self.partitions_per_request.max(1))
            .map(|group| {
                let count = group.len() as u64;
                let counts =
                    Counts { records: self.batch.records * count, bytes: self.batch.len() as u64 * count, requests: 1 };
                Prepared { heads: wire::produce(&self.topic, group, self.batch.len(), self.acks), counts }
            })
            .collect();
        let (requests, answers) = connect(self.address, self.connect_limit)?;
        match self.schedule.take() {
            None => self.closed(prepared, requests, answers),
            Some(schedule) => self.open(schedule, prepared, requests, answers),
        }
    }

    fn closed(mut self, mut prepared: Vec<Prepared>, mut requests: Requests, mut answers: Answers) -> io::Result<()> {
        let mut in_flight: VecDeque<(u64, Counts)> = VecDeque::with_capacity(self.depth);
        let (mut asked, mut answered) = (0u64, 0u64);
        loop {
            while in_flight.len() < self.depth && asked < self.requests_max {
                let now = self.recorder.meter().now();
                if self.recorder.meter().is_over(now) {
                    break;
                }
                let counts = self.send(&mut prepared, &mut requests, asked, now, false)?;
                asked += 1;
                if self.acks == 0 {
                    self.recorder.count(self.recorder.meter().now(), counts);
                } else {
                    in_flight.push_back((now, counts));
                }
            }
            let Some((began, counts)) = in_flight.pop_front() else { return Ok(()) };
            answer(&mut answers, answered, began, counts, &self.recorder)?;
            answered += 1;
        }
    }

    fn open(
        mut self,
        mut schedule: Schedule,
        mut prepared: Vec<Prepared>,
        mut requests: Requests,
        answers: Answers,
    ) -> io::Result<()> {
        let (sender, receiver) = channel();
        let recorder = Arc::clone(&self.recorder);
        let reads = self.acks != 0;
        let reader = std::thread::spawn(move || if reads { read(answers, &receiver, &recorder) } else { Ok(()) });
        let sent = self.pace(&mut schedule, &mut prepared, &mut requests, &sender);
        drop(sender);
        let read = reader.join().map_err(|_| io::Error::other("a connection's reader panicked"))?;
        // Why reading failed says more than that writing failed after it.
        read.and(sent)
    }

    fn pace(
        &mut self,
        schedule: &mut Schedule,
        prepared: &mut [Prepared],
        requests: &mut Requests,
        sender: &Sender<(u64, Counts)>,
    ) -> io::Result<()> {
        pacing::sharpen_sleep();
        for asked in 0..self.requests_max {
            let due = schedule.due();
            schedule.advance();
            loop {
                // A run that was cut ends here, not at the next due time.
                if self.recorder.meter().is_over(due) {
                    return Ok(());
                }
                if pacing::approach(due, self.recorder.meter().now()) {
                    break;
                }
            }
            let counts = self.send(prepared, requests, asked, due, true)?;
            if self.acks == 0 {
                self.recorder.count(self.recorder.meter().now(), counts);
            } else if sender.send((due, counts)).is_err() {
                // The reader has failed and says why.
                return Ok(());
            }
        }
        Ok(())
    }

    fn send(
        &mut self,
        prepared: &mut [Prepared],
        requests: &mut Requests,
        asked: u64,
        due: u64,
        is_paced: bool,
    ) -> io::Result<Counts> {
        let slot = (self.first as u64).wrapping_add(asked) as usize % prepared.len();
        if let Some(run) = self.run {
            self.batch.stamp(run, due);
        }
        let request = &mut prepared[slot];
        // Only the first record of a batch carries a stamp, so only it is waited for end to end.
        let waited = if self.run.is_some() { request.heads.len() as u64 } else { request.counts.records };
        self.recorder.sent(due, waited, is_paced);
        requests.send(&mut request.heads, &self.batch.bytes, asked as i32)?;
        Ok(request.counts)
    }
}

fn read(mut answers: Answers, sent: &Receiver<(u64, Counts)>, recorder: &Recorder) -> io::Result<()> {
    for (answered, (due, counts)) in sent.iter().enumerate() {
        answer(&mut answers, answered as u64, due, counts, recorder)?;
    }
    Ok(())
}

fn answer(answers: &mut Answers, number: u64, due: u64, counts: Counts, recorder: &Recorder) -> io::Result<()> {
    let error = wire::produced(answers.receive(number as i32)?)?;
    if error == 0 {
        recorder.done(due, counts);
    } else {
        recorder.failed(counts.records, || format!("Produce was answered with {}", wire::error_name(error)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::validate::{ClientRules, check_client_batch};
    use crate::cli::bench::payload::Keys;

    #[test]
    fn a_stamped_batch_is_still_valid_and_carries_its_time() {
        let mut payload = Payload::new(100, 0.5, Keys::Uniform(10), 1);
        let mut batch = Batch::new(&mut payload, 3, Codec::None);
        batch.stamp(77, 123_456_789);
        let rules = ClientRules {
            max_batch_bytes: 1 << 20,
            compacted: false,
            timestamp_type_log_append: false,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: i64::MAX,
            now_ms: 0,
            zstd_allowed: true,
        };
        assert_eq!(check_client_batch(&batch.bytes, &rules).unwrap().record_count, 3);
        assert_eq!(stamp_of(&batch.bytes, 77), Some(123_456_789));
        assert_eq!(stamp_of(&batch.bytes, 78), None, "somebody else's record");
        assert_eq!(stamp_of(&batch.bytes[..50], 77), None);
    }
}
