//! Two clusters in turns, so that a slow minute of the host meets both; each round gives one ratio.

use serde_json::json;

use super::args::CompareArgs;
use super::machine::Seen;
use super::outcome::{Figure, Spread};
use super::process;
use super::report;
use super::run::{Runner, Target};
use super::store::{Entry, Session, Store, now_ms};
use crate::base::prng::Prng;
use crate::cli::args::ClientArgs;
use crate::cli::output::{Failure, Out};

/// Who runs when: round and whether it is the second cluster's turn.
pub fn turns(rounds: u32, is_random: bool) -> Vec<(u32, bool)> {
    let mut prng = Prng::new(0x0c01);
    (0..rounds)
        .flat_map(|round| {
            let swapped = is_random && prng.chance(1, 2);
            [(round, swapped), (round, !swapped)]
        })
        .collect()
}

/// One figure of both clusters and its ratio, round by round.
#[derive(Clone, Debug, PartialEq)]
pub struct Ratio {
    pub figure: Figure,
    pub first: Spread,
    pub second: Spread,
    /// First divided by second, of the rounds that both ran.
    pub ratio: Spread,
}

/// All figures that both sides have. Entries pair by their repeat.
pub fn ratios(first: &[&Entry], second: &[&Entry]) -> Vec<Ratio> {
    let ratio = |figure: Figure| {
        let pairs: Vec<(f64, f64)> = first
            .iter()
            .filter_map(|one| {
                let other = second.iter().find(|other| other.repeat == one.repeat)?;
                Some((figure.of(&one.outcome)?, figure.of(&other.outcome)?))
            })
            .collect();
        let ratio = Spread::of(pairs.iter().filter(|(_, b)| *b > 0.0).map(|(a, b)| a / b))?;
        let side = |pick: fn(&(f64, f64)) -> f64| Spread::of(pairs.iter().map(pick));
        Some(Ratio { figure, first: side(|pair| pair.0)?, second: side(|pair| pair.1)?, ratio })
    };
    Figure::ALL.into_iter().filter_map(ratio).collect()
}

pub fn run(client: &ClientArgs, args: &CompareArgs, out: &mut Out<'_>) -> Result<(), Failure> {
    let workload = args.workload.workload(args.load, false)?;
    workload.check()?;
    let targets: [&Target; 2] = [&args.first, &args.second];
    if args.first.name == args.second.name {
        return Err(Failure::new(format!(
            "both clusters are called {}: give them names, A=HOST:PORT",
            args.first.name
        )));
    }
    let runner = Runner::new(client, args.workload.keep_topics, !args.workload.quiet)?;
    for target in targets {
        runner.check(target, &workload)?;
    }
    let places = targets.map(|target| json!({"name": target.name, "bootstrap": target.bootstrap}));
    let plan = json!({"workload": workload, "clusters": places, "random": args.random, "settle": args.settle});
    let seen = targets.map(|target| Seen::look(target, None)).to_vec();
    let name = super::name_of(&args.store, "compare");
    let mut store = Store::open(&args.store.out, &name, Session::new("compare", plan, seen))?;
    let done = store.stored.done();
    for (round, is_second) in turns(args.rounds, args.random) {
        let target = targets[usize::from(is_second)];
        if done.contains(&(target.name.clone(), Vec::new(), round)) {
            continue;
        }
        let label = format!("[{}/{}] {}", round + 1, args.rounds, target.name);
        if args.settle {
            process::write_page_cache()?;
        }
        let outcome = runner.measure(target, &workload, &label)?;
        if runner.is_stopped() {
            break;
        }
        let entry = Entry {
            at_ms: now_ms(),
            target: target.name.clone(),
            axes: Vec::new(),
            repeat: round,
            workload: workload.clone(),
            outcome,
            found: None,
        };
        if out.is_json() {
            out.json(&json!({"result": entry}))?;
        } else {
            let figures = [Figure::Megabytes, Figure::P50, Figure::P99, Figure::CpuPerGb];
            out.line(format_args!("{label}: {}", entry.outcome.phrases(&figures).join("  ")))?;
        }
        out.flush()?;
        store.add(entry)?;
    }
    let of = |target: &Target| store.stored.entries.iter().filter(|entry| entry.target == target.name).collect();
    let (first, second): (Vec<&Entry>, Vec<&Entry>) = (of(&args.first), of(&args.second));
    tell(&ratios(&first, &second), &args.first.name, &args.second.name, out)?;
    report::write_and_tell(&args.store.out, &[store.stored], out)?;
    super::stopped(&runner, "run the same words again to go on")
}

fn tell(ratios: &[Ratio], first: &str, second: &str, out: &mut Out<'_>) -> Result<(), Failure> {
    if out.is_json() {
        let figures: Vec<serde_json::Value> = ratios
            .iter()
            .map(|one| {
                json!({"figure": one.figure.title(), "first": one.first, "second": one.second, "ratio": one.ratio})
            })
            .collect();
        return out.json(&json!({"first": first, "second": second, "ratios": figures}));
    }
    let mut rows =
        vec![vec!["MEDIAN (RANGE)".into(), first.to_owned(), second.to_owned(), format!("{first} / {second}")]];
    for one in ratios {
        rows.push(vec![one.figure.title().to_owned(), one.first.text(), one.second.text(), one.ratio.text()]);
    }
    out.table(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::store::tests::entry;

    #[test]
    fn turns_alternate_or_are_tossed_and_every_round_has_both() {
        assert_eq!(turns(2, false), [(0, false), (0, true), (1, false), (1, true)]);
        let random = turns(50, true);
        for round in random.chunks(2) {
            assert_eq!((round[0].0, round[0].1), (round[1].0, !round[1].1));
        }
        let second_first = random.chunks(2).filter(|round| round[0].1).count();
        assert!((10..40).contains(&second_first), "{second_first} of 50");
    }

    #[test]
    fn a_ratio_pairs_the_runs_of_one_round() {
        let ours = [entry("a", &[], 0, 1000.0), entry("a", &[], 1, 4000.0), entry("a", &[], 2, 9000.0)];
        let theirs = [entry("b", &[], 1, 2000.0), entry("b", &[], 0, 2000.0)];
        let found = ratios(&ours.iter().collect::<Vec<_>>(), &theirs.iter().collect::<Vec<_>>());
        let p99 = found.iter().find(|one| one.figure == Figure::P99).unwrap();
        assert_eq!(p99.ratio, Spread { median: 1.25, low: 0.5, high: 2.0 });
        assert_eq!(p99.second.median, 2.0);
    }
}
