//! The clock and the counters of one run. Workers report what was done; only what lies in the measured window counts.
//!
//! Throughput counts by when an answer came, latency by when its event was due: a request that was due in the window is
//! waited for after its end, so that the slowest ones are not the ones left out.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::latency;

/// One run's time: its start, and the window that counts, nanoseconds since the start.
#[derive(Debug)]
pub struct Meter {
    start: Instant,
    from_ns: u64,
    to_ns: AtomicU64,
    cut: AtomicBool,
}

impl Meter {
    pub fn new(warm_up: Duration, duration: Duration) -> Arc<Meter> {
        let from_ns = nanos(warm_up);
        let to_ns = AtomicU64::new(from_ns.saturating_add(nanos(duration)));
        Arc::new(Meter { start: Instant::now(), from_ns, to_ns, cut: AtomicBool::new(false) })
    }

    /// Nanoseconds since the start.
    pub fn now(&self) -> u64 {
        nanos(self.start.elapsed())
    }

    pub fn from_ns(&self) -> u64 {
        self.from_ns
    }

    pub fn to_ns(&self) -> u64 {
        self.to_ns.load(Ordering::Relaxed)
    }

    /// Whether an event due at this time belongs to the run at all.
    pub fn is_over(&self, at_ns: u64) -> bool {
        at_ns >= self.to_ns()
    }

    /// Ends the window now, unless it ended already.
    pub fn cut(&self) {
        let now = self.now();
        if self.to_ns.fetch_min(now, Ordering::Relaxed) > now {
            self.cut.store(true, Ordering::Relaxed);
        }
    }

    /// Whether the window was ended early.
    pub fn was_cut(&self) -> bool {
        self.cut.load(Ordering::Relaxed)
    }

    fn holds(&self, at_ns: u64) -> bool {
        at_ns >= self.from_ns && at_ns < self.to_ns()
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// How much was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub records: u64,
    pub bytes: u64,
    pub requests: u64,
}

#[derive(Debug)]
struct Cells {
    /// Latencies since the last look, and before it.
    recent: Histogram<u64>,
    total: Histogram<u64>,
    /// How late events of an open loop were sent.
    lag: Histogram<u64>,
    last_ns: u64,
    first_failure: Option<String>,
}

/// What one worker has done.
#[derive(Debug)]
pub struct Recorder {
    meter: Arc<Meter>,
    cells: Mutex<Cells>,
    /// Since the start, and within the window.
    all: [AtomicU64; 3],
    counted: [AtomicU64; 3],
    failed: AtomicU64,
    /// Due within the window, and answered of those.
    due: AtomicU64,
    answered: AtomicU64,
}

impl Recorder {
    pub fn new(meter: &Arc<Meter>) -> Arc<Recorder> {
        let cells = Cells {
            recent: latency::histogram(),
            total: latency::histogram(),
            lag: latency::histogram(),
            last_ns: 0,
            first_failure: None,
        };
        let zeros = || [AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0)];
        Arc::new(Recorder {
            meter: Arc::clone(meter),
            cells: Mutex::new(cells),
            all: zeros(),
            counted: zeros(),
            failed: AtomicU64::new(0),
            due: AtomicU64::new(0),
            answered: AtomicU64::new(0),
        })
    }

    fn cells(&self) -> std::sync::MutexGuard<'_, Cells> {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    /// An event with so many records leaves; it was due at `due_ns`.
    pub fn sent(&self, due_ns: u64, records: u64, is_paced: bool) {
        if self.meter.holds(due_ns) {
            self.due.fetch_add(records, Ordering::Relaxed);
            if is_paced {
                self.cells().lag.saturating_record(self.meter.now().saturating_sub(due_ns));
            }
        }
    }

    /// An answer came now for what was due at `due_ns`.
    pub fn done(&self, due_ns: u64, counts: Counts) {
        let now = self.meter.now();
        self.count(now, counts);
        if self.meter.holds(due_ns) {
            self.answered.fetch_add(1, Ordering::Relaxed);
            self.cells().recent.saturating_record(now.saturating_sub(due_ns));
        }
    }

    /// What was due within the window and has not failed, and how many events were answered of it.
    pub fn waiting(&self) -> (u64, u64) {
        let due = self.due.load(Ordering::Relaxed).saturating_sub(self.failed.load(Ordering::Relaxed));
        (due, self.answered.load(Ordering::Relaxed))
    }

    /// Something was done that has no latency.
    pub fn count(&self, now: u64, counts: Counts) {
        let values = [counts.records, counts.bytes, counts.requests];
        let counts_now = self.meter.holds(now);
        for (at, value) in values.into_iter().enumerate() {
            self.all[at].fetch_add(value, Ordering::Relaxed);
            if counts_now {
                self.counted[at].fetch_add(value, Ordering::Relaxed);
            }
        }
        if counts_now {
            let mut cells = self.cells();
            cells.last_ns = cells.last_ns.max(now);
        }
    }

