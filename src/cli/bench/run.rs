//! One measured run against one cluster: makes the topic, starts the workers, watches the clock, adds everything up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::cluster::Cluster;
use super::latency::Latency;
use super::library;
use super::meter::{self, Counts, Meter, Recorder};
use super::outcome::{Outcome, Usage};
use super::process::{self, Cpu};
use super::progress::Progress;
use super::workers::{self, Limit, Part};
use super::workload::{ClientKind, Mode, Workload};
use crate::cli::args::ClientArgs;
use crate::cli::client;
use crate::cli::output::Failure;

/// How often the clock is looked at.
const TICK: Duration = Duration::from_millis(5);
/// Writing the data that a consumer reads may take this long.
const FILL_LIMIT: Duration = Duration::from_secs(24 * 3600);

/// A cluster under test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub name: String,
    pub bootstrap: String,
    /// The broker's process on this machine, to read CPU time and memory from.
    pub pid: Option<u32>,
}

impl Target {
    /// `[NAME=]HOST:PORT[,HOST:PORT][@PID]`
    pub fn parse(text: &str) -> Result<Target, String> {
        let (rest, pid) = match text.rsplit_once('@') {
            Some((rest, pid)) => (rest, Some(pid.parse().map_err(|_| format!("'{pid}' is no process id"))?)),
            None => (text, None),
        };
        let (name, bootstrap) = rest.split_once('=').unwrap_or((rest, rest));
        if name.is_empty() || !bootstrap.contains(':') {
            return Err(format!("'{text}' is not of the form [NAME=]HOST:PORT[@PID]"));
        }
        Ok(Target { name: name.to_owned(), bootstrap: bootstrap.to_owned(), pid })
    }
}

/// What all runs of one command share.
#[derive(Debug)]
pub struct Runner {
    pub client: ClientArgs,
    /// Ctrl-C.
    pub stop: Arc<AtomicBool>,
    pub keep_topics: bool,
    pub shows_progress: bool,
    topics: AtomicU32,
}

/// A cluster with a topic to use.
#[derive(Debug)]
pub struct Ready {
    pub target: Target,
    cluster: Cluster,
    topic: String,
    made: bool,
    /// Partitions of the topic, which an existing one decides itself.
    pub partitions: i32,
}

