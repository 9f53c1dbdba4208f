//! Latencies as histograms and as the few numbers that are kept of them.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::units;

/// Three exact digits from a microsecond to an hour, nanoseconds.
const LOW_NS: u64 = 1_000;
const HIGH_NS: u64 = 3_600_000_000_000;
const DIGITS: u8 = 3;
/// Points of the stored curve for each factor of ten between p0, p90, p99 and so on.
const POINTS_A_DECADE: u32 = 10;
/// The curve ends at p99.999.
const DECADES: u32 = 5;

/// An empty histogram of nanoseconds.
pub fn histogram() -> Histogram<u64> {
    match Histogram::new_with_bounds(LOW_NS, HIGH_NS, DIGITS) {
        Ok(histogram) => histogram,
        // The bounds are constants that the crate takes.
        Err(error) => panic!("invariant broken: {error}"),
    }
}

/// What is kept of a histogram. Microseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    pub count: u64,
    pub mean_us: f64,
    pub p50_us: f64,
    pub p90_us: f64,
    pub p95_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    pub p9999_us: f64,
    pub max_us: f64,
    /// Quantile and latency, as far as the count supports: a quantile of 0.999 needs a thousand samples.
    pub curve: Vec<(f64, f64)>,
}

impl Latency {
    /// None without a sample.
    pub fn of(histogram: &Histogram<u64>) -> Option<Latency> {
        let count = histogram.len();
        if count == 0 {
            return None;
        }
        let at = |quantile: f64| us(histogram.value_at_quantile(quantile).min(histogram.max()));
        let quantiles = (0..=DECADES * POINTS_A_DECADE).map(|step| {
            let left = 10f64.powf(-f64::from(step) / f64::from(POINTS_A_DECADE));
            (1.0 - left, left)
        });
        let curve = quantiles.filter(|&(_, left)| left * count as f64 >= 1.0 - 1e-9).map(|(q, _)| (q, at(q))).collect();
        Some(Latency {
            count,
            mean_us: (histogram.mean() / 100.0).round() / 10.0,
            p50_us: at(0.5),
            p90_us: at(0.9),
            p95_us: at(0.95),
            p99_us: at(0.99),
            p999_us: at(0.999),
            p9999_us: at(0.9999),
            max_us: us(histogram.max()),
            curve,
        })
    }

    /// The latency at a quantile: exact for those that have a field, else the next higher point of the curve.
    pub fn at(&self, quantile: f64) -> f64 {
        let fields = [
            (0.5, self.p50_us),
            (0.9, self.p90_us),
            (0.95, self.p95_us),
            (0.99, self.p99_us),
            (0.999, self.p999_us),
            (0.9999, self.p9999_us),
            (1.0, self.max_us),
        ];
        if let Some((_, value)) = fields.iter().find(|(field, _)| (field - quantile).abs() < 1e-9) {
            return *value;
        }
        self.curve.iter().find(|(point, _)| *point >= quantile - 1e-9).map_or(self.max_us, |(_, value)| *value)
    }

    /// `p50 0.94 ms  p99 3.1 ms ...`
    pub fn line(&self) -> String {
        let all = [
            ("p50", self.p50_us),
            ("p90", self.p90_us),
            ("p99", self.p99_us),
            ("p99.9", self.p999_us),
            ("p99.99", self.p9999_us),
            ("max", self.max_us),
        ];
        all.map(|(name, value)| format!("{name} {}", units::time(value))).join("  ")
    }
}

fn us(ns: u64) -> f64 {
    // A tenth of a microsecond is finer than the clock of the client.
    (ns as f64 / 100.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_samples() {
        let mut samples = histogram();
        (1..=100_000u64).for_each(|us| samples.saturating_record(us * 1000));
        let latency = Latency::of(&samples).unwrap();
        let near = |value: f64, wanted: f64| assert!((value / wanted - 1.0).abs() < 0.002, "{value} for {wanted}");
        near(latency.p50_us, 50_000.0);
        near(latency.p99_us, 99_000.0);
        near(latency.p9999_us, 99_990.0);
        near(latency.max_us, 100_000.0);
        near(latency.at(0.99), latency.p99_us);
        near(latency.at(0.95), 95_000.0);
        near(latency.at(0.96), 96_019.0);
        assert_eq!(latency.curve.len(), 51);
        assert!(latency.curve.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1));
    }

    #[test]
    fn a_curve_ends_where_the_samples_do() {
        let mut samples = histogram();
        (0..10).for_each(|_| samples.saturating_record(5_000_000));
        let latency = Latency::of(&samples).unwrap();
        assert!((latency.curve.last().unwrap().0 - 0.9).abs() < 1e-9, "{:?}", latency.curve);
        assert_eq!(Latency::of(&histogram()), None);
    }
}
