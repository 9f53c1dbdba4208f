//! What is sent and read, in numbers that are stored beside every result: equal workloads make equal runs.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::payload::Keys;
use super::units::{self, Rate, parse_bytes, parse_duration};
use crate::batch::{Codec, HEADER_LEN};
use crate::cli::output::count_of;

/// What a Java producer buffers (buffer.memory), bytes: a closed loop keeps at most this much in flight.
const BUFFER_BYTES: usize = 32 << 20;
/// Bytes of a record besides key and value: lengths, deltas, attributes; an upper bound for batches below 2^21 records.
const RECORD_OVERHEAD: usize = 12;
/// The stamp of an end-to-end record: whose run, and when it should have been sent.
pub const STAMP_BYTES: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    Produce,
    Consume,
    EndToEnd,
}

impl Mode {
    pub fn name(self) -> &'static str {
        match self {
            Mode::Produce => "produce",
            Mode::Consume => "consume",
            Mode::EndToEnd => "end-to-end",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientKind {
    /// A real client library: what an application would see.
    Librdkafka,
    /// Batches encoded once, requests pipelined over plain sockets: what the broker can do.
    Raw,
}

/// Everything that shapes a run, besides the cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Workload {
    pub mode: Mode,
    pub client: ClientKind,
    /// An existing topic; a fresh one is made without it.
    pub topic: Option<String>,
    pub partitions: i32,
    /// -1: the broker's default.
    pub replication_factor: i32,
    pub topic_settings: BTreeMap<String, String>,
    pub producers: usize,
    pub consumers: usize,
    /// Of a record's value, bytes.
    pub record_bytes: usize,
    /// 0 (random bytes) to 1 (all equal).
    pub compressibility: f64,
    pub keys: Keys,
    /// None: a closed loop.
    pub rate: Option<Rate>,
    /// Closed loop of the library: records of one producer that wait for their acknowledgement.
    pub in_flight: usize,
    /// Raw: requests of one connection in flight.
    pub depth: usize,
    /// Raw: partitions that one produce request brings a batch for.
    pub partitions_per_request: usize,
    pub warm_up_ms: u64,
    pub duration_ms: u64,
    pub acks: String,
    /// Bytes.
    pub batch_size: usize,
    pub linger_ms: f64,
    pub compression: String,
    pub idempotent: bool,
    /// Bytes written before a consume run begins.
    pub fill_bytes: u64,
    /// How often a raw consumer reads it all. Results from before there was a choice have one.
    #[serde(default = "one")]
    pub passes: usize,
    /// Handed to the library as they are.
    pub client_settings: BTreeMap<String, String>,
}

fn one() -> usize {
    1
}

impl Workload {
    pub fn warm_up(&self) -> Duration {
        Duration::from_millis(self.warm_up_ms)
    }

    pub fn duration(&self) -> Duration {
        Duration::from_millis(self.duration_ms)
    }

    /// Records in a raw batch: as many as a producer with this batch.size would send, at least one.
    pub fn records_per_batch(&self) -> usize {
        let record = self.record_bytes + self.keys.bytes() + RECORD_OVERHEAD;
        (self.batch_size.saturating_sub(HEADER_LEN) / record).max(1)
    }

    /// The library's records in flight, for one producer.
    pub fn default_in_flight(record_bytes: usize) -> usize {
        (BUFFER_BYTES / record_bytes.max(1)).clamp(1, 100_000)
    }

    /// Events a second of one producer: records of the library, requests of the raw client; none in a closed loop.
    pub fn events_per_second(&self) -> Option<f64> {
        let record = (self.record_bytes + self.keys.bytes()) as f64;
        let records_per_event = match self.client {
            ClientKind::Librdkafka => 1.0,
            ClientKind::Raw => (self.records_per_batch() * self.partitions_per_request) as f64,
        };
        let events = match self.rate? {
            Rate::RecordsPerSecond(rate) => rate / records_per_event,
            Rate::RequestsPerSecond(rate) => rate,
            Rate::BytesPerSecond(rate) => rate / record / records_per_event,
        };
        Some(events / self.producers as f64)
    }

