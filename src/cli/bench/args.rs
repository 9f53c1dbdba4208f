//! The words of `kataract bench` and how they become a workload.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::payload::Keys;
use super::run::Target;
use super::units::{Goal, Rate, parse_bytes, parse_duration};
use super::workload::{ClientKind, Mode, Workload};
use crate::cli::args::{Acks, ClientArgs, Compression, key_value};

#[derive(Debug, Args)]
pub struct BenchArgs {
    #[command(subcommand)]
    pub verb: BenchVerb,
}

#[derive(Debug, Subcommand)]
pub enum BenchVerb {
    /// Send records and measure their acknowledgements
    Produce(SingleArgs),
    /// Read records as fast as they come
    Consume(SingleArgs),
    /// Send records and measure when a consumer has them
    EndToEnd(SingleArgs),
    /// Run combinations of settings, interleaved and repeated; a rerun under the same --name goes on
    Matrix(MatrixArgs),
    /// Run the same workload against two clusters in turns
    Compare(CompareArgs),
    /// Make the report of stored runs again; of several, side by side
    Report(ReportArgs),
    /// Measure this machine itself: loopback, disk, CRC, copy. Later reports in the same folder show it
    Machine(MachineArgs),
}

/// Where results go.
#[derive(Clone, Debug, Args)]
pub struct StoreArgs {
    /// The folder of results
    #[arg(long, value_name = "FOLDER", default_value = "kataract-bench")]
    pub out: PathBuf,
    /// Keep the results under this name; more runs under one name are added [default: command and time]
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    pub name: Option<String>,
}

/// A name becomes file names.
fn parse_name(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    if text.is_empty() || text.starts_with('.') || text.len() > 100 || !text.chars().all(plain) {
        return Err("a name has letters, digits, '-', '_' and '.', at most 100 of them".to_owned());
    }
    Ok(text.to_owned())
}

#[derive(Clone, Debug, Args)]
pub struct WorkloadArgs {
    /// The raw client: batches encoded once, pipelined over plain sockets, so that the broker is the limit
    #[arg(long)]
    pub raw: bool,
    /// Use this topic and keep it [default: a fresh topic, deleted at the end]
    #[arg(long, value_name = "NAME")]
    pub topic: Option<String>,
    /// Partitions of the fresh topic
    #[arg(short, long, default_value_t = 6, value_parser = clap::value_parser!(i32).range(1..))]
    pub partitions: i32,
    /// Copies of each partition [default: the broker's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i16).range(1..))]
    pub replication_factor: Option<i16>,
    /// A setting of the fresh topic; may be repeated
    #[arg(long = "topic-config", value_name = "KEY=VALUE", value_parser = key_value)]
    pub topic_settings: Vec<(String, String)>,
    /// Producers, each with connections of its own
    #[arg(long, default_value_t = 1, value_parser = count)]
    pub producers: usize,
    /// Consumers, which share the partitions
    #[arg(long, default_value_t = 1, value_parser = count)]
    pub consumers: usize,
    /// Size of a record's value
    #[arg(long, value_name = "SIZE", default_value = "1KiB", value_parser = parse_bytes)]
    pub record_bytes: u64,
    /// How much of a value a codec can squeeze out: 0 (random bytes) to 1
    #[arg(long, value_name = "FRACTION", default_value_t = 0.5, value_parser = fraction)]
    pub compressibility: f64,
    /// Keys: none, uniform:COUNT, zipf:COUNT[:EXPONENT] or fixed:COUNT (in turn)
    #[arg(long, default_value = "none", value_parser = Keys::parse)]
    pub keys: Keys,
    /// Open loop at this rate, whatever the answers do; latency counts from when a record was due: 1000 (records a
    /// second), 20MB/s, with --raw also 1500req/s [default: a closed loop; end-to-end: 1000]
    #[arg(long, value_parser = Rate::parse)]
    pub rate: Option<Rate>,
    /// Closed loop: records of one producer in flight [default: 32 MiB of them]
    #[arg(long, value_name = "RECORDS", value_parser = count)]
    pub in_flight: Option<usize>,
    /// Raw: requests of one connection in flight
    #[arg(long, value_name = "REQUESTS", default_value_t = 5, value_parser = count)]
    pub depth: usize,
    /// Raw: partitions that one request brings a batch for
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count)]
    pub partitions_per_request: usize,
    /// Runs before anything counts [default: 5s; consume: 0s; matrix: 2s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub warm_up: Option<Duration>,
    /// How long to measure [default: 30s; matrix: 10s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub duration: Option<Duration>,
    /// Wait for nobody, the leader, or all in-sync replicas
    #[arg(long, value_enum, default_value_t = Acks::All)]
    pub acks: Acks,
    /// Largest batch, uncompressed; raw: the size of every batch
    #[arg(long, value_name = "SIZE", default_value = "16KiB", value_parser = parse_bytes)]
    pub batch_size: u64,
    /// How long a producer waits for a batch to fill, milliseconds (a Java producer of today: 5)
    #[arg(long, value_name = "MS", default_value_t = 5.0)]
    pub linger_ms: f64,
    #[arg(long, value_enum, default_value_t = Compression::None)]
    pub compression: Compression,
    /// No duplicates and no reordering on retries
    #[arg(long)]
    pub idempotent: bool,
    /// Consume: how much to write into the fresh topic first
    #[arg(long, value_name = "SIZE", default_value = "1GB", value_parser = parse_bytes)]
    pub fill: u64,
    /// Raw consume: read it all so many times; a topic that fits in the broker's memory is read from there then
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count)]
    pub passes: usize,
    /// Any other setting of the client library; may be repeated
    #[arg(long = "client", value_name = "KEY=VALUE", value_parser = key_value)]
    pub client_settings: Vec<(String, String)>,
    /// Leave the topics that were made here
    #[arg(long)]
    pub keep_topics: bool,
    /// No progress on standard error
    #[arg(long)]
    pub quiet: bool,
}

