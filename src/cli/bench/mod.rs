//! `kataract bench`: measures any cluster that speaks Kafka's protocol, with a real client or with a raw one.
//!
//! `args` → `workload` (what to do, stored beside every result) → `run` (topic, `workers`, clock) → `outcome` → `store`
//! (lines that are only added) → `report`. `matrix`, `compare` and `goal` decide which runs there are.
//!
//! Invariants: latency of an open loop counts from when an event was due; nothing outside the measured window counts
//! for throughput; every stored number has its workload and its machine beside it.

pub mod args;
mod cluster;
pub mod compare;
pub mod envelope;
mod goal;
pub mod latency;
mod library;
pub mod machine;
pub mod matrix;
pub mod meter;
pub mod outcome;
pub mod pacing;
pub mod payload;
pub mod process;
mod progress;
pub mod raw;
pub mod report;
mod run;
pub mod store;
pub mod units;
mod workers;
pub mod workload;

use args::{BenchVerb, SingleArgs, StoreArgs};
use machine::Seen;
use run::Runner;
use serde_json::json;
use store::{Entry, Session, Store, now_ms};
use workload::Mode;

use super::args::ClientArgs;
use super::output::{Failure, Out};
use super::time_text::format_time;

/// Runs one verb.
pub fn run(client: &ClientArgs, verb: &BenchVerb, out: &mut Out<'_>) -> Result<(), Failure> {
    match verb {
        BenchVerb::Produce(args) => single(client, args, Mode::Produce, out),
        BenchVerb::Consume(args) => single(client, args, Mode::Consume, out),
        BenchVerb::EndToEnd(args) => single(client, args, Mode::EndToEnd, out),
        BenchVerb::Matrix(args) => matrix::run(client, args, out),
        BenchVerb::Compare(args) => compare::run(client, args, out),
        BenchVerb::Report(args) => report::run(args, out),
        BenchVerb::Machine(args) => envelope::run(args, out),
    }
}

/// The name that was given, or command and time.
fn name_of(store: &StoreArgs, command: &str) -> String {
    store.name.clone().unwrap_or_else(|| {
        let time: String = format_time(now_ms()).chars().filter(|c| c.is_ascii_digit() || *c == 'T').collect();
        // Down to the second: 20261121T054321.
        format!("{command}-{}", time.get(..15).unwrap_or(&time))
    })
}

/// What a command that was ended by Ctrl-C ends with: what was measured is written, and the exit code says so.
fn stopped(runner: &Runner, hint: &str) -> Result<(), Failure> {
    if runner.is_stopped() {
        return Err(Failure::new(format!("ended before its time; {hint}")));
    }
    Ok(())
}

/// One run of one workload.
fn single(client: &ClientArgs, args: &SingleArgs, mode: Mode, out: &mut Out<'_>) -> Result<(), Failure> {
    let mut workload = args.workload.workload(mode, false)?;
    if args.latency_goal.is_some() && mode == Mode::Consume {
        return Err(Failure::new("--latency-goal searches a rate, which a consumer does not have"));
    }
    workload.check()?;
    let runner = Runner::new(client, args.workload.keep_topics, !args.workload.quiet)?;
    let target = args.broker.target(client);
    let ready = runner.prepare(&target, &workload)?;
    workload.partitions = ready.partitions;
    let name = name_of(&args.store, mode.name());
    // The topic's segments are open now, so that the broker's disk can be found. The name is judged before the run.
    let seen = Seen::look(&target, args.broker.broker_data.as_deref());
    let session = Session::new(mode.name(), serde_json::Value::Null, vec![seen]);
    let measured = Store::open(&args.store.out, &name, session).and_then(|store| {
        let measured = match args.latency_goal {
            None => runner.load(&ready, &workload, mode.name()).map(|outcome| Some((outcome, None)))?,
            Some(goal) => {
                runner.search(&ready, &workload, goal, mode.name())?.map(|(outcome, found)| (outcome, Some(found)))
            }
        };
        Ok((store, measured))
    });
    runner.clean(&ready);
    let (mut store, Some((outcome, found))) = measured? else {
        return stopped(&runner, "the search has no result");
    };
    let same = |entry: &&Entry| entry.target == target.name && entry.workload == workload;
    let repeat = store.stored.entries.iter().filter(same).count() as u32;
    let target = target.name;
    let entry = Entry { at_ms: now_ms(), target, axes: Vec::new(), repeat, workload, outcome, found };
    if out.is_json() {
        out.json(&json!({"result": entry}))?;
    } else {
        out.line(format_args!("{}", entry.workload.describe()))?;
        if let Some(found) = &entry.found {
            out.line(format_args!("  {:13} {}", "goal", goal::describe(found)))?;
        }
        for (title, text) in entry.outcome.lines(&entry.workload) {
            out.line(format_args!("  {title:13} {text}"))?;
        }
    }
    store.add(entry)?;
    report::write_and_tell(&args.store.out, &[store.stored], out)?;
    stopped(&runner, "what was measured until then is kept")
}