impl Runner {
    pub fn new(client: &ClientArgs, keep_topics: bool, shows_progress: bool) -> Result<Runner, Failure> {
        let stop = Arc::new(AtomicBool::new(false));
        // A second Ctrl-C ends the process at once; the first one ends the run and keeps what was measured.
        let handle = |signal| {
            signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&stop))?;
            signal_hook::flag::register(signal, Arc::clone(&stop))
        };
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            handle(signal).map_err(|error| Failure::new(format!("cannot listen for Ctrl-C: {error}")))?;
        }
        Ok(Runner { client: client.clone(), stop, keep_topics, shows_progress, topics: AtomicU32::new(0) })
    }

    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Whether the settings, the process and the cluster are what they are said to be, before anything is made.
    pub fn check(&self, target: &Target, workload: &Workload) -> Result<ClientArgs, Failure> {
        let client = ClientArgs { bootstrap: target.bootstrap.clone(), ..self.client.clone() };
        if workload.client == ClientKind::Librdkafka {
            library::check(&client, workload)?;
        }
        if let Some(pid) = target.pid
            && process::cpu(pid).is_none()
        {
            return Err(Failure::new(format!("there is no process {pid}, the broker of {}", target.name)));
        }
        Ok(client)
    }

    /// Reaches the cluster; finds the topic or makes a fresh one; fills it for a consumer.
    pub fn prepare(&self, target: &Target, workload: &Workload) -> Result<Ready, Failure> {
        let client = self.check(target, workload)?;
        let cluster = Cluster::reach(&client)?;
        let (topic, made) = match &workload.topic {
            Some(topic) => (topic.clone(), false),
            None => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
                let name = format!("kataract-bench-{since}-{}", self.topics.fetch_add(1, Ordering::Relaxed));
                cluster.make_topic(&name, workload)?;
                (name, true)
            }
        };
        let partitions = cluster.leaders(&topic)?.iter().map(|leader| leader.partitions.len() as i32).sum();
        let ready = Ready { target: target.clone(), cluster, topic, made, partitions };
        if made && workload.mode == Mode::Consume {
            let filled = self.fill(&ready, workload);
            if filled.is_err() {
                self.clean(&ready);
            }
            filled?;
        }
        Ok(ready)
    }

    /// Deletes the topic if it was made here.
    pub fn clean(&self, ready: &Ready) {
        if ready.made && !self.keep_topics {
            ready.cluster.delete_topic(&ready.topic);
        } else if ready.made && self.shows_progress {
            eprintln!("topic {} is kept", ready.topic);
        }
    }

    /// Prepares, runs once, cleans up.
    pub fn measure(&self, target: &Target, workload: &Workload, label: &str) -> Result<Outcome, Failure> {
        let ready = self.prepare(target, workload)?;
        let outcome = self.load(&ready, workload, label);
        self.clean(&ready);
        outcome
    }

    /// Writes what a consumer is to read.
    fn fill(&self, ready: &Ready, workload: &Workload) -> Result<(), Failure> {
        let workload = Workload { mode: Mode::Produce, rate: None, warm_up_ms: 0, duration_ms: 0, ..workload.clone() };
        let meter = Meter::new(Duration::ZERO, FILL_LIMIT);
        let part = Part { cluster: &ready.cluster, topic: &ready.topic, workload: &workload, run: None };
        let (senders, recorders) = workers::produce(&part, &meter, Limit::Bytes(workload.fill_bytes))?;
        let mut progress = Progress::new("fill", self.shows_progress, None);
        let sent_all = AtomicBool::new(false);
        self.watch(&meter, vec![senders], &recorders, &mut progress, None, &sent_all)?;
        let tally = meter::tally(&recorders);
        if tally.failed > 0 {
            let why = tally.first_failure.unwrap_or_default();
            return Err(Failure::new(format!("the data to read could not be written: {why}")));
        }
        Ok(())
    }

    /// Runs the workload in a topic that is there.
    pub fn load(&self, ready: &Ready, workload: &Workload, label: &str) -> Result<Outcome, Failure> {
        // Only records of this run carry this number; no other process's nanosecond is the same in practice.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
        let run = (workload.mode == Mode::EndToEnd).then_some(since | 1);
        let part = Part { cluster: &ready.cluster, topic: &ready.topic, workload, run };
        let sent_all = Arc::new(AtomicBool::new(false));
        // Looked up before the clock starts: asking for the end of many partitions takes its time.
        let offsets = workers::offsets(&part)?;
        let meter = Meter::new(workload.warm_up(), workload.duration());
        let (mut groups, mut sent, mut received) = (Vec::new(), Vec::new(), Vec::new());
        let give_up = client::delivery_timeout(&self.client);
        if workload.mode != Mode::Consume {
            let (senders, recorders) = workers::produce(&part, &meter, Limit::Window)?;
            groups.push(senders);
            sent = recorders;
        }
        if workload.mode != Mode::Produce {
            let (readers, recorders) = workers::consume(&part, offsets, &meter, &sent, &sent_all, give_up)?;
            groups.push(readers);
            received = recorders;
        }
        let counted = if workload.mode == Mode::Produce { &sent } else { &received };
        let mut progress = Progress::new(label, self.shows_progress, ready.target.pid);
        let used = self.watch(&meter, groups, counted, &mut progress, ready.target.pid, &sent_all)?;
        let outcome = summarise(&meter, workload, &sent, counted, used);
        if outcome.records == 0 && !outcome.interrupted {
            let why = outcome.first_failure.unwrap_or_else(|| "no answer came in the measured time".to_owned());
            return Err(Failure::new(format!("{}: nothing was counted: {why}", ready.target.name)));
        }
        Ok(outcome)
    }

    /// Looks at the clock until all workers have ended. The first group are the senders, if there are any besides
    /// readers. Returns what the broker and this process used in the window.
    fn watch(
        &self,
        meter: &Meter,
        mut groups: Vec<Vec<JoinHandle<Result<(), Failure>>>>,
        recorders: &[Arc<Recorder>],
        progress: &mut Progress,
        pid: Option<u32>,
        sent_all: &AtomicBool,
    ) -> Result<Used, Failure> {
        let own = std::process::id();
        let sample = || (pid.and_then(process::cpu), process::cpu(own));
        let (mut before, mut after) = (sample(), None);
        let mut has_begun = false;
        let mut failure = None;
        loop {
            let now = meter.now();
            if self.is_stopped() {
                meter.cut();
            }
            if !has_begun && now >= meter.from_ns() {
                (before, has_begun) = (sample(), true);
            }
            for group in &mut groups {
                for worker in group.extract_if(.., |worker| worker.is_finished()) {
                    if let Err(error) = worker.join().unwrap_or_else(|_| Err(Failure::new("a worker panicked"))) {
                        failure.get_or_insert(error);
                        meter.cut();
                    }
                }
            }
            if groups.first().is_some_and(Vec::is_empty) {
                sent_all.store(true, Ordering::Relaxed);
            }
            let is_done = groups.iter().all(Vec::is_empty);
            if after.is_none() && (is_done || meter.is_over(now)) {
                after = Some((sample(), meter.now()));
            }
            progress.tick(meter, recorders);
            if is_done {
                break;
            }
            std::thread::sleep(TICK);
        }
        if let Some(failure) = failure {
            return Err(failure);
        }
        let ((broker, client), at_ns) = after.unwrap_or_else(|| (sample(), meter.now()));
        let since =
            |after: Option<Cpu>, before: Option<Cpu>| after.zip(before).map(|(after, before)| after.since(before));
        let usage = |cpu: Cpu, pid: u32| {
            let (resident_mb, resident_max_mb) = process::memory(pid).unwrap_or_default();
            Usage { cpu, resident_mb, resident_max_mb }
        };
        Ok(Used {
            broker: since(broker, before.0).zip(pid).map(|(cpu, pid)| usage(cpu, pid)),
            client: usage(since(client, before.1).unwrap_or_default(), own),
            at_ns,
        })
    }
}

