//! When events are due. An open loop has a time for each of them before the run begins; latency counts from that time,
//! not from the moment the sender got to it, so that a stall of the broker is seen by everything it delayed.

use std::num::NonZeroU64;
use std::time::Duration;

/// Longest sleep before a look whether the run is over.
const NAP: Duration = Duration::from_millis(20);

/// The times of one sender's events, nanoseconds since the start of the run.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    interval_ns: f64,
    phase_ns: f64,
    next: u64,
}

impl Schedule {
    /// Sender `number` of `senders`, each with `per_second` events: their times lie evenly between one another.
    pub fn new(per_second: f64, number: usize, senders: usize) -> Schedule {
        let interval_ns = 1e9 / per_second;
        Schedule { interval_ns, phase_ns: interval_ns * number as f64 / senders as f64, next: 0 }
    }

    /// When the next event is due. Computed from its number, so that errors do not add up.
    pub fn due(&self) -> u64 {
        (self.phase_ns + self.next as f64 * self.interval_ns) as u64
    }

    /// The event was sent, late or not.
    pub fn advance(&mut self) {
        self.next += 1;
    }
}

/// Lets this thread's sleeps end when they should: the kernel otherwise adds up to 50 µs to save power.
pub fn sharpen_sleep() {
    // Where it is refused the sleeps are as they were; the lag of the sender is reported either way.
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
}

/// Sleeps towards `due`; false while it is not reached yet, so that the caller can look around.
pub fn approach(due_ns: u64, now_ns: u64) -> bool {
    if now_ns >= due_ns {
        return true;
    }
    let left = Duration::from_nanos(due_ns - now_ns);
    std::thread::sleep(left.min(NAP));
    left <= NAP
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_due_by_their_number_and_never_shift() {
        let mut schedule = Schedule::new(3.0, 0, 1);
        let due: Vec<u64> = (0..3_000_000)
            .map(|_| {
                let due = schedule.due();
                schedule.advance();
                due
            })
            .collect();
        assert_eq!(&due[..3], [0, 333_333_333, 666_666_666]);
        // A million seconds later still on the tick, though a third of a second is no whole number.
        assert!(due[2_999_997].abs_diff(999_999_000_000_000) < 1000, "{}", due[2_999_997]);
    }

    #[test]
    fn several_senders_share_the_time_evenly() {
        let due: Vec<u64> = (0..4).map(|number| Schedule::new(10.0, number, 4).due()).collect();
        assert_eq!(due, [0, 25_000_000, 50_000_000, 75_000_000]);
    }

    #[test]
    fn a_late_sender_does_not_wait() {
        assert!(approach(5, 5) && approach(5, 1_000_000));
        assert!(!approach(u64::MAX, 0), "a nap, then the caller looks whether the run is over");
    }
}
