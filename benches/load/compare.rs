//! Runs each step against each broker in turn, round by round, so that a slow minute of the host meets all of them
//! alike; tells each run, then medians, then ratios to the last broker named.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::args::{Broker, Plan, SHAPES, Step};
use crate::{paced, produce};
use kataract::cli::bench::process::{self, Cpu};

/// One run of one broker.
#[derive(Clone, Copy, Debug)]
struct Run {
    bytes: u64,
    requests: u64,
    seconds: f64,
    cpu: Option<Cpu>,
    /// Resident memory after it, MB.
    resident: Option<f64>,
    p50: Duration,
    p99: Duration,
}

/// Everything measured about one step: its name, and the runs of each broker.
struct Row {
    name: String,
    runs: Vec<Vec<Run>>,
}

pub fn run(plan: &Plan) -> Result<(), String> {
    let stamp = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let mut rows = Vec::new();
    for (number, step) in plan.steps.iter().enumerate() {
        let name = |what: &str| format!("{what} {}", step.shape.name);
        let empty = || vec![Vec::new(); plan.brokers.len()];
        let mut produced = Row { name: name("produce"), runs: empty() };
        let mut fetched = Row { name: name("fetch"), runs: empty() };
        for round in 0..plan.rounds {
            let topic = format!("load-{stamp}-{number}-{round}");
            for (at, broker) in plan.brokers.iter().enumerate() {
                let failed = |error: std::io::Error| format!("{} at {}: {error}", step.shape.name, broker.name);
                let run = produce_once(plan, step, broker, &topic).map_err(failed)?;
                tell(&produced.name, round, broker, &run);
                produced.runs[at].push(run);
                if step.fetch {
                    for _ in 0..plan.reads {
                        let run = fetch_once(plan, broker, &topic).map_err(failed)?;
                        tell(&fetched.name, round, broker, &run);
                        fetched.runs[at].push(run);
                    }
                    paced_once(plan, broker, &topic).map_err(failed)?;
                }
            }
        }
        rows.push(produced);
        if step.fetch {
            rows.push(fetched);
        }
    }
    table(plan, &rows);
    Ok(())
}

fn produce_once(plan: &Plan, step: &Step, broker: &Broker, topic: &str) -> std::io::Result<Run> {
    produce::make_topic(broker.address, topic, plan.partitions)?;
    let before = broker.pid.and_then(process::cpu);
    let sent = produce::produce(broker.address, topic, plan.partitions, &step.shape, plan.acks, step.bytes)?;
    let at = |quantile: f64| Duration::from_nanos(sent.tally.total.value_at_quantile(quantile));
    Ok(Run {
        bytes: sent.tally.counted.bytes,
        requests: sent.tally.counted.requests,
        seconds: sent.seconds,
        p50: at(0.5),
        p99: at(0.99),
        ..used(broker, before)
    })
}

fn fetch_once(plan: &Plan, broker: &Broker, topic: &str) -> std::io::Result<Run> {
    if plan.drop_caches {
        paced::drop_caches()?;
    }
    let before = broker.pid.and_then(process::cpu);
    let read = produce::consume(broker.address, topic, plan.partitions)?;
    let (bytes, requests) = (read.tally.counted.bytes, read.tally.counted.requests);
    Ok(Run { bytes, requests, seconds: read.seconds, ..used(broker, before) })
}

/// Produces at a rate, alone and beside a reader of `cold`, and tells both.
fn paced_once(plan: &Plan, broker: &Broker, cold: &str) -> std::io::Result<()> {
    let Some(pace) = plan.pace else { return Ok(()) };
    let topic = format!("{cold}-paced");
    produce::make_topic(broker.address, &topic, plan.partitions)?;
    let shape = &SHAPES[0];
    paced::alone(broker.address, &topic, plan.partitions, shape, pace)?.tell("alone", &broker.name);
    let both = (topic.as_str(), cold);
    paced::beside_a_reader(broker.address, both, plan.partitions, shape, pace)?.tell("beside a reader", &broker.name);
    Ok(())
}

fn used(broker: &Broker, before: Option<Cpu>) -> Run {
    let after = broker.pid.and_then(process::cpu);
    Run {
        bytes: 0,
        requests: 0,
        seconds: 0.0,
        cpu: after.zip(before).map(|(after, before)| after.since(before)),
        resident: broker.pid.and_then(process::memory).map(|(now, _)| now),
        p50: Duration::ZERO,
        p99: Duration::ZERO,
    }
}

fn tell(name: &str, round: usize, broker: &Broker, run: &Run) {
    let cpu = run.cpu.unwrap_or_default();
    println!(
        "{name:<16} round {round} {:<10} {:>7.1} MB/s {:>9.0} req/s  p50 {:>7.2} ms p99 {:>7.2} ms  \
         cpu {:.2}+{:.2} s  {:.3} s/GB  {:.1} us/req  RSS {:.0} MB",
        broker.name,
        run.bytes as f64 / 1e6 / run.seconds,
        run.requests as f64 / run.seconds,
        run.p50.as_secs_f64() * 1e3,
        run.p99.as_secs_f64() * 1e3,
        cpu.user,
        cpu.system,
        per_gb(run),
        per_request(run),
        run.resident.unwrap_or(0.0),
    );
}

fn per_gb(run: &Run) -> f64 {
    run.cpu.unwrap_or_default().total() / (run.bytes as f64 / 1e9)
}

/// CPU microseconds.
fn per_request(run: &Run) -> f64 {
    run.cpu.unwrap_or_default().total() * 1e6 / run.requests as f64
}

fn median(runs: &[Run], of: impl Fn(&Run) -> f64) -> f64 {
    let mut values: Vec<f64> = runs.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The medians as a table, each figure with its ratio to the last broker's.
fn table(plan: &Plan, rows: &[Row]) {
    println!("\nmedians of {} rounds; in brackets: divided by {}\n", plan.rounds, last(plan));
    println!("| load | broker | MB/s | requests/s | p50 ms | p99 ms | CPU s/GB | CPU us/request | RSS MB |");
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for row in rows {
        for (broker, runs) in plan.brokers.iter().zip(&row.runs) {
            let base = row.runs.last().map_or(&[][..], Vec::as_slice);
            let cell = |digits: usize, of: &dyn Fn(&Run) -> f64| {
                let (value, against) = (median(runs, of), median(base, of));
                format!("{value:.digits$} ({:.2})", value / against)
            };
            println!(
                "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
                row.name,
                broker.name,
                cell(0, &|run| run.bytes as f64 / 1e6 / run.seconds),
                cell(0, &|run| run.requests as f64 / run.seconds),
                cell(2, &|run| run.p50.as_secs_f64() * 1e3),
                cell(2, &|run| run.p99.as_secs_f64() * 1e3),
                cell(3, &per_gb),
                cell(1, &per_request),
                cell(0, &|run| run.resident.unwrap_or(f64::NAN)),
            );
        }
    }
}

fn last(plan: &Plan) -> &str {
    plan.brokers.last().map_or("", |broker| &broker.name)
}