#[derive(Debug, Args)]
pub struct SingleArgs {
    #[command(flatten)]
    pub workload: WorkloadArgs,
    #[command(flatten)]
    pub store: StoreArgs,
    #[command(flatten)]
    pub broker: BrokerArgs,
    /// Search the highest rate at which a percentile stays below a time: p99=10ms
    #[arg(long, value_parser = Goal::parse)]
    pub latency_goal: Option<Goal>,
}

#[derive(Clone, Debug, Args)]
pub struct BrokerArgs {
    /// The broker's process on this machine: its CPU time and memory are measured
    #[arg(long, value_name = "PID")]
    pub broker_pid: Option<u32>,
    /// What to call the cluster in results [default: its address]
    #[arg(long, value_name = "NAME")]
    pub broker_name: Option<String>,
    /// A folder on the broker's disk on this machine, to describe it [default: found through the process]
    #[arg(long, value_name = "FOLDER")]
    pub broker_data: Option<PathBuf>,
}

impl BrokerArgs {
    pub fn target(&self, client: &ClientArgs) -> Target {
        let bootstrap = client.bootstrap.clone();
        Target { name: self.broker_name.clone().unwrap_or(bootstrap.clone()), bootstrap, pid: self.broker_pid }
    }
}

#[derive(Debug, Args)]
pub struct MatrixArgs {
    #[command(flatten)]
    pub workload: WorkloadArgs,
    #[command(flatten)]
    pub store: StoreArgs,
    #[command(flatten)]
    pub broker: BrokerArgs,
    /// What every cell does
    #[arg(long, value_enum, default_value_t = Mode::Produce)]
    pub load: Mode,
    /// A setting and its values: batch.size=16KiB,1MiB; may be repeated. acks, batch.size, linger.ms, compression.type,
    /// enable.idempotence, partitions, producers, consumers, record.bytes, rate, depth, partitions.per.request, or any
    /// setting of the client library
    /// [default: acks=1,all batch.size=16KiB,256KiB linger.ms=0,5 compression.type=none,lz4]
    #[arg(long, value_name = "KEY=A,B,..", value_parser = axis)]
    pub vary: Vec<(String, Vec<String>)>,
    /// How often each cell runs
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub repeats: u32,
    /// In each cell search the highest rate at which a percentile stays below a time: p99=10ms
    #[arg(long, value_parser = Goal::parse)]
    pub latency_goal: Option<Goal>,
}

#[derive(Debug, Args)]
pub struct CompareArgs {
    /// [NAME=]HOST:PORT[,HOST:PORT][@PID]
    #[arg(value_name = "A", value_parser = Target::parse)]
    pub first: Target,
    /// The one that A is divided by
    #[arg(value_name = "B", value_parser = Target::parse)]
    pub second: Target,
    #[command(flatten)]
    pub workload: WorkloadArgs,
    #[command(flatten)]
    pub store: StoreArgs,
    /// What to run
    #[arg(long, value_enum, default_value_t = Mode::Produce)]
    pub load: Mode,
    /// How often each cluster runs
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,
    /// Toss a coin in each round who runs first [default: A B A B]
    #[arg(long)]
    pub random: bool,
    /// Have this machine write its page cache out before each run, so that what one cluster left there (its
    /// acknowledgements need not have waited for it) is not written during the turn of the other
    #[arg(long)]
    pub settle: bool,
}

#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Names of stored runs
    #[arg(required = true, value_name = "NAME", value_parser = parse_name)]
    pub names: Vec<String>,
    /// The folder of results
    #[arg(long, value_name = "FOLDER", default_value = "kataract-bench")]
    pub out: PathBuf,
}

#[derive(Debug, Args)]
pub struct MachineArgs {
    /// The folder of results
    #[arg(long, value_name = "FOLDER", default_value = "kataract-bench")]
    pub out: PathBuf,
    /// A folder on the disk to measure [default: the folder of results]
    #[arg(long, value_name = "FOLDER")]
    pub data: Option<PathBuf>,
    /// Small sizes: whether it works at all
    #[arg(long)]
    pub short: bool,
}

fn count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if (1..=10_000).contains(&count) => Ok(count),
        _ => Err("a number from 1 to 10000 is needed".to_owned()),
    }
}

