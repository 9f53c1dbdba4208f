//! What happens when a machine fails, or a driver cannot start.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use super::Acting;
use super::drivers::Real;
use crate::base::ids::CoreId;
use crate::base::time::Now;
use crate::port::turn::{Effects, Inputs, NextWake};
use crate::rt::{RunError, StartError, run};

/// Runs two cores, of which the second panics; the first heeds the wish to stop or does not.
fn run_with_a_panic(real: &Real, heeds: bool) -> (Result<(), RunError>, Duration) {
    let (_folder, options) = real.options(2);
    let running = run(real.0, options, move |core| {
        let mut turns = 0;
        Acting(move |now: Now, inputs: Inputs<u64>, effects: &mut Effects<u64>| {
            turns += 1;
            if core == CoreId(1) && turns > 1 {
                panic!("on purpose");
            }
            effects.stopped = inputs.stop && heeds;
            if core == CoreId(1) { NextWake::At(now.mono.plus_ms(20)) } else { NextWake::Never }
        })
    });
    let start = Instant::now();
    (running.expect("start").join(), start.elapsed())
}

fn assert_panicked(result: Result<(), RunError>) {
    match result {
        Err(RunError::Panicked { core: CoreId(1), message }) => assert_eq!(message, "on purpose"),
        other => panic!("expected the panic of core 1, got {other:?}"),
    }
}

/// The other cores are told to stop, and the one who joins hears of the panic.
pub fn a_panic_ends_the_process_in_order(real: &Real) {
    let (result, took) = run_with_a_panic(real, true);
    assert_panicked(result);
    assert!(took < Duration::from_millis(1500), "the other core was idle and should have stopped at once: {took:?}");
}

/// A machine that waits for the dead one for ever does not keep the process alive.
pub fn a_core_that_does_not_stop_after_a_failure_is_left_behind(real: &Real) {
    let (result, took) = run_with_a_panic(real, false);
    assert_panicked(result);
    assert!(took > Duration::from_secs(1), "it had its time to stop: {took:?}");
    assert!(took < Duration::from_secs(20), "{took:?}");
}

/// No cores, no folder, no address: an error that says so, and nothing left running.
pub fn what_cannot_start_says_why(real: &Real) {
    let idle = |_| Acting(|_: Now, _: Inputs<u64>, _: &mut Effects<u64>| NextWake::Never);
    let (folder, options) = real.options(1);

    let mut none = options.clone();
    none.cores.clear();
    assert!(matches!(run(real.0, none, idle), Err(StartError::Cores { count: 0 })));

    let mut nowhere = options.clone();
    nowhere.data_root = folder.path().join("missing");
    assert!(matches!(run(real.0, nowhere, idle), Err(StartError::DataRoot { .. })));

    let taken = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = taken.local_addr().expect("address");
    let mut clash = options;
    clash.listen = vec![address];
    match run(real.0, clash, idle) {
        Err(StartError::Listen { address: named, .. }) => assert_eq!(named, address),
        other => panic!("expected an address in use, got {other:?}"),
    }
}
