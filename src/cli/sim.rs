//! `kataract sim`: runs the simulator by hand. Only in builds with the feature `sim`.

use std::time::Instant;

use clap::{Args, Subcommand};
use serde_json::json;

use super::output::{Failure, Out};
use crate::sim::mutation::Mutation;
use crate::sim::run::{Options, Outcome, run as run_one};

#[derive(Debug, Args)]
pub struct SimArgs {
    #[command(subcommand)]
    pub verb: SimVerb,
}

#[derive(Debug, Subcommand)]
pub enum SimVerb {
    /// Run seeds; the first finding ends it
    Run {
        /// One seed
        #[arg(long, conflicts_with = "seeds", required_unless_present = "seeds")]
        seed: Option<u64>,
        /// Seeds from A to before B
        #[arg(long, value_name = "A..B", value_parser = parse_seeds)]
        seeds: Option<(u64, u64)>,
        /// Print what happened, event by event
        #[arg(long)]
        trace: bool,
        /// Small runs: each seed once in peace, then once for every write with the power cut there
        #[arg(long, conflicts_with = "mutation")]
        every_write: bool,
        /// Runs in which partitions move and nothing fails: an error at a client is a finding
        #[arg(long, conflicts_with_all = ["mutation", "every_write"])]
        moving: bool,
        /// Only the run that is cut at this write
        #[arg(long, requires = "every_write", value_name = "WRITE")]
        cut: Option<u64>,
        /// A deliberate mistake that must be found: ack-before-sync, skip-crc, forget-snapshots, swap-answers,
        /// journal-before-sync, journal-reuse, journal-skipped
        #[arg(long, value_parser = parse_mutation)]
        mutation: Option<Mutation>,
        /// Runs on a disk that is full for a while
        #[arg(long, conflicts_with_all = ["mutation", "every_write"])]
        full_disk: bool,
        /// Go on after a finding and count them
        #[arg(long)]
        keep_going: bool,
    },
}

fn parse_seeds(text: &str) -> Result<(u64, u64), String> {
    let hint = || format!("'{text}' is not a range of seeds such as 0..1000");
    let (first, end) = text.split_once("..").ok_or_else(hint)?;
    Ok((first.parse().map_err(|_| hint())?, end.parse().map_err(|_| hint())?))
}

fn parse_mutation(text: &str) -> Result<Mutation, String> {
    Mutation::parse(text).ok_or_else(|| {
        let names: Vec<&str> = Mutation::ALL.iter().map(|mutation| mutation.name()).collect();
        format!("'{text}' is none of {}", names.join(", "))
    })
}

/// Runs what the words ask for.
pub fn run(args: &SimArgs, out: &mut Out<'_>) -> Result<(), Failure> {
    let SimVerb::Run { seed, seeds, trace, every_write, moving, cut, mutation, full_disk, keep_going } = &args.verb;
    let (first, end) = seeds.unwrap_or_else(|| seed.map_or((0, 0), |seed| (seed, seed + 1)));
    let start = Instant::now();
    let (mut runs, mut findings) = (0u64, 0u64);
    for seed in first..end {
        let mut cuts = vec![*cut];
        let mut next = 0;
        while let Some(cut) = cuts.pop() {
            let mut options = match mutation {
                Some(mutation) => Options::with_mutation(seed, *mutation),
                None if *every_write => Options::small(seed, cut),
                None if *full_disk => Options::full(seed),
                None if *moving => Options::moving(seed),
                None => Options::of_seed(seed),
            };
            options.keep_trace = *trace;
            let outcome = run_one(&options);
            runs += 1;
            print(out, seed, cut, &outcome, first + 1 == end)?;
            if outcome.finding.is_some() {
                findings += 1;
                if !keep_going {
                    return Err(Failure::Reported);
                }
            }
            if *every_write && cut.is_none() {
                next = outcome.writes;
            }
            if *every_write && next > 0 && args_all(&args.verb) {
                next -= 1;
                cuts.push(Some(next));
            }
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    out.line(format_args!("{runs} runs, {findings} findings, {:.1} runs a second", runs as f64 / seconds))?;
    if findings > 0 { Err(Failure::Reported) } else { Ok(()) }
}

/// Whether every write is to be cut, not one only.
fn args_all(verb: &SimVerb) -> bool {
    let SimVerb::Run { cut, .. } = verb;
    cut.is_none()
}

fn print(out: &mut Out<'_>, seed: u64, cut: Option<u64>, outcome: &Outcome, always: bool) -> Result<(), Failure> {
    for line in &outcome.trace {
        out.line(format_args!("{line}"))?;
    }
    if out.is_json() {
        return out.json(&json!({
            "seed": seed, "cut": cut, "finding": outcome.finding, "trace": format!("{:016x}", outcome.trace_hash),
            "events": outcome.events, "writes": outcome.writes, "acked": outcome.acked, "read": outcome.read,
            "restarts": outcome.restarts, "flips": outcome.flips, "lasted_ms": outcome.lasted_ms,
        }));
    }
    let cut = cut.map(|cut| format!(" cut at write {cut}")).unwrap_or_default();
    if let Some(finding) = &outcome.finding {
        out.line(format_args!("seed {seed}{cut}: FOUND {finding}"))?;
    }
    if always {
        out.line(format_args!(
            "seed {seed}{cut}: trace {:016x}, {} events, {} writes, {} acknowledged, {} read, {} restarts, {} flips, \
             {} ms",
            outcome.trace_hash,
            outcome.events,
            outcome.writes,
            outcome.acked,
            outcome.read,
            outcome.restarts,
            outcome.flips,
            outcome.lasted_ms
        ))?;
    }
    out.flush()
}
