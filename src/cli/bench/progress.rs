//! The line a second on standard error while a run goes on.

use std::sync::Arc;

use super::meter::{self, Counts, Meter, Recorder};
use super::process;
use super::units;

const EVERY_NS: u64 = 1_000_000_000;

/// What was shown last.
#[derive(Debug)]
pub struct Progress {
    label: String,
    is_shown: bool,
    pid: Option<u32>,
    shown_ns: u64,
    counts: Counts,
    cpu_seconds: Option<f64>,
}

impl Progress {
    pub fn new(label: &str, is_shown: bool, pid: Option<u32>) -> Progress {
        let cpu_seconds = pid.and_then(process::cpu).map(process::Cpu::total);
        Progress { label: label.to_owned(), is_shown, pid, shown_ns: 0, counts: Counts::default(), cpu_seconds }
    }

    /// Shows a line when a second has passed since the last.
    pub fn tick(&mut self, meter: &Meter, recorders: &[Arc<Recorder>]) {
        let now = meter.now();
        let passed = now.saturating_sub(self.shown_ns);
        if !self.is_shown || passed < EVERY_NS {
            return;
        }
        let seconds = passed as f64 / 1e9;
        let (counts, latencies) = meter::look(recorders);
        let rate = |now: u64, before: u64| units::number(now.saturating_sub(before) as f64 / seconds);
        let phase = if now < meter.from_ns() {
            "  warm-up"
        } else if meter.is_over(now) {
            "  waiting for the last answers"
        } else {
            ""
        };
        let mut line = format!(
            "{} {:>4.0} s  {:>7} MB/s  {:>9} records/s",
            self.label,
            now as f64 / 1e9,
            units::number(counts.bytes.saturating_sub(self.counts.bytes) as f64 / 1e6 / seconds),
            rate(counts.records, self.counts.records),
        );
        if !latencies.is_empty() {
            let at = |quantile: f64| units::time(latencies.value_at_quantile(quantile) as f64 / 1e3);
            line.push_str(&format!("  p50 {}  p99 {}", at(0.5), at(0.99)));
        }
        if let Some(pid) = self.pid
            && let (Some(cpu), Some((resident, _))) = (process::cpu(pid), process::memory(pid))
        {
            let used = cpu.total() - self.cpu_seconds.unwrap_or(cpu.total());
            line.push_str(&format!("  broker {:.2} cores, {} MB", used / seconds, units::number(resident)));
            self.cpu_seconds = Some(cpu.total());
        }
        eprintln!("{line}{phase}");
        (self.shown_ns, self.counts) = (now, counts);
    }
}