    /// An event failed; the first reason is kept.
    pub fn failed(&self, records: u64, why: impl FnOnce() -> String) {
        self.failed.fetch_add(records, Ordering::Relaxed);
        self.cells().first_failure.get_or_insert_with(why);
    }
}

/// What a group of workers has done.
#[derive(Debug)]
pub struct Tally {
    pub all: Counts,
    pub counted: Counts,
    pub failed: u64,
    pub due: u64,
    pub first_failure: Option<String>,
    pub total: Histogram<u64>,
    pub lag: Histogram<u64>,
    /// When the last counted answer came, nanoseconds since the start.
    pub last_ns: u64,
}

/// Since the start: for the progress line, together with the latencies since the last look.
pub fn look(recorders: &[Arc<Recorder>]) -> (Counts, Histogram<u64>) {
    let (mut counts, mut latencies) = (Counts::default(), latency::histogram());
    for recorder in recorders {
        add(&mut counts, &recorder.all);
        let mut cells = recorder.cells();
        let Cells { recent, total, .. } = &mut *cells;
        merge(&mut latencies, recent);
        merge(total, recent);
        recent.reset();
    }
    (counts, latencies)
}

/// Everything, at the end.
pub fn tally(recorders: &[Arc<Recorder>]) -> Tally {
    let (all, _) = look(recorders);
    let mut tally = Tally {
        all,
        counted: Counts::default(),
        failed: 0,
        due: 0,
        first_failure: None,
        total: latency::histogram(),
        lag: latency::histogram(),
        last_ns: 0,
    };
    for recorder in recorders {
        add(&mut tally.counted, &recorder.counted);
        tally.failed += recorder.failed.load(Ordering::Relaxed);
        tally.due += recorder.due.load(Ordering::Relaxed);
        let cells = recorder.cells();
        merge(&mut tally.total, &cells.total);
        merge(&mut tally.lag, &cells.lag);
        tally.last_ns = tally.last_ns.max(cells.last_ns);
        if tally.first_failure.is_none() {
            tally.first_failure.clone_from(&cells.first_failure);
        }
    }
    tally
}

fn add(counts: &mut Counts, values: &[AtomicU64; 3]) {
    counts.records += values[0].load(Ordering::Relaxed);
    counts.bytes += values[1].load(Ordering::Relaxed);
    counts.requests += values[2].load(Ordering::Relaxed);
}

/// All histograms have the same bounds, so nothing can fall outside.
fn merge(into: &mut Histogram<u64>, from: &Histogram<u64>) {
    let added = into.add(from);
    crate::invariant!(added.is_ok(), "histograms of different bounds");
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Counts = Counts { records: 1, bytes: 10, requests: 1 };

    #[test]
    fn only_the_window_counts_and_its_last_events_are_waited_for() {
        let meter = Meter::new(Duration::ZERO, Duration::from_secs(3600));
        let recorder = Recorder::new(&meter);
        recorder.sent(0, 1, true);
        recorder.done(0, ONE);
        let due = meter.now();
        recorder.sent(due, 1, true);
        meter.cut();
        // Due in the window, answered behind it: a latency, but no throughput.
        recorder.done(due, ONE);
        // Due behind it: neither.
        recorder.sent(meter.now(), 1, true);
        recorder.done(meter.now(), ONE);
        let tally = tally(&[recorder]);
        assert_eq!((tally.all.records, tally.counted.records, tally.counted.bytes), (3, 1, 10));
        assert_eq!((tally.total.len(), tally.due, tally.lag.len()), (2, 2, 2));
        assert!(meter.was_cut());
    }

    #[test]
    fn the_warm_up_is_seen_but_not_counted() {
        let meter = Meter::new(Duration::from_secs(3600), Duration::from_secs(1));
        let recorder = Recorder::new(&meter);
        recorder.done(0, ONE);
        recorder.failed(1, || "first".to_owned());
        recorder.failed(1, || "second".to_owned());
        let (all, recent) = look(std::slice::from_ref(&recorder));
        assert_eq!((all, recent.len()), (ONE, 0));
        let tally = tally(&[recorder]);
        assert_eq!(
            (tally.counted, tally.failed, tally.first_failure.as_deref()),
            (Counts::default(), 2, Some("first"))
        );
    }

    #[test]
    fn a_look_takes_the_recent_latencies_once() {
        let meter = Meter::new(Duration::ZERO, Duration::from_secs(3600));
        let recorders = [Recorder::new(&meter), Recorder::new(&meter)];
        recorders.iter().for_each(|recorder| recorder.done(0, ONE));
        assert_eq!((look(&recorders).1.len(), look(&recorders).1.len()), (2, 0));
        assert_eq!(tally(&recorders).total.len(), 2);
    }
}