/// Resources of the window, and when it was over.
#[derive(Debug)]
struct Used {
    broker: Option<Usage>,
    client: Usage,
    at_ns: u64,
}

fn summarise(
    meter: &Meter,
    workload: &Workload,
    sent: &[Arc<Recorder>],
    counted: &[Arc<Recorder>],
    used: Used,
) -> Outcome {
    let tally = meter::tally(counted);
    let sender = if workload.mode == Mode::EndToEnd { Some(meter::tally(sent)) } else { None };
    let due = sender.as_ref().map_or(tally.due, |sender| sender.due);
    let failed = tally.failed + sender.as_ref().map_or(0, |sender| sender.failed);
    let answered = match workload.mode {
        Mode::EndToEnd => tally.total.len(),
        // Requests of several records have one latency each; whoever answers the last of them answers all.
        _ => due,
    };
    let end_ns = if workload.mode == Mode::Consume { tally.last_ns } else { meter.to_ns().min(used.at_ns) };
    let Counts { records, bytes, requests } = tally.counted;
    let lag = sender.as_ref().map_or(&tally.lag, |sender| &sender.lag);
    Outcome {
        seconds: end_ns.saturating_sub(meter.from_ns()) as f64 / 1e9,
        records,
        bytes,
        requests,
        failed,
        unanswered: due.saturating_sub(answered + failed),
        first_failure: tally.first_failure.or_else(|| sender.as_ref().and_then(|sender| sender.first_failure.clone())),
        interrupted: meter.was_cut(),
        latency: Latency::of(&tally.total),
        lag: workload.rate.and_then(|_| Latency::of(lag)).map(|lag| Latency { curve: Vec::new(), ..lag }),
        broker: used.broker,
        client: used.client,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_has_a_name_brokers_and_perhaps_a_process() {
        let target = Target::parse("kafka=a:1,b:2@77").unwrap();
        assert_eq!((target.name.as_str(), target.bootstrap.as_str(), target.pid), ("kafka", "a:1,b:2", Some(77)));
        assert_eq!(Target::parse("a:1").unwrap().name, "a:1");
        for wrong in ["", "a", "=a:1", "a:1@x"] {
            assert!(Target::parse(wrong).is_err(), "{wrong}");
        }
    }
}
