//! What one run measured, and the figures that are derived from it.

use serde::{Deserialize, Serialize};

use super::latency::Latency;
use super::process::Cpu;
use super::units;
use super::workload::{ClientKind, Workload};

/// CPU time and memory of one process over the measured window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    pub cpu: Cpu,
    /// At the end, and the highest ever; MB (10^6).
    pub resident_mb: f64,
    pub resident_max_mb: f64,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Length of the measured window.
    pub seconds: f64,
    pub records: u64,
    /// Raw: of record batches as they travel. Library: of keys and values.
    pub bytes: u64,
    /// Raw only.
    pub requests: u64,
    /// Records (raw: of failed requests) since the start.
    pub failed: u64,
    /// Due in the window and never answered.
    pub unanswered: u64,
    pub first_failure: Option<String>,
    /// The run was ended before its time.
    pub interrupted: bool,
    pub latency: Option<Latency>,
    /// Open loop: how late events were sent, a sign that the client is the limit.
    pub lag: Option<Latency>,
    pub broker: Option<Usage>,
    pub client: Usage,
}

/// A figure of the tables and plots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    Megabytes,
    Records,
    Requests,
    P50,
    P99,
    P999,
    P9999,
    CpuPerGb,
    CpuPerRequest,
    CpuPerRecord,
    Resident,
}

impl Figure {
    pub const ALL: [Figure; 11] = [
        Figure::Megabytes,
        Figure::Records,
        Figure::Requests,
        Figure::P50,
        Figure::P99,
        Figure::P999,
        Figure::P9999,
        Figure::CpuPerGb,
        Figure::CpuPerRequest,
        Figure::CpuPerRecord,
        Figure::Resident,
    ];

    /// Name with its unit.
    pub fn title(self) -> &'static str {
        match self {
            Figure::Megabytes => "MB/s",
            Figure::Records => "records/s",
            Figure::Requests => "requests/s",
            Figure::P50 => "p50 ms",
            Figure::P99 => "p99 ms",
            Figure::P999 => "p99.9 ms",
            Figure::P9999 => "p99.99 ms",
            Figure::CpuPerGb => "broker CPU s/GB",
            Figure::CpuPerRequest => "broker CPU µs/request",
            Figure::CpuPerRecord => "broker CPU µs/record",
            Figure::Resident => "broker resident MB",
        }
    }

    /// A value with its name and unit, as a part of a sentence.
    pub fn phrase(self, value: f64) -> String {
        let (value, title) = (units::number(value), self.title());
        match title.strip_suffix(" ms") {
            Some(percentile) => format!("{percentile} {value} ms"),
            None => format!("{value} {title}"),
        }
    }

    /// None where a run has no such figure.
    pub fn of(self, outcome: &Outcome) -> Option<f64> {
        let cpu_us = outcome.broker.map(|usage| usage.cpu.total() * 1e6);
        let latency = |quantile: f64| outcome.latency.as_ref().map(|latency| latency.at(quantile) / 1e3);
        let value = match self {
            Figure::Megabytes => Some(outcome.bytes as f64 / 1e6 / outcome.seconds),
            Figure::Records => Some(outcome.records as f64 / outcome.seconds),
            Figure::Requests => (outcome.requests > 0).then(|| outcome.requests as f64 / outcome.seconds),
            Figure::P50 => latency(0.5),
            Figure::P99 => latency(0.99),
            Figure::P999 => latency(0.999),
            Figure::P9999 => latency(0.9999),
            Figure::CpuPerGb => cpu_us.map(|us| us / 1e6 / (outcome.bytes as f64 / 1e9)),
            Figure::CpuPerRequest => cpu_us.filter(|_| outcome.requests > 0).map(|us| us / outcome.requests as f64),
            Figure::CpuPerRecord => cpu_us.map(|us| us / outcome.records as f64),
            Figure::Resident => outcome.broker.map(|usage| usage.resident_mb),
        };
        value.filter(|value| value.is_finite())
    }
}

/// The middle of several runs and their range.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    pub median: f64,
    pub low: f64,
    pub high: f64,
}

impl Spread {
    /// None without values. Of an even number the median is the mean of the two in the middle.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (low, high) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 };
        Some(Spread { median, low, high })
    }

    /// `171 (165 – 180)`; a single run has no range.
    pub fn text(&self) -> String {
        if self.low == self.high {
            return units::number(self.median);
        }
        format!("{} ({} – {})", units::number(self.median), units::number(self.low), units::number(self.high))
    }
}

