//! Subcommands and flags. Parsing only: what the words mean is decided by the command's own file.

use std::path::PathBuf;

use clap::{ArgGroup, Parser, Subcommand, ValueEnum};

use super::time_text::parse_time;
use crate::node::config::{Cores, Driver};

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "kataract", version, about = "A broker that speaks Apache Kafka's protocol, and its tools")]
pub struct Args {
    #[command(flatten)]
    pub client: ClientArgs,
    /// Print JSON for programs (one value a line) instead of text for people
    #[arg(long, global = true)]
    pub json: bool,
    #[command(subcommand)]
    pub command: Command,
}

/// How client commands reach a cluster.
#[derive(Clone, Debug, clap::Args)]
pub struct ClientArgs {
    /// Brokers to ask first, host:port, separated by commas (`--bootstrap-server` as in Kafka's tools will do, too)
    #[arg(long, alias = "bootstrap-server", global = true, value_name = "HOST:PORT", default_value = "127.0.0.1:9092")]
    pub bootstrap: String,
    /// Seconds to wait for a broker's answer
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 10,
          value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub timeout: u32,
    /// A property of the client library (librdkafka) to set
    #[arg(short = 'X', long = "client-property", global = true, value_name = "KEY=VALUE", value_parser = key_value)]
    pub properties: Vec<(String, String)>,
    /// Show the log of the client library
    #[arg(short, long, global = true)]
    pub verbose: bool,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a broker
    Start(StartArgs),
    /// Prepare a data folder: write its identity
    Format(FormatArgs),
    /// Create, list, describe and delete topics
    Topic(TopicArgs),
    /// Show which core owns which partition, pin partitions to cores and move them
    Core(CoreArgs),
    /// Send lines of standard input or of a file as records
    Produce(ProduceArgs),
    /// Read records and print them
    Consume(ConsumeArgs),
    /// Print files of a data folder and say what is corrupt
    DumpLog(DumpLogArgs),
    /// Say what this host offers: kernel, io_uring, direct I/O, the cost of a sync
    Probe(ProbeArgs),
    /// Measure any cluster that speaks Kafka's protocol: throughput, latency, the broker's CPU and memory
    Bench(Box<super::bench::args::BenchArgs>),
    /// Run engines in a made-up world, from seeds
    #[cfg(feature = "sim")]
    Sim(super::sim::SimArgs),
}

/// Where settings come from; shared by `start` and `format`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ConfigArgs {
    /// Kafka's property file (server.properties)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The data folder; stronger than log.dirs of the file
    #[arg(long, value_name = "FOLDER")]
    pub data: Option<PathBuf>,
    /// One setting; stronger than the file; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    pub set: Vec<(String, String)>,
}

#[derive(Debug, clap::Args)]
pub struct StartArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// How many cores to use (4), or which (0,2,3 or 0-3; a single one: 2,) [default: all but an eighth, one at least]
    #[arg(long, value_name = "N|LIST", value_parser = parse_cores)]
    pub cores: Option<Cores>,
    /// How to reach disk and network [default: auto]
    #[arg(long, value_enum)]
    pub driver: Option<Driver>,
}

#[derive(Debug, clap::Args)]
pub struct FormatArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// The cluster's id, 22 characters of URL-safe base64 [default: a random one]
    #[arg(long, value_name = "ID")]
    pub cluster_id: Option<String>,
}

#[derive(Debug, clap::Args)]
pub struct TopicArgs {
    #[command(subcommand)]
    pub verb: TopicVerb,
}

#[derive(Debug, Subcommand)]
pub enum TopicVerb {
    /// Make topics
    Create {
        #[arg(required = true)]
        topics: Vec<String>,
        /// Partitions [default: the broker's num.partitions]
        #[arg(short, long, value_parser = clap::value_parser!(i32).range(1..))]
        partitions: Option<i32>,
        /// Copies of each partition [default: the broker's default.replication.factor]
        #[arg(short, long, value_parser = clap::value_parser!(i16).range(1..))]
        replication_factor: Option<i16>,
        /// A setting of the topic; may be repeated
        #[arg(short, long = "config", value_name = "KEY=VALUE", value_parser = key_value)]
        configs: Vec<(String, String)>,
    },
    /// Name the topics of the cluster
    List {
        /// Also name the cluster's own topics (those that start with __)
        #[arg(long)]
        internal: bool,
    },
    /// Show partitions, leaders, offsets and settings
    Describe {
        #[arg(required = true)]
        topics: Vec<String>,
        /// Show every setting, not only those that differ from the default
        #[arg(long)]
        all_configs: bool,
    },
    /// Delete topics and their records
    Delete {
        #[arg(required = true)]
        topics: Vec<String>,
    },
}

