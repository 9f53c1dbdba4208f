//! Combinations of settings. Rounds go over all cells, each round in another order, so that a slow minute of the host
//! does not meet one cell alone; what is stored already is not run again.

use std::collections::BTreeSet;

use serde_json::json;

use super::args::MatrixArgs;
use super::machine::Seen;
use super::outcome::Figure;
use super::run::{Runner, Target};
use super::store::{Entry, Key, Session, Store, now_ms};
use super::workload::Workload;
use super::{goal, report};
use crate::base::prng::Prng;
use crate::cli::args::ClientArgs;
use crate::cli::output::{Failure, Out};

/// A matrix of more cells than this is a mistake.
const CELLS_MAX: usize = 4096;

/// A setting and its values.
pub type Axis = (String, Vec<String>);

/// One combination.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    pub axes: Vec<(String, String)>,
    pub workload: Workload,
}

impl Cell {
    pub fn label(&self) -> String {
        label(&self.axes)
    }
}

/// `acks=1 batch.size=16KiB`
pub fn label(axes: &[(String, String)]) -> String {
    axes.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
}

/// What is varied without being told.
fn usual_axes() -> Vec<Axis> {
    let axis = |name: &str, values: &[&str]| (name.to_owned(), values.iter().map(|v| (*v).to_owned()).collect());
    vec![
        axis("acks", &["1", "all"]),
        axis("batch.size", &["16KiB", "256KiB"]),
        axis("linger.ms", &["0", "5"]),
        axis("compression.type", &["none", "lz4"]),
    ]
}

/// All combinations, the last axis fastest; each is checked before any runs.
pub fn cells(base: &Workload, axes: &[Axis]) -> Result<Vec<Cell>, String> {
    let mut cells = vec![Cell { axes: Vec::new(), workload: base.clone() }];
    for (name, values) in axes {
        if axes.iter().filter(|(other, _)| other == name).count() > 1 {
            return Err(format!("{name} is varied twice"));
        }
        if cells.len() * values.len() > CELLS_MAX {
            return Err(format!("more than {CELLS_MAX} combinations"));
        }
        let mut wider = Vec::new();
        for cell in &cells {
            for value in values {
                let mut next = cell.clone();
                next.workload.set(name, value)?;
                next.axes.push((name.clone(), value.clone()));
                wider.push(next);
            }
        }
        cells = wider;
    }
    for cell in &cells {
        cell.workload.check().map_err(|why| format!("{}: {why}", cell.label()))?;
    }
    Ok(cells)
}

/// Round and index of each run: every round all cells, shuffled by the number of the round, so that a rerun agrees.
pub fn order(cells: usize, repeats: u32) -> Vec<(u32, usize)> {
    (0..repeats)
        .flat_map(|round| {
            let mut prng = Prng::new(u64::from(round) + 1);
            let mut indexes: Vec<usize> = (0..cells).collect();
            for last in (1..cells).rev() {
                indexes.swap(last, prng.below(last as u64 + 1) as usize);
            }
            indexes.into_iter().map(move |index| (round, index))
        })
        .collect()
}

/// What of an order is still to do.
pub fn remaining(order: &[(u32, usize)], cells: &[Cell], target: &str, done: &BTreeSet<Key>) -> Vec<(u32, usize)> {
    let key = |&(round, index): &(u32, usize)| (target.to_owned(), cells[index].axes.clone(), round);
    order.iter().copied().filter(|run| !done.contains(&key(run))).collect()
}