impl Outcome {
    /// Those of these figures that the run has.
    pub fn phrases(&self, figures: &[Figure]) -> Vec<String> {
        figures.iter().filter_map(|figure| Some(figure.phrase(figure.of(self)?))).collect()
    }

    /// The lines that tell a run to people.
    pub fn lines(&self, workload: &Workload) -> Vec<(&'static str, String)> {
        let list = |figures: &[Figure]| self.phrases(figures).join(", ");
        let what = if workload.client == ClientKind::Raw { " of batches" } else { " of keys and values" };
        let mut rates = list(&[Figure::Megabytes, Figure::Requests, Figure::Records]);
        rates = rates.replacen("MB/s", &format!("MB/s{what}"), 1);
        let mut lines = vec![("throughput", format!("{rates} over {:.1} s", self.seconds))];
        if let Some(latency) = &self.latency {
            lines.push(("latency", latency.line()));
        }
        if let Some(lag) = &self.lag {
            let (p99, max) = (units::time(lag.p99_us), units::time(lag.max_us));
            lines.push(("sender's lag", format!("p99 {p99}  max {max} (a part of the latency above)")));
        }
        let cores = |usage: &Usage| usage.cpu.total() / self.seconds;
        if let Some(usage) = &self.broker {
            let each =
                list(&[Figure::CpuPerGb, Figure::CpuPerRequest, Figure::CpuPerRecord]).replace("broker CPU ", "");
            let (now, peak) = (units::number(usage.resident_mb), units::number(usage.resident_max_mb));
            lines.push(("broker", format!("{:.2} cores, {each}, resident {now} MB (peak {peak})", cores(usage))));
        }
        let resident = units::number(self.client.resident_mb);
        lines.push(("client", format!("{:.2} cores, resident {resident} MB", cores(&self.client))));
        if self.failed > 0 || self.first_failure.is_some() {
            let why = self.first_failure.as_deref().unwrap_or("unknown");
            lines.push(("failed", format!("{} records, the first: {why}", self.failed)));
        }
        if self.unanswered > 0 {
            lines.push(("unanswered", format!("{} records", self.unanswered)));
        }
        if self.interrupted {
            lines.push(("interrupted", "the run was ended before its time".to_owned()));
        }
        lines
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A run of 10 seconds with a million records of a kilobyte, 100 MB/s.
    pub fn sample(p99_us: f64) -> Outcome {
        let curve = vec![(0.0, p99_us / 10.0), (0.5, p99_us / 4.0), (0.9, p99_us / 2.0), (0.99, p99_us)];
        let latency = Latency {
            count: 1000,
            mean_us: p99_us / 3.0,
            p50_us: p99_us / 4.0,
            p90_us: p99_us / 2.0,
            p95_us: p99_us / 1.5,
            p99_us,
            p999_us: p99_us * 2.0,
            p9999_us: p99_us * 3.0,
            max_us: p99_us * 4.0,
            curve,
        };
        let usage = Usage { cpu: Cpu { user: 1.0, system: 1.0 }, resident_mb: 100.0, resident_max_mb: 120.0 };
        Outcome {
            seconds: 10.0,
            records: 1_000_000,
            bytes: 1_000_000_000,
            requests: 10_000,
            failed: 0,
            unanswered: 0,
            first_failure: None,
            interrupted: false,
            latency: Some(latency),
            lag: None,
            broker: Some(usage),
            client: usage,
        }
    }

    #[test]
    fn figures_follow_from_what_was_counted() {
        let outcome = sample(2000.0);
        let value = |figure: Figure| figure.of(&outcome).unwrap();
        assert_eq!((value(Figure::Megabytes), value(Figure::Requests)), (100.0, 1000.0));
        assert_eq!((value(Figure::CpuPerGb), value(Figure::CpuPerRequest)), (2.0, 200.0));
        assert_eq!((value(Figure::P50), value(Figure::P99), value(Figure::P999)), (0.5, 2.0, 4.0));
        let without = Outcome { broker: None, requests: 0, latency: None, ..outcome };
        for figure in [Figure::Requests, Figure::P99, Figure::CpuPerGb, Figure::Resident] {
            assert_eq!(figure.of(&without), None, "{figure:?}");
        }
        assert_eq!(Figure::Megabytes.of(&Outcome { seconds: 0.0, bytes: 0, ..without }), None);
    }

    #[test]
    fn medians_stand_in_the_middle() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Some(Spread { median: 2.0, low: 1.0, high: 3.0 }));
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 3.0]).map(|spread| spread.median), Some(2.5));
        assert_eq!(Spread::of([]), None);
        assert_eq!(Spread::of([1.0, 3.0]).unwrap().text(), "2.00 (1.00 – 3.00)");
    }
}