fn fraction(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(fraction) if (0.0..=1.0).contains(&fraction) => Ok(fraction),
        _ => Err("a number from 0 to 1 is needed".to_owned()),
    }
}

fn axis(text: &str) -> Result<(String, Vec<String>), String> {
    let (name, values) = key_value(text)?;
    let values: Vec<String> = values.split(',').map(|value| value.trim().to_owned()).collect();
    if values.iter().any(String::is_empty) {
        return Err(format!("'{text}' is not of the form KEY=A,B,.."));
    }
    Ok((name, values))
}

impl WorkloadArgs {
    /// The workload of these words; `short` is how a matrix runs without being told.
    pub fn workload(&self, mode: Mode, is_short: bool) -> Result<Workload, String> {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let warm_up = match mode {
            Mode::Consume => 0,
            _ if is_short => 2,
            _ => 5,
        };
        if self.record_bytes > 1 << 30 || self.batch_size > 1 << 30 {
            return Err("--record-bytes and --batch-size of at most 1 GiB, please".to_owned());
        }
        let record_bytes = self.record_bytes as usize;
        let mut workload = Workload {
            mode,
            client: if self.raw { ClientKind::Raw } else { ClientKind::Librdkafka },
            topic: self.topic.clone(),
            partitions: self.partitions,
            replication_factor: self.replication_factor.map_or(-1, i32::from),
            topic_settings: self.topic_settings.iter().cloned().collect(),
            producers: self.producers,
            consumers: self.consumers,
            record_bytes,
            compressibility: self.compressibility,
            keys: self.keys,
            rate: self.rate.or((mode == Mode::EndToEnd).then_some(Rate::RecordsPerSecond(1000.0))),
            in_flight: self.in_flight.unwrap_or_else(|| Workload::default_in_flight(record_bytes)),
            depth: self.depth,
            partitions_per_request: self.partitions_per_request,
            warm_up_ms: self.warm_up.map_or(warm_up * 1000, ms),
            duration_ms: self.duration.map_or(if is_short { 10_000 } else { 30_000 }, ms),
            acks: String::new(),
            batch_size: self.batch_size.max(1) as usize,
            linger_ms: 0.0,
            compression: String::new(),
            idempotent: self.idempotent,
            fill_bytes: if mode == Mode::Consume { self.fill } else { 0 },
            passes: self.passes,
            client_settings: self.client_settings.iter().cloned().collect(),
        };
        // One place knows which values these take.
        workload.set("acks", self.acks.name())?;
        workload.set("compression", self.compression.name())?;
        workload.set("linger.ms", &self.linger_ms.to_string())?;
        if workload.duration_ms == 0 {
            return Err("--duration must not be 0".to_owned());
        }
        Ok(workload)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::args::{Args, Command};

    fn bench(line: &str) -> Result<BenchVerb, String> {
        let words = format!("kataract bench {line}");
        let args = Args::try_parse_from(words.split_whitespace()).map_err(|error| error.to_string())?;
        let Command::Bench(bench) = args.command else { panic!("bench") };
        Ok(bench.verb)
    }

    #[test]
    fn words_become_a_workload() {
        let line = "produce --raw --rate 1500req/s --batch-size 1MB --acks 1 --compression lz4 --duration 500ms";
        let BenchVerb::Produce(single) = bench(line).unwrap() else { panic!("produce") };
        let workload = single.workload.workload(Mode::Produce, false).unwrap();
        assert_eq!((workload.client, workload.batch_size, workload.duration_ms), (ClientKind::Raw, 1_000_000, 500));
        assert_eq!((workload.acks.as_str(), workload.compression.as_str(), workload.warm_up_ms), ("1", "lz4", 5000));
        assert_eq!(workload.rate, Some(Rate::RequestsPerSecond(1500.0)));
        let BenchVerb::EndToEnd(single) = bench("end-to-end").unwrap() else { panic!("end-to-end") };
        let workload = single.workload.workload(Mode::EndToEnd, false).unwrap();
        assert_eq!(workload.rate, Some(Rate::RecordsPerSecond(1000.0)));
    }

    #[test]
    fn axes_and_targets_are_read() {
        let BenchVerb::Matrix(matrix) = bench("matrix --vary acks=1,all --vary a.b=c --latency-goal p99=10ms").unwrap()
        else {
            panic!("matrix")
        };
        assert_eq!(matrix.vary[0], ("acks".to_owned(), vec!["1".to_owned(), "all".to_owned()]));
        let BenchVerb::Compare(compare) = bench("compare a=h:1@5 h:2 --rounds 2 --random").unwrap() else {
            panic!("compare")
        };
        assert_eq!((compare.first.pid, compare.second.name.as_str(), compare.random), (Some(5), "h:2", true));
    }

    #[test]
    fn wrong_words_are_refused() {
        for line in [
            "produce --keys normal:5",
            "produce --compressibility 2",
            "produce --producers 0",
            "produce --name ../x",
            "matrix --vary acks",
            "matrix --vary acks=1,,all",
            "compare a",
            "report",
            "produce --latency-goal fast",
        ] {
            assert!(bench(line).is_err(), "{line}");
        }
    }
}