/// Runs what is not stored yet and writes the report.
pub fn run(client: &ClientArgs, args: &MatrixArgs, out: &mut Out<'_>) -> Result<(), Failure> {
    let base = args.workload.workload(args.load, true)?;
    let axes = if args.vary.is_empty() { usual_axes() } else { args.vary.clone() };
    let cells = cells(&base, &axes)?;
    let runner = Runner::new(client, args.workload.keep_topics, !args.workload.quiet)?;
    let target: Target = args.broker.target(client);
    for cell in &cells {
        runner.check(&target, &cell.workload).map_err(|failure| match failure {
            Failure::Message(why) => Failure::new(format!("{}: {why}", cell.label())),
            other => other,
        })?;
    }
    // The number of rounds is no part of the plan: a rerun may add some.
    let plan = json!({"base": base, "axes": axes, "goal": args.latency_goal, "cluster": target.bootstrap});
    let seen = Seen::look(&target, args.broker.broker_data.as_deref());
    let name = super::name_of(&args.store, "matrix");
    let mut store = Store::open(&args.store.out, &name, Session::new("matrix", plan, vec![seen]))?;
    let all = order(cells.len(), args.repeats);
    let left = remaining(&all, &cells, &target.name, &store.stored.done());
    if runner.shows_progress {
        let (there, name) = (all.len() - left.len(), &name);
        eprintln!("{} cells × {} runs under the name {name}; {there} are there already", cells.len(), args.repeats);
    }
    for (at, (round, index)) in left.iter().enumerate() {
        let cell = &cells[*index];
        let label = format!("[{}/{}] {}", at + 1, left.len(), cell.label());
        let ready = runner.prepare(&target, &cell.workload)?;
        let measured = match args.latency_goal {
            Some(goal) => {
                runner.search(&ready, &cell.workload, goal, &label).map(|found| found.map(|(o, f)| (o, Some(f))))
            }
            None => runner.load(&ready, &cell.workload, &label).map(|outcome| Some((outcome, None))),
        };
        runner.clean(&ready);
        // A cell that was ended early is not stored: the rerun does it again.
        let Some((outcome, found)) = measured?.filter(|_| !runner.is_stopped()) else { break };
        let entry = Entry {
            at_ms: now_ms(),
            target: target.name.clone(),
            axes: cell.axes.clone(),
            repeat: *round,
            workload: cell.workload.clone(),
            outcome,
            found,
        };
        tell(&label, &entry, out)?;
        store.add(entry)?;
    }
    report::write_and_tell(&args.store.out, &[store.stored], out)?;
    super::stopped(&runner, "run the same words again to go on")
}

/// One line a cell.
fn tell(label: &str, entry: &Entry, out: &mut Out<'_>) -> Result<(), Failure> {
    if out.is_json() {
        out.json(&json!({"result": entry}))?;
        return out.flush();
    }
    let figures = [Figure::Megabytes, Figure::Records, Figure::P50, Figure::P99, Figure::P999, Figure::CpuPerGb];
    let shown = entry.outcome.phrases(&figures).join("  ");
    let found = entry.found.as_ref().map(|found| format!("{}; ", goal::describe(found))).unwrap_or_default();
    out.line(format_args!("{label}: {found}{shown}"))?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::workload::tests::plain;

    fn axes() -> Vec<Axis> {
        usual_axes()
    }

    #[test]
    fn every_combination_is_a_cell_with_its_settings() {
        let cells = cells(&plain(), &axes()).unwrap();
        assert_eq!(cells.len(), 16);
        assert_eq!(cells[0].label(), "acks=1 batch.size=16KiB linger.ms=0 compression.type=none");
        let last = &cells[15].workload;
        assert_eq!(
            (last.acks.as_str(), last.batch_size, last.linger_ms, last.compression.as_str()),
            ("all", 262_144, 5.0, "lz4")
        );
        let wrong = [("acks".to_owned(), vec!["0".to_owned(), "2".to_owned()])];
        assert!(super::cells(&plain(), &wrong).is_err());
        let twice = [axes()[0].clone(), axes()[0].clone()];
        assert!(super::cells(&plain(), &twice).unwrap_err().contains("twice"));
        let idempotent = [axes()[0].clone(), ("enable.idempotence".to_owned(), vec!["true".to_owned()])];
        assert!(super::cells(&plain(), &idempotent).unwrap_err().starts_with("acks=1"), "named before anything runs");
    }

    #[test]
    fn rounds_interleave_all_cells_each_in_another_order() {
        let order = order(16, 3);
        let round =
            |number: u32| -> Vec<usize> { order.iter().filter(|run| run.0 == number).map(|run| run.1).collect() };
        for number in 0..3 {
            let mut sorted = round(number);
            sorted.sort_unstable();
            assert_eq!(sorted, (0..16).collect::<Vec<_>>());
        }
        assert!(order.is_sorted_by_key(|run| run.0) && round(0) != round(1) && round(1) != round(2));
        assert_eq!(order, super::order(16, 3), "a rerun goes the same way");
        assert_eq!(order[..32], super::order(16, 2), "more rounds only add to it");
    }

    #[test]
    fn a_rerun_leaves_out_what_is_there() {
        let cells = cells(&plain(), &axes()[..2]).unwrap();
        let all = order(cells.len(), 2);
        let mut done: BTreeSet<Key> = BTreeSet::new();
        assert_eq!(remaining(&all, &cells, "k", &done), all);
        for &(round, index) in &all[..5] {
            done.insert(("k".to_owned(), cells[index].axes.clone(), round));
        }
        assert_eq!(remaining(&all, &cells, "k", &done), all[5..]);
        assert_eq!(remaining(&all, &cells, "other", &done), all, "another cluster's results are no substitute");
    }
}
