//! Runs of the same thing are a series: what is plotted and compared.

use crate::cli::bench::matrix;
use crate::cli::bench::outcome::{Figure, Spread};
use crate::cli::bench::store::{Entry, Stored};

/// All runs of one workload on one cluster under one name.
#[derive(Clone, Debug)]
pub struct Series<'a> {
    /// What tells it from the others.
    pub label: String,
    pub run: &'a str,
    pub target: &'a str,
    pub axes: &'a [(String, String)],
    pub entries: Vec<&'a Entry>,
}

impl Series<'_> {
    /// Median and range of a figure over the runs that have it.
    pub fn spread(&self, figure: Figure) -> Option<Spread> {
        Spread::of(self.entries.iter().filter_map(|entry| figure.of(&entry.outcome)))
    }

    /// The highest rate that the goal allowed, records a second.
    pub fn found(&self) -> Option<Spread> {
        Spread::of(self.entries.iter().filter_map(|entry| Some(entry.found.as_ref()?.records_per_second)))
    }

    /// Quantile and latency (µs), point by point the median of the runs; it ends where the shortest run's does.
    pub fn curve(&self) -> Vec<(f64, f64)> {
        let curves: Vec<&Vec<(f64, f64)>> =
            self.entries.iter().filter_map(|entry| Some(&entry.outcome.latency.as_ref()?.curve)).collect();
        let points = curves.iter().map(|curve| curve.len()).min().unwrap_or(0);
        let point = |at: usize| {
            let quantile = curves.first()?.get(at)?.0;
            Some((quantile, Spread::of(curves.iter().map(|curve| curve[at].1))?.median))
        };
        (0..points).filter_map(point).collect()
    }
}

/// The series of stored runs, in the order in which they first appear, a matrix in the order of its cells.
pub fn of(stored: &[Stored]) -> Vec<Series<'_>> {
    let mut all: Vec<Series<'_>> = Vec::new();
    for one in stored {
        let first = all.len();
        for entry in &one.entries {
            let same = |series: &&mut Series<'_>| {
                let earlier = series.entries[0];
                earlier.target == entry.target && earlier.axes == entry.axes && earlier.workload == entry.workload
            };
            match all[first..].iter_mut().find(same) {
                Some(series) => series.entries.push(entry),
                None => all.push(Series {
                    label: String::new(),
                    run: &one.name,
                    target: &entry.target,
                    axes: &entry.axes,
                    entries: vec![entry],
                }),
            }
        }
        // Rounds go over the cells in changing orders; for people they stand as their axes are written.
        let rank = |series: &Series<'_>| -> Vec<usize> {
            let values = |name: &str| axis_values(one, name);
            series.axes.iter().map(|(name, value)| values(name).iter().position(|v| v == value).unwrap_or(0)).collect()
        };
        all[first..].sort_by_cached_key(rank);
    }
    let labels = labels(&all);
    for (series, label) in all.iter_mut().zip(labels) {
        series.label = label;
    }
    all
}

/// The values of an axis in the order in which they were asked for; without a plan sorted.
fn axis_values(stored: &Stored, name: &str) -> Vec<String> {
    let planned = stored.sessions.first().map(|session| session.plan["axes"].clone()).unwrap_or_default();
    let axes: Vec<matrix::Axis> = serde_json::from_value(planned).unwrap_or_default();
    if let Some((_, values)) = axes.into_iter().find(|(axis, _)| axis == name) {
        return values;
    }
    let of = |entry: &Entry| entry.axes.iter().find(|(axis, _)| axis == name).map(|(_, value)| value.clone());
    let mut values: Vec<String> = stored.entries.iter().filter_map(of).collect();
    values.sort();
    values.dedup();
    values
}

/// What differs between the series: run, cluster, axes, else any setting.
fn labels(all: &[Series<'_>]) -> Vec<String> {
    let differs = |of: &dyn Fn(&Series<'_>) -> String| {
        all.first().is_some_and(|first| all.iter().any(|other| of(other) != of(first)))
    };
    let by_run = differs(&|series| series.run.to_owned());
    let by_target = differs(&|series| series.target.to_owned());
    let by_axes = differs(&|series| matrix::label(series.axes));
    let settings: Vec<Vec<(String, String)>> = all.iter().map(|series| series.entries[0].workload.settings()).collect();
    let value =
        |at: usize, name: &str| settings[at].iter().find(|(one, _)| one == name).map(|(_, value)| value.as_str());
    let differing: Vec<&String> = settings
        .iter()
        .flatten()
        .map(|(name, _)| name)
        .filter(|name| (0..all.len()).any(|at| value(at, name) != value(0, name)))
        .fold(Vec::new(), |mut names, name| {
            if !names.contains(&name) {
                names.push(name);
            }
            names
        });
    let label = |(at, series): (usize, &Series<'_>)| {
        let mut parts = Vec::new();
        parts.extend(by_run.then(|| series.run.to_owned()));
        parts.extend(by_target.then(|| series.target.to_owned()));
        if by_axes {
            parts.push(matrix::label(series.axes));
        } else {
            parts.extend(differing.iter().filter_map(|name| Some(format!("{name}={}", value(at, name)?))));
        }
        if parts.is_empty() { series.target.to_owned() } else { parts.join(" ") }
    };
    all.iter().enumerate().map(label).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::store::tests::entry;

    fn stored(name: &str, entries: Vec<Entry>) -> Stored {
        Stored { name: name.to_owned(), sessions: Vec::new(), entries }
    }

    #[test]
    fn repeats_join_and_cells_stand_in_the_order_of_their_axes() {
        let cell = |size: &str, repeat: u32, p99: f64| entry("k", &[("batch.size", size)], repeat, p99);
        let runs = vec![cell("1MiB", 0, 1.0), cell("16KiB", 0, 10.0), cell("16KiB", 1, 30.0), cell("16KiB", 2, 20.0)];
        let stored = [stored("a", runs)];
        let series = of(&stored);
        let labels: Vec<&str> = series.iter().map(|one| one.label.as_str()).collect();
        assert_eq!(labels, ["batch.size=16KiB", "batch.size=1MiB"]);
        let mut planned = stored.clone();
        let mut session = crate::cli::bench::store::tests::session("");
        session.plan = serde_json::json!({"axes": [["batch.size", ["1MiB", "16KiB"]]]});
        planned[0].sessions.push(session);
        assert_eq!(of(&planned)[0].label, "batch.size=1MiB", "as it was asked for");
        assert_eq!(series[0].spread(Figure::P99), Some(Spread { median: 0.02, low: 0.01, high: 0.03 }));
        assert_eq!(series[0].curve().last().map(|point| point.1), Some(20.0));
    }

    #[test]
    fn labels_name_only_what_differs() {
        let both = [stored("a", vec![entry("k", &[], 0, 1.0)]), stored("b", vec![entry("k", &[], 0, 1.0)])];
        assert_eq!(of(&both).iter().map(|one| one.label.clone()).collect::<Vec<_>>(), ["a", "b"]);
        let mut other = entry("k", &[], 0, 1.0);
        other.workload.record_bytes = 100;
        let one = [stored("a", vec![entry("k", &[], 0, 1.0), other])];
        let labels: Vec<String> = of(&one).into_iter().map(|one| one.label).collect();
        assert_eq!(labels, ["record.bytes=1024", "record.bytes=100"]);
        let single = [stored("a", vec![entry("k", &[], 0, 1.0)])];
        assert_eq!(of(&single)[0].label, "k");
    }
}