    /// One setting by the name an axis of the matrix gives it; other names are settings of the library.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let whole = |least: usize| match value.parse::<usize>() {
            Ok(number) if number >= least => Ok(number),
            _ => Err(format!("{name}={value}: a whole number of at least {least} is needed")),
        };
        let named = |error: String| format!("{name}: {error}");
        match name {
            "acks" => match value {
                "0" | "1" | "all" => self.acks = value.to_owned(),
                "-1" => self.acks = "all".to_owned(),
                _ => return Err(format!("acks={value}: 0, 1 or all")),
            },
            "batch.size" => self.batch_size = parse_bytes(value).map_err(named)?.max(1) as usize,
            "linger.ms" => match value.parse::<f64>() {
                Ok(ms) if (0.0..=900_000.0).contains(&ms) => self.linger_ms = ms,
                _ => return Err(format!("linger.ms={value}: 0 to 900000 milliseconds")),
            },
            "compression" | "compression.type" => {
                let codec =
                    Codec::from_name(value).map_err(|_| format!("{name}={value}: none, gzip, snappy, lz4 or zstd"))?;
                self.compression = codec.name().to_owned();
            }
            "enable.idempotence" => {
                self.idempotent = value.parse().map_err(|_| format!("{name}={value}: true or false"))?;
            }
            "partitions" => self.partitions = i32::try_from(whole(1)?).map_err(|_| format!("{name}: too many"))?,
            "producers" => self.producers = whole(1)?,
            "consumers" => self.consumers = whole(1)?,
            "record.bytes" => {
                self.record_bytes = parse_bytes(value).map_err(named)? as usize;
                self.in_flight = Workload::default_in_flight(self.record_bytes);
            }
            "depth" => self.depth = whole(1)?,
            "partitions.per.request" => self.partitions_per_request = whole(1)?,
            "rate" => self.rate = Some(Rate::parse(value)?),
            "duration" => self.duration_ms = parse_duration(value).map_err(named)?.as_millis() as u64,
            _ => {
                self.client_settings.insert(name.to_owned(), value.to_owned());
            }
        }
        Ok(())
    }

    /// What cannot work together, told before anything is made.
    pub fn check(&self) -> Result<(), String> {
        if self.mode == Mode::EndToEnd && self.record_bytes < STAMP_BYTES {
            return Err(format!("end-to-end records carry their time: --record-bytes of at least {STAMP_BYTES}"));
        }
        if self.mode == Mode::EndToEnd && self.rate.is_none() {
            return Err("end-to-end needs a --rate: a closed loop would measure its own queue".to_owned());
        }
        if self.mode == Mode::Consume && self.rate.is_some() {
            return Err("a consumer reads as fast as it can: --rate is for produce and end-to-end".to_owned());
        }
        if self.passes > 1 && (self.mode, self.client) != (Mode::Consume, ClientKind::Raw) {
            return Err("only a --raw consumer reads what is there several times: --passes".to_owned());
        }
        if self.idempotent && self.acks != "all" {
            return Err("idempotence needs acks=all".to_owned());
        }
        match self.client {
            ClientKind::Raw => self.check_raw(),
            ClientKind::Librdkafka if matches!(self.rate, Some(Rate::RequestsPerSecond(_))) => {
                Err("a library decides itself what goes into a request: give --rate in records or bytes, or --raw"
                    .into())
            }
            ClientKind::Librdkafka => Ok(()),
        }
    }

    fn check_raw(&self) -> Result<(), String> {
        if self.idempotent {
            return Err("--raw sends the same batches again and again: it cannot be idempotent".to_owned());
        }
        if let Some(name) = self.client_settings.keys().next() {
            return Err(format!("{name} is a setting of the client library, which --raw does not use"));
        }
        if self.mode == Mode::EndToEnd && self.compression != "none" {
            return Err("--raw end-to-end writes the time into the encoded batch: --compression none".to_owned());
        }
        if self.partitions_per_request > self.partitions.unsigned_abs() as usize {
            return Err("--partitions-per-request is larger than --partitions".to_owned());
        }
        Ok(())
    }

    /// One line for people.
    pub fn describe(&self) -> String {
        let client = match self.client {
            ClientKind::Librdkafka => "librdkafka",
            ClientKind::Raw => "raw",
        };
        let rate = match self.rate {
            None if self.mode == Mode::Consume => String::new(),
            None => ", closed loop".to_owned(),
            Some(Rate::RecordsPerSecond(rate)) => format!(", {} records/s", units::number(rate)),
            Some(Rate::RequestsPerSecond(rate)) => format!(", {} requests/s", units::number(rate)),
            Some(Rate::BytesPerSecond(rate)) => format!(", {} MB/s", units::number(rate / 1e6)),
        };
        let partitions = count_of(self.partitions.unsigned_abs().into(), "partition");
        let what = format!("{} with {client}, {partitions}", self.mode.name());
        let passes = if self.passes > 1 { format!(", read {} times", self.passes) } else { String::new() };
        if self.mode == Mode::Consume && self.topic.is_some() {
            return what + &passes;
        }
        let linger = match self.client {
            ClientKind::Raw => String::new(),
            ClientKind::Librdkafka => format!(", linger.ms={}", self.linger_ms),
        };
        format!(
            "{what}, {} records, acks={}, batch.size={}{linger}, compression {}{rate}{passes}",
            units::bytes(self.record_bytes as u64),
            self.acks,
            units::bytes(self.batch_size as u64),
            self.compression,
        )
    }

    /// Every setting as a row of name and value, for tables; what a client does not use is left out.
    pub fn settings(&self) -> Vec<(String, String)> {
        let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(self) else { return Vec::new() };
        let raw_only = ["depth", "partitions_per_request", "passes"];
        let library_only = ["in_flight", "linger_ms", "idempotent", "client_settings"];
        let unused = match self.client {
            ClientKind::Raw => &library_only[..],
            ClientKind::Librdkafka => &raw_only[..],
        };
        let plain = |value: &serde_json::Value| match value {
            serde_json::Value::String(text) => text.clone(),
            serde_json::Value::Object(map) if map.is_empty() => "none".to_owned(),
            serde_json::Value::Null => "none".to_owned(),
            other => other.to_string(),
        };
        let used = fields.iter().filter(|(name, _)| !unused.contains(&name.as_str()));
        used.map(|(name, value)| (name.replace('_', "."), plain(value))).collect()
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A workload as the command line makes it without flags.
    pub fn plain() -> Workload {
        Workload {
            mode: Mode::Produce,
            client: ClientKind::Librdkafka,
            topic: None,
            partitions: 6,
            replication_factor: -1,
            topic_settings: BTreeMap::new(),
            producers: 2,
            consumers: 1,
            record_bytes: 1024,
            compressibility: 0.5,
            keys: Keys::None,
            rate: None,
            in_flight: 100,
            depth: 5,
            partitions_per_request: 1,
            warm_up_ms: 0,
            duration_ms: 1000,
            acks: "all".to_owned(),
            batch_size: 16_384,
            linger_ms: 5.0,
            compression: "none".to_owned(),
            idempotent: false,
            fill_bytes: 0,
            passes: 1,
            client_settings: BTreeMap::new(),
        }
    }

    #[test]
    fn a_raw_batch_holds_what_a_java_producer_would_put_into_it() {
        assert_eq!(plain().records_per_batch(), 15);
        assert_eq!(Workload { record_bytes: 100_000, ..plain() }.records_per_batch(), 1);
    }

    #[test]
    fn rates_become_events_of_one_producer() {
        let raw = Workload { client: ClientKind::Raw, rate: Some(Rate::RequestsPerSecond(1500.0)), ..plain() };
        assert_eq!(raw.events_per_second(), Some(750.0));
        let raw = Workload { rate: Some(Rate::RecordsPerSecond(1500.0)), ..raw };
        assert_eq!(raw.events_per_second(), Some(50.0));
        let library = Workload { rate: Some(Rate::BytesPerSecond(2_048_000.0)), ..plain() };
        assert_eq!(library.events_per_second(), Some(1000.0));
        assert_eq!(plain().events_per_second(), None);
    }

    #[test]
    fn what_cannot_work_is_refused_with_the_reason() {
        let raw = |change: fn(&mut Workload)| {
            let mut workload = Workload { client: ClientKind::Raw, ..plain() };
            change(&mut workload);
            workload.check().unwrap_err()
        };
        assert!(raw(|w| w.idempotent = true).contains("idempotent"));
        assert!(raw(|w| drop(w.set("queue.buffering.max.ms", "1"))).contains("queue.buffering.max.ms"));
        assert!(raw(|w| w.partitions_per_request = 7).contains("--partitions"));
        assert!(raw(|w| w.passes = 2).contains("--passes"));
        let end_to_end = Workload { mode: Mode::EndToEnd, ..plain() };
        assert!(end_to_end.check().unwrap_err().contains("--rate"));
        assert!(Workload { rate: Some(Rate::RequestsPerSecond(1.0)), ..plain() }.check().is_err());
        assert!(plain().check().is_ok());
    }

    #[test]
    fn axes_set_known_words_and_pass_the_rest_to_the_library() {
        let mut workload = plain();
        for (name, value) in [("acks", "-1"), ("batch.size", "1MiB"), ("linger.ms", "0.5"), ("compression.type", "lz4")]
        {
            workload.set(name, value).unwrap();
        }
        assert_eq!(
            (workload.acks.as_str(), workload.batch_size, workload.compression.as_str()),
            ("all", 1 << 20, "lz4")
        );
        workload.set("socket.nagle.disable", "true").unwrap();
        assert_eq!(workload.client_settings["socket.nagle.disable"], "true");
        for (name, value) in [("acks", "2"), ("batch.size", "x"), ("compression", "rar"), ("producers", "0")] {
            assert!(workload.set(name, value).is_err(), "{name}={value}");
        }
    }
}