#[derive(Debug, clap::Args)]
pub struct CoreArgs {
    /// The broker whose cores are meant [default: the only one]
    #[arg(long, global = true, value_name = "ID")]
    pub broker: Option<i32>,
    #[command(subcommand)]
    pub verb: CoreVerb,
}

#[derive(Debug, Subcommand)]
pub enum CoreVerb {
    /// Show which core owns which partition now
    List {
        /// Topics to show [default: all]
        topics: Vec<String>,
        /// Also show the cluster's own topics (those that start with __)
        #[arg(long)]
        internal: bool,
    },
    /// Pin partitions to cores: they move there, now and after each start
    Pin {
        /// Pairs of a partition (topic-partition) and a core; with --unpin partitions only
        #[arg(required = true, value_name = "TOPIC-PARTITION CORE")]
        pins: Vec<String>,
        /// Take pins back: the partitions return to the cores that they were dealt to
        #[arg(long)]
        unpin: bool,
    },
    /// Pin a partition to a core and wait until it is there
    Move {
        #[arg(value_name = "TOPIC-PARTITION")]
        partition: String,
        core: u16,
    },
}

/// When a produce request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Acks {
    #[value(name = "0")]
    Zero,
    #[value(name = "1")]
    One,
    All,
}

/// Compression of record batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Compression {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl Compression {
    /// As Kafka's settings name it.
    pub fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }
}

impl Acks {
    /// As Kafka's settings name it.
    pub fn name(self) -> &'static str {
        match self {
            Acks::Zero => "0",
            Acks::One => "1",
            Acks::All => "all",
        }
    }
}

#[derive(Debug, clap::Args)]
pub struct ProduceArgs {
    pub topic: String,
    /// Read this file instead of standard input; one record a line
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// What separates key and value in a line [default: no keys]
    #[arg(short, long, value_name = "TEXT")]
    pub key_separator: Option<String>,
    /// A header for every record; may be repeated
    #[arg(short = 'H', long = "header", value_name = "KEY=VALUE", value_parser = key_value)]
    pub headers: Vec<(String, String)>,
    /// Send all records to this partition [default: by key]
    #[arg(short, long, value_parser = clap::value_parser!(i32).range(0..))]
    pub partition: Option<i32>,
    /// Wait for nobody, the leader, or all in-sync replicas
    #[arg(long, value_enum, default_value_t = Acks::All)]
    pub acks: Acks,
    #[arg(long, value_enum, default_value_t = Compression::None)]
    pub compression: Compression,
    /// No duplicates and no reordering on retries
    #[arg(long)]
    pub idempotent: bool,
}

#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("from").args(["from_beginning", "offset", "from_time"]))]
pub struct ConsumeArgs {
    pub topic: String,
    /// Start at the first record [default: at the end; with --group: at the committed offset, else at the end]
    #[arg(short = 'b', long)]
    pub from_beginning: bool,
    /// Start at this offset of the partition
    #[arg(short, long, requires = "partition", value_parser = clap::value_parser!(i64).range(0..))]
    pub offset: Option<i64>,
    /// Start at the first record of this time or later: 2026-11-21T05:43:21Z or ms since 1970
    #[arg(short = 't', long, value_name = "TIME", value_parser = parse_time)]
    pub from_time: Option<i64>,
    /// Read this partition only
    #[arg(short, long, value_parser = clap::value_parser!(i32).range(0..))]
    pub partition: Option<i32>,
    /// Join this consumer group and commit what was printed
    #[arg(short, long, conflicts_with_all = ["partition", "offset", "from_time"])]
    pub group: Option<String>,
    /// Stop after this many records
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Stop when every partition has been read to its end
    #[arg(short, long)]
    pub exit_at_end: bool,
}

#[derive(Debug, clap::Args)]
pub struct DumpLogArgs {
    /// Segments, indexes, snapshots, checkpoints; or folders of them
    #[arg(required = true, value_name = "FILE|FOLDER")]
    pub paths: Vec<PathBuf>,
    /// Show the records inside batches and the entries of indexes
    #[arg(short, long)]
    pub records: bool,
}

#[derive(Debug, clap::Args)]
pub struct ProbeArgs {
    /// The folder to measure in; a small file is made there and removed
    #[arg(long, value_name = "FOLDER", default_value = "./kataract-data")]
    pub data: PathBuf,
}

