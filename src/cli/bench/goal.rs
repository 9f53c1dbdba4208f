//! The highest rate at which a percentile stays below a time, by bisection between nothing and the closed loop's peak.

use super::outcome::{Figure, Outcome};
use super::run::{Ready, Runner};
use super::store::Found;
use super::units::{self, Goal, Rate};
use super::workload::{Mode, Workload};
use crate::cli::output::Failure;

/// Rates tried at most, and how near (as a ratio) the bounds must come to end earlier.
const STEPS_MAX: u32 = 8;
const NEAR: f64 = 1.05;
/// A run that was answered at less than this part of its rate has not kept up.
const KEPT_UP: f64 = 0.95;

/// A search between a rate that met the goal and one that did not.
#[derive(Clone, Debug, PartialEq)]
pub struct Bisection {
    low: f64,
    high: f64,
    steps: u32,
}

impl Bisection {
    /// Below a rate that nobody exceeds.
    pub fn below(ceiling: f64) -> Bisection {
        Bisection { low: 0.0, high: ceiling, steps: 0 }
    }

    /// The rate to try next; `None` when the answer is known well enough.
    pub fn next(&self) -> Option<f64> {
        let is_near = self.low > 0.0 && self.high / self.low <= NEAR;
        (self.steps < STEPS_MAX && !is_near).then_some((self.low + self.high) / 2.0)
    }

    /// What came of a try.
    pub fn tell(&mut self, rate: f64, has_met: bool) {
        self.steps += 1;
        if has_met { self.low = rate } else { self.high = rate }
    }

    /// The highest rate that met the goal; 0 when none did.
    pub fn best(&self) -> f64 {
        self.low
    }
}

/// Whether a run at this rate (records a second) met the goal.
pub fn is_met(goal: &Goal, rate: f64, outcome: &Outcome) -> bool {
    let latency = outcome.latency.as_ref().map(|latency| latency.at(goal.quantile));
    let kept_up = Figure::Records.of(outcome).is_some_and(|answered| answered >= rate * KEPT_UP);
    let is_whole = outcome.failed == 0 && outcome.unanswered == 0;
    is_whole && kept_up && latency.is_some_and(|latency| latency <= goal.limit_us)
}

impl Runner {
    /// Searches in one topic. The outcome is the run at the rate found; `None` when the search was stopped.
    pub fn search(
        &self,
        ready: &Ready,
        workload: &Workload,
        goal: Goal,
        label: &str,
    ) -> Result<Option<(Outcome, Found)>, Failure> {
        let at_peak = Workload { mode: Mode::Produce, rate: None, ..workload.clone() };
        let peak = self.load(ready, &at_peak, &format!("{label} peak"))?;
        let ceiling = Figure::Records.of(&peak).unwrap_or(0.0);
        let mut bisection = Bisection::below(ceiling);
        let (mut best, mut tried) = (None, Vec::new());
        while let Some(rate) = bisection.next() {
            if self.is_stopped() {
                return Ok(None);
            }
            let paced = Workload { rate: Some(Rate::RecordsPerSecond(rate)), ..workload.clone() };
            let outcome = self.load(ready, &paced, &format!("{label} at {}/s", units::number(rate)))?;
            let has_met = is_met(&goal, rate, &outcome);
            if self.is_stopped() {
                return Ok(None);
            }
            tried.push((rate, has_met));
            bisection.tell(rate, has_met);
            if has_met || best.is_none() {
                best = Some(outcome);
            }
        }
        let found = Found { goal, records_per_second: bisection.best(), tried };
        Ok(Some((best.unwrap_or(peak), found)))
    }
}

/// `p99 ≤ 10 ms up to 12,345 records/s`
pub fn describe(found: &Found) -> String {
    if found.records_per_second == 0.0 {
        return format!("{} at no rate tried", found.goal);
    }
    format!("{} up to {} records/s", found.goal, units::number(found.records_per_second))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::outcome::tests::sample;

    fn search(ceiling: f64, truth: f64) -> (f64, u32) {
        let mut bisection = Bisection::below(ceiling);
        while let Some(rate) = bisection.next() {
            bisection.tell(rate, rate <= truth);
        }
        (bisection.best(), bisection.steps)
    }

    #[test]
    fn the_search_comes_near_the_truth_from_below() {
        for truth in [70.0, 333.0, 500.0, 990.0] {
            let (found, steps) = search(1000.0, truth);
            assert!(found <= truth && found * 1.06 >= truth, "{found} for {truth}");
            assert!(steps <= STEPS_MAX);
        }
        assert_eq!(search(1000.0, 0.5).0, 0.0, "a goal that nothing meets");
        assert!(search(1000.0, 5000.0).0 > 950.0, "a goal that everything meets ends at the peak");
    }

    #[test]
    fn a_run_that_lost_or_lagged_has_not_met_its_goal() {
        let goal = Goal { quantile: 0.99, limit_us: 2000.0 };
        let run = sample(2000.0);
        assert!(is_met(&goal, 100_000.0, &run));
        assert!(!is_met(&goal, 110_000.0, &run), "it answered 100,000 a second");
        assert!(!is_met(&goal, 100_000.0, &sample(2001.0)));
        assert!(!is_met(&goal, 100_000.0, &Outcome { unanswered: 1, ..run.clone() }));
        assert!(!is_met(&goal, 100_000.0, &Outcome { latency: None, ..run }));
    }
}