/// `KEY=VALUE`; the value may be empty and may hold `=`.
pub fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.trim().to_owned())),
        _ => Err(format!("'{text}' is not of the form KEY=VALUE")),
    }
}

/// `4` is a number of cores; anything with a comma or a dash is a list of core numbers.
fn parse_cores(text: &str) -> Result<Cores, String> {
    const CORE_MAX: u16 = 4095;
    let hint =
        || format!("'{text}' is neither a number of cores (4) nor a list of cores (0,2,3 or 0-3 or a single 2,)");
    if !text.contains([',', '-']) {
        let count: u16 = text.trim().parse().map_err(|_| hint())?;
        let allowed = (1..=crate::base::limits::CORES_MAX).contains(&usize::from(count));
        return if allowed { Ok(Cores::Count(count)) } else { Err(hint()) };
    }
    let mut list = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u16, u16) =
            (first.trim().parse().map_err(|_| hint())?, last.trim().parse().map_err(|_| hint())?);
        if first > last || last > CORE_MAX {
            return Err(hint());
        }
        list.extend(first..=last);
    }
    let named = list.len();
    list.sort_unstable();
    list.dedup();
    if list.is_empty() || list.len() != named {
        return Err(format!("'{text}' names no core, or one twice"));
    }
    if list.len() > crate::base::limits::CORES_MAX {
        return Err(format!("'{text}' names more than {} cores", crate::base::limits::CORES_MAX));
    }
    Ok(Cores::List(list))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, String> {
        Args::try_parse_from(line.split_whitespace()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_definition_of_the_command_line_is_consistent() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }

    #[test]
    fn client_flags_may_stand_before_or_after_the_command() {
        for line in [
            "kataract --bootstrap a:1 --json topic list",
            "kataract topic list --json --bootstrap a:1",
            "kataract topic list --json --bootstrap-server a:1",
        ] {
            let args = parse(line).unwrap();
            assert_eq!((args.client.bootstrap.as_str(), args.json), ("a:1", true));
        }
        assert_eq!(parse("kataract topic list").unwrap().client.bootstrap, "127.0.0.1:9092");
    }

    #[test]
    fn start_takes_settings_cores_and_a_driver() {
        let line = "kataract start --config a --data b --set x.y=1=2 --set z= --cores 0-2,5 --driver posix";
        let Command::Start(start) = parse(line).unwrap().command else { panic!("start") };
        assert_eq!(start.config.set, [("x.y".to_owned(), "1=2".to_owned()), ("z".to_owned(), String::new())]);
        assert_eq!(start.cores, Some(Cores::List(vec![0, 1, 2, 5])));
        assert_eq!(start.driver, Some(Driver::Posix));
    }

    #[test]
    fn cores_are_listed_pinned_and_moved() {
        let verb = |line: &str| match parse(line).unwrap().command {
            Command::Core(core) => core.verb,
            other => panic!("{other:?}"),
        };
        let CoreVerb::Pin { pins, unpin } = verb("kataract core pin a-b-0 1 c-0 0") else { panic!("pin") };
        assert_eq!((pins, unpin), (["a-b-0", "1", "c-0", "0"].map(str::to_owned).to_vec(), false));
        assert!(matches!(verb("kataract core pin --unpin a-0"), CoreVerb::Pin { unpin: true, .. }));
        assert!(matches!(verb("kataract core move a-0 3"), CoreVerb::Move { core: 3, .. }));
        assert!(matches!(verb("kataract core list --internal"), CoreVerb::List { internal: true, .. }));
        assert!(parse("kataract core move a-0").is_err() && parse("kataract core pin").is_err());
    }

    #[test]
    fn a_bare_number_counts_cores_and_a_comma_makes_a_list() {
        assert_eq!(parse_cores("2"), Ok(Cores::Count(2)));
        assert_eq!(parse_cores("2,"), Ok(Cores::List(vec![2])));
        for wrong in ["0", "", "x", "1,1", "3-1", ",", "1-", "99999", "0-4096", "-1"] {
            assert!(parse_cores(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn flags_that_contradict_each_other_are_refused() {
        for line in [
            "kataract consume t --offset 5",
            "kataract consume t --from-beginning --from-time 5",
            "kataract consume t --group g --partition 1",
            "kataract consume t --from-time yesterday",
            "kataract produce t --header novalue",
            "kataract topic create t --partitions 0",
            "kataract topic create",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
        assert!(parse("kataract consume t --partition 0 --offset 5 --count 2 --exit-at-end").is_ok());
        assert!(parse("kataract produce t --acks 0 --compression zstd --header a=b --idempotent").is_ok());
    }
}
